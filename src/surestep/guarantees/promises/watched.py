"""The promise of the monitor: a solution that is right throughout is seldom ever stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surestep.counted import counted
from surestep.files import MONITOR as MONITOR_FILE
from surestep.guarantees.critical_values import CriticalValues
from surestep.guarantees.cutoff import EVERYTHING_KEPT
from surestep.guarantees.monitoring.monitor import Monitor
from surestep.guarantees.monitoring.running_statistics import STATISTICS
from surestep.guarantees.monitoring.solutions import calibrated_monitor, found_by
from surestep.guarantees.problems import ScoredProblem
from surestep.guarantees.promises.promise import Promise, Rule, Use
from surestep.guarantees.terms import Terms


def monitor_of(rule: Rule) -> Monitor:
    """The monitor of a rule.

    Raises:
        ValueError: the rule holds none, or a damaged one.
    """
    return Monitor.from_json(rule.facts.get("monitor"))


def watched_rule(problems: Sequence[ScoredProblem], terms: Terms) -> Rule:
    """P4: calibrated on the solutions that are right throughout."""
    monitor, taken = calibrated_monitor(
        problems,
        alpha=terms.alpha,
        judging=terms.judging,
        statistic=STATISTICS[terms.statistic](),
        seed=terms.seed,
    )
    values, weights = np.array(monitor.largest, np.float64), np.array(monitor.weights, np.float64)
    problem = np.minimum(np.round(np.cumsum(weights) - weights + 1e-9).astype(np.int64), monitor.num_problems - 1)
    finite = np.isfinite(values)
    found = found_by(monitor, taken.wrong)
    return Rule(
        CriticalValues(values[finite], weights[finite], problem[finite], monitor.num_problems),
        num_wrong=taken.num_wrong,
        k=0 if not monitor.can_alarm else round(monitor.expected_false_alarms * (monitor.num_problems + 1)),
        cutoff=monitor.threshold,
        kept={"wrong_stopped": found.stopped, "wrong_stopped_before_the_first_wrong_step": found.before},
        facts={
            "steps_to_the_alarm": found.delay,
            "monitor": monitor.to_json(),
            "problems": taken.num_problems,
            "solutions_seen": taken.num_solutions,
            "solutions_unjudged": taken.num_unlabelled,
            "unlabelled_share": taken.unlabelled_share if taken.scores else None,
            "unscored_steps": taken.unscored_steps,
        },
    )


@dataclass(frozen=True, slots=True)
class _Watched(Promise):
    """Its own words: it keeps nothing, it stops."""

    def why_no_rule(self, terms: Terms, rule: Rule) -> str:
        """See `Promise`."""
        return monitor_of(rule).why_no_alarm()

    def check(self, terms: Terms, rule: Rule) -> None:
        """See `Promise`."""
        monitor = monitor_of(rule)
        if (monitor.alpha, monitor.statistic.name) != (terms.alpha, terms.statistic):
            raise ValueError("the monitor of a rule is of another alpha or statistic than its terms")
        if monitor.threshold != rule.cutoff:
            raise ValueError(f"cut-off {rule.cutoff} of a rule whose monitor has {monitor.threshold}")
        counts = [rule.facts.get(name) for name in ("problems", "solutions_seen", "solutions_unjudged")]
        if not all(type(count) is int for count in counts):
            raise ValueError("a count of a rule is missing or no whole number")

    def reads_calibrated(self, terms: Terms, *, chooses: bool) -> bool:
        """See `Promise`."""
        return STATISTICS[terms.statistic].reads == "confidence"

    def lines(self, terms: Terms, rule: Rule) -> Sequence[tuple[str, str]]:
        """See `Promise`."""
        monitor, facts = monitor_of(rule), rule.facts
        n0, (shortest, longest) = monitor.num_problems, monitor.lengths
        how = "one drawn solution each" if monitor.solutions == "drawn" else "the mean over each one's right solutions"
        start = f"{n0:,} of {facts['problems']:,} problems have a solution that is right throughout; {how}"
        if facts["solutions_unjudged"]:
            start += f"; {counted(facts['solutions_unjudged'], 'solution')} without a label left out"
        if facts["unlabelled_share"]:
            start += f"; {facts['unlabelled_share']:.1%} of their steps unlabelled ({terms.judging.unlabelled})"
        if not monitor.can_alarm:
            return [("From", start), ("Rule", monitor.why_no_alarm())]
        if monitor.threshold == EVERYTHING_KEPT:
            rule_words = "stop every solution: alpha leaves room for all of them"
        else:
            rule_words = f"stop once {monitor.statistic.above(monitor.threshold)}"
        return [
            ("From", start),
            ("Rule", rule_words),
            ("Risk", f"at most {monitor.expected_false_alarms:.2%} of right solutions are ever stopped"),
            (
                "Length",
                f"calibrated on {shortest} to {counted(longest, 'step')}; beyond step {longest} nothing is promised "
                "and no alarm is given: that none comes says nothing there",
            ),
            ("Finds", _finds(rule)),
        ]


def _finds(rule: Rule) -> str:
    stopped, before = (rule.kept.get(name) for name in ("wrong_stopped", "wrong_stopped_before_the_first_wrong_step"))
    if stopped is None or before is None:
        return "nothing is known: no solution of these problems is wrong"
    delay = rule.facts.get("steps_to_the_alarm")
    when = "" if delay is None else f", {delay:.1f} steps after their first wrong one on average"
    early = f", {before:.0%} before it" if before else ""
    return (
        f"{stopped:.0%} of the wrong solutions of these problems are stopped{when}{early}; that is no promise: a "
        "solution that is not stopped may be wrong"
    )


def _covers_nothing_kept(use: Use, policy: str | None, count: int, terms: Terms, rule: Rule) -> str:
    return "it is for stopping a solution that runs, not for what is kept of one"


MONITOR = _Watched(
    "monitor",
    "monitor",
    "at most {alpha} of solutions that are right throughout are ever stopped",
    watched_rule,
    _covers_nothing_kept,
    MONITOR_FILE,
)
