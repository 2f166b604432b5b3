"""What a checkpoint says of itself: format, sizes and sha256 of every file, versions, what it was built on.

Knows files and JSON; no tensor.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, NonNegativeInt, PositiveInt, TypeAdapter
from typing_extensions import TypedDict

from surestep.counted import counted
from surestep.disk import leftovers, name_beside, real_path, remove_leftovers, sync_folder
from surestep.errors import CheckpointError
from surestep.files import MANIFEST, sha256_of
from surestep.scoring.checkpoint.versions import git_commit, library_versions
from surestep.untrusted import SHA256, checked, checked_record, place_inside, read_document, read_json, relative_name
from surestep.untrusted.bounds import shown

FORMAT_VERSION: Literal[1] = 1
_OWN_HASH = "manifest_sha256"

_Name = Annotated[str, Field(max_length=1024)]
_Sha256 = Annotated[str, SHA256]


class Entry(TypedDict):
    """Size and sha256 of a file."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # type: ignore[misc]
    size: NonNegativeInt
    sha256: _Sha256


class _Origin(TypedDict):
    """What must be known of the backbone; what else stands there is its reader's business."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc]
    name: _Name
    revision: _Name | None
    weights_sha256: _Name
    max_positions: PositiveInt | None


def _check_origin(values: dict[str, Any]) -> dict[str, Any]:
    checked(values, _ORIGIN)
    return values


_ORIGIN: TypeAdapter[_Origin] = TypeAdapter(_Origin)
_FileName = Annotated[str, AfterValidator(relative_name)]
_Label = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


@dataclass
class Manifest:
    """The content of `manifest.json`.

    Attributes:
        kind: `lora` (an adapter over a pinned backbone) or `full` (its own backbone).
        step: optimiser steps done.
        confidence_id: id of the `<CONFIDENCE>` token.
        backbone: name, revision, weights_sha256 and max_positions of the backbone it was trained from; where it lies
            in files, sha256 of those that decide it (`files`) and the content of its configuration (`config`).
        formatter_hash, tokenizer_hash: what turned text to tokens in training.
        label_means: training mean of each dataset's labels: the constant baseline; `label_mean` is over all.
        files: size and sha256 of each file, by its path within the folder.
        state_files: the same for `training_state/`, which may be deleted to save space.
        pending: while a file is being replaced (`replace_file`), what may stand in its place: size and sha256 of the
            old and the new one, None where there is none. Empty in a manifest that was read: what lies there is
            then in `files`.
        versions, git_commit: where it was made.
    """

    kind: Literal["lora", "full"]
    step: Annotated[int, Field(ge=0, lt=2**53)]
    confidence_id: Annotated[int, Field(ge=0, lt=2**31)]
    backbone: Annotated[dict[str, Any], AfterValidator(_check_origin)]
    formatter_hash: _Name
    tokenizer_hash: _Name
    label_means: dict[_Name, _Label]
    label_mean: _Label | None = None
    files: dict[_FileName, Entry] = field(default_factory=dict)
    state_files: dict[_FileName, Entry] = field(default_factory=dict)
    pending: dict[_FileName, Annotated[list[Entry | None], Field(max_length=2)]] = field(default_factory=dict)
    versions: dict[_Name, _Name] = field(default_factory=library_versions)
    git_commit: _Name | None = field(default_factory=git_commit)
    format_version: Literal[1] = FORMAT_VERSION


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """List every file of `folder` with size and sha256, and write the manifest last, with a sha256 of itself."""
    manifest.files, manifest.state_files = {}, {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name == MANIFEST:
            continue
        target = manifest.state_files if name.startswith("training_state/") else manifest.files
        target[name] = _entry(path)
    (folder / MANIFEST).write_text(_text_of(manifest), encoding="utf-8")


def replace_file(folder: Path, manifest: Manifest, name: str, content: bytes | None) -> None:
    """Put `content` in place of one file of a finished checkpoint, or take the file away (None).

    The checkpoint is valid at every moment, so that a kill leaves the old one or the new one: the manifest first
    allows both, then the file is renamed into place, then the manifest allows only the new one. What is unfinished
    lies beside the folder, never in it; what a killed process left there is removed. Only for whoever holds the lock of
    the checkpoint's run.

    Args:
        folder: the checkpoint.
        manifest: as `read_manifest` gave it; changed to what is written.
        name: the file's path within the folder.
        content: its new bytes.

    Raises:
        OSError: the disk is full, or the folder cannot be written; the checkpoint is valid all the same.
    """
    folder = real_path(folder)  # where it is a link, what lies beside it may be on another disk
    path = folder / name
    unfinished: list[Path] = []
    for of in (path.name, MANIFEST):
        remove_leftovers(leftovers(folder.parent, of=f"{folder.name}.{of}"))

    def write_beside(of: str, content: bytes) -> Path:
        unfinished.append(name_beside(folder.with_name(f"{folder.name}.{of}")))
        _write_through(unfinished[-1], content)
        return unfinished[-1]

    try:
        # All of it is on the disk before any of it takes its place: a full disk changes nothing.
        content_file = None if content is None else write_beside(path.name, content)
        new = None if content_file is None else _entry(content_file)
        manifest.files.pop(name, None)
        manifest.pending = {name: [_entry(path) if path.is_file() else None, new]}
        allows_both = write_beside(MANIFEST, _text_of(manifest).encode())
        manifest.pending = {}
        if new is not None:
            manifest.files[name] = new
        allows_new = write_beside(MANIFEST, _text_of(manifest).encode())
        allows_both.replace(folder / MANIFEST)
        sync_folder(folder)
        if content_file is None:
            path.unlink(missing_ok=True)
        else:
            content_file.replace(path)
        sync_folder(path.parent)
        allows_new.replace(folder / MANIFEST)
        sync_folder(folder)
    finally:
        for beside in unfinished:
            beside.unlink(missing_ok=True)


def _write_through(path: Path, content: bytes) -> None:
    """Write and wait until it is on the disk: a rename may reach it before the content does."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _entry(path: Path) -> Entry:
    return {"size": path.stat().st_size, "sha256": sha256_of(path)}  # type: ignore[typeddict-item]


def _text_of(manifest: Manifest) -> str:
    values = asdict(manifest)
    values[_OWN_HASH] = _hash_of(values)
    return json.dumps(values, indent=2) + "\n"


def _hash_of(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def check_is_checkpoint(folder: Path) -> None:
    """Raise unless `folder` is there and holds a manifest.

    Raises:
        CheckpointError: naming the checkpoints that lie beside it, if any.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such checkpoint{_nearby(folder)}")
    if not (folder / MANIFEST).is_file():
        raise CheckpointError(f"{folder} holds no {MANIFEST}: it is no complete checkpoint; name a checkpoint_step_<N>")


def manifest_sha256(folder: Path) -> str:
    """sha256 of a checkpoint's manifest, which stands for the whole checkpoint: it holds the hash of every file.

    Raises:
        CheckpointError: it cannot be read, or is larger than a manifest may be.
    """
    path = folder / MANIFEST
    try:
        read_document(path)  # bounded: hashing what lies there in its place may take hours
        return sha256_of(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); restore the checkpoint from a backup") from None


def read_manifest(folder: Path, *, with_state: bool) -> Manifest:
    """Read the manifest and compare every file it lists, and that no other is there.

    Args:
        folder: the checkpoint.
        with_state: check `training_state/` too, which resuming needs and scoring does not.

    Raises:
        CheckpointError: the folder or a file is missing, changed, or of another format version.
    """
    check_is_checkpoint(folder)
    path = folder / MANIFEST
    try:
        values = read_json(place_inside(folder, MANIFEST))
        if not isinstance(values, dict):
            raise ValueError("it holds no object")
        found = values.get("format_version")
        if found != FORMAT_VERSION or isinstance(found, bool):
            versions = values.get("versions")
            writer = versions.get("surestep", "unknown") if isinstance(versions, dict) else "unknown"
            raise CheckpointError(
                f"{path}: format version {shown(found)}; this Surestep reads {FORMAT_VERSION}: use the one that wrote "
                f"it ({str(writer)[:40]})"
            )
        if values.pop(_OWN_HASH, None) != _hash_of(values):
            raise ValueError("it has changed since it was written")
        manifest = checked_record(values, Manifest)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path} is damaged ({reason}); restore it from a backup") from None
    _check_kinds(folder)
    _compare(folder, manifest.files)
    _settle(folder, manifest)
    if with_state:
        if not manifest.state_files or not (folder / "training_state").is_dir():
            raise CheckpointError(
                f"{folder} holds no training_state (kept for the last two checkpoints only): resume from a later "
                "one, or start from its weights with --init_from"
            )
        _compare(folder, manifest.state_files)
    listed = {*manifest.files, *manifest.state_files, MANIFEST}
    extra = sorted(
        name
        for path in folder.rglob("*")
        if path.is_file() and (name := path.relative_to(folder).as_posix()) not in listed
    )
    if extra:
        raise CheckpointError(
            f"{folder} holds files that its manifest does not list: {', '.join(extra[:5])}; remove them"
        )
    return manifest


def _check_kinds(folder: Path) -> None:
    """Refuse what is neither file nor folder, and links that lead out: hashing a pipe would wait for ever."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        try:
            place_inside(folder, name)
        except ValueError as error:
            raise CheckpointError(f"{folder} cannot be trusted: {error}") from None
        if not path.is_file() and not path.is_dir():
            what = "a link to nothing" if path.is_symlink() else "neither a file nor a folder (a pipe, a device)"
            raise CheckpointError(f"{path} is {what}; remove it, or restore the checkpoint from a backup")


def _compare(folder: Path, files: dict[str, Entry]) -> None:
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing; restore the checkpoint from a backup")
        size = path.stat().st_size
        if size != expected["size"]:
            raise CheckpointError(
                f"{path} has {counted(size, 'byte')} instead of {expected['size']:,}; restore it from a backup"
            )
        if sha256_of(path) != expected["sha256"]:
            raise CheckpointError(f"{path} has changed since it was written (sha256 differs); restore it from a backup")


def _settle(folder: Path, manifest: Manifest) -> None:
    """Where a replacement was cut short, take whichever of the two versions lies there."""
    for name, allowed in manifest.pending.items():
        path = folder / name
        found = _entry(path) if path.is_file() else None
        if found not in allowed:
            what = "is missing" if found is None else "has changed since it was written (sha256 differs)"
            raise CheckpointError(f"{path} {what}; restore the checkpoint from a backup")
        if found is not None:
            manifest.files[name] = found
    manifest.pending = {}


def _nearby(folder: Path) -> str:
    siblings = sorted(folder.parent.glob("checkpoint_step_*"), key=lambda path: (len(path.name), path.name))
    names = [path.name for path in siblings if path.is_dir()]
    return f"; {folder.parent} holds {', '.join(names)}" if names else ""
