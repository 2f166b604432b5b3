"""One line of a check: what was looked at, how it stands, and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["pass", "fail", "contradicts-data", "skipped", "info"]


@dataclass(frozen=True)
class Finding:
    """A line of the checklist.

    Attributes:
        item: the point of the checklist it belongs to.
        what: what was looked at.
        status: `pass`; `fail`; `contradicts-data` (a target that this data cannot give: never a pass, whatever the
            value); `skipped` (not looked at, and why: neither pass nor fail); `info` (nothing is demanded).
        value: what was found, in words or as a number.
        target: what was demanded.
        detail: what a reader needs beside it.
        mend: what to do; empty where nothing is.
        numbers: the same for programs.
    """

    item: str
    what: str
    status: Status
    value: str = ""
    target: str = ""
    detail: str = ""
    mend: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
