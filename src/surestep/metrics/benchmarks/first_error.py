"""Finding the first wrong step of a solution: accuracies, F1, and the threshold that serves other data best.

A step is called right where its confidence is above the threshold; the prediction is the first step that is not, else
"no error". A confidence equal to the threshold is therefore called wrong, as in the benchmark's own program, whose
argmax over (wrong, right) takes the former of two equal ones. The prediction is right for a wrong solution where it
names the first wrong step, and for a right one where it names none (ProcessBench, arXiv 2412.06559, section 3). F1 is
the harmonic mean of the accuracy on wrong and on right solutions.

Knows confidences and indices; knows no file and no text.

Shapes: `M` solutions, `R` resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surestep.metrics.bootstrap.draws import DEFAULT_RESAMPLES, Draws, sums_by_problem
from surestep.metrics.bootstrap.interval import DEFAULT_LEVEL, percentile
from surestep.metrics.columns import BoolArray, FloatArray, IntArray

NO_ERROR = -1
"""The label and the prediction of a solution without a wrong step."""

METHOD = "percentile bootstrap over problems"

FIGURES = ("f1", "accuracy_erroneous", "accuracy_correct")


@dataclass(frozen=True, eq=False)
class FirstErrors:
    """Solutions as the thresholds that judge them rightly: exactly those from `error` on and below `before`.

    Attributes:
        error: float64 [M], the wrong step's confidence; -inf for a right solution.
        before: float64 [M], the least confidence before the wrong step, of all steps for a right solution; inf where
            there is none.
        is_erroneous: bool [M].
        problem: int64 [M], solutions of one problem share its number.
    """

    error: FloatArray
    before: FloatArray
    is_erroneous: BoolArray
    problem: IntArray

    def __len__(self) -> int:
        """M, the number of solutions."""
        return len(self.error)

    def is_right(self, threshold: float) -> BoolArray:
        """[M]: whether each prediction is right."""
        return (self.error <= threshold) & (threshold < self.before)


def predicted_error(confidences: Sequence[float], threshold: float) -> int:
    """Index of the first step that is not above `threshold`, `NO_ERROR` where all are.

    >>> predicted_error([0.9, 0.4, 0.1], 0.5), predicted_error([0.9, 0.5], 0.5), predicted_error([], 0.5)
    (1, 1, -1)
    """
    return next((index for index, value in enumerate(confidences) if not value > threshold), NO_ERROR)


def num_ties(confidences: Iterable[Sequence[float | None]], threshold: float) -> int:
    """How many steps have a confidence equal to `threshold`: another rule for them would call them right.

    >>> num_ties([[0.5, 0.9], [0.5, None]], 0.5)
    2
    """
    return sum(value == threshold for steps in confidences for value in steps)


def first_errors(confidences: Sequence[Sequence[float]], labels: Sequence[int], problem: npt.ArrayLike) -> FirstErrors:
    """Columns of solutions.

    Args:
        confidences: of each solution, one for each step.
        labels: index of each solution's first wrong step, `NO_ERROR` where there is none.
        problem: shape [M], the number of each solution's problem.

    Raises:
        ValueError: a label lies outside its solution, or a confidence is missing (NaN): what was not scored to its end
            is left out beforehand, and counted.

    >>> first_errors([[0.9, 0.2], [0.8], []], [1, -1, -1], [0, 1, 2]).is_right(0.5).tolist()
    [True, True, True]
    """
    error, before = [], []
    for steps, label in zip(confidences, labels, strict=True):
        if not NO_ERROR <= label < len(steps):
            raise ValueError(f"label {label}; allowed: -1 to {len(steps) - 1}")
        if np.isnan(np.asarray(steps, np.float64)).any():
            raise ValueError("a step has no confidence")
        error.append(-np.inf if label == NO_ERROR else steps[label])
        before.append(min(steps if label == NO_ERROR else steps[:label], default=np.inf))
    return FirstErrors(
        np.array(error, np.float64),
        np.array(before, np.float64),
        np.array([label != NO_ERROR for label in labels], np.bool_),
        np.asarray(problem, np.int64),
    )


def harmonic_mean(left: FloatArray, right: FloatArray) -> FloatArray:
    """Elementwise; 0 where both are 0, NaN where one is.

    >>> harmonic_mean(np.array([0.5, 0.0]), np.array([1.0, 0.0])).round(3).tolist()
    [0.667, 0.0]
    """
    total = left + right
    result: FloatArray = np.where(total == 0, 0.0, 2 * left * right / np.where(total == 0, 1.0, total))
    return result


@dataclass(frozen=True, eq=False)
class FirstErrorFigures:
    """One set of solutions at one threshold.

    Attributes:
        values: each of `FIGURES`; NaN where the set has no solution of the kind it needs.
        draws: the same on each resample of the problems, [R].
        counts: solutions, erroneous, correct, problems.
    """

    values: dict[str, float]
    draws: dict[str, FloatArray]
    counts: dict[str, int]

    def section(self) -> dict[str, object]:
        """JSON-ready: counts, figures (null where undefined) and their intervals."""
        return {**self.counts, **section_of(self.values, self.draws)}


def interval_json(draws: FloatArray) -> dict[str, object] | None:
    """The interval of a benchmark's figure from its draws, (R,), as its result file has it; None where none is known.

    >>> interval_json(np.arange(101.0))["high"]
    97.5
    """
    interval = percentile(draws, most_undefined=1.0)
    if interval.low is None:
        return None
    return {**interval.to_json(), "level": DEFAULT_LEVEL, "method": METHOD}


def section_of(values: Mapping[str, float], draws: Mapping[str, FloatArray]) -> dict[str, object]:
    """Figures and their intervals as JSON-ready values; null where there is none."""
    figures: dict[str, object] = {name: None if np.isnan(value) else float(value) for name, value in values.items()}
    return {**figures, "intervals": {name: interval_json(draws[name]) for name in values}}


def first_error_figures(
    found: FirstErrors, threshold: float, *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0
) -> FirstErrorFigures:
    """Accuracy on wrong and on right solutions and their harmonic mean, with resamples of the problems."""
    right, wrong_solution = found.is_right(threshold), found.is_erroneous
    columns = (right & wrong_solution, wrong_solution, right & ~wrong_solution, ~wrong_solution)
    table = sums_by_problem(found.problem, np.stack(columns, axis=1).astype(np.float64))
    values = _figures_of_sums(table.sum(axis=0)[None, :])
    # From no problem at all nothing can be drawn: its figures have no value in any draw.
    drawn = Draws(len(table), resamples, seed).sums(table) if len(table) else np.zeros((resamples, 4))
    return FirstErrorFigures(
        values={name: float(value[0]) for name, value in values.items()},
        draws=_figures_of_sums(drawn),
        counts={
            "num_solutions": len(found),
            "num_erroneous": int(wrong_solution.sum()),
            "num_correct": int((~wrong_solution).sum()),
            "num_problems": len(table),
        },
    )


def _figures_of_sums(sums: FloatArray) -> dict[str, FloatArray]:
    """`sums` [R, 4] as figures [R]; NaN where a kind of solution is not there."""
    with np.errstate(invalid="ignore"):
        erroneous = sums[:, 0] / sums[:, 1]
        correct = sums[:, 2] / sums[:, 3]
    return {
        "f1": harmonic_mean(erroneous, correct),
        "accuracy_erroneous": erroneous,
        "accuracy_correct": correct,
    }


def mean_over_subsets(subsets: Sequence[FirstErrorFigures], *, by_count: bool) -> dict[str, object]:
    """Mean of every figure over subsets, plain or weighted by their numbers of solutions, with intervals.

    Subsets are resampled apart, so that a resample of the mean is the mean of theirs. A figure that a subset does
    not have makes the mean null: over other subsets it would be another benchmark.
    """
    weights = np.array([figures.counts["num_solutions"] if by_count else 1.0 for figures in subsets])
    weights = weights / max(weights.sum(), 1.0)
    values = {name: float(weights @ np.array([f.values[name] for f in subsets])) for name in FIGURES}
    draws = {name: weights @ np.stack([f.draws[name] for f in subsets]) for name in FIGURES}
    return section_of(values, draws)


@dataclass(frozen=True)
class ChosenThreshold:
    """A threshold, what it reached on the data that it was chosen on, and the range of thresholds equal to it there.

    Attributes:
        threshold: the middle of `low` (inclusive) to `high` (exclusive; itself 1 where both are).
        f1: mean F1 over the subsets it was chosen on.
    """

    threshold: float
    f1: float
    low: float
    high: float


def choose_threshold(subsets: Sequence[FirstErrors]) -> ChosenThreshold:
    """The threshold in [0, 1] with the highest mean F1 over `subsets`; of several, the one nearest to 0.5.

    Every threshold that changes a prediction is tried.

    Raises:
        ValueError: a subset has no wrong, or no right solution, so that F1 has no value.

    >>> choose_threshold([first_errors([[0.9, 0.6], [0.8]], [1, -1], [0, 1])]).threshold
    0.7
    """
    values = np.concatenate([np.concatenate([s.error, s.before]) for s in subsets])
    low = np.unique(np.concatenate([values[np.isfinite(values)], [0.0, 1.0]]))
    means = np.mean([_f1_at(subset, low) for subset in subsets], axis=0)
    # Predictions are the same for all thresholds from one value on and below the next.
    high = np.append(low[1:], 1.0)
    middle = (low + high) / 2
    middle = np.where(middle < high, middle, low)
    best = np.flatnonzero(means >= means.max() - 1e-12)
    chosen = best[np.argmin(np.abs(middle[best] - 0.5))]
    return ChosenThreshold(float(middle[chosen]), float(means[chosen]), float(low[chosen]), float(high[chosen]))


def _f1_at(subset: FirstErrors, thresholds: FloatArray) -> FloatArray:
    accuracies = []
    for kind in (subset.is_erroneous, ~subset.is_erroneous):
        if not kind.any():
            raise ValueError("F1 needs wrong and right solutions")
        possible = kind & (subset.error < subset.before)
        entered = np.searchsorted(np.sort(subset.error[possible]), thresholds, side="right")
        left = np.searchsorted(np.sort(subset.before[possible]), thresholds, side="right")
        accuracies.append((entered - left) / kind.sum())
    return harmonic_mean(accuracies[0], accuracies[1])


def blind_f1(labels: Sequence[int], lengths: Sequence[int]) -> tuple[float, float] | None:
    """The highest F1 of a scorer that does not read: it calls each step wrong with one and the same chance.

    With chance h a right solution of T steps is left alone with (1 - h)^T, a wrong step after L others is named with
    h (1 - h)^L. The chance is the best in hindsight, to three decimals, so a scorer that is not above this F1 has not
    shown that it reads.

    Returns:
        F1 and the chance; None where there is no wrong or no right solution.

    >>> blind_f1([0, -1], [1, 1])
    (0.5, 0.5)
    """
    label, length = np.asarray(labels), np.asarray(lengths)
    wrong = label != NO_ERROR
    if wrong.all() or not wrong.any():
        return None
    chance = np.arange(1, 1000) / 1000
    kept = 1 - chance[:, None]
    erroneous = (chance[:, None] * kept ** label[wrong]).mean(axis=1)
    correct = (kept ** length[~wrong]).mean(axis=1)
    f1 = harmonic_mean(erroneous, correct)
    best = int(f1.argmax())
    return float(f1[best]), float(chance[best])
