"""How much is read before it is refused: each bound once, with the environment variable that raises it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from surestep.errors import ConfigError
from surestep.untrusted.whole_numbers import whole_number

_MIB = 2**20
LONGEST_VALUE_SHOWN = 120
"""Characters of a value that a message quotes."""


@dataclass(frozen=True)
class Bound:
    """How much of something is read before it is refused.

    Attributes:
        variable: the environment variable that sets another bound.
        default: the bound where that is not set, in `unit`.
        unit: what is counted, as messages name it.
        size: how many bytes or pieces one `unit` is.
    """

    variable: str
    default: int
    unit: str
    size: int = 1

    def __call__(self) -> int:
        """The bound that holds now, in bytes or pieces.

        Raises:
            ConfigError: the variable holds no whole number from 1.
        """
        text = os.environ.get(self.variable, "").strip()
        if not text:
            return self.default * self.size
        number = whole_number(text)
        if not number:
            raise ConfigError(
                f"the environment variable {self.variable} is {text[:40]!r}; allowed: a whole number from 1"
            )
        return number * self.size

    def exceeded(self, what: str) -> str:
        """That `what` is beyond it, and how to raise it."""
        return f"{what} more than {self() // self.size:,} {self.unit}; where that is meant, set {self.variable} higher"


DOCUMENT = Bound("SURESTEP_MAX_DOCUMENT_MIB", 64, "MiB", _MIB)
"""One JSON file of a run, read whole: a manifest, a configuration, figures, a log."""
YAML_TEXT = Bound("SURESTEP_MAX_YAML_KIB", 1024, "KiB", 1024)
"""A YAML file: its parser is slow and takes a thousand times the size of the text."""
UNPACKED = Bound("SURESTEP_MAX_UNPACKED_MIB", 16 * 1024, "MiB", _MIB)
"""What a data file may hold once unpacked; it is streamed."""
HELD_WHOLE = Bound("SURESTEP_MAX_JSON_MIB", 256, "MiB", _MIB)
"""What a data file in one piece of JSON may hold once unpacked; its text is in memory at once."""
LINE = Bound("SURESTEP_MAX_LINE_MIB", 64, "MiB", _MIB)
"""A line of a data file, unpacked; PRM800K's longest is below 100 KiB."""
DEPTH = Bound("SURESTEP_MAX_DEPTH", 100, "levels")
"""Lists and objects within each other."""
DIGITS = Bound("SURESTEP_MAX_DIGITS", 300, "digits")
"""Of a whole number: as many as a float can hold (1e308)."""
NODES = Bound("SURESTEP_MAX_YAML_VALUES", 100_000, "values")
"""Of a YAML file once its aliases are written out: nine lines can stand for a billion values."""
TENSORS = Bound("SURESTEP_MAX_TENSORS", 100_000, "tensors")
"""In one safetensors file; a Mixtral of 8 × 22 billion weights has about 2,000 in all its files."""
TENSOR_HEADER = Bound("SURESTEP_MAX_TENSOR_HEADER_MIB", 32, "MiB", _MIB)
"""The JSON header of a safetensors file: some 100 bytes a tensor."""
DOWNLOAD = Bound("SURESTEP_MAX_DOWNLOAD_MIB", 8 * 1024, "MiB", _MIB)
"""A download of unknown size, a known one is its own cap; PRM800K's phase 2 has 435 MiB."""
DOWNLOAD_TIME = Bound("SURESTEP_MAX_DOWNLOAD_MINUTES", 720, "minutes", 60)
"""Fetching one file, all attempts and pauses together."""
IDLE_TIME = Bound("SURESTEP_MAX_IDLE_SECONDS", 30, "seconds")
"""Waiting for the next bytes of a download."""
REDIRECTS = Bound("SURESTEP_MAX_REDIRECTS", 10, "redirects")
"""From the address of a download to where the file lies; the hub's files take one or two."""

BOUNDS = (
    *(DOCUMENT, YAML_TEXT, UNPACKED, HELD_WHOLE, LINE, DEPTH, DIGITS, NODES, TENSORS, TENSOR_HEADER),
    *(DOWNLOAD, DOWNLOAD_TIME, IDLE_TIME, REDIRECTS),
)
"""Every bound; docs/explanation/threat-model.md lists them."""


def shown(value: object) -> str:
    """A value as a message quotes it, cut where it is long."""
    if isinstance(value, Mapping | list | tuple) and len(value) > 20:
        return f"{'an object' if isinstance(value, Mapping) else 'a list'} of {len(value):,}"
    if isinstance(value, str):
        value = value[: LONGEST_VALUE_SHOWN + 1]
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE_SHOWN else f"{text[:LONGEST_VALUE_SHOWN]}…"
