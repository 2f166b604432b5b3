"""A table that fits the terminal: no name is lost and no figure is broken, however narrow it is.

Knows widths; knows no result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_UNBOUNDED = 100_000
_NARROWEST_NAME = 16
"""Columns of the terminal that the first column keeps, where it must wrap."""


@dataclass(frozen=True)
class _Widths:
    """What columns take that nothing bounds: each alone, and the gap between two of them."""

    alone: list[int]
    between: int

    def natural(self, columns: Sequence[int]) -> int:
        """Of some columns side by side."""
        return sum(self.alone[number] for number in columns) + self.between * (len(columns) - 1)

    def fit(self, columns: Sequence[int], max_width: int) -> bool:
        """Whether these columns stand side by side; the first one may wrap down to `_NARROWEST_NAME`."""
        return self.natural(columns) - max(0, self.alone[0] - _NARROWEST_NAME) <= max_width


class FittedTable(Table):
    """A table whose columns go on below, each piece with the first column again, where they do not fit side by side.

    The first column holds names and wraps at words; no other does, unless one alone is wider than the terminal. Title
    and caption have the whole width.

    Args:
        title: stands above the table.
        caption: stands below it; may be set later.
    """

    def __init__(self, title: str | None = None, *, caption: str | None = None) -> None:
        super().__init__(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        self.heading = title
        self.remark = caption

    def add_columns_of(self, *names: str, first: str = "") -> None:
        """A first column of names, left, and columns of figures, right."""
        self.add_column(first)
        for name in names:
            self.add_column(name, justify="right")

    def add_cells(self, *cells: str, style: str | None = None) -> None:
        """A row of plain text, which no one takes for markup."""
        self.add_row(*(Text(cell) for cell in cells), style=style)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The pieces, one below the other."""
        if self.heading is not None:
            yield Text(self.heading, style="bold")
            yield Text("")
        widths = self._natural_widths(console, options)
        for columns in self._pieces(widths, options.max_width):
            yield from _shown(self._piece(columns, widths.fit(columns, options.max_width)), console, options)
            yield Text("")
        if self.remark is not None:
            yield Text(self.remark, style="dim")
            yield Text("")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """As wide as it may be."""
        return Measurement(1, options.max_width)

    def _pieces(self, widths: _Widths, max_width: int) -> Iterator[list[int]]:
        """Numbers of the columns of each piece."""
        piece = [0]
        for number in range(1, len(self.columns)):
            if len(piece) > 1 and not widths.fit([*piece, number], max_width):
                yield piece
                piece = [0]
            piece.append(number)
        yield piece

    def _natural_widths(self, console: Console, options: ConsoleOptions) -> _Widths:
        unbounded = options.update(max_width=_UNBOUNDED)

        def width(*columns: int) -> int:
            return Measurement.get(console, unbounded, self._piece(list(columns), True)).maximum

        alone = [width(number) for number in range(len(self.columns))]
        return _Widths(alone, between=width(0, 1) - alone[0] - alone[1] if len(alone) > 1 else 0)

    def _piece(self, columns: list[int], is_whole: bool) -> Table:
        """Some columns as a table of rich; `is_whole`: no column but the first may wrap."""
        table = Table(box=self.box, padding=self.padding, pad_edge=False, show_edge=False)
        for place, number in enumerate(columns):
            column = self.columns[number]
            table.add_column(column.header, justify=column.justify, no_wrap=is_whole and place > 0, overflow="fold")
        cells: list[list[RenderableType]] = [list(self.columns[number].cells) for number in columns]
        for row, *values in zip(self.rows, *cells, strict=True):
            table.add_row(*values, style=row.style, end_section=row.end_section)
        return table


def _shown(table: Table, console: Console, options: ConsoleOptions) -> Iterator[Any]:
    yield from console.render(table, options)
