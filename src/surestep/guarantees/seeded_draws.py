"""Draws that depend on a seed and a problem alone: the order of problems, and other problems, change none of them."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable


def drawn_number(seed: int, key: Hashable, purpose: str = "") -> int:
    """A number among 2^64, as good as any other, and the same for ever.

    Args:
        seed: decides all draws together.
        key: of the problem; what is written alike is one.
        purpose: draws of different purposes go apart.

    >>> drawn_number(0, 7) == drawn_number(0, 7) != drawn_number(0, 7, "order")
    True
    """
    text = f"{seed}:{purpose}:{key}" if purpose else f"{seed}:{key}"
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
