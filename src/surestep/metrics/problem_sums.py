"""What each problem adds to the sums of figures: made once for each column, equal ones held once.

A draw of problems asks for nothing else, so the steps themselves are let go: a sum a problem takes a fraction of the
memory of a number a step. Where a table of all problems and bins would be larger than the steps (many bins, few steps
a problem) only what is in it is held. Knows no figure in particular.

Legend: N steps, G problems, B bins, R draws.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from surestep.metrics.columns import FloatArray, IntArray
from surestep.metrics.figures.cells import Counts
from surestep.metrics.figures.figure import Columns, SumsOfPairs, is_binned, problem_entries, problem_table, width_of

_SMALL_TABLE = 2**17
"""Problems of which one sum each is held as a table even where few of them have a step: 1 MiB."""


@dataclass(frozen=True, slots=True)
class ProblemSums:
    """What problems add to one column, as a table or as what is in it.

    Attributes:
        content: the same for columns of one selection of steps to which problems add the same.
        is_binned: whether the sums have an axis of bins.
        width: B, 1 for one sum over all.
        table: the sums, (G, B), of the narrowest type that holds each exactly; None where they are held by what is in
            them.
        entries: scipy's csc_array (B, up to G) of the sums that are not 0; None where there is a table.
    """

    content: str
    is_binned: bool
    width: int
    table: npt.NDArray[Any] | None
    entries: Any = None

    def parts(self) -> tuple[npt.NDArray[Any], ...]:
        """The arrays that are its content."""
        if self.table is not None:
            return (self.table,)
        return self.entries.indptr, self.entries.indices, self.entries.data

    def drawn(self, counts: Counts) -> FloatArray:
        """The sums of some draws from `entries`, (R, B)."""
        assert self.entries is not None, "it has a table"
        return np.asarray((self.entries @ counts.by_problem[: self.entries.shape[1]]).T)


class SumsOfProblems:
    """The columns of one selection of steps.

    Args:
        problem: shape (N,), the problem of each step.
        num_problems: G.

    >>> from surestep.metrics.figures.figure import Column
    >>> sums = SumsOfProblems(np.array([0, 1, 1]), 2)
    >>> ones, same = (sums.add({"x": Column(np.ones(3))})["x"] for _ in range(2))
    >>> ones.table.tolist(), ones.content == same.content
    ([[1], [2]], True)
    """

    def __init__(self, problem: IntArray, num_problems: int) -> None:
        self._problem, self._num_problems = problem, num_problems
        self._pairs = SumsOfPairs(problem)
        self._made: dict[Hashable, list[ProblemSums]] = {}

    def add(self, columns: Columns) -> dict[str, ProblemSums]:
        """The sums of a figure's columns, by name."""
        return {name: self._of(columns, name) for name in columns}

    def _of(self, columns: Columns, name: str) -> ProblemSums:
        width, binned = width_of(columns, name), is_binned(columns, name)
        if width * self._num_problems <= max(self._problem.size, _SMALL_TABLE if width == 1 else 0):
            table = narrow(problem_table(columns, name, self._problem, self._num_problems))
            found = ProblemSums("", binned, width, table)
        else:
            entries = _matrix(*problem_entries(columns, name, self._pairs), width)
            found = ProblemSums("", binned, width, None, entries)
        # Equal arrays have equal sums: only those of one sum are compared.
        alike = self._made.setdefault((width, *((part.shape, part.sum()) for part in found.parts())), [])
        for made in alike:
            if all(map(_same_bytes, made.parts(), found.parts())):
                return replace(made, is_binned=binned)
        alike.append(replace(found, content=f"{sum(map(len, self._made.values()))}"))
        return alike[-1]


def narrow(sums: FloatArray) -> npt.NDArray[Any]:
    """The same numbers, exactly, in as few bytes as hold them: half of all sums are counts of steps.

    >>> [narrow(np.array(values)).dtype.name for values in ([3.0, 0.0], [0.5, 300.0], [0.1, 1.0], [-0.0, 1.0])]
    ['uint8', 'float32', 'float64', 'float32']
    """
    for kind in (np.uint8, np.float32):
        with np.errstate(invalid="ignore", over="ignore"):
            narrower = sums.astype(kind)
        if _same_bytes(narrower.astype(np.float64), sums):
            return narrower
    return sums


def _same_bytes(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> bool:
    return np.array_equal(first.view(np.uint8), second.view(np.uint8))


def _matrix(problem: IntArray, bins: IntArray, added: FloatArray, width: int) -> Any:
    from scipy.sparse import csc_array  # a quarter of a second of importing

    shape = (width, int(problem.max(initial=0)) + 1)
    return csc_array((added, (bins.astype(np.int32), problem.astype(np.int32))), shape)
