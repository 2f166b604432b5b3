"""Frozen weights in 4 bits: NF4 with double quantisation, through bitsandbytes.

Every linear layer of the transformer, none left out, so that one loaded from files and one quantised in memory hold
the same bits. Embedding and norms keep the dtype they were loaded in. What is trained lies beside these layers (the
adapters, the head, the `<CONFIDENCE>` row) and is never quantised. Dettmers et al., QLoRA, 2023.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from surestep.model.precision.bitsandbytes_available import load_bitsandbytes

_QUANTISATION: dict[str, Any] = {"quant_type": "nf4", "compress_statistics": True}


def nf4_config(dtype: torch.dtype) -> Any:
    """What transformers' `from_pretrained` takes as `quantization_config`; products run in `dtype`."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=_QUANTISATION["quant_type"],
        bnb_4bit_use_double_quant=_QUANTISATION["compress_statistics"],
        bnb_4bit_compute_dtype=dtype,
        # Unset, transformers would leave out what lies last in the model, whatever that is.
        llm_int8_skip_modules=[],
    )


def quantise_linear_layers(transformer: nn.Module, *, dtype: torch.dtype, device: torch.device) -> None:
    """Put 4-bit layers on `device` in place of every `nn.Linear`, one after another; products run in `dtype`."""
    layers = load_bitsandbytes().nn
    found = [(name, module) for name, module in transformer.named_modules() if type(module) is nn.Linear]
    for name, module in found:
        with torch.device("meta"):
            small = layers.Linear4bit(
                module.in_features, module.out_features, module.bias is not None, compute_dtype=dtype, **_QUANTISATION
            )
        weight = layers.Params4bit(module.weight.detach(), requires_grad=False, module=small, **_QUANTISATION)
        small.weight = weight.to(device)  # which quantises
        if module.bias is not None:
            small.bias = nn.Parameter(module.bias.detach().to(device), requires_grad=False)
        transformer.set_submodule(name, small)
    transformer.is_loaded_in_4bit = True  # type: ignore[assignment]  # what PEFT asks before it adapts such layers


def num_weights(parameter: torch.Tensor) -> int:
    """Weights that a parameter stands for: two in every byte where it is packed into 4 bits."""
    packed = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if packed is None else packed.shape.numel())
