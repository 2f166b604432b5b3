"""Choosing one of N candidates: expected accuracy over ALL N-subsets of the K candidates, exactly.

Taking the first N of K instead depends on their order and wastes the rest. Ties are broken at random, so their
share enters the expectation: a scorer that says nothing reaches pass@1, whatever the order of the file. Scores tie
where they differ by no more than rounding (`tie_levels`).

Knows scores, answers and correctness of one problem's candidates; knows no text and no file.

Shapes: `K` candidates of one problem.
"""

from __future__ import annotations

from functools import lru_cache
from math import comb, lgamma, log, log1p

import numpy as np

from surestep.metrics.columns import BoolArray, FloatArray, IntArray, bin_sums

TIE = 1e-9
"""Scores that differ relatively by less tie. Sums and products of steps in double precision are wrong by up to 2e-16
for each step, so 1e-9 is above what the order of adding up a million steps can change; it is below 6e-8, the least
that a scorer in single precision can tell apart."""

_NEGLIGIBLE = 1e-19
"""Chances below it are not worked out: a thousand of them change no figure's fifteenth digit."""


def pass_at_n(is_correct: BoolArray, n: int) -> float:
    """Share of the N-subsets that hold a right candidate: 1 - C(K - c, N) / C(K, N) (Chen et al. 2021, eq. 1).

    Args:
        is_correct: shape [K].
        n: 1 to K.

    >>> pass_at_n(np.array([True, False, False, False]), 2)
    0.5
    """
    total = len(is_correct)
    _check(total, n)
    return 1 - float(_shares_within(total, n)[total - int(is_correct.sum())])


def best_of_n(scores: FloatArray, is_correct: BoolArray, n: int, *, may_win: BoolArray | None = None) -> float:
    """Expected correctness of the best-scored candidate of a random N-subset, equal scores chosen among at random.

    With l candidates below a score and m at it, the best of the subset has that score with probability
    (C(l + m, N) - C(l, N)) / C(K, N), and is then any of the m with equal chance.

    Args:
        scores: shape [K], any real numbers.
        is_correct: shape [K].
        n: 1 to K.
        may_win: shape [K], those that can be chosen; a subset without one of them is wrong. None: all.

    >>> best_of_n(np.array([0.9, 0.5, 0.5]), np.array([False, True, False]), 2)
    0.16666666666666666
    """
    total = len(scores)
    _check(total, n)
    level = tie_levels(scores)
    if may_win is not None:
        level, is_correct = np.where(may_win, level + 1, 0), is_correct & may_win
    sizes = bin_sums(level)
    right = bin_sums(level, is_correct.astype(np.float64))
    within = _shares_within(total, n)
    up_to = np.cumsum(sizes).astype(np.int64)
    chosen = within[up_to] - within[up_to - sizes.astype(np.int64)]
    return float(chosen @ (right / np.maximum(sizes, 1)))


def tie_levels(scores: FloatArray) -> IntArray:
    """Ranks from 0, the lowest score's: the same for scores that tie; shape [K].

    Two neighbours in order tie where they differ by at most `TIE` times the larger of the two; where scores may be
    negative, so that sums of steps may cancel, times the largest score of all.

    >>> tie_levels(np.array([0.5, (0.1 + 0.2 + 0.3) / 3, (0.3 + 0.2 + 0.1) / 3, 1e-30, 1e-40])).tolist()
    [3, 2, 2, 1, 0]
    """
    order = np.argsort(scores, kind="stable")
    sorted_ = scores[order]
    size = np.abs(sorted_)
    allowed = TIE * (np.maximum(size[1:], size[:-1]) if sorted_[0] >= 0 else np.full(len(size) - 1, size.max()))
    level = np.empty(len(scores), np.int64)
    level[order] = np.concatenate([[0], np.cumsum(np.diff(sorted_) > allowed)])
    return level


@lru_cache(maxsize=256)
def _shares_within(total: int, n: int) -> FloatArray:
    """C(k, N) / C(K, N) for k = 0 to K: the share of the N-subsets that lie within k given candidates."""
    subsets = comb(total, n)
    shares = np.array([comb(k, n) / subsets for k in range(total + 1)])
    shares.setflags(write=False)
    return shares


def answer_values(answers: IntArray, is_correct: BoolArray) -> tuple[IntArray, FloatArray]:
    """Votes and value of every answer: how many candidates give it, and which share of those is right.

    Args:
        answers: shape [K], the same number for the same answer, 0 and up without gaps.
        is_correct: shape [K].
    """
    votes = bin_sums(answers)
    return votes.astype(np.int64), bin_sums(answers, is_correct.astype(np.float64)) / votes


def majority_vote(answers: IntArray, is_correct: BoolArray, n: int, *, silent: int = 0) -> float:
    """Expected correctness of the most frequent answer of a random N-subset, ties broken at random; exact.

    An N-subset is K independent draws with probability N/K each, given that N were drawn, so the votes of different
    answers are independent binomials given their sum. For each right answer and each number of votes it may win
    with, the others' votes are convolved, at most as many each, counting those that tie. Answers that have fewer
    candidates than that can neither win nor tie: theirs are one binomial together.

    Args:
        answers: shape [V], the same number for the same answer, 0 and up without gaps.
        is_correct: shape [V]; an answer that is judged both ways counts with the share of its candidates.
        n: 1 to K = V + `silent`.
        silent: candidates that have no vote; a subset of them alone is wrong.

    >>> round(majority_vote(np.array([0, 0, 1]), np.array([True, True, False]), 2), 4)
    0.6667
    """
    total = len(answers) + silent
    _check(total, n)
    if not len(answers):
        return 0.0
    votes, values = answer_values(answers, is_correct)
    chance = n / total
    won_by_size: dict[int, float] = {}
    expected = 0.0
    for answer in np.flatnonzero(values).tolist():
        size = int(votes[answer])
        if size not in won_by_size:
            others = np.sort(np.delete(votes, answer))
            own = _binomial(size, chance)
            # No answer has more votes than the largest other one with less than this chance.
            most_others = _at_most(int(others[-1]), chance) if len(others) else np.ones(size + 1)
            won_by_size[size] = sum(
                float(own[count]) * _others_at_most(others, silent, count, n - count, chance)
                for count in range(1, min(size, n) + 1)
                if own[count] * most_others[min(count, len(most_others) - 1)] > _NEGLIGIBLE
            )
        expected += float(values[answer]) * won_by_size[size]
    return expected / float(_binomial(total, chance)[n])


@lru_cache(maxsize=4096)
def _binomial(size: int, chance: float) -> FloatArray:
    """P(j of `size`) for j = 0 to `size`: shape [size + 1]."""
    if chance == 1.0:
        return np.array([0.0] * size + [1.0])
    # In logarithms: C(1100, 550) is above the largest float.
    whole = lgamma(size + 1)
    logs = [
        whole - lgamma(j + 1) - lgamma(size - j + 1) + j * log(chance) + (size - j) * log1p(-chance)
        for j in range(size + 1)
    ]
    chances: FloatArray = np.exp(np.array(logs))
    chances.setflags(write=False)
    return chances


@lru_cache(maxsize=4096)
def _at_most(size: int, chance: float) -> FloatArray:
    """P(at most j of `size`) for j = 0 to `size`."""
    return np.cumsum(_binomial(size, chance))


def _others_at_most(others: IntArray, silent: int, most: int, total: int, chance: float) -> float:
    """Chance that the others have `total` votes together, none above `most`; a tie with t counts 1 / (t + 1).

    Args:
        others: candidates of each other answer, in rising order.
        silent: candidates without a vote; how many of them are drawn counts towards `total`, and to no answer.
        most: votes that the answer has.
        total: candidates drawn beside it.
        chance: of each to be drawn.
    """
    few = int(np.searchsorted(others, most))
    rest = _binomial(int(others[:few].sum()) + silent, chance)
    if few == len(others):
        return float(rest[total]) if total < len(rest) else 0.0
    chances = np.zeros((min(total // most, len(others) - few) + 1, total + 1))  # [answers that tie, drawn so far]
    chances[0, : len(rest)] = rest[: total + 1]
    for size in others[few:].tolist():
        binomial = _binomial(size, chance)
        fewer = binomial[: min(most, total + 1)]
        if len(chances) < len(fewer):
            added = np.stack([np.convolve(row, fewer)[: total + 1] for row in chances])
        else:
            added = np.zeros_like(chances)
            for count, share in enumerate(fewer.tolist()):
                added[:, count:] += share * chances[:, : total + 1 - count]
        if most <= total:
            added[1:, most:] += binomial[most] * chances[:-1, : total + 1 - most]
        chances = added
    return float(chances[:, total] @ (1 / np.arange(1, len(chances) + 1)))


def _check(total: int, n: int) -> None:
    if not 1 <= n <= total:
        raise ValueError(f"N is {n}; allowed: 1 to {total}, the number of candidates")


def dense_answers(answers: list[str | None]) -> IntArray:
    """Answers as numbers from 0: equal texts alike; a candidate without an answer votes for itself alone.

    >>> dense_answers(["18", None, "18", None]).tolist()
    [0, 1, 0, 2]
    """
    numbers: dict[object, int] = {}
    keys = [(index,) if answer is None else answer for index, answer in enumerate(answers)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def powers_up_to(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`.

    >>> powers_up_to(6)
    [1, 2, 4]
    """
    return [1 << power for power in range(most.bit_length())]
