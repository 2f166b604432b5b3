"""Weighted majority over N-subsets: each candidate votes for its answer with its score.

Real weights leave no closed form: all N-subsets are gone through where they are few enough, else so many are drawn at
random, and the error that this adds is reported.

Shapes: `A` ways of scoring, `K` candidates of one problem, `M` subsets, `C` answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np

from surestep.metrics.benchmarks.best_of_n import answer_values
from surestep.metrics.columns import BoolArray, FloatArray, IntArray

ENUMERATION_LIMIT = 10_000
"""Up to so many N-subsets of one problem are all gone through."""

DRAWN_SUBSETS = 2_000
"""So many are drawn where there are more."""

_TIE = 1e-9
"""Sums that differ relatively by less count as equal: the order of addition decides the last digits."""


@dataclass(frozen=True, eq=False)
class Subsets:
    """N-subsets of K candidates.

    Attributes:
        members: float64 [M, K], 1 where the subset holds the candidate.
        is_all: whether these are all N-subsets, or a random draw of them.
    """

    members: FloatArray
    is_all: bool


def choose_subsets(
    total: int, n: int, *, limit: int = ENUMERATION_LIMIT, drawn: int = DRAWN_SUBSETS, seed: int | tuple[int, ...] = 0
) -> Subsets:
    """All N-subsets of `total` candidates where at most `limit`, else `drawn` random ones.

    >>> choose_subsets(4, 2).members.shape
    (6, 4)
    """
    if comb(total, n) <= limit:
        return Subsets(_all_subsets(total, n), True)
    order = np.random.default_rng(seed).random((drawn, total)).argpartition(n - 1, axis=1)[:, :n]
    return Subsets(_members(order, total), False)


@lru_cache(maxsize=16)
def _all_subsets(total: int, n: int) -> FloatArray:
    members = _members(np.array(list(combinations(range(total), n)), np.int64), total)
    members.setflags(write=False)
    return members


def _members(indices: IntArray, total: int) -> FloatArray:
    members = np.zeros((len(indices), total))
    np.put_along_axis(members, indices, 1.0, axis=1)
    return members


@dataclass(frozen=True, eq=False)
class VoteEstimate:
    """Expected correctness for each way of scoring.

    Attributes:
        accuracy: float64 [A].
        standard_error: float64 [A], what drawing subsets adds; 0 where all were gone through.
    """

    accuracy: FloatArray
    standard_error: FloatArray


def weighted_majority(weights: FloatArray, answers: IntArray, is_correct: BoolArray, subsets: Subsets) -> VoteEstimate:
    """Expected correctness of the answer with the highest sum of scores, ties broken at random.

    Args:
        weights: shape [A, K], at least 0.
        answers: shape [K], the same number for the same answer, 0 and up without gaps.
        is_correct: shape [K]; an answer that is judged both ways counts with the share of its candidates.
        subsets: of the K candidates.

    >>> two = choose_subsets(2, 2)
    >>> weighted_majority(np.array([[0.9, 0.2]]), np.array([0, 1]), np.array([True, False]), two).accuracy
    array([1.])
    """
    _, values = answer_values(answers, is_correct)
    gives = np.zeros((len(answers), len(values)))
    gives[np.arange(len(answers)), answers] = 1.0
    is_there = subsets.members @ gives > 0
    accuracy, error = [], []
    for row in weights:
        sums = np.where(is_there, subsets.members @ (row[:, None] * gives), -1.0)
        best = sums.max(axis=1, keepdims=True)
        wins = is_there & (sums >= best * (1 - _TIE))
        outcome = (wins @ values) / wins.sum(axis=1)
        accuracy.append(outcome.mean())
        spread = 0.0 if subsets.is_all or len(outcome) < 2 else outcome.std(ddof=1) / np.sqrt(len(outcome))
        error.append(spread)
    return VoteEstimate(np.array(accuracy), np.array(error))
