"""How many tokens fit in a pass, of training or of scoring, estimated before the first one; and fewer afterwards."""

from __future__ import annotations

import psutil
import torch

from surestep.counted import counted
from surestep.errors import DoesNotFitError
from surestep.model.confidence_model import ConfidenceModel
from surestep.scoring.hardware import Hardware

_USABLE = 0.85
"""Share of the free memory that is planned with; the rest is fragmentation and what others take."""

ENOUGH_CUDA = 5120
"""Tokens in a pass that keep a large GPU busy with a 4B model: within a tenth of the speed of three times as many, in
half the memory (docs/experiments/README.md)."""

ENOUGH_AT_LENGTH = 2048
"""The `max_length` that `ENOUGH_CUDA` is for, the default one; see `enough_tokens`."""

_FUSED_SHARE = 0.43
"""What fused layers keep of what is counted for their family's own: 2.8 of 6.4 MB a token of Qwen3-4B with LoRA, by the
peaks of passes of 7,000 to 16,000 tokens (docs/experiments/2026-11-29-what-a-pass-is-made-of.md)."""

MOST_SCORED = {"cpu": 4096, "cuda": 32768}
"""Tokens in a scoring pass, by kind of device, beyond which more of them are no faster."""

_SMALLEST = 64
"""Tokens in a pass below which fewer of them would not help."""

_GRADIENT_BYTES = 4
"""Of a trained weight: its gradient in float32."""


def activation_bytes_per_token(model: ConfidenceModel, hardware: Hardware, *, checkpointing: bool) -> int:
    """Bytes that the backward pass keeps for one token.

    Counted for a pre-norm transformer with rotary positions and a gated MLP: about ten tensors of the hidden size,
    four each of queries, keys and values, and four of the MLP's width in every layer. On Qwen3-4B that gives
    6.4 MB a token, where 115 GB at 16,384 tokens were measured of the family's own layers. Of fused ones it is a bound
    (`kept_bytes_per_token`), and what free memory allows is planned with it.
    """
    hidden, layers, per_layer = _sizes(model)
    elements = layers * hidden + per_layer if checkpointing else layers * per_layer
    return elements * hardware.compute_dtype.itemsize


def kept_bytes_per_token(model: ConfidenceModel, hardware: Hardware, *, checkpointing: bool) -> int:
    """The same as it was measured: fused layers keep less, unless activations are recomputed anyway."""
    bound = activation_bytes_per_token(model, hardware, checkpointing=checkpointing)
    return round(_FUSED_SHARE * bound) if model.is_fused and not checkpointing else bound


def scoring_bytes_per_token(model: ConfidenceModel, hardware: Hardware) -> int:
    """Bytes that a scoring pass needs for one token.

    That is what one layer computes, the sum that passes through all, and the output of each where a head mixes them.
    """
    hidden, layers, per_layer = _sizes(model)
    kept = layers * hidden if model.head.input.reads_layers else 0
    return (2 * hidden + per_layer + kept) * hardware.compute_dtype.itemsize


def _sizes(model: ConfidenceModel) -> tuple[int, int, int]:
    """The hidden size, the number of layers, and how many numbers a layer computes for one token."""
    config = model.transformer.config.get_text_config()
    hidden = int(config.hidden_size)
    heads = int(getattr(config, "num_attention_heads", 1) or 1)
    key_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    head_dim = int(getattr(config, "head_dim", None) or hidden // heads)
    width = int(getattr(config, "intermediate_size", None) or 4 * hidden)
    layers = int(getattr(config, "num_hidden_layers", None) or 1)
    return hidden, layers, 10 * hidden + 4 * (heads + 2 * key_heads) * head_dim + 4 * width


def enough_tokens(max_length: int, *, held_bytes: int, bytes_per_token: int) -> int:
    """Tokens in a pass on a GPU beyond which more are hardly faster, in memory that follows `max_length`.

    Weights and passes together take half at half the default length and twice at twice it: whoever shortens examples
    to save memory saves it. What is held whatever the pass is made up for by the pass, down to one longest example.

    >>> [enough_tokens(length, held_bytes=0, bytes_per_token=1) for length in (1024, 2048, 4096)]
    [2560, 5120, 10240]
    >>> [enough_tokens(length, held_bytes=10**6, bytes_per_token=1000) for length in (1024, 2048, 4096)]
    [2060, 5120, 11240]
    """
    share = max_length / ENOUGH_AT_LENGTH
    return max(max_length, round(share * ENOUGH_CUDA + (share - 1.0) * held_bytes / bytes_per_token))


def training_token_budget(
    model: ConfidenceModel,
    hardware: Hardware,
    *,
    checkpointing: bool,
    wanted: int,
    moment_bytes: int,
    max_length: int = ENOUGH_AT_LENGTH,
) -> int:
    """Tokens in one training pass: `wanted`, what keeps a GPU busy, or what free memory allows: the least of them.

    `moment_bytes` are those that the optimiser will take for its moments.
    """
    parameters = list(model.parameters())
    gradients = sum(parameter.numel() for parameter in parameters if parameter.requires_grad) * _GRADIENT_BYTES
    free = _free_bytes(hardware.device) * _USABLE - gradients - moment_bytes
    per_token = activation_bytes_per_token(model, hardware, checkpointing=checkpointing)
    if hardware.device.type == "cuda":
        held = sum(parameter.nbytes for parameter in parameters) + gradients + moment_bytes
        kept = kept_bytes_per_token(model, hardware, checkpointing=checkpointing)
        wanted = min(wanted, enough_tokens(max_length, held_bytes=held, bytes_per_token=kept))
    return max(1, min(wanted, int(free / per_token)))


def scoring_token_budget(model: ConfidenceModel, hardware: Hardware) -> int:
    """Tokens in one scoring pass: what free memory allows, at most `MOST_SCORED`."""
    free = (_free_bytes(hardware.device) + _unused_bytes(hardware.device)) * _USABLE
    fits = int(free / scoring_bytes_per_token(model, hardware))
    return max(1, min(MOST_SCORED.get(hardware.device.type, MOST_SCORED["cpu"]), fits))


def halved(num_tokens: int, *, may_shrink: bool, doing: str, advice: str) -> int:
    """Half of `num_tokens`, after memory ran out with them; `doing` and `advice` complete the message.

    Raises:
        DoesNotFitError: they may not shrink (set by hand, say), or are too few already.
    """
    if not may_shrink or num_tokens < _SMALLEST:
        raise DoesNotFitError(f"out of memory with {counted(num_tokens, 'token')} {doing}; {advice}")
    return num_tokens // 2


def _unused_bytes(device: torch.device) -> int:
    """What torch holds of the GPU without using it: no longer free, and there for the next pass."""
    if device.type != "cuda":
        return 0
    return torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
