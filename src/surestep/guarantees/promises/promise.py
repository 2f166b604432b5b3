"""What a promise is to the rest: how it makes a rule of calibration problems, and how it is said.

Legend: M critical values, n problems.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from surestep.counted import counted
from surestep.files import CERTIFICATE
from surestep.guarantees.binomial import TOLERANCE, beta_quantile
from surestep.guarantees.critical_values import CriticalValues
from surestep.guarantees.cutoff import (
    NOTHING_KEPT,
    cutoff_with_room,
    order,
    order_pac,
    room,
    smallest_alpha,
    smallest_alpha_pac,
    smallest_count,
    smallest_count_pac,
)
from surestep.guarantees.problems import ScoredProblem
from surestep.guarantees.terms import Terms

Use = Literal["solution", "best"]
"""What is handed out: one solution as it is, or the best of several."""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """The rule of one group of problems, with all that is needed to make it anew.

    Attributes:
        critical: of the calibration problems.
        num_wrong: problems with a critical value: something in them is wrong.
        k: the order of the cut-off; 0 where there is no rule.
        cutoff: keep what scores strictly above; +inf keeps nothing, −inf everything that has a score.
        kept: figures of what is kept, each a share in [0, 1] or None where nothing can be said.
        clean_scores: the last score of each calibration solution that is right throughout, for a monitor.
        reference_scores: the last score of each problem's handed-out solution, for a test of shift.
        facts: what else the promise must remember, JSON-ready: the numbers of solutions it was calibrated on.
    """

    critical: CriticalValues
    num_wrong: int
    k: int
    cutoff: float
    kept: Mapping[str, float | None] = field(default_factory=dict)
    clean_scores: Sequence[float] = ()
    reference_scores: Sequence[float] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        """Whether there is a rule at all at this level."""
        return self.cutoff != NOTHING_KEPT

    @property
    def counts_whole_problems(self) -> bool:
        """Whether each problem loses 0 or 1, so that the risk has an exact distribution."""
        return bool((self.critical.weights == 1.0).all())

    def expected_risk(self, terms: Terms) -> float:
        """The risk at worst, averaged over calibration sets and problems: k/(n+1), else α; 0 without a rule."""
        if not self.exists:
            return 0.0
        return self.k / (self.critical.n + 1) if self.counts_whole_problems else terms.alpha

    def risk_below(self, confidence: float) -> float | None:
        """The bound below which this calibration set's own risk lies with this confidence; None where not known."""
        if not self.exists or not self.counts_whole_problems or not self.k:
            return None
        return beta_quantile(confidence, self.k, self.critical.n)


@dataclass(frozen=True, slots=True)
class Promise:
    """One kind of promise.

    Attributes:
        name: as `--promise` takes it.
        title: in two or three words.
        meaning: what α bounds, with `{alpha}` where it stands.
        make_rule: the rule of one group of problems.
        covers: whether it speaks of what is handed out: takes how, the policy (None: as it is), the number of
            solutions it was chosen from, the terms and the rule; gives "" where it does, else why not.
        file: of a checkpoint, where it is stored; promises of one file replace each other.
    """

    name: str
    title: str
    meaning: str
    make_rule: Callable[[Sequence[ScoredProblem], Terms], Rule]
    covers: Callable[[Use, str | None, int, Terms, Rule], str]
    file: str = CERTIFICATE

    def sentence(self, terms: Terms) -> str:
        """The promise in a sentence, with what it is averaged over."""
        over = (
            "average over problems and calibration sets"
            if terms.delta is None
            else f"average over problems, for all but {in_percent(terms.delta)} of calibration sets"
        )
        alpha = in_percent(terms.alpha)
        soft = f"the largest 1 − label of a kept step is at most {alpha}"
        return f"{self.title}: {soft if terms.judging.loss == 'soft' else self.meaning.format(alpha=alpha)} ({over})"

    def needed(self, terms: Terms) -> int:
        """The fewest problems with which a rule exists."""
        return needed(terms)

    def why_no_rule(self, terms: Terms, rule: Rule) -> str:
        """Why there is none, in a line."""
        return no_rule(terms, rule.critical.n)

    def reads_calibrated(self, terms: Terms, *, chooses: bool) -> bool:
        """Whether it holds with the calibration maps alone that it was made with.

        The running minimum of raw confidences, and the choice by it, are the same through any map that rises.

        Args:
            terms: its own.
            chooses: whether one of several solutions is taken.
        """
        return terms.judging.score != "min" or (chooses and terms.policy != "min")

    def check(self, terms: Terms, rule: Rule) -> None:
        """Refuse a rule that was read and is not of these terms.

        Raises:
            ValueError: what it must remember is missing, damaged or of other terms.
        """

    def lines(self, terms: Terms, rule: Rule) -> Sequence[tuple[str, str]] | None:
        """What is said of a rule, by subject; None: what is said of kept parts."""
        return None


def in_percent(share: float) -> str:
    """A share as people write it.

    >>> in_percent(0.1), in_percent(0.055), in_percent(0.3)
    ('10%', '5.5%', '30%')
    """
    return f"{share * 100:.6g}%"


def allowed_loss(terms: Terms, n: int) -> tuple[int, float]:
    """The order k, and the summed loss that n problems may have at the cut-off."""
    if terms.delta is None:
        return order(terms.alpha, n), room(terms.alpha, n)
    k = order_pac(terms.alpha, n, terms.delta)
    return k, k - 1.0 + TOLERANCE


def fitted_cutoff(critical: CriticalValues, terms: Terms) -> tuple[int, float]:
    """The order k, and the cut-off."""
    k, allowed = allowed_loss(terms, critical.n)
    return k, cutoff_with_room(critical.values, critical.weights, allowed)


def needed(terms: Terms) -> int:
    """The fewest problems with which a rule exists."""
    return smallest_count(terms.alpha) if terms.delta is None else smallest_count_pac(terms.alpha, terms.delta)


def no_rule(terms: Terms, n: int) -> str:
    """Why there is none, and which level n problems allow.

    >>> no_rule(Terms(alpha=0.05), 12)
    'no rule at 0.05: needs 19 problems, has 12; the smallest alpha with a rule is 1/13 = 0.077'
    """
    start = (
        f"no rule at {terms.alpha:g}: needs {counted(needed(terms), 'problem')}, has {n}; the smallest alpha "
        "with a rule is"
    )
    if terms.delta is None:
        return f"{start} 1/{n + 1} = {smallest_alpha(n):.3f}"
    return f"{start} {math.ceil(smallest_alpha_pac(n, terms.delta) * 1000) / 1000:.3f}"


def shares(parts: Sequence[tuple[float, float]]) -> float | None:
    """Summed first over summed second; None where the second sums to nothing."""
    whole = sum(part[1] for part in parts)
    return sum(part[0] for part in parts) / whole if whole else None
