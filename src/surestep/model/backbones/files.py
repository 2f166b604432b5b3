"""Which files of a backbone's folder decide its hidden states, and what pins them.

transformers reads `config.json`, then `model.safetensors` or the shards that `model.safetensors.index.json` lists, or
what `transformers_weights` in the configuration names. What it would do in silence is refused here: follow an index out
of the folder, or load the adapter, and the base model, that an `adapter_config.json` names. Knows files; no tensor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from surestep.counted import counted
from surestep.errors import BackboneError
from surestep.files import sha256_of
from surestep.untrusted import open_regular, read_json

CONFIG_FILE = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_VOCABULARY = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt", "spiece.model")
_SAYS_NOTHING = frozenset({"transformers_version", "_name_or_path"})
"""Fields of `config.json` that change no number."""
_BLOCK = 16 * 1024 * 1024


def read_backbone_config(folder: Path) -> dict[str, Any]:
    """The content of `config.json`.

    Raises:
        BackboneError: it is missing or no JSON object.
    """
    return _read_object(folder / CONFIG_FILE)


def weight_files(folder: Path) -> list[str]:
    """The weights, and the index where there is one, that transformers reads in `folder`; sorted names.

    Raises:
        BackboneError: there are none, some are missing, or one lies outside the folder; or the folder holds an adapter.
    """
    if (folder / ADAPTER_CONFIG).exists():
        raise BackboneError(refused_adapter(str(folder)))
    first = read_backbone_config(folder).get("transformers_weights")
    if first is None:
        first = WEIGHTS if (folder / WEIGHTS).is_file() or not (folder / INDEX).is_file() else INDEX
    first = _inside(first, folder / CONFIG_FILE)
    if not (folder / first).is_file():
        raise BackboneError(f"{folder} holds no weights ({first}); name a folder written by `save_pretrained`")
    if not first.endswith(".index.json"):
        return [first]
    shards = listed_shards(folder / first)
    if missing := [name for name in shards if not (folder / name).is_file()]:
        raise BackboneError(
            f"{folder}: {len(missing)} of {counted(len(shards), 'file')} with weights are missing "
            f"({', '.join(missing[:3])}); copy or download the backbone again"
        )
    return sorted([first, *shards])


def listed_shards(index: Path) -> list[str]:
    """The files with weights that an index lists; sorted names.

    Raises:
        BackboneError: it lists none, or one outside its folder.
    """
    listed = _read_object(index).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise BackboneError(f"{index} lists no weights ('weight_map' is empty); copy or download the backbone again")
    return sorted({_inside(name, index) for name in listed.values()})


def refused_adapter(name: str) -> str:
    """Why a backbone with an adapter in it is refused."""
    return (
        f"{name} holds an {ADAPTER_CONFIG}: it is an adapter, and whatever base model it names would be loaded; merge "
        "it and name the merged folder, or remove that file"
    )


def hash_files(folder: Path) -> dict[str, str]:
    """sha256 of each file that decides hidden states or tokens: configuration, weights, vocabulary.

    Raises:
        BackboneError: as `weight_files`, or a file cannot be read.
    """
    names = [CONFIG_FILE, *weight_files(folder), *(name for name in _VOCABULARY if (folder / name).is_file())]
    try:
        return {name: sha256_of(folder / name) for name in names}
    except OSError as error:
        raise BackboneError(f"{error.filename} cannot be read ({error.strerror})") from None


def weights_hash(files: Mapping[str, str]) -> str:
    """One hash over the weights among `files`: that of the file itself where there is one, else over all hashes."""
    weights = [(name, digest) for name, digest in sorted(files.items()) if name.endswith(".safetensors")]
    if len(weights) == 1:
        return weights[0][1]
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in weights).encode()).hexdigest()


def hash_weights(folder: Path) -> str:
    """sha256 over all safetensors files of `folder` in order of their names, which older manifests hold."""
    paths = sorted(folder.glob("*.safetensors"))
    if len(paths) == 1:
        return sha256_of(paths[0])
    digest = hashlib.sha256()
    for path in paths:
        with open_regular(path) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def changed_fields(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a configuration says otherwise than before, field by field; fields that change no number left out.

    >>> changed_fields({"rope": {"theta": 10000.0}, "layers": 2}, {"rope": {"theta": 500}, "layers": 2, "new": None})
    ['new is null, was missing', 'rope.theta is 500, was 10000.0']
    """
    before, after = dict(_flat(then)), dict(_flat(now))
    return [
        f"{name} is {_shown(after, name)}, was {_shown(before, name)}"
        for name in sorted(before.keys() | after.keys())
        if name not in _SAYS_NOTHING and (name not in before or name not in after or before[name] != after[name])
    ]


def changed_files(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of files that differ, `config.json` left out; of the vocabulary only where it is there.

    A checkpoint brings its own tokenizer, so a backbone's may be missing, but not be another one.
    """
    names = sorted((then.keys() | now.keys()) - {CONFIG_FILE})
    return [
        name
        for name in names
        if then.get(name) != now.get(name) and not (name in _VOCABULARY and (name not in then or name not in now))
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name])[:60] if name in values else "missing"


def _inside(name: Any, where: Path) -> str:
    """A file's name, which stays in its folder."""
    if not isinstance(name, str) or not name or "\\" in name or "\0" in name:
        raise BackboneError(
            f"{where} names {str(name)[:60]!r} as a file with weights; allowed: a name within its folder"
        )
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise BackboneError(
            f"{where} names {name[:120]}, which is outside its folder; allowed: a name within its folder"
        )
    if not name.endswith((".safetensors", ".safetensors.index.json")):
        raise BackboneError(f"{where} names {name[:120]}; allowed: weights in safetensors")
    return name


def _read_object(path: Path) -> dict[str, Any]:
    try:
        values = read_json(path, allow_nan=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no JSON"
        raise BackboneError(f"{path} cannot be read ({reason}); copy or download the backbone again") from None
    if not isinstance(values, dict):
        raise BackboneError(f"{path} cannot be read (no JSON object); copy or download the backbone again")
    return values
