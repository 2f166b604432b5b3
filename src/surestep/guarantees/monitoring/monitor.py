"""The monitor: it stops a solution that runs, and stops one that is right throughout with probability at most alpha.

A statistic of the steps so far is compared with the largest value that it took in right solutions of other problems.
The alarm, at whatever step one looks, lies inside the event that the new solution's largest value is among the k
largest of n0 + 1 exchangeable ones, so P(ever alarm | right throughout) <= k / (n0 + 1) <= alpha, for any scorer, any
dependence between steps and any time of looking. No threshold comes from Ville's inequality: that needs scores that are
calibrated given the past, and false-alarmed well above alpha where they were not (`benchmarks/monitor_simulation.py`).

Knows scores of solutions and which problem each is of. Knows no text and no file.

Legend: T steps of a solution; M the statistic after a step; n0 problems with a right solution.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from surestep.arrays import FloatArray
from surestep.counted import counted
from surestep.guarantees.cutoff import NOTHING_KEPT, cutoff, levels, order, smallest_count
from surestep.guarantees.format_version import check_format_version
from surestep.guarantees.monitoring.running_statistics import (
    LowestStep,
    RunningStatistic,
    running_values,
    statistic_from_json,
    statistic_to_json,
    step_on,
)
from surestep.guarantees.seeded_draws import drawn_number

FORMAT_VERSION = 1
FEWEST_FOR_MEAN = 5
"""With alpha (n0 + 1) below this, one drawn solution a problem alarms on more wrong ones than the mean over all of
them, which rounds to the safe side; above it the mean is steadier."""

Solutions = Literal["drawn", "mean"]
"""One seeded draw among the right solutions of a problem, or all of them, each with its share of the problem."""
Covers = Literal["right_solutions", "steps_before_the_first_wrong_one"]
"""What is seldom stopped: a solution that is right throughout; or any solution, before its first wrong step."""


@dataclass(frozen=True, slots=True)
class MonitorReading:
    """What the monitor says after a step.

    Attributes:
        step: how many steps the solution has.
        alarm: whether it has been stopped, at this step or before; None beyond the calibrated length, where no alarm
            was given before: there the monitor says nothing, which is not the same as no alarm.
        level: the share of calibrated problems, the new one included, whose right solutions ever looked as suspicious
            as this one has; alarm means at most alpha. None beyond the calibrated length.
        promised_until: the step up to which the promise holds: the longest calibrated solution.
        note: one line where the promise ends or no alarm can be given, else "".
    """

    step: int
    alarm: bool | None
    level: float | None
    promised_until: int
    note: str = ""

    @property
    def promised(self) -> bool:
        """Whether the promise covers this step."""
        return self.step <= self.promised_until

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "alarm": self.alarm,
            "level": self.level,
            "promised_until": self.promised_until,
            "promised": self.promised,
            "note": self.note,
        }

    @classmethod
    def from_json(cls, step: int, values: Any) -> Self:
        """What `to_json` gave after that step.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        alarm, level = values["alarm"], values["level"]
        return cls(
            step,
            None if alarm is None else bool(alarm),
            None if level is None else float(level),
            int(values["promised_until"]),
            str(values["note"]),
        )


@dataclass(frozen=True)
class Monitor:
    """A calibrated monitor.

    Attributes:
        alpha: the most that a right solution may be stopped with, in (0, 1), fixed beforehand.
        statistic: what it looks at.
        largest: the largest M of each calibrated solution; −∞ of one without a scored step.
        weights: of each of them, summing to 1 over those of one problem.
        num_problems: n0, how many problems they are of.
        lengths: steps of the shortest and of the longest of them; (0, 0) where there is none.
        solutions: one a problem or all of them.
        covers: what is seldom stopped.
        seed: of the drawn solutions.
    """

    alpha: float
    statistic: RunningStatistic = field(default_factory=LowestStep)
    largest: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    num_problems: int = 0
    lengths: tuple[int, int] = (0, 0)
    solutions: Solutions = "drawn"
    covers: Covers = "right_solutions"
    seed: int = 0
    threshold: float = field(init=False)

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha < 1.0:
            raise ValueError(f"alpha is {self.alpha}; allowed: above 0 and below 1")
        if len(self.largest) != len(self.weights):
            raise ValueError(
                f"{counted(len(self.largest), 'largest value')} with {counted(len(self.weights), 'weight')}; "
                "allowed: one each"
            )
        values, weights = np.array(self.largest, np.float64), np.array(self.weights, np.float64)
        if np.isnan(values).any() or np.isposinf(values).any():
            raise ValueError("a largest value is not a number; allowed: finite, or -inf for no scored step")
        if (weights <= 0).any() or not math.isclose(weights.sum(), self.num_problems, abs_tol=1e-6):
            raise ValueError(f"weights sum to {weights.sum()}; allowed: above 0, and {self.num_problems} together")
        object.__setattr__(self, "threshold", cutoff(values, weights, self.num_problems, self.alpha))

    @classmethod
    def fit(
        cls,
        scores: Sequence[npt.ArrayLike],
        problem: Sequence[Hashable],
        *,
        alpha: float,
        statistic: RunningStatistic | None = None,
        solutions: Solutions | None = None,
        covers: Covers = "right_solutions",
        seed: int = 0,
    ) -> Self:
        """Calibrate on the solutions that are covered, of problems that nothing was chosen on.

        Args:
            scores: of each solution, (T,), in [0, 1], NaN where a step has none; T is 0 or more. For `covers`
                "steps_before_the_first_wrong_one" the steps before it, of any solution.
            problem: what tells the problem of each.
            alpha: see the class.
            statistic: lowest step where left out.
            solutions: left out: drawn while alpha (n0 + 1) is below `FEWEST_FOR_MEAN`, else the mean.
            covers: see the class.
            seed: of the draws. Which solution of a problem is drawn depends on the seed, the problem and its solutions
                alone, not on other problems nor on the order of them.
        """
        chosen = statistic if statistic is not None else LowestStep()
        of_problem: dict[Hashable, list[FloatArray]] = {}
        for values, key in zip(scores, problem, strict=True):
            of_problem.setdefault(key, []).append(np.asarray(values, np.float64))
        n0 = len(of_problem)
        how: Solutions = solutions or ("drawn" if alpha * (n0 + 1) < FEWEST_FOR_MEAN else "mean")
        taken = [
            (one, 1.0 / len(some))
            for key, all_of_it in of_problem.items()
            for some in [[drawn_of(all_of_it, key, seed)] if how == "drawn" else all_of_it]
            for one in some
        ]
        lengths = [len(one) for one, _ in taken]
        return cls(
            alpha=alpha,
            statistic=chosen,
            largest=tuple(largest_of(chosen, one) for one, _ in taken),
            weights=tuple(weight for _, weight in taken),
            num_problems=n0,
            lengths=(min(lengths), max(lengths)) if lengths else (0, 0),
            solutions=how,
            covers=covers,
            seed=seed,
        )

    @property
    def promised_until(self) -> int:
        """The step up to which the promise holds."""
        return self.lengths[1]

    @property
    def can_alarm(self) -> bool:
        """Whether there are enough problems for a threshold at alpha."""
        return self.threshold < NOTHING_KEPT

    @property
    def expected_false_alarms(self) -> float:
        """How often a right solution is stopped at most: k / (n0 + 1) with one solution a problem, else alpha."""
        if any(weight != 1.0 for weight in self.weights):
            return self.alpha
        return order(self.alpha, self.num_problems) / (self.num_problems + 1)

    def level(self, value: float) -> float:
        """The level of a solution whose largest M so far is `value`; it is stopped where that is at most alpha."""
        return float(levels(value, self.largest, self.weights, self.num_problems))

    def begin(self) -> MonitorRun:
        """Watch a new solution."""
        return MonitorRun(self)

    def readings(self, scores: npt.ArrayLike) -> list[MonitorReading]:
        """What it says after every step of a solution that is there whole, (T,), NaN where a step has no score."""
        run = self.begin()
        return [run.add(float(score)) for score in np.asarray(scores, np.float64)]

    def in_words(self) -> str:
        """What is promised, in a line or two."""
        who = {
            "right_solutions": "a solution that is right throughout is ever stopped",
            "steps_before_the_first_wrong_one": "a solution is stopped before its first wrong step",
        }[self.covers]
        share = f"{100 * self.alpha:g}%"
        if not self.can_alarm:
            return f"no alarm: {self.why_no_alarm()}"
        return (
            f"{who} with probability at most {share} (average over problems and calibration sets), at whatever step "
            f"one looks, up to step {self.promised_until}; calibrated on {counted(self.num_problems, 'problem')} with "
            f"{self.lengths[0]} to {counted(self.lengths[1], 'step')}"
        )

    def why_no_alarm(self) -> str:
        """The line for a monitor that has no threshold."""
        needed, n0 = smallest_count(self.alpha), self.num_problems
        what = "right solution" if self.covers == "right_solutions" else "solution"
        return f"no rule at {self.alpha:g}: needs {counted(needed, 'problem')} with a {what}, has {n0}; it never alarms"

    def to_json(self) -> dict[str, Any]:
        """Plain values, without loss."""
        return {
            "format_version": FORMAT_VERSION,
            "alpha": self.alpha,
            "statistic": statistic_to_json(self.statistic),
            "largest": [value if math.isfinite(value) else None for value in self.largest],
            "weights": list(self.weights),
            "num_problems": self.num_problems,
            "lengths": list(self.lengths),
            "solutions": self.solutions,
            "covers": self.covers,
            "seed": self.seed,
            "threshold": self.threshold if math.isfinite(self.threshold) else None,
            "strict": True,
        }

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """What `to_json` gave.

        Raises:
            ValueError: another format version, a missing field, or one that is out of range; or the threshold is not
                that of the largest values.
        """
        check_format_version(values, FORMAT_VERSION, "monitor")
        try:
            made = cls(
                alpha=float(values["alpha"]),
                statistic=statistic_from_json(values["statistic"]),
                largest=tuple(-math.inf if value is None else float(value) for value in values["largest"]),
                weights=tuple(float(value) for value in values["weights"]),
                num_problems=int(values["num_problems"]),
                lengths=(int(values["lengths"][0]), int(values["lengths"][1])),
                solutions=values["solutions"],
                covers=values["covers"],
                seed=int(values["seed"]),
            )
            stored = values["threshold"]
        except (KeyError, TypeError, IndexError, OverflowError) as error:
            raise ValueError(f"a field of a monitor is missing or of the wrong kind ({error})") from None
        if made.solutions not in ("drawn", "mean") or made.covers not in (
            "right_solutions",
            "steps_before_the_first_wrong_one",
        ):
            raise ValueError(f"a monitor on {made.solutions!r} solutions that covers {made.covers!r}; neither is known")
        if stored != (made.threshold if math.isfinite(made.threshold) else None):
            raise ValueError(f"threshold {stored!r} of a monitor whose values give {made.threshold!r}")
        return made


class MonitorRun:
    """A solution under the eyes of a monitor, one step after the other."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self._state = monitor.statistic.begin()
        self._value = np.array(-np.inf)
        self._largest = -math.inf
        self._readings: list[MonitorReading] = []

    @property
    def readings(self) -> tuple[MonitorReading, ...]:
        """What was said after each step."""
        return tuple(self._readings)

    @property
    def largest(self) -> float:
        """The largest M so far; −∞ before the first scored step."""
        return self._largest

    def add(self, score: float) -> MonitorReading:
        """The reading after one more step.

        Args:
            score: in [0, 1], of the kind that the statistic reads; NaN where the step has none, which changes nothing.

        Raises:
            ValueError: it is outside [0, 1].
        """
        if not (math.isnan(score) or 0.0 <= score <= 1.0):
            raise ValueError(f"the score of a step is {score}; allowed: 0 to 1, or NaN")
        monitor, step = self.monitor, len(self._readings) + 1
        self._state, self._value = step_on(monitor.statistic, self._state, self._value, np.array(score))
        self._largest = max(self._largest, float(self._value))
        self._readings.append(self._read(step))
        return self._readings[-1]

    def take(self, raw: Sequence[float | None], confidence: Sequence[float | None]) -> None:
        """Go on over steps with scores of both kinds, before and after the map; None where a step has none."""
        for score in raw if self.monitor.statistic.reads == "raw" else confidence:
            self.add(math.nan if score is None else score)

    def _read(self, step: int) -> MonitorReading:
        monitor, until = self.monitor, self.monitor.promised_until
        was_stopped = bool(self._readings) and self._readings[-1].alarm is True
        if not monitor.can_alarm:
            level = monitor.level(self._largest) if step <= until or not monitor.num_problems else None
            return MonitorReading(step, False, level, until, monitor.why_no_alarm())
        if step > until:
            beyond = f"step {step} is beyond the {counted(until, 'step')} of the longest calibrated solution"
            note = (
                f"{beyond}: the alarm came before that"
                if was_stopped
                else f"{beyond}: nothing is promised here and no alarm is given; that none comes says nothing"
            )
            return MonitorReading(step, True if was_stopped else None, None, until, note)
        return MonitorReading(
            step, was_stopped or self._largest > monitor.threshold, monitor.level(self._largest), until
        )

    def fork(self) -> MonitorRun:
        """Another run at the same place."""
        other = MonitorRun(self.monitor)
        other._state, other._value, other._largest = self._state, self._value, self._largest
        other._readings = list(self._readings)
        return other


def largest_of(statistic: RunningStatistic, scores: FloatArray) -> float:
    """The largest M of one solution, (T,); −∞ without a scored step.

    >>> largest_of(LowestStep(), np.array([0.9, 0.4, 0.7]))
    -0.4
    """
    return float(np.max(running_values(statistic, scores), initial=-np.inf))


def drawn_of(some: Sequence[FloatArray], key: Hashable, seed: int) -> FloatArray:
    """One of the solutions of a problem, drawn by seed and key alone."""
    return some[drawn_number(seed, key, "monitor") % len(some)]
