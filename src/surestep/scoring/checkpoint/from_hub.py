"""A checkpoint from the Hugging Face hub: only the files that its manifest lists, as a folder of real files.

The hub's own cache holds links that lead out of the folder, and a repository holds files that belong to no checkpoint
(a card, attributes); both would be refused. Nothing is trusted here: loading compares every hash.
"""

from __future__ import annotations

import glob
import os
import shutil
from pathlib import Path

from surestep.errors import CheckpointError, StorageError
from surestep.files import MANIFEST, write_folder_whole
from surestep.hub import from_cache_only
from surestep.scoring.stored_split import default_cache_dir
from surestep.terminal_text import in_one_line
from surestep.untrusted import read_json, relative_name

_STATE = "training_state/"
"""What only resuming a run needs."""


def fetch_from_hub(name: str, *, revision: str | None = None) -> Path:
    """The folder of a checkpoint that lies on the hub as `name`, downloaded where it is not in the cache.

    Args:
        name: `owner/name`.
        revision: a branch, tag or commit; unset: the default branch.

    Raises:
        CheckpointError: the hub does not answer and the cache has nothing, there is no such repository or revision, or
            it holds no checkpoint.
    """
    from huggingface_hub import hf_hub_download, snapshot_download

    offline = from_cache_only(name)
    try:
        manifest = Path(hf_hub_download(name, MANIFEST, revision=revision, local_files_only=offline))
        commit = manifest.parent.name
        names = _listed(manifest)
        patterns = [glob.escape(listed) for listed in (MANIFEST, *names)]
        source = Path(snapshot_download(name, revision=commit, allow_patterns=patterns, local_files_only=offline))
    except Exception as error:  # the client fails in every way
        raise CheckpointError(_why_not(name, revision, error, offline=offline)) from None
    folder = default_cache_dir() / "hub" / f"{name.replace('/', '--')}-{commit}"
    if folder.is_dir():
        return folder
    try:
        with write_folder_whole(folder, advice="free space or set XDG_CACHE_HOME") as beside:
            for listed in (*names, MANIFEST):
                _take(source / listed, beside / listed)
    except StorageError:
        if not folder.is_dir():  # another process may have put the same files there meanwhile
            raise
    return folder


def _listed(manifest: Path) -> list[str]:
    values = read_json(manifest)
    files = values.get("files") if isinstance(values, dict) else None
    if not isinstance(files, dict):
        raise ValueError(f"its {MANIFEST} is not that of a Surestep checkpoint")
    return [relative_name(str(listed)) for listed in files if not str(listed).startswith(_STATE)]


def _take(source: Path, place: Path) -> None:
    """The file itself at `place`, without taking disk a second time where the file system allows that."""
    place.parent.mkdir(parents=True, exist_ok=True)
    source = Path(os.path.realpath(source, strict=True))
    try:
        os.link(source, place)
    except OSError:
        shutil.copyfile(source, place)


def _why_not(name: str, revision: str | None, error: Exception, *, offline: bool) -> str:
    kind, at = type(error).__name__, "" if revision is None else f" at revision {revision}"
    if kind in {"RepositoryNotFoundError", "GatedRepoError"}:
        return (
            f"{name}: neither a folder here nor a repository that the hub shows to you; check the name, or log in with "
            "`hf auth login`"
        )
    if kind == "RevisionNotFoundError":
        return f"{name}: the hub knows no revision {revision} of it; name a branch, a tag or a commit"
    if kind in {"EntryNotFoundError", "RemoteEntryNotFoundError"}:
        return (
            f"{name}{at} on the hub holds no {MANIFEST}: it is no checkpoint of Surestep; publish a folder that "
            "`surestep export` wrote"
        )
    if offline or kind in {"LocalEntryNotFoundError", "OfflineModeIsEnabled"}:
        return (
            f"{name}{at}: neither a folder here nor in the hub's local cache, and the hub does not answer; name a "
            "local folder, or connect to the network"
        )
    return (
        f"{name}{at} cannot be taken from the hub ({kind}: {in_one_line(str(error), longest=200)}); name a local folder"
    )
