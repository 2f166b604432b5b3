"""A learning rate for the size of the backbone: what the presets say holds for billions of weights.

    rate = the preset's x (3.6 billion / weights in products) ^ 0.4

The power is drawn through what was measured: the built-in model (0.8 million: 3e-4 to 5e-4 in full, E21) and
SmolLM2-135M (106 million: 1e-4 to 2e-4 in full, 5e-4 to 1e-3 with LoRA, E49); at 4 billion it is the preset itself,
which was not measured here. Good for a factor of two to three, no closer.
"""

from __future__ import annotations

from surestep.config import LoraConfig, TrainingConfig
from surestep.config.training import FULL_LEARNING_RATE, LORA_LEARNING_RATE

REFERENCE_WEIGHTS = 3.6e9
"""Weights in products of the 4B shape, for which the presets' rates were given."""

POWER = 0.4

FAR = 2.5
"""From this factor on the preset's rate is worth a line: below, runs do not tell the two apart."""


def rate_for(num_weights: int, *, use_lora: bool) -> float:
    """The rule's learning rate of a backbone with so many weights in products, to one digit.

    >>> [rate_for(weights, use_lora=False) for weights in (3_600_000_000, 106_000_000, 800_000)]
    [2e-05, 8e-05, 0.0006]
    >>> rate_for(106_000_000, use_lora=True)
    0.0004
    """
    preset = LORA_LEARNING_RATE if use_lora else FULL_LEARNING_RATE
    return float(f"{preset * (REFERENCE_WEIGHTS / num_weights) ** POWER:.0e}")


def rate_line(training: TrainingConfig, lora: LoraConfig, num_weights: int) -> str | None:
    """A line for the start of a run whose rate is the preset's own, where its backbone is of quite another size."""
    if num_weights < 1:  # a backbone without matrices that this program knows of
        return None
    preset = LORA_LEARNING_RATE if lora.use_lora else FULL_LEARNING_RATE
    rule = rate_for(num_weights, use_lora=lora.use_lora)
    if training.learning_rate != preset or 1 / FAR < rule / preset < FAR:
        return None
    return (
        f"learning rate: {preset:g} is the preset's, for billions of weights; for {num_weights / 1e6:,.1f} million, "
        f"about {rule:g} is a better first try (docs/training.md, learning rate by size); --learning_rate"
    )
