"""The files of one split of a data set on the Hugging Face hub, at one revision, fetched by `huggingface_hub`.

Knows how splits are called in file names, as `datasets` does; reads no row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from surestep.data.records.arrow_file import ARROW, PARQUET
from surestep.data.records.lines import PACKED
from surestep.errors import DataError
from surestep.hub import from_cache_only
from surestep.untrusted.bounds import shown

_NAME = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*):([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*)(?:@([\w.-]+))?")
_ENDINGS = {".jsonl", ".ndjson", ".json", ".csv", *PARQUET, *ARROW}
_OTHER_SPLITS = ("train", "validation", "valid", "dev", "val", "test", "eval")


@dataclass(frozen=True, slots=True)
class HubName:
    """A split of a data set on the hub.

    Attributes:
        repository: `organisation/name`.
        split: what it is called there, a folder in front of it where the data set has several parts: `main/train`.
        revision: a branch, tag or commit; empty: the newest.
    """

    repository: str
    split: str
    revision: str = ""


@dataclass(frozen=True, slots=True)
class FetchedSplit:
    """Its files on this machine, their names on the hub, and the commit they are of."""

    files: tuple[Path, ...]
    names: tuple[str, ...]
    revision: str


def hub_name(text: str) -> HubName | None:
    """A data set of the hub and one of its splits, where `text` is written like that.

    >>> hub_name("trl-lib/prm800k:train@main")
    HubName(repository='trl-lib/prm800k', split='train', revision='main')
    >>> hub_name("data/train.jsonl") is None
    True
    """
    found = _NAME.fullmatch(text)
    return None if found is None else HubName(found[1], found[2], found[3] or "")


def fetch_split(name: HubName) -> FetchedSplit:
    """Fetch the split's files into the hub's cache, where they stay.

    Raises:
        DataError: the hub cannot give it and the cache does not have it, or no file or files of several parts are of
            this split.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if from_cache_only(name.repository) or _is_offline():
        try:
            folder = Path(
                snapshot_download(
                    name.repository, repo_type="dataset", revision=name.revision or None, local_files_only=True
                )
            )
        except (LocalEntryNotFoundError, OSError, ValueError):
            raise _refused(
                name, "the hub does not answer, and its cache does not have it; connect, or name a file"
            ) from None
        there = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        names = files_of_split(there, name)
        return FetchedSplit(tuple(folder / file for file in names), names, folder.name)
    commit, there = _listed(name)
    names = files_of_split(there, name)
    try:
        files = [Path(hf_hub_download(name.repository, file, repo_type="dataset", revision=commit)) for file in names]
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise _refused(name, f"its files cannot be fetched ({shown(_first_line(error))}); try again") from None
    return FetchedSplit(tuple(files), names, commit)


def _listed(name: HubName) -> tuple[str, list[str]]:
    """The commit and the names of all its files."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        info = HfApi().dataset_info(name.repository, revision=name.revision or None)
    except OfflineModeIsEnabled:
        raise _refused(name, "HF_HUB_OFFLINE forbids to ask the hub; unset it, or name a file") from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = f"the hub does not give it ({shown(_first_line(error))})"
        raise _refused(name, f"{reason}; check the name, or log in with `hf auth login` where it is private") from None
    return str(info.sha), sorted(file.rfilename for file in info.siblings or ())


def files_of_split(there: Sequence[str], name: HubName) -> tuple[str, ...]:
    """Which files hold a split: those with its name as a word; where none names any split, all are `train`.

    Raises:
        DataError: there is none, or they lie in several folders or have several formats, each perhaps the whole.

    >>> files_of_split(["README.md", "data/test-0.parquet", "data/train-0.parquet"], HubName("a/b", "train"))
    ('data/train-0.parquet',)
    """
    part, _, split = name.split.rpartition("/")
    data = [file for file in there if _ending(file) in _ENDINGS and not file.startswith(".")]
    inside = [file for file in data if not part or f"/{part}/" in f"/{file}"]
    found = [file for file in inside if _has_word(file, split)]
    if not found and split == "train":
        found = [file for file in inside if not any(_has_word(file, other) for other in _OTHER_SPLITS)]
    if not found:
        raise _refused(
            name, f"none of its files is of split {split!r}; it has {shown(', '.join(data) or 'no data file')}"
        )
    folders, endings = sorted({str(Path(file).parent) for file in found}), sorted({_ending(file) for file in found})
    if len(folders) > 1:
        example = f"{name.repository}:{folders[0]}/{split}"
        raise _refused(name, f"its files lie in {shown(', '.join(folders))}; name one folder, {example} say")
    if len(endings) > 1:
        raise _refused(name, f"the split is there as {' and '.join(endings)}; download one and name the file")
    return tuple(found)


def _has_word(file: str, word: str) -> bool:
    return re.search(rf"(?:^|[/._ -]){re.escape(word)}(?:$|[/._ -])", file) is not None


def _ending(file: str) -> str:
    suffixes = [suffix.lower() for suffix in Path(file).suffixes if suffix.lower() not in PACKED]
    return suffixes[-1] if suffixes else ""


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _refused(name: HubName, reason: str) -> DataError:
    return DataError(f"{name.repository}:{name.split} of the hub: {reason}")
