"""Surestep: how far each step of a model's reasoning can be trusted.

    from surestep import Scorer, push_to_hub, split_steps, with_own_data

Public names are loaded when they are first used: `import surestep` itself is instant and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surestep.config.own_data import with_own_data
    from surestep.data.trees.split_steps import split_steps
    from surestep.evaluation.publish.push_to_hub import push_to_hub
    from surestep.inference.scorer import Scorer

__version__ = "0.2.0"
__all__ = ["Scorer", "__version__", "push_to_hub", "split_steps", "with_own_data"]

_PUBLIC = {
    "Scorer": "surestep.inference.scorer",
    "push_to_hub": "surestep.evaluation.publish.push_to_hub",
    "split_steps": "surestep.data.trees.split_steps",
    "with_own_data": "surestep.config.own_data",
}
"""Name -> the module that defines it."""


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_PUBLIC[name]), name)
    return value


def __dir__() -> list[str]:
    """What completion offers: the public names, not what this file imports."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
