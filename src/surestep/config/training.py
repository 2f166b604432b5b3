"""How long, how fast and on what training runs, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from surestep.metrics.figures import with_direction
from surestep.settings import OneOf, Section

FULL_LEARNING_RATE = 2e-5
LORA_LEARNING_RATE = 1e-4

DEFAULT_WARMUP_STEPS = 500

FLAG_ALIASES = {"training.per_device_train_batch_size": ["batch_size"], "data.own_columns": ["columns"]}
"""Dotted path of a field to the shorter flags that it answers to as well."""


def unset_by(name: str, value: object) -> dict[str, object]:
    """Fields of `training` that go back to their defaults when `name` is set to `value`.

    Warmup is a number of steps or a share of the run, never both: whoever sets one does not mean the other.

    >>> unset_by("warmup_steps", 0), unset_by("warmup_ratio", 0.1), unset_by("warmup_ratio", None)
    ({'warmup_ratio': None}, {'warmup_steps': 500}, {})
    """
    if name == "warmup_steps":
        return {"warmup_ratio": None}
    if name == "warmup_ratio" and value is not None:
        return {"warmup_steps": DEFAULT_WARMUP_STEPS}
    return {}


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
        description="Examples (trees) a device takes in one accumulation step; `--batch_size` for short.",
    )
    gradient_accumulation_steps: PositiveInt = Field(4, description="Accumulation steps in one optimiser step.")
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="Shape of the learning rate after warmup; cosine and linear end at 0."
    )
    warmup_steps: NonNegativeInt = Field(
        DEFAULT_WARMUP_STEPS,
        description="Steps in which the learning rate rises from 0; setting it unsets `warmup_ratio`.",
    )
    warmup_ratio: Annotated[float, Field(ge=0.0, lt=1.0)] | None = Field(
        None, description="Warmup as a share of `max_steps`; setting it puts `warmup_steps` back to its default."
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
            "Record each shape of pass once and run it again (CUDA, LoRA on fused layers, one process). `auto`: where "
            "passes are so short that the GPU would wait for Python. The numbers stay the same. A server records short "
            "passes unless `false`."
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
    best_metric: Annotated[str, OneOf(with_direction)] = Field(
        "nll", description="Figure (mean over datasets) that picks the best checkpoint."
    )
    early_stopping_patience: PositiveInt | None = Field(
        None, description="Stop after this many validations without a better one; unset: never."
    )
    divergence_bound: Annotated[float, Field(gt=0.0)] | None = Field(
        3.0,
        description=(
            "Stop where the NLL of two validations in a row (of a run with one, of that) is above this many times that "
            "of a constant (the training mean) and of a coin (ln 2); `null`: never."
        ),
    )
    tensorboard: bool = Field(True, description="Write TensorBoard logs too, where it is installed.")
    init_from: Path | None = Field(
        None, description="Start from this checkpoint's weights, with fresh data, optimiser and schedule."
    )

    def __setattr__(self, name: str, value: Any) -> None:
        """Checked assignment; of `warmup_steps` and `warmup_ratio`, the one assigned later is in force."""
        super().__setattr__(name, value)
        for other, default in unset_by(name, value).items():
            super().__setattr__(other, default)

    @property
    def num_warmup_steps(self) -> int:
        """Warmup in steps, from `warmup_ratio` where it is set."""
        if self.warmup_ratio is None:
            return self.warmup_steps
        return round(self.warmup_ratio * self.max_steps)
