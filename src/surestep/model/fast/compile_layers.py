"""Compiles decoder layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from surestep.model.attention.interface import TREE_ATTENTION, tree_attention
from surestep.model.fast.fused_attention import FusedAttention


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
