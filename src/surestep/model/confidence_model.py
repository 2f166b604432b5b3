"""Backbone, `<CONFIDENCE>` row and head as one module: a pack of trees in, a logit per step out.

The token's embedding is a parameter of its own, laid over the backbone's embedding where its id stands. So it is
trained and saved alike under LoRA and in full, the embedding matrix is neither resized nor copied, and no id can
be out of range. Knows no text.

Shapes: `P` tokens of the pack, `S` needed steps, `D` hidden size, `R` rows of the path execution, `L` their length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from surestep.errors import BackboneError
from surestep.model.attention.executions import product_dtype
from surestep.model.attention.interface import TREE_ATTENTION
from surestep.model.attention.one_path_per_row import path_rows
from surestep.model.attention.prepared_mask import Execution, PreparedMask, prepare_mask
from surestep.model.backbones.rotary import fix_rotary_factors
from surestep.model.backbones.silence_transformers import silence_transformers
from surestep.model.fast.adapters.adapters import CopiedAdapters
from surestep.model.fast.decoder_layers import narrow_layers
from surestep.model.fast.fuse import can_fuse, fuse, projections
from surestep.model.head import ConfidenceHead
from surestep.model.precision.float32_weights import RoundedWeights, round_weights
from surestep.model.tree_batch import TreeBatch

Route = Execution | Literal["paths"]
Prepared = TreeBatch | PreparedMask
"""What a forward pass takes: a batch, or a batch with its mask already planned (see `prepare`)."""


def prepare(batch: TreeBatch, route: Route) -> Prepared:
    """`batch` as a model of this route runs it, its mask planned where the batch lies: on the CPU, in the loader."""
    return batch if route == "paths" else prepare_mask(batch, route)


class ConfidenceModel(nn.Module):
    """Scores every needed step of a pack in one forward pass.

    Args:
        backbone: a transformer without language-model head, or a PEFT model around one.
        head: reads the hidden states at the `<CONFIDENCE>` tokens.
        confidence_id: id of that token; need not have a row in the backbone's embedding.
        route: how the tree mask is executed; see `surestep.model.attention.interface`. `paths` runs every path as a row
            of its own, with the backbone's own attention.
        own_attention: name of the backbone's own attention implementation.

    Attributes:
        weights_version: how often `weights_changed` was called.
    """

    def __init__(
        self,
        backbone: Any,
        head: ConfidenceHead,
        *,
        confidence_id: int,
        route: Route = "dense",
        own_attention: str = "sdpa",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.confidence_id = confidence_id
        self.own_attention = own_attention
        embedding: Tensor = self.embedding.weight
        mean = embedding.detach().float().mean(0)
        # float32 whatever the backbone's dtype: an update of 1e-4 would vanish in bf16.
        self.confidence_row = nn.Parameter(mean.clone())
        # What the fused layers draw their dropout masks from; no part of what is saved.
        self.register_buffer("dropout_seed", torch.zeros((), dtype=torch.int32), persistent=False)
        self._rounded: list[RoundedWeights] = []
        self._adapters = CopiedAdapters([])
        self.weights_version = 0
        self.is_fused = False
        self.is_narrowed = False
        fix_rotary_factors(self.transformer)
        self.route: Route = route
        self.set_route(route)

    @property
    def embedding(self) -> Any:
        """The backbone's input embedding."""
        return self.backbone.get_input_embeddings()

    @property
    def transformer(self) -> Any:
        """The backbone without PEFT's wrapper, adapters in place."""
        return self.backbone.get_base_model() if hasattr(self.backbone, "get_base_model") else self.backbone

    def set_route(self, route: Route) -> None:
        """Choose the execution; the backbone's attention follows."""
        self.route = route
        implementation = self.own_attention if route == "paths" else TREE_ATTENTION
        with silence_transformers():  # a backbone that takes none but its own is what the probe is for
            self.transformer.set_attn_implementation(implementation)

    def fuse_layers(self) -> bool:
        """Let packs run through fused layers where the backbone's are known; whether they are."""
        if can_fuse(self.transformer):
            fuse(self.transformer, self.get_buffer("dropout_seed"))
            self.is_fused = True
        return self.is_fused

    def narrow_layers(self) -> bool:
        """Let the layers compute only what is read, where the backbone is known; whether it is. After fusing."""
        self.is_narrowed = narrow_layers(self.transformer)
        return self.is_narrowed

    def keep_rounded(self, dtype: torch.dtype | None) -> None:
        """Hold half-precision copies of trained float32 weights, instead of rounding them anew in every pass.

        Only for who then calls `weights_changed` after every update: an optimiser leaves no mark on weights that a
        pass could look for. `None` gives the copies up.
        """
        kept = (projection.keep_rounded(dtype) for projection in projections(self.transformer)) if self.is_fused else ()
        self._rounded = [rounded for rounded in kept if rounded is not None]
        self.weights_changed()

    def weights_changed(self) -> None:
        """Bring the copies of `keep_rounded` up to date; what was computed with the weights before is void."""
        self.weights_version += 1
        if self._rounded:
            round_weights(self._rounded)

    def forget_copies(self) -> None:
        """Let go of the adapters' rounded copies, and so of the weights that they lie beside; a pass finds them again.

        For who then holds weights otherwise: they would be in memory twice.
        """
        self._adapters = CopiedAdapters([])

    def forward(self, batch: Prepared) -> Tensor:
        """[S] logits of the needed steps, float32."""
        if self.is_fused and self.training:
            self.get_buffer("dropout_seed").random_()
        prepared = prepare(batch, self.route) if isinstance(batch, TreeBatch) else batch
        hidden_SD = self._packed(prepared) if isinstance(prepared, PreparedMask) else self._paths(prepared)
        logits: Tensor = self.head(hidden_SD)
        return logits

    def embed(self, tokens: Tensor) -> Tensor:
        """Token ids of any shape to embeddings, the `<CONFIDENCE>` row laid over its places.

        In the dtype of products: layers add what they compute to it, so with float32 weights under autocast the
        whole stream is in half precision, as it is where weights are.
        """
        is_confidence = tokens == self.confidence_id
        embedded: Tensor = self.embedding(tokens.masked_fill(is_confidence, 0))
        embedded = embedded.to(product_dtype(embedded))
        return torch.where(is_confidence[..., None], self.confidence_row.to(embedded.dtype), embedded)

    def _packed(self, plan: PreparedMask) -> Tensor:
        if self.is_fused:
            self._round_adapters()
        output = self.transformer(
            inputs_embeds=self.embed(plan.batch.tokens_P[None]),
            position_ids=plan.batch.positions_P[None],
            # A four-dimensional mask is passed on as it is; without one, transformers would search the
            # positions for packed sequences and find wrong ones in a tree.
            attention_mask=plan.batch.tokens_P.new_ones((1, 1, 1, 1), dtype=torch.bool),
            use_cache=False,
            surestep_mask=plan,
            **self._asked_for(),
        )
        read = self.head.input
        if not read.is_plain:
            states = [state[0] for state in _states(output, of_all=read.reads_layers)]
            picked: Tensor = read(states, plan.batch.label_index_S, plan.batch.step_length_S)
            return picked[: plan.num_needed]
        hidden: Tensor = output.last_hidden_state[0]
        if not self.is_narrowed:
            hidden = hidden.index_select(0, plan.batch.label_index_S)
        return hidden[: plan.num_needed]

    def _round_adapters(self) -> None:
        """Bring the copies that fused layers read up to date."""
        copies = [copies for one in projections(self.transformer) if (copies := one.copies) is not None]
        if copies != self._adapters.copies:
            self._adapters = CopiedAdapters(copies)
        self._adapters.bring_up_to_date()

    def _paths(self, batch: TreeBatch) -> Tensor:
        rows = path_rows(batch)
        output = self.transformer(
            inputs_embeds=self.embed(rows.tokens_RL),
            attention_mask=rows.mask_RL,
            use_cache=False,
            **self._asked_for(),
        )
        read = self.head.input
        if not read.is_plain:
            states = [state.flatten(0, 1) for state in _states(output, of_all=read.reads_layers)]
            last_S = rows.row_S * rows.tokens_RL.shape[1] + rows.column_S
            picked: Tensor = read(states, last_S, batch.step_length_S)
            return picked
        hidden: Tensor = output.last_hidden_state[rows.row_S, rows.column_S]
        return hidden

    def _asked_for(self) -> dict[str, bool]:
        """What the backbone gives besides the last layer's hidden states."""
        return {"output_hidden_states": True} if self.head.input.reads_layers else {}


def _states(output: Any, *, of_all: bool) -> Sequence[Tensor]:
    """The hidden states of all layers, or those of the last alone.

    Raises:
        BackboneError: the backbone does not give those of all.
    """
    if not of_all:
        return [output.last_hidden_state]
    states: Sequence[Tensor] | None = getattr(output, "hidden_states", None)
    if states is None:
        raise BackboneError("this backbone does not give the hidden states of its layers; use --head_layers last")
    return states
