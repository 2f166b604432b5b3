"""Bootstrap resamples of problems, as counts: an interval is a figure under other weights.

Problems are drawn, not steps: steps of one problem succeed and fail together, so resampling steps gives intervals
that are too narrow (the cluster bootstrap; Davison and Hinkley, Bootstrap Methods and their Application, 1997, 3.8).

Shapes: `R` resamples, `G` problems.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from surestep.metrics.columns import FloatArray, IntArray

DEFAULT_RESAMPLES = 1000
DEFAULT_LEVEL = 0.95
_BLOCK_ENTRIES = 2**22
"""32 MiB of counts."""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How intervals are made.

    Attributes:
        resamples: how often the problems are drawn anew; 0 for no intervals.
        seed: decides the draws.
    """

    resamples: int = DEFAULT_RESAMPLES
    seed: int = 0


def resample_counts(num_problems: int, *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0) -> Iterator[IntArray]:
    """`R` arrays int64 [G]: how often each problem is drawn when G of them are drawn with replacement.

    Resample `r` depends on the seed, `r` and the number of problems alone, so two scorers of the same problems are
    compared on the same draws.

    >>> [int(counts.sum()) for counts in resample_counts(5, resamples=2)]
    [5, 5]
    """
    for number in range(resamples):
        random = np.random.default_rng([seed, number])
        drawn = random.integers(0, num_problems, num_problems)
        yield np.bincount(drawn, minlength=num_problems).astype(np.int64)


def count_blocks(num_problems: int, *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0) -> Iterator[FloatArray]:
    """The same counts as float64 in blocks of some resamples, (b, G), small enough to hold beside the data.

    >>> [block.shape for block in count_blocks(5, resamples=2)]
    [(2, 5)]
    """
    size = max(1, _BLOCK_ENTRIES // max(num_problems, 1))
    counts = resample_counts(num_problems, resamples=resamples, seed=seed)
    while block := list(islice(counts, size)):
        yield np.array(block, dtype=np.float64)
