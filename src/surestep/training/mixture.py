"""Which example is drawn when: deterministic, resumable at any step, sharded without overlap.

The dataset of every draw follows from the seed and the step alone; within a dataset, examples come in a shuffled
order of their own for each pass, or sorted by difficulty, so that none repeats before all have been seen. The only
state is how many examples each dataset has given. Knows names, shares and counts; knows no tree.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Draw:
    """One example: the `example`-th of `dataset`."""

    dataset: str
    example: int


class Mixture:
    """Draws examples of several datasets in given proportions.

    Args:
        shares: probability of each dataset, summing to 1.
        sizes: examples in each dataset, at least 1.
        seed: another seed gives another order.
        phase: number of the phase, from 0; each draws in an order of its own.
        ranks: numbers that the examples of a dataset are sorted by in every pass, smallest first; those of one number
            are shuffled. A dataset without is shuffled whole.

    >>> mixture = Mixture({"a": 1.0}, {"a": 3}, seed=0)
    >>> sorted(draw.example for draw in mixture.draw(step=0, count=3))
    [0, 1, 2]
    """

    def __init__(
        self,
        shares: Mapping[str, float],
        sizes: Mapping[str, int],
        *,
        seed: int,
        phase: int = 0,
        ranks: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> None:
        if set(shares) != set(sizes) or min(sizes.values(), default=0) < 1:
            raise ValueError(f"shares of {sorted(shares)}, sizes {dict(sizes)}; every dataset needs an example")
        self.names = tuple(shares)
        self.shares = np.array([shares[name] for name in self.names])
        self.sizes = dict(sizes)
        self.seed = seed
        self._phase = phase
        self._ranks = dict(ranks or {})
        self.drawn: dict[str, int] = dict.fromkeys(self.names, 0)
        self._orders: dict[str, tuple[int, np.ndarray[tuple[int], np.dtype[np.int64]]]] = {}

    def draw(self, step: int, count: int) -> list[Draw]:
        """The `count` examples of optimiser step `step`; steps are drawn in order."""
        random = np.random.default_rng([self.seed, step])
        edges = np.cumsum(self.shares)
        chosen = np.minimum(np.searchsorted(edges, random.random(count), side="right"), len(self.names) - 1)
        return [self._next(self.names[index]) for index in chosen]

    def _next(self, name: str) -> Draw:
        number_of_pass, place = divmod(self.drawn[name], self.sizes[name])
        self.drawn[name] += 1
        known = self._orders.get(name)
        if known is None or known[0] != number_of_pass:
            place_of_phase = [self._phase] if self._phase else []
            random = np.random.default_rng([self.seed, zlib.crc32(name.encode()), number_of_pass, *place_of_phase])
            order = random.permutation(self.sizes[name])
            if name in self._ranks:
                order = order[np.argsort(self._ranks[name][order], kind="stable")]
            known = self._orders[name] = (number_of_pass, order)
        return Draw(name, int(known[1][place]))
