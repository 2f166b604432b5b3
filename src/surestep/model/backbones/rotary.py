"""Rotary factors that transformers chooses anew in every forward pass, by the longest position in it.

Of `longrope` (Phi-3-128k) the factors change where the longest path of a pass is longer than the original limit, of
`dynamic` NTK scaling they also depend on the passes before. A path would then score differently beside a long one than
alone. So the factors for paths up to the original limit are kept for all passes, and longer paths are beyond the
backbone's limit: training lowers `max_length` to it, scoring leaves longer steps unscored and counts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from surestep.counted import counted

_FIXED = "fixed"
"""A rotary embedding of this type updates nothing: transformers looks for `longrope` and `dynamic` only."""


def changes_with_the_pass(rope_type: str) -> bool:
    """Whether factors of this type depend on the longest position of a pass.

    >>> [changes_with_the_pass(name) for name in ("default", "yarn", "llama3", "longrope", "dynamic")]
    [False, False, False, True, True]
    """
    return rope_type == "longrope" or "dynamic" in rope_type


def fix_rotary_factors(transformer: nn.Module) -> None:
    """Keep the factors for paths up to the original limit in every rotary embedding of `transformer`."""
    for module in transformer.modules():
        rope_type = getattr(module, "rope_type", None)
        if isinstance(rope_type, str) and changes_with_the_pass(rope_type):
            module.rope_type = _FIXED  # type: ignore[assignment]
        elif isinstance(rope_type, dict):  # one for each kind of layer
            module.rope_type = {
                kind: _FIXED if changes_with_the_pass(name) else name for kind, name in rope_type.items()
            }  # type: ignore[assignment]


def longest_path(text_config: Any) -> int | None:
    """The longest path, in tokens, that a backbone takes with fixed factors; None where it states no limit."""
    limit = getattr(text_config, "max_position_embeddings", None)
    limits = [int(limit)] if limit else []
    return min(limits + [original for _, original in _changing(text_config)], default=None)


def changing_factors(text_config: Any) -> list[str]:
    """The types of the rotary embeddings whose factors transformers would choose anew in every pass."""
    return [name for name, _ in _changing(text_config)]


def describe_limit(text_config: Any) -> str | None:
    """A line about rotary factors that are kept fixed; None where there are none."""
    for name, original in _changing(text_config):
        return (
            f"positions: paths of up to {counted(original, 'token')} ({name} rotary factors change where a pass "
            "holds a longer path, so those for shorter ones are kept)"
        )
    return None


def _changing(text_config: Any) -> Iterator[tuple[str, int]]:
    """Type and original limit of each rotary embedding whose factors change with the pass."""
    parameters = getattr(text_config, "rope_parameters", None) or {}
    nested = [value for value in parameters.values() if isinstance(value, dict)] if isinstance(parameters, dict) else []
    for rope in nested or [parameters]:
        name = str(rope.get("rope_type") or "")
        original = rope.get("original_max_position_embeddings") or getattr(
            text_config, "original_max_position_embeddings", None
        )
        original = original or getattr(text_config, "max_position_embeddings", None)
        if changes_with_the_pass(name) and original:
            yield name, int(original)
