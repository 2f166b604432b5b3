"""How long, how fast and on what training runs, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from surestep.config.base import Section

FULL_LEARNING_RATE = 2e-5
LORA_LEARNING_RATE = 1e-4

FLAG_ALIASES = {"training.per_device_train_batch_size": ["batch_size"]}
"""Dotted path of a field to the shorter flags that it answers to as well."""


class TrainingConfig(Section):
    """Optimisation, batching, validation during training, checkpoints and logs."""

    max_steps: PositiveInt = Field(10_000, description="Optimiser steps.")
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        FULL_LEARNING_RATE, description="Peak learning rate (preset: 1e-4 with LoRA, 2e-5 in full)."
    )
    head_learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        None, description="Peak learning rate of the head and the `<CONFIDENCE>` row; unset: `learning_rate`."
    )
    per_device_train_batch_size: PositiveInt = Field(
        4,
        description="Examples (problems) a device takes in one accumulation step; `--batch_size` for short.",
    )
    gradient_accumulation_steps: PositiveInt = Field(4, description="Accumulation steps in one optimiser step.")
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="Shape of the learning rate after warmup; cosine and linear end at 0."
    )
    warmup_steps: NonNegativeInt = Field(500, description="Steps in which the learning rate rises from 0.")
    warmup_ratio: Annotated[float, Field(ge=0.0, lt=1.0)] | None = Field(
        None, description="Warmup as a share of `max_steps`; where set, it replaces `warmup_steps`."
    )
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(
        0.01,
        description="AdamW's decoupled decay, on matrices only (not on biases, norms or the token's row).",
    )
    optimizer: Literal["adamw", "adamw_8bit"] = Field(
        "adamw",
        description=(
            "`adamw_8bit`: moments of the backbone's matrices in 8 bits, a quarter of the memory; needs the extra "
            "`memory`."
        ),
    )
    max_grad_norm: Annotated[float, Field(gt=0.0)] = Field(1.0, description="Gradients are clipped to this norm.")
    seed: NonNegativeInt = Field(42, description="Seeds initialisation, dropout, the mixture and the splits.")

    loss: Literal["bce", "mse"] = Field(
        "bce", description="`bce`: cross-entropy with soft labels; `mse`: squared error of the confidence."
    )
    loss_weighting: Literal["dataset", "step"] = Field(
        "dataset",
        description="`dataset`: weights are shares of the loss; `step`: every label drawn counts the same.",
    )

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to compute.")
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = Field(
        "auto", description="`auto`: bf16 on a GPU that has it, fp16 on one that does not, none on a CPU."
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass: less memory, about a third slower."
    )
    cuda_graphs: Literal["auto"] | bool = Field(
        "auto",
        description=(
            "Record each shape of pass once and replay it (CUDA, LoRA on fused layers, one process). `auto`: where "
            "passes are so short that the GPU would wait for Python. The numbers stay the same."
        ),
    )
    token_budget: PositiveInt | None = Field(
        None,
        description="Tokens in one forward pass; unset: what memory allows, at most batch size x `max_length`.",
    )

    eval_steps: PositiveInt = Field(100, description="Validate every this many steps.")
    save_steps: PositiveInt = Field(500, description="Save a checkpoint every this many steps, and at the end.")
    logging_steps: PositiveInt = Field(10, description="Log every this many steps.")
    save_total_limit: PositiveInt | None = Field(
        None, description="Checkpoints kept besides the best one; unset: all of them."
    )
    validation_samples: PositiveInt | None = Field(
        None,
        description=(
            "Problems per dataset scored at each validation, drawn by seed; unset: as many as keep validation "
            "to about a tenth of the work."
        ),
    )
    best_metric: Literal["nll", "mse", "mae", "ece", "auroc", "r2"] = Field(
        "nll", description="Metric (mean over datasets) that picks the best checkpoint."
    )
    early_stopping_patience: PositiveInt | None = Field(
        None, description="Stop after this many validations without a better one; unset: never."
    )
    tensorboard: bool = Field(True, description="Write TensorBoard logs too, where it is installed.")
    init_from: Path | None = Field(
        None, description="Start from this checkpoint's weights, with fresh data, optimiser and schedule."
    )

    @property
    def num_warmup_steps(self) -> int:
        """Warmup in steps, from `warmup_ratio` where it is set."""
        if self.warmup_ratio is None:
            return self.warmup_steps
        return round(self.warmup_ratio * self.max_steps)


class EvalConfig(Section):
    """How predictions are measured."""

    eval_token_budget: PositiveInt | None = Field(
        None, description="Tokens in one scoring pass; unset: what memory allows."
    )
    scoring_weights: Literal["as_trained", "merged", "fp8"] = Field(
        "as_trained",
        description=(
            "The weights that score. `merged`: adapters merged into the backbone's; a twentieth faster, rounds anew. "
            "`fp8`: merged and in 8-bit floats, on Hopper GPUs and later; faster again, less exact. Training and its "
            "validations always have them as trained."
        ),
    )
    save_predictions: bool = Field(
        True, description="Keep `predictions.jsonl.gz`, one line per step: what `compare` and the worst mistakes read."
    )
    report: bool = Field(True, description="Write `report.html`, its plots as PNG, and `MODEL_CARD.md`.")
    bootstrap_resamples: NonNegativeInt = Field(
        1000, description="How often the problems are resampled for the 95 % intervals; 0: no intervals."
    )
    bootstrap_seed: NonNegativeInt = Field(0, description="Seeds the resamples.")
    baselines: bool = Field(
        True,
        description=(
            "Measure baselines beside the model: constants, position and length, and TF-IDF with logistic regression "
            "fitted on the training split; `false` leaves only the constants."
        ),
    )
