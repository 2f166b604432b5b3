"""Holding problems out of a file, the same ones every time.

Knows problem keys and a seed; knows no dataset. A problem's side depends on a hash of the seed and its
own key, so neither the order of the file nor a problem added later moves it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def position(seed: int, key: str) -> float:
    """Where a problem stands in [0, 1), from SHA-256 of seed and key: uniform, and fixed for ever.

    >>> 0.0 <= position(0, "1 + 1") < 1.0
    True
    """
    digest = hashlib.sha256(f"{seed}\x00{key}".encode()).digest()
    # 53 bits are what a float holds exactly; more could round up to 1.0.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def held_out(keys: Iterable[str], *, fraction: float, seed: int) -> frozenset[str]:
    """The problems to hold out: those whose position lies below `fraction`.

    At least one where there are two problems, at most half of them; where a bound binds, those with the
    lowest positions are taken. While none binds, adding problems moves no other to the other side.

    Args:
        keys: `ReasoningTree.problem_key` of every tree; repeats are one problem.
        fraction: expected share held out, 0 < fraction <= 0.5.
        seed: another seed holds out others.

    >>> len(held_out(["a", "b", "c"], fraction=0.0001, seed=0)), len(held_out(["a"], fraction=0.5, seed=0))
    (1, 0)
    """
    if not 0.0 < fraction <= 0.5:
        raise ValueError(f"fraction {fraction}; allowed: above 0, at most 0.5")
    # The key breaks ties, so that the order never depends on that of the file.
    ranked = sorted((position(seed, key), key) for key in set(keys))
    below = sum(place < fraction for place, _ in ranked)
    return frozenset(key for _, key in ranked[: min(max(below, 1), len(ranked) // 2)])
