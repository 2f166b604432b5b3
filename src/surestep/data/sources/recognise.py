"""Which layout a file of rows has, by the keys of its rows; and where none, which columns would have to be mapped.

Knows the layouts' records; reads the first rows of a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from surestep.data.datasets import DATASETS, LAYOUTS
from surestep.data.datasets.dataset import RowKeys, layout_of
from surestep.data.records.record import Record, read_records
from surestep.data.records.row_file import RowFile, has_column
from surestep.errors import BadRowError, ConfigError, DataError
from surestep.untrusted.bounds import shown

NUM_ROWS = 16
"""First rows that are looked at: of some layouts not every row has every key."""
OTHER_KEYS = frozenset({"id", "group", "source", "context", "solution_id", "step_index", "aug_step"})
"""Names that columns may be mapped to, beside those that tell a layout."""

_USUAL: dict[str, tuple[str, ...]] = {
    "problem": ("problem", "question", "prompt", "query", "instruction", "input"),
    "prompt": ("prompt", "problem", "question", "query", "instruction"),
    "steps": ("steps", "completions", "solution", "solutions", "reasoning", "response", "chain_of_thought", "cot"),
    "completions": ("completions", "steps", "responses"),
    "labels": ("labels", "ratings", "label", "scores", "rewards", "correctness", "confidences", "annotations"),
    "step": ("step", "step_text", "sentence", "text", "completion"),
    "label": ("label", "rating", "is_correct", "correct", "score", "labels", "value"),
    "chosen": ("chosen", "preferred", "winner"),
    "rejected": ("rejected", "dispreferred", "loser"),
}
"""What a layout needs -> what others call it; it is named in messages, never read without being asked for."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a file is.

    Attributes:
        layout: name of the layout.
        keys: those that told it.
        columns: the mapping that applies to it, empty where its columns are called as the layout calls them.
    """

    layout: str
    keys: tuple[str, ...]
    columns: Mapping[str, str]

    def line(self) -> str:
        """How it is read, and how to say otherwise, in a sentence."""
        mapped = ", ".join(f"{name} from {column}" for name, column in self.columns.items())
        said = f" with {mapped} (--columns)" if mapped else ""
        return (
            f"read as {self.layout}{said}, recognised by the keys {', '.join(self.keys)} (--own_format says otherwise)"
        )


def recognise(path: Path, columns: Mapping[str, str], *, where: str) -> Recognised:
    """The layout of a file.

    Args:
        path: the file.
        columns: what the user says of its columns, name in the layout -> name in the file. They do not apply to a file
            that has none of these columns and a layout without them.
        where: the field that names the file, for messages.

    Raises:
        DataError: the file is broken, or none of its first rows has the keys of a layout; the message names the file's
            keys, the nearest layout, and the mapping that would make it one.
        ConfigError: `columns` names something that no layout has.
    """
    check_columns(columns)
    rows = first_rows(path)
    applies = bool(columns) and any(has_column(row, column) for row in rows for column in columns.values())
    if columns and not applies and _layout_of(rows) is None:
        wanted = ", ".join(columns.values())
        raise DataError(f"has none of the columns {wanted} (--columns); it has {_keys(rows)}", path=path)
    file = RowFile(path, columns if applies else {})
    renamed = [file.renamed(row) for row in rows]
    found = _layout_of(renamed)
    if found is None:
        raise DataError(_unknown(renamed, where), path=path)
    layout, keys = found
    return Recognised(layout, tuple(name for need in keys.needs for name in need.split("|") if _has(renamed, name)),
                      file.columns)  # fmt: skip


def columns_for(path: Path, columns: Mapping[str, str]) -> Mapping[str, str]:
    """The mapping as it applies to a file whose layout is named: whole, or not at all where it has none of its columns.

    Raises:
        DataError: the file is broken.
        ConfigError: `columns` names something that no layout has.
    """
    check_columns(columns)
    if not columns:
        return {}
    rows = first_rows(path)
    return columns if any(has_column(row, column) for row in rows for column in columns.values()) else {}


def check_columns(columns: Mapping[str, str]) -> None:
    """Raise where a name that columns are mapped to is in no layout."""
    known = OTHER_KEYS | {name for _, keys in _variants() for need in keys.needs for name in need.split("|")}
    if unknown := [name for name in columns if name not in known]:
        raise ConfigError(f"--columns maps to {unknown[0]!r}, which no layout has; allowed: {', '.join(sorted(known))}")


def first_rows(path: Path) -> list[Record]:
    """The first rows that are objects; those that are none are the reader's to refuse.

    Raises:
        DataError: the file is broken in its beginning.
    """
    bad: list[BadRowError] = []
    rows = list(islice(read_records(path, on_bad_row=bad.append), NUM_ROWS))
    if not rows and bad:
        raise bad[0]
    if not rows:
        raise DataError("the file holds no row; check where it came from", path=path)
    return rows


def _variants() -> Iterator[tuple[str, RowKeys]]:
    for name in LAYOUTS:
        for keys in DATASETS[name].rows:
            yield name, keys


def _layout_of(rows: Sequence[Record]) -> tuple[str, RowKeys] | None:
    """That of the first row that has one."""
    layouts = {name: DATASETS[name] for name in LAYOUTS}
    return next((found for row in rows if (found := layout_of(row, layouts)) is not None), None)


def _has(rows: Sequence[Record], name: str) -> bool:
    return any(name in row.values for row in rows)


def _keys(rows: Sequence[Record]) -> str:
    return shown(", ".join(dict.fromkeys(str(key) for row in rows for key in row.values)))


def _unknown(rows: Sequence[Record], where: str) -> str:
    """Why no layout fits: the file's keys, the nearest layout, and the flag that maps columns."""
    row = rows[0]
    # One whose keys are all there has other values: a column of that name is not meant so. Layouts with columns of an
    # inner structure of their own are what nobody's columns can be mapped to.
    mappable = [(name, keys) for name, keys in _variants() if all(need.split("|")[0] in _USUAL for need in keys.needs)]
    name, mapping = max(
        ((name, _mapping(row, keys)) for name, keys in mappable if not keys.has_all(row)),
        key=lambda found: _nearness(found[1]),
    )
    flags = " ".join(f"{need}={column or 'COLUMN'}" for need, column in mapping.items() if need != column)
    is_raw = isinstance(row.seen(mapping.get("steps") or ""), str)
    raw = "; where the steps are one text, solution=COLUMN and --own_split auto" if is_raw else ""
    return (
        f"its rows have the keys {_keys(rows)}, which are no layout's; the nearest is {name} ({', '.join(mapping)}): "
        f"say which columns hold them with --columns {flags} (a.b is b within a){raw}; or name the layout of {where} "
        f"with --own_format {'|'.join(LAYOUTS)}"
    )


def _nearness(mapping: Mapping[str, str | None]) -> tuple[float, int, int]:
    """How near a layout is: the share of its needs that a column may hold, then those called so, then how many."""
    found = [need for need, column in mapping.items() if column is not None]
    return len(found) / len(mapping), sum(mapping[need] == need for need in found), len(mapping)


def _mapping(row: Record, keys: RowKeys) -> dict[str, str | None]:
    """For each thing a layout needs the column that may hold it: the one of that name, else one of a usual name."""
    found: dict[str, str | None] = {}
    for need in keys.needs:
        names = need.split("|")
        there = next((name for name in names if name in row.values and _may_be(name, row.seen(name))), None)
        if there is not None:
            found[there] = there
            continue
        usual = (name for name in _USUAL.get(names[0], ()) if name in row.values and name not in found.values())
        found[names[0]] = next((name for name in usual if _may_be(names[0], row.seen(name))), None)
    return found


def _may_be(need: str, value: Any) -> bool:
    """Whether a value is of the kind that a need has: lists for what comes once a step."""
    if need in {"completions", "labels", "confidences", "conversations", "messages", "chain_of_thoughts"}:
        return isinstance(value, list)
    if need in {"steps", "chosen", "rejected", "initial_reason_steps"}:
        return isinstance(value, list | str)
    return not isinstance(value, list | dict)
