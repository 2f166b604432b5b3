"""Whether a copy of a checkpoint is a copy: every file compared by its hash, and not the original itself."""

from __future__ import annotations

from pathlib import Path

from surestep.counted import counted
from surestep.disk import real_path
from surestep.errors import CheckpointError
from surestep.evaluation.check.finding import Finding
from surestep.files import MANIFEST
from surestep.scoring.checkpoint.manifest import Manifest, read_manifest

_WHAT = "checkpoint backed up"


def check_backup(folder: Path, manifest: Manifest | None, backup: Path) -> Finding:
    """Compare the copy of `folder` that lies in `backup`.

    Args:
        folder: the checkpoint.
        manifest: its manifest; None where the checkpoint itself is damaged, so that only the copy can be judged.
        backup: the copy, or a copy of the run's folder, or of the folder that holds the runs.
    """
    target = "an equal copy"
    copy = _find_copy(folder, backup)
    if copy is None:
        detail = f"{backup} holds no {MANIFEST}, nor does {real_path(folder).name} below it"
        return _failed("no copy there", detail, f"copy {folder} there whole, or name the folder of its copy")
    if shared := _shared_with_original(folder, copy):
        return _failed("the original itself", shared, "copy the files to another place")
    try:
        copied = read_manifest(copy, with_state=False)
    except CheckpointError as error:
        return _failed("damaged copy", str(error), f"copy {folder} again")
    if manifest is not None and (different := _differences(manifest, copied)):
        return _failed("of another state", different, f"copy {folder} again")
    detail = str(copy)
    if manifest is None:
        detail += " is complete and the checkpoint is not: restore the checkpoint from it"
    elif copy.stat().st_dev == folder.stat().st_dev:
        detail += " is on the same disk as the original: one failure can destroy both"
    return Finding(
        "backup",
        _WHAT,
        "pass",
        value=f"{counted(len(copied.files), 'file')}, hashes equal",
        target=target,
        detail=detail,
    )


def _failed(value: str, detail: str, mend: str) -> Finding:
    return Finding("backup", _WHAT, "fail", value=value, target="an equal copy", detail=detail, mend=mend)


def _find_copy(folder: Path, backup: Path) -> Path | None:
    original = real_path(folder)
    places = (backup, backup / original.name, backup / original.parent.name / original.name)
    return next((place for place in places if (place / MANIFEST).is_file()), None)


def _shared_with_original(folder: Path, copy: Path) -> str:
    """Why the copy is none: the same folder, or files that are the same bytes on the disk; "" where it is one."""
    if real_path(copy) == real_path(folder):
        return f"{copy} is the checkpoint that is checked"
    for path in sorted(folder.rglob("*")):
        twin = copy / path.relative_to(folder)
        if path.is_file() and twin.is_file() and path.samefile(twin):
            return f"{twin} is a link to the original's file: what harms the one harms the other"
    return ""


def _differences(original: Manifest, copied: Manifest) -> str:
    names = sorted(
        name for name in {*original.files, *copied.files} if original.files.get(name) != copied.files.get(name)
    )
    if names:
        return f"{counted(len(names), 'file differs', 'files differ')}: {', '.join(names[:3])}"
    return "" if original.step == copied.step else f"it is of step {copied.step}, not {original.step}"
