"""The promise of selective use: of the solutions that are handed out, few are wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from surestep.counted import counted
from surestep.files import SELECTIVE as SELECTIVE_FILE
from surestep.guarantees.critical_values import CriticalValues, solutions_of
from surestep.guarantees.path_scores import as_confidence
from surestep.guarantees.problems import ScoredProblem
from surestep.guarantees.promises.promise import Promise, Rule, Use, in_percent
from surestep.guarantees.seeded_draws import drawn_number
from surestep.guarantees.selective.rule import SelectiveRule, cutoff_sequence
from surestep.guarantees.terms import Terms

DELTA = 0.1
"""The share of calibration sets in which the promise may fail, where nothing is said."""
_SCORES_ONLY = 5
"""One problem in so many gives its scores to the choice of the cut-offs that are tested, and no label to the test."""


def rule_of(rule: Rule) -> SelectiveRule:
    """The selective rule of a rule.

    Raises:
        ValueError: the rule holds none, or a damaged one.
    """
    return SelectiveRule.from_json(rule.facts.get("selective"))


def selective_rule(problems: Sequence[ScoredProblem], terms: Terms) -> Rule:
    """P5: one solution a problem, as the policy takes it; a fifth of the problems fix the cut-offs to test."""
    judging = terms.judging
    other: list[float] = []
    scores: list[float] = []
    wrong: list[bool] = []
    counts: list[int] = []
    unjudged = 0
    for problem in problems:
        taken = terms.taken(problem)
        if taken is None:
            continue
        tree, path = taken
        score = float(judging.scores(tree)[path][-1])
        if _fixes_cutoffs(problem, terms.seed):
            other.append(score)
        elif judging.unlabelled == "ignore" and np.isnan(tree.label[path]).all():
            unjudged += 1
        else:
            scores.append(score)
            wrong.append(bool(judging.losses(tree.label[path]).any()))
            count = len(solutions_of(problem))
            counts.append(min(count, terms.most or count))
    delta = DELTA if terms.delta is None else terms.delta
    sequence = cutoff_sequence(other, len(scores), alpha=terms.alpha, delta=delta)
    found = SelectiveRule.fit(
        scores, wrong, sequence, alpha=terms.alpha, delta=delta, escalate_above=_as_score(terms.escalate_above, terms)
    )
    return Rule(
        replace(CriticalValues.of([]), n=found.num_problems),
        num_wrong=sum(wrong),
        k=0,
        cutoff=found.cutoff,
        kept={
            "something": found.handed_out / found.num_problems if found.num_problems else None,
            "wrong_where_something": found.wrong / found.handed_out if found.handed_out else None,
        },
        reference_scores=[score for score in scores if math.isfinite(score)],
        facts={
            "selective": found.to_json(),
            "solutions": [min(counts, default=0), max(counts, default=0)],
            "scores_only": len(other),
            "unjudged": unjudged,
            "policy": terms.handed_out_by.id,
        },
    )


def _fixes_cutoffs(problem: ScoredProblem, seed: int) -> bool:
    """Whether a problem is one of those; by its own key, so that the order of problems changes nothing."""
    return drawn_number(seed, problem.key, "cut-offs") % _SCORES_ONLY == 0


def _as_score(confidence: float | None, terms: Terms) -> float:
    if confidence is None:
        return math.inf
    if terms.judging.score == "min":
        return confidence
    return math.log(confidence) if confidence > 0.0 else -math.inf


@dataclass(frozen=True, slots=True)
class _HandedOut(Promise):
    """Its own words: it keeps whole solutions or none of one."""

    def sentence(self, terms: Terms) -> str:
        """See `Promise`."""
        delta = DELTA if terms.delta is None else terms.delta
        return (
            f"{self.title}: {self.meaning.format(alpha=in_percent(terms.alpha))} (for all but {in_percent(delta)} of "
            "calibration sets)"
        )

    def why_no_rule(self, terms: Terms, rule: Rule) -> str:
        """See `Promise`."""
        return rule_of(rule).in_words()

    def check(self, terms: Terms, rule: Rule) -> None:
        """See `Promise`."""
        found = rule_of(rule)
        if found.alpha != terms.alpha or found.cutoff != rule.cutoff:
            raise ValueError("the selective rule of a rule is of another alpha or cut-off")
        if rule.facts.get("policy") != terms.handed_out_by.id:
            raise ValueError("the policy of a rule is not that of its terms")
        if not all(type(rule.facts.get(name)) is int for name in ("scores_only", "unjudged")):
            raise ValueError("a count of a rule is missing or no whole number")

    def reads_calibrated(self, terms: Terms, *, chooses: bool) -> bool:
        """See `Promise`: a stop is compared with calibrated confidences."""
        own = terms.judging.score != "min" or (chooses and terms.policy != "min")
        return own or terms.stop_above is not None

    def lines(self, terms: Terms, rule: Rule) -> Sequence[tuple[str, str]]:
        """See `Promise`."""
        found, facts = rule_of(rule), rule.facts
        few, many = facts["solutions"]
        of = (
            "the only solution of each"
            if many <= 1
            else f"of {few} to {counted(many, 'solution')} each, {facts['policy']}"
        )
        start = (
            f"{counted(found.num_problems, 'problem')}, {of}; {rule.num_wrong:,} of these are wrong; the cut-offs "
            f"to test are from the scores of {facts['scores_only']:,} others"
        )
        if facts["unjudged"]:
            start += f"; {counted(facts['unjudged'], 'problem')} without a label left out"
        if not rule.exists:
            return [("From", start), ("Rule", found.in_words())]
        what = "lowest raw confidence" if terms.judging.score == "min" else "product of confidences"
        above = as_confidence(found.cutoff, terms.judging.score)
        where = f"with a {what} above {above:.4g}" if math.isfinite(found.cutoff) else "that have a score"
        rest = "for the rest there is no answer"
        if terms.escalate_above is not None:
            rest = f"those above {terms.escalate_above:g} are escalated, for the rest there is no answer"
        return [
            ("From", start),
            ("Rule", f"hand out solutions {where}; {rest}"),
            (
                "Hands out",
                f"{found.handed_out:,} of {found.num_problems:,} ({found.handed_out / found.num_problems:.0%}), of "
                f"which {found.wrong:,} are wrong ({found.wrong / found.handed_out:.1%}); {found.tested} of "
                f"{len(found.sequence)} cut-offs tested",
            ),
        ]


def _covers(use: Use, policy: str | None, count: int, terms: Terms, rule: Rule) -> str:
    own = terms.handed_out_by.id
    if policy == own or (use == "solution" and rule.facts["solutions"][1] <= 1):
        return ""
    return f"it is for whole solutions taken by this policy: {own}"


SELECTIVE = _HandedOut(
    "selective",
    "selective use",
    "at most {alpha} of the solutions handed out are wrong",
    selective_rule,
    _covers,
    SELECTIVE_FILE,
)
