"""`surestep train`: also behind `train.py` (full fine-tuning) and `train_lora.py` (LoRA)."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console

from surestep.cli.flags import add_config_flags, config_from_args, flag_values, override
from surestep.cli.main import run_command
from surestep.cli.output.console import add_json_flag, next_command, result_console, say, say_json
from surestep.cli.output.tables import metrics_table
from surestep.cli.parser import OneLineParser
from surestep.config import Config
from surestep.errors import ConfigError

if TYPE_CHECKING:
    from surestep.training.run import TrainedRun


def configure(parser: argparse.ArgumentParser, *, preset: str = "full") -> None:
    """Add the flags; `surestep data inspect` has the same."""
    parser.add_argument("--resume", action="store_true", help="continue exactly from the run's last checkpoint")
    parser.add_argument(
        "--accept_changed_data",
        action="store_true",
        help="with --resume: continue although the data are not those that the run was started with",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing run of the same name")
    add_json_flag(parser)
    add_config_flags(parser, preset=preset, data_flag="data.own_train")


def run(args: argparse.Namespace) -> int:
    """Train; 0 when done, 128 + signal after a clean stop."""
    config = run_config(args)
    config.check()

    from surestep.cli.output.progress import TrainingDisplay, counting
    from surestep.training.run import train

    console = result_console(args)
    with counting(console) as counters:
        display = TrainingDisplay(console, before=counters.close)
        trained = train(
            config,
            display,
            resume=args.resume,
            overwrite=args.overwrite,
            accept_changed_data=args.accept_changed_data,
            progress=counters,
        )
    return _conclude(trained, console, as_json=args.json)


def run_config(args: argparse.Namespace) -> Config:
    """The configuration of the run that the flags ask for; with --resume the run's own, flags on top.

    Raises:
        ConfigError: bad values, or flags that exclude each other.
        CheckpointError: there is nothing to resume.
    """
    if args.resume and args.overwrite:
        raise ConfigError("--resume and --overwrite exclude each other: drop one")
    if args.accept_changed_data and not args.resume:
        raise ConfigError("--accept_changed_data is for --resume: add it, or drop both")
    config = config_from_args(args)
    return _resumed(args, config) if args.resume else config


def _conclude(trained: TrainedRun, console: Console, *, as_json: bool) -> int:
    """Say how the run ended and what comes next; the exit code."""
    from surestep.training.processes import is_main_process

    result = trained.result
    if result.stopped_by is not None:
        if is_main_process():
            console.print(f"stopped by {result.stopped_by.name} after step {result.steps}; {result.last} is complete")
            console.print("continue with the same command and --resume", markup=False)
        return 128 + int(result.stopped_by)
    if trained.validation is None:  # not the main process of several
        return 0
    if result.early:
        console.print(f"stopped early at step {result.steps}: validation has not improved")
    if as_json:
        say_json(trained.validation)
    else:
        console.print(metrics_table(trained.validation, title=f"validation, best checkpoint ({result.best.name})"))
    console.print(f"validation report: {trained.report_path}", markup=False, highlight=False)
    console.print(next_command("python evaluate.py --checkpoint", result.best), markup=False, highlight=False)
    return 0


def _resumed(args: argparse.Namespace, config: Config) -> Config:
    """The run's own configuration, with the flags given now on top; each changed setting is printed."""
    from surestep.training.processes import is_main_process
    from surestep.training.start.origin import resumed_config

    saved = resumed_config(config.experiment_dir)
    resumed = override(saved, args)
    before, after = saved.to_dict(), resumed.to_dict()
    changed = [path for path in flag_values(args) if _get(before, path) != _get(after, path)]
    if changed and is_main_process():
        say(f"· resuming with other settings than the run was started with: {', '.join(changed)}")
    return resumed


def _get(values: dict[str, Any], path: str) -> Any:
    for name in path.split("."):
        values = values[name]
    return values


def script(preset: str) -> int:
    """What `train.py` and `train_lora.py` run."""
    parser = OneLineParser(description="Train a step-confidence model.", allow_abbrev=False)
    configure(parser, preset=preset)
    parser.set_defaults(run=run)
    return run_command(parser.parse_args(sys.argv[1:]))
