"""The keys of a pass whose tokens stand below others that an earlier pass has computed.

Every token has an index on an axis of keys. It holds, for each tree of the pass, the tokens above it and then its new
ones:

    keys       [prefix of tree 0][new tokens of tree 0][prefix of tree 1][new tokens of tree 1] ...
    queries                      [new tokens of tree 0]                  [new tokens of tree 1] ...

A key of a prefix is seen to the end of its tree, and on this axis the mask is what it always is: a query `q` sees a key
`k` iff `k <= q < subtree_end[k]`. So chains, branches and candidates under one prefix are one case.

Shapes: `P` new tokens (the queries, padded), `W` of them that are no padding, `V` tokens of the axis, `B` trees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from surestep.model.key_value_pool import KeyValuePool
from surestep.model.to_device import to_device


@dataclass(frozen=True)
class KeyAxis:
    """The tokens that a pass can see.

    Attributes:
        subtree_end_V: int64, index on this axis just past the last token below each token.
        positions_V: int64 depth of each token along its path.
        prefix_B: how many tokens stand above each tree.
    """

    subtree_end_V: Tensor
    positions_V: Tensor
    prefix_B: tuple[int, ...]


@dataclass(frozen=True)
class PooledKeys:
    """Where a pass finds the keys above its trees, and where it leaves its own.

    Attributes:
        pool: what holds them.
        axis: their mask.
        slots_V: int64, the slot of each token of the axis.
        slots_W: int64, the slot that each new token is written to.
        index_P: int32, the place of each query on the axis; for the kernel only.
    """

    pool: KeyValuePool
    axis: KeyAxis
    slots_V: Tensor
    slots_W: Tensor
    index_P: Tensor | None = None

    def to(self, device: torch.device) -> PooledKeys:
        """The same on `device`; the axis stays where it is, for it is read while a pass is planned."""
        return replace(
            self,
            slots_V=to_device(self.slots_V, device),
            slots_W=to_device(self.slots_W, device),
            index_P=None if self.index_P is None else to_device(self.index_P, device),
        )

    def pinned(self) -> PooledKeys:
        """The same in page-locked memory."""
        return replace(
            self,
            slots_V=self.slots_V.pin_memory(),
            slots_W=self.slots_W.pin_memory(),
            index_P=None if self.index_P is None else self.index_P.pin_memory(),
        )

    def write(self, module: Any, key: Tensor, value: Tensor) -> None:
        """Leave a layer's new keys [1, K, P, E] and values in the pool."""
        self.pool.write(module, self.slots_W, key, value)

    def exchange(self, module: Any, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Leave a layer's new keys [1, K, P, E] and values in the pool, and get those of the axis, [1, K, V, E]."""
        self.write(module, key, value)
        return self.pool.gather(module, self.slots_V)
