"""`surestep demo`: training and evaluation of the embedded model, from nothing to a table of figures.

Trains `builtin:tiny` on generated arithmetic, whose true confidence is known, and evaluates it on held-out
problems beside the baselines, the untrained model and the best possible one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surestep.cli.output.console import add_json_flag, result_console, say_json
from surestep.cli.output.example_solutions import example_lines
from surestep.cli.output.fitted_table import FittedTable
from surestep.config import TINY_BACKBONE, Config
from surestep.counted import counted
from surestep.errors import ConfigError
from surestep.files import CONFIG
from surestep.untrusted import read_json
from surestep.untrusted.bounds import shown

if TYPE_CHECKING:
    from surestep.scored import ScoredSteps
    from surestep.scoring.checkpoint.load import LoadedCheckpoint

EXPERIMENT = "demo"
LEAST_R2 = 0.5
"""R² on held-out problems below which the demo says that something is wrong, and exits with 1."""

CONSTANT, AFTER = "constant (training mean)", "after training"
_FIGURES = ("ece", "mse", "mae", "r2", "auroc")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--output_dir", "--output-dir", type=Path, default=Path("outputs"), help="where the run goes (default: outputs)"
    )
    parser.add_argument("--max_steps", "--max-steps", type=int, help="optimiser steps (default: the demo's own)")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="cpu", help="where to compute (default: cpu)"
    )
    add_json_flag(parser)


def demo_config(args: argparse.Namespace) -> Config:
    """The demo's settings: settings for a small model whose weights are all trained."""
    config = Config(experiment_name=EXPERIMENT, output_dir=args.output_dir)
    config.model.backbone = TINY_BACKBONE
    config.model.mlp_hidden_dims = [128]
    config.model.mlp_dropout = 0.0
    config.model.head_pooling = "mean"  # a result's digits stand ten tokens before the end of a line that states a rate
    config.data.use_only({"arithmetic"})
    config.data.max_steps_per_example = None
    config.training.device = args.device
    config.training.max_steps = 300 if args.max_steps is None else args.max_steps
    config.training.learning_rate = 2e-4
    config.training.head_learning_rate = 1e-3
    config.training.warmup_steps = min(20, config.training.max_steps // 5)
    config.training.per_device_train_batch_size = 32
    config.training.gradient_accumulation_steps = 1
    config.training.token_budget = 4096
    config.training.eval_steps = max(config.training.max_steps // 4, 1)
    config.training.save_steps = config.training.eval_steps
    config.training.validation_samples = 100
    config.training.logging_steps = max(config.training.max_steps // 20, 1)
    config.eval.save_predictions = True
    return config


def _refuse_other(folder: Path) -> None:
    """The demo starts anew each time, in place of the last one, but not of somebody's run of that name.

    Raises:
        ConfigError: naming its backbone.
    """
    try:
        values = read_json(folder / CONFIG)
        backbone = values["model"]["backbone"]
    except (OSError, ValueError, TypeError, KeyError):
        return  # none, or half of one: what is not of a run is refused later
    if backbone != TINY_BACKBONE:
        raise ConfigError(
            f"{folder} is a run of the backbone {shown(backbone)}, which the demo would replace; name another "
            "--output_dir"
        )


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 where the model beats R² 0.5 on held-out problems, else 1."""
    from surestep.cli.output.progress import TrainingDisplay, counting
    from surestep.evaluation.evaluate import default_output_dir, score_datasets, write_evaluation
    from surestep.metrics.report.wording import figure
    from surestep.scoring.build_model import build_model
    from surestep.scoring.checkpoint.load import load_checkpoint
    from surestep.scoring.hardware import choose_hardware
    from surestep.training.run import train

    started = time.monotonic()
    console = result_console(args)
    config = demo_config(args)
    config.check()
    _refuse_other(config.experiment_dir)
    console.print(
        f"Surestep demo: {TINY_BACKBONE} learns to score the steps of {config.data.arithmetic_problems:,} generated "
        "arithmetic problems.",
        highlight=False,
    )
    with counting(console) as counters:
        untrained = build_model(config, choose_hardware(config.training.device, config.training.mixed_precision))
        before = score_datasets(untrained, config, "test", progress=counters)
        display = TrainingDisplay(console, before=counters.close)
        trained = train(config, display, overwrite=True, progress=counters)
    if trained.result.stopped_by is not None:
        console.print(f"stopped by {trained.result.stopped_by.name}; `surestep demo` starts anew")
        return 128 + int(trained.result.stopped_by)
    with counting(console) as counters:
        loaded = load_checkpoint(trained.result.best)
        after = score_datasets(loaded.built, config, "test", progress=counters)
    evaluation = write_evaluation(loaded, after, default_output_dir(config.validation_dir, trained.result.best))
    mean = loaded.manifest.label_mean
    assert mean is not None, "training leaves the mean label in its checkpoints"
    reports = _reports(before.steps, after.steps, loaded, mean)
    if args.json:
        say_json(reports)
    else:
        console.print(headline(reports[AFTER], reports[CONSTANT]), highlight=False)
        console.print(_table(reports))
        console.print(_table_of_parts(evaluation.report))
    console.print("Three held-out solutions, the first of each kind, with the confidence of each step:")
    for line in example_lines(after.steps):
        console.print(line, highlight=False)
    r2 = evaluation.report["overall"]["r2"]
    console.print(f"checkpoint: {trained.result.best}", markup=False, highlight=False)
    console.print(f"results: {evaluation.path}, predictions.jsonl.gz beside it", markup=False, highlight=False)
    if evaluation.written is not None:
        address = evaluation.written.page.path.absolute().as_uri()
        console.print(f"the page, for a browser: {address}", highlight=False)
    console.print(f"{time.monotonic() - started:.0f} s in all", highlight=False)
    if r2 is None or r2 <= LEAST_R2:
        console.print(f"R² is {figure(r2)}, expected above {LEAST_R2}: too few steps, or something is wrong here")
        return 1
    console.print(
        "next: your own data (docs/how-to/train-on-my-data.md): surestep train --preset lora --data FILE",
        markup=False,
        highlight=False,
    )
    return 0


def _reports(
    before: ScoredSteps, after: ScoredSteps, loaded: LoadedCheckpoint, training_mean: float
) -> dict[str, dict[str, Any]]:
    from surestep.evaluation.baselines.scores import training_sets
    from surestep.evaluation.baselines.simple import predict_by_position, predict_constant, predict_truth
    from surestep.metrics.report import build_report

    rows = {
        CONSTANT: predict_constant(after, training_mean),
        "step position": predict_by_position(after, training_sets(loaded, loaded.config.data)),
        "before training": before,
        AFTER: after,
        "best possible (p*)": predict_truth(after),
    }
    reports: dict[str, Any] = {name: build_report(steps)["overall"] for name, steps in rows.items()}
    return reports


def headline(after: Mapping[str, Any], constant: Mapping[str, Any]) -> str:
    """What the demo is for, in one sentence: how near its confidences are to the truth, and how calibrated.

    Args:
        after: `overall` of a report on the trained model.
        constant: the same of the mean training label.

    >>> trained = {"truth": {"regret_noisy": 0.0123}, "ece": 0.02}
    >>> print(headline(trained, {"truth": {"regret_noisy": 0.0784}, "ece": 0.01}))
    confidence: mean (p - p*)² 0.0123 where chance decides the label (a constant: 0.0784), ECE of all steps 0.020
    """
    from surestep.metrics.report.wording import figure as regret_text
    from surestep.metrics.report.wording import number

    regret, of_constant = (regret_text(report["truth"]["regret_noisy"]) for report in (after, constant))
    return (
        f"confidence: mean (p - p*)² {regret} where chance decides the label (a constant: {of_constant}), "
        f"ECE of all steps {number(after['ece'])}"
    )


def _table(reports: dict[str, dict[str, Any]]) -> FittedTable:
    from surestep.metrics.report.wording import figure as regret_text
    from surestep.metrics.report.wording import number

    steps = next(iter(reports.values()))
    table = FittedTable(
        f"{counted(steps['num_steps'], 'step')} of {counted(steps['num_problems'], 'held-out problem')}"
    )
    table.add_columns_of("noisy regret", *_FIGURES, "clean MSE", first="scorer")
    for name, report in reports.items():
        truth = report["truth"]
        style = "bold" if name == AFTER else None
        table.add_row(
            name,
            regret_text(truth["regret_noisy"]),
            *(number(report[column], minus="-") for column in _FIGURES),
            regret_text(truth["clean"]["mse"]),
            style=style,
        )
    table.remark = (
        "noisy regret: mean (p - p*)² on steps whose label is drawn with a probability p* that the text reveals. clean "
        "MSE: on steps that the text decides. Operands and rates of part of these problems never occur in training."
    )
    return table


def _table_of_parts(report: dict[str, Any]) -> FittedTable:
    """Regret after training, mean (p - p*)², by what the problems hold that training never showed."""
    from surestep.metrics.report.wording import ends_of, with_interval

    table = FittedTable("after training: regret to the known truth, by what training never showed")
    table.add_columns_of("clean steps", "clean regret", "noisy steps", "noisy regret", first="problems")
    for row in report["overall"]["truth_by_part"]:
        cells: list[str] = []
        for kind in ("clean", "noisy"):
            name = f"regret_{kind}"
            cells += [f"{row[f'num_steps_{kind}']:,}", with_interval(row[name], ends_of(row, name))]
        table.add_row(row["part"], *cells)
    table.remark = (
        "Training shows none of the held-out pairs of operands, in either order, and none of the held-out rates."
    )
    return table
