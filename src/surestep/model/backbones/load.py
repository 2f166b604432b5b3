"""Loading a backbone: a hub id, a local folder or `builtin:tiny`, whole and pinned.

Weights that are missing from the files are an error, never silently random. Nothing of the backbone's
repository is executed, and only safetensors are read. Knows no text.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from surestep.config import TINY_BACKBONE
from surestep.counted import counted
from surestep.errors import BackboneError
from surestep.hub import from_cache_only
from surestep.model.attention.executions import can_run_kernel, heads_of
from surestep.model.attention.interface import register_tree_attention
from surestep.model.backbones.files import (
    CONFIG_FILE,
    INDEX,
    WEIGHTS,
    hash_files,
    listed_shards,
    read_backbone_config,
    refused_adapter,
    weight_files,
    weights_hash,
)
from surestep.model.backbones.rotary import longest_path
from surestep.model.backbones.silence_transformers import silence_transformers
from surestep.model.backbones.sizes import check_backbone_sizes
from surestep.model.precision.nf4 import nf4_config, quantise_linear_layers


@dataclass(frozen=True)
class Backbone:
    """A loaded backbone and what pins it.

    Attributes:
        module: the transformer without its language-model head.
        name: as the configuration names it.
        revision: commit of a hub repository, or None.
        weights_sha256: over the weight files; over the tensors of `builtin:tiny`.
        max_positions: the longest path it takes, or None where it states no limit.
        attention_implementation: what it runs with when left alone.
        files: sha256 of each file that decides it, by its name in `folder`; empty where it has none, or where whoever
            loaded it had compared them.
        config: the content of its `config.json`.
        folder: where its files lie.
    """

    module: Any
    name: str
    revision: str | None
    weights_sha256: str
    max_positions: int | None
    attention_implementation: str
    files: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def num_layers(self) -> int:
        """Decoder layers, 0 where the configuration does not say."""
        return int(getattr(self.module.config.get_text_config(), "num_hidden_layers", 0) or 0)

    @property
    def hidden_size(self) -> int:
        """`D`, width of its hidden states."""
        return int(self.module.config.get_text_config().hidden_size)

    @property
    def suits_kernel(self) -> bool:
        """Whether Surestep's own attention kernel is made for its heads."""
        return can_run_kernel(*heads_of(self.module))


def load_backbone(
    name: str,
    *,
    revision: str | None,
    dtype: torch.dtype,
    seed: int = 0,
    nf4_device: torch.device | None = None,
) -> Backbone:
    """Load `name` in `dtype` on the CPU, or with its linear layers in NF4 on `nf4_device`.

    Raises:
        BackboneError: it cannot be found or read, lacks weights, or is no decoder.
    """
    register_tree_attention()
    if name == TINY_BACKBONE:
        from surestep.model.backbones.tiny import load_tiny_backbone

        module = load_tiny_backbone(seed=seed)
        weights_sha256 = _hash_tensors(module)
        module = module.to(dtype)
        if nf4_device is not None:
            quantise_linear_layers(module, dtype=dtype, device=nf4_device)
        return _describe(module, name, None, weights_sha256)
    return load_pretrained(name, revision=revision, dtype=dtype, nf4_device=nf4_device)


def read_max_positions(name: str, *, revision: str | None) -> int | None:
    """The longest path that a backbone was built for, from its configuration alone.

    Raises:
        BackboneError: it cannot be found or read.
    """
    if name == TINY_BACKBONE:
        from surestep.model.backbones.tiny import tiny_config

        return _max_positions(tiny_config())
    from transformers import AutoConfig

    _check_local_folder(name)
    try:
        with silence_transformers():
            config = AutoConfig.from_pretrained(
                name, revision=revision, trust_remote_code=False, local_files_only=from_cache_only(name)
            )
    except Exception as error:  # transformers fails in every way over a configuration that others wrote
        raise BackboneError(_why_not_loaded(name, error)) from None
    return _max_positions(config)


def _max_positions(config: Any) -> int | None:
    return longest_path(config.get_text_config())


def load_pretrained(
    name: str,
    *,
    revision: str | None,
    dtype: torch.dtype,
    exact: bool = False,
    is_verified: bool = False,
    nf4_device: torch.device | None = None,
) -> Backbone:
    """Load a hub id or a local folder through transformers' `AutoModel`.

    Args:
        name: the hub id or folder.
        revision: of a hub repository.
        dtype: of the weights in memory.
        is_verified: whoever asks has compared the files already: they are not hashed again (`weights_sha256` is empty).
        exact: refuse weights that the transformer has no place for, such as a language-model head.
        nf4_device: unset: on the CPU, as the files hold it; else there, its linear layers in 4 bits.

    Raises:
        BackboneError: as `load_backbone`.
    """
    from transformers import AutoModel
    from transformers.utils import find_adapter_config_file

    register_tree_attention()
    _check_local_folder(name)
    is_local = Path(name).is_dir()
    if is_local:
        # Raises before anything is read from elsewhere, or built that the files do not hold.
        check_backbone_sizes(Path(name), weight_files(Path(name)))
    quantised: dict[str, Any] = {}
    if nf4_device is not None:
        quantised = {"quantization_config": nf4_config(dtype), "device_map": {"": nf4_device}}
    try:
        with silence_transformers():
            offline = from_cache_only(name)
            if find_adapter_config_file(name, revision=revision, local_files_only=offline) is not None:
                raise BackboneError(refused_adapter(name))
            folder = Path(name) if is_local else _fetched(name, revision, offline=offline)
            if not is_local:
                check_backbone_sizes(folder, weight_files(folder))
            module, report = AutoModel.from_pretrained(
                str(folder),  # what was compared is what is loaded
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                **quantised,
            )
    except BackboneError as error:
        raise BackboneError(str(error) if name in str(error) else f"{name}: {error}") from None
    except Exception as error:  # see read_max_positions
        raise BackboneError(_why_not_loaded(name, error)) from None
    if module.config.is_encoder_decoder:
        raise BackboneError(f"{name} is an encoder-decoder; use a causal (decoder-only) backbone")
    missing = sorted(report["missing_keys"])
    if missing:
        raise BackboneError(
            f"{name}: {counted(len(missing), 'weight is', 'weights are')} missing from its files "
            f"({', '.join(missing[:3])}, ...); they would be random, so the backbone is refused"
        )
    unexpected = sorted(report["unexpected_keys"])
    if exact and unexpected:
        raise BackboneError(f"{name} holds weights that have no place in it: {', '.join(unexpected[:3])}")
    commit = getattr(module.config, "_commit_hash", None) if is_local else folder.name
    module.name_or_path = module.config._name_or_path = name
    if is_verified:
        return _describe(module, name, commit, "")
    files = hash_files(folder)
    backbone = _describe(module, name, commit, weights_hash(files))
    return replace(backbone, files=files, config=read_backbone_config(folder), folder=folder)


def fetched_folder(name: str, revision: str | None) -> Path:
    """Where the files of a hub id or a local folder lie: its configuration and weights, fetched where they must be.

    Raises:
        BackboneError: it cannot be found.
    """
    _check_local_folder(name)
    if Path(name).is_dir():
        return Path(name)
    try:
        return _fetched(name, revision, offline=from_cache_only(name))
    except BackboneError:
        raise
    except Exception as error:  # see read_max_positions
        raise BackboneError(_why_not_loaded(name, error)) from None


def _describe(module: Any, name: str, revision: str | None, weights_sha256: str) -> Backbone:
    return Backbone(
        module=module,
        name=name,
        revision=revision,
        weights_sha256=weights_sha256,
        max_positions=_max_positions(module.config),
        attention_implementation=module.config._attn_implementation or "eager",
    )


def _check_local_folder(name: str) -> None:
    path = Path(name)
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise BackboneError(f"{name} holds no config.json; name a folder written by `save_pretrained`")
    elif looks_local:
        raise BackboneError(f"{name}: no such folder; name a local folder, a hub id or {TINY_BACKBONE}")


def _why_not_loaded(name: str, error: Exception) -> str:
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, OSError) and not Path(name).is_dir():
        return (
            f"{name} cannot be loaded: it is neither a local folder nor in the local cache, and the hub does not "
            f"answer or does not know it; name a local folder with --backbone, connect to the network, or use "
            f"--backbone {TINY_BACKBONE}"
        )
    return f"{name} cannot be loaded ({type(error).__name__}: {first_line}); name a causal model in safetensors"


def _fetched(name: str, revision: str | None, *, offline: bool) -> Path:
    """The folder of a commit, named as that, in the hub's cache, with the configuration and weights that are read."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    folder = Path(hf_hub_download(name, CONFIG_FILE, revision=revision, local_files_only=offline)).parent

    def fetch(file: str) -> Path:
        return Path(hf_hub_download(name, file, revision=folder.name, local_files_only=offline))

    first = read_backbone_config(folder).get("transformers_weights")
    try:
        fetched = fetch(str(first or WEIGHTS))
    except EntryNotFoundError:
        if first is not None:
            raise
        fetched = fetch(INDEX)
    if fetched.name.endswith(".index.json"):
        for shard in listed_shards(fetched):
            fetch(shard)
    return folder


def _hash_tensors(module: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
