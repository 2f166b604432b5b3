"""Made calibration problems: scores and labels with a known distribution, in NumPy alone."""

from __future__ import annotations

import numpy as np

from surestep.guarantees import ScoredProblem, ScoredTree


def chain(confidence: np.ndarray, label: np.ndarray) -> ScoredTree:
    """One solution."""
    parent = np.arange(-1, len(label) - 1)
    return ScoredTree(parent, confidence, confidence, label)


def chains(
    random: np.random.Generator, *, solutions: int = 1, error: float = 0.12, rounded: bool = False
) -> ScoredTree:
    """A tree of `solutions` chains of 2 to 6 steps whose first wrong step comes with probability `error` a step."""
    shift = random.normal() * 0.5
    parents, confidences, labels = [], [], []
    for _ in range(solutions):
        length, is_wrong, start = random.integers(2, 7), False, len(parents)
        for step in range(length):
            wrong = not is_wrong and random.random() < error
            score = 1 / (1 + np.exp(-(random.normal() + shift + (-1.0 if wrong else 1.0))))
            parents.append(start + step - 1 if step else -1)
            confidences.append(round(score, 1) if rounded else score)
            labels.append(np.nan if is_wrong else float(not wrong))
            is_wrong |= wrong
    values = np.array(confidences)
    return ScoredTree(np.array(parents), values, values, np.array(labels))


def problem(key: int, random: np.random.Generator, **options: float) -> ScoredProblem:
    """A problem of one tree."""
    return ScoredProblem(key, (chains(random, **options),))  # type: ignore[arg-type]
