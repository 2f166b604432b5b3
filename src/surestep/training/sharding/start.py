"""Whether a run's weights are shared out over its processes, and what cannot be had with it."""

from __future__ import annotations

from accelerate import Accelerator

from surestep.config import LoraConfig, TrainingConfig
from surestep.counted import counted
from surestep.errors import DeviceError
from surestep.model.sharding import shard_model
from surestep.scoring.build_model import BuiltModel


def may_fuse_layers(training: TrainingConfig, lora: LoraConfig, num_processes: int) -> bool:
    """Whether layers can be fused in a run of so many processes.

    Fused layers with frozen weights hold them in one tensor, which cannot be shared out; trained ones are read where
    FSDP2 has just put them together.
    """
    return not (training.fsdp and num_processes > 1 and lora.use_lora)


def shard_if_asked(built: BuiltModel, training: TrainingConfig, accelerator: Accelerator) -> str | None:
    """Share the weights out where `training.fsdp` asks for it and there is more than one process.

    Returns what was decided, in a line; None where there is nothing to decide: one process, and it is not asked for.

    Raises:
        BackboneError: the weights of this backbone cannot be shared out.
        DeviceError: the arithmetic that was chosen does not go with it.
    """
    count = accelerator.num_processes
    if count == 1:
        return (
            "fsdp: nothing to share out, for there is one process (torchrun, accelerate launch)"
            if training.fsdp
            else None
        )
    if not training.fsdp:
        return (
            f"{counted(count, 'process', 'processes')}: each holds the whole model (data parallel); --fsdp true "
            "shares it out"
        )
    if accelerator.scaler is not None:
        raise DeviceError(
            "training.fsdp does not go with fp16, whose loss is scaled: use --mixed_precision bf16 or no, or --fsdp "
            "false"
        )
    shard_model(built.model, built.hardware.device, built.hardware.compute_dtype)
    slower = ""
    if built.hardware.device.type == "cuda":
        slower = "; layers are not compiled" if built.model.is_fused else "; layers are neither fused nor compiled"
    return (
        f"{counted(count, 'process', 'processes')}: each holds 1/{count} of weights, gradients and moments "
        f"(FSDP2, as set){slower}"
    )
