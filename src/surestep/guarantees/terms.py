"""The terms of a promise: everything that is fixed before a calibration label is looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from surestep.errors import ConfigError
from surestep.guarantees.critical_values import LOSSES, UNLABELLED, Judging, Solution, solutions_of
from surestep.guarantees.monitoring.running_statistics import STATISTICS, LowestStep
from surestep.guarantees.path_scores import SCORES
from surestep.guarantees.problems import ScoredProblem
from surestep.guarantees.seeded_draws import drawn_number
from surestep.guarantees.selective.policy import Policy
from surestep.metrics.benchmarks.aggregation import AGGREGATIONS


@dataclass(frozen=True, slots=True)
class Terms:
    """What is promised, at which level, by which score.

    Attributes:
        promise: a name of `promises.PROMISES`.
        alpha: the share that may go wrong, in (0, 1); chosen before looking.
        delta: None: α holds on average over calibration sets. A number in (0, 1): α holds for all but this share of
            calibration sets.
        judging: the score, and what counts as wrong.
        policy: the aggregation by which one of several solutions is handed out, a name of `AGGREGATIONS`.
        most: the most solutions of a problem that are looked at for that; None: all that there are.
        stop_above: a solution that `policy` scores above this ends the search; None: none does. Fixed
            on other problems.
        escalate_above: of `selective`: what is not handed out is escalated where its score is above this, else there is
            no answer; None: there is none wherever nothing is handed out.
        statistic: of `monitor`, a name of `STATISTICS`.
        seed: draws one solution of each problem, where the promise needs one.

    Raises:
        ConfigError: a value outside its range; all of them are named.

    >>> Terms(alpha=2.0)
    Traceback (most recent call last):
    surestep.errors.ConfigError: alpha 2.0; allowed: above 0, below 1
    """

    promise: str = "chosen"
    alpha: float = 0.1
    delta: float | None = None
    judging: Judging = field(default_factory=Judging)
    policy: str = "product"
    most: int | None = None
    stop_above: float | None = None
    escalate_above: float | None = None
    statistic: str = LowestStep.name
    seed: int = 0

    @property
    def handed_out_by(self) -> Policy:
        """The frozen policy that takes one of several solutions."""
        return Policy(self.most, self.policy, math.inf if self.stop_above is None else self.stop_above)

    def taken(self, problem: ScoredProblem) -> Solution | None:
        """The solution that the policy takes; None where there is none.

        Where it matters in which order they are looked at, that is a random one (`in_random_order`).
        """
        of_all = self.handed_out_by.takes_the_best_of_all
        solutions = solutions_of(problem) if of_all else in_random_order(problem, self.seed)
        return solutions[self.handed_out_by.path_choice()(solutions)] if solutions else None

    def __post_init__(self) -> None:
        judging = self.judging
        problems = [
            f"{name} {value}; allowed: above 0, below 1"
            for name, value in (("alpha", self.alpha), ("delta", self.delta))
            if value is not None and not 0.0 < value < 1.0
        ]
        if not 0.0 < judging.wrong_below <= 1.0:
            problems.append(f"wrong_below {judging.wrong_below}; allowed: above 0, at most 1")
        problems += [
            f"{name} {value!r}; allowed: {', '.join(allowed)}"
            for name, value, allowed in (
                ("score", judging.score, SCORES),
                ("unlabelled", judging.unlabelled, UNLABELLED),
                ("loss", judging.loss, LOSSES),
                ("policy", self.policy, tuple(AGGREGATIONS)),
                ("statistic", self.statistic, tuple(STATISTICS)),
            )
            if value not in allowed
        ]
        problems += [
            f"{name} {value}; allowed: 0 to 1"
            for name, value in (("stop_above", self.stop_above), ("escalate_above", self.escalate_above))
            if value is not None and not 0.0 <= value <= 1.0
        ]
        if self.most is not None and self.most < 1:
            problems.append(f"most {self.most}; allowed: at least 1")
        if self.promise == "monitor" and self.delta is not None:
            problems.append("delta with the monitor; allowed: alpha on average over calibration sets, without it")
        if self.promise in {"monitor", "selective"} and judging.loss == "soft":
            problems.append(f"the soft loss with {self.promise}; allowed: wrong steps, which are wrong or not")
        if self.delta is not None and judging.loss == "soft":
            problems.append("delta with the soft loss; allowed: with wrong steps, which are wrong or not")
        if problems:
            raise ConfigError(problems)


def in_random_order(problem: ScoredProblem, seed: int) -> list[Solution]:
    """The solutions of a problem in an order by seed and problem alone.

    Data sets keep no order of sampling, and solutions that are drawn alike have none.
    """
    solutions = solutions_of(problem)
    order = np.random.default_rng(drawn_number(seed, problem.key, "order")).permutation(len(solutions))
    return [solutions[place] for place in order.tolist()]
