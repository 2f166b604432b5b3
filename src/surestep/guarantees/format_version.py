"""Which version of a stored promise's form this Surestep reads: asked in one place."""

from __future__ import annotations

from typing import Any


def check_format_version(values: Any, version: int, what: str) -> None:
    """Raise unless `values` is an object of this version.

    Raises:
        ValueError: it is of another version, or no object.

    >>> check_format_version({"format_version": 2}, 1, "certificate")
    Traceback (most recent call last):
        ...
    ValueError: certificate of format version 2; this Surestep reads 1
    """
    if not isinstance(values, dict) or values.get("format_version") != version:
        found = values.get("format_version") if isinstance(values, dict) else type(values).__name__
        raise ValueError(f"{what} of format version {found!r}; this Surestep reads {version}")
