"""Decoder layers of known families around their attention and MLP: what no later layer reads is not computed.

A layer ends in a sum that the next one reads for its norm. It is handed over in two parts, so that a compiler adds
them in the norm's kernel instead of writing the sum and reading it again. With gradient checkpointing a layer keeps
what it is handed, and the sum is half as much: there it is made at once.

The last layer's output is read at the needed steps only: past its attention it computes nothing else. The other
tokens' output projection, norm and MLP would be thrown away: five sixths of one layer's products, of 36 in Qwen3-4B,
and a larger share of a shallow model. Keys, values and queries stay those of all tokens.

The numbers are the same up to rounding. Without a plan (rows of padded paths) layers are the family's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surestep.model.attention.prepared_mask import PreparedMask
from surestep.model.backbones.families import exchange_class, is_known
from surestep.model.fast.fused_attention import FusedAttention
from surestep.model.fast.sum_norm import States, summed_and_normed


class OpenLayer:
    """Mixed in front of a family's decoder layer: with a plan, its output is a sum that nobody has added yet."""

    def forward(self: Any, hidden_states: States, surestep_mask: PreparedMask | None = None, **kwargs: Any) -> States:
        """As the family's own; with a plan, in two parts."""
        if surestep_mask is None:
            output: Tensor = super().forward(hidden_states, **kwargs)  # type: ignore[misc]
            return output
        summed, normed = summed_and_normed(hidden_states, self.input_layernorm, in_fp8=_reads_fp8(self.self_attn))
        attended, _ = self.self_attn(hidden_states=normed, surestep_mask=surestep_mask, **kwargs)
        both = summed, attended
        summed, normed = summed_and_normed(both, self.post_attention_layernorm, in_fp8=_reads_fp8(self.mlp))
        transformed = self.mlp(normed)
        if self.gradient_checkpointing and self.training:
            return summed + transformed  # type: ignore[no-any-return]
        return summed, transformed


class LastLayer:
    """Mixed in front of a family's decoder layer."""

    def forward(self: Any, hidden_states: States, surestep_mask: PreparedMask | None = None, **kwargs: Any) -> Tensor:
        """As the family's own; with a plan, [1, W, D] of [1, P, D]: the rows of `plan.batch.label_index_S`."""
        if surestep_mask is None:
            output: Tensor = super().forward(hidden_states, **kwargs)  # type: ignore[misc]
            return output
        needed_W = surestep_mask.batch.label_index_S
        summed, normed = summed_and_normed(hidden_states, self.input_layernorm, in_fp8=_reads_fp8(self.self_attn))
        attended, _ = self.self_attn(hidden_states=normed, surestep_mask=surestep_mask, **kwargs)
        if not isinstance(self.self_attn, FusedAttention):
            attended = attended.index_select(1, needed_W)
        summed = summed.index_select(1, needed_W) + attended
        return summed + self.mlp(self.post_attention_layernorm(summed))  # type: ignore[no-any-return]


def _reads_fp8(module: Any) -> bool:
    """Whether it takes its input in 8 bits: fused modules whose weights are, while nothing is trained."""
    return getattr(module, "surestep_reads_fp8", False) and not torch.is_grad_enabled()


def narrow_layers(transformer: Any) -> bool:
    """Let the layers compute only what is read, where their family is known; whether it is."""
    layers = getattr(transformer, "layers", None)
    if not layers:
        return False
    if isinstance(layers[-1], LastLayer):
        return True
    if not all(is_known(layer, "DecoderLayer") for layer in layers):
        return False
    for layer in layers[:-1]:
        exchange_class(layer, OpenLayer, {})
    exchange_class(layers[-1], LastLayer, {})
    if isinstance(layers[-1].self_attn, FusedAttention):
        # It picks the rows before its output projection.
        object.__setattr__(layers[-1].self_attn, "surestep_is_last", True)
    return True
