"""`surestep evaluate`: also behind `evaluate.py`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from surestep.cli.commands.report import say_written
from surestep.cli.flags import add_scoring_flags, override
from surestep.cli.main import run_command
from surestep.cli.parser import OneLineParser
from surestep.config import get_default_config
from surestep.errors import ConfigError
from surestep.files import PREDICTIONS

if TYPE_CHECKING:
    from surestep.config import Config
    from surestep.evaluation.evaluate import Evaluation


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="a checkpoint_step_<N> folder")
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE", help="evaluate this file of predictions instead, made by any scorer"
    )
    parser.add_argument(
        "--output_dir",
        "--output-dir",
        type=Path,
        metavar="FOLDER",
        help="where results go (default: outputs/eval_<experiment>/checkpoint_step_<N>; for --predictions a folder "
        "eval_<FILE> beside the file)",
    )
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="what to score (default: test)")
    parser.add_argument(
        "--calibration",
        choices=("pooled", "dataset", "none"),
        help="which map of a calibrated checkpoint to apply: one for all data (default), each dataset's own where it "
        "has one, or none",
    )
    add_scoring_flags(parser, data_flag="data.own_test")


def run(args: argparse.Namespace) -> int:
    """Evaluate; 0 when done."""
    if (args.checkpoint is None) == (args.predictions is None):
        raise ConfigError("name either --checkpoint FOLDER or --predictions FILE")
    if args.predictions is not None and args.calibration is not None:
        raise ConfigError("--calibration applies a checkpoint's map: drop it, or name --checkpoint")

    from surestep.cli.output.console import make_console
    from surestep.cli.output.tables import baselines_table, calibration_line, metrics_table, regret_lines

    console = make_console()
    evaluation = _of_predictions(args, console) if args.checkpoint is None else _of_checkpoint(args, console)
    console.print(metrics_table(evaluation.report, title=f"{evaluation.report['split']} split"))
    beside = baselines_table(evaluation.report)
    if beside is not None:
        console.print(beside)
    for sentence in (*evaluation.report["verdict"], *regret_lines(evaluation.report)):
        console.print(f"· {sentence}", markup=False, highlight=False)
    for reason in evaluation.report["baselines_left_out"]:
        console.print(f"· left out: {reason}", markup=False, highlight=False)
    for row in evaluation.report["baselines"]:
        console.print(f"· {row['name']}: {row['about']}", markup=False, highlight=False)
    for name, count in evaluation.report["steps_without_label"].items():
        console.print(f"· {name}: {count:,} steps have no label and are in no figure", markup=False, highlight=False)
    for name, dataset in evaluation.report.get("datasets", {}).items():
        if dataset["labels_beyond_position_limit"]:
            console.print(
                f"· {name}: {dataset['labels_beyond_position_limit']} labelled steps are beyond the backbone's "
                "position limit and were not scored",
                markup=False,
            )
        for note in dataset["reading"]["notes"]:
            console.print(f"· {name}: {note}", markup=False, highlight=False)
    if "calibration" in evaluation.report:
        console.print(f"· {calibration_line(evaluation.report['calibration'])}", markup=False, highlight=False)
    if evaluation.num_predictions is not None:
        console.print(f"{evaluation.num_predictions:,} predictions: {evaluation.path.with_name(PREDICTIONS)}")
    if evaluation.written is not None:
        say_written(console, evaluation.written)
    for sentence in evaluation.left:
        console.print(f"· {sentence}", markup=False, highlight=False)
    console.print(f"results: {evaluation.path}", markup=False, highlight=False)
    return 0


@contextmanager
def _locked(folder: Path, console: Console) -> Iterator[None]:
    """Hold the lock of the folder that results go to."""
    from surestep.evaluation.results.results_folder import locked_results

    advice = "wait until it has ended, or name another --output_dir"
    with locked_results(folder, command="surestep evaluate", advice=advice) as lines:
        for line in lines:
            console.print(f"· {line}", markup=False, highlight=False)
        yield


def _of_predictions(args: argparse.Namespace, console: Console) -> Evaluation:
    from surestep.evaluation.evaluate import evaluate_predictions

    # A folder of its own: beside the file lies the result of the checkpoint that made it.
    beside = args.predictions.with_name(f"eval_{args.predictions.name.split('.')[0]}")
    settings = override(get_default_config(), args).eval
    folder = args.output_dir or beside
    with _locked(folder, console):
        return evaluate_predictions(args.predictions, output_dir=folder, settings=settings, with_page=settings.report)


def _of_checkpoint(args: argparse.Namespace, console: Console) -> Evaluation:
    from surestep.evaluation.evaluate import default_output_dir
    from surestep.scoring.checkpoint.load import read_config
    from surestep.scoring.hardware import for_scoring_here

    config = override(for_scoring_here(read_config(args.checkpoint)), args)
    folder = args.output_dir or default_output_dir(config.validation_dir, args.checkpoint)
    with _locked(folder, console):
        return _evaluated(args, config, folder, console)


def _evaluated(args: argparse.Namespace, config: Config, folder: Path, console: Console) -> Evaluation:
    from surestep.cli.output.progress import counting
    from surestep.evaluation.evaluate import evaluate_checkpoint
    from surestep.scoring.checkpoint.load import load_checkpoint

    loaded = load_checkpoint(args.checkpoint, config=config)
    reasons = list(loaded.built.reasons)
    for reason in reasons:
        console.print(f"· {reason}", markup=False, highlight=False)
    with counting(console) as progress:
        evaluation = evaluate_checkpoint(
            loaded,
            config,
            split=args.split,
            output_dir=folder,
            calibration=args.calibration or "pooled",
            progress=progress,
        )
    for reason in loaded.built.reasons[len(reasons) :]:
        console.print(f"· {reason}", markup=False, highlight=False)
    return evaluation


def script() -> int:
    """What `evaluate.py` runs."""
    parser = OneLineParser(
        description="Score every step of the test splits and measure the scores.", allow_abbrev=False
    )
    configure(parser)
    parser.set_defaults(run=run)
    return run_command(parser.parse_args(sys.argv[1:]))
