"""A calibration error without bins: the gap smoothed over neighbouring confidences.

Knows confidences and labels, soft ones too. The kernel is a Gaussian reflected at 0 and 1, evaluated on a grid; a
confidence between two grid points is shared between them.

Legend: M grid cells, σ bandwidth; any leading axes are kept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surestep.metrics.columns import FloatArray, IntArray, bin_sums, check_columns

GRID_CELLS = 256
_ITERATIONS = 9
_CUTS = 2
_FIRST_CUT = 0.1


def smooth_ece(confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Smooth expected calibration error, in [0, 1]; 0 is best.

    The fixed point σ = ∫ |Σ w (p − y) K_σ(t, p) / W| dt, K the reflected Gaussian: the data choose the bandwidth, so
    there are no bins to argue about. Biased upward on few steps, less than `ece`. Source: Błasiok and Nakkiran,
    "Smooth ECE" (ICLR 2024), definition of smECE.

    >>> round(smooth_ece([0.5, 0.5], [1.0, 1.0]), 2)
    0.5
    """
    p, y, w = check_columns(confidence, label, weights)
    lower, share = grid_places(p)
    gap = w * (p - y) / w.sum()
    return float(fixed_point(gap_cells(lower, share, gap)))


def gap_cells(lower: IntArray, share: FloatArray, gap: FloatArray) -> FloatArray:
    """Sums of `gap`, shape (N,), over the cells that `grid_places` gives; shape (M,)."""
    # The last cell never shares with one above it, so the place after it stays 0 and is cut off.
    cells = bin_sums(lower, gap * (1.0 - share), GRID_CELLS + 1)
    cells += bin_sums(lower + 1, gap * share, GRID_CELLS + 1)
    return cells[:GRID_CELLS]


class PresortedCells:
    """`gap_cells` of fixed steps, per step, as a function of how often each problem counts; sorted once.

    Args:
        confidence: shape (N,), in [0, 1], N above 0.
        gap: shape (N,), confidence less label.
        problem: shape (N,), from 0: index into the counts.

    >>> cells = PresortedCells(np.array([0.0, 1.0]), np.array([0.5, -1.0]), np.array([0, 1]))
    >>> cells(np.array([1.0, 1.0]))[[0, -1]].tolist(), cells(np.array([1.0, 3.0]))[[0, -1]].tolist()
    ([0.25, -0.5], [0.125, -0.75])
    """

    def __init__(self, confidence: FloatArray, gap: FloatArray, problem: IntArray) -> None:
        order = np.argsort(confidence, kind="stable")
        lower, share = grid_places(confidence[order])
        self._problem = problem[order]
        self._kept, self._passed = gap[order] * (1.0 - share), gap[order] * share
        self._cells, self._starts = np.unique(lower, return_index=True)

    def __call__(self, counts: FloatArray) -> FloatArray:
        """Shape (M,), for counts of shape (G,); their sum is the mean gap."""
        w = counts[self._problem]
        cells = np.zeros(GRID_CELLS + 1)
        cells[self._cells] = np.add.reduceat(w * self._kept, self._starts)
        cells[self._cells + 1] += np.add.reduceat(w * self._passed, self._starts)
        return np.asarray(cells[:GRID_CELLS] / w.sum())


def grid_places(confidence: FloatArray) -> tuple[IntArray, FloatArray]:
    """The cell at or below each confidence, and the share that belongs to the cell above; both shape (N,).

    Cell k stands at (k + 1/2) / M; what lies beyond the first or last belongs to it alone.

    >>> lower, share = grid_places(np.array([0.0, 1.0]))
    >>> lower.tolist(), share.tolist()
    ([0, 255], [0.0, 0.0])
    """
    place = np.clip(confidence * GRID_CELLS - 0.5, 0.0, GRID_CELLS - 1.0)
    lower = np.floor(place).astype(np.int64)
    return lower, place - lower


def smooth_gap(cells: FloatArray, bandwidth: FloatArray) -> FloatArray:
    """∫ |h * K_σ| for gaps h in cells, shape (..., M), each with its own σ, shape (...,).

    Reflection at 0 and 1 makes h an even function of period 2, in which the kernel is a product in frequency space.
    """
    return np.asarray(np.abs(smoothed(cells, bandwidth)).sum(axis=-1))


def smoothed(cells: FloatArray, bandwidth: FloatArray) -> FloatArray:
    """h * K_σ in the same cells, shape (..., M)."""
    return _with_kernel(_spectrum(cells), bandwidth)


def fixed_point(cells: FloatArray) -> FloatArray:
    """The σ at which `smooth_gap` equals σ, shape (...,).

    It falls with σ, so there is one; false position finds it (the Illinois rule: Dowell and Jarratt, BIT 1971), to
    about 1e-5.
    """
    spectrum = _spectrum(cells)
    low, high = np.zeros(cells.shape[:-1]), np.ones(cells.shape[:-1])
    above, below = np.abs(cells).sum(axis=-1), np.full(cells.shape[:-1], -1.0)
    kept = np.zeros(cells.shape[:-1])
    for number in range(_ITERATIONS):
        # The first steps cut: from 0 to 1 the curve is far from straight.
        middle = _crossing(low, high, above, below) if number >= _CUTS else low + (high - low) * _FIRST_CUT
        excess = np.abs(_with_kernel(spectrum, middle)).sum(axis=-1) - middle
        is_above = excess > 0.0
        low, high = np.where(is_above, middle, low), np.where(is_above, high, middle)
        # An end that stays twice counts half, or it would stay for ever.
        above = np.where(is_above, excess, np.where(kept < 0.0, 0.5 * above, above))
        below = np.where(is_above, np.where(kept > 0.0, 0.5 * below, below), excess)
        kept = np.where(is_above, 1.0, -1.0)
    return _crossing(low, high, above, below)


def _crossing(low: FloatArray, high: FloatArray, above: FloatArray, below: FloatArray) -> FloatArray:
    """Where the straight line from (low, above) to (high, below) is 0; `low` where both values are 0."""
    span = above - below
    share = np.divide(above, span, out=np.zeros_like(np.asarray(span)), where=span > 0.0)
    return np.asarray(low + (high - low) * share)


def _spectrum(cells: FloatArray) -> npt.NDArray[np.complex128]:
    return np.asarray(np.fft.rfft(np.concatenate([cells, cells[..., ::-1]], axis=-1), axis=-1))


def _with_kernel(spectrum: npt.NDArray[np.complex128], bandwidth: FloatArray) -> FloatArray:
    num_cells = spectrum.shape[-1] - 1
    frequency = np.arange(num_cells + 1)
    kernel = np.exp(-0.5 * (np.pi * np.asarray(bandwidth)[..., None] * frequency) ** 2)
    return np.asarray(np.fft.irfft(spectrum * kernel, n=2 * num_cells, axis=-1)[..., :num_cells])
