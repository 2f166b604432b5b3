"""`surestep calibrate`: fit a checkpoint's confidence to labels, and store the map in it; or a scorer's, in a file."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from surestep.cli.checkpoint_argument import add_checkpoint, is_ensemble
from surestep.cli.flags import add_scoring_flags, override
from surestep.cli.output.console import add_json_flag, next_command, result_console, say, say_json
from surestep.cli.output.fitted_table import FittedTable
from surestep.cli.scorers import forms_shown, one_of, opened_scorer
from surestep.config import Config, get_default_config
from surestep.counted import counted
from surestep.data.datasets import LAYOUTS
from surestep.data.datasets.dataset import AUTO_LAYOUT
from surestep.errors import ConfigError
from surestep.files import CALIBRATION
from surestep.inference.tables.processes import find_processes, refuse_several_processes

if TYPE_CHECKING:
    from rich.console import Console

    from surestep.cli.scorers import OpenedScorer
    from surestep.evaluation.calibrate import CalibrationResult
    from surestep.scoring.build_model import BuiltModel


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    from surestep.calibration.maps import MAPS, Identity

    several = "; of several, the map is of their mean and goes into a file (--output)"
    add_checkpoint(parser, purpose=several, several=True)
    parser.add_argument("--scorer", metavar="FORM:PATH|FILE.json", help=f"another scorer instead: {forms_shown()}")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="with --scorer, or several checkpoints: where the map goes (default: calibration.json in the folder of "
        "their results)",
    )
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
    add_json_flag(parser)
    add_scoring_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Calibrate; 0 when done."""
    _check(args)
    if args.scorer is not None or is_ensemble(args) or args.remove:
        refuse_several_processes("calibrating another scorer or several checkpoints, and taking a map out,")
    if args.scorer is not None:
        return _calibrate_scorer(args)
    if is_ensemble(args):
        return _calibrate_ensemble(args)

    from surestep.scoring.checkpoint.find import locked_run
    from surestep.scoring.checkpoint.manifest import check_is_checkpoint

    check_is_checkpoint(args.checkpoint)
    if not find_processes(on_several_machines=True).is_first:
        return _help(args)
    with locked_run(args.checkpoint, command="surestep calibrate") as said:
        if said is not None:
            say(f"· {said}")
        return _remove(args.checkpoint) if args.remove else _calibrate(args)


def _help(args: argparse.Namespace) -> int:
    """Score a share of the trees for the first process of a launch."""
    from surestep.evaluation.launched import help_to_score, launched_together
    from surestep.scoring.checkpoint.load import load_checkpoint, read_config
    from surestep.scoring.hardware import for_scoring_here

    config = _config(args, for_scoring_here(read_config(args.checkpoint)))
    with launched_together() as together:
        built = load_checkpoint(args.checkpoint, config=config).built
        scorer = built.scorer(config, calibrated=False)
        seed = config.training.seed
        help_to_score(scorer, built, config.data, "validation", together, seed=seed, wanted="labelled")
    return 0


def _calibrate(args: argparse.Namespace) -> int:
    from surestep.cli.output.progress import counting
    from surestep.evaluation.calibrate import calibrate
    from surestep.evaluation.launched import launched_together
    from surestep.scoring.checkpoint.calibration_file import store_calibration
    from surestep.scoring.checkpoint.load import load_checkpoint, read_config
    from surestep.scoring.hardware import for_scoring_here

    console = result_console(args)
    config = _config(args, for_scoring_here(read_config(args.checkpoint)))
    with launched_together() as together, counting(console) as progress:
        loaded = load_checkpoint(args.checkpoint, config=config)
        result = calibrate(loaded.built, config, methods=_methods(args), progress=progress, together=together)
    if args.json:
        say_json(result.calibration.about)
    _show(console, result, with_table=not args.json)
    line = store_calibration(args.checkpoint, loaded.manifest, result.calibration)
    if line is not None:
        console.print(f"· {line}", markup=False, highlight=False)
    what = "replaced" if loaded.built.calibration is not None else "stored"
    console.print(f"{what}: {args.checkpoint / 'calibration.json'}", markup=False, highlight=False)
    console.print(next_command("surestep evaluate --checkpoint", args.checkpoint), markup=False, highlight=False)
    return 0


def _calibrate_scorer(args: argparse.Namespace) -> int:
    console = result_console(args)
    config = _config(args, get_default_config())
    with opened_scorer(args.scorer, config, console, use="none") as found:
        return _calibrate_opened(args, console, found, config, named=f"--scorer {args.scorer}", tokens_of=None)


def _calibrate_ensemble(args: argparse.Namespace) -> int:
    from surestep.cli.ensembles import open_ensemble
    from surestep.evaluation.ensemble import check_held_out

    console = result_console(args)
    opened = open_ensemble(args, console, use="none", settled=partial(_with_data, args))
    check_held_out(opened.loaded, opened.config.data, seed=opened.config.training.seed)
    named, tokens_of = opened.found.scorer.spec, opened.loaded.members[0].built
    return _calibrate_opened(args, console, opened.found, opened.config, named=named, tokens_of=tokens_of)


def _calibrate_opened(
    args: argparse.Namespace,
    console: Console,
    found: OpenedScorer,
    config: Config,
    *,
    named: str,
    tokens_of: BuiltModel | None,
) -> int:
    """Fit a scorer's map and write it into a file; `named` is how the next command names the scorer."""
    from surestep.cli.output.progress import counting
    from surestep.evaluation.calibrate import fit_maps
    from surestep.evaluation.evaluate import read_splits
    from surestep.files import write_text
    from surestep.scoring.checkpoint.calibration_file import calibration_text

    seed = config.training.seed
    with counting(console) as progress:
        splits = read_splits(config.data, "validation", seed=seed, progress=progress, tokens_of=tokens_of)
        result = fit_maps(
            found.scorer,
            splits,
            methods=_methods(args),
            seed=seed,
            progress=progress,
            about_scorer=found.scorer.about()["scorer"],
        )
    if args.json:
        say_json(result.calibration.about)
    _show(console, result, with_table=not args.json, unscored="got no score")
    path = args.output or config.output_dir / found.slug / CALIBRATION
    write_text(path, calibration_text(result.calibration))
    console.print(f"stored: {path}", markup=False, highlight=False)
    console.print(next_command(f"surestep evaluate {named} --calibration_file", path), markup=False, highlight=False)
    return 0


def _methods(args: argparse.Namespace) -> tuple[str, ...] | None:
    """The maps that compete with none; None: all."""
    return None if args.method in {None, "auto"} else (args.method,)


def _check(args: argparse.Namespace) -> None:
    one_of(args, "checkpoint", "scorer")
    if args.scorer is not None and args.remove:
        raise ConfigError("--remove takes a map out of a checkpoint: delete the file of --calibration_file instead")
    if is_ensemble(args) and args.remove:
        raise ConfigError("--remove takes a map out of a checkpoint, and several are named: name one of them")
    if args.scorer is None and args.output is not None and not is_ensemble(args):
        raise ConfigError("--output is where the map of --scorer goes; a checkpoint keeps its own: drop --output")
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
    return _with_data(args, override(config, args))


def _with_data(args: argparse.Namespace, config: Config) -> Config:
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
    if (line := store_calibration(folder, manifest, None)) is not None:
        say(line)
    say(f"removed: {folder / CALIBRATION}; the checkpoint gives the model's own confidence again")
    return 0


def _show(
    console: Console,
    result: CalibrationResult,
    *,
    with_table: bool,
    unscored: str = "are beyond the backbone's position limit and were not scored",
) -> None:
    for name, found in result.datasets.items():
        for note in found["reading"]["notes"]:
            console.print(f"· {name}: {note}", markup=False, highlight=False)
        if found["labels_beyond_position_limit"]:
            console.print(
                f"· {name}: {counted(found['labels_beyond_position_limit'], 'labelled step')} {unscored}",
                markup=False,
            )
    if with_table:
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


def _table(result: CalibrationResult) -> FittedTable:
    """Before and after, on problems that the map had not seen."""
    from surestep.evaluation.calibrate import WITHIN_FOLDS
    from surestep.evaluation.calibration_effect import FIGURES
    from surestep.metrics.report.wording import figure

    about = result.calibration.about
    table = FittedTable(
        f"{counted(about['num_steps'], 'step')} of {counted(about['num_problems'], 'problem')}, figures of held-out "
        "folds"
    )
    table.add_columns_of(*FIGURES, first="map")

    def add(name: str, figures: dict[str, float | None]) -> None:
        table.add_cells(name, *(figure(figures[column]) for column in FIGURES))

    chosen = result.fitted.choice.chosen.kind
    for name, figures in result.held_out.items():
        label = {"identity": "none (before)", WITHIN_FOLDS: "after, chosen within folds"}.get(name, name)
        add(f"{label} *" if name == chosen else label, figures["overall"])
    if len(result.datasets) > 1:
        for dataset in result.fitted.verdicts:
            add(f"{dataset}: none (before)", result.held_out["identity"]["per_dataset"][dataset])
            add(f"{dataset}: pooled, within folds", result.held_out[WITHIN_FOLDS]["per_dataset"][dataset])
    table.remark = (
        f"Each step is mapped by a map fitted without its problem ({counted(about['num_folds'], 'fold')} over "
        "problems). * is "
        "stored, fitted on all steps. The last row of all repeats the choice in each fold: expect that on new problems."
    )
    return table
