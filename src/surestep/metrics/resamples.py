"""Bootstrap resamples of problems, as counts: an interval is a figure under other weights.

Problems are drawn, not steps: steps of one problem succeed and fail together, so resampling steps gives intervals
that are too narrow (the cluster bootstrap; Davison and Hinkley, Bootstrap Methods and their Application, 1997, 3.8).

Shapes: `R` resamples, `G` problems.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from surestep.metrics.columns import IntArray

DEFAULT_RESAMPLES = 1000
DEFAULT_LEVEL = 0.95


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
