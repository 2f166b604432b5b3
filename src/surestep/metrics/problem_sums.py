"""Sums over the steps of each problem, so that a resample of problems is one matrix product of counts.

A mean over resampled steps is Σ_g c_g (Σ values of problem g) / Σ_g c_g (steps of problem g): the steps themselves
are never touched again. Knows numbers only.

Legend: N steps, G problems, R resamples, B bins, K columns over all names.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from surestep.metrics.columns import BoolArray, FloatArray, IntArray, bin_sums


class ProblemSums:
    """Named sums by problem, each of shape (G,) or, over bins, (G, B).

    Args:
        problem: shape (N,), from 0 to G − 1.
        num_problems: G.

    >>> sums = ProblemSums(np.array([0, 0, 1]), 2)
    >>> sums.add("error", np.array([1.0, 2.0, 4.0]))
    >>> sums.weighted(np.array([[1.0, 2.0]]))["error"].tolist()
    [11.0]
    """

    def __init__(self, problem: IntArray, num_problems: int) -> None:
        self._problem = problem
        self._num_problems = num_problems
        self._columns: dict[str, FloatArray] = {}

    def add(self, name: str, values: FloatArray, where: BoolArray | None = None) -> None:
        """The sum of `values`, shape (N,), over each problem's steps, or over those of them in `where`."""
        problem = self._problem if where is None else self._problem[where]
        column = bin_sums(problem, values if where is None else values[where], self._num_problems)
        self._columns[name] = column[:, None]

    def add_binned(self, name: str, values: FloatArray, bins: IntArray, num_bins: int) -> None:
        """The same for each bin; `bins` has shape (N,)."""
        place = self._problem * num_bins + bins
        self._columns[name] = bin_sums(place, values, self._num_problems * num_bins).reshape(-1, num_bins)

    def table(self) -> FloatArray:
        """All columns side by side, shape (G, K)."""
        return np.concatenate(list(self._columns.values()), axis=1)

    def weighted(self, counts: FloatArray) -> dict[str, FloatArray]:
        """Sums by name when the problems count `counts`, shape (R, G): each (R,), or (R, B) over bins."""
        return self.split(counts @ self.table())

    def split(self, product: FloatArray) -> dict[str, FloatArray]:
        """The columns of counts @ `table()`, shape (R, K), by name."""
        result: dict[str, FloatArray] = {}
        start = 0
        for name, column in self._columns.items():
            width = column.shape[1]
            result[name] = product[:, start] if width == 1 else product[:, start : start + width]
            start += width
        return result


def ratio(sums: Mapping[str, FloatArray], numerator: str, denominator: str) -> FloatArray:
    """`numerator` / `denominator`, NaN where nothing was drawn.

    >>> ratio({"a": np.array([3.0, 0.0]), "n": np.array([2.0, 0.0])}, "a", "n")
    array([1.5, nan])
    """
    above, below = sums[numerator], sums[denominator]
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0.0)
