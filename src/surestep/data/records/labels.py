"""Values of a record, checked: labels, whole numbers, names and marks.

A program that keeps a column as floating point (pandas does where a value is missing) writes 3 as 3.0 and null as NaN;
both are read as what they were. Knows which values are allowed; knows no file format.
"""

from __future__ import annotations

import math

from surestep.data.records.record import Record

ALLOWED = "a number from 0 to 1, true, false, or null where nobody judged the step"


def read_label(record: Record, value: object, what: str) -> float | None:
    """Confidence in [0, 1]: true is 1.0, false 0.0, null None.

    Raises:
        DataError: anything else (text, -1, 1.5, NaN), naming file, line and value.

    >>> from pathlib import Path
    >>> read_label(Record({}, Path("a.jsonl"), 1), 0.25, "label")
    0.25
    """
    if value is None or isinstance(value, bool):
        return None if value is None else float(value)
    if isinstance(value, int | float) and 0.0 <= value <= 1.0:
        return float(value)
    raise record.error(f"{what} is {value!r}; allowed: {ALLOWED}")


def whole_number(record: Record, value: object, what: str, allowed: str = "a whole number") -> int | None:
    """A whole number, also where it is written as 3.0; None for null and NaN.

    Args:
        record: named by the error.
        value: what the record holds.
        what: what it is, for the error.
        allowed: which values are, for the error.

    Raises:
        DataError: anything else (1.5, "3", true, infinity), naming file, line and value.

    >>> from pathlib import Path
    >>> row = Record({}, Path("a.jsonl"), 1)
    >>> whole_number(row, 3.0, "'label'"), whole_number(row, -1, "'label'"), whole_number(row, float("nan"), "'label'")
    (3, -1, None)
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if (number := as_integer(value)) is not None:
        return number
    raise record.error(f"{what} is {value!r}; allowed: {allowed}")


def as_integer(value: object) -> int | None:
    """A whole number, also where it is written as 3.0; None for everything else, true and false among it.

    >>> as_integer(3.0), as_integer(3.5), as_integer("3"), as_integer(True)
    (3, None, None, None)
    """
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_name(record: Record, field: str) -> str:
    """A name given as text or as a whole number, so that 7, 7.0, "7" and " 7 " are one; "" where there is none.

    Raises:
        DataError: anything else, naming file, line and value.
    """
    value = record.get(field)
    if value is None or isinstance(value, str):
        return (record.optional_text(field) or "").strip()
    return str(whole_number(record, value, f"'{field}'", "text or a whole number"))


def read_mark(record: Record, field: str) -> bool:
    """A mark that is true or false, also as 1 and 0; false where there is none.

    Raises:
        DataError: anything else, naming file, line and value.
    """
    value = record.get(field)
    if value is not None and (isinstance(value, str) or value not in (0, 1)):
        raise record.error(f"'{field}' is {value!r}; allowed: true, false or null")
    return bool(value)
