"""Baselines that are fitted: position and length of a step, and TF-IDF of its words, each with logistic regression.

Knows texts and labels; scikit-learn does the work and is imported only here. Soft labels are used as they are: a step
of label y counts y as right and 1 − y as wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from surestep.evaluation.baselines.step_texts import StepTexts

FloatArray = npt.NDArray[np.float64]
Fit = Callable[[StepTexts, FloatArray, StepTexts], FloatArray]
"""(training texts, their labels in [0, 1], texts to score) -> confidences."""

MOST_STEPS = 50_000
NUM_FOLDS = 3
_TOKEN = r"(?u)\w+|[^\w\s]"  # operators are words too: half of a step is formulas
_FIELDS = (("step", (1, 2), 60_000), ("previous", (1, 1), 20_000), ("problem", (1, 1), 20_000))


def position_and_length(train: StepTexts, label: FloatArray, wanted: StepTexts) -> FloatArray:
    """Logistic regression on position, its logarithm, and the logarithms of the lengths of step and problem.

    >>> train = StepTexts(["p"] * 4, [""] * 4, ["a", "bbbb", "a", "bbbb"], [1, 2, 1, 2])
    >>> found = position_and_length(train, np.array([1.0, 0.0, 1.0, 0.0]), train)
    >>> bool(found[0] > 0.5 > found[1])
    True
    """

    def numbers(texts: StepTexts) -> FloatArray:
        position = np.array(texts.position, dtype=np.float64)
        lengths = [np.log1p([len(text) for text in column]) for column in (texts.step, texts.problem)]
        return np.stack([np.log(position), np.minimum(position, 50.0) / 10.0, *lengths], axis=1)

    ours, theirs = numbers(train), numbers(wanted)
    mean, spread = ours.mean(axis=0), ours.std(axis=0)
    spread[spread == 0.0] = 1.0
    return _logistic((ours - mean) / spread, label, (theirs - mean) / spread, strength=100.0)


def tfidf(train: StepTexts, label: FloatArray, wanted: StepTexts) -> FloatArray:
    """Logistic regression on TF-IDF of the step (words and pairs), the step before and the problem (words)."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    ours: list[Any] = []
    theirs: list[Any] = []
    for name, ngrams, most in _FIELDS:
        words = TfidfVectorizer(
            token_pattern=_TOKEN, ngram_range=ngrams, max_features=most, min_df=2, sublinear_tf=True, dtype=np.float64
        )
        try:
            ours.append(words.fit_transform(getattr(train, name)))
        except ValueError:  # no word occurs twice
            continue
        theirs.append(words.transform(getattr(wanted, name)))
    if not ours:
        return np.full(len(wanted), float(label.mean()))
    return _logistic(hstack(ours).tocsr(), label, hstack(theirs).tocsr(), strength=1.0)


def sample(texts: StepTexts, label: FloatArray, *, seed: int) -> tuple[StepTexts, FloatArray]:
    """At most `MOST_STEPS` of the steps, drawn by seed."""
    if len(texts) <= MOST_STEPS:
        return texts, label
    chosen = np.sort(np.random.default_rng(seed).permutation(len(texts))[:MOST_STEPS])
    return texts.take(chosen.tolist()), label[chosen]


def cross_fitted(fit: Fit, texts: StepTexts, label: FloatArray, problem: npt.NDArray[np.int64]) -> FloatArray:
    """Each step scored by a fit on the other folds; problems are never parted.

    Args:
        fit: one of this module.
        texts: N steps.
        label: shape (N,).
        problem: shape (N,).
    """
    problems, index = np.unique(problem, return_inverse=True)
    fold = (np.random.default_rng(0).permutation(problems.size) % NUM_FOLDS)[index]
    found = np.full(len(texts), float(label.mean()))
    for number in range(NUM_FOLDS):
        ours, others = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        if ours.size and others.size:
            train, train_label = sample(texts.take(others.tolist()), label[others], seed=number)
            found[ours] = fit(train, train_label, texts.take(ours.tolist()))
    return found


def _logistic(features: Any, label: FloatArray, wanted: Any, *, strength: float) -> FloatArray:
    from scipy.sparse import issparse, vstack
    from sklearn.linear_model import LogisticRegression

    right, wrong = np.flatnonzero(label > 0.0), np.flatnonzero(label < 1.0)
    if not right.size or not wrong.size:
        return np.full(wanted.shape[0], float(label.mean()))
    both: Sequence[Any] = (features[right], features[wrong])
    model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
    model.fit(
        vstack(both).tocsr() if issparse(features) else np.concatenate(both),
        np.concatenate([np.ones(right.size), np.zeros(wrong.size)]),
        sample_weight=np.concatenate([label[right], 1.0 - label[wrong]]),
    )
    return np.asarray(model.predict_proba(wanted)[:, 1], dtype=np.float64)
