"""The tree mask as one whole matrix: what every execution of the attention is compared with."""

from __future__ import annotations

import torch
from torch import Tensor


def dense_mask(subtree_end: Tensor, positions: Tensor, window: int | None = None) -> Tensor:
    """bool [P, P]: whether row (query) sees column (key).

    >>> dense_mask(torch.tensor([3, 2, 3]), torch.tensor([0, 1, 1])).int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    """
    index = torch.arange(len(subtree_end), device=subtree_end.device)
    query, key = index[:, None], index[None, :]
    seen = (key <= query) & (query < subtree_end[None, :])
    if window is not None:
        # A sliding window looks back along the path, not along the pack.
        seen &= positions[:, None] - positions[None, :] < window
    return seen
