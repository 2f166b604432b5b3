"""Baselines that are fitted: position and length of a step, and TF-IDF of its words, each with logistic regression.

Knows texts and labels; scikit-learn does the work and is imported only here. Soft labels are used as they are: a step
of label y counts y as right and 1 − y as wrong. A step that several raters judged is one step with the mean of their
ratings, as it is in every figure and constant that it is compared with: what is fitted minimises the figures' own
sum, over steps. (`rating_correlation` weighs such steps more, but only where a model is trained.) How strongly weights
are held to zero is chosen by cross-validation over problems, and the last fit goes on until it has converged.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from surestep.arrays import distinct
from surestep.counted import counted
from surestep.evaluation.baselines.step_texts import SeenSteps

FloatArray = npt.NDArray[np.float64]
ProblemArray = npt.NDArray[np.int64]

MOST_STEPS = 50_000
NUM_FOLDS = 3
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Values of C, scikit-learn's inverse strength of regularisation, that compete."""

MOST_STEPS_TO_CHOOSE = 10_000
"""C is chosen on at most this many steps: its best value changes little with more of them."""

MOST_ITERATIONS = 2_000
TOLERANCE = 1e-5
_NLL_CLIP = 1e-7
_TOKEN = r"(?u)\w+|[^\w\s]"  # operators are words too: half of a step is formulas
_FIELDS = (("step", (1, 2), 60_000), ("previous", (1, 1), 20_000), ("problem", (1, 1), 20_000))


@dataclass(frozen=True, eq=False)
class FittedScores:
    """What a fitted baseline says, and how it was fitted.

    Attributes:
        confidence: float64 [N], in [0, 1].
        how: one sentence without its stop; "" where there was nothing to fit.
    """

    confidence: FloatArray
    how: str


Fit = Callable[[SeenSteps, FloatArray, ProblemArray, SeenSteps], FittedScores]
"""(training steps, their labels in [0, 1], their problems, steps to score) -> confidences."""


def position_and_length(
    train: SeenSteps, label: FloatArray, problem: ProblemArray, evaluated: SeenSteps
) -> FittedScores:
    """Logistic regression on position, its logarithm, and the logarithms of the lengths of step and problem.

    >>> train = SeenSteps(["p"] * 4, [""] * 4, ["a", "bbbb", "a", "bbbb"], [1, 2, 1, 2])
    >>> found = position_and_length(train, np.array([1.0, 0.0, 1.0, 0.0]), np.arange(4), train).confidence
    >>> bool(found[0] > 0.5 > found[1])
    True
    """

    ours, theirs = position_features(train, evaluated)
    return logistic(ours, label, problem, theirs)


def position_features(train: SeenSteps, evaluated: SeenSteps) -> tuple[FloatArray, FloatArray]:
    """Position, its logarithm and logarithms of both lengths, float64 [N, 4]; columns of `train`: mean 0, spread 1."""

    def numbers(texts: SeenSteps) -> FloatArray:
        position = np.array(texts.position, dtype=np.float64)
        lengths = [np.log1p([len(text) for text in column]) for column in (texts.step, texts.problem)]
        return np.stack([np.log(position), np.minimum(position, 50.0) / 10.0, *lengths], axis=1)

    ours, theirs = numbers(train), numbers(evaluated)
    mean, spread = ours.mean(axis=0), ours.std(axis=0)
    # Equal values have a spread of some 1e-16 by rounding: divided by it, one letter more is at the far end.
    spread[spread <= 1e-9 * (1.0 + np.abs(mean))] = 1.0
    return (ours - mean) / spread, (theirs - mean) / spread


def tfidf(train: SeenSteps, label: FloatArray, problem: ProblemArray, evaluated: SeenSteps) -> FittedScores:
    """Logistic regression on TF-IDF of the step (words and pairs), the step before and the problem (words)."""
    features = word_features(train, evaluated)
    if features is None:
        return FittedScores(
            np.full(len(evaluated), float(label.mean())), "no word occurs twice, so it always answers the mean"
        )
    ours, theirs = features
    return logistic(ours, label, problem, theirs)


def word_features(train: SeenSteps, evaluated: SeenSteps) -> tuple[Any, Any] | None:
    """Sparse [N, words] of both, with the words and weights of `train`; None where none occurs twice there."""
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
        theirs.append(words.transform(getattr(evaluated, name)))
    return (hstack(ours).tocsr(), hstack(theirs).tocsr()) if ours else None


def draw_rows(num_steps: int, *, most: int, seed: int) -> npt.NDArray[np.int64]:
    """At most `most` of `num_steps` rows, in order, drawn by seed."""
    if num_steps <= most:
        return np.arange(num_steps)
    return np.sort(np.random.default_rng(seed).permutation(num_steps)[:most])


def cross_fitted(fit: Fit, texts: SeenSteps, label: FloatArray, problem: ProblemArray) -> FittedScores:
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
    how: list[str] = []
    for number in range(NUM_FOLDS):
        ours, others = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        if ours.size and others.size:
            others = others[draw_rows(others.size, most=MOST_STEPS, seed=number)]
            fitted = fit(texts.take(others.tolist()), label[others], problem[others], texts.take(ours.tolist()))
            found[ours] = fitted.confidence
            how.append(fitted.how)
    return FittedScores(found, " / ".join(dict.fromkeys(part for part in how if part)))


def logistic(features: Any, label: FloatArray, problem: ProblemArray, evaluated: Any) -> FittedScores:
    """Logistic regression fitted on all rows, with the C that predicts unseen problems best, asked of `evaluated`."""
    strength, chosen = _choose_strength(features, label, problem)
    model = _fit(features, label, strength, most_iterations=MOST_ITERATIONS)
    if model is None:
        return FittedScores(np.full(evaluated.shape[0], float(label.mean())), "its labels are of one kind")
    iterations = int(model.n_iter_.max())
    ended = f"converged after {counted(iterations, 'iteration')}"
    if iterations >= MOST_ITERATIONS:
        ended = f"stopped after {counted(iterations, 'iteration')} without having converged"
    return FittedScores(_predict(model, evaluated), f"C = {strength:g} ({chosen}), {ended}")


def _choose_strength(features: Any, label: FloatArray, problem: ProblemArray) -> tuple[float, str]:
    """The C with the lowest NLL on held-out problems, and how it was chosen; the strongest where all are alike."""
    from sklearn.model_selection import GroupKFold

    num_folds = min(NUM_FOLDS, distinct(problem).size)
    if num_folds < 2:
        return 1.0, "one problem only, so not chosen"
    rows = draw_rows(len(label), most=MOST_STEPS_TO_CHOOSE, seed=0)
    label, problem, features = label[rows], problem[rows], features[rows]
    num_folds = min(NUM_FOLDS, distinct(problem).size)
    if num_folds < 2:
        return 1.0, "one problem only, so not chosen"
    loss = np.zeros(len(STRENGTHS))
    for train, held_out in GroupKFold(num_folds).split(features, groups=problem):
        for index, strength in enumerate(STRENGTHS):
            model = _fit(features[train], label[train], strength, most_iterations=MOST_ITERATIONS)
            p = np.full(held_out.size, float(label[train].mean()))
            p = np.clip(p if model is None else _predict(model, features[held_out]), _NLL_CLIP, 1.0 - _NLL_CLIP)
            y = label[held_out]
            loss[index] -= float(np.sum(y * np.log(p) + (1.0 - y) * np.log1p(-p)))
    said = f"chosen by {num_folds}-fold cross-validation over problems"
    return STRENGTHS[int(np.argmin(loss))], said


def _fit(features: Any, label: FloatArray, strength: float, *, most_iterations: int) -> Any:
    """A logistic regression; None where all labels are right, or all wrong."""
    from scipy.sparse import issparse, vstack
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    right, wrong = np.flatnonzero(label > 0.0), np.flatnonzero(label < 1.0)
    if not right.size or not wrong.size:
        return None
    both: Sequence[Any] = (features[right], features[wrong])
    model = LogisticRegression(C=strength, max_iter=most_iterations, tol=TOLERANCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said by whoever reads `n_iter_`
        model.fit(
            vstack(both).tocsr() if issparse(features) else np.concatenate(both),
            np.concatenate([np.ones(right.size), np.zeros(wrong.size)]),
            sample_weight=np.concatenate([label[right], 1.0 - label[wrong]]),
        )
    return model


def _predict(model: Any, features: Any) -> FloatArray:
    return np.asarray(model.predict_proba(features)[:, 1], dtype=np.float64)
