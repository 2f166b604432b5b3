"""Intervals for calibration errors, which are never below 0 and whose plain estimate is too large.

A calibration error is the size of a vector of gaps. Noise makes every estimated gap longer, so a percentile bootstrap
starts from a value that is too large and makes it larger still: at a true error of 0 it never covers. Instead, each
candidate for the true value is tested: gaps of that size plus the bootstrap's noise are compared with what was seen,
and the interval holds the values that are not rejected (Carpenter, "Test inversion bootstrap confidence intervals",
JRSS B 1999; Chuang and Lai, "Hybrid resampling methods for confidence intervals", Statistica Sinica 2000). The noise
comes from resampled problems, so soft labels and steps that depend on each other are in it.

Knows vectors only. Legend: B gaps, R resamples, T candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from surestep.cores import in_threads
from surestep.metrics.columns import FloatArray

Size = Callable[[FloatArray], FloatArray]
"""The figure as a function of the gaps: (..., B) -> (...), 0 for no gap, growing with a scale factor."""

_STEPS_DOWN = 21
_STEPS_UP = 20
_STEPS_SPREAD = 60
_FURTHEST = 3.0
_ENTRIES_AT_ONCE = 2**15
"""Candidates are tested together as long as their draws stay in the fast memory."""
_MULTIPLES = (0.0, 0.3, 0.6, 0.8, 0.95, 1.1, 1.3, 1.7, 3.0)


@dataclass(frozen=True, slots=True)
class Inverted:
    """An interval, and what a perfectly calibrated model with the same noise would show."""

    low: float
    high: float
    mean_if_calibrated: float
    high_if_calibrated: float


def inverted_interval(gaps: FloatArray, resampled: FloatArray, size: Size, *, level: float = 0.95) -> Inverted:
    """The sizes that the gaps seen do not contradict.

    Which gaps a true size would have is not known. The lower end takes them from shrinking every gap by the same
    number of its standard errors, so that pure noise vanishes first and the correction for it is largest; the upper
    end from spreading the size over all gaps by their standard errors, where noise adds least. A size below the
    median of a calibrated model is taken as that median: a lucky draw is no proof of a small error.

    Args:
        gaps: shape (B,), as seen.
        resampled: shape (R, B), the same under resampled problems.
        size: the figure.
        level: of the interval.

    >>> noise = np.random.default_rng(0).normal(0.0, 0.01, (500, 10))
    >>> found = inverted_interval(noise[0], noise[0] + noise, lambda gaps: np.abs(gaps).sum(axis=-1))
    >>> found.low, found.high > 0.02
    (0.0, True)
    """
    noise = resampled - gaps
    error = noise.std(axis=0)
    seen = float(size(gaps))
    calibrated = size(noise)
    down, up = _shrunk(gaps, error), _spread(gaps, error, size, seen)
    tail = 0.5 * (1.0 - level)
    low = _invert(down, noise, size, seen, 1.0 - tail)
    high = _invert(up, noise, size, max(seen, float(np.median(calibrated))), tail)
    return Inverted(
        low=min(low, high),
        high=high,
        mean_if_calibrated=float(calibrated.mean()),
        high_if_calibrated=float(np.quantile(calibrated, 1.0 - tail)),
    )


def scaled_interval(
    gaps: FloatArray, resampled: FloatArray, size: Size, *, shape: FloatArray, level: float = 0.95
) -> Inverted:
    """The same with multiples of `shape`, (B,), for candidates: for gaps over a grid, where neighbours go together.

    >>> noise = np.random.default_rng(0).normal(0.0, 0.01, (500, 1))
    >>> total = lambda gaps: np.abs(gaps).sum(axis=-1)
    >>> found = scaled_interval(np.array([0.5]), 0.5 + noise, total, shape=np.array([0.5]))
    >>> round(found.low, 2), round(found.high, 2)
    (0.48, 0.52)
    """
    noise = resampled - gaps
    seen = float(size(gaps))
    calibrated = size(noise)
    candidates = np.array(_MULTIPLES)[:, None] * shape
    tail = 0.5 * (1.0 - level)
    draws = np.stack(list(in_threads(lambda candidate: size(candidate + noise), list(candidates))))
    sizes = size(candidates)
    at_least = max(seen, float(np.median(calibrated)))
    low = _where_reached(np.quantile(draws, 1.0 - tail, axis=1), sizes, seen)
    high = _where_reached(np.quantile(draws, tail, axis=1), sizes, at_least)
    return Inverted(min(low, high), high, float(calibrated.mean()), float(np.quantile(calibrated, 1.0 - tail)))


def _shrunk(gaps: FloatArray, error: FloatArray) -> FloatArray:
    """From no gap up to three times the gaps seen, (T, B), the clearest gap first."""
    clear = np.divide(np.abs(gaps), error, out=np.zeros_like(gaps), where=error > 0.0)
    cuts = np.linspace(clear.max(), 0.0, _STEPS_DOWN)[:, None] * error
    shrunk = np.sign(gaps) * np.maximum(np.abs(gaps) - cuts, 0.0)
    larger = np.linspace(1.0, _FURTHEST, _STEPS_UP + 1)[1:, None] * gaps
    # A gap without any noise is there in full from the start, so a true size of 0 is put first by hand.
    return np.concatenate([np.zeros((1, gaps.size)), shrunk, larger])


def _spread(gaps: FloatArray, error: FloatArray, size: Size, seen: float) -> FloatArray:
    """From no gap up to well above the size seen and the noise, (T, B), each gap as large as its noise allows."""
    if not error.any():
        return np.linspace(0.0, _FURTHEST, _STEPS_SPREAD)[:, None] * gaps
    shape = error * np.where(gaps < 0.0, -1.0, 1.0)
    unit = float(size(shape))
    reach = np.linspace(0.0, _FURTHEST, _STEPS_SPREAD) * (seen + unit) / unit
    return reach[:, None] * shape


def _invert(candidates: FloatArray, noise: FloatArray, size: Size, seen: float, quantile: float) -> float:
    together = max(1, _ENTRIES_AT_ONCE // max(noise.size, 1))
    blocks = (candidates[first : first + together, None, :] + noise for first in range(0, len(candidates), together))
    reached = np.concatenate([np.quantile(size(block), quantile, axis=1) for block in blocks])
    return _where_reached(reached, size(candidates), seen)


def _where_reached(reached: FloatArray, sizes: FloatArray, seen: float) -> float:
    """The size whose quantile is `seen`, straight between candidates; the first where it is above from the start."""
    return float(np.interp(seen, np.maximum.accumulate(reached), np.maximum.accumulate(sizes)))
