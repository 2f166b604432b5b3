"""The families of backbones whose layers are known here, and how their modules are given another forward pass."""

from __future__ import annotations

from functools import cache
from typing import Any

FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3")
"""transformers' class names begin with these; their attention, MLP and decoder layer modules are alike."""


def is_known(module: Any, kind: str) -> bool:
    """Whether this is a family's own `Attention`, `MLP` or `DecoderLayer`."""
    return type(module).__name__ in {f"{family}{kind}" for family in FAMILIES}


def exchange_class(module: Any, mixin: type[Any], attributes: dict[str, Any]) -> None:
    """Put `mixin` in front of the module's class: its parameters, their names and what is saved stay as they were."""
    for name, value in attributes.items():
        # Past `nn.Module.__setattr__`: parameters are the layers' own and must not appear a second time.
        object.__setattr__(module, name, value)
    module.__class__ = _subclass(mixin, type(module))  # type: ignore[arg-type]


@cache
def _subclass(mixin: type[Any], original: type[Any]) -> type[Any]:
    # The name stays: transformers and PEFT print and compare it.
    return type(original.__name__, (mixin, original), {})
