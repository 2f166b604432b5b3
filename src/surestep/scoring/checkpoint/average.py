"""The mean of the weights of several checkpoints, as a checkpoint of its own.

Works on files, tensor by tensor: no model is built, no backbone is needed, and memory holds one file of weights. Means
of the last checkpoints of a run: stochastic weight averaging, Izmailov et al. 2018 (arXiv 1803.05407); of runs that
began at the same weights: Wortsman et al. 2022 (model soups, arXiv 2203.05482).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from surestep.config import Config
from surestep.errors import CheckpointError, StorageError
from surestep.files import AVERAGED_FROM, CALIBRATION, CERTIFICATES, write_folder_whole, write_json
from surestep.model.backbones.lora import adapter_facts
from surestep.model.saved_weights import write_means
from surestep.model.tensor_headers import Shape, tensor_shapes
from surestep.scoring.checkpoint.find import STEP_FOLDER
from surestep.scoring.checkpoint.load import read_config
from surestep.scoring.checkpoint.manifest import Manifest, manifest_sha256, read_manifest, write_manifest
from surestep.scoring.checkpoint.versions import git_commit, library_versions

_LEFT_OUT = frozenset({CALIBRATION, *CERTIFICATES, AVERAGED_FROM})
_CHANGE_NO_WEIGHT = frozenset({"backbone", "revision", "mlp_dropout", "fast_path", "compile", "attention"})
"""Fields of `model` that may differ between the members: where the backbone lies is known by its hash."""


@dataclass(frozen=True)
class AveragedCheckpoint:
    """What was written.

    Attributes:
        folder: the new checkpoint.
        lines: what a user should know of it, a sentence each.
    """

    folder: Path
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Member:
    """A checkpoint that is averaged, every file compared with its hash.

    Attributes:
        tensors: shape of each tensor by the file within the folder and its name.
    """

    folder: Path
    manifest: Manifest
    config: Config
    adapter: dict[str, Any]
    tensors: dict[tuple[str, str], Shape]

    @property
    def name(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"


def average_checkpoints(folders: Sequence[Path], output: Path) -> AveragedCheckpoint:
    """Write the mean of the weights of `folders` to `output`; configuration and tokenizer are those of the last one.

    Means are taken in float64 and rounded once. Maps and certificates belong to the weights that they were fitted to:
    none is carried over.

    Raises:
        CheckpointError: fewer than two, one is damaged, or they do not fit together.
        StorageError: `output` is there already, has a name that training gives, or cannot be written.
    """
    if len(folders) < 2:
        raise CheckpointError(f"{folders[0]} is one checkpoint; name two or more of them, or a run with --last 3")
    if output.exists():
        raise StorageError(f"{output} exists; name a folder that does not, with --output")
    if STEP_FOLDER.fullmatch(output.name):
        raise StorageError(f"{output}: a folder named checkpoint_step_<N> is for training alone; name another --output")
    members = [_member(folder) for folder in folders]
    _check_fit(members)
    last = max(members, key=lambda member: member.manifest.step)
    weights = sorted({file for file, _ in last.tensors})
    copied = [name for name in last.manifest.files if name not in weights and name not in _LEFT_OUT]
    with write_folder_whole(output) as beside:
        for name in (*copied, *weights):
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
        for name in copied:
            shutil.copyfile(last.folder / name, beside / name)
        for name in weights:
            write_means(beside / name, [member.folder / name for member in members])
        write_json(beside / AVERAGED_FROM, _origin(members))
        written = {"versions": library_versions(), "git_commit": git_commit(), **_label_means(members)}
        write_manifest(beside, replace(last.manifest, **written))
    return AveragedCheckpoint(output, tuple(_lines(members)))


def _member(folder: Path) -> _Member:
    manifest = read_manifest(folder, with_state=False)
    shapes = {
        (name, key): shape
        for name in manifest.files
        if name.endswith(".safetensors")
        for key, shape in tensor_shapes(folder / name).items()
    }
    adapter = adapter_facts(folder / "adapter") if manifest.kind == "lora" else {}
    return _Member(folder, manifest, read_config(folder), adapter, shapes)


def _check_fit(members: Sequence[_Member]) -> None:
    """Raise unless the means of their weights are weights of one model.

    Raises:
        CheckpointError: naming the first that differs from the first checkpoint, and in what.
    """
    hashes = [manifest_sha256(member.folder) for member in members]
    for number, member in enumerate(members):
        if hashes[number] in hashes[:number]:
            raise CheckpointError(f"{member.folder} is named twice: an average takes each checkpoint once")
        if differences := list(_differences(members[0], member)):
            raise CheckpointError(
                f"{member.folder} does not fit together with {members[0].folder}: {'; '.join(differences[:3])}; "
                "average checkpoints of one run, or of runs that differ in data, seed or schedule alone"
            )


def _differences(first: _Member, other: _Member) -> Iterator[str]:
    mine, theirs = first.manifest, other.manifest
    if mine.kind != theirs.kind:
        yield f"one is {mine.kind}, the other {theirs.kind}"
        return
    if mine.backbone["weights_sha256"] != theirs.backbone["weights_sha256"]:
        yield f"they have other backbones ({mine.backbone['name']} and {theirs.backbone['name']})"
    if mine.formatter_hash != theirs.formatter_hash:
        yield "they have other formats of the text"
    if (mine.tokenizer_hash, mine.confidence_id) != (theirs.tokenizer_hash, theirs.confidence_id):
        yield "they have other tokenizers"
    fields = [(f"lora.{name}", value, other.adapter.get(name)) for name, value in first.adapter.items()]
    model, of_other = first.config.model.model_dump(), other.config.model.model_dump()
    fields += [(f"model.{name}", value, of_other[name]) for name, value in model.items()]
    for name, value, their_value in fields:
        if name.removeprefix("model.") not in _CHANGE_NO_WEIGHT and value != their_value:
            yield f"{name} is {value} and {their_value}"
    if first.tensors != other.tensors:
        names = [key for (file, key), shape in first.tensors.items() if other.tensors.get((file, key)) != shape]
        yield f"they hold tensors of other names or shapes ({', '.join(names[:3]) or 'more in one of them'})"


def _label_means(members: Sequence[_Member]) -> dict[str, Any]:
    """Training means of the labels: each the mean over the members that have one."""

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return None if not known else known[0] if len(set(known)) == 1 else sum(known) / len(known)

    names = dict.fromkeys(name for member in members for name in member.manifest.label_means)
    means = {name: mean([member.manifest.label_means.get(name) for member in members]) for name in names}
    return {"label_means": means, "label_mean": mean([member.manifest.label_mean for member in members])}


def _origin(members: Sequence[_Member]) -> dict[str, Any]:
    return {
        "what": "each weight is the mean of that of these checkpoints",
        "checkpoints": [
            {
                "name": member.name,
                "step": member.manifest.step,
                "seed": member.config.training.seed,
                "manifest_sha256": manifest_sha256(member.folder),
            }
            for member in members
        ],
    }


def _lines(members: Sequence[_Member]) -> Iterator[str]:
    yield f"the mean of {', '.join(member.name for member in members)}"
    files = {name for member in members for name in member.manifest.files}
    if dropped := sorted(files & {CALIBRATION, *CERTIFICATES}):
        yield f"{', '.join(dropped)}: not carried over, for it fits the weights that it was fitted to"
    if members[0].manifest.kind == "lora":
        yield (
            "adapters: their two factors are averaged each on its own, which is near the mean of their products only "
            "where the checkpoints are near each other, as the last ones of a run are"
        )
    seeds = {member.config.training.seed for member in members}
    if len(seeds) > 1 and any(member.config.training.init_from is None for member in members):
        yield (
            f"they are of runs with the seeds {', '.join(map(str, sorted(seeds)))}: heads and adapters that began at "
            "other weights have no meaningful mean, so measure it; an ensemble (--checkpoint a b c) has no such limit"
        )
