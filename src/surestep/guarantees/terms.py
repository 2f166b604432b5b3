"""The terms of a promise: everything that is fixed before a calibration label is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field

from surestep.errors import ConfigError
from surestep.guarantees.critical_values import LOSSES, UNLABELLED, Judging
from surestep.guarantees.path_scores import SCORES
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
    seed: int = 0

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
            )
            if value not in allowed
        ]
        if self.delta is not None and judging.loss == "soft":
            problems.append("delta with the soft loss; allowed: with wrong steps, which are wrong or not")
        if problems:
            raise ConfigError(problems)
