"""The last decoder layer, whose output is read at the wanted steps only: past its attention it computes nothing else.

No later layer looks at the other tokens, so their output projection, norm and MLP would be thrown away: five sixths
of one layer's products, of 36 in Qwen3-4B, and a larger share of a shallow model. Keys, values and queries stay those
of all tokens. The numbers are the same up to rounding.

Without a plan (rows of padded paths) the layer is the family's own.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from surestep.model.families import become, is_known
from surestep.model.fused import FusedAttention
from surestep.model.plan import AttentionPlan


class LastLayer:
    """Mixed in front of a family's decoder layer."""

    def forward(self: Any, hidden_states: Tensor, surestep_plan: AttentionPlan | None = None, **kwargs: Any) -> Tensor:
        """As the family's own; with a plan, [1, W, D] of [1, P, D]: the rows of `plan.batch.label_index_S`."""
        if surestep_plan is None:
            output: Tensor = super().forward(hidden_states, **kwargs)  # type: ignore[misc]
            return output
        wanted_W = surestep_plan.batch.label_index_S
        attended, _ = self.self_attn(
            hidden_states=self.input_layernorm(hidden_states), surestep_plan=surestep_plan, **kwargs
        )
        if not isinstance(self.self_attn, FusedAttention):
            attended = attended.index_select(1, wanted_W)
        hidden_states = hidden_states.index_select(1, wanted_W) + attended
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))  # type: ignore[no-any-return]


def narrow_last_layer(transformer: Any) -> bool:
    """Let the last layer compute wanted rows only, where its family is known; whether it is."""
    layers = getattr(transformer, "layers", None)
    if not layers or not is_known(layers[-1], "DecoderLayer"):
        return False
    if isinstance(layers[-1], LastLayer):
        return True
    become(layers[-1], LastLayer, {})
    if isinstance(layers[-1].self_attn, FusedAttention):
        # It picks the rows before its output projection.
        object.__setattr__(layers[-1].self_attn, "surestep_is_last", True)
    return True
