"""`builtin:tiny`: a small causal transformer that needs no network. Knows no text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaModel

WEIGHTS = Path(__file__).parent / "tiny_weights" / "model.safetensors"

LOOK_BACK, LOOK_BACK_GAIN = (1, 2, 3, 4), 3.7

NUM_EMBEDDINGS = 288
"""272 tokens of the tiny tokenizer, and spare rows for tokens that are added to it."""


def tiny_config() -> LlamaConfig:
    """The architecture: rotary positions, 4 layers of width 128, 0.9 million parameters."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=NUM_EMBEDDINGS,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=8,
        attention_bias=True,
        max_position_embeddings=2048,
        # Steps are a dozen tokens long; a small base tells near positions apart from the first step of training.
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
        tie_word_embeddings=False,
    )


def load_tiny_backbone(*, seed: int, warm: bool = True) -> LlamaModel:
    """The transformer without a language-model head, in float32.

    Warm, it holds the embedded weights (made by `recipes/tiny_warm_start.py`: it can calculate and read numbers and
    knows no confidence), and `seed` decides nothing; else its weights are drawn from `seed`. The random state of the
    caller is left as it was.
    """
    from transformers import LlamaModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaModel(tiny_config())
        _look_back(model)
    if warm:
        model.load_state_dict(load_file(WEIGHTS))
    return model


@torch.no_grad()
def _look_back(model: LlamaModel) -> None:
    """Start half of the heads of each layer at looking 1, 2, 3 and 4 tokens back.

    Digits stand at fixed distances, and a head that attends to all of a long context alike passes on too little of
    any of them to learn from. With rotary positions, a key bias of ones and a query bias turned back by `distance`
    give the score gain² Σ cos((Δ - distance) ω), which is largest where the key stands `distance` tokens before.
    """
    config = model.config
    head_dim = config.hidden_size // config.num_attention_heads
    frequency = model.rotary_emb.inv_freq
    for layer in model.layers:
        attention = layer.self_attn
        query = attention.q_proj.bias.view(-1, 2, head_dim // 2)  # rotary pairs lie half a head apart
        key = attention.k_proj.bias.view(-1, 2, head_dim // 2)
        for head, distance in enumerate(LOOK_BACK):
            key[head, 0] = LOOK_BACK_GAIN
            query[head, 0] = LOOK_BACK_GAIN * torch.cos(distance * frequency)
            query[head, 1] = -LOOK_BACK_GAIN * torch.sin(distance * frequency)
