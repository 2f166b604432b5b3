"""`builtin:tiny`: a small causal transformer that needs no network. Knows no text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaModel

WEIGHTS = Path(__file__).parent / "tiny_weights" / "model.safetensors"

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
        num_attention_heads=4,
        num_key_value_heads=4,
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

    Warm, it holds the embedded weights (made by `recipes/tiny_warm_start.py`: its lower half can calculate, nothing in
    it knows confidence), and `seed` decides nothing; else its weights are drawn from `seed`. The random state of the
    caller is left as it was.
    """
    from transformers import LlamaModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaModel(tiny_config())
    if warm:
        model.load_state_dict(load_file(WEIGHTS))
    return model
