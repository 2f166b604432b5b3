"""What a forward pass takes: the tokens of a pack and the two numbers that shape its mask.

Shapes: `P` tokens of the pack, `S` needed steps, `B` trees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from surestep.model.to_device import to_device


@dataclass(frozen=True)
class TreeBatch:
    """Trees laid one after another; a query `q` sees a key `k` iff `k <= q < subtree_end[k]`.

    Attributes:
        tokens_P: int64 token ids.
        positions_P: int64 depth of each token along its path.
        subtree_end_P: int64 index just past the last token of the token's subtree.
        tree_starts: where each tree begins in the pack, and the end of the last; `B + 1` integers.
        label_index_S: int64 index of the `<CONFIDENCE>` token of each needed step.
        step_length_S: int64 tokens of each needed step, that one included, where a head pools over them.
    """

    tokens_P: Tensor
    positions_P: Tensor
    subtree_end_P: Tensor
    tree_starts: tuple[int, ...]
    label_index_S: Tensor
    step_length_S: Tensor | None = None

    def to(self, device: torch.device) -> TreeBatch:
        """The same batch on `device`; from pinned memory the copy does not wait."""
        return replace(
            self,
            tokens_P=to_device(self.tokens_P, device),
            positions_P=to_device(self.positions_P, device),
            subtree_end_P=to_device(self.subtree_end_P, device),
            label_index_S=to_device(self.label_index_S, device),
            step_length_S=None if self.step_length_S is None else to_device(self.step_length_S, device),
        )

    def pinned(self) -> TreeBatch:
        """The same batch in page-locked memory."""
        return replace(
            self,
            tokens_P=self.tokens_P.pin_memory(),
            positions_P=self.positions_P.pin_memory(),
            subtree_end_P=self.subtree_end_P.pin_memory(),
            label_index_S=self.label_index_S.pin_memory(),
            step_length_S=None if self.step_length_S is None else self.step_length_S.pin_memory(),
        )

    def padded(self, multiple: int) -> TreeBatch:
        """The batch filled up to a multiple of `multiple` tokens; padding tokens see only themselves."""
        num_tokens = len(self.tokens_P)
        missing = -num_tokens % multiple
        if missing == 0:
            return self
        ends = torch.arange(num_tokens + 1, num_tokens + missing + 1, device=self.subtree_end_P.device)
        return replace(
            self,
            tokens_P=F.pad(self.tokens_P, (0, missing)),
            positions_P=F.pad(self.positions_P, (0, missing)),
            subtree_end_P=torch.cat([self.subtree_end_P, ends]),
            tree_starts=(*self.tree_starts, num_tokens + missing),
        )

    def padded_labels(self, multiple: int) -> TreeBatch:
        """The batch with its needed steps filled up to a multiple of `multiple`, at least one, by the first token."""
        num_needed = len(self.label_index_S)
        missing = multiple - num_needed if num_needed < multiple else -num_needed % multiple
        return self.more_labels(missing) if missing else self

    def more_labels(self, count: int) -> TreeBatch:
        """The batch with `count` more needed steps, each the first token alone."""
        lengths = None if self.step_length_S is None else F.pad(self.step_length_S, (0, count), value=1)
        return replace(self, label_index_S=F.pad(self.label_index_S, (0, count)), step_length_S=lengths)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Start and end of each tree."""
        return list(zip(self.tree_starts[:-1], self.tree_starts[1:], strict=True))
