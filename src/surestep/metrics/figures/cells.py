"""Sums over cells of steps under many weightings by problem, several weightings in one machine word.

Counts of problems in a draw are small whole numbers, so four of them are added by one addition of 64 bits, exactly.
Knows numbers only.

Legend: N steps, C cells, G problems, R weightings.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from surestep.metrics.columns import FloatArray, IntArray, bin_sums

_FEWEST_STEPS = 2**11
"""With fewer steps a plain sum is done before scipy is imported."""
_WORD = np.uint64
_PROBLEMS_AT_ONCE = 2**10
_FIELDS = (np.uint16, np.uint32, np.uint64)
"""What a sum is held in: the narrowest that holds the largest one."""


class Counts:
    """How often each problem counts in some draws, and the same as words: made once for all who sum over cells.

    Args:
        values: whole numbers, (R, G), of any type: bytes are the fastest.
    """

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self.values = values
        self.largest = float(values.max(initial=0.0))
        self._packed: dict[type[Any], npt.NDArray[np.uint64]] = {}

    @cached_property
    def by_problem(self) -> FloatArray:
        """The counts of a problem side by side: (G, R)."""
        return np.ascontiguousarray(self.values.T, np.float64)

    def packed(self, field: type[Any]) -> npt.NDArray[np.uint64]:
        """The counts of a problem side by side, as many to a word as fit: (G, words)."""
        if field not in self._packed:
            in_word = np.dtype(_WORD).itemsize // np.dtype(field).itemsize
            num_words, num_problems = -(-len(self.values) // in_word), self.values.shape[1]
            self._packed[field] = room = np.empty((num_problems, num_words), _WORD)
            # Words are made draw by draw, and a few thousand turned at a time: four times faster than count by count.
            for first in range(0, num_problems, _PROBLEMS_AT_ONCE):
                some = self.values[:, first : first + _PROBLEMS_AT_ONCE]
                fields = np.zeros((num_words, some.shape[1], in_word), field)
                for place in range(in_word):
                    of_place = some[place::in_word]
                    fields[: len(of_place), :, place] = of_place
                room[first : first + _PROBLEMS_AT_ONCE] = fields.view(_WORD)[:, :, 0].T
        return self._packed[field]


class Cells:
    """Steps in cells; a cell may be empty.

    Args:
        problem: shape (N,), the problem of each step.
        cell: shape (N,), its cell.
        num_cells: C.

    >>> Cells(np.array([0, 1, 1]), np.array([0, 0, 1]), 3).sums(Counts(np.array([[3.0, 1.0]]))).tolist()
    [[4.0, 1.0, 0.0]]
    """

    def __init__(self, problem: IntArray, cell: IntArray, num_cells: int) -> None:
        self._num_cells = num_cells
        self._largest = int(np.bincount(cell, minlength=1).max())
        self._steps, self._matrix = (problem, cell), None
        if problem.size >= _FEWEST_STEPS:
            self._steps, self._matrix = (problem[:0], cell[:0]), _by_problem(problem, cell, num_cells)

    def __len__(self) -> int:
        """C."""
        return self._num_cells

    def sums(self, counts: Counts) -> FloatArray:
        """How often the steps of each cell count, (R, C)."""
        if self._matrix is None:
            problem, cell = self._steps
            return np.stack([bin_sums(cell, row[problem], self._num_cells) for row in counts.values])
        most = counts.largest * self._largest
        field = next(kind for kind in _FIELDS if most <= np.iinfo(kind).max)
        used = self._matrix.shape[1]  # no step is of a later problem
        sums = (self._matrix @ counts.packed(field)[:used]).view(field)
        return np.ascontiguousarray(sums[:, : len(counts.values)].T, dtype=np.float64)


def _by_problem(problem: IntArray, cell: IntArray, num_cells: int) -> Any:
    """How many steps of each problem lie in each cell, (C, up to G), by problem: few cells stay in the fast memory."""
    from scipy.sparse import csc_array  # a quarter of a second of importing

    shape = (num_cells, int(problem.max()) + 1)
    return csc_array((np.ones(problem.size, _WORD), (cell.astype(np.int32), problem.astype(np.int32))), shape)
