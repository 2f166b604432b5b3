"""What contradicts within a configuration, and what is allowed but seldom meant: a sentence each, all at once.

Knows the fields and what they mean together; knows no file of data and no device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from surestep.config.own_data import unread_own_data
from surestep.config.training import DEFAULT_WARMUP_STEPS, OWN_SHAPES
from surestep.counted import counted
from surestep.data.datasets import DATASET_NAMES, name_is_taken

if TYPE_CHECKING:
    from surestep.config import Config
    from surestep.config.training import TrainingConfig


def problems(config: Config) -> list[str]:
    """Each contradiction as one sentence that says how to fix it; empty where there is none."""
    return [
        *_data_problems(config),
        *_warmup_problems(config),
        *_schedule_problems(config),
        *_tracker_problems(config),
        *config.training.loss_options().problems(),
        *_place_problems(config),
        *_precision_problems(config),
        *fast_path_problems(config),
        *_sharding_problems(config),
    ]


def warnings(config: Config) -> list[str]:
    """What is allowed but seldom meant, one sentence each; a run says them at its start."""
    training = config.training
    warmup, steps, peak = training.num_warmup_steps, training.max_steps, training.learning_rate
    found = [*unread_own_data(config.data), *_long_average(training)]
    if warmup < steps:
        return found
    return [
        *found,
        f"warmup takes {counted(warmup, 'step')} and the run has {steps:,}: the learning rate only rises, to "
        f"{peak * steps / warmup:.2g} of {peak:g}; shorten it (--warmup_ratio 0.1) or train longer (--max_steps)",
    ]


def _long_average(training: TrainingConfig) -> list[str]:
    """An average that reaches back to the run's beginning is one over weights that were hardly trained."""
    decay = training.ema_decay
    if decay is None or (span := 1 / (1 - decay)) < training.max_steps:
        return []
    return [
        f"training.ema_decay {decay:g} averages the weights over about {counted(round(span), 'step')} and the run has "
        f"{training.max_steps:,}: its beginning stays in the average; a lower decay (0.9: 10 steps) forgets it"
    ]


def _data_problems(config: Config) -> list[str]:
    data, found = config.data, []
    if not data.used():
        flags = ", ".join(f"--use_{name}" for name in DATASET_NAMES)
        found.append(f"every dataset is disabled: enable at least one ({flags})")
    elif not data.enabled():
        found.append("the weights of the enabled datasets sum to 0: set one of them above 0")
    if data.use_own and data.own_train is None and data.own_test is None:
        found.append("data.use_own is set, but neither data.own_train nor data.own_test names a file")
    if data.use_own and (taken := name_is_taken(data.own_name, by="own")):
        found.append(f"data.{taken}")
    return found


def _schedule_problems(config: Config) -> list[str]:
    training = config.training
    if not training.lr_scheduler_kwargs or training.lr_scheduler_type not in OWN_SHAPES:
        return []
    return [
        f"training.lr_scheduler_kwargs is {training.lr_scheduler_kwargs}, but training.lr_scheduler_type is "
        f"{training.lr_scheduler_type}, which takes none: leave them out, or choose another shape"
    ]


def _tracker_problems(config: Config) -> list[str]:
    training = config.training
    if training.tensorboard or "tensorboard" not in training.report_to:
        return []
    return ["training.report_to names tensorboard, but training.tensorboard is false: drop one of them"]


def _warmup_problems(config: Config) -> list[str]:
    steps, ratio = config.training.warmup_steps, config.training.warmup_ratio
    if ratio is None or steps == DEFAULT_WARMUP_STEPS:  # every saved file holds both, the one not set at its default
        return []
    return [
        f"training.warmup_steps is {steps} and training.warmup_ratio {ratio:g}: warmup is one or the other; take one "
        f"out of the file, or give --warmup_steps {steps} or --warmup_ratio {ratio:g}, which unsets the other"
    ]


def _place_problems(config: Config) -> list[str]:
    """Settings that need a GPU, where the CPU was chosen."""
    found: list[str] = []
    if config.training.device != "cpu":
        return found
    if config.training.mixed_precision == "fp16":
        found.append("training.mixed_precision is fp16, which needs a GPU: use 'auto', 'no' or 'bf16' on the CPU")
    if config.model.attention in {"triton", "varlen", "flex"}:
        found.append(f"model.attention is {config.model.attention}, which needs a GPU: use 'auto' or 'dense'")
    return found


def _precision_problems(config: Config) -> list[str]:
    lora = config.lora
    if lora.base_precision != "same" and not lora.use_lora:
        return [
            f"lora.base_precision is {lora.base_precision}, which is for frozen weights, but lora.use_lora is false: "
            "set --use_lora true, or --base_precision same"
        ]
    if lora.base_precision == "fp8" and (config.model.head_layers, config.model.head_pooling) != ("last", "confidence"):
        return [
            "lora.base_precision is fp8, which needs fused layers, and with model.head_layers "
            f"{config.model.head_layers} and model.head_pooling {config.model.head_pooling} layers are not fused: use "
            "--base_precision same, or --head_layers last --head_pooling confidence"
        ]
    if lora.base_precision == "nf4" and config.training.device == "cpu":
        return ["lora.base_precision is nf4, which needs a CUDA GPU: use --base_precision same on the CPU"]
    return []


def fast_path_problems(config: Config) -> list[str]:
    """What is part of the fast path, or needs it, where the fast path is switched off, by name."""
    if config.model.fast_path:
        return []
    refused = {
        "model.compile is true": (config.model.compile is True, "--compile auto"),
        "training.cuda_graphs is true": (config.training.cuda_graphs is True, "--cuda_graphs auto"),
        "lora.base_precision is fp8, which needs fused layers": (
            config.lora.base_precision == "fp8",
            "--base_precision same",
        ),
    }
    return [
        f"{what}, but model.fast_path is false: use {otherwise}, or --fast_path true"
        for what, (holds, otherwise) in refused.items()
        if holds
    ]


def _sharding_problems(config: Config) -> list[str]:
    """What weights that are shared out do not go with, by name."""
    training = config.training
    if not training.fsdp:
        return []
    refused = {
        f"lora.base_precision {config.lora.base_precision}": (
            config.lora.base_precision != "same",
            "frozen weights are shared out as they are: use --base_precision same",
        ),
        "training.optimizer adamw_8bit": (
            training.optimizer == "adamw_8bit",
            "bitsandbytes updates whole weights only: use --optimizer adamw",
        ),
        "training.mixed_precision fp16": (
            training.mixed_precision == "fp16",
            "its loss is scaled: use --mixed_precision bf16 or no",
        ),
        "model.compile true": (config.model.compile is True, "compiled layers hold whole weights: use --compile false"),
        "training.cuda_graphs true": (
            training.cuda_graphs is True,
            "passes that put weights together are not recorded: use --cuda_graphs false",
        ),
    }
    return [
        f"training.fsdp does not go with {what}: {why}, or --fsdp false"
        for what, (holds, why) in refused.items()
        if holds
    ]
