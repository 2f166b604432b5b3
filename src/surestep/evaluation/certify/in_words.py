"""What is said of a certificate: the promise, where it comes from, the rule, the risk, and what is kept.

That something is kept in x% of problems, and how many of those are wrong, is always said: the promise alone is kept by
keeping nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from surestep.counted import counted
from surestep.guarantees.certificate import ALL, Certificate
from surestep.guarantees.cutoff import EVERYTHING_KEPT
from surestep.guarantees.path_scores import as_confidence
from surestep.guarantees.promises.promise import Rule, in_percent, no_rule

NOTHING = "nothing is kept anywhere"
RISK_CONFIDENCE = 0.95
"""Of the bound on this calibration set's own risk."""

Line = tuple[str, str]
"""What it is about, and the sentence."""


def lines_of(certificate: Certificate) -> Iterator[Line]:
    """The lines of a certificate, one after the other."""
    terms, about = certificate.terms, certificate.about
    yield "Promise", certificate.promise.sentence(terms)
    for group, rule in certificate.rules.items():
        if group != ALL:
            members = [name for name, of in certificate.groups.items() if of == group]
            yield "Group", f"{group}" + (f" ({', '.join(members)})" if members != [group] else "")
        if (own := certificate.promise.lines(terms, rule)) is not None:
            yield from own
            continue
        yield "From", _from(certificate, rule)
        if not rule.exists:
            yield "Rule", no_rule(terms, rule.critical.n)
            continue
        yield "Rule", _rule(certificate, rule)
        yield "Risk", _risk(certificate, rule)
        yield "Keeps", _keeps(rule)
    for name, report in about.get("reading", {}).items():
        for sentence in _notes(report):
            yield "Reading", f"{name}: {sentence}"
    for reason, count in about.get("left_out", {}).items():
        yield "Left out", f"{counted(count, 'problem')}: {reason}"
    yield "", "Not promised for one problem, for a dataset apart, after a change of model, prompt, sampling or search"


def _notes(report: dict[str, Any]) -> list[str]:
    """What reading a dataset left out that a promise depends on, and its notes."""
    tail = report.get("counts", {}).get("unlabelled_tail", 0)
    dropped = [f"{counted(tail, 'step')} that nobody judged, behind the last judged one, not read"] if tail else []
    return [*dropped, *report.get("notes", [])]


def _from(certificate: Certificate, rule: Rule) -> str:
    about, facts = certificate.about, rule.facts
    few, many = facts.get("solutions", [0, 0])
    one = {"chosen": "one path each", "tree": "whole trees", "random": "the mean over each problem's solutions"}
    how = one.get(certificate.terms.promise, "")
    if facts.get("is_drawn"):
        how = "one drawn solution each"
    if certificate.terms.promise == "chosen" and many > 1:
        how = f"the best of {many if few == many else f'{few} to {many}'} by {certificate.terms.policy}"
    unlabelled = _UNLABELLED[certificate.terms.judging.unlabelled]
    parts = [
        ", ".join(part for part in (f"{counted(rule.critical.n, 'problem')}", how) if part),
        f"{rule.num_wrong:,} hold a wrong step",
        f"{about.get('unlabelled_share', 0.0):.1%} of steps unlabelled ({unlabelled})",
        _seen_words(about.get("seen")),
    ]
    return "; ".join(parts)


_UNLABELLED = {"ignore": "ignored", "wrong": "count as wrong"}


def _seen_words(seen: dict[str, object] | None) -> str:
    if seen is None:
        return "what the scorer was trained on is not known here"
    not_compared = seen.get("not_compared")
    if isinstance(not_compared, list) and not_compared:
        return "not all that was used could be compared: " + "; ".join(map(str, not_compared))
    return "none seen in training"


def _rule(certificate: Certificate, rule: Rule) -> str:
    score = certificate.terms.judging.score
    what = "lowest raw confidence" if score == "min" else "product of confidences"
    if rule.cutoff == EVERYTHING_KEPT:
        return f"keep every step: {rule.num_wrong:,} of {rule.critical.n:,} problems hold a wrong one"
    where = (
        f"{_ordinal(rule.k)} largest of {counted(rule.critical.n, 'critical value')}"
        if rule.counts_whole_problems
        else f"from {counted(rule.critical.values.size, 'weighted critical value')} of "
        f"{counted(rule.critical.n, 'problem')}"
    )
    return f"keep steps while the {what} is above {as_confidence(rule.cutoff, score):.4g} ({where})"


def _risk(certificate: Certificate, rule: Rule) -> str:
    expected = rule.expected_risk(certificate.terms)
    is_exact = rule.counts_whole_problems and rule.cutoff != EVERYTHING_KEPT
    said = f"{expected:.2%} expected" if is_exact else f"at most {expected:.2%} expected"
    bound = rule.risk_below(RISK_CONFIDENCE)
    if bound is None:
        return said
    return f"{said}; for this calibration set below {bound:.1%} with {in_percent(RISK_CONFIDENCE)} confidence"


def _keeps(rule: Rule) -> str:
    def share(name: str) -> str:
        value = rule.kept.get(name)
        return "–" if value is None else f"{value:.0%}" if value >= 0.1 or value == 0 else f"{value:.1%}"

    wrong = rule.kept.get("wrong_where_something")
    most = "" if rule.counts_whole_problems else "at most "
    tail = f"where something is kept {most}{wrong:.1%} hold a wrong step" if wrong is not None else NOTHING
    return (
        f"{share('right_steps')} of right steps, something in {share('something')} of problems, everything in "
        f"{share('everything')}; {tail}"
    )


def _ordinal(number: int) -> str:
    """A place as it is said.

    >>> [_ordinal(number) for number in (1, 2, 3, 4, 11, 83, 112)]
    ['1st', '2nd', '3rd', '4th', '11th', '83rd', '112th']
    """
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
