"""What this machine offers, and what a run makes of it: device, arithmetic, execution, token budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import psutil
import torch

from surestep.config import Config, LoraConfig
from surestep.counted import counted
from surestep.errors import ConfigError, DeviceError
from surestep.model.confidence_model import Route
from surestep.model.precision.bitsandbytes_available import bitsandbytes_problem
from surestep.model.precision.fp8 import runs_fp8

Precision = Literal["no", "bf16", "fp16"]

_DTYPES: dict[Precision, torch.dtype] = {
    "no": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


@dataclass(frozen=True)
class Hardware:
    """Where and in which arithmetic to compute.

    Attributes:
        device: a torch device.
        precision: autocast dtype by Accelerate's name; "no" is float32.
        reasons: one line for each choice that the program made.
        fuses_layers: whether layers are fused where they are known: not where their weights will be shared out.
    """

    device: torch.device
    precision: Precision
    reasons: tuple[str, ...]
    fuses_layers: bool = True

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype of matrix products."""
        return _DTYPES[self.precision]


def has_gpu() -> bool:
    """Whether this machine shows a CUDA GPU: what `auto` is decided by."""
    return torch.cuda.is_available()


def choose_hardware(device: str, precision: str) -> Hardware:
    """Resolve `auto`, and refuse what is not there.

    Raises:
        DeviceError: a GPU, or bf16 on it, was asked for and is missing.
    """
    has_cuda = has_gpu()
    if device == "cuda" and not has_cuda:
        raise DeviceError(
            "training.device is cuda, but this machine shows no CUDA GPU; use --device cpu or auto, or install a "
            "CUDA build of torch"
        )
    reasons = []
    kind = device if device != "auto" else ("cuda" if has_cuda else "cpu")
    if device == "auto":
        reasons.append(f"device: {_device_name(kind)} (found)" if has_cuda else "device: CPU (no GPU found)")
    if precision == "auto":
        resolved: Precision = "no"
        if kind == "cuda":
            resolved = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        reasons.append(f"mixed precision: {resolved} (what a {kind.upper()} does best)")
    else:
        resolved = precision  # type: ignore[assignment]
        if resolved == "fp16" and kind == "cpu":
            raise DeviceError("training.mixed_precision is fp16, which needs a GPU; use --mixed_precision no or bf16")
        if resolved == "bf16" and kind == "cuda" and not torch.cuda.is_bf16_supported():
            raise DeviceError("training.mixed_precision is bf16, which this GPU lacks; use fp16 or no")
    return Hardware(torch.device(kind), resolved, tuple(reasons))


def use_gpu(number: int) -> None:
    """Compute on the GPU of this number from here on, where there are GPUs: one of several processes has its own.

    Raises:
        DeviceError: there are GPUs, but not so many.
    """
    if not has_gpu():
        return
    if number >= (count := torch.cuda.device_count()):
        raise DeviceError(
            f"process {number} has no GPU of its own ({count} here); launch {counted(count, 'process', 'processes')}"
        )
    torch.cuda.set_device(number)


def for_scoring_here(config: Config) -> Config:
    """`config` as a scorer on this machine takes it: a model trained on a GPU is scored wherever it lies.

    Device and execution are chosen anew; the arithmetic stays as it was, where this machine has it.
    """
    here = config.model_copy(deep=True)
    here.training.device, here.model.attention, here.training.cuda_graphs = "auto", "auto", "auto"
    here.model.fast_path = True
    if here.training.mixed_precision == "fp16" and not has_gpu():
        here.training.mixed_precision = "auto"
    base_that_fits(here.lora, torch.device("cuda" if has_gpu() else "cpu"))
    return here


def base_that_fits(lora: LoraConfig, device: torch.device) -> None:
    """Let a scorer hold the frozen weights in their own precision where `device` cannot hold them as they were."""
    base = lora.base_precision
    if (base == "fp8" and not runs_fp8(device)) or (base == "nf4" and _nf4_problem(device) is not None):
        lora.base_precision = "same"


def nf4_device(lora: LoraConfig, hardware: Hardware) -> torch.device | None:
    """Where the linear layers of the backbone are held in NF4; None where they are not.

    Raises:
        DeviceError: that was asked for and there is no CUDA GPU.
        ConfigError: bitsandbytes is missing.
    """
    if not lora.use_lora or lora.base_precision != "nf4":
        return None
    problem = _nf4_problem(hardware.device)
    if problem is not None:
        raise problem
    return torch.device("cuda", torch.cuda.current_device())


def _nf4_problem(device: torch.device) -> DeviceError | ConfigError | None:
    if device.type != "cuda":
        return DeviceError("lora.base_precision is nf4, which needs a CUDA GPU; use --base_precision same")
    problem = bitsandbytes_problem()
    if problem is not None:
        return ConfigError(f"lora.base_precision is nf4, but {problem}; or use --base_precision same")
    return None


def _device_name(kind: str) -> str:
    return torch.cuda.get_device_name() if kind == "cuda" else "CPU"


def choose_route(asked: Route | Literal["auto"], hardware: Hardware, *, has_kernel: bool = False) -> tuple[Route, str]:
    """The execution of the tree mask, and the reason in a line.

    `asked` is `model.attention`; `has_kernel`: `triton` suits the backbone.

    Raises:
        DeviceError: an execution was asked for that this device cannot run.
    """
    on_gpu, half = hardware.device.type == "cuda", hardware.precision != "no"
    if asked in {"triton", "varlen", "flex"} and not on_gpu:
        raise DeviceError(f"model.attention is {asked}, which needs a CUDA GPU; use --attention auto or dense")
    if asked in {"triton", "varlen"} and not half:
        raise DeviceError(f"model.attention is {asked}, which needs half precision; set --mixed_precision bf16")
    if asked == "triton" and not has_kernel:
        raise DeviceError(
            "model.attention is triton, which needs the triton package, a GPU of compute capability 8.0 or later and a "
            "backbone with 2 to 16 query heads to a key head of size 16, 32, 64 or 128; use --attention auto"
        )
    if asked != "auto":
        return asked, f"attention: {asked} (as set)"
    if not on_gpu:
        return "dense", "attention: dense, tree by tree (a CPU has no block-sparse kernel)"
    if not half:
        return "flex", "attention: flex (float32 rules out the faster kernels)"
    if has_kernel:
        return "triton", "attention: triton, Surestep's own kernel for chains and branches"
    return "varlen", "attention: varlen for packs of chains, flex for packs with branches"


def memory_used_gb(device: torch.device) -> float:
    """Peak memory of the GPU, or the process's resident memory, in GB (1e9 bytes)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return float(psutil.Process().memory_info().rss) / 1e9


def memory_reserved_gb(device: torch.device) -> float:
    """Peak of what the process took of the GPU, gaps between tensors included, in GB; 0 on a CPU."""
    return torch.cuda.max_memory_reserved(device) / 1e9 if device.type == "cuda" else 0.0
