"""What a checkpoint says of itself: format, sizes and sha256 of every file, versions, what it was built on.

Knows files and JSON; no tensor.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from surestep.errors import CheckpointError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_OWN_HASH = "manifest_sha256"
_PACKAGES = ("surestep", "torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers", "numpy")
_BLOCK = 16 * 1024 * 1024


@dataclass
class Manifest:
    """The content of `manifest.json`.

    Attributes:
        kind: `lora` (an adapter over a pinned backbone) or `full` (its own backbone).
        step: optimiser steps done.
        confidence_id: id of the `<CONFIDENCE>` token.
        backbone: name, revision, weights_sha256 and max_positions of the backbone it was trained from.
        formatter_hash, tokenizer_hash: what turned text to tokens in training.
        label_means: training mean of each dataset's labels: the constant baseline; `label_mean` is over all.
        files: size and sha256 of each file, by its path within the folder.
        state_files: the same for `training_state/`, which may be deleted to save space.
        versions, git_commit: where it was made.
    """

    kind: str
    step: int
    confidence_id: int
    backbone: dict[str, Any]
    formatter_hash: str
    tokenizer_hash: str
    label_means: dict[str, float]
    label_mean: float | None = None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    state_files: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: library_versions())
    git_commit: str | None = field(default_factory=lambda: git_commit())
    format_version: int = FORMAT_VERSION


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """List every file of `folder` with size and sha256, and write the manifest last, with a sha256 of itself."""
    manifest.files, manifest.state_files = {}, {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name == MANIFEST:
            continue
        target = manifest.state_files if name.startswith("training_state/") else manifest.files
        target[name] = {"size": path.stat().st_size, "sha256": sha256_of(path)}
    values = asdict(manifest)
    values[_OWN_HASH] = _hash_of(values)
    (folder / MANIFEST).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


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
        values = json.loads(path.read_text(encoding="utf-8"))
        found = values.get("format_version")
        if found != FORMAT_VERSION:
            raise CheckpointError(
                f"{path}: format version {found!r}; this Surestep reads {FORMAT_VERSION}: use the one that wrote it "
                f"({values.get('versions', {}).get('surestep', 'unknown')})"
            )
        if values.pop(_OWN_HASH, None) != _hash_of(values):
            raise ValueError("it has changed since it was written")
        manifest = Manifest(**values)
    except (ValueError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); restore it from a backup") from None
    _compare(folder, manifest.files)
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


def _compare(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing; restore the checkpoint from a backup")
        size = path.stat().st_size
        if size != expected["size"]:
            raise CheckpointError(f"{path} has {size} bytes instead of {expected['size']}; restore it from a backup")
        if sha256_of(path) != expected["sha256"]:
            raise CheckpointError(f"{path} has changed since it was written (sha256 differs); restore it from a backup")


def _nearby(folder: Path) -> str:
    siblings = sorted(folder.parent.glob("checkpoint_step_*"), key=lambda path: (len(path.name), path.name))
    names = [path.name for path in siblings if path.is_dir()]
    return f"; {folder.parent} holds {', '.join(names)}" if names else ""


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def library_versions() -> dict[str, str]:
    """Version of Python and of each library that decides a result."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def git_commit() -> str | None:
    """Commit of the code that runs, `+` behind it where it was changed; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--match="],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() or None
