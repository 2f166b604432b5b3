"""The trials of a sweep as slots that workers take: as many as were asked for, none twice, none lost.

Each trial of the plan waits in the database as a slot: with the values of its point for a grid, without for the others.
The database gives each slot to one worker, however many there are, on however many machines. A trial whose worker was
killed or stopped puts its slot back, with the runs that it had finished. Knows the database; trains nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from surestep.errors import ConfigError, LockedError
from surestep.lock import Holder, locked
from surestep.sweep.plan import SweepPlan
from surestep.sweep.values import Choices

MOST_KILLS = 3
"""So often a trial may lose its worker; beyond that it is likely what kills it (memory, say)."""
_TRIALS_BEFORE_PRUNING = 3
_SECONDS_FOR_THE_BEGINNING = 60.0

# Keys of what a trial carries besides Optuna's own record.
SLOT, ATTEMPT, KILLS, WORKER, RUNS_DONE = "slot", "attempt", "kills", "worker", "runs"
VALUES, REASON, SAME_AS = "values", "reason", "same_as"
_DEFINITION = "definition"


@dataclass(frozen=True)
class Slot:
    """One trial of the plan.

    Attributes:
        number: counted from 1.
        attempt: 0 at first, one more each time that it is put back.
        kills: how often its worker was killed.
        runs: those of its runs that have finished, as JSON-ready values.
    """

    number: int
    attempt: int = 0
    kills: int = 0
    runs: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, trial: FrozenTrial | optuna.Trial) -> Slot | None:
        """That of a trial; None for one that Optuna made because no slot was left."""
        carried = trial.user_attrs
        if SLOT not in carried:
            return None
        return cls(carried[SLOT], carried.get(ATTEMPT, 0), carried.get(KILLS, 0), list(carried.get(RUNS_DONE, [])))

    def carried(self) -> dict[str, Any]:
        """What its trial carries from the beginning."""
        return {SLOT: self.number, ATTEMPT: self.attempt, KILLS: self.kills, RUNS_DONE: self.runs}


def begin_study(plan: SweepPlan, storage: optuna.storages.BaseStorage) -> optuna.Study:
    """The sweep's study, begun or found again, with a slot for each trial that the plan has.

    Raises:
        ConfigError: it was begun with other settings.
    """
    study = optuna.create_study(
        study_name=plan.name,
        storage=storage,
        direction="minimize" if plan.lower_is_better else "maximize",
        load_if_exists=True,
        pruner=_pruner(plan),
    )
    stored = study.user_attrs.get(_DEFINITION)
    if stored is None:
        study.set_user_attr(_DEFINITION, plan.definition())
    else:
        plan.check_same(stored)
    have = {slot.number for trial in study.get_trials(deepcopy=False) if (slot := Slot.of(trial)) is not None}
    points = list(plan.space.points()) if plan.sampler == "grid" else [{}] * plan.trials
    for number, point in enumerate(points, start=1):
        if number not in have:
            study.enqueue_trial(_encoded(plan, point), user_attrs=Slot(number).carried())
    return study


def find_study(name: str, storage: optuna.storages.BaseStorage) -> tuple[optuna.Study, dict[str, Any]]:
    """The study of a sweep that exists, and its definition.

    Raises:
        ConfigError: there is none of that name.
    """
    with suppress(KeyError):
        study = optuna.load_study(study_name=name, storage=storage)
        if _DEFINITION in study.user_attrs:
            return study, study.user_attrs[_DEFINITION]
    raise ConfigError(
        f"there is no sweep called {name} in this storage; check --experiment_name, --output_dir, --storage"
    )


def study_of_worker(plan: SweepPlan, storage: optuna.storages.BaseStorage) -> optuna.Study:
    """The study as a worker of its own sees it: studies are not shared between threads, databases are."""
    return optuna.load_study(study_name=plan.name, storage=storage, pruner=_pruner(plan))


def suggest(plan: SweepPlan, trial: optuna.Trial) -> dict[str, Any]:
    """The values of a trial's fields: of its slot, or drawn.

    What is drawn depends on the sweep's seed and the trial's number, not on which worker draws.
    """
    seed = plan.base.training.seed + trial.number
    trial.study.sampler = (
        optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        if plan.sampler == "tpe"
        else optuna.samplers.RandomSampler(seed=seed)
    )
    chosen: dict[str, Any] = {}
    for path, values in plan.space.free.items():
        if isinstance(values, Choices):
            codes = [json.dumps(value) for value in values.values]
            chosen[path] = values.values[codes.index(trial.suggest_categorical(path, codes))]
        elif values.whole:
            step = int(values.step or 1)
            chosen[path] = trial.suggest_int(path, int(values.low), int(values.high), step=step, log=values.log)
        else:
            chosen[path] = trial.suggest_float(path, values.low, values.high, step=values.step, log=values.log)
    return plan.space.complete(chosen)


def _encoded(plan: SweepPlan, point: dict[str, Any]) -> dict[str, Any]:
    """The values of a point as Optuna holds them: those of lists as JSON, since they may be lists themselves."""
    free = plan.space.free
    return {path: json.dumps(value) if isinstance(free[path], Choices) else value for path, value in point.items()}


def put_back(study: optuna.Study, trial: FrozenTrial, *, was_killed: bool) -> None:
    """Let a trial that did not come to its end be tried again, with the same values and the runs it has finished."""
    slot = Slot.of(trial)
    if slot is None or slot.kills + was_killed > MOST_KILLS:
        return
    again = Slot(slot.number, slot.attempt + 1, slot.kills + was_killed, slot.runs)
    study.enqueue_trial(trial.params, user_attrs=again.carried())


def put_back_killed(study: optuna.Study, trial: FrozenTrial) -> None:
    """The same for one whose worker has fallen silent."""
    put_back(study, trial, was_killed=True)


def take_over_dead(study: optuna.Study, *, me: Holder, grace_s: float) -> None:
    """Mark the trials of dead workers as failed and put their slots back.

    Those of this machine are known by their process; others by their heartbeat, which Optuna looks after.
    """
    optuna.storages.fail_stale_trials(study)
    for trial in running(study):
        holder = worker_of(trial)
        if holder is None:  # killed between taking the slot and saying so
            began = trial.datetime_start
            is_dead = began is not None and datetime.now() - began > timedelta(seconds=grace_s)
        else:
            is_dead = holder.is_here() and not _is_same(holder, me) and not holder.is_running()
        if is_dead:
            with suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):  # another worker was first
                study.tell(trial.number, state=TrialState.FAIL)
                put_back_killed(study, trial)


def running(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that are being tried, by whomever."""
    return list(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


def is_waiting(study: optuna.Study) -> bool:
    """Whether a slot waits for a worker."""
    return bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def is_repeated(study: optuna.Study, trial: optuna.Trial, slot: Slot) -> bool:
    """Whether an earlier trial holds the same attempt at the same slot.

    Two workers that begin a sweep at once on machines that share no folder may both have put it there.
    """
    return any(
        other.number < trial.number and (one := Slot.of(other)) is not None and _key(one) == _key(slot)
        for other in study.get_trials(deepcopy=False)
    )


def latest_by_slot(study: optuna.Study) -> dict[int, FrozenTrial]:
    """The trial that counts for each slot: its last attempt, in order of slots."""
    found: dict[int, tuple[tuple[int, int], FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        if (slot := Slot.of(trial)) is not None:
            rank = (slot.attempt, -trial.number)
            if slot.number not in found or rank > found[slot.number][0]:
                found[slot.number] = (rank, trial)
    return {number: found[number][1] for number in sorted(found)}


def worker_of(trial: FrozenTrial) -> Holder | None:
    """Who tries a trial, once it has said so."""
    return Holder.read(str(trial.user_attrs.get(WORKER, "")))


def signature(me: Holder) -> str:
    """What a worker leaves in its trial, for `worker_of`."""
    return json.dumps(asdict(me))


def is_elsewhere(trial: FrozenTrial, me: Holder) -> bool:
    """Whether a trial is tried by another process."""
    holder = worker_of(trial)
    return holder is None or not _is_same(holder, me)


def _is_same(one: Holder, other: Holder) -> bool:
    return (one.host, one.pid, one.process_started) == (other.host, other.pid, other.process_started)


def _key(slot: Slot) -> tuple[int, int]:
    return slot.number, slot.attempt


def _pruner(plan: SweepPlan) -> optuna.pruners.BasePruner:
    """What stops trials; not within the warmup, where the rate has hardly begun."""
    if not plan.pruning:
        return optuna.pruners.NopPruner()
    warmup = plan.base.training.num_warmup_steps
    return optuna.pruners.MedianPruner(n_startup_trials=_TRIALS_BEFORE_PRUNING, n_warmup_steps=warmup)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold the lock of the sweep's folder while it is begun; another worker that begins it now is waited for."""
    deadline = time.monotonic() + _SECONDS_FOR_THE_BEGINNING
    while True:
        try:
            with locked(folder, command="surestep sweep"):
                yield
            return
        except LockedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
