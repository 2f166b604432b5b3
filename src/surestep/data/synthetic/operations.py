"""Operations of `arithmetic` and how a step can carry them out: right, or wrong in a plausible way.

Also says which numbers are held out. Knows no labels and no trees.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

HELD_OUT_RATES = ((0.12, 0.16), (0.31, 0.35), (0.57, 0.61), (0.83, 0.87))
"""Half-open bands of error rates and reliabilities that only test problems state."""
HELD_OUT_VALUES = frozenset((*range(23, 26), *range(47, 50), *range(64, 67)))
"""Numbers that only test problems add to or subtract from."""

SMALLEST, LARGEST = 10, 99  # two digits everywhere: the number of digits must not betray an error
LEAST_OPERAND, GREATEST_OPERAND = 2, 9  # one digit: carries occur, and a model of a million weights can learn them
_SIGNS = {"add": "+", "sub": "-"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a problem: "add" or "sub" with an operand, or "read"."""

    name: str  # add, sub or read
    operand: int = 0

    def __str__(self) -> str:
        return self.name if self.name == "read" else f"{self.name} {self.operand}"

    def apply(self, value: int) -> int:
        """The right result of an arithmetic operation; "read" has none and must not be asked."""
        return value + self.operand if self.name == "add" else value - self.operand


def is_held_out_rate(rate: float) -> bool:
    """Whether a stated rate occurs in test only.

    >>> is_held_out_rate(0.137), is_held_out_rate(0.16)
    (True, False)
    """
    return any(low <= rate < high for low, high in HELD_OUT_RATES)


@cache  # of two small numbers; a problem asks some hundred times
def is_held_out_pair(one: int, other: int) -> bool:
    """Whether sums and differences of these two numbers, in either order, occur in test only.

    Held out are the bands of `HELD_OUT_VALUES`, and of every ten (40 to 49, say) a quarter of the operands. So each
    digit and each operand is seen in training, and only their combination is new. A slip of the last digit mostly
    stays in the same ten: chains in which every pair is held out can go on after a wrong step. The converse is a pair
    of its own: 53 + 7 = 60 is held out, 60 - 7 = 53 is not.

    >>> is_held_out_pair(48, 6), is_held_out_pair(53, 7), is_held_out_pair(7, 53), is_held_out_pair(53, 8)
    (True, True, True, False)
    """
    smaller, larger = sorted((one, other))
    return larger in HELD_OUT_VALUES or (larger // 10 + smaller) % 4 == 0


def draw_rate(rng: random.Random, bounds: tuple[float, float], *, held_out: bool) -> float:
    """A rate to be stated, of three decimals, between two bounds: a held-out one, or one that training may state."""
    while True:
        rate = round(rng.uniform(*bounds), 3)
        if is_held_out_rate(rate) == held_out:
            return rate


def draw_operations(rng: random.Random, names: list[str], *, held_out: bool) -> tuple[int, list[Operation]] | None:
    """A start and operations that stay within two digits as long as no step is wrong.

    Args:
        rng: where the numbers come from.
        names: "read" where the value is read off a dial, "" for arithmetic.
        held_out: whether all sums and differences are held-out ones, or none is.

    Returns:
        None where the numbers drawn lead nowhere: the caller draws again.
    """
    start = value = rng.randint(SMALLEST, LARGEST)
    operations: list[Operation] = []
    for given in names:
        if given == "read":
            operations.append(Operation("read"))
            value = rng.randint(SMALLEST, LARGEST)
            continue
        name = rng.choice(("add", "sub"))
        room = LARGEST - value if name == "add" else value - SMALLEST
        operands = [
            operand
            for operand in range(LEAST_OPERAND, min(GREATEST_OPERAND, room) + 1)
            if is_held_out_pair(value, operand) == held_out
        ]
        if not operands:  # 98 has nothing to add, 11 nothing to subtract
            return None
        operation = Operation(name, rng.choice(operands))
        value = operation.apply(value)
        operations.append(operation)
    return start, operations


def wrong_steps(rng: random.Random, value: int, operation: Operation) -> list[tuple[str, int]]:
    """Wrong ways to take a step, all of one kind: off by one, off by ten, a carry forgotten, a digit miswritten.

    Returns:
        texts and the values they state; empty where the kind drawn is impossible here.
    """
    right = operation.apply(value)
    kind = rng.choices(("one", "ten", "carry", "digit"), (5, 5, 4, 4))[0]
    tens, ones = divmod(right, 10)
    results = {
        "one": [right - 1, right + 1],
        "ten": [right - 10, right + 10],
        "carry": [_without_carry(value, operation)],
        "digit": [10 * tens + digit for digit in range(10)] + [10 * digit + ones for digit in range(10)],
    }[kind]
    return [write_step(value, operation, result) for result in results if result != right and in_range(result)]


def _without_carry(value: int, operation: Operation) -> int:
    """Each column on its own, as if nothing were carried or borrowed."""
    sign = 1 if operation.name == "add" else -1
    return 10 * (value // 10) + (value % 10 + sign * operation.operand) % 10


def write_step(value: int, operation: Operation, result: int) -> tuple[str, int]:
    """The step's text, and the value it states.

    >>> write_step(47, Operation("add", 8), 56)
    ('47 + 8 = 56', 56)
    """
    return f"{value} {_SIGNS[operation.name]} {operation.operand} = {result}", result


def can_continue(value: int, operations: list[Operation], *, held_out: bool) -> bool:
    """Whether the right steps from here stay within two digits, with held-out pairs only or without any.

    Both ways: training must not see a pair of the held-out part, and that part must not repeat a pair of training.
    """
    for operation in operations:
        if operation.name == "read":
            return True
        if is_held_out_pair(value, operation.operand) != held_out:
            return False
        value = operation.apply(value)
        if not in_range(value):
            return False
    return True


def in_range(value: int) -> bool:
    """Whether a value has the two digits that every stated value has."""
    return SMALLEST <= value <= LARGEST
