"""Tiny random backbones of many families, saved as a user would have them: weights and tokenizer in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

VOCABULARY = 320
_SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    # Large weights, so that one token seen too many or too few changes every score visibly.
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
_GROUPED: dict[str, Any] = {**_SMALL, "num_key_value_heads": 2, "intermediate_size": 48}


def _llama() -> Any:
    from transformers import LlamaConfig, LlamaModel

    return LlamaModel(LlamaConfig(**_GROUPED))


def _qwen3() -> Any:
    from transformers import Qwen3Config, Qwen3Model

    return Qwen3Model(Qwen3Config(**_GROUPED, head_dim=16))


def _mistral() -> Any:
    from transformers import MistralConfig, MistralModel

    return MistralModel(MistralConfig(**_GROUPED, sliding_window=8))


def _gemma3() -> Any:
    from transformers import Gemma3TextConfig, Gemma3TextModel

    layers = ["sliding_attention", "full_attention"]
    return Gemma3TextModel(
        Gemma3TextConfig(**_GROUPED, head_dim=8, sliding_window=8, layer_types=layers, query_pre_attn_scalar=8)
    )


def _gemma2() -> Any:
    from transformers import Gemma2Config, Gemma2Model

    return Gemma2Model(
        Gemma2Config(**_GROUPED, head_dim=8, sliding_window=8, query_pre_attn_scalar=8, attn_logit_softcapping=2.0)
    )


def _gpt2() -> Any:
    from transformers import GPT2Config, GPT2Model

    return GPT2Model(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=256,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=0,
        )
    )


def _bloom() -> Any:
    from transformers import BloomConfig, BloomModel

    return BloomModel(
        BloomConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            n_layer=2,
            n_head=4,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=0,
            pad_token_id=0,
        )
    )


def _mamba() -> Any:
    from transformers import MambaConfig, MambaModel

    return MambaModel(
        MambaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            num_hidden_layers=2,
            state_size=4,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=0,
            pad_token_id=0,
        )
    )


def _bert() -> Any:
    from transformers import BertConfig, BertModel

    small = {**_SMALL, "initializer_range": 0.02}
    return BertModel(BertConfig(**small, intermediate_size=48))


FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": _llama,
    "qwen3": _qwen3,
    "mistral": _mistral,
    "gemma3": _gemma3,
    "gemma2": _gemma2,
    "gpt2": _gpt2,
    "bloom": _bloom,
    "mamba": _mamba,
    "bert": _bert,
}
"""Family to a builder of one random backbone without language-model head."""


def save_backbone(family: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a random backbone of `family` and the tiny tokenizer to `folder`."""
    import torch

    from surestep.encoding.tiny_tokenizer import build_tiny_tokenizer
    from surestep.model.backbones.silence_transformers import quiet_transformers

    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(seed)
        FAMILIES[family]().save_pretrained(folder)
        build_tiny_tokenizer().save_pretrained(folder)
    return folder
