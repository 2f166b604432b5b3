"""How long, how fast and on what training runs, and what it leaves behind."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt

from surestep.config.loss import (
    BalancePositions,
    LabelSmoothing,
    Loss,
    LossOptions,
    PairwiseWeight,
    PosWeight,
    PqmMargin,
    PqmWeight,
    RatingCorrelation,
)
from surestep.config.other_names import OPTIMIZERS
from surestep.config.trackers import ReportTo
from surestep.counted import counted
from surestep.metrics.figures import with_direction
from surestep.settings import OneOf, Section

FULL_LEARNING_RATE = 2e-5
LORA_LEARNING_RATE = 1e-4

DEFAULT_WARMUP_STEPS = 500

SchedulerName = Literal[
    "cosine",
    "linear",
    "constant",
    "wsd",
    "polynomial",
    "inverse_sqrt",
    "cosine_with_restarts",
    "cosine_with_min_lr",
]
"""Shapes of the learning rate, by transformers' names; `wsd` is its warmup_stable_decay."""
OWN_SHAPES = {"cosine", "linear", "constant"}
"""Those that are not transformers' and take no `lr_scheduler_kwargs`."""

DEFAULT_MAX_STEPS = 10_000


def unset_by(name: str, value: object) -> dict[str, object]:
    """Fields of `training` that go back to their defaults when `name` is set to `value`.

    Warmup is a number of steps or a share of the run, never both, and the run is so many steps or passes over the data:
    whoever sets one does not mean the other.

    >>> unset_by("warmup_steps", 0), unset_by("warmup_ratio", 0.1), unset_by("warmup_ratio", None)
    ({'warmup_ratio': None}, {'warmup_steps': 500}, {})
    >>> unset_by("max_steps", 100), unset_by("num_train_epochs", 3)
    ({'num_train_epochs': None}, {'max_steps': 10000})
    """
    if name == "max_steps":
        return {"num_train_epochs": None}
    if name == "num_train_epochs" and value is not None:
        return {"max_steps": DEFAULT_MAX_STEPS}
    if name == "warmup_steps":
        return {"warmup_ratio": None}
    if name == "warmup_ratio" and value is not None:
        return {"warmup_steps": DEFAULT_WARMUP_STEPS}
    return {}


def _own_name(optimizer: object) -> object:
    return OPTIMIZERS.get(optimizer, optimizer) if isinstance(optimizer, str) else optimizer


class TrainingConfig(Section):
    """Optimisation, batching, validation during training, checkpoints and logs."""

    max_steps: PositiveInt = Field(DEFAULT_MAX_STEPS, description="Optimiser steps.")
    num_train_epochs: Annotated[float, Field(gt=0.0)] | None = Field(
        None,
        description=(
            "Length of the run in passes over the training trees of all datasets together, in place of `max_steps`, "
            "which follows when the data are read; setting one unsets the other."
        ),
    )
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        FULL_LEARNING_RATE, description="Peak learning rate (preset: 1e-4 with LoRA, 2e-5 in full)."
    )
    head_learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        None, description="Peak learning rate of the head and the `<CONFIDENCE>` row; unset: `learning_rate`."
    )
    layer_learning_rate_decay: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        None,
        description=(
            "Layer l of the backbone's L has the peak `learning_rate` times this to the power of L - l, its embeddings "
            "times this to the power of L; head and row keep theirs. Unset: one rate for the backbone."
        ),
    )
    per_device_train_batch_size: PositiveInt = Field(
        4,
        description="Examples (trees) a device takes in one accumulation step; `--batch_size` for short.",
    )
    gradient_accumulation_steps: PositiveInt = Field(4, description="Accumulation steps in one optimiser step.")
    lr_scheduler_type: SchedulerName = Field(
        "cosine",
        description=(
            "Shape of the learning rate after warmup; cosine and linear end at 0. `wsd` (warmup, stable, decay) "
            "falls in the last tenth. The others are transformers' own."
        ),
    )
    lr_scheduler_kwargs: dict[str, float | int | str] | None = Field(
        None,
        description='What transformers\' schedulers take besides: `{"min_lr_rate": 0.1}`, say.',
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
    optimizer: Annotated[Literal["adamw", "adamw_8bit"], BeforeValidator(_own_name)] = Field(
        "adamw",
        description=(
            "`adamw_8bit`: moments of the backbone's matrices in 8 bits, a quarter of the memory; needs the extra "
            "`memory`."
        ),
    )
    ema_decay: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(
        None,
        description=(
            "Validate and save an exponential moving average of the trained weights, over about 1 / (1 - this) steps "
            "(0.99: 100); unset: the weights themselves."
        ),
    )
    max_grad_norm: Annotated[float, Field(gt=0.0)] = Field(1.0, description="Gradients are clipped to this norm.")
    seed: NonNegativeInt = Field(42, description="Seeds initialisation, dropout, the mixture and the splits.")

    loss: Loss = "bce"
    loss_weighting: Literal["dataset", "step"] = Field(
        "dataset",
        description="`dataset`: weights are shares of the loss; `step`: every label drawn counts the same.",
    )
    rating_correlation: RatingCorrelation = 1.0
    balance_positions: BalancePositions = False
    label_smoothing: LabelSmoothing = 0.0
    pos_weight: PosWeight = 1.0
    pairwise_weight: PairwiseWeight = 0.0
    pqm_weight: PqmWeight = 0.0
    pqm_margin: PqmMargin = 4.0

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to compute.")
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = Field(
        "auto", description="`auto`: bf16 on a GPU that has it, fp16 on one that does not, none on a CPU."
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass: less memory, about a third slower."
    )
    fsdp: bool = Field(
        False,
        description=(
            "Share weights, gradients and moments out over the processes of a run (PyTorch's FSDP2), for a model that "
            "one GPU does not hold with them; otherwise each process holds all of it. Nothing to do with one process."
        ),
    )
    cuda_graphs: Literal["auto"] | bool = Field(
        "auto",
        description=(
            "Record each shape of pass once and run it again (CUDA, fused layers, weights not shared out). `auto`: "
            "where passes are so short that the GPU would wait for Python; `true`: wherever it can be. "
            "The numbers stay the same. Unless `false`, a server records short scoring passes, and other scoring long "
            "ones where there are many; they round as packs of another length do."
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
    report_to: ReportTo = Field(
        "auto",
        description=(
            "Experiment trackers, by Accelerate: `tensorboard`, `wandb`, `mlflow`, `aim`, several with commas. `auto`: "
            "TensorBoard where it is installed; `all`: every one that is installed; `none`: `metrics.jsonl` alone."
        ),
    )
    tensorboard: bool = Field(
        True, description="Whether `report_to` of `auto` and `all` includes TensorBoard, where it is installed."
    )
    init_from: Path | None = Field(
        None, description="Start from this checkpoint's weights, with fresh data, optimiser and schedule."
    )

    def __setattr__(self, name: str, value: Any) -> None:
        """Checked assignment; of two fields that mean the same (`unset_by`), the one assigned later is in force."""
        super().__setattr__(name, value)
        for other, default in unset_by(name, value).items():
            super().__setattr__(other, default)

    def settle_epochs(self, num_examples: int, *, num_processes: int = 1) -> str | None:
        """Put the steps of `num_train_epochs` into `max_steps`; a line on them, or None where steps were asked for.

        >>> config = TrainingConfig(num_train_epochs=2, per_device_train_batch_size=4, gradient_accumulation_steps=2)
        >>> config.settle_epochs(100)
        '2 epochs of 100 training trees are 25 steps of 8 (--max_steps overrides)'
        >>> config.max_steps, config.num_train_epochs
        (25, 2.0)
        """
        if self.num_train_epochs is None:
            return None
        at_once = self.per_device_train_batch_size * self.gradient_accumulation_steps * num_processes
        steps = math.ceil(self.num_train_epochs * num_examples / at_once)
        super().__setattr__("max_steps", steps)  # both stay: the configuration says what was asked, and what it came to
        return (
            f"{self.num_train_epochs:g} epochs of {num_examples:,} training trees are {counted(steps, 'step')} of "
            f"{at_once} (--max_steps overrides)"
        )

    def loss_options(self) -> LossOptions:
        """What decides the loss of a step, as plain values."""
        return LossOptions(**{name: getattr(self, name) for name in LossOptions.__dataclass_fields__})

    @property
    def num_warmup_steps(self) -> int:
        """Warmup in steps, from `warmup_ratio` where it is set."""
        if self.warmup_ratio is None:
            return self.warmup_steps
        return round(self.warmup_ratio * self.max_steps)
