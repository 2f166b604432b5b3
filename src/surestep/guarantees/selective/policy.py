"""Frozen policies: which of several sampled solutions is taken, and how many are looked at for that.

A certificate of one solution does not survive choosing among several (handing out the first of eight that passes broke
a promised 10 % to 18 %). So the policy is fixed first, all of its thresholds on other problems, and then its output is
certified. Its id holds all of it and is stored with the certificate: a rule is for the policy that it was made with.

Knows scores of steps. Knows no label, problem or text.

Legend: N solutions of a problem, in the order of sampling; T steps of one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from surestep.arrays import FloatArray, IntArray
from surestep.errors import InputError
from surestep.guarantees.choose_path import RankKey, policy_id, rank_key
from surestep.guarantees.critical_values import PathChoice
from surestep.guarantees.problems import ScoredTree
from surestep.metrics.benchmarks.aggregation import AGGREGATIONS
from surestep.untrusted.bounds import shown

ALLOWED = "first, best, best_of_8, or first_of_8_above_0.9"
_FLAG = re.compile(r"first|best|best_of_([1-9]\d{0,5})|first_of_([1-9]\d{0,5})_above_([0-9.e+-]{1,30})")


class Choice(NamedTuple):
    """What a policy takes: which solution, and how many were looked at for it, from the first: those cost."""

    place: int
    looked_at: int


@dataclass(frozen=True, slots=True)
class Policy:
    """Look at solutions in order until one has a score above a stop, and take the one with the highest score.

    Attributes:
        most: the most that are looked at; 1 takes the first as it is; None looks at all that there are.
        by: how the calibrated confidences of a solution become its score.
        stop_above: a solution with a score strictly above it ends the search; ∞: none does.

    Raises:
        InputError: a value is out of range.
    """

    most: int | None = None
    by: str = "min"
    stop_above: float = math.inf

    def __post_init__(self) -> None:
        if self.most is not None and (not isinstance(self.most, int) or self.most < 1):
            raise InputError(f"a policy over {self.most!r} solutions; allowed: 1 or more")
        if self.by not in AGGREGATIONS:
            raise InputError(f"a policy by {shown(self.by)}; allowed: {', '.join(AGGREGATIONS)}")
        if math.isnan(self.stop_above):
            raise InputError("a policy stops above NaN; allowed: a number")

    @property
    def id(self) -> str:
        """All of it, in words; what a certificate stores.

        >>> Policy().id
        'highest min of calibrated confidences'
        >>> Policy(8, stop_above=0.9).id
        'highest min of calibrated confidences of the first 8, stopping above 0.9'
        """
        if self.most == 1:
            return "the first solution"
        of = "" if self.most is None else f" of the first {self.most}"
        stop = "" if self.stop_above == math.inf else f", stopping above {self.stop_above!r}"
        return policy_id(self.by) + of + stop

    @property
    def takes_the_best_of_all(self) -> bool:
        """Whether it looks at whatever there is."""
        return self.most is None and self.stop_above == math.inf

    @classmethod
    def from_flag(cls, text: str, by: str = "min") -> Policy:
        """The policy that a user names.

        Raises:
            InputError: there is none of that name.

        >>> Policy.from_flag("first_of_8_above_0.9", "product")
        Policy(most=8, by='product', stop_above=0.9)
        """
        found = _FLAG.fullmatch(text)
        try:
            stop = math.inf if found is None or found[3] is None else float(found[3])
        except ValueError:
            found = None
        if found is None:
            raise InputError(f"the policy is {shown(text)}; allowed: {ALLOWED}")
        if text == "first":
            return cls(1, by)
        number = found[1] or found[2]
        return cls(None if number is None else int(number), by, stop)

    def choose(self, solutions: Iterable[tuple[FloatArray, FloatArray]]) -> Choice | None:
        """Which of a problem's solutions is taken, from the scores of their steps; None where there is none.

        Ties go to the higher score before the calibration map, then to the earlier one. A solution without steps, or
        with a step without a score, comes after all others.

        Args:
            solutions: each (calibrated, raw), both (T,), NaN where a step has no score, in the order of sampling; no
                more of them are asked for than are looked at.

        >>> one, other = np.array([0.9, 0.2]), np.array([0.5])
        >>> Policy(2).choose([(one, one), (other, other)])
        Choice(place=1, looked_at=2)
        """
        keys: list[RankKey] = []
        for index, (confidence, raw) in enumerate(islice(solutions, self.most)):
            score = solution_score(confidence, self.by)
            keys.append(rank_key(score, solution_score(raw, self.by), index))
            if score > self.stop_above:
                break
        return Choice(min(keys)[-1], len(keys)) if keys else None

    def path_choice(self) -> PathChoice:
        """The same, as the promise for the chosen path asks for it."""

        def choose(solutions: Sequence[tuple[ScoredTree, IntArray]]) -> int:
            choice = self.choose([(tree.confidence[path], tree.raw[path]) for tree, path in solutions])
            assert choice is not None, "asked where there are solutions"
            return choice.place

        return choose


def solution_score(steps: FloatArray, by: str) -> float:
    """The score of a solution from its steps, (T,); NaN without steps, or where one has no score."""
    return AGGREGATIONS[by](steps) if steps.size and not np.isnan(steps).any() else math.nan


def check_policy(stored: str, used: str) -> None:
    """Refuse a certificate of another policy.

    Raises:
        InputError: they differ.
    """
    if stored != used:
        raise InputError(
            f"the certificate is for the policy {shown(stored)}, and solutions are chosen by {shown(used)}; a promise "
            "does not survive another choice: choose as it does, or certify again with --policy"
        )
