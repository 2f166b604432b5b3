"""Rows by step as columns, straight from lines of JSON where nothing about them is doubtful.

Whatever a check would refuse, or `layouts.read_row` would change (a name that is a number, 3.0 for 3, NaN for null), is
left to it: these rows hold plain texts and numbers in their ranges only. Fields that nobody reads are passed over.
Knows lines and columns; knows no file.

Legend: N rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from surestep.scored import BoolArray, FloatArray, IntArray
from surestep.scoring.predictions.layouts import LAYOUTS, MOST, NAMES, WHOLE
from surestep.untrusted.json_table import Kind, sure_table

NUMBERS = ("confidence", "raw_confidence", "label", "true_confidence")
UNSAID = -2
"""Stands for a whole number that a row does not say."""
TEXTS = ("problem", "text", "context")
_KINDS: dict[str, Kind] = {
    **dict.fromkeys((*NAMES, *TEXTS), "string"),
    **dict.fromkeys(WHOLE, "int64"),
    **dict.fromkeys(NUMBERS, "float64"),
}
_NEVER_UNREAD = ("id", "subset", *(layout.column for layout in LAYOUTS))
"""Fields beside them that say something of a row, of which `layouts.read_row` knows what; nobody reads any other."""


@dataclass(frozen=True, eq=False, slots=True)
class TextColumn:
    """A text for each of N rows, each different one held once.

    Attributes:
        values: the texts, and None in the last place.
        place: shape (N,), where the text of each row is among them; -1 where it has none.
    """

    values: list[str | None]
    place: IntArray

    def of(self, row: int) -> str | None:
        """The text of one row."""
        return self.values[int(self.place[row])]

    def listed(self) -> list[str | None]:
        """The text of every row."""
        return [self.values[place] for place in self.place.tolist()]


@dataclass(frozen=True, eq=False, slots=True)
class SureRows:
    """Rows by step, every one with a confidence.

    Attributes:
        numbers: `NUMBERS`, float64 (N,) each, in [0, 1], NaN where a row has none.
        whole: `WHOLE`, int64 (N,) each, within its bounds; `UNSAID` where a row has none.
        texts: names without blanks around them, and `TEXTS` as they are; (N,) each.
        line: shape (N,), the line of each row.
    """

    numbers: Mapping[str, FloatArray]
    whole: Mapping[str, IntArray]
    texts: Mapping[str, TextColumn]
    line: IntArray

    def __len__(self) -> int:
        """N."""
        return self.line.size

    def has(self, name: str) -> BoolArray:
        """Which rows have a text or a whole number of that name, (N,)."""
        return self.texts[name].place >= 0 if name in self.texts else self.whole[name] != UNSAID

    def only(self, names: Collection[str]) -> SureRows:
        """The same rows as if they had nothing but the fields `names`."""
        nothing = TextColumn([None], np.full(len(self), -1, np.int64))
        no_number, no_whole = np.full(len(self), np.nan), np.full(len(self), UNSAID, np.int64)
        return SureRows(
            {name: values if name in names else no_number for name, values in self.numbers.items()},
            {name: values if name in names else no_whole for name, values in self.whole.items()},
            {name: column if name in names else nothing for name, column in self.texts.items()},
            self.line,
        )

    def select(self, rows: BoolArray) -> SureRows:
        """The rows where `rows`, (N,), is true."""
        return SureRows(
            {name: values[rows] for name, values in self.numbers.items()},
            {name: values[rows] for name, values in self.whole.items()},
            {name: TextColumn(column.values, column.place[rows]) for name, column in self.texts.items()},
            self.line[rows],
        )


def sure_rows(text: str, first_line: int) -> SureRows | None:
    """The rows of some lines by step, one object a line; None where `layouts.read_row` has to read them.

    Args:
        text: whole lines.
        first_line: the number of the first of them.

    >>> rows = sure_rows('{"confidence": 0.5, "problem_id": " p "}\\n{"confidence": 1, "step": 2}\\n', 7)
    >>> rows.numbers["confidence"].tolist(), rows.whole["step"].tolist(), rows.texts["problem_id"].listed()
    ([0.5, 1.0], [-2, 2], ['p', None])
    >>> sure_rows('{"confidence": 1.5}\\n', 1) is sure_rows('{"confidence": 0.5, "step": -1}\\n', 1) is None
    True
    """
    table = sure_table(text, _KINDS, reserved=_NEVER_UNREAD)
    if table is None or table["confidence"].null_count:
        return None
    numbers = {name: _unit_interval(table[name]) for name in NUMBERS}
    whole = {name: _whole(table[name], least) for name, least in WHOLE.items()}
    if any(column is None for column in (*numbers.values(), *whole.values())):
        return None
    return SureRows(
        {name: column for name, column in numbers.items() if column is not None},
        {name: column for name, column in whole.items() if column is not None},
        {name: _texts(table[name], is_name=name in NAMES) for name in (*NAMES, *TEXTS)},
        first_line + np.arange(table.num_rows, dtype=np.int64),
    )


def _unit_interval(column: Any) -> FloatArray | None:
    values = np.asarray(column.to_numpy(), np.float64)  # NaN for null
    # A number with a sign is -0.0, or whole and -0, which is 0.
    is_in = (values >= 0.0) & (values <= 1.0) & ~np.signbit(values)
    return values if int(is_in.sum()) == len(values) - column.null_count else None


def _whole(column: Any, least: int) -> IntArray | None:
    is_null = np.asarray(column.is_null().to_numpy())
    values = np.asarray(column.fill_null(0).to_numpy(), np.int64)
    if not (is_null | ((values >= least) & (values <= MOST))).all():
        return None
    return np.where(is_null, UNSAID, values)


def _texts(column: Any, *, is_name: bool) -> TextColumn:
    found = column.combine_chunks().dictionary_encode()
    values: list[str] = found.dictionary.to_pylist()
    place = np.asarray(found.indices.fill_null(-1).to_numpy(), np.int64)
    if is_name:
        values = [value.strip() for value in values]
        place = np.where(np.array([*map(bool, values), False])[place], place, -1)  # a blank name is none
    return TextColumn([*values, None], place)
