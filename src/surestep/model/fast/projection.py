"""Decoder layers that run a pack in fewer and larger operations: same weights, same function, less memory traffic.

Queries, keys and values are one matrix product over weights that lie one after another; the adapters of layers with
the same input share one product and one dropout mask; tensors keep the layout [tokens, heads, head size] from the
projections through the attention, so nothing is transposed. (Gate and up stay apart: joined, the backward pass of
their product reads everything twice; measured in docs/experiments.) Written for the layout that Llama, Mistral,
Qwen2 and Qwen3 share; other backbones keep their own layers.

Only the class of a module is exchanged: its parameters, their names and what is saved stay as they were. Without a
plan (rows of padded paths) a module computes as its own class does, which is what the probe compares with.

Shapes: `P` tokens of the pack, `D` width of the input, `N` outputs of all layers of a projection, `R` their ranks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import SiLUActivation

from surestep.model.attention.interface import TREE_ATTENTION, kernel_attention, product_dtype, tree_attention
from surestep.model.attention.plan import AttentionPlan
from surestep.model.backbones.families import become, is_known
from surestep.model.fast.adapter_linear import adapted_linear
from surestep.model.fast.hashed_dropout import drop
from surestep.model.precision.float32_weights import RoundedWeights, trained_linear, trained_pair
from surestep.model.precision.fp8 import LONGEST_ROW, Fp8Rows, Fp8Weight
from surestep.model.precision.fp8_mlp import Fp8Mlp


@dataclass(frozen=True)
class Adapter:
    """Low-rank weights of one layer: its output gains `scale` · B A x."""

    a: nn.Parameter
    b: nn.Parameter
    scale: float


class Projection:
    """Linear layers that read the same input, as one.

    Args:
        layers: `nn.Linear`, or PEFT's LoRA layers around such.
        seed: int32 scalar of the whole model, drawn anew for every pass in training.
        number: another one for every projection of a model: their dropout masks differ.
    """

    def __init__(self, layers: Sequence[Any], seed: Tensor, number: int) -> None:
        self.bases: list[nn.Linear] = [getattr(layer, "base_layer", layer) for layer in layers]
        self.adapters: list[Adapter | None] = [_adapter_of(layer) for layer in layers]
        self.dropout = max(_dropout_of(layer) for layer in layers)
        self.sizes = [base.out_features for base in self.bases]
        # Parameters, so that a compiler takes their sizes for fixed.
        self.fp8: Fp8Weight | None = None
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None
        self.rounded: RoundedWeights | None = None
        self.seed = seed
        self.salt = torch.tensor(2 * number, dtype=torch.int32, device=seed.device)
        if not any(base.weight.requires_grad for base in self.bases):
            self._lay_together()

    def _lay_together(self) -> None:
        """Put frozen weights into one tensor; the layers keep views of it, so memory stays as it was."""
        if len(self.bases) == 1:
            self.weight, self.bias = self.bases[0].weight, self.bases[0].bias
            return
        self.weight = _frozen([base.weight for base in self.bases])
        for base, part in zip(self.bases, torch.split(self.weight.detach(), self.sizes), strict=True):
            base.weight.data = part
        if self.bases[0].bias is not None:
            self.bias = _frozen([base.bias for base in self.bases])

    def __call__(self, x_PD: Tensor | Fp8Rows, training: bool) -> Tensor:
        """[P, N], the layers' outputs side by side; in training, the adapters' input is dropped out."""
        if isinstance(x_PD, Fp8Rows):
            assert self.fp8 is not None
            return self.fp8.of_rows(x_PD, self.bias)
        if not any(self.adapters):
            return self._base(x_PD)
        dropped_PD = drop(x_PD, self.seed + self.salt, self.dropout) if training and self.dropout > 0 else x_PD
        low_PR = F.linear(dropped_PD, torch.cat([adapter.a for adapter in self.adapters if adapter is not None]))
        b_NR = self._b().to(low_PR.dtype)
        if self.fp8 is not None:
            return self.fp8(x_PD.to(low_PR.dtype), self.bias, low_PR, b_NR)
        if self.weight is None:
            return torch.addmm(self._base(x_PD), low_PR, b_NR.t())
        dtype = self.weight.dtype
        y_PN: Tensor = adapted_linear(x_PD.to(dtype), self.weight, self.bias, low_PR.to(dtype), b_NR.to(dtype))
        return y_PN

    def _base(self, x_PD: Tensor) -> Tensor:
        if self.fp8 is not None:
            return self.fp8(x_PD.to(product_dtype(x_PD)), self.bias)
        if self.weight is not None:
            return F.linear(x_PD, self.weight, self.bias)
        # Weights in training stay apart; joined here, they are cast to half precision in the same kernel.
        weights = [base.weight for base in self.bases]
        bias = None if self.bases[0].bias is None else _joined([base.bias for base in self.bases])
        dtype = product_dtype(x_PD)
        if not self._rounds(dtype):
            return F.linear(x_PD, _joined(weights), bias)
        bias = None if bias is None else bias.to(dtype)
        y_PN: Tensor = trained_linear(x_PD.to(dtype), self.in_half(dtype), weights, bias)
        return y_PN

    def in_half(self, dtype: torch.dtype) -> Tensor:
        """[N, D]: trained weights joined, in `dtype`: the copy of them, or rounded anew."""
        if self.rounded is not None:
            return self.rounded.joined
        return _joined([base.weight.detach() for base in self.bases]).to(dtype)

    def keep_rounded(self, dtype: torch.dtype | None) -> RoundedWeights | None:
        """A copy of trained weights in `dtype`, from now on what products read; None where there is nothing to round.

        Its numbers are the caller's task. Without a `dtype`, every pass rounds the weights for itself again.
        """
        self.rounded = None
        if dtype is not None and self._rounds(dtype):
            self.rounded = RoundedWeights([base.weight for base in self.bases], dtype)
        return self.rounded

    def _rounds(self, dtype: torch.dtype) -> bool:
        is_full = self.weight is None and all(base.weight.dtype == torch.float32 for base in self.bases)
        return is_full and dtype != torch.float32

    def is_only_a_trained_weight(self, dtype: torch.dtype) -> bool:
        """Whether it is one trained weight, multiplied in `dtype` but held in more, without bias and adapter."""
        is_one = len(self.bases) == 1 and self.bases[0].bias is None and not any(self.adapters)
        return is_one and self._rounds(dtype)

    def freeze(self, dtype: torch.dtype) -> bool:
        """Hold trained weights in `dtype` and frozen from now on; whether there were any in another."""
        if not self._rounds(dtype):
            return False
        self.rounded = None
        for base in self.bases:
            base.weight = nn.Parameter(base.weight.detach().to(dtype), requires_grad=False)
            if base.bias is not None:
                base.bias = nn.Parameter(base.bias.detach().to(dtype), requires_grad=False)
        self._lay_together()
        return True

    def drop_adapters(self) -> None:
        """Compute without adapters from now on: they were merged into the weights."""
        self.adapters = [None] * len(self.adapters)

    def to_fp8(self) -> None:
        """Run the frozen weights in 8-bit floats from now on.

        Raises:
            ValueError: as `check_fp8`.
        """
        self.check_fp8()
        assert self.weight is not None
        self.fp8 = Fp8Weight(self.weight.detach())

    def check_fp8(self) -> None:
        """Whether 8-bit floats can hold the weights.

        Raises:
            ValueError: they are trained, or a size is no multiple of 16, as the kernels want, or too large.
        """
        if self.weight is None:
            raise ValueError("only frozen weights can be held in fp8")
        if any(size % 16 for size in self.weight.shape):
            raise ValueError(f"fp8 needs sizes in multiples of 16, this weight has {tuple(self.weight.shape)}")
        if max(self.weight.shape) > LONGEST_ROW:
            raise ValueError(f"fp8 takes rows of up to {LONGEST_ROW}, this weight has {tuple(self.weight.shape)}")

    def _b(self) -> Tensor:
        """[N, R]: the layers' B, scaled, each beside the ranks of its own A."""
        ranks = [0 if adapter is None else adapter.a.shape[0] for adapter in self.adapters]
        rows, before = [], 0
        for adapter, size, rank in zip(self.adapters, self.sizes, ranks, strict=True):
            if adapter is None:
                rows.append(self.bases[0].weight.new_zeros((size, sum(ranks)), dtype=torch.float32))
            else:
                rows.append(F.pad(adapter.b * adapter.scale, (before, sum(ranks) - before - rank)))
            before += rank
        return torch.cat(rows)

    @property
    def reads_fp8(self) -> bool:
        """Whether it takes `Fp8Rows`: adapters would want the input in half precision beside them."""
        return self.fp8 is not None and not any(self.adapters)

    @property
    def is_only_a_frozen_weight(self) -> bool:
        """Whether there is neither a bias nor an adapter."""
        return self.weight is not None and self.bias is None and not any(self.adapters)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _frozen(parts: list[Tensor]) -> nn.Parameter:
    return nn.Parameter(torch.cat([part.detach() for part in parts]), requires_grad=False)


def _adapter_of(layer: Any) -> Adapter | None:
    if not hasattr(layer, "lora_A"):
        return None
    (name,) = layer.active_adapters
    return Adapter(layer.lora_A[name].weight, layer.lora_B[name].weight, float(layer.scaling[name]))


def _dropout_of(layer: Any) -> float:
    if not hasattr(layer, "lora_dropout"):
        return 0.0
    (name,) = layer.active_adapters
    return float(getattr(layer.lora_dropout[name], "p", 0.0))


class FusedAttention:
    """Mixed in front of a family's attention class."""

    surestep_qkv: Projection
    surestep_o: Projection
    surestep_attend: Callable[..., tuple[Tensor, None]] = staticmethod(tree_attention)
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
        surestep_plan: AttentionPlan | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """As the family's own; with a plan, over one row of packed trees (in the last layer, its wanted tokens)."""
        if surestep_plan is None:
            output: tuple[Tensor, Tensor | None] = super().forward(  # type: ignore[misc]
                hidden_states, position_embeddings, attention_mask, past_key_values, **kwargs
            )
            return output
        rows = hidden_states.squeeze(0) if isinstance(hidden_states, Tensor) else hidden_states
        joined = self.surestep_qkv(rows, self.training)
        mask = surestep_plan.kernel_mask
        has_kernel = mask is not None and joined.is_cuda and position_embeddings[0].shape[-1] == self.head_dim
        split = self._split_in_kernel if has_kernel else self._split
        query, key, value = split(joined, *position_embeddings)
        if mask is not None:
            # One operation that a compiler can leave where it is, so the layer stays whole.
            attended = kernel_attention(mask, query, key, value, self.scaling, self.surestep_window)
        else:
            attended, _ = self.surestep_attend(
                self,
                query,
                key,
                value,
                None,
                surestep_plan=surestep_plan,
                scaling=self.scaling,
                sliding_window=self.surestep_window,
            )
        attended = attended.squeeze(0).flatten(-2)
        if self.surestep_is_last:
            attended = attended.index_select(0, surestep_plan.batch.label_index_S)
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
        """As `_split`, by our own kernel."""
        from surestep.model.fast.split_heads_kernel import split_heads

        has_norms = hasattr(self, "q_norm")
        query, key, value = split_heads(
            joined,
            self.q_norm.weight if has_norms else None,
            self.k_norm.weight if has_norms else None,
            cos.squeeze(0),
            sin.squeeze(0),
            self.config.num_attention_heads,
            self.config.num_key_value_heads,
            self.q_norm.variance_epsilon if has_norms else 0.0,
        )
        return query.unsqueeze(0).transpose(1, 2), key.unsqueeze(0).transpose(1, 2), value.unsqueeze(0).transpose(1, 2)


class FusedMLP:
    """Mixed in front of a family's gated MLP class."""

    surestep_gate: Projection
    surestep_up: Projection
    surestep_down: Projection
    surestep_fp8: Fp8Mlp | None = None

    @property
    def surestep_reads_fp8(self) -> bool:
        """Whether it takes its input in 8 bits, too."""
        return self.surestep_fp8 is not None

    def forward(self: Any, x: Tensor | Fp8Rows) -> Tensor:
        """As the family's own, over one row or several; of `Fp8Rows` over one."""
        if isinstance(x, Fp8Rows):
            return self.surestep_fp8.of_rows(x).unsqueeze(0)  # type: ignore[no-any-return]
        rows = x.flatten(0, -2)
        if self.surestep_fp8 is not None:
            return self.surestep_fp8(rows.to(product_dtype(rows))).view_as(x)  # type: ignore[no-any-return]
        gate, up = self._gate_and_up(rows)
        return self.surestep_down(self.act_fn(gate) * up, self.training).view_as(x)  # type: ignore[no-any-return]

    def _gate_and_up(self: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
        both, dtype = (self.surestep_gate, self.surestep_up), product_dtype(rows)
        if torch.is_grad_enabled() and all(part.is_only_a_trained_weight(dtype) for part in both):
            halves, weights = [part.in_half(dtype) for part in both], [part.bases[0].weight for part in both]
            return trained_pair(rows.to(dtype), *halves, *weights)  # type: ignore[no-any-return]
        gate, up = (part(rows, self.training) for part in both)
        return gate, up


def can_fuse(transformer: Any) -> bool:
    """Whether this transformer's layers are of a family that is known here."""
    layers = getattr(transformer, "layers", None)
    if not layers:
        return False
    return all(
        is_known(layer.self_attn, "Attention")
        and is_known(layer.mlp, "MLP")
        and all(_is_plain(part) for part in _linear_layers(layer))
        for layer in layers
    )


def projections(transformer: Any) -> Iterator[Projection]:
    """Every projection of a fused transformer."""
    for layer in transformer.layers:
        yield from (layer.self_attn.surestep_qkv, layer.self_attn.surestep_o)
        yield from (layer.mlp.surestep_gate, layer.mlp.surestep_up, layer.mlp.surestep_down)


def hold_in_fp8(transformer: Any) -> None:
    """Run the frozen weights of fused layers in 8-bit floats from now on.

    Raises:
        ValueError: they are trained, or of sizes that the kernels do not take.
    """
    for layer in transformer.layers:
        mlp = layer.mlp
        parts = mlp.surestep_gate, mlp.surestep_up, mlp.surestep_down
        is_whole = all(part.is_only_a_frozen_weight for part in parts) and isinstance(
            mlp.act_fn, nn.SiLU | SiLUActivation
        )
        for projection in (layer.self_attn.surestep_qkv, layer.self_attn.surestep_o, *(() if is_whole else parts)):
            projection.to_fp8()
        if is_whole:
            for part in parts:
                part.check_fp8()
            object.__setattr__(mlp, "surestep_fp8", Fp8Mlp(*(part.weight.detach() for part in parts)))


def compile_layers(transformer: Any, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile every decoder layer, for packs of any length; the first pass of each kind then takes a while.

    Attention other than our own kernel's stays outside: its plan differs from pack to pack.
    """
    import torch._dynamo
    import torch._dynamo.config
    import torch._inductor.config
    import torch.fx.experimental._config

    # Left to itself, a compiler for any length takes every Python float, too, for one that may change: each becomes a
    # tensor on the CPU, and a C++ program is written, compiled and loaded for their arithmetic.
    torch._dynamo.config.specialize_float = True
    # Sizes that are equal in the first pass would be taken for one: as many wanted steps as a head has numbers, and any
    # other count of steps compiles anew, in a recording, too, which that breaks off.
    torch.fx.experimental._config.use_duck_shape = False
    if torch.cuda.is_available():
        # Should a program for the CPU be needed all the same: which vector instructions there are is asked in every
        # new process by compiling and running five small ones. The processor's own list is trusted instead.
        torch._inductor.config.cpp.vec_isa_ok = True
    attend = torch._dynamo.disable(tree_attention)  # type: ignore[no-untyped-call]
    from transformers import AttentionInterface

    AttentionInterface.register(TREE_ATTENTION, attend)
    for layer in transformer.layers:
        if isinstance(layer.self_attn, FusedAttention):
            object.__setattr__(layer.self_attn, "surestep_attend", attend)
        layer.compile(dynamic=True, backend=backend)


def _linear_layers(layer: Any) -> list[Any]:
    attention, mlp = layer.self_attn, layer.mlp
    return [
        *(attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj),
        *(mlp.gate_proj, mlp.up_proj, mlp.down_proj),
    ]


def _is_plain(layer: Any) -> bool:
    """Whether it is a linear layer, alone or with one plain adapter."""
    base = getattr(layer, "base_layer", layer)
    if type(base) is not nn.Linear:
        return False
    adapters = getattr(layer, "active_adapters", [])
    return len(adapters) <= 1 and not getattr(layer, "merged", False) and not getattr(layer, "lora_variant", None)


def fuse(transformer: Any, seed: Tensor) -> None:
    """Exchange the classes of attention and MLP modules; call it once, with adapters in place and on its device.

    `seed` is an int32 scalar on that device; whoever trains draws it anew before every pass.
    """
    for number, layer in enumerate(transformer.layers):
        attention, mlp = layer.self_attn, layer.mlp
        fused = {
            "surestep_qkv": Projection([attention.q_proj, attention.k_proj, attention.v_proj], seed, 5 * number),
            "surestep_o": Projection([attention.o_proj], seed, 5 * number + 1),
            # Mistral reads it from the configuration, where Qwen2 and Qwen3 decide it layer by layer.
            "surestep_window": getattr(attention, "sliding_window", getattr(attention.config, "sliding_window", None)),
            "surestep_rotate": sys.modules[type(attention).__module__].apply_rotary_pos_emb,
        }
        become(attention, FusedAttention, fused)
        fused = {
            "surestep_gate": Projection([mlp.gate_proj], seed, 5 * number + 2),
            "surestep_up": Projection([mlp.up_proj], seed, 5 * number + 3),
            "surestep_down": Projection([mlp.down_proj], seed, 5 * number + 4),
        }
        become(mlp, FusedMLP, fused)
