"""Cost against accuracy: what a policy spends, what it hands out, and how much of that is right.

Every figure is of the problems handed in; a curve promises nothing. Knows scores, costs and verdicts.

Legend: P problems, N solutions of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from surestep.arrays import BoolArray, FloatArray
from surestep.guarantees.selective.policy import Policy, solution_score


@dataclass(frozen=True, slots=True)
class SampledSolution:
    """One solution of a problem.

    Attributes:
        confidence: of its steps, (T,), after the calibration map; NaN where a step has no score.
        raw: before it.
        is_wrong: whether it, or a step of it, is wrong.
        cost: what it took to make and score, in tokens or steps, at least 0.
    """

    confidence: FloatArray
    raw: FloatArray
    is_wrong: bool
    cost: float


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A policy with a cut-off.

    Attributes:
        policy: its id.
        cutoff: a solution is handed out where its score is strictly above; −∞ hands out all.
        cost: mean over problems, those without an answer included.
        handed_out: share of problems.
        accuracy: share of right ones among the handed-out; NaN where there is none.
        wrong_and_handed_out: share of problems.
    """

    policy: str
    cutoff: float
    cost: float
    handed_out: float
    accuracy: float
    wrong_and_handed_out: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, null for what is not finite."""
        return {
            name: value if not isinstance(value, float) or math.isfinite(value) else None
            for name, value in asdict(self).items()
        }


def cost_curve(
    problems: Sequence[Sequence[SampledSolution]], policies: Sequence[Policy], shares: Sequence[float] = (1.0,)
) -> list[CurvePoint]:
    """A point for every policy and share.

    Args:
        problems: the solutions of each, in the order of sampling; a problem without one costs nothing and is not
            handed out.
        policies: what is compared.
        shares: how much is to be handed out, in (0, 1]; the cut-off is the one of these problems that hands out at most
            so much.

    Returns:
        By policy, then share.
    """
    points: list[CurvePoint] = []
    for policy in policies:
        taken = [policy.choose([(one.confidence, one.raw) for one in solutions]) for solutions in problems]
        pairs = list(zip(problems, taken, strict=True))
        chosen = [None if choice is None else some[choice.place] for some, choice in pairs]
        cost = [0.0 if choice is None else sum(one.cost for one in some[: choice.looked_at]) for some, choice in pairs]
        found = [math.nan if one is None else solution_score(one.confidence, policy.by) for one in chosen]
        score = np.where(np.isnan(found), -np.inf, found)
        wrong = np.array([one is not None and one.is_wrong for one in chosen], dtype=np.bool_)
        for share in shares:
            mean = float(np.mean(cost)) if cost else 0.0
            points.append(_point(policy.id, _cutoff_for(score, share), mean, score, wrong))
    return points


def _cutoff_for(score: FloatArray, share: float) -> float:
    count = math.floor(share * score.size + 1e-9)
    return -math.inf if count >= score.size else float(np.sort(score)[::-1][count])


def _point(policy: str, cut: float, cost: float, score: FloatArray, wrong: BoolArray) -> CurvePoint:
    above = score > cut
    num = int(above.sum())
    num_wrong, size = int((wrong & above).sum()), max(1, score.size)
    return CurvePoint(policy, cut, cost, num / size, 1.0 - num_wrong / num if num else math.nan, num_wrong / size)


def cheapest_at_accuracy(points: Sequence[CurvePoint], accuracy: float, handed_out: float = 0.0) -> CurvePoint | None:
    """The point of lowest cost that is at least so accurate and hands out at least so much, if any."""
    good = [point for point in points if point.accuracy >= accuracy and point.handed_out >= handed_out]
    return min(good, key=lambda point: point.cost, default=None)
