"""`surestep evaluate`: also behind `evaluate.py`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from surestep.cli.checkpoint_argument import ENSEMBLE, add_checkpoint, is_ensemble
from surestep.cli.commands.report import say_written
from surestep.cli.flags import add_scoring_flags, override
from surestep.cli.main import run_command
from surestep.cli.output.console import add_json_flag, result_console, say_json
from surestep.cli.output_places import replaced_result
from surestep.cli.parser import OneLineParser
from surestep.cli.scorers import OpenedScorer, add_scorer_flags, one_of, opened_scorer
from surestep.config import get_default_config
from surestep.counted import counted
from surestep.errors import ConfigError
from surestep.files import PREDICTIONS
from surestep.inference.tables.processes import refuse_several_processes

if TYPE_CHECKING:
    from surestep.config import Config
    from surestep.evaluation.evaluate import Evaluation
    from surestep.scoring.checkpoint.load import LoadedCheckpoint
    from surestep.scoring.spread.together import Together


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_checkpoint(parser, purpose=ENSEMBLE, several=True)
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
        help="which map of a calibrated checkpoint, or of --calibration_file, to apply: one for all data (default), "
        "each dataset's own where it has one, or none",
    )
    add_json_flag(parser)
    add_scorer_flags(parser)
    add_scoring_flags(parser, data_flag="data.own_test")


def run(args: argparse.Namespace) -> int:
    """Evaluate; 0 when done."""
    who = one_of(args, "checkpoint", "predictions", "scorer")
    if who == "predictions" and args.calibration is not None:
        raise ConfigError("--calibration applies a checkpoint's map: drop it, or name --checkpoint")
    if who != "scorer" and args.calibration_file is not None and not is_ensemble(args):
        raise ConfigError("--calibration_file is the map of --scorer: drop it, or name --scorer")

    from surestep.cli.output.solution_tables import sibling_lines, solutions_table
    from surestep.cli.output.tables import baselines_table, calibration_line, metrics_table, regret_lines, scorer_lines
    from surestep.evaluation.report.headline import verdict
    from surestep.metrics.error_analysis.wording import error_lines

    if who != "checkpoint" or is_ensemble(args):
        refuse_several_processes("evaluating several checkpoints" if who == "checkpoint" else f"evaluating a --{who}")
    console = result_console(args)
    of_checkpoint = _of_ensemble if is_ensemble(args) else _of_checkpoint
    made = {"predictions": _of_predictions, "checkpoint": of_checkpoint, "scorer": _of_scorer}
    evaluation = made[who](args, console)
    if evaluation is None:  # a process that helps the first one
        return 0
    solutions = evaluation.report["solution_level"]["per_dataset"]
    if args.json:
        say_json(evaluation.report)
    else:
        console.print(metrics_table(evaluation.report, title=f"{evaluation.report['split']} split"))
        for table in (baselines_table(evaluation.report), solutions_table(solutions)):
            if table is not None:
                console.print(table)
    console.print(f"{verdict(evaluation.report).headline}.", style="bold", highlight=False)
    errors = error_lines(evaluation.report["error_analysis"]["per_dataset"])
    for sentence in (*regret_lines(evaluation.report), *sibling_lines(solutions), *errors):
        console.print(f"· {sentence}", markup=False, highlight=False)
    for reason in evaluation.report["baselines_left_out"]:
        console.print(f"· left out: {reason}", markup=False, highlight=False)
    for row in evaluation.report["baselines"]:
        console.print(f"· {row['name']}: {row['about']}", markup=False, highlight=False)
    for name, count in evaluation.report["steps_without_label"].items():
        console.print(
            f"· {name}: {counted(count, 'step')} without a label, in no figure",
            markup=False,
            highlight=False,
        )
    for name, count in evaluation.report.get("labels_without_confidence", {}).items():
        line = f"· {name}: {counted(count, 'labelled step')} without a confidence, in no figure"
        console.print(line, markup=False, highlight=False)
    for name, dataset in evaluation.report.get("datasets", {}).items():
        if count := dataset["labels_beyond_position_limit"]:
            why = "got no score" if who == "scorer" else "are beyond the backbone's position limit and were not scored"
            console.print(f"· {name}: {counted(count, 'labelled step')} {why}", markup=False)
        for note in dataset["reading"]["notes"]:
            console.print(f"· {name}: {note}", markup=False, highlight=False)
    if "calibration" in evaluation.report:
        console.print(f"· {calibration_line(evaluation.report['calibration'])}", markup=False, highlight=False)
    for line in scorer_lines(evaluation.report):
        console.print(f"· {line}", markup=False, highlight=False)
    if evaluation.num_predictions is not None:
        console.print(f"{counted(evaluation.num_predictions, 'prediction')}: {evaluation.path.with_name(PREDICTIONS)}")
    if evaluation.written is not None:
        say_written(console, evaluation.written)
    for sentence in evaluation.left:
        console.print(f"· {sentence}", markup=False, highlight=False)
    console.print(f"results: {evaluation.path}", markup=False, highlight=False)
    return 0


@contextmanager
def _locked(folder: Path, console: Console, *, split: str, of: object) -> Iterator[None]:
    """Hold the lock of the folder that results go to, and say what they replace there (`replaced_result`)."""
    from surestep.evaluation.results.results_folder import locked_results

    replaced_result(folder, split=split, of=str(of))  # refuses before anything is written
    advice = "wait until it has ended, or name another --output_dir"
    with locked_results(folder, command="surestep evaluate", advice=advice) as lines:
        for line in [*lines, *replaced_result(folder, split=split, of=str(of))]:
            console.print(f"· {line}", markup=False, highlight=False)
        yield


def _of_predictions(args: argparse.Namespace, console: Console) -> Evaluation:
    from surestep.evaluation.evaluate import evaluate_predictions

    # A folder of its own: beside the file lies the result of the checkpoint that made it.
    beside = args.predictions.with_name(f"eval_{args.predictions.name.split('.')[0]}")
    settings = override(get_default_config(), args).eval
    folder = args.output_dir or beside
    with _locked(folder, console, split="as given", of=args.predictions):
        return evaluate_predictions(args.predictions, output_dir=folder, settings=settings, with_page=settings.report)


def _of_checkpoint(args: argparse.Namespace, console: Console) -> Evaluation | None:
    from surestep.evaluation.evaluate import default_output_dir
    from surestep.evaluation.launched import launched_together
    from surestep.scoring.checkpoint.load import read_config
    from surestep.scoring.hardware import for_scoring_here

    config = override(for_scoring_here(read_config(args.checkpoint)), args)
    folder = args.output_dir or default_output_dir(config.validation_dir, args.checkpoint)
    with launched_together() as together:
        if not together.is_first:
            _help(args, config, together)
            return None
        with _locked(folder, console, split=args.split, of=args.checkpoint):
            return _evaluated(args, config, folder, console, together)


def _help(args: argparse.Namespace, config: Config, together: Together) -> None:
    from surestep.evaluation.launched import help_to_score
    from surestep.scoring.checkpoint.load import load_checkpoint

    built = load_checkpoint(args.checkpoint, config=config).built
    scorer = built.scorer(config, calibrated=False)
    help_to_score(scorer, built, config.data, args.split, together, seed=config.training.seed)


def _of_ensemble(args: argparse.Namespace, console: Console) -> Evaluation:
    from surestep.cli.ensembles import open_ensemble
    from surestep.evaluation.ensemble import check_held_out

    opened = open_ensemble(args, console, use=args.calibration)
    found, config = opened.found, opened.config
    if args.split == "validation":
        check_held_out(opened.loaded, config.data, seed=config.training.seed)
    return _of_found(found, args, config, console, trained_as=opened.loaded.members[0])


def _of_scorer(args: argparse.Namespace, console: Console) -> Evaluation:
    config = override(get_default_config(), args)
    opened = opened_scorer(args.scorer, config, console, calibration_file=args.calibration_file, use=args.calibration)
    with opened as found:
        return _of_found(found, args, config, console)


def _of_found(
    found: OpenedScorer,
    args: argparse.Namespace,
    config: Config,
    console: Console,
    *,
    trained_as: LoadedCheckpoint | None = None,
) -> Evaluation:
    """Evaluate a scorer that is no single checkpoint, into its own folder; `trained_as` names its training data."""
    from surestep.cli.output.progress import counting
    from surestep.evaluation.evaluate import evaluate_scorer

    folder = args.output_dir or config.output_dir / found.slug
    with _locked(folder, console, split=args.split, of=found.scorer.spec), counting(console) as progress:
        return evaluate_scorer(
            found.scorer,
            config,
            split=args.split,
            output_dir=folder,
            progress=progress,
            stored=found.calibration,
            calibration=found.use,
            trained_as=trained_as,
        )


def _evaluated(
    args: argparse.Namespace, config: Config, folder: Path, console: Console, together: Together
) -> Evaluation:
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
            together=together,
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
