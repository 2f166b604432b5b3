"""Compiles decoder layers, without touching the settings of the process.

What the compiler needs is set around each call of a compiled layer, in which it may compile, and is as before after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def compile_layers(transformer: Any, backend: str | Callable[..., Any] = "inductor") -> bool:
    """Compile every decoder layer, for packs of any length; the first pass of each kind then takes a while.

    Attention other than our own kernel's stays outside (see `tree_attention`). Returns whether it was done: not
    where the transformer has no `layers`.
    """
    layers = getattr(transformer, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        return False
    options: dict[str, Any] = {}
    if backend == "inductor" and torch.cuda.is_available():
        # Should a program for the CPU be needed all the same: which vector instructions there are is asked in every
        # new process by compiling and running five small ones. The processor's own list is trusted instead.
        options["options"] = {"cpp.vec_isa_ok": True}
    for layer in layers:
        layer._compiled_call_impl = _with_settings(
            torch.compile(layer._call_impl, dynamic=True, backend=backend, **options)
        )
    return True


def _with_settings(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """`compiled`, called with the compiler's settings for packs; they last for the call and in its thread alone."""
    import torch._dynamo.config
    import torch.fx.experimental._config

    # Left to itself, a compiler for any length takes every Python float, too, for one that may change: each becomes a
    # tensor on the CPU, and a C++ program is written, compiled and loaded for their arithmetic.
    # Remembering what shapes an operation gives takes longer, where every size is a symbol, than asking again.
    fixed_floats = torch._dynamo.config.patch(specialize_float=True, fake_tensor_cache_enabled=False)
    # Sizes that are equal in the first pass would be taken for one: as many needed steps as a head has numbers, and any
    # other count of steps compiles anew, in a recording, too, which that breaks off.
    sizes_apart = torch.fx.experimental._config.patch(use_duck_shape=False)  # type: ignore[attr-defined]

    def call(*args: Any, **kwargs: Any) -> Any:
        with fixed_floats, sizes_apart:
            return compiled(*args, **kwargs)

    return call
