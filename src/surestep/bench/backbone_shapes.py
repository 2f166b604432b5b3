"""Backbones of a known shape with random weights, made in memory: speed and memory do not depend on the numbers.

They know nothing: a figure of quality measured on one says nothing of the real model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from surestep.config import TINY_BACKBONE, Config
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.tokenizer import StepTokenizer
from surestep.model.attention.interface import register_tree_attention
from surestep.model.backbones.load import Backbone
from surestep.model.precision.nf4 import quantise_linear_layers
from surestep.scoring.build_model import BuiltModel, assemble, base_dtype, build_model
from surestep.scoring.hardware import Hardware, nf4_device

SHAPES: Mapping[str, dict[str, Any]] = {
    # Qwen/Qwen3-4B-Instruct-2507's config.json
    "qwen3-4b": {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "max_position_embeddings": 262144,
        "rope_theta": 5000000.0,
        "tie_word_embeddings": True,
    },
    "small": {
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "vocab_size": 8192,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
    },
}


def build_shape(
    config: Config, hardware: Hardware, shape: str | None, *, tokenizer: StepTokenizer | None = None
) -> BuiltModel:
    """A model around random weights of `shape`, or around `config.model.backbone` where no shape is named.

    Random weights go with any `tokenizer` whose ids they have rows for; unless given, that of `builtin:tiny`.

    Raises:
        DeviceError, ConfigError: what the settings need is not here.
    """
    if shape is None:
        return build_model(config, hardware)
    from transformers import AutoModel, Qwen3Config

    register_tree_attention()
    nf4_on, dtype = nf4_device(config.lora, hardware), base_dtype(config.lora, hardware)
    torch.manual_seed(config.training.seed)
    with torch.device(hardware.device):
        module = AutoModel.from_config(Qwen3Config(**SHAPES[shape]), dtype=dtype)
    if nf4_on is not None:
        quantise_linear_layers(module, dtype=dtype, device=nf4_on)
    backbone = Backbone(
        module=module,
        name=f"random weights, shape of {shape}",
        revision=None,
        weights_sha256="",
        max_positions=SHAPES[shape]["max_position_embeddings"],
        attention_implementation=module.config._attn_implementation or "sdpa",
    )
    return assemble(config, hardware, tokenizer or load_tokenizer(TINY_BACKBONE), backbone)
