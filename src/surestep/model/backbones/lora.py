"""LoRA adapters around a backbone, through PEFT."""

from __future__ import annotations

from typing import Any

from torch import nn

from surestep.config import LoraConfig
from surestep.errors import ConfigError
from surestep.model.backbones.silence_transformers import quiet_transformers

ATTENTION_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")


def target_modules(backbone: nn.Module, setting: list[str] | str) -> list[str] | str:
    """The layers that `lora_target_modules` means for this backbone.

    Raises:
        ConfigError: a name that no layer ends with.
    """
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer by another name

    names = {
        name.rpartition(".")[2] for name, module in backbone.named_modules() if isinstance(module, nn.Linear | Conv1D)
    }
    if setting == "auto":
        present = [name for name in ATTENTION_PROJECTIONS if name in names]
        return present or "all-linear"
    if isinstance(setting, list):
        unknown = [name for name in setting if name.rpartition(".")[2] not in names]
        if unknown:
            raise ConfigError(
                f"lora.lora_target_modules names {', '.join(unknown)}; this backbone's linear layers: "
                f"{', '.join(sorted(names))}"
            )
    return setting


def add_adapters(backbone: Any, config: LoraConfig) -> Any:
    """A PEFT model around `backbone`; only the adapters are trainable, in float32."""
    from peft import LoraConfig as PeftLoraConfig
    from peft import get_peft_model

    adapters = PeftLoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=target_modules(backbone, config.lora_target_modules),
    )
    with quiet_transformers():
        return get_peft_model(backbone, adapters)
