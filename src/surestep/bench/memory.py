"""What does not fit in memory: said before anything is built where arithmetic knows it, else when memory ran out."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import torch

from surestep.bench.backbone_shapes import shape_config
from surestep.errors import DoesNotFitError, is_out_of_memory
from surestep.scoring.build_model import base_dtype
from surestep.training.optimizer.parameter_groups import moments_of

if TYPE_CHECKING:
    from surestep.config import Config
    from surestep.scoring.hardware import Hardware

T = TypeVar("T")
_GB = 1e9


def device_bytes(device: torch.device) -> int:
    """All memory of the GPU, or of the machine."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)


def least_bytes(config: Config, hardware: Hardware, shape: str, *, training: bool) -> int:
    """Bytes that a model of this shape takes at least: its weights; trained in full, their gradients and moments, too.

    Without anything that a pass computes, the head and adapters.
    """
    from transformers import AutoModel

    dtype = base_dtype(config.lora, hardware)
    with torch.device("meta"):
        module = AutoModel.from_config(shape_config(shape), dtype=dtype)
    weights: int = sum(parameter.nbytes for parameter in module.parameters())
    if not training or config.lora.use_lora:
        return weights  # those in 4 or 8 bits as well: they are made of whole ones
    embedding = module.get_input_embeddings().weight
    in_8_bits = config.training.optimizer == "adamw_8bit"
    moments: int = sum(
        moments_of(parameter.numel(), 8 if in_8_bits and parameter is not embedding else 32)
        for parameter in module.parameters()
    )
    return 2 * weights + moments


def refuse_what_cannot_fit(config: Config, hardware: Hardware, shape: str, *, training: bool) -> None:
    """Refuse a shape whose weights alone, with what training keeps of each, are more than the device's memory.

    Raises:
        DoesNotFitError: with what it needs and what there is.
    """
    needs, has = least_bytes(config, hardware, shape, training=training), device_bytes(hardware.device)
    if needs <= has:
        return
    what = "weights, gradients and moments" if training and not config.lora.use_lora else "weights"
    where = "the GPU" if hardware.device.type == "cuda" else "this machine"
    other = "" if config.lora.use_lora else "--preset lora, "
    raise DoesNotFitError(
        f"--shape {shape} does not fit: its {what} need at least {needs / _GB:,.0f} GB, {where} has "
        f"{has / _GB:,.0f} GB; use a smaller --shape, {other}or a device with more memory",
        needs_gb=needs / _GB,
        has_gb=has / _GB,
    )


def finding_of(error: BaseException, name: str, device: torch.device) -> dict[str, Any]:
    """JSON-ready: what did not fit, why in a line, and what it needs and there is, in GB, where that is known.

    >>> error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has ...")
    >>> finding_of(error, "passes of 16,384 tokens", torch.device("cpu"))["why"]
    'out of memory: tried to allocate 2.50 GiB'
    """
    needs = error.needs_gb if isinstance(error, DoesNotFitError) else None
    why = str(error)
    if not isinstance(error, DoesNotFitError):
        asked = re.search(r"ried to allocate ([\d.,]+ \w+)", why)
        why = "out of memory" + (f": tried to allocate {asked[1]}" if asked else "")
    return {"name": name, "why": why, "needs_gb": needs, "has_gb": device_bytes(device) / _GB}


def unless_memory_ends(measure: Callable[[], T], name: str, device: torch.device) -> T | dict[str, Any]:
    """What `measure` gives, or the finding that memory ran out, with what it had taken given back."""
    try:
        return measure()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        finding = finding_of(error, name, device)
    # Outside of the handler, whose traceback holds on to memory.
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return finding
