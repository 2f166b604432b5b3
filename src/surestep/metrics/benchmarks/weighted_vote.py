"""Weighted majority over N-subsets: each candidate votes for its answer with its score.

Real weights leave no closed form: all N-subsets are gone through where they are few enough, else so many are drawn at
random, and the error that this adds is reported.

Shapes: `A` ways of scoring, `K` candidates of one problem, `V` of them that have an answer, `M` subsets, `C` answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np

from surestep.metrics.benchmarks.best_of_n import TIE, answer_values
from surestep.metrics.columns import BoolArray, FloatArray, IntArray

ENUMERATION_LIMIT = 10_000
"""Up to so many N-subsets of one problem are all gone through."""

DRAWN_SUBSETS = 2_000
"""So many are drawn where there are more; fewer where there are many problems, over whose mean their errors average."""

DRAWN_IN_ALL = 60_000
FEWEST_DRAWN = 200


@dataclass(frozen=True, eq=False)
class Subsets:
    """N-subsets of K candidates.

    Attributes:
        indices: int64 [M, N], the candidates of each.
        total: K.
        is_all: whether these are all N-subsets, or a random draw of them.
    """

    indices: IntArray
    total: int
    is_all: bool

    @property
    def members(self) -> FloatArray:
        """Shape [M, K], 1 where the subset holds the candidate."""
        members = np.zeros((len(self.indices), self.total))
        np.put_along_axis(members, self.indices, 1.0, axis=1)
        return members


def drawn_subsets(num_problems: int) -> int:
    """How many subsets of a problem are drawn where there are too many to go through.

    >>> drawn_subsets(10), drawn_subsets(100), drawn_subsets(5000)
    (2000, 600, 200)
    """
    return max(FEWEST_DRAWN, min(DRAWN_SUBSETS, DRAWN_IN_ALL // max(1, num_problems)))


def choose_subsets(
    total: int, n: int, *, limit: int = ENUMERATION_LIMIT, drawn: int = DRAWN_SUBSETS, seed: int | tuple[int, ...] = 0
) -> Subsets:
    """All N-subsets of `total` candidates where at most `limit`, else `drawn` random ones.

    >>> choose_subsets(4, 2).members.shape
    (6, 4)
    """
    if comb(total, n) <= limit:
        return Subsets(_all_subsets(total, n), total, True)
    order = np.random.default_rng(seed).random((drawn, total)).argpartition(n - 1, axis=1)[:, :n]
    return Subsets(order, total, False)


@lru_cache(maxsize=16)
def _all_subsets(total: int, n: int) -> IntArray:
    indices = np.array(list(combinations(range(total), n)), np.int64)
    indices.setflags(write=False)
    return indices


@dataclass(frozen=True, eq=False)
class VoteEstimate:
    """Expected correctness for each way of scoring.

    Attributes:
        accuracy: float64 [A].
        standard_error: float64 [A], what drawing subsets adds; 0 where all were gone through.
    """

    accuracy: FloatArray
    standard_error: FloatArray


def weighted_majority(
    weights: FloatArray,
    answers: IntArray,
    is_correct: BoolArray,
    subsets: Subsets,
    *,
    has_vote: BoolArray | None = None,
) -> VoteEstimate:
    """Expected correctness of the answer with the highest sum of scores, ties (`TIE`) broken at random.

    Args:
        weights: shape [A, K], at least 0.
        answers: shape [V], the same number for the same answer, 0 and up without gaps.
        is_correct: shape [V]; an answer that is judged both ways counts with the share of its candidates.
        subsets: of the K candidates.
        has_vote: shape [K], V of them true: the others have no vote, and a subset of them alone is wrong. None: all.

    >>> two = choose_subsets(2, 2)
    >>> weighted_majority(np.array([[0.9, 0.2]]), np.array([0, 1]), np.array([True, False]), two).accuracy
    array([1.])
    """
    num_subsets = len(subsets.indices)
    voting = np.ones(subsets.total, bool) if has_vote is None else has_vote
    if not voting.any():
        return VoteEstimate(np.zeros(len(weights)), np.zeros(len(weights)))
    _, values = answer_values(answers, is_correct)
    # A place for each answer in each subset, and one behind them for those without a vote.
    width = len(values) + 1
    answer_of = np.full(subsets.total, width - 1, np.int64)
    answer_of[voting] = answers
    places = (np.arange(num_subsets)[:, None] * width + answer_of[subsets.indices]).ravel()
    flat = subsets.indices.ravel()
    size = num_subsets * width
    is_there = np.bincount(places, minlength=size).reshape(-1, width)[:, :-1] > 0
    is_decided = is_there.any(axis=1)
    accuracy, error = [], []
    for row in weights:
        added = np.bincount(places, weights=row[flat], minlength=size).reshape(-1, width)[:, :-1]
        sums = np.where(is_there, added, -1.0)
        best = sums.max(axis=1, keepdims=True)
        wins = is_there & (sums >= best * (1 - TIE))
        outcome = np.where(is_decided, (wins @ values) / np.maximum(wins.sum(axis=1), 1), 0.0)
        accuracy.append(outcome.mean())
        spread = 0.0 if subsets.is_all or len(outcome) < 2 else outcome.std(ddof=1) / np.sqrt(len(outcome))
        error.append(spread)
    return VoteEstimate(np.array(accuracy), np.array(error))
