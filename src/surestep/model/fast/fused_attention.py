"""A family's attention over a pack in fewer and larger operations: same weights, same function, less memory traffic.

Queries, keys and values are one matrix product over weights that lie one after another; tensors keep the layout
[tokens, heads, head size] from the projections through the attention, so nothing is transposed.

Shapes: `P` tokens of the pack, `H` query heads, `K` key heads, `E` head dimension.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surestep.model.attention.executions import kernel_attention
from surestep.model.attention.interface import tree_attention
from surestep.model.attention.prepared_mask import KernelMask, PreparedMask
from surestep.model.fast.projection import Projection
from surestep.model.precision.fp8 import Fp8Rows


class FusedAttention:
    """Mixed in front of a family's attention class."""

    surestep_qkv: Projection
    surestep_o: Projection
    surestep_is_last: bool = False

    @property
    def surestep_reads_fp8(self) -> bool:
        """Whether it takes its input in 8 bits, too."""
        return self.surestep_qkv.reads_fp8

    def forward(
        self: Any,
        hidden_states: Tensor | Fp8Rows,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        surestep_mask: PreparedMask | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """As the family's own; with a plan, over one row of packed trees (in the last layer, its needed tokens)."""
        if surestep_mask is None:
            output: tuple[Tensor, Tensor | None] = super().forward(  # type: ignore[misc]
                hidden_states, position_embeddings, attention_mask, past_key_values, **kwargs
            )
            return output
        rows = hidden_states.squeeze(0) if isinstance(hidden_states, Tensor) else hidden_states
        joined = self.surestep_qkv(rows, self.training)
        mask = surestep_mask.kernel_mask
        has_kernel = mask is not None and joined.is_cuda and position_embeddings[0].shape[-1] == self.head_dim
        if has_kernel and surestep_mask.keys is None:
            attended = self._attend_in_kernel(mask, joined, *position_embeddings)
            return self._output(attended, surestep_mask)  # type: ignore[no-any-return]
        split = self._split_in_kernel if has_kernel else self._split
        query, key, value = split(joined, *position_embeddings)
        if mask is not None and surestep_mask.keys is None:
            # One operation that a compiler can leave where it is, so the layer stays whole.
            attended = kernel_attention(mask, query, key, value, self.scaling, self.surestep_window)
        else:
            attended, _ = tree_attention(
                self,
                query,
                key,
                value,
                None,
                surestep_mask=surestep_mask,
                scaling=self.scaling,
                sliding_window=self.surestep_window,
            )
        return self._output(attended.squeeze(0), surestep_mask)  # type: ignore[no-any-return]

    def _output(self: Any, attended: Tensor, surestep_mask: PreparedMask) -> tuple[Tensor, None]:
        attended = attended.flatten(-2)
        if self.surestep_is_last:
            attended = attended.index_select(0, surestep_mask.batch.label_index_S)
        return self.surestep_o(attended, self.training).unsqueeze(0), None

    def _split(self: Any, joined: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query [1, H, P, E], key and value [1, K, P, E] of `joined` [P, (H + 2 K) E], normed and rotated."""
        heads = joined.view(1, len(joined), -1, self.head_dim)
        num_key_heads = self.config.num_key_value_heads
        query, key, value = torch.split(heads, [self.config.num_attention_heads, num_key_heads, num_key_heads], dim=2)
        if hasattr(self, "q_norm"):
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = self.surestep_rotate(query, key, cos, sin, unsqueeze_dim=2)
        return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)

    def _split_in_kernel(self: Any, joined: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `_split`, by our own kernel; has no gradient."""
        from surestep.model.fast.heads.split_heads_kernel import split_heads

        query, key, value = split_heads(joined, *self._heads(cos, sin))
        return query.unsqueeze(0).transpose(1, 2), key.unsqueeze(0).transpose(1, 2), value.unsqueeze(0).transpose(1, 2)

    def _attend_in_kernel(self: Any, mask: KernelMask, joined: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """[P, H, E], by our own kernels."""
        from surestep.model.fast.heads.joined_attention import joined_attention

        scale = self.head_dim**-0.5 if self.scaling is None else self.scaling
        return joined_attention(joined, *self._heads(cos, sin), *mask, scale, self.surestep_window or 0)[0]  # type: ignore[no-any-return]

    def _heads(self: Any, cos: Tensor, sin: Tensor) -> tuple[Any, ...]:
        """How our kernels norm and rotate the heads of a joined product."""
        has_norms = hasattr(self, "q_norm")
        return (
            self.q_norm.weight if has_norms else None,
            self.k_norm.weight if has_norms else None,
            cos.squeeze(0),
            sin.squeeze(0),
            self.config.num_attention_heads,
            self.config.num_key_value_heads,
            self.q_norm.variance_epsilon if has_norms else 0.0,
        )
