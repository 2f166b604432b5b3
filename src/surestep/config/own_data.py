"""What it means to name a file of one's own: `own` is on, and the datasets that are on by default are off.

Whoever says of a dataset whether it is used is heard. Knows the fields; knows no flag.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surestep.data.datasets import DATASET_NAMES, DATASETS
from surestep.data.records.given_rows import file_of_rows

if TYPE_CHECKING:
    from surestep.config import Config
    from surestep.config.data import DataConfig

OWN_FILES = ("own_train", "own_validation", "own_test")
"""The fields that name data of the user's own."""


def switches(data: Mapping[str, Any], layer: Mapping[str, Any], *, kept: Collection[str] = ()) -> dict[str, bool]:
    """The `use_...` fields that change where a layer of the `data` section names a file.

    Args:
        data: the section below the layer.
        layer: what a file or flags set of it.
        kept: datasets that a layer in between has turned on.

    >>> switches({"use_own": False}, {"own_train": "a.jsonl", "use_eqasc": True})
    {'use_own': True, 'use_prm800k': False}
    >>> switches({"use_own": False}, {"own_train": "a.jsonl", "use_own": False})
    {}
    """
    if not _named(layer) or layer.get("use_own") is not None or data.get("use_own"):
        return {}
    default = [name for name in DATASET_NAMES if _is_default(name)]
    return {"use_own": True} | {
        f"use_{name}": False for name in default if name not in kept and layer.get(f"use_{name}") is None
    }


def turned_on(layer: Mapping[str, Any]) -> frozenset[str]:
    """The datasets that a layer of the `data` section turns on by name."""
    return frozenset(name for name in DATASET_NAMES if layer.get(f"use_{name}") is True)


def lines(before: DataConfig, after: DataConfig, layer: Mapping[str, Any]) -> list[str]:
    """What naming a file changed, in a sentence."""
    named = _named(layer)
    if not named or before.use_own or not after.use_own or layer.get("use_own") is not None:
        return []
    off = [name for name in DATASET_NAMES if before.is_used(name) and not after.is_used(name)]
    on = [name for name in after.used() if name != "own"]
    said = f"{' and '.join(named)} named: own data is on"
    said += f", {' and '.join(off)} off (--use_{off[0]} true keeps it)" if off else ""
    return [said + (f"; {' and '.join(on)} on as before" if on else "")]


def unread_own_data(data: DataConfig) -> list[str]:
    """That files are named and not read; empty where they are read."""
    named = _named({name: getattr(data, name) for name in OWN_FILES})
    if data.use_own or not named:
        return []
    return [f"{' and '.join(named)} named, but not read: use_own is false (--use_own true)"]


def with_own_data(
    config: Config,
    *,
    train: Any = None,
    validation: Any = None,
    test: Any = None,
    columns: Mapping[str, str] | None = None,
    rows_dir: Path | str | None = None,
) -> Config:
    """A configuration that reads your own data: `own` is on, and the datasets that are on by default are off.

    Args:
        config: what else the run does; it is not changed.
        train: rows to train on: a path (a file, a pattern, a folder of `datasets`, `org/name:split` of the hub), a list
            of dictionaries, a pandas or polars data frame, a pyarrow table or a `datasets.Dataset`. The layout is
            recognised by the keys.
        validation: likewise; None: held out of `train` by problem.
        test: likewise.
        columns: what your columns are called, where a layout calls them otherwise: `{"problem": "question"}`.
        rows_dir: where rows that are in memory are kept as files, which the run names; None: `own_rows` in the
            configuration's `output_dir`.

    Raises:
        InputError: rows that are none of the above.
        ConfigError: `columns` is no table of names.
        StorageError: the rows cannot be written.
    """
    folder = config.output_dir / "own_rows" if rows_dir is None else Path(rows_dir)
    given = {"own_train": train, "own_validation": validation, "own_test": test}
    layer: dict[str, Any] = {
        name: str(file_of_rows(rows, folder)) for name, rows in given.items() if rows is not None
    } | ({"own_columns": dict(columns)} if columns is not None else {})
    values = config.to_dict()
    values["data"] |= layer | switches(values["data"], layer)
    return type(config).from_dict(values)


def _named(layer: Mapping[str, Any]) -> list[str]:
    return [name for name in OWN_FILES if layer.get(name) is not None]


def _is_default(name: str) -> bool:
    fields = DATASETS[name].fields
    assert fields is not None, name
    return fields.model_fields[f"use_{name}"].default is True
