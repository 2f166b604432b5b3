"""Does a model learn as well over frozen weights in 8 bits? LoRA on arithmetic, where the truth is known.

    python benchmarks/fp8_quality.py --seeds 1 2 3 --steps 300 --output fp8_quality.json

Pairs of runs that differ in nothing but the arithmetic of the frozen weights: `builtin:tiny`, adapters on every linear
layer, the same data, order and dropout. Each is also scored with `eval.scoring_weights` merged and fp8. Runs anywhere:
without a GPU the numbers are rounded to 8 bits as there and multiplied in float32. A small model on made data: whether
a model of billions loses something, it cannot tell.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from surestep.config import Config, get_lora_config
from surestep.encoding.formatter import Formatter
from surestep.model.fast.fuse import hold_in_fp8
from surestep.model.fast.weights_for_scoring import merge_adapters
from surestep.scoring.build_model import build_model
from surestep.scoring.hardware import choose_hardware
from surestep.training.events.validate import choose_subsets, validate
from surestep.training.passes.recorded import records_passes
from surestep.training.processes import make_accelerator
from surestep.training.trainer import Trainer
from surestep.training.training_sets import load_run_data

FIGURES = ("nll", "mse", "r2", "ece", "auroc")


def config_of(seed: int, steps: int, rate: float) -> Config:
    """The demo's data and head, under LoRA."""
    config = get_lora_config()
    config.model.backbone, config.model.mlp_hidden_dims, config.model.mlp_dropout = "builtin:tiny", [128], 0.0
    config.lora.lora_target_modules, config.lora.lora_dropout = "all-linear", 0.0
    config.lora.lora_r, config.lora.lora_alpha = 32, 64
    config.data.use_prm800k = config.data.use_eqasc = False
    config.data.use_arithmetic, config.data.max_steps_per_example = True, None
    training = config.training
    training.seed, training.max_steps, training.learning_rate = seed, steps, rate
    training.warmup_steps = steps // 10
    training.per_device_train_batch_size, training.gradient_accumulation_steps = 32, 1
    training.validation_samples = 500
    return config


def run(config: Config, *, fp8: bool) -> dict[str, Any]:
    """Losses of the steps, and the figures on held-out problems at the end by the weights that score."""
    hardware = choose_hardware("auto", "auto")
    built = build_model(config, hardware)
    data = load_run_data(config, built.tokenizer, Formatter(), max_positions=built.backbone.max_positions)
    if not built.model.is_fused:
        built.model.fuse_layers()
    if fp8:
        hold_in_fp8(built.model.transformer)
    accelerator = make_accelerator(hardware)
    trainer = Trainer(
        config.training,
        built,
        data.training,
        accelerator=accelerator,
        token_budget=4096,
        recorded=records_passes(config.training, config.lora, built, accelerator, 4096),
    )
    built.model.train()
    losses = [float(done.loss) for done in trainer.bare_steps()]
    subsets = choose_subsets(data.validation, config.training, tokens_per_step=1.0)

    def scored() -> dict[str, float]:
        record = validate(built.scorer(config), subsets, step=config.training.max_steps, metric="nll", best=None)
        return record.per_dataset["arithmetic"]

    figures = {"as_trained": scored()}
    merge_adapters(built.model)
    if not fp8:
        figures["merged"] = scored()
    hold_in_fp8(built.model.transformer)
    figures["fp8"] = scored()
    return {"losses": losses, "figures": figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--learning_rate", type=float, default=7e-4)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    rows = []
    for seed in arguments.seeds:
        for fp8 in (False, True):
            found = run(config_of(seed, arguments.steps, arguments.learning_rate), fp8=fp8)
            rows.append({"seed": seed, "base": "fp8" if fp8 else "same", **found})
            tail = sum(found["losses"][-50:]) / len(found["losses"][-50:])
            print(f"seed {seed}, base {rows[-1]['base']}: mean of the last 50 losses {tail:.4f}")
            for weights, values in found["figures"].items():
                figures = "  ".join(f"{name} {values[name]:.4f}" for name in FIGURES)
                print(f"  {weights:12s}{figures}", flush=True)
            if arguments.output is not None:
                arguments.output.write_text(json.dumps({"torch": torch.__version__, "rows": rows}) + "\n", "utf-8")


if __name__ == "__main__":
    main()
