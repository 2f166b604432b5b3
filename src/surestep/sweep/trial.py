"""One trial: its settings trained with each seed, the mean as its value; pruned, failed or stopped with a record.

Knows slots and runs; knows no process and no thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import optuna
from optuna.trial import TrialState

from surestep.errors import ConfigError, SurestepError
from surestep.lock import Holder
from surestep.metrics.figures import FIGURES
from surestep.sweep.plan import SweepPlan
from surestep.sweep.slots import (
    REASON,
    RUNS_DONE,
    SAME_AS,
    VALUES,
    WORKER,
    Slot,
    is_repeated,
    put_back,
    signature,
    suggest,
)
from surestep.sweep.stop import StopRequest
from surestep.sweep.training_process import RunEnd, RunTraining

_STEPS_OF_A_RUN = 10_000_000
"""Steps that lie between the validations of one run and those of the next, for pruning."""


class TrialFailedError(Exception):
    """A trial came to no value; the sweep goes on."""


class TrialStoppedError(Exception):
    """The sweep is being stopped; the trial goes on with it."""


@dataclass(frozen=True)
class Trials:
    """What a worker does with each trial that it takes.

    Attributes:
        plan: the sweep's.
        train: trains one run.
        me: this process.
        stop: looked at between and within runs.
        say: is told what the user should know.
    """

    plan: SweepPlan
    train: RunTraining
    me: Holder
    stop: StopRequest
    say: Callable[[str], None]

    def __call__(self, trial: optuna.Trial) -> float:
        """The trial's value: the mean over its seeds.

        Raises:
            optuna.TrialPruned: others do better.
            TrialFailedError: its settings contradict each other, or a run failed.
            TrialStoppedError: the sweep is being stopped; its slot was put back.
        """
        slot = Slot.of(trial)
        if slot is None or is_repeated(trial.study, trial, slot):
            raise optuna.TrialPruned
        trial.set_user_attr(WORKER, signature(self.me))
        values = suggest(self.plan, trial)
        trial.set_user_attr(VALUES, values)
        shown = ", ".join(f"{path.rpartition('.')[2]} {_short(value)}" for path, value in values.items())
        runs = self._of_twin(trial, slot, values) or list(slot.runs)
        for number, seed in enumerate(self.plan.seeds):
            if any(run["seed"] == seed for run in runs):
                continue
            try:
                config = self.plan.configuration(slot.number, seed, values)
            except ConfigError as error:
                raise self._failed(trial, slot, str(error)) from None
            of = f", seed {number + 1} of {self.plan.num_seeds}" if self.plan.num_seeds > 1 else ""
            self.say(f"trial {slot.number}{of}: {shown}")
            finished = [run["value"] for run in runs]
            try:
                end = self.train(config, validated=_Report(self.plan, trial, number, finished), stop=self.stop)
            except SurestepError:  # of the machine, a full disk say, not of the trial
                self._put_back(trial)
                raise
            runs.append({"seed": seed, "run": str(config.experiment_dir), **self._checked(trial, slot, end)})
            trial.set_user_attr(RUNS_DONE, runs)
        value = fmean(run["value"] for run in runs)
        self.say(f"trial {slot.number}: {self.plan.metric} {value:.4f}")
        return value

    def _of_twin(self, trial: optuna.Trial, slot: Slot, values: dict[str, Any]) -> list[dict[str, Any]]:
        """The runs of a finished trial with the very same values, which need not be trained again."""
        for other in trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            found = Slot.of(other)
            if found is not None and found.number != slot.number and other.user_attrs.get(VALUES) == values:
                trial.set_user_attr(SAME_AS, found.number)
                trial.set_user_attr(RUNS_DONE, found.runs)
                self.say(f"trial {slot.number}: the same settings as trial {found.number}, so the same runs")
                return found.runs
        return []

    def _checked(self, trial: optuna.Trial, slot: Slot, end: RunEnd) -> dict[str, Any]:
        """What a finished run came to; everything else ends the trial."""
        if end.how == "stopped":
            self._put_back(trial)
            raise TrialStoppedError
        if end.how == "pruned":
            self.say(f"trial {slot.number}: pruned, others do better at the same step")
            raise optuna.TrialPruned
        if end.result is None:
            raise self._failed(trial, slot, end.reason or "no reason is known")
        return end.result

    def _put_back(self, trial: optuna.Trial) -> None:
        frozen = next(one for one in trial.study.get_trials(deepcopy=False) if one.number == trial.number)
        put_back(trial.study, frozen, was_killed=False)

    def _failed(self, trial: optuna.Trial, slot: Slot, reason: str) -> TrialFailedError:
        trial.set_user_attr(REASON, reason)
        self.say(f"trial {slot.number}: failed: {reason}")
        return TrialFailedError(reason)


class _Report:
    """Hands the validations of one run on for pruning: the best so far, as mean over the seeds begun."""

    def __init__(self, plan: SweepPlan, trial: optuna.Trial, number: int, finished: list[float]) -> None:
        self._plan, self._trial, self._number, self._finished = plan, trial, number, finished
        self._best: float | None = None

    def __call__(self, step: int, value: float) -> bool:
        if self._best is None or FIGURES[self._plan.metric].is_better(value, self._best):
            self._best = value
        self._trial.report(fmean([*self._finished, self._best]), self._number * _STEPS_OF_A_RUN + step)
        return bool(self._trial.should_prune())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
