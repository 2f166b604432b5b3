"""Work repeated before a clock starts, until nothing new is recorded or compiled by it.

A pass of a shape that was not met before is compiled or recorded, which takes many times the time of running it; a
measurement that holds some of these says how long getting ready takes. Knows counts; knows no model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What getting ready took.

    Attributes:
        rounds: how often the work was done before the clock starts.
        is_complete: whether the last of them met nothing new; else the limit ended them.
        made: what was recorded or compiled in all of them.
    """

    rounds: int
    is_complete: bool
    made: int


def warm_until_nothing_new(
    work: Callable[[], object], made: Callable[[], int], *, fewest: int, quiet: int, most: int
) -> WarmUp:
    """Do `work` until `quiet` times in a row nothing new was made by it.

    Args:
        work: once.
        made: how much has been recorded and compiled so far; may fall where recordings are thrown away.
        fewest: times at least.
        quiet: times in a row without anything new.
        most: times at most.

    >>> made = iter([0, 2, 3, 3, 3])
    >>> warm_until_nothing_new(lambda: None, lambda: next(made), fewest=1, quiet=2, most=9)
    WarmUp(rounds=4, is_complete=True, made=3)
    """
    before = made()
    done, without, total = 0, 0, 0
    while done < most and (done < fewest or without < quiet):
        work()
        done += 1
        now = made()
        without = without + 1 if now == before else 0
        total += max(0, now - before)
        before = now
    return WarmUp(done, without >= min(quiet, done), total)


def compiled_graphs() -> int:
    """Graphs that torch has compiled in this process."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])
