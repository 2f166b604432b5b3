"""`surestep calibrate`: fit a checkpoint's confidence to labels, and store the map in it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from surestep.cli.flags import add_scoring_flags, override
from surestep.cli.output.console import make_console, say
from surestep.config import Config
from surestep.data.datasets import LAYOUTS
from surestep.data.datasets.dataset import AUTO_LAYOUT
from surestep.errors import ConfigError
from surestep.files import CALIBRATION

if TYPE_CHECKING:
    from rich.console import Console

    from surestep.evaluation.calibrate import CalibrationResult


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    from surestep.calibration.maps import MAPS, Identity

    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FOLDER", help="a checkpoint_step_<N> folder")
    parser.add_argument(
        "--data", type=Path, metavar="FILE", help="labelled steps to calibrate on, in place of the validation split"
    )
    parser.add_argument(
        "--format", choices=(AUTO_LAYOUT, *LAYOUTS), help="layout of --data (default: recognised by its keys)"
    )
    parser.add_argument(
        "--split",
        choices=("validation", "test"),
        default="validation",
        help="always validation: the test split is for evaluation only",
    )
    parser.add_argument(
        "--method",
        "--methods",
        choices=("auto", *(kind for kind in MAPS if kind != Identity.kind)),
        help="auto (default): the map of lowest cross-validated NLL; a named one competes with none only. None stays "
        "unless another lowers NLL and raises neither Brier score nor ECE, beyond noise",
    )
    parser.add_argument("--remove", action="store_true", help="remove the calibration from the checkpoint")
    add_scoring_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Calibrate; 0 when done."""
    _check(args)

    from surestep.scoring.checkpoint.find import locked_run
    from surestep.scoring.checkpoint.manifest import check_is_checkpoint

    check_is_checkpoint(args.checkpoint)
    with locked_run(args.checkpoint, command="surestep calibrate") as said:
        if said is not None:
            say(f"· {said}")
        return _remove(args.checkpoint) if args.remove else _calibrate(args)


def _calibrate(args: argparse.Namespace) -> int:
    from surestep.cli.output.progress import counting
    from surestep.evaluation.calibrate import calibrate
    from surestep.scoring.checkpoint.calibration_file import store_calibration
    from surestep.scoring.checkpoint.load import load_checkpoint, read_config
    from surestep.scoring.hardware import for_scoring_here

    console = make_console()
    config = _config(args, for_scoring_here(read_config(args.checkpoint)))
    loaded = load_checkpoint(args.checkpoint, config=config)
    methods = None if args.method in {None, "auto"} else (args.method,)
    with counting(console) as progress:
        result = calibrate(loaded.built, config, methods=methods, progress=progress)
    _show(console, result)
    store_calibration(args.checkpoint, loaded.manifest, result.calibration)
    what = "replaced" if loaded.built.calibration is not None else "stored"
    console.print(f"{what}: {args.checkpoint / 'calibration.json'}", markup=False, highlight=False)
    console.print(f"next: surestep evaluate --checkpoint {args.checkpoint}", markup=False, highlight=False)
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.split == "test":
        raise ConfigError(
            "--split test: the test split is for evaluation only; calibrate on validation, or name other labels "
            "with --data"
        )
    if args.format is not None and args.data is None:
        raise ConfigError("--format is the layout of --data: name a file with --data")
    if args.remove and (args.data is not None or args.method is not None):
        raise ConfigError("--remove only removes the calibration: drop --data and --method, or drop --remove")


def _config(args: argparse.Namespace, config: Config) -> Config:
    config = override(config, args)
    if args.data is None:
        return config
    config.data.use_only({"own"})
    config.data.own_validation = args.data
    config.data.own_format = args.format or AUTO_LAYOUT
    return config


def _remove(folder: Path) -> int:
    from surestep.scoring.checkpoint.calibration_file import store_calibration
    from surestep.scoring.checkpoint.manifest import read_manifest

    manifest = read_manifest(folder, with_state=False)
    if CALIBRATION not in manifest.files:
        say(f"{folder} has no calibration")
        return 0
    store_calibration(folder, manifest, None)
    say(f"removed: {folder / CALIBRATION}; the checkpoint gives the model's own confidence again")
    return 0


def _show(console: Console, result: CalibrationResult) -> None:
    for name, found in result.datasets.items():
        for note in found["reading"]["notes"]:
            console.print(f"· {name}: {note}", markup=False, highlight=False)
        if found["labels_beyond_position_limit"]:
            console.print(
                f"· {name}: {found['labels_beyond_position_limit']} labelled steps are beyond the backbone's position "
                "limit and were not scored",
                markup=False,
            )
    console.print(_table(result))
    choice = result.fitted.choice
    for kind, judgement in choice.judgements.items():
        console.print(f"· {kind} {judgement.in_words()}", markup=False, highlight=False)
    console.print(f"pooled map: {choice.chosen.in_words()}", markup=False, highlight=False)
    if choice.chosen.kind == "identity":
        console.print(
            "no map is clearly better than none on held-out problems, in NLL and without harm to Brier score or ECE: "
            "the confidence stays as it is"
        )
    for name, verdict in result.fitted.verdicts.items():
        own = "its own map, " + verdict.own.in_words() if verdict.own is not None else "the pooled map"
        console.print(f"· {name}: {own}; {verdict.reason}", markup=False, highlight=False)
        for kind, judgement in verdict.maps.items():
            console.print(f"·   {kind} on {name} alone {judgement.in_words()}", markup=False, highlight=False)


def _table(result: CalibrationResult) -> Table:
    """Before and after, on problems that the map had not seen."""
    from surestep.evaluation.calibrate import WITHIN_FOLDS
    from surestep.evaluation.calibration_effect import FIGURES
    from surestep.metrics.report.wording import figure

    about = result.calibration.about
    table = Table(
        title=f"{about['num_steps']:,} steps of {about['num_problems']:,} problems, figures of held-out folds"
    )
    table.add_column("dataset")
    table.add_column("map")
    for name in FIGURES:
        table.add_column(name, justify="right")

    def add(dataset: str, name: str, figures: dict[str, float | None]) -> None:
        table.add_row(dataset, name, *(figure(figures[column]) for column in FIGURES))

    chosen = result.fitted.choice.chosen.kind
    for name, figures in result.held_out.items():
        label = {"identity": "none (before)", WITHIN_FOLDS: "after, chosen within folds"}.get(name, name)
        add("all" if name == "identity" else "", f"{label} *" if name == chosen else label, figures["overall"])
    if len(result.datasets) > 1:
        for dataset in result.fitted.verdicts:
            add(dataset, "none (before)", result.held_out["identity"]["per_dataset"][dataset])
            add("", "pooled, chosen within folds", result.held_out[WITHIN_FOLDS]["per_dataset"][dataset])
    table.caption = (
        f"Each step is mapped by a map fitted without its problem ({about['num_folds']} folds over problems). * is "
        "stored, fitted on all steps. The last row of all repeats the choice in each fold: expect that on new problems."
    )
    return table
