"""`surestep sweep`: many runs of training over a space of settings, and the best of them by validation."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from surestep.cli.flags import add_config_flags, add_section_flags, config_from_args, section_from_args
from surestep.cli.output.console import add_json_flag, next_command, result_console, say_json
from surestep.counted import counted
from surestep.errors import ConfigError
from surestep.sweep.plan import BEST_CONFIG, PLOT, SweepPlan, SweepSettings
from surestep.sweep.presets import PRESETS
from surestep.sweep.space import read_space

if TYPE_CHECKING:
    from surestep.cli.output.fitted_table import FittedTable
    from surestep.sweep.run import SweepEnd

_TRAIN = [sys.executable, "-m", "surestep.cli.main", "train"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags: the sweep's own, and those of the configuration that every trial starts from."""
    sweep = parser.add_argument_group("sweep")
    sweep.add_argument(
        "--space",
        action="append",
        default=[],
        metavar="FIELD=VALUES|PRESET|FILE",
        help="what to try, as often as there are fields: training.learning_rate=log:1e-5..1e-3, lora.lora_r=8,16,32, "
        f"lora.lora_alpha=2*lora.lora_r; a preset ({', '.join(PRESETS)}); or a JSON or YAML file",
    )
    add_section_flags(sweep, SweepSettings)
    sweep.add_argument(
        "--storage",
        metavar="URL",
        help="database that several machines share, postgresql://USER@HOST/NAME say (default: a file in the sweep's "
        "folder)",
    )
    sweep.add_argument("--show", action="store_true", help="show what has been found so far; train nothing")
    add_json_flag(parser)
    add_config_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Sweep, or show one; the signal that stopped it is raised again, so that the exit code is 130 or 143."""
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError("surestep sweep needs optuna: pip install 'surestep[sweep]'")
    config = config_from_args(args)
    settings = section_from_args(args, SweepSettings)
    console, one_at_a_time = result_console(args), Lock()

    def say(line: str) -> None:
        with one_at_a_time:
            console.print(f"· {line}", markup=False, highlight=False)

    if args.show:
        from surestep.sweep.run import show_sweep

        end = show_sweep(config.experiment_dir, config.experiment_name, storage=args.storage)
    else:
        config.check()
        plan = SweepPlan.of(config, read_space(args.space, config), settings)

        from surestep.sweep.run import run_sweep

        for line in [*_beginning(plan), *plan.space.warnings(config)]:
            say(line)
        end = run_sweep(
            plan, command=_TRAIN, workers=settings.workers, storage=args.storage, gpus=_visible_gpus, say=say
        )
    _print(end, args)
    if end.stopped is not None:
        say("go on with the same command")
        raise end.stopped
    return 0


def _beginning(plan: SweepPlan) -> list[str]:
    space = ", ".join(f"{path} {values}" for path, values in plan.space.values.items())
    seeds = f", {counted(plan.num_seeds, 'seed')} each" if plan.num_seeds > 1 else ""
    return [
        f"sweep {plan.name}: {space}",
        f"{counted(plan.trials, 'trial')} ({plan.sampler}){seeds}, by the validation {plan.metric} of each run's "
        "best checkpoint",
    ]


def _visible_gpus() -> list[str]:
    """Names of the GPUs that runs may use, as CUDA_VISIBLE_DEVICES takes them."""
    if (set_by_user := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in set_by_user.split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def _print(end: SweepEnd, args: argparse.Namespace) -> None:
    from surestep.sweep.results import remarks

    console = result_console(args)
    said = remarks(end.plan, end.results)
    if args.json:
        say_json({**end.results, "remarks": said})
    else:
        console.print(_table(end.plan, end.results))
    for row in end.results["trials"]:
        if row["state"] == "failed":
            console.print(f"· trial {row['trial']} failed: {row['reason']}", markup=False, highlight=False)
    for line in said:
        console.print(f"· {line}", markup=False, highlight=False)
    if end.results["best"] is not None:
        best: Path = end.plan.folder / BEST_CONFIG
        console.print(f"chart: {end.plan.folder / PLOT}", markup=False, highlight=False)
        console.print(next_command("surestep train --config", best), markup=False, highlight=False)


def _table(plan: SweepPlan, results: Mapping[str, Any]) -> FittedTable:
    """A row a trial, the best one first."""
    from surestep.cli.output.fitted_table import FittedTable
    from surestep.metrics.report.wording import figure, with_interval

    paths = list(plan.space.values)
    short = [path.rpartition(".")[2] for path in paths]
    names = [name if short.count(name) == 1 else path for name, path in zip(short, paths, strict=True)]
    table = FittedTable(f"sweep {plan.name}, by validation {plan.metric} ({results['better']} is better)")
    table.add_columns_of(*names, plan.metric, "all held-out problems", "runs", "state", first="trial")
    for row in results["trials"]:
        ends = (row["interval"]["low"], row["interval"]["high"]) if row["interval"] else None
        held_out = row["held_out"] or {"value": None, "low": None, "high": None}
        within = None if held_out["low"] is None else (held_out["low"], held_out["high"])
        state = f"as trial {row['same_as']}" if row["same_as"] is not None else row["state"]
        value = with_interval(row["mean"], ends) if row["mean"] is not None else _of_unfinished(row)
        table.add_cells(
            str(row["trial"]),
            *(_cell(row["values"].get(path)) for path in paths),
            value,
            with_interval(held_out["value"], within) if held_out["value"] is not None else figure(None),
            str(len(row["runs"])),
            state,
        )
    counts = ", ".join(f"{count} {state}" for state, count in results["counts"].items() if count)
    over = "over seeds (Student's t)" if plan.num_seeds > 1 else "over problems (bootstrap)"
    table.remark = f"{counts}; brackets: 95 % interval {over}; (n): the last value of a trial that was not finished"
    return table


def _of_unfinished(row: Mapping[str, Any]) -> str:
    return "–" if row["last_value"] is None else f"({row['last_value']:.4f})"


def _cell(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
