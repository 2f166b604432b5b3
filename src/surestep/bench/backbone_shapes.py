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

_QWEN3_4B = {
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
}
_QWEN3 = {
    "head_dim": 128,
    "num_key_value_heads": 8,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "rope_theta": 1000000.0,
}

SHAPES: Mapping[str, dict[str, Any]] = {
    # HuggingFaceTB/SmolLM2-135M-Instruct's config.json
    "135m": {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "rope_theta": 100000.0,
        "tie_word_embeddings": True,
    },
    # Qwen/Qwen3-0.6B's, -1.7B's and -8B's
    "0.6b": _QWEN3
    | {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "tie_word_embeddings": True,
    },
    "1.7b": _QWEN3
    | {
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "tie_word_embeddings": True,
    },
    # Qwen/Qwen3-4B-Instruct-2507's
    "4b": _QWEN3_4B,
    "qwen3-4b": _QWEN3_4B,
    "8b": _QWEN3
    | {
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "tie_word_embeddings": False,
    },
    # Qwen/Qwen3-30B-A3B's: of 128 experts a token goes to 8
    "30b-moe": _QWEN3
    | {
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "moe_intermediate_size": 768,
        "num_hidden_layers": 48,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "norm_topk_prob": True,
        "tie_word_embeddings": False,
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
_FAMILIES = {"135m": "llama", "30b-moe": "qwen3_moe"}
"""Those that are no `qwen3`."""


def shape_config(shape: str, **more: Any) -> Any:
    """The configuration of transformers for a shape of `SHAPES`, with `more` of its fields set.

    >>> shape_config("135m").model_type, shape_config("small", num_labels=2).num_labels
    ('llama', 2)
    """
    from transformers import AutoConfig

    return AutoConfig.for_model(_FAMILIES.get(shape, "qwen3"), **SHAPES[shape], **more)


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
    from transformers import AutoModel

    register_tree_attention()
    nf4_on, dtype = nf4_device(config.lora, hardware), base_dtype(config.lora, hardware)
    torch.manual_seed(config.training.seed)
    with torch.device(hardware.device):
        module = AutoModel.from_config(shape_config(shape), dtype=dtype)
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
