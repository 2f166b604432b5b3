"""A calibration error without bins: the gap smoothed over neighbouring confidences.

Knows confidences and labels, soft ones too. The kernel is a Gaussian reflected at 0 and 1, evaluated on a grid; a
confidence between two grid points is shared between them.

Legend: M grid cells, σ bandwidth; any leading axes are kept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surestep.metrics.bootstrap.inversion import Inverted, scaled_interval
from surestep.metrics.columns import FloatArray, IntArray
from surestep.metrics.figures.figure import Column, Columns, Figure, Sums, Totals, ratio

GRID_CELLS = 256
_ITERATIONS = 9
_CUTS = 2
_FIRST_CUT = 0.1


def _columns(p: FloatArray, y: FloatArray, w: FloatArray) -> Columns:
    lower, share = grid_places(p)
    gap, step = p - y, np.arange(p.size, dtype=np.int64)
    cells = Column(
        np.concatenate([gap * (1.0 - share), gap * share]),
        # The last cell never shares with one above it: what would go there is 0.
        np.concatenate([lower, np.minimum(lower + 1, GRID_CELLS - 1)]),
        GRID_CELLS,
        steps=np.concatenate([step, step]),
    )
    return {"cells": cells, "steps": Column(np.ones(p.shape))}


def _gaps(sums: Totals) -> FloatArray:
    """Σ (p − y) in each cell over all steps, (..., M)."""
    return ratio(sums["cells"], sums["steps"][..., None])


def _value(sums: Totals) -> FloatArray:
    return fixed_point(_gaps(sums))


def _inverted(seen: Totals, resampled: Totals) -> Inverted:
    cells = _gaps(seen)
    # Candidates are multiples of the smoothed gaps: single cells are nearly all noise.
    return scaled_interval(cells, _gaps(resampled), fixed_point, shape=smoothed(cells, fixed_point(cells)))


smooth_ece = Figure(
    "smooth_ece",
    "Smooth ECE",
    "lower",
    Sums(_columns, _value, _inverted),
    in_tables=False,
    range=(0.0, 1.0),
    meaning="Calibration error without bins, the gap smoothed over neighbouring confidences; 0 is best.",
    note="smECE with a reflected Gaussian kernel (Błasiok and Nakkiran 2023): no bins.",
)
"""Smooth expected calibration error, in [0, 1].

The fixed point σ = ∫ |Σ w (p − y) K_σ(t, p) / W| dt, K the reflected Gaussian: the data choose the bandwidth, so there
are no bins to argue about. Biased upward on few steps, less than `ece`. Source: Błasiok and Nakkiran, "Smooth ECE"
(ICLR 2024), definition of smECE.

>>> round(smooth_ece([0.5, 0.5], [1.0, 1.0]), 2)
0.5
"""


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


def smoothed(cells: FloatArray, bandwidth: FloatArray) -> FloatArray:
    """h * K_σ for gaps h in cells, shape (..., M), each with its own σ, shape (...,).

    Reflection at 0 and 1 makes h an even function of period 2, in which the kernel is a product in frequency space.
    """
    return _with_kernel(_spectrum(cells), bandwidth)


def fixed_point(cells: FloatArray) -> FloatArray:
    """The σ at which ∫ |h * K_σ| equals σ for gaps h in cells, shape (...,).

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
