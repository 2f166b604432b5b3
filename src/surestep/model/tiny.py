"""`builtin:tiny`: a small causal transformer that needs no network. Knows no text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaModel

NUM_EMBEDDINGS = 288
"""274 tokens of the tiny tokenizer, and spare rows for tokens that are added to it."""


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
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
        tie_word_embeddings=False,
    )


def load_tiny_backbone(*, seed: int) -> LlamaModel:
    """The transformer without a language-model head, in float32, its weights drawn from `seed`.

    The random state of the caller is left as it was.
    """
    from transformers import LlamaModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaModel(tiny_config())
