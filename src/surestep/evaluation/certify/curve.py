"""Cost against accuracy of the calibration problems: what a policy spends, how much of what it hands out is right.

Knows scored steps and their costs; writes nothing. A curve describes these problems and promises nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from surestep.evaluation.report.charts.chart import SERIES_ROLES, Chart, Line, Panel, axis
from surestep.guarantees.critical_values import Judging
from surestep.guarantees.problems import problems_of
from surestep.guarantees.selective.cost_curve import CurvePoint, SampledSolution, cost_curve
from surestep.guarantees.selective.policy import Policy
from surestep.guarantees.terms import Terms, in_random_order
from surestep.scored import FloatArray, ScoredSteps

Cost = Literal["steps", "tokens"]
COSTS: tuple[Cost, ...] = get_args(Cost)
SHARES = (1.0, 0.8, 0.6, 0.4)
"""Of the problems, how many are handed out at most: those with the highest scores."""
_STOPPING = "stopping above"
"""In the id of a policy that stops early."""
STOPS = (0.5, 0.8, 0.95)
"""Scores above which a search ends early. Not chosen by these problems."""


def sampled_solutions(steps: ScoredSteps, terms: Terms, cost_of_row: FloatArray) -> list[list[SampledSolution]]:
    """The judged solutions of each problem, in the order in which the policy looks at them.

    Args:
        steps: every step of every tree.
        terms: what counts as wrong.
        cost_of_row: of each step, (N,), above 0.
    """
    # The costs go the same way from rows to paths as the scores do, as shares of the largest.
    largest = float(cost_of_row.max(initial=1.0))
    priced = problems_of(steps.with_confidence(cost_of_row / largest))
    found: list[list[SampledSolution]] = []
    for problem, price in zip(problems_of(steps), priced, strict=True):
        pairs = zip(in_random_order(problem, terms.seed), in_random_order(price, terms.seed), strict=True)
        found.append(
            [
                SampledSolution(
                    tree.confidence[path],
                    tree.raw[path],
                    bool(terms.judging.losses(tree.label[path]).any()),
                    float(costs.confidence[path].sum()) * largest,
                )
                for (tree, path), (costs, _) in pairs
                if _is_judged(tree.label[path], terms.judging)
            ]
        )
    return found


def curve_of(problems: Sequence[Sequence[SampledSolution]], by: str) -> list[CurvePoint]:
    """The first solution, the best of 2, 4, 8 … and of all, and the same that stop early; for each of `SHARES`."""
    most = max(map(len, problems), default=1)
    counts = [2**power for power in range(1, most.bit_length()) if 2**power < most] + [most] * (most > 1)
    policies = [Policy(1, by), *(Policy(count, by) for count in counts)]
    policies += [Policy(most, by, stop) for stop in STOPS if most > 1]
    return cost_curve(problems, policies, SHARES)


def chart_of(points: Sequence[CurvePoint], cost: Cost) -> Chart:
    """A line for each share of problems handed out, over the mean cost."""
    shares = [points[i : i + len(SHARES)] for i in range(0, len(points), len(SHARES))]
    lines = []
    for place, (share, role) in enumerate(zip(SHARES, SERIES_ROLES, strict=False)):
        for stops in (False, True):
            some = [points_of[place] for points_of in shares if (_STOPPING in points_of[place].policy) == stops]
            known = sorted((one for one in some if not np.isnan(one.accuracy)), key=lambda point: point.cost)
            x, y = [point.cost for point in known], [point.accuracy for point in known]
            name = "" if stops else f"at most {share:.0%} handed out"
            lines.append(Line(x, y, role, name, dashed=stops))
    accuracies = [value for line in lines for value in line.y]
    return Chart(
        name="cost_accuracy",
        title="Cost and accuracy",
        note="Right ones among the handed-out, over the mean cost of a problem. Dashed: searches that stop early.",
        x=axis(f"{cost} a problem, mean", [point.cost for point in points]),
        panels=(Panel(axis("accuracy of what is handed out", accuracies, from_zero=False), tuple(lines)),),
        header=HEADER,
        rows=tuple(row_of(point) for point in points),
    )


HEADER = ("policy", "cost", "handed out", "accuracy")


def row_of(point: CurvePoint) -> tuple[str, str, str, str]:
    """As a table shows it."""
    accuracy = "–" if np.isnan(point.accuracy) else f"{point.accuracy:.1%}"
    return point.policy, f"{point.cost:,.1f}", f"{point.handed_out:.0%}", accuracy


def _is_judged(label: FloatArray, judging: Judging) -> bool:
    return judging.unlabelled == "wrong" or not np.isnan(label).all()
