"""Decoder layers of known families are given attention and MLP of fewer and larger operations.

Written for the layout that Llama, Mistral, Qwen2 and Qwen3 share; other backbones keep their own layers.

Only the class of a module is exchanged: its parameters, their names and what is saved stay as they were. Without a
plan (rows of padded paths) a module computes as its own class does, which is what the probe compares with.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from transformers.activations import SiLUActivation

from surestep.model.attention.interface import window_of_layer
from surestep.model.backbones.families import exchange_class, is_known
from surestep.model.fast.fused_attention import FusedAttention
from surestep.model.fast.fused_mlp import FusedMLP
from surestep.model.fast.projection import Projection, check_fp8_sizes
from surestep.model.precision.fp8 import LONGEST_ROW
from surestep.model.precision.fp8_mlp import Fp8Mlp


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
        yield from (*layer.mlp.surestep_gates, layer.mlp.surestep_down)


def fuse(transformer: Any, seed: Tensor) -> None:
    """Exchange the classes of attention and MLP modules; call it once, with adapters in place and on its device.

    `seed` is an int32 scalar on that device; the training loop draws it again before every pass.
    """
    for number, layer in enumerate(transformer.layers):
        attention, mlp = layer.self_attn, layer.mlp
        fused = {
            "surestep_qkv": Projection([attention.q_proj, attention.k_proj, attention.v_proj], seed, 5 * number),
            "surestep_o": Projection([attention.o_proj], seed, 5 * number + 1),
            "surestep_window": window_of_layer(attention),
            "surestep_rotate": sys.modules[type(attention).__module__].apply_rotary_pos_emb,
        }
        exchange_class(attention, FusedAttention, fused)
        gates = _gates(mlp, seed, 5 * number + 2)
        # Where the whole MLP is one operation, what down reads is written with room for its adapters' product.
        has_room = len(gates) == 1 and gates[0].is_adapted_alone
        down = Projection([mlp.down_proj], seed, 5 * number + 4, has_room=has_room)
        exchange_class(mlp, FusedMLP, {"surestep_gates": gates, "surestep_down": down})


def hold_in_fp8(transformer: Any) -> None:
    """Run the frozen weights of fused layers in 8-bit floats from now on.

    Raises:
        ValueError: they are trained, or of sizes that the kernels do not take.
    """
    for layer in transformer.layers:
        mlp = layer.mlp
        parts = *mlp.surestep_gates, mlp.surestep_down
        is_whole = all(part.is_frozen_alone for part in parts) and _is_silu(mlp)
        if not is_whole and sum(gate.num_outputs for gate in mlp.surestep_gates) > LONGEST_ROW:
            # As one, their gradient would be rows that are too long to be scaled.
            object.__setattr__(mlp, "surestep_gates", tuple(one for gate in mlp.surestep_gates for one in gate.apart()))
            parts = *mlp.surestep_gates, mlp.surestep_down
        for projection in (layer.self_attn.surestep_qkv, layer.self_attn.surestep_o, *(() if is_whole else parts)):
            projection.to_fp8()
        if is_whole:
            weights = [layer.weight.detach() for part in parts for layer in part.layers]
            for weight in weights:
                check_fp8_sizes(weight)
            object.__setattr__(mlp, "surestep_fp8", Fp8Mlp(*weights))


def _gates(mlp: Any, seed: Tensor, number: int) -> tuple[Projection, ...]:
    """Gate and up: as one where they are frozen, of one layout and gated as `gated_product` does, else as two."""
    gate, up = mlp.gate_proj, mlp.up_proj
    bases = [getattr(layer, "base_layer", layer) for layer in (gate, up)]
    is_frozen = not any(parameter.requires_grad for base in bases for parameter in base.parameters())
    if is_frozen and _is_silu(mlp) and (bases[0].bias is None) == (bases[1].bias is None):
        return (Projection([gate, up], seed, number),)
    return Projection([gate], seed, number), Projection([up], seed, number + 1)


def _is_silu(mlp: Any) -> bool:
    return isinstance(mlp.act_fn, nn.SiLU | SiLUActivation)


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
