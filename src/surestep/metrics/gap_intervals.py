"""The figures that are sizes of gaps, each with its interval by test inversion.

Knows which gaps and which size make each figure; the method is in `inversion`.

Legend: R resamples, B bins that hold a step.
"""

from __future__ import annotations

import numpy as np

from surestep.metrics.bootstrap.inversion import Inverted, Size, inverted_interval, scaled_interval
from surestep.metrics.calibration_error import equal_mass_bins, equal_width_bins
from surestep.metrics.columns import POSITIVE_LABEL, FloatArray, IntArray, bin_sums
from surestep.metrics.predictions import Predictions
from surestep.metrics.section_draws import SectionDraws
from surestep.metrics.smooth_error import fixed_point, gap_cells, grid_places, smoothed


def gap_intervals(part: Predictions, draws: SectionDraws, *, smooth: bool = True) -> dict[str, Inverted]:
    """Intervals of `ece`, `ece_equal_mass`, `rms_calibration_error`, `smooth_ece` and two parts of the Brier score.

    Args:
        part: the steps of one section.
        draws: what a bootstrap of them gave.
        smooth: also that of `smooth_ece`, which takes most of the time.
    """
    p, y = part.confidence, part.label
    positive = (y >= POSITIVE_LABEL).astype(np.float64)
    width, mass = _Bins("width", equal_width_bins(p), draws), _Bins("mass", equal_mass_bins(p), draws)
    base = (draws.sums["positive"] / draws.sums["steps"])[:, None]
    told = width.resampled("positive") - base * width.resampled("steps")
    return {
        "ece": inverted_interval(width.seen(p - y), width.resampled("gap"), total),
        "ece_equal_mass": inverted_interval(mass.seen(p - y), mass.resampled("gap"), total),
        "rms_calibration_error": inverted_interval(mass.seen(p - y), mass.resampled("gap"), mass.root),
        "brier_reliability": inverted_interval(
            width.seen(p - positive), width.resampled("confidence") - width.resampled("positive"), width.square
        ),
        "brier_resolution": inverted_interval(width.seen(positive - positive.mean()), told, width.square),
        **({"smooth_ece": _smooth(part, draws)} if smooth else {}),
    }


def total(gaps: FloatArray) -> FloatArray:
    """Σ |gap| over the last axis: the expected calibration error, where a gap is Σ (p − y) in a bin over all steps.

    >>> float(total(np.array([0.25, -0.5])))
    0.75
    """
    return np.asarray(np.abs(gaps).sum(axis=-1))


class _Bins:
    """Gaps over the bins that hold a step, as seen and as resampled."""

    def __init__(self, kind: str, bins: IntArray, draws: SectionDraws) -> None:
        self._kind, self._bins, self._draws = kind, bins, draws
        count = bin_sums(bins)
        self._used = np.flatnonzero(count)
        share = count[self._used] / bins.size
        self.square: Size = lambda gaps: np.asarray((gaps**2 / share).sum(axis=-1))
        self.root: Size = lambda gaps: np.asarray(np.sqrt((gaps**2 / share).sum(axis=-1)))

    def seen(self, values: FloatArray) -> FloatArray:
        """Σ values in each bin over the number of all steps, (B,)."""
        return bin_sums(self._bins, values)[self._used] / self._bins.size

    def resampled(self, name: str) -> FloatArray:
        """The same under resampled problems, (R, B)."""
        sums = self._draws.sums
        return np.asarray(sums[f"{self._kind}/{name}"][:, self._used] / sums["steps"][:, None])


def _smooth(part: Predictions, draws: SectionDraws) -> Inverted:
    lower, share = grid_places(part.confidence)
    cells = gap_cells(lower, share, (part.confidence - part.label) / len(part))
    # Candidates are multiples of the smoothed gaps: single cells are nearly all noise.
    return scaled_interval(cells, draws.cells, fixed_point, shape=smoothed(cells, fixed_point(cells)))
