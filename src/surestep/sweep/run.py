"""A whole sweep: begun or joined, worked on by this machine, and what it has found written into its folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surestep.errors import ConfigError
from surestep.evaluation.report.charts.png import write_png
from surestep.files import write_json
from surestep.lock import Holder
from surestep.stop_signals import Interrupted
from surestep.sweep.plan import BEST_CONFIG, PLOT, RESULTS, SweepPlan, plan_of, refuse_other_folder
from surestep.sweep.plot import sweep_chart
from surestep.sweep.results import results_of
from surestep.sweep.slots import begin_study, find_study, latest_by_slot, one_at_a_time, put_back_killed
from surestep.sweep.stop import StopRequest
from surestep.sweep.storage import HEARTBEAT_S, address_of, database_errors, open_storage
from surestep.sweep.training_process import RunTraining, TrainingProcess
from surestep.sweep.trial import Trials
from surestep.sweep.workers import environments, run_workers


@dataclass(frozen=True)
class SweepEnd:
    """What a sweep has found so far, and the signal that stopped this machine's part, if one did."""

    plan: SweepPlan
    results: dict[str, Any]
    stopped: Interrupted | None = None


def run_sweep(
    plan: SweepPlan,
    *,
    command: Sequence[str],
    workers: int,
    storage: str | None = None,
    gpus: Callable[[], list[str]] = list,
    say: Callable[[str], None],
    heartbeat_s: int = HEARTBEAT_S,
    train: RunTraining | None = None,
) -> SweepEnd:
    """Work on a sweep until no trial is left, beginning it or joining those that work on it.

    Args:
        plan: what to do.
        command: the words that start one run of training, before its flags.
        workers: trials at once.
        storage: a database that other machines share; None: a file in the sweep's folder.
        gpus: names of this machine's, asked for where there are several workers.
        say: is told what the user should know, from any thread.
        heartbeat_s: how often a worker says that it lives.
        train: in place of `command`.

    Raises:
        SurestepError: the sweep was begun with other settings, or its storage cannot be used.
    """
    refuse_other_folder(plan.folder)
    address = address_of(storage, plan.folder)
    me, stop = Holder.myself("surestep sweep"), StopRequest()
    with database_errors(address):
        with one_at_a_time(plan.folder):
            database = open_storage(address, when_dead=put_back_killed, heartbeat_s=heartbeat_s)
            study = begin_study(plan, database)
        found = environments(workers, gpus=gpus() if workers > 1 else [], cores=os.cpu_count() or 1)
        trials = [
            Trials(plan, train or TrainingProcess(command, plan.folder, one, say), me, stop, say) for one in found
        ]
        stopped = run_workers(plan, database, trials, me=me, stop=stop, say=say)
        results = results_of(plan, study)
    write_results(plan, results)
    return SweepEnd(plan, results, stopped)


def show_sweep(folder: Path, name: str, *, storage: str | None = None) -> SweepEnd:
    """What a sweep has found so far; nothing is trained.

    Raises:
        ConfigError: there is none of that name.
        StorageError: its database does not answer.
    """
    address = address_of(storage, folder)
    if storage is None and not Path(address.database or "").is_file():
        raise ConfigError(f"there is no sweep in {folder}; check --experiment_name and --output_dir")
    with database_errors(address):
        study, definition = find_study(name, open_storage(address, when_dead=put_back_killed))
        plan = plan_of(definition, output_dir=folder.parent, name=name, trials=len(latest_by_slot(study)))
        results = results_of(plan, study)
    write_results(plan, results)
    return SweepEnd(plan, results)


def write_results(plan: SweepPlan, results: Mapping[str, Any]) -> None:
    """Write the results, the chart and the best configuration into the sweep's folder."""
    write_json(plan.folder / RESULTS, results)
    if (best := results["best"]) is not None:
        plan.best_configuration(best["values"]).save(plan.folder / BEST_CONFIG)
    if (chart := sweep_chart(plan, results)) is not None:
        write_png(chart, plan.folder / PLOT)
