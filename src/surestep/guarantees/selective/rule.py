"""Selective use: which finished solutions are handed out, so that at most a share alpha of those is wrong.

The wrong share of what is handed out is not monotone in the cut-off, so the cut-off of conformal risk control must not
be used for it. Cut-offs that other problems have fixed are tested from strict to loose, each by the binomial tail of
its wrong ones among its handed-out ones, until the first that fails (fixed-sequence testing; Angelopoulos et al., Learn
then test, arXiv 2110.01052): the wrong share is above alpha in at most a share delta of calibration sets, for problems
drawn independently and one solution each.

Knows the score of each problem's solution and whether it is wrong. Knows no step.

Legend: n problems, K cut-offs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from surestep.arrays import BoolArray, FloatArray
from surestep.counted import counted
from surestep.guarantees.binomial import binomial_cdf
from surestep.guarantees.cutoff import smallest_count_pac
from surestep.guarantees.format_version import check_format_version

FORMAT_VERSION = 1
LEVELS = 40
"""Cut-offs of a sequence."""

Decision = Literal["hand_out", "escalate", "abstain"]
"""Give the solution; pass the problem on to somebody or something dearer; say that there is none. Only the first
carries a promise."""


def cutoff_sequence(
    other_scores: npt.ArrayLike, n: int, *, alpha: float, delta: float, levels: int = LEVELS
) -> tuple[float, ...]:
    """The cut-offs to test, strict to loose, from the scores of other problems than those they are tested on.

    The first is where 2 ln delta / ln(1 − alpha) solutions are expected to be handed out: with half as many, none may
    be wrong. The last hands out everything. Between them the expected number handed out rises evenly.

    Args:
        other_scores: of other problems' solutions; −∞ where one has no score, which is never handed out.
        n: problems that will be tested on.
        alpha: the most that may be wrong among the handed-out.
        delta: the share of calibration sets in which that may fail.
        levels: how many, at least 2.

    Returns:
        Falling; empty where so many are never expected.
    """
    scores = np.sort(np.asarray(other_scores, np.float64))[::-1]
    if np.isnan(scores).any():
        raise ValueError("a score is NaN; allowed: a number, or -inf where there is none")
    if not scores.size or not n:
        return ()
    first = 2.0 * math.log(delta) / math.log1p(-alpha) / n
    if first > 1.0:
        return ()
    counts = np.ceil(np.linspace(first, 1.0, max(2, levels)) * scores.size - 1e-9).astype(np.int64)
    # Handing out `count` of them needs a cut-off below the last of these and not below the next.
    below = [float(scores[count]) if count < scores.size else -math.inf for count in counts.tolist()]
    return tuple(sorted({cut for cut in below if cut < math.inf}, reverse=True))


@dataclass(frozen=True)
class SelectiveRule:
    """Which solutions are handed out: those with a score strictly above the cut-off.

    Attributes:
        alpha: the most that may be wrong among the handed-out.
        delta: the share of calibration sets in which that may fail.
        cutoff: +∞ where no cut-off passed: nothing is handed out.
        num_problems: n, calibration problems.
        handed_out, wrong: of them, at the cut-off.
        sequence: the cut-offs that were to be tested, strict to loose.
        tested: how many were, the one that failed included.
        escalate_above: below the cut-off, problems whose score is above this are escalated, others abstained from;
            −∞ escalates all of them. Fixed beforehand, and without a promise.
    """

    alpha: float
    delta: float
    cutoff: float
    num_problems: int
    handed_out: int
    wrong: int
    sequence: tuple[float, ...]
    tested: int
    escalate_above: float = math.inf

    @classmethod
    def fit(
        cls,
        scores: npt.ArrayLike,
        wrong: npt.ArrayLike,
        sequence: tuple[float, ...],
        *,
        alpha: float,
        delta: float,
        escalate_above: float = math.inf,
    ) -> Self:
        """The loosest cut-off of the sequence before the first that fails.

        Args:
            scores: of one solution a problem, (n,).
            wrong: bool (n,), whether it is.
            sequence: of `cutoff_sequence`, from other problems.
            alpha: see the class.
            delta: see the class.
            escalate_above: see the class.

        Raises:
            ValueError: a score is NaN, the columns differ in length, or the sequence does not fall.

        >>> rule = SelectiveRule.fit(np.arange(30) / 30, np.arange(30) < 2, (0.5, 0.2, 0.0), alpha=0.2, delta=0.1)
        >>> rule.cutoff, rule.handed_out, rule.wrong
        (0.0, 29, 1)
        """
        for name, value in (("alpha", alpha), ("delta", delta)):
            if not 0.0 < value < 1.0:
                raise ValueError(f"{name} is {value}; allowed: above 0 and below 1")
        scores_n, wrong_n = np.asarray(scores, np.float64), np.asarray(wrong, np.bool_)
        if scores_n.shape != wrong_n.shape or scores_n.ndim != 1 or np.isnan(scores_n).any():
            raise ValueError("scores and wrong are not two columns of equal length without NaN")
        if any(one <= other for one, other in pairwise(sequence)):
            raise ValueError("the cut-offs of a sequence fall; allowed: strict to loose, each once")
        best, tested = (math.inf, 0, 0), 0
        for cut in sequence:
            tested += 1
            above = scores_n > cut
            num, num_wrong = int(above.sum()), int((wrong_n & above).sum())
            if num == 0 or binomial_cdf(num_wrong, num, alpha) > delta:
                break
            best = (cut, num, num_wrong)
        return cls(alpha, delta, best[0], int(scores_n.size), best[1], best[2], tuple(sequence), tested, escalate_above)

    def decide(self, score: float) -> Decision:
        """What to do with a solution; one without a score (NaN) is never handed out.

        >>> rule = SelectiveRule(0.1, 0.1, 0.8, 100, 60, 1, (0.8,), 1, escalate_above=0.3)
        >>> [rule.decide(score) for score in (0.9, 0.8, 0.1)]
        ['hand_out', 'escalate', 'abstain']
        """
        if score > self.cutoff:
            return "hand_out"
        return "escalate" if score > self.escalate_above else "abstain"

    def in_words(self) -> str:
        """What is promised and what it hands out."""
        share, often = f"{100 * self.alpha:g}%", f"{100 * (1 - self.delta):g}%"
        if not math.isfinite(self.cutoff) and self.cutoff > 0:
            needed = smallest_count_pac(self.alpha, self.delta)
            return (
                f"no rule at {share} with {often} confidence: {needed} handed out and none of them wrong is the least "
                f"that passes, twice as many must be expected; {self.tested} cut-offs were tested on "
                f"{counted(self.num_problems, 'problem')}"
            )
        return (
            f"of the solutions handed out at most {share} are wrong, with {often} confidence over calibration sets; "
            f"here {self.handed_out} of {self.num_problems} are handed out and {self.wrong} of those are wrong"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, without loss; infinities as "inf" and "-inf"."""
        return {
            "format_version": FORMAT_VERSION,
            "alpha": self.alpha,
            "delta": self.delta,
            "cutoff": _plain(self.cutoff),
            "strict": True,
            "num_problems": self.num_problems,
            "handed_out": self.handed_out,
            "wrong": self.wrong,
            "sequence": [_plain(cut) for cut in self.sequence],
            "tested": self.tested,
            "escalate_above": _plain(self.escalate_above),
        }

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """What `to_json` gave.

        Raises:
            ValueError: another format version, or a field that is missing or of the wrong kind.
        """
        check_format_version(values, FORMAT_VERSION, "selective rule")
        try:
            made = cls(
                float(values["alpha"]),
                float(values["delta"]),
                float(values["cutoff"]),
                int(values["num_problems"]),
                int(values["handed_out"]),
                int(values["wrong"]),
                tuple(float(cut) for cut in values["sequence"]),
                int(values["tested"]),
                float(values["escalate_above"]),
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"a field of a selective rule is missing or of the wrong kind ({error})") from None
        if made.cutoff not in (math.inf, *made.sequence):
            raise ValueError(f"cut-off {made.cutoff} of a selective rule is none of its sequence")
        return made


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def handed_out_shares(scores: FloatArray, wrong: BoolArray, cut: float) -> tuple[float, float]:
    """The share of problems handed out, and of those the wrong share; NaN of nothing."""
    above = scores > cut
    return float(above.mean()) if scores.size else math.nan, float(wrong[above].mean()) if above.any() else math.nan
