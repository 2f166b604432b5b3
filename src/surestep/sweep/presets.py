"""Spaces by name: the learning rates and LoRA ranks of the best practices (docs/best-practices.md)."""

from __future__ import annotations

PRESETS: dict[str, dict[str, str]] = {
    "full_learning_rates": {"training.learning_rate": "1e-5,2e-5,5e-5"},
    "lora_learning_rates": {"training.learning_rate": "5e-5,1e-4,2e-4,5e-4"},
    "lora_ranks": {"lora.lora_r": "8,16,32", "lora.lora_alpha": "2*lora.lora_r"},
}
"""Name of a preset to what each field takes. With the rank goes alpha = 2 r, so that the adapters' scale stays."""
