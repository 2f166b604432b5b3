"""Holding problems out of a file, the same ones every time.

Knows problem keys and a seed; knows no dataset. A problem's side depends on a hash of the seed and its
own key, so neither the order of the file nor a problem added later moves it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from surestep.arrays import distinct

Side = Literal["held_out", "rest"]


def place(seed: int, key: str) -> int:
    """Where a problem stands among 2^64 places, from SHA-256 of seed and key: uniform, and fixed for ever.

    >>> place(0, "1 + 1") == place(0, "1 + 1") != place(1, "1 + 1")
    True
    """
    return int.from_bytes(hashlib.sha256(f"{seed}\x00{key}".encode()).digest()[:8], "big")


def positions(places: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Places as numbers in [0, 1)."""
    # 53 bits are what a float holds exactly; more could round up to 1.0.
    return (places >> np.uint64(11)).astype(np.float64) / 2**53


def held_out(places: NDArray[np.uint64], *, fraction: float) -> NDArray[np.bool_]:
    """Which trees to hold out: those of the problems whose position lies below `fraction`.

    At least one problem where there are two, at most half of them; where a bound binds, those with the
    lowest places are taken. While none binds, adding problems moves no other to the other side.

    Args:
        places: `place` of every tree's `problem_key`; equal places are one problem.
        fraction: expected share held out, 0 < fraction <= 0.5.

    >>> held_out(np.array([7, 2**63, 7], np.uint64), fraction=0.1).tolist()
    [True, False, True]
    """
    if not 0.0 < fraction <= 0.5:
        raise ValueError(f"fraction {fraction}; allowed: above 0, at most 0.5")
    ranked = distinct(places)
    below = int(np.count_nonzero(positions(ranked) < fraction))
    count = min(max(below, 1), len(ranked) // 2)
    return places <= ranked[count - 1] if count else np.zeros(len(places), bool)


@dataclass(frozen=True, slots=True)
class Division:
    """One side of a file that is divided by problem.

    Attributes:
        fraction: share of the problems that is held out.
        seed: which ones.
        keep: whether this side is the problems held out or the rest.
    """

    fraction: float
    seed: int
    keep: Side

    def keeps(self, places: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which trees are on this side, by `place` of each with this division's seed."""
        out = held_out(places, fraction=self.fraction)
        return out if self.keep == "held_out" else ~out
