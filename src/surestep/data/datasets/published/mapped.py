"""Any file of solutions with their first wrong step, told by a map what its fields are called.

    --map problem=input,label=mistake_index --label_base 0
    --map problem=doc.question,steps=response.0.steps,label=annotation.first --label_base 1

A name may lead into objects and lists (`records.row_file.find`): `a.b.0.c` is `c` of the first entry of `b` of `a`.
What is not mapped keeps the name that ProcessBench gives it. Whether labels count from 0 or from 1 is stated, never
guessed; null, -1, "N/A" and blank text are "no error" either way, and with a base of 1 a 0 is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from surestep.data.datasets.published.solution_rows import (
    NO_ERROR,
    JudgedSolution,
    SolutionReaders,
    error_number,
    listed,
)
from surestep.data.records.labels import read_name
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import Record
from surestep.data.records.row_file import find
from surestep.errors import ConfigError
from surestep.untrusted.bounds import shown

FIELDS = ("problem", "steps", "label", "id")
"""What a map may name."""

LabelBase = Literal[0, 1]


@dataclass(frozen=True, slots=True)
class FieldMap:
    """What the fields of a first-error file are called.

    Attributes:
        names: of `FIELDS`, the name in the file; those left out are called as here.
        label_base: what the first step is called by the label.
    """

    names: Mapping[str, str]
    label_base: LabelBase

    @classmethod
    def parse(cls, text: str, label_base: LabelBase | None) -> FieldMap:
        """The map that a flag spells: `problem=input,label=mistake_index`.

        Raises:
            ConfigError: it is no list of `field=name`, names a field twice or one that there is not, or the base of the
                label is not stated.

        >>> FieldMap.parse("problem=input,label=mistake_index", 0).names
        {'problem': 'input', 'label': 'mistake_index'}
        """
        names: dict[str, str] = {}
        for part in text.split(","):
            field, equals, name = (piece.strip() for piece in part.partition("="))
            if not equals or not name or field not in FIELDS:
                raise ConfigError(f"--map {part.strip()!r}; allowed: field=name, field one of {', '.join(FIELDS)}")
            if field in names:
                raise ConfigError(f"--map names {field!r} twice; keep one")
            names[field] = name
        if label_base is None:
            raise ConfigError(
                "--map needs --label_base 0 or --label_base 1: whether the file counts its steps from 0 or from 1 is "
                "not guessed"
            )
        return cls(names, label_base)

    def readers(self) -> SolutionReaders:
        """What reads such a file."""
        return SolutionReaders(self._judge)

    def about(self) -> dict[str, Any]:
        """As a result file says it."""
        return {"map": {field: self.names.get(field, field) for field in FIELDS}, "label_base": self.label_base}

    def _judge(self, record: Record, _report: ReadReport) -> Iterator[JudgedSolution]:
        found = {field: value_at(record, self.names.get(field, field), field) for field in FIELDS}
        row = record.inner(found, "the row")
        number = error_number(row, "label", base=self.label_base)
        first = NO_ERROR if number is None else number
        yield JudgedSolution(read_name(row, "id"), row.text("problem"), listed(row, "steps"), first)


def value_at(record: Record, name: str, field: str) -> Any:
    """The value that a name leads to; a missing `id` is None.

    Raises:
        DataError: the row has nothing of that name; says how far it leads and what is there.

    >>> from pathlib import Path
    >>> value_at(Record({"a": {"b": [{"c": 1}]}, "a.b": 2}, Path("x"), 1), "a.b.0.c", "label")
    1
    """
    found = find(record, name)
    if found.is_there:
        return found.value
    if field == "id":
        return None
    raise record.error(_leads_nowhere(found.value, found.before, found.missing, field, name))


def _leads_nowhere(value: Any, before: str, part: str, field: str, name: str) -> str:
    where = f" in {before!r}" if before else ""
    if isinstance(value, dict):
        there = ", ".join(shown(key) for key in sorted(map(str, value))[:20]) or "nothing"
    else:
        there = f"a list of {len(value)}" if isinstance(value, list) else "no object"
    return f"there is no {part!r}{where} (--map {field}={name}); there is {there}"
