"""Work repeated before a clock starts, until nothing new is recorded or compiled by it.

A pass of a shape that was not met before is compiled or recorded, which takes many times the time of running it; a
measurement that holds some of these says how long getting ready takes. Knows counts; knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


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


def still_warming(settings: Mapping[str, Any]) -> str:
    """What a reader should know of a measurement's warm-up (`Measurement.settings`); empty where it was complete.

    >>> still_warming({"warm_up_complete": True, "warm_up_rounds": 2}), still_warming({})
    ('', '')
    >>> still_warming({"warm_up_complete": False, "warm_up_rounds": 4})
    'still recorded or compiled new shapes after 4 rounds, so its speed is a lower bound'
    """
    if settings.get("warm_up_complete", True):
        return ""
    rounds = settings.get("warm_up_rounds")
    return f"still recorded or compiled new shapes after {rounds} rounds, so its speed is a lower bound"


def compiled_graphs() -> int:
    """Graphs that torch has compiled in this process."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])
