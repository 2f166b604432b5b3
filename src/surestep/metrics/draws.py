"""A figure on every bootstrap resample of the problems, fast: the raw material of an interval.

Means over steps are sums over problems, so a resample is one weighted sum of what each problem adds up to; figures
that need an order sort the steps once and change only their weights. Equal to `FIGURES[name]` under the resample's
weights, digit for digit but for rounding. Knows no dataset, and not what the draws are for.

Legend: N steps, G problems, R resamples, K columns that are added up, B bins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import numpy as np
import numpy.typing as npt

from surestep.metrics.calibration_error import NUM_BINS, equal_width_bins
from surestep.metrics.columns import POSITIVE_LABEL, FloatArray, IntArray, UndefinedFigureError, check_columns
from surestep.metrics.figure_table import FIGURES, RANKING_FIGURES
from surestep.metrics.pointwise import NLL_CLIP
from surestep.metrics.resamples import DEFAULT_RESAMPLES, resample_counts

_CHUNK = 64
"""Resamples that are added up together: enough for speed, few enough for memory (64 G numbers)."""
_NO_VARIANCE = 1e-15
"""Variance of labels below which rounding cannot be told from labels that differ."""

_Weighted = Callable[[IntArray], float]


def figure_draws(
    name: str,
    confidence: npt.ArrayLike,
    label: npt.ArrayLike,
    problem: npt.ArrayLike,
    *,
    raw_confidence: npt.ArrayLike | None = None,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> FloatArray:
    """The figure on each of R resamples of the problems, shape (R,); NaN where it has no value there.

    The same problems, number of resamples and seed give the same draws for any scorer, so two scorers' draws may be
    subtracted one by one.

    Args:
        name: a key of `FIGURES`.
        confidence: shape (N,), in [0, 1].
        label: shape (N,), in [0, 1].
        problem: shape (N,), whole numbers; steps of one number are drawn together.
        raw_confidence: shape (N,), what `RANKING_FIGURES` read; `confidence` where left out.
        resamples: R.
        seed: of `resample_counts`.

    Raises:
        DataError: a confidence or label is outside [0, 1] or NaN.
        UndefinedFigureError: there is no step.
        KeyError: no figure has that name.

    >>> figure_draws("mse", [0.5, 1.0], [1.0, 1.0], [7, 9], resamples=3, seed=2).tolist()
    [0.125, 0.125, 0.0]
    """
    figure = FIGURES[name]
    chosen = confidence if raw_confidence is None or name not in RANKING_FIGURES else raw_confidence
    p, y, _ = check_columns(chosen, label)
    _, group = np.unique(np.asarray(problem), return_inverse=True)
    if group.shape != p.shape:
        raise ValueError(f"confidence {p.shape} and problem {group.shape} must be alike")
    num_problems = int(group.max()) + 1
    counts = resample_counts(num_problems, resamples=resamples, seed=seed)
    if name in _SUMS:
        columns, combine = _SUMS[name](p, y)
        per_problem = np.empty((num_problems, len(columns)))
        for k, column in enumerate(columns):
            per_problem[:, k] = np.bincount(group, column, num_problems)
        return np.concatenate([np.empty(0), *(combine(totals) for totals in _totals(counts, per_problem))])
    if name in _SORTED:
        weighted = _SORTED[name](p, y, group)
    else:

        def weighted(count: IntArray) -> float:
            try:
                return figure(p, y, count[group])
            except UndefinedFigureError:
                return np.nan

    return np.array([weighted(count) for count in counts], dtype=np.float64)


def _totals(counts: Iterable[IntArray], per_problem: FloatArray) -> Iterable[FloatArray]:
    """What each resample adds up to, [R', K] at a time."""
    counts = iter(counts)
    while chunk := list(islice(counts, _CHUNK)):
        # einsum, not a matrix product: the same digits on any number of BLAS threads.
        yield np.einsum("rg,gk->rk", np.stack(chunk).astype(np.float64), per_problem)


_Sums = tuple[list[FloatArray], Callable[[FloatArray], FloatArray]]


def _mean_of(value: Callable[[FloatArray, FloatArray], FloatArray]) -> Callable[[FloatArray, FloatArray], _Sums]:
    return lambda p, y: ([value(p, y), np.ones_like(p)], lambda t: t[:, 0] / t[:, 1])


def _nll(p: FloatArray, y: FloatArray) -> FloatArray:
    clipped = np.clip(p, NLL_CLIP, 1.0 - NLL_CLIP)
    return -(y * np.log(clipped) + (1.0 - y) * np.log1p(-clipped))


def _accuracy(p: FloatArray, y: FloatArray) -> _Sums:
    decided = (y != POSITIVE_LABEL).astype(np.float64)
    agree = ((p >= POSITIVE_LABEL) == (y > POSITIVE_LABEL)) * decided
    return [agree, decided], lambda t: _ratio(t[:, 0], t[:, 1])


def _r2(p: FloatArray, y: FloatArray) -> _Sums:
    centred = y - y.mean()  # so that the difference of squares below loses no digits

    def combine(t: FloatArray) -> FloatArray:
        variance = t[:, 2] / t[:, 3] - (t[:, 1] / t[:, 3]) ** 2
        explained: FloatArray = 1.0 - _ratio(t[:, 0] / t[:, 3], np.where(variance > _NO_VARIANCE, variance, 0.0))
        return explained

    return [(p - y) ** 2, centred, centred**2, np.ones_like(p)], combine


def _ece(p: FloatArray, y: FloatArray) -> _Sums:
    bins = equal_width_bins(p, NUM_BINS)
    gaps = [np.where(bins == k, p - y, 0.0) for k in range(NUM_BINS)]
    return [*gaps, np.ones_like(p)], lambda t: np.abs(t[:, :-1]).sum(axis=1) / t[:, -1]


_SUMS: dict[str, Callable[[FloatArray, FloatArray], _Sums]] = {
    "mse": _mean_of(lambda p, y: (p - y) ** 2),
    "mae": _mean_of(lambda p, y: np.abs(p - y)),
    "brier": _mean_of(lambda p, y: (p - (y >= POSITIVE_LABEL)) ** 2),
    "nll": _mean_of(_nll),
    "accuracy": _accuracy,
    "r2": _r2,
    "ece": _ece,
}


class _Order:
    """Steps in order of confidence, with the first of each run of equal confidences."""

    def __init__(self, p: FloatArray, y: FloatArray, group: IntArray) -> None:
        order = np.argsort(p, kind="stable")
        p, self.group = p[order], group[order]
        self.difference = p - y[order]
        self.positive = y[order] >= POSITIVE_LABEL
        self.starts = np.flatnonzero(np.concatenate(([True], p[1:] != p[:-1]))) if p.size else np.empty(0, np.int64)

    def classes(self, count: IntArray) -> tuple[FloatArray, FloatArray] | None:
        """Weight of right and of wrong steps at each distinct confidence, ascending; None with one class only."""
        if not self.starts.size:
            return None
        weight = count[self.group].astype(np.float64)
        right = np.add.reduceat(weight * self.positive, self.starts)
        both = np.add.reduceat(weight, self.starts)
        wrong = both - right
        return (right, wrong) if right.any() and wrong.any() else None


def _auroc(p: FloatArray, y: FloatArray, group: IntArray) -> _Weighted:
    order = _Order(p, y, group)

    def weighted(count: IntArray) -> float:
        if (found := order.classes(count)) is None:
            return np.nan
        right, wrong = found
        return float(np.sum(right * (np.cumsum(wrong) - 0.5 * wrong)) / (right.sum() * wrong.sum()))

    return weighted


def _average_precision(p: FloatArray, y: FloatArray, group: IntArray, *, of_errors: bool = False) -> _Weighted:
    order = _Order(p, y, group)

    def weighted(count: IntArray) -> float:
        if (found := order.classes(count)) is None:
            return np.nan
        right, wrong = found
        target, other = (wrong, right) if of_errors else (right[::-1], wrong[::-1])
        gathered = np.cumsum(target)
        seen = gathered + np.cumsum(other)
        # Where nothing is seen yet nothing is gathered either, so what stands there never counts.
        return float(np.sum(target * gathered / np.maximum(seen, 1.0)) / gathered[-1])

    return weighted


def _average_precision_error(p: FloatArray, y: FloatArray, group: IntArray) -> _Weighted:
    return _average_precision(p, y, group, of_errors=True)


def _ece_equal_mass(p: FloatArray, y: FloatArray, group: IntArray) -> _Weighted:
    order = _Order(p, y, group)

    def weighted(count: IntArray) -> float:
        weight = count[order.group].astype(np.float64)
        mass = np.add.reduceat(weight, order.starts)
        gap = np.add.reduceat(weight * order.difference, order.starts)
        total = mass.sum()
        bins = np.floor(NUM_BINS * (2.0 * (np.cumsum(mass) - mass) + mass) / (2.0 * total)).astype(np.int64)
        gaps = np.bincount(np.minimum(bins, NUM_BINS - 1), gap, NUM_BINS)
        return float(np.abs(gaps).sum() / total)

    return weighted


def _without_half(
    of: Callable[[FloatArray, FloatArray, IntArray], _Weighted],
) -> Callable[[FloatArray, FloatArray, IntArray], _Weighted]:
    def chosen(p: FloatArray, y: FloatArray, group: IntArray) -> _Weighted:
        keep = y != POSITIVE_LABEL
        return of(p[keep], y[keep], group[keep])

    return chosen


_SORTED: dict[str, Callable[[FloatArray, FloatArray, IntArray], _Weighted]] = {
    "auroc": _auroc,
    "auroc_without_half": _without_half(_auroc),
    "average_precision": _average_precision,
    "average_precision_without_half": _without_half(_average_precision),
    "average_precision_error": _average_precision_error,
    "average_precision_error_without_half": _without_half(_average_precision_error),
    "ece_equal_mass": _ece_equal_mass,
}


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    """NaN where nothing is below."""
    result = np.full(above.shape, np.nan)
    np.divide(above, below, out=result, where=below > 0.0)
    return result
