"""Problems in a table: what `surestep generate` does with its rows, and the notes that make a kill cost few tokens.

Each problem that is done is noted in a file of its own among the parts of the output, so that a run which was killed
and is started again asks the generator for no finished problem twice. Knows rows and notes; how a table is read and
written is `surestep.inference.tables`'.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from surestep.data.benchmarks.final_answer import written_answer
from surestep.disk import delete
from surestep.errors import InputError
from surestep.files import write_json
from surestep.inference.generation.candidates import GeneratedProblem
from surestep.inference.generation.run import Problem, Search, in_own_loop
from surestep.inference.solutions import checked_text, kind_of
from surestep.inference.tables.columns import Columns, text_of
from surestep.inference.tables.parts import ADVICE
from surestep.inference.tables.tasks import INDEX, NUMBER, TEXT, VALUE
from surestep.untrusted import read_json, read_json_lines

COLUMNS: Mapping[str, str] = {
    "candidates": VALUE,
    "chosen": INDEX,
    "chosen_answer": TEXT,
    "answers_by": VALUE,
    "is_correct": VALUE,
    "tokens": INDEX,
    "seconds": NUMBER,
    "stopped": TEXT,
}
"""What is added to a row; see docs/reference/file-formats.md."""


@dataclass(frozen=True)
class Notes:
    """Problems that are done, each in a file of its own in a folder; None keeps nothing."""

    folder: Path | None

    def path(self, problem: Problem) -> Path:
        """Where a problem's note lies."""
        assert self.folder is not None
        digest = hashlib.blake2b(json.dumps([problem.text, problem.gold]).encode(), digest_size=16)
        return self.folder / f"problem_{digest.hexdigest()}.json"

    def read(self, problem: Problem) -> dict[str, Any] | None:
        """The columns of a problem that is done; None of one that is not."""
        if self.folder is None:
            return None
        try:
            values = read_json(self.path(problem))
        except (OSError, ValueError):
            return None
        return values if isinstance(values, dict) and values.keys() == COLUMNS.keys() else None

    def write(self, problem: Problem, columns: Mapping[str, Any]) -> None:
        """A problem is done."""
        if self.folder is not None:
            write_json(self.path(problem), columns, advice=ADVICE)

    def remove(self, problems: Sequence[Problem]) -> None:
        """These stand in a part of the output now."""
        if self.folder is not None:
            for problem in problems:
                delete(self.path(problem))

    def tokens_of_parts(self, prefix: str) -> int:
        """Generated tokens in the parts of the output that are written already."""
        parts = [] if self.folder is None else sorted(self.folder.glob("*.rows"))
        return sum(int(row.get(f"{prefix}tokens") or 0) for part in parts for row in _rows(part))


def _rows(part: Path) -> Iterator[dict[str, Any]]:
    with suppress(OSError, ValueError):
        yield from read_json_lines(part)


@dataclass
class GenerateTask:
    """Solutions of the problem of each row; `prefix` stands before the names of its columns."""

    search: Search
    where: Columns
    notes: Notes
    prefix: str = ""
    _written: list[Problem] | None = None

    @property
    def columns(self) -> Mapping[str, str]:
        """See `COLUMNS`."""
        return COLUMNS

    def prepare(self, values: Mapping[str, Any]) -> Problem:
        """The problem, and its right answer where the row has one."""
        problem = text_of(values, self.where.problem)
        return Problem(problem, None if self.where.answer is None else gold_of(values, self.where.answer))

    def run(self, prepared: Sequence[Problem]) -> list[dict[str, Any]]:
        """The new columns of each row; those of problems that are noted as done come from there."""
        if self._written is None:
            self.search.budget.spent += self.notes.tokens_of_parts(self.prefix)
        else:
            self.notes.remove(self._written)  # the part before this one is written
        columns = [self.notes.read(problem) for problem in prepared]
        known = {i: int(found["tokens"]) for i, found in enumerate(columns) if found is not None}

        def done(number: int, found: GeneratedProblem) -> None:
            columns[number] = found.columns()
            self.notes.write(prepared[number], found.columns())

        in_own_loop(self.search.run(prepared, done, known=known))
        self._written = list(prepared)
        return [found for found in columns if found is not None]


def gold_of(values: Mapping[str, Any], column: str) -> str | None:
    r"""The right answer in a column: what stands there; of a solution of several lines, the answer that it ends with.

    Raises:
        InputError: it is neither text nor a number, or a solution without an answer.

    >>> gold_of({"a": "2 + 2 = 4.\n#### 4"}, "a"), gold_of({"a": "\\frac{1}{2}"}, "a"), gold_of({"a": 4}, "a")
    ('4', '\\frac{1}{2}', '4')
    """
    value = values.get(column)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise InputError(f"{column!r} is {kind_of(value)}; allowed: text or a number")
    text = checked_text(f"{value:f}" if isinstance(value, Decimal) else str(value), repr(column))
    marked = written_answer(text, only_marked=True)
    if marked is not None:
        return marked.strip()
    if "\n" not in text.strip():
        return text
    answer = written_answer(text)
    if answer is None:
        raise InputError(f"{column!r} is a text of several lines without an answer; name another --answer_column")
    return answer
