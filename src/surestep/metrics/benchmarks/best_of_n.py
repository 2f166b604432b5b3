"""Choosing one of N candidates: expected accuracy over ALL N-subsets of the K candidates, exactly.

Taking the first N of K instead depends on their order and wastes the rest. Ties are broken at random, so their
share enters the expectation: a scorer that says nothing reaches pass@1, whatever the order of the file.

Knows scores, answers and correctness of one problem's candidates; knows no text and no file.

Shapes: `K` candidates of one problem.
"""

from __future__ import annotations

from math import comb, lgamma, log, log1p

import numpy as np

from surestep.metrics.columns import BoolArray, FloatArray, IntArray, bin_sums


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
    return 1 - comb(total - int(is_correct.sum()), n) / comb(total, n)


def best_of_n(scores: FloatArray, is_correct: BoolArray, n: int) -> float:
    """Expected correctness of the best-scored candidate of a random N-subset, equal scores chosen among at random.

    With l candidates below a score and m at it, the best of the subset has that score with probability
    (C(l + m, N) - C(l, N)) / C(K, N), and is then any of the m with equal chance.

    Args:
        scores: shape [K], any real numbers.
        is_correct: shape [K].
        n: 1 to K.

    >>> best_of_n(np.array([0.9, 0.5, 0.5]), np.array([False, True, False]), 2)
    0.16666666666666666
    """
    _check(len(scores), n)
    _, level, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    right = bin_sums(level, is_correct.astype(np.float64))
    subsets = comb(len(scores), n)
    expected, below = 0.0, 0
    for size, count in zip(sizes.tolist(), right.tolist(), strict=True):
        if count:
            expected += (comb(below + size, n) - comb(below, n)) / subsets * (count / size)
        below += size
    return expected


def answer_values(answers: IntArray, is_correct: BoolArray) -> tuple[IntArray, FloatArray]:
    """Votes and value of every answer: how many candidates give it, and which share of those is right.

    Args:
        answers: shape [K], the same number for the same answer, 0 and up without gaps.
        is_correct: shape [K].
    """
    votes = bin_sums(answers)
    return votes.astype(np.int64), bin_sums(answers, is_correct.astype(np.float64)) / votes


def majority_vote(answers: IntArray, is_correct: BoolArray, n: int) -> float:
    """Expected correctness of the most frequent answer of a random N-subset, ties broken at random; exact.

    An N-subset is K independent draws with probability N/K each, given that N were drawn, so the votes of different
    answers are independent binomials given their sum. For each right answer and each number of votes it may win
    with, the others' votes are convolved, at most as many each, counting those that tie.

    Args:
        answers: shape [K], the same number for the same answer, 0 and up without gaps.
        is_correct: shape [K]; an answer that is judged both ways counts with the share of its candidates.
        n: 1 to K.

    >>> round(majority_vote(np.array([0, 0, 1]), np.array([True, True, False]), 2), 4)
    0.6667
    """
    total = len(answers)
    _check(total, n)
    votes, values = answer_values(answers, is_correct)
    chance = n / total
    binomials = [_binomial(int(size), chance) for size in votes]
    expected = 0.0
    for answer in np.flatnonzero(values):
        others = [binomials[other] for other in range(len(votes)) if other != answer]
        won = sum(
            float(binomials[answer][count]) * _others_at_most(others, count, n - count)
            for count in range(1, min(int(votes[answer]), n) + 1)
        )
        expected += float(values[answer]) * won
    return expected / float(_binomial(total, chance)[n])


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
    return chances


def _others_at_most(others: list[FloatArray], most: int, total: int) -> float:
    """Chance that the others have `total` votes together, none above `most`; a tie with t counts 1 / (t + 1)."""
    chances = np.zeros((total // most + 1, total + 1))  # [answers that tie, votes so far]
    chances[0, 0] = 1.0
    for binomial in others:
        added = np.zeros_like(chances)
        for count in range(min(len(binomial) - 1, most - 1, total) + 1):
            added[:, count:] += binomial[count] * chances[:, : total + 1 - count]
        if most < len(binomial) and most <= total:
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
