"""Which solutions a monitor is calibrated on: those that are right throughout, or all up to their first wrong step.

Knows scored problems and labels.

Legend: T steps of a solution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surestep.arrays import FloatArray
from surestep.guarantees.critical_values import Judging, solutions_of
from surestep.guarantees.monitoring.monitor import Covers, Monitor, Solutions
from surestep.guarantees.monitoring.running_statistics import LowestStep, RunningStatistic
from surestep.guarantees.problems import ScoredProblem


@dataclass(frozen=True)
class MonitoredSolutions:
    """The scores that a monitor is calibrated on, and what was left out of them.

    Attributes:
        scores: of each solution, (T,).
        problem: the key of the problem of each.
        num_problems: problems that were looked at.
        num_solutions: their solutions.
        num_wrong: of those, left out because a step is wrong.
        num_unlabelled: left out because nobody judged any of their steps.
        unlabelled_share: of the steps of `scores`, those without a label; NaN without a step.
        unscored_steps: of the steps of `scores`, those without a score, which the monitor passes over.
    """

    scores: tuple[FloatArray, ...]
    problem: tuple[int, ...]
    num_problems: int
    num_solutions: int
    num_wrong: int
    num_unlabelled: int
    unlabelled_share: float
    unscored_steps: int


def monitored_solutions(
    problems: Sequence[ScoredProblem],
    *,
    judging: Judging,
    statistic: RunningStatistic | None = None,
    covers: Covers = "right_solutions",
) -> MonitoredSolutions:
    """Take the solutions that the promise is about.

    Args:
        problems: calibration problems.
        judging: what counts as wrong; its `loss` and `score` are not read.
        statistic: which says what scores it reads.
        covers: see `monitor.Covers`.
    """
    reads = (statistic if statistic is not None else LowestStep()).reads
    wrong = Judging(wrong_below=judging.wrong_below, unlabelled=judging.unlabelled)
    scores: list[FloatArray] = []
    keys: list[int] = []
    labels: list[FloatArray] = []
    num_solutions = num_wrong = num_unlabelled = 0
    for problem in problems:
        for tree, path in solutions_of(problem):
            num_solutions += 1
            label = tree.label[path]
            wrong_steps = np.flatnonzero(wrong.losses(label) > 0)
            if np.isnan(label).all():
                num_unlabelled += 1
                continue
            if wrong_steps.size and covers == "right_solutions":
                num_wrong += 1
                continue
            end = int(wrong_steps[0]) if wrong_steps.size else len(path)
            scores.append((tree.raw if reads == "raw" else tree.confidence)[path][:end])
            labels.append(label[:end])
            keys.append(problem.key)
    all_labels = np.concatenate(labels) if labels else np.zeros(0)
    return MonitoredSolutions(
        tuple(scores),
        tuple(keys),
        len(problems),
        num_solutions,
        num_wrong,
        num_unlabelled,
        float(np.isnan(all_labels).mean()) if all_labels.size else float("nan"),
        int(sum(np.isnan(one).sum() for one in scores)),
    )


def calibrated_monitor(
    problems: Sequence[ScoredProblem],
    *,
    alpha: float,
    judging: Judging,
    statistic: RunningStatistic | None = None,
    covers: Covers = "right_solutions",
    solutions: Solutions | None = None,
    seed: int = 0,
) -> tuple[Monitor, MonitoredSolutions]:
    """A monitor for new problems like these, and what it was calibrated on."""
    taken = monitored_solutions(problems, judging=judging, statistic=statistic, covers=covers)
    monitor = Monitor.fit(
        taken.scores,
        taken.problem,
        alpha=alpha,
        statistic=statistic,
        covers=covers,
        solutions=solutions,
        seed=seed,
    )
    return monitor, taken
