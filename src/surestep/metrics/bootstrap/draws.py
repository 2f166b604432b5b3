"""Problems drawn with replacement, as counts: a resampled figure is the same figure under other weights.

Problems are drawn, not steps: steps of one problem succeed and fail together, so resampling steps gives intervals
that are too narrow (the cluster bootstrap; Davison and Hinkley, Bootstrap Methods and their Application, 1997, 3.8).

Legend: R resamples, G problems, F sums.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from surestep.cores import MOST_THREADS, in_threads
from surestep.metrics.columns import FloatArray, IntArray

_Result = TypeVar("_Result")
DrawnCounts = npt.NDArray[np.uint8] | FloatArray
"""How often each problem is drawn, (b, G), whole numbers."""

DEFAULT_RESAMPLES = 1000
FEWEST_PROBLEMS = 2
"""With fewer, every draw is the data itself."""
FEWEST_FOR_VERDICT = 30
"""With fewer problems intervals are too narrow (the cluster bootstrap's own bias), so nothing is called better or worse
by them."""
_BLOCK_ENTRIES = 2**21
"""16 MiB of counts."""
_MOST_KEPT = 2**27
"""128 MiB of counts, a byte each: as many as threads are kept, since a section asks for its own often."""


@dataclass(frozen=True, slots=True)
class Draws:
    """R draws of G problems out of G.

    Draw r depends on the seed, r and the number of problems alone, so two scorers of the same problems are compared on
    the same draws.

    Attributes:
        num_problems: G.
        resamples: R; 0 for none.
        seed: decides the draws.
    """

    num_problems: int
    resamples: int = DEFAULT_RESAMPLES
    seed: int = 0

    def __iter__(self) -> Iterator[IntArray]:
        """How often each problem is drawn: R arrays int64 (G,).

        >>> [int(counts.sum()) for counts in Draws(5, resamples=2)]
        [5, 5]
        """
        return map(self._one, range(self.resamples))

    def _one(self, number: int) -> IntArray:
        random = np.random.default_rng([self.seed, number])
        drawn = random.integers(0, self.num_problems, self.num_problems)
        return np.bincount(drawn, minlength=self.num_problems).astype(np.int64, copy=False)

    def blocks(self) -> Iterator[FloatArray]:
        """The same counts as float64, several draws at a time, (b, G): few enough to hold beside the data.

        >>> [block.shape for block in Draws(5, resamples=2).blocks()]
        [(2, 5)]
        """
        make, _ = self._maker()
        return (np.asarray(make(rows), np.float64) for rows in self._spans())

    def of_blocks(self, function: Callable[[DrawnCounts], _Result], *, at_least: int = 1) -> Iterator[_Result]:
        """`function` of the counts of some draws at a time, (b, G), in order, in threads; it changes nothing.

        Args:
            function: of counts of any type, bytes where they fit; `in_blocks` has the blocks of float64 among them.
            at_least: draws that are wanted at a time, where they are bytes.

        >>> [float(total) for total in Draws(5, resamples=2).of_blocks(np.sum)]
        [10.0]
        """
        make, is_small = self._maker()
        blocks = -(-at_least // self._block_size()) if is_small else 1
        return in_threads(lambda rows: function(make(rows)), self._spans(blocks))

    def in_blocks(self, counts: DrawnCounts) -> Iterator[FloatArray]:
        """The counts of some whole blocks, as `of_blocks` gives them, block by block."""
        size = self._block_size()
        for start in range(0, len(counts), size):
            yield np.asarray(counts[start : start + size], np.float64)

    def _block_size(self) -> int:
        return max(1, _BLOCK_ENTRIES // max(self.num_problems, 1))

    def _spans(self, blocks: int = 1) -> list[range]:
        """The draws of so many blocks: the same on every machine, since sums over a block may depend on its length."""
        size = self._block_size() * blocks
        return [range(start, min(start + size, self.resamples)) for start in range(0, self.resamples, size)]

    def _maker(self) -> tuple[Callable[[range], DrawnCounts], bool]:
        """What gives the counts of some draws, and whether these are bytes."""
        counts = _small_counts(self) if self.resamples * self.num_problems <= _MOST_KEPT else None
        if counts is None:
            return lambda rows: np.array([self._one(row) for row in rows], dtype=np.float64), False
        return lambda rows: counts[rows.start : rows.stop], True

    def sums(self, table: FloatArray) -> FloatArray:
        """What each draw of the rows of `table`, (G, F), one a problem, adds up to: (R, F).

        >>> Draws(5, resamples=2).sums(np.ones((5, 3))).tolist()
        [[5.0, 5.0, 5.0], [5.0, 5.0, 5.0]]
        """
        products = self.of_blocks(lambda counts: self.products(counts, table))
        return np.concatenate([np.empty((0, table.shape[1])), *products])

    def products(self, counts: DrawnCounts, table: FloatArray) -> FloatArray:
        """The same of some whole blocks of draws: (b, F)."""
        return np.concatenate([block @ table for block in self.in_blocks(counts)])


@lru_cache(maxsize=MOST_THREADS)
def _small_counts(draws: Draws) -> npt.NDArray[np.uint8] | None:
    """All draws, uint8 (R, G); None where a problem is drawn too often for a byte."""
    found = np.empty((draws.resamples, draws.num_problems), np.uint8)

    def fill(rows: range) -> bool:
        for row in rows:
            counts = draws._one(row)
            if counts.max(initial=0) > np.iinfo(np.uint8).max:
                return False
            found[row] = counts
        return True

    return found if all(in_threads(fill, draws._spans())) else None


def forget_draws() -> None:
    """Give back what is kept of the draws asked for last."""
    _small_counts.cache_clear()


@lru_cache(maxsize=4)
def counts_of(draws: Draws) -> FloatArray:
    """All draws at once, float64 (R, G), kept for the next who asks: for many small figures of the same problems.

    >>> counts_of(Draws(5, resamples=2)).sum(axis=1).tolist()
    [5.0, 5.0]
    """
    counts = np.concatenate([np.empty((0, draws.num_problems)), *draws.blocks()])
    counts.setflags(write=False)
    return counts


def seed_for(seed: int, name: str) -> int:
    """A seed for one of several parts that are drawn apart, whatever other parts there are.

    With one seed for all, parts of equally many problems would be drawn alike, and the interval of their mean would be
    too wide.
    """
    return (seed << 32) ^ zlib.crc32(name.encode())


def sums_by_problem(problem: npt.ArrayLike, table: FloatArray) -> FloatArray:
    """Rows of `table`, (N, F), of one problem added up: (G, F), problems in the order of their numbers.

    >>> sums_by_problem([7, 3, 7], np.array([[1.0], [2.0], [4.0]])).tolist()
    [[2.0], [5.0]]
    """
    numbers, dense = np.unique(np.asarray(problem), return_inverse=True)
    sums = np.zeros((len(numbers), table.shape[1]))
    np.add.at(sums, dense, table)
    return sums
