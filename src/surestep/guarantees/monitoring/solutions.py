"""Which solutions a monitor is calibrated on: those that are right throughout, or all up to their first wrong step.

Knows scored problems and labels.

Legend: T steps of a solution.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surestep.arrays import FloatArray
from surestep.guarantees.critical_values import Judging, solutions_of
from surestep.guarantees.monitoring.monitor import Covers, Monitor, Solutions
from surestep.guarantees.monitoring.running_statistics import LowestStep, RunningStatistic, running_values
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
        wrong: scores, problem and first wrong step (from 0) of each solution with one: what an alarm is for.
    """

    scores: tuple[FloatArray, ...]
    problem: tuple[int, ...]
    num_problems: int
    num_solutions: int
    num_wrong: int
    num_unlabelled: int
    unlabelled_share: float
    unscored_steps: int
    wrong: tuple[tuple[FloatArray, int, int], ...]


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
    found_wrong: list[tuple[FloatArray, int, int]] = []
    num_solutions = num_wrong = num_unlabelled = 0
    for problem in problems:
        for tree, path in solutions_of(problem):
            num_solutions += 1
            label = tree.label[path]
            wrong_steps = np.flatnonzero(wrong.losses(label) > 0)
            if np.isnan(label).all():
                num_unlabelled += 1
                continue
            values = (tree.raw if reads == "raw" else tree.confidence)[path]
            if wrong_steps.size:
                found_wrong.append((values, problem.key, int(wrong_steps[0])))
            if wrong_steps.size and covers == "right_solutions":
                num_wrong += 1
                continue
            end = int(wrong_steps[0]) if wrong_steps.size else len(path)
            scores.append(values[:end])
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
        tuple(found_wrong),
    )


@dataclass(frozen=True, slots=True)
class Found:
    """What a monitor finds of wrong solutions: a description of these, no promise.

    Attributes:
        stopped: share of them that are ever stopped, each problem counting once; None without one.
        before: share that are stopped before their first wrong step.
        delay: steps from the first wrong one to the alarm, mean over those stopped at it or later; None without one.
    """

    stopped: float | None
    before: float | None
    delay: float | None


def found_by(monitor: Monitor, wrong: Sequence[tuple[FloatArray, int, int]]) -> Found:
    """Watch the wrong solutions of the problems, of which the threshold knows nothing.

    Args:
        monitor: calibrated.
        wrong: as in `MonitoredSolutions`.
    """
    counts = Counter(key for _, key, _ in wrong)
    stopped = before = 0.0
    delays: list[int] = []
    for scores, key, first in wrong:
        alarms = running_values(monitor.statistic, scores[: monitor.promised_until]) > monitor.threshold
        if not alarms.any():
            continue
        at = int(alarms.argmax())
        stopped += 1.0 / counts[key]
        if at < first:
            before += 1.0 / counts[key]
        else:
            delays.append(at - first)
    if not counts:
        return Found(None, None, None)
    return Found(stopped / len(counts), before / len(counts), float(np.mean(delays)) if delays else None)


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
