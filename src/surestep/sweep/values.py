"""What a field takes in a sweep, as text: a list of values, a range, or a multiple of another field.

    5e-5,1e-4,5e-4          these values
    log:1e-5..1e-3          any number between, uniform in its logarithm
    0..0.3                  any number between; 8..64/8 in steps of 8
    2*lora.lora_r           twice whatever the other field takes

Knows text and numbers; knows no configuration and no search.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from surestep.untrusted import parse_json
from surestep.untrusted.whole_numbers import whole_number

Edge = Literal["low", "high"]
HOW = "write values (8,16,32), a range (0..0.3, log:1e-5..1e-3, 8..64/8) or a multiple of a field (2*lora.lora_r)"
"""What is allowed, for messages."""
_NEAR_EDGE = 0.05
"""Share of a range, in its logarithm where it is drawn so, that counts as its edge."""
_NUMBER = r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"(?P<log>log:)?\s*(?P<low>{_NUMBER})\s*\.\.\s*(?P<high>{_NUMBER})(?:\s*/\s*(?P<step>{_NUMBER}))?")
_MEANT_AS_RANGE = re.compile(rf"\s*(?:log:|{_NUMBER}\s*\.\.)")
_MULTIPLE = re.compile(rf"(?P<factor>{_NUMBER})\s*\*\s*(?P<field>[A-Za-z_][\w.]*)")


@dataclass(frozen=True)
class Choices:
    """One of these values, in this order."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"names no value; {HOW}")
        # 8 and 8.0 are one value.
        written = [
            _as_json(int(value) if isinstance(value, float) and value.is_integer() else value) for value in self.values
        ]
        if repeated := [text for text in written if written.count(text) > 1]:
            raise ValueError(f"names {repeated[0]} twice")

    def __str__(self) -> str:
        return ",".join(map(_as_json, self.values))

    def edge_of(self, value: Any) -> Edge | None:
        """Whether `value` is the least or the greatest of several numbers.

        >>> Choices((8, 16, 32)).edge_of(32), Choices((8, 16, 32)).edge_of(16), Choices(("a", "b")).edge_of("a")
        ('high', None, None)
        """
        numbers = [v for v in self.values if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) != len(self.values) or len(numbers) < 2:
            return None
        return "low" if value == min(numbers) else "high" if value == max(numbers) else None

    def beyond(self, edge: Edge) -> float | int:
        """A number a little outside."""
        low: float = min(self.values)
        high: float = max(self.values)
        end, away = (low, low - high) if edge == "low" else (high, high - low)
        found: float | int = (end / 2 if edge == "low" else end * 2) if low > 0 else end + away
        return found


@dataclass(frozen=True)
class Range:
    """Any number from `low` to `high`.

    Attributes:
        log: drawn uniformly in the logarithm.
        step: only `low` plus multiples of it; None: any.
        whole: whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)) or self.low >= self.high:
            raise ValueError(f"the range {self} does not rise; write LOW..HIGH with LOW below HIGH")
        if self.log and self.low <= 0:
            raise ValueError(f"the range {self} has no logarithm at its lower end; begin it above 0")
        if self.step is not None and (self.log or not 0 < self.step <= self.high - self.low):
            raise ValueError(f"the range {self} takes no such step; a step is above 0, within the range, without log:")

    def __str__(self) -> str:
        step = "" if self.step is None else f"/{_as_json(self.step)}"
        return f"{'log:' if self.log else ''}{_as_json(self.low)}..{_as_json(self.high)}{step}"

    def in_whole_numbers(self) -> Range:
        """The same for a field of whole numbers.

        Raises:
            ValueError: an end or the step is none.
        """
        numbers = [number for number in (self.low, self.high, self.step) if number is not None]
        if not all(float(number).is_integer() for number in numbers):
            raise ValueError(f"the range {self} is for a field of whole numbers; write whole ones")
        step = None if self.step is None else int(self.step)
        return replace(self, low=int(self.low), high=int(self.high), step=step, whole=True)

    def grid(self) -> tuple[float | int, ...] | None:
        """Its values, where it has steps.

        >>> Range(8, 64, step=8, whole=True).grid()
        (8, 16, 24, 32, 40, 48, 56, 64)
        """
        if self.step is None:
            return None
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        # Without the noise of binary sums: 0.30000000000000004 is 0.3.
        values = (float(f"{self.low + number * self.step:.12g}") for number in range(count))
        return tuple(int(value) if self.whole else value for value in values)

    def edge_of(self, value: float) -> Edge | None:
        """Whether `value` lies within a twentieth of the range of one of its ends (whole numbers: at it).

        >>> Range(1e-5, 1e-3, log=True).edge_of(9.9e-4), Range(1e-5, 1e-3, log=True).edge_of(5e-4)
        ('high', None)
        """
        if self.step is not None:
            found = self.grid() or ()
            return "low" if value <= found[0] else "high" if value >= found[-1] else None
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        share = (at - low) / (high - low)
        if self.whole and self.low < value < self.high and self.high - self.low <= 1 / _NEAR_EDGE:
            return None
        return "low" if share <= _NEAR_EDGE else "high" if share >= 1 - _NEAR_EDGE else None

    def beyond(self, edge: Edge) -> float | int:
        """A number a little outside."""
        if self.log and not self.whole:
            return self.low / 2 if edge == "low" else self.high * 2
        step = self.step or (1 if self.whole else (self.high - self.low) / 10)
        return self.low - step if edge == "low" else self.high + step


@dataclass(frozen=True)
class Multiple:
    """`factor` times what another field takes; it is no dimension of its own."""

    factor: float
    field: str

    def __str__(self) -> str:
        return f"{_as_json(self.factor)}*{self.field}"

    def of(self, value: float) -> float | int:
        """What the field takes where the other one takes `value`; whole where that is exact.

        >>> Multiple(2, "lora.lora_r").of(16), Multiple(0.5, "training.learning_rate").of(1e-4)
        (32, 5e-05)
        """
        found = self.factor * value
        return int(found) if isinstance(value, int) and float(found).is_integer() else found


Values = Choices | Range | Multiple


def read_values(text: str) -> Values:
    """What a field takes, from its text; a text that is no number, range or JSON stands for itself.

    Raises:
        ValueError: what is wrong with it, without the field's name.

    >>> read_values("log:1e-5..1e-3"), read_values("adamw,adamw_8bit")
    (Range(low=1e-05, high=0.001, log=True, step=None, whole=False), Choices(values=('adamw', 'adamw_8bit')))
    >>> read_values("2*lora.lora_r"), read_values("[1024,256],[512]")
    (Multiple(factor=2, field='lora.lora_r'), Choices(values=([1024, 256], [512])))
    """
    text = text.strip()
    if not text:
        raise ValueError(f"names no value; {HOW}")
    if found := _MULTIPLE.fullmatch(text):
        return Multiple(_number(found["factor"]), found["field"])
    if found := _RANGE.fullmatch(text):
        step = None if found["step"] is None else _number(found["step"])
        return Range(_number(found["low"]), _number(found["high"]), log=found["log"] is not None, step=step)
    if _MEANT_AS_RANGE.match(text):
        raise ValueError(f"is {text!r}, which is no range; {HOW}")
    try:
        values = parse_json(f"[{text}]", allow_nan=False)
    except ValueError:
        values = [_value(part.strip()) for part in text.split(",")]
    return Choices(tuple(values))


def _value(text: str) -> Any:
    """One value of a list: JSON where it is, `none`, else the text itself."""
    if not text:
        raise ValueError(f"has an empty value in its list; {HOW}")
    if text.lower() in {"none", "true", "false"}:
        return {"none": None, "true": True, "false": False}[text.lower()]
    try:
        return parse_json(text, allow_nan=False)
    except ValueError:
        return text


def _number(text: str) -> float | int:
    """A whole number where it is written as one.

    >>> _number("8"), _number("1e-4"), _number(".5")
    (8, 0.0001, 0.5)
    """
    number = whole_number(text.removeprefix("-").removeprefix("+"))
    return float(text) if number is None else -number if text.startswith("-") else number


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
