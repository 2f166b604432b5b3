"""A label written by the user, checked.

Knows which values a label may have; knows no file format.
"""

from __future__ import annotations

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
