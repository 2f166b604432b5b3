"""A checkpoint, or an export for vLLM, to the Hugging Face hub: planned, shown, and then one commit or none.

A commit takes effect as a whole, so an upload that breaks off leaves the repository as it was. What lies there is
replaced only when that was asked for. `from_hub` is the way back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surestep.counted import counted
from surestep.errors import CheckpointError, UploadError
from surestep.files import CONFIG, MANIFEST
from surestep.hub import from_cache_only
from surestep.scoring.checkpoint.manifest import read_manifest
from surestep.terminal_text import in_one_line
from surestep.untrusted import place_inside, read_json
from surestep.untrusted.bounds import shown

HUB_ID = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9_])?/[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9_])?")
"""owner/name, as the hub allows them."""
README = "README.md"
VLLM_ABOUT = "surestep/about.json"
"""What an export for vLLM has in place of a manifest."""

_OWN_FOLDERS = ("adapter/", "backbone/", "tokenizer/", "training_state/", "surestep/")
_OWN_FILES = re.compile(
    r"(config|manifest|calibration|certificate|monitor|selective|pooler_config|generation_config|tokenizer|tokenizer_config|"
    r"special_tokens_map|added_tokens|vocab|model\.safetensors\.index)\.json|[^/]*\.safetensors"
)
_STAYS = {".gitattributes", README, "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE"}
"""Files of a repository that belong to no checkpoint."""
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]*")


@dataclass(frozen=True)
class Upload:
    """What is uploaded, and where to.

    Attributes:
        name: owner/name.
        files: path within the repository -> the file here; the card is not among them.
        card: text of `README.md`.
        keeps_card: a card that lies on the hub already stays.
        revision: the branch; None for the repository's default branch.
        left_out: a line for each thing that stays here.
    """

    name: str
    files: Mapping[str, Path]
    card: str
    keeps_card: bool = True
    revision: str | None = None
    left_out: tuple[str, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Of all files, the card included."""
        return sum(path.stat().st_size for path in self.files.values()) + len(self.card.encode())


@dataclass(frozen=True)
class Uploaded:
    """Where it is now.

    Attributes:
        url: of the commit.
        commit: its hash, which `Scorer.load(name, revision=commit)` takes.
    """

    url: str
    commit: str


def check_target(name: object, revision: str | None) -> None:
    """Raise unless these can be a repository and a branch.

    Raises:
        UploadError: one of them cannot.
    """
    if not isinstance(name, str) or not HUB_ID.fullmatch(name) or ".." in name or "--" in name:
        raise UploadError(
            f"{shown(name)} is no hub id; allowed: owner/name, of letters, digits, '-', '_' and '.' (not '--' or '..')"
        )
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision or revision.endswith("/")):
        raise UploadError(f"--revision {shown(revision)} is no name of a branch; allowed: letters, digits, '-._/'")


def files_to_upload(folder: Path, *, with_state: bool = False) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The files of a checkpoint, every hash compared, or of an export for vLLM; and what stays here.

    Args:
        folder: the checkpoint or the export.
        with_state: with `training_state/`, which only resuming needs.

    Raises:
        CheckpointError: the folder is neither, a file has changed, or there is no state to upload.
    """
    if (folder / MANIFEST).is_file():
        manifest = read_manifest(folder, with_state=with_state)
        names = [*manifest.files, MANIFEST, *(manifest.state_files if with_state else ())]
        state = [folder / name for name in manifest.state_files if (folder / name).is_file()]
        left_out: tuple[str, ...] = ()
        if state and not with_state:
            size = sum(path.stat().st_size for path in state)
            left_out = (f"training_state/ ({size_in_words(size)}, needed by --resume only) stays here",)
        return {name: folder / name for name in sorted(names)}, left_out
    if not (folder / VLLM_ABOUT).is_file():
        raise CheckpointError(f"{folder} is neither a checkpoint nor what `surestep export` wrote; name one of these")
    if with_state:
        raise CheckpointError(f"{folder} is an export for vLLM, which has no training state; drop that flag")
    try:
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
        return {name: place_inside(folder, name) for name in names if not _is_hidden(name) and name != README}, ()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} cannot be trusted: {error}") from None


def places_named(files: Mapping[str, Path]) -> list[str]:
    """Absolute paths of this machine that stand in the files' configuration: whoever downloads it can read them."""
    found: set[str] = set()

    def look(value: Any) -> None:
        if isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                look(inner)
        elif isinstance(value, str) and (Path(value).is_absolute() or value.startswith("~")):
            found.add(value)

    for name in (CONFIG, MANIFEST):
        if name in files:
            look(read_json(files[name], allow_nan=True))
    return sorted(found)


def upload(
    what: Upload,
    *,
    private: bool = True,
    message: str | None = None,
    update: bool = False,
    token: str | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Uploaded:
    """Upload as one commit.

    Args:
        what: as planned.
        private: whether a repository that is made now is private; one that is there stays as it is.
        message: of the commit.
        update: replace what lies in a repository that is there; else only an empty one, or a new branch, is taken.
        token: unset: that of `hf auth login` or `HF_TOKEN`.
        say: is told, in a line, what a user should know.

    Raises:
        UploadError: the hub does not answer, knows no such token, does not let it write there, or the name is taken.
            The repository's files are as they were.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    check_target(what.name, what.revision)
    if os.environ.get("HF_HUB_OFFLINE") or from_cache_only(what.name):
        raise UploadError(f"{what.name}: the hub does not answer; connect to the network, and unset HF_HUB_OFFLINE")
    api = HfApi(token=token)
    try:
        there = _prepare(api, what, private=private, update=update, say=say)
        additions = {name: str(path) for name, path in what.files.items()}
        operations: list[Any] = [CommitOperationAdd(name, path) for name, path in additions.items()]
        if README not in there or not what.keeps_card:
            operations.append(CommitOperationAdd(README, what.card.encode()))
        else:
            say(f"{README} on the hub stays as it is; --card FILE replaces it")
        stale = sorted(name for name in there - additions.keys() - _STAYS if _is_own(name))
        operations += [CommitOperationDelete(name, is_folder=False) for name in stale]
        if stale:
            say(
                f"{counted(len(stale), 'file')} of the former upload go "
                f"({', '.join(stale[:3])}{', ...' if stale[3:] else ''})"
            )
        made = api.create_commit(
            what.name, operations, commit_message=message or "Upload with Surestep", revision=what.revision
        )
    except UploadError:
        raise
    except Exception as error:  # the client fails in every way
        raise UploadError(_why_not(what, error)) from None
    return Uploaded(str(made.commit_url), str(made.oid))


def size_in_words(num_bytes: int) -> str:
    """Bytes as people read them.

    >>> size_in_words(999), size_in_words(1_234_567)
    ('999 bytes', '1.2 MB')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{counted(num_bytes, 'byte')}"


def _prepare(api: Any, what: Upload, *, private: bool, update: bool, say: Callable[[str], None]) -> set[str]:
    """Make repository and branch where they are missing; gives the names of the files that lie there."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = api.repo_info(what.name)
    except RepositoryNotFoundError:
        api.create_repo(what.name, private=private, exist_ok=False)
        there: set[str] = set()
    else:
        is_private = bool(info.private)
        if is_private != private:
            say(f"{what.name} is there already and stays {'private' if is_private else 'public'}")
        try:
            there = set(api.list_repo_files(what.name, revision=what.revision))
        except RevisionNotFoundError:
            there = set()
    if (taken := sorted(there - _STAYS)) and not update:
        at = "" if what.revision is None else f" at revision {what.revision}"
        raise UploadError(
            f"{what.name}{at} is taken: it holds {', '.join(taken[:3])}{', ...' if taken[3:] else ''}; choose another "
            "name or --revision, or replace it with --update"
        )
    if what.revision is not None:
        api.create_branch(what.name, branch=what.revision, exist_ok=True)
        there |= set(api.list_repo_files(what.name, revision=what.revision))
    return there


def _is_own(name: str) -> bool:
    """Whether a file of the repository would be read as part of what was uploaded, though it is not."""
    return name.startswith(_OWN_FOLDERS) or _OWN_FILES.fullmatch(name) is not None


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _why_not(what: Upload, error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    owner = what.name.partition("/")[0]
    unchanged = "nothing on the hub's branch has changed"
    if status == 401 or type(error).__name__ == "LocalTokenNotFoundError":
        return (
            f"{what.name}: the hub does not accept the token, or there is none; log in with `hf auth login`, or set "
            "HF_TOKEN to one with write access"
        )
    if status == 403:
        return f"{what.name}: the token may not write as {owner}; use one with write access there, or another owner"
    if status == 409:
        return f"{what.name} is taken; choose another name, or replace what is there with --update"
    if status == 412:
        return f"{what.name} was changed by somebody else meanwhile; look at it, then run the command again"
    reason = in_one_line(str(error), longest=200) or "no reason given"
    if isinstance(error, ValueError) and "Invalid metadata" in reason:
        return (
            f"{what.name}: the hub does not take the card ({reason}); {unchanged}: name a mended one with --card FILE"
        )
    return (
        f"{what.name}: the upload broke off ({type(error).__name__}: {reason}); {unchanged}: run the command again, "
        "what the hub has already is not sent twice"
    )
