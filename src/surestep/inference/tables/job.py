"""A table from end to end: rows in, parts scored, the output in its place.

Memory holds one part, whatever the size of the table. The parts, and with them all that is packed together, follow from
the input alone: a run that was killed and started again writes what one that was not writes. Knows no command line.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from surestep.counted import counted
from surestep.data.records.given_rows import to_json
from surestep.errors import BadRowError, ConfigError, DataError, InputError
from surestep.files import write_whole
from surestep.inference.tables.formats import Added, TableFormat, compressed, table_format
from surestep.inference.tables.parts import ADVICE, COUNTS, PartStore
from surestep.inference.tables.rows import BadRow, Format, Row
from surestep.inference.tables.tasks import Task

OnBadRow = Literal["aside", "stop"]


class Advance(Protocol):
    """Is told how many more rows are done; `earlier`: by a run before this one, which says nothing of the speed."""

    def __call__(self, count: int, /, *, earlier: bool = False) -> None: ...


def _nobody(_count: int, /, *, earlier: bool = False) -> None:
    """Nobody is told."""


_MOST_CHARACTERS = 2**24
"""Of the rows of a part, a long last one apart: what a part may take of memory."""
_FIRST_STREAMED = 8
"""Rows of the first part where rows are answered as they come; each part after it has twice as many."""
_LOOKED_AT = 1000
"""Bad rows at the beginning after which nothing better is expected."""


@dataclass(frozen=True)
class TableJob:
    """What is done with the rows of one table.

    Attributes:
        rows: the table's rows, from the first.
        source: the table, for messages.
        first: its first row that can be read.
        task: what is made of a row.
        layout: how the output is written.
        prefix: stands before the names of new columns.
        rows_per_part: the most rows that are scored together, and lost in a kill.
        on_bad_row: `aside` writes a row that cannot be scored to a file of its own, `stop` ends there.
    """

    rows: Iterator[Row | BadRow]
    source: Path
    first: Row
    task: Task
    layout: Format
    prefix: str = ""
    rows_per_part: int = 1024
    on_bad_row: OnBadRow = "aside"

    def table(self) -> TableFormat:
        """How the output is written.

        Raises:
            ConfigError: a new column is there already.
        """
        table = table_format(
            self.layout, self.first, {self.prefix + name: kind for name, kind in self.task.columns.items()}
        )
        try:
            table.check(self.first)
        except InputError as error:
            raise ConfigError(f"{self.source}, line {self.first.line}: {error}") from None
        return table

    def run_part(self, part: Sequence[Row | BadRow], table: TableFormat) -> DonePart:
        """Score the rows of a part.

        Raises:
            BadRowError: with `stop`, the first row that cannot be scored.
        """
        good: list[Row] = []
        prepared: list[Any] = []
        bad: list[BadRow] = []
        for row in part:
            refused = row if isinstance(row, BadRow) else self._prepare(row, table, prepared)
            if refused is None:
                assert isinstance(row, Row)
                good.append(row)
                continue
            if self.on_bad_row == "stop":
                hint = "correct the row, or put such rows aside with --bad_rows aside"
                raise BadRowError(f"{refused.reason}; {hint}", path=self.source, line=refused.line)
            bad.append(refused)
        added = self.task.run(prepared) if prepared else []
        named = [{self.prefix + name: value for name, value in columns.items()} for columns in added]
        return DonePart(list(zip(good, named, strict=True)), bad, sum(map(_lacks_a_confidence, added)))

    def _prepare(self, row: Row, table: TableFormat, prepared: list[Any]) -> BadRow | None:
        """Adds what is scored of a row to `prepared`; else says why it cannot be."""
        try:
            table.check(row)
            prepared.append(self.task.prepare(row.values))
        except InputError as error:
            return BadRow(row.number, row.line, str(error), row.values)
        return None


@dataclass(frozen=True)
class DonePart:
    """The rows of a part with their new columns, and those that could not be scored."""

    rows: list[tuple[Row, Added]]
    bad: list[BadRow]
    unscored: int

    def bad_lines(self) -> list[str]:
        """Each row that was not scored, as a line of JSON."""
        return [
            to_json({"row": row.number, "line": row.line, "reason": row.reason, "content": row.content})
            for row in self.bad
        ]

    def counts(self) -> dict[str, int]:
        """How many there are, by `COUNTS`."""
        return dict(zip(COUNTS, (len(self.rows), len(self.bad), self.unscored), strict=True))


def _lacks_a_confidence(columns: Added) -> bool:
    candidates = columns.get("candidates", ())
    given = [columns.get("confidences", ()), *(candidate["confidences"] or () for candidate in candidates)]
    return any(value is None or (isinstance(value, list) and None in value) for some in given for value in some)


def parts_of(rows: Iterable[Row | BadRow], most_rows: int, *, first: int | None = None) -> Iterator[list[Row | BadRow]]:
    """Rows in parts of at most `most_rows`; where `first` is given the first has so many, each next twice as many."""
    size = min(first or most_rows, most_rows)
    part: list[Row | BadRow] = []
    held = 0
    for row in rows:
        part.append(row)
        held += _characters(row.values if isinstance(row, Row) else row.content)
        if len(part) >= size or held >= _MOST_CHARACTERS:
            yield part
            part, held, size = [], 0, min(2 * size, most_rows)
    if part:
        yield part


def _characters(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list) else 1


def _digest(part: Sequence[Row | BadRow]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for row in part:
        content = (row.text or row.values) if isinstance(row, Row) else [row.reason, row.content]
        digest.update(to_json(content).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def run_in_parts(
    job: TableJob, store: PartStore, made_from: dict[str, Any], *, advance: Advance = _nobody
) -> dict[str, int]:
    """Score what is not scored yet, and put the output in its place; how many rows it has, by `COUNTS`.

    Args:
        job: what is done; `store.begin` was called.
        store: where the parts lie.
        made_from: as `store.begin` had it.
        advance: is told how many more rows are done.

    Raises:
        ConfigError: the input is not the one that the parts were made from.
        DataError: the input is broken, or its columns do not fit together.
        StorageError: the disk is full, say.
    """
    table, processes, number = job.table(), store.processes, 0
    for number, part in enumerate(parts_of(job.rows, job.rows_per_part), start=1):
        found, digest = store.read(number - 1), _digest(part)
        if found is not None and found.get("digest") != digest:
            raise ConfigError(
                f"{job.source}: from row {part[0].number} on it is not what {store.output} was begun from; start anew "
                "with --overwrite"
            )
        mine = processes.owns(number - 1)
        if found is None and mine:
            done = job.run_part(part, table)
            write_rows = partial(table.write_part, rows=done.rows)
            store.write(number - 1, write_rows, done.bad_lines(), {**done.counts(), "digest": digest})
        advance(len(part), earlier=found is not None and mine)
    if not processes.is_first:
        store.wait_until_finished()
        return store.totals()

    def join(parts: Sequence[Path], output: Path) -> None:
        with write_whole(output, "wb", advice=ADVICE) as file, compressed(output, file) as packed:
            table.join(parts, packed)

    store.finish(number, made_from, join)
    return store.totals()


def run_streamed(
    job: TableJob, output: IO[bytes], say_bad: Callable[[str], None], *, advance: Advance = _nobody
) -> dict[str, int]:
    """Score rows as they come and write each part at once, to a pipe say; nothing is kept for a second run.

    Args:
        job: what is done; its layout is JSONL or CSV.
        output: where rows go.
        say_bad: is told each row that is not scored, as a line of JSON.
        advance: is told how many more rows are done.

    Raises:
        DataError, BadRowError: as `run_in_parts`.
    """
    table, totals = job.table(), dict.fromkeys(COUNTS, 0)
    table.join([], output)
    for part in parts_of(job.rows, job.rows_per_part, first=_FIRST_STREAMED):
        done = job.run_part(part, table)
        table.write_part(output, done.rows)
        output.flush()
        for line in done.bad_lines():
            say_bad(line)
        totals = {name: total + done.counts()[name] for name, total in totals.items()}
        advance(len(part))
    return totals


def with_first(rows: Iterator[Row | BadRow], source: Path) -> tuple[Row, Iterator[Row | BadRow]]:
    """The first row that can be read, and all rows.

    Raises:
        DataError: there is none; the message says why of the first row, if there is one.
    """
    seen: list[Row | BadRow] = []
    for row in itertools.islice(rows, _LOOKED_AT):
        seen.append(row)
        if isinstance(row, Row):
            return row, itertools.chain(seen, rows)
    if not seen:
        raise DataError("holds no rows", path=source)
    assert isinstance(seen[0], BadRow)
    rest = "" if len(seen) == 1 else f" (none of the first {counted(len(seen), 'row')} can be read)"
    reason = f"{seen[0].reason}{rest}"
    raise DataError(reason, path=source, line=seen[0].line)
