"""The files that a user named for a split: a file, a pattern, a folder that `datasets` saved, or a data set of the hub.

Knows names of files and folders; reads no row.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

from surestep.data.datasets.dataset import Split
from surestep.data.records.hub_files import HubName, fetch_split, hub_name
from surestep.errors import DataError
from surestep.untrusted import place_inside, read_json

_SPLIT_NAMES: dict[str, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test",),
}
"""What a split may be called in a folder that holds several."""
_STATE, _SPLITS = "state.json", "dataset_dict.json"


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """What a user's name stands for.

    Attributes:
        files: in order.
        about: a sentence on where they come from, where the name does not say it.
    """

    files: tuple[Path, ...]
    about: str = ""


def own_files(named: Path, split: Split, *, named_by: str) -> OwnFiles | str:
    """The files, or why there are none.

    Args:
        named: what the user wrote.
        split: which one it is for; names the part of a folder with several.
        named_by: the field, for messages.

    Raises:
        DataError: a folder that `datasets` saved is broken, or the hub cannot give what is named.
    """
    text = str(named)
    if named.is_dir():
        return OwnFiles(tuple(_saved(named, split, named_by)))
    if named.exists():
        return OwnFiles((named,))
    if any(mark in text for mark in "*?["):
        found = sorted(path for path in map(Path, glob.glob(text, recursive=True)) if path.is_file())
        return OwnFiles(tuple(found)) if found else f"own: no file matches {named} ({named_by}); check the pattern"
    if (on_hub := hub_name(text)) is not None:
        return _fetched(on_hub)
    looks_like_hub = text.count("/") == 1 and not named.suffix
    hint = f"; a data set of the hub is named with its split, {text}:train" if looks_like_hub else ""
    return f"own: no file {named} ({named_by}); check the path{hint}"


def _fetched(name: HubName) -> OwnFiles:
    fetched = fetch_split(name)
    names = ", ".join(fetched.names[:3]) + (f" and {len(fetched.names) - 3} more" if len(fetched.names) > 3 else "")
    return OwnFiles(fetched.files, f"{name.repository} of the hub at revision {fetched.revision}: {names}")


def _saved(folder: Path, split: Split, named_by: str) -> list[Path]:
    """The Arrow files of a folder that `save_to_disk` made; of a folder with several splits, those of `split`."""
    if (folder / _SPLITS).is_file():
        names = [name for name in _SPLIT_NAMES[split] if (folder / name / _STATE).is_file()]
        if not names:
            there = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())) or "none"
            raise DataError(
                f"holds no {' or '.join(_SPLIT_NAMES[split])}; it has {there}: name the folder of one ({named_by})",
                path=folder,
            )
        folder = folder / names[0]
    if not (folder / _STATE).is_file():
        raise DataError(
            f"is a folder, not a file, and not one that datasets.save_to_disk made (it has no {_STATE}); name "
            f"the files in it, '{folder}/*.jsonl' say ({named_by})",
            path=folder,
        )
    try:
        state = read_json(folder / _STATE)
        if state.get("_indices_data_files"):  # of an early `datasets`: rows in another order, or only some of them
            raise ValueError("its rows are chosen by an index: flatten_indices() first")
        names = [entry["filename"] for entry in state["_data_files"]]
        return [place_inside(folder, name) for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{_STATE} does not name the folder's files ({error}); save it again", path=folder) from None
