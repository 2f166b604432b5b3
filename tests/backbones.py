"""Tiny random backbones of many families, saved as a user would have them: weights and tokenizer in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surestep.model.confidence_model import ConfidenceModel, Route

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


def _of(name: str, **settings: Any) -> Callable[[], Any]:
    """A builder of a random backbone from the configuration that transformers calls `<name>Config`."""

    def build() -> Any:
        import transformers

        from surestep.model.backbones.silence_transformers import silence_transformers

        with silence_transformers():
            return transformers.AutoModel.from_config(getattr(transformers, f"{name}Config")(**settings))

    return build


def _bert() -> Any:
    from transformers import BertConfig, BertModel

    small = {**_SMALL, "initializer_range": 0.02}
    return BertModel(BertConfig(**small, intermediate_size=48))


_NO_NAMES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": 0,
}
_WINDOW: dict[str, Any] = {"sliding_window": 8}
_BOTH_KINDS: dict[str, Any] = {**_WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_USED: dict[str, Any] = {**_WINDOW, "use_sliding_window": True}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [8.0, 6.0, 4.0, 2.0],
}
_DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}

FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": _of("Llama", **_GROUPED),
    "qwen3": _of("Qwen3", **_GROUPED, head_dim=16),
    "mistral": _of("Mistral", **_GROUPED, **_WINDOW),
    "gemma3": _of("Gemma3Text", **_GROUPED, **_BOTH_KINDS, head_dim=8, query_pre_attn_scalar=8),
    "gemma2": _of("Gemma2", **_GROUPED, **_WINDOW, head_dim=8, query_pre_attn_scalar=8, attn_logit_softcapping=2.0),
    "gpt2": _of("GPT2", **_NO_NAMES, n_embd=32, n_layer=2, n_head=4, n_positions=256),
    "bloom": _of("Bloom", **_NO_NAMES, hidden_size=32, n_layer=2, n_head=4, pad_token_id=0),
    "mamba": _of("Mamba", **_NO_NAMES, hidden_size=32, num_hidden_layers=2, state_size=4, pad_token_id=0),
    "bert": _bert,
    # Sliding windows, handed to the attention, kept in the layer, or known to the configuration alone.
    "qwen2_window": _of("Qwen2", **_GROUPED, **_USED, max_window_layers=1),
    "phi3": _of("Phi3", **_GROUPED, **_WINDOW),
    "starcoder2": _of("Starcoder2", **_GROUPED, **_WINDOW),
    "cohere2": _of("Cohere2", **_GROUPED, **_BOTH_KINDS),
    "olmo3": _of("Olmo3", **_GROUPED, **_BOTH_KINDS),
    "mixtral": _of("Mixtral", **_GROUPED, **_WINDOW, num_local_experts=4),
    "phimoe": _of("Phimoe", **_GROUPED, **_WINDOW, num_local_experts=4),
    "qwen2_moe": _of("Qwen2Moe", **_GROUPED, **_EXPERTS, **_USED, max_window_layers=2),
    "qwen3_moe": _of("Qwen3Moe", **_GROUPED, **_EXPERTS, **_USED, max_window_layers=0, head_dim=16),
    "gpt_oss": _of("GptOss", **_GROUPED, **_BOTH_KINDS, head_dim=16, num_local_experts=4),
    # Attention chunk by chunk, in chunks that are longer than the probe's paths.
    "llama4": _of(
        "Llama4Text", **_GROUPED, head_dim=8, intermediate_size_mlp=48, moe_layers=[], attention_chunk_size=40,
        layer_types=["chunked_attention", "full_attention"], no_rope_layers=[1, 0],
    ),
    # Rotary factors that follow the longest path of a pass.
    "phi3_longrope": _of("Phi3", **_GROUPED, rope_parameters=_LONGROPE, original_max_position_embeddings=64),
    "llama_dynamic": _of("Llama", **{**_GROUPED, "max_position_embeddings": 64}, rope_parameters=_DYNAMIC),
    # Other names and other shapes of attention.
    "deepseek_v3": _of(
        "DeepseekV3", **{**_GROUPED, "num_key_value_heads": 4}, moe_intermediate_size=32, n_routed_experts=4,
        n_shared_experts=1, num_experts_per_tok=2, n_group=1, topk_group=1, first_k_dense_replace=1, kv_lora_rank=16,
        q_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=16,
    ),
    "longcat": _of(
        "LongcatFlash", **{**_GROUPED, "num_hidden_layers": 4, "num_key_value_heads": 4}, num_layers=2, head_dim=8,
        kv_lora_rank=16, q_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=16, ffn_hidden_size=48,
        expert_ffn_hidden_size=16, n_routed_experts=4, moe_topk=2, zero_expert_num=2,
    ),
    "falcon": _of("Falcon", **_SMALL),
    "gpt_neox": _of("GPTNeoX", **_SMALL, intermediate_size=48),
    "gpt_neo": _of(
        "GPTNeo", **_NO_NAMES, hidden_size=32, num_layers=2, num_heads=4, window_size=8,
        attention_types=[[["global", "local"], 1]],
    ),
    "opt": _of("OPT", **_SMALL, ffn_dim=48, word_embed_proj_dim=32),
    "stablelm": _of("StableLm", **_GROUPED),
    # Layers without attention, among others or alone.
    "qwen3_next": _of(
        "Qwen3Next", **{**_GROUPED, "num_hidden_layers": 4}, head_dim=16, linear_num_key_heads=2,
        linear_num_value_heads=4, linear_key_head_dim=16, linear_value_head_dim=16, num_experts=0,
        decoder_sparse_step=1, mlp_only_layers=[0, 1, 2, 3],
    ),
    "recurrent_gemma": _of(
        "RecurrentGemma", **{**_GROUPED, "num_hidden_layers": 3}, lru_width=32, attention_window_size=8
    ),
    "jamba": _of(
        "Jamba", **{**_GROUPED, "num_hidden_layers": 4}, attn_layer_period=4, attn_layer_offset=2, num_experts=2,
        mamba_d_state=4, expert_layer_period=8, expert_layer_offset=7,
    ),
}  # fmt: skip
"""Family to a builder of one random backbone without language-model head."""


PACKED = [
    "llama", "qwen3", "mistral", "gemma3", "gpt2", "qwen2_window", "phi3", "starcoder2", "cohere2", "olmo3", "mixtral",
    "phimoe", "qwen2_moe", "qwen3_moe", "phi3_longrope", "llama_dynamic", "deepseek_v3", "longcat",
    "gpt_neox", "opt",
]  # fmt: skip
"""Families that score packed trees as their paths alone."""


def random_model(family: str, route: Route = "dense") -> ConfidenceModel:
    """A model of a random backbone of `family`, with weights so large that every token shows, in evaluation mode."""
    import torch

    from surestep.model.attention.interface import register_tree_attention
    from surestep.model.confidence_model import ConfidenceModel
    from surestep.model.head import ConfidenceHead

    register_tree_attention()
    torch.manual_seed(0)
    backbone = FAMILIES[family]()
    for parameter in backbone.parameters():  # some families draw smaller weights than they are told to
        if parameter.ndim > 1 and parameter.detach().std() < 0.1:
            torch.nn.init.normal_(parameter, std=0.3)
    width = backbone.config.get_text_config().hidden_size
    own = backbone.config._attn_implementation or "eager"
    head = ConfidenceHead(width, [], dropout=0.0)
    return ConfidenceModel(backbone, head, confidence_id=VOCABULARY - 1, route=route, own_attention=own).eval()


def save_backbone(family: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a random backbone of `family` and the tiny tokenizer to `folder`."""
    import torch

    from surestep.encoding.tiny_tokenizer import build_tiny_tokenizer
    from surestep.model.backbones.silence_transformers import silence_transformers

    with torch.random.fork_rng(devices=[]), silence_transformers():
        torch.manual_seed(seed)
        FAMILIES[family]().save_pretrained(folder)
        build_tiny_tokenizer().save_pretrained(folder)
    return folder
