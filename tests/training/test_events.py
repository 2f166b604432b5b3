"""What happens around the loop, and in which order: a contract of `surestep.training.events`."""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runs import Watcher
from surestep.config import Config
from surestep.errors import SurestepError
from surestep.training.events import RunView, TrainingEvents
from surestep.training.events.log import Log
from surestep.training.events.save import Save
from surestep.training.events.stop import Stop
from surestep.training.events.validate import Validate
from surestep.training.optimizer_step import OptimizerStep
from surestep.training.run import train
from surestep.training.run_state import RunState

RHYTHM = {"max_steps": 6, "logging_steps": 1, "eval_steps": 2, "save_steps": 4}


@pytest.mark.slow
def test_a_step_is_heard_of_logged_validated_and_saved_in_this_order(run_config: Callable[..., Config]) -> None:
    watcher = Watcher()
    train(run_config(**RHYTHM), watcher)
    kinds = [kind for kind, _ in watcher.events if kind != "say"]
    plain, validated, saved = ["stepped", "logged"], ["validated"], ["saved"]
    steps = [plain, plain + validated, plain, plain + validated + saved, plain, plain + validated + saved]
    assert kinds == ["started", *(kind for step in steps for kind in step), "finished"]


def test_events_of_a_run_stand_in_their_order(run_config: Callable[..., Config]) -> None:
    seen: list[Any] = []

    class Looking(TrainingEvents):
        def started(self, run: RunView) -> None:
            seen.extend(run.events)

    looking = Looking()
    train(run_config(max_steps=1), looking)
    built_in = [type(event) for event in seen if type(event) in {Log, Validate, Stop, Save}]
    assert seen[0] is looking, "listeners from outside hear of a step before its consequences"
    assert built_in == [Log, Validate, Stop, Save] == [type(event) for event in seen[-4:]]


def test_a_diverged_loss_is_refused_before_it_is_validated(run_config, monkeypatch) -> None:
    original = OptimizerStep._pack_loss
    monkeypatch.setattr(OptimizerStep, "_pack_loss", lambda self, pack: original(self, pack) * float("nan"))
    watcher = Watcher()
    with pytest.raises(SurestepError, match="the loss is nan at step 1"):
        train(run_config(max_steps=4, eval_steps=1, save_steps=1, logging_steps=3), watcher)
    assert watcher.of("validated") == watcher.of("saved") == []
    assert watcher.events[-1][0] == "finished"


def test_a_signal_during_the_validation_stops_this_very_step_with_its_checkpoint(run_config) -> None:
    class Interrupting(Watcher):
        def validated(self, record: Any) -> None:
            super().validated(record)
            os.kill(os.getpid(), signal.SIGTERM)

    watcher = Interrupting()
    result = train(run_config(**RHYTHM), watcher).result
    assert (result.steps, result.last.name) == (2, "checkpoint_step_2")
    assert result.stopped_by == signal.SIGTERM
    assert result.last.is_dir()


def test_a_stop_saves_without_validating(run_config) -> None:
    watcher = Watcher({3: lambda: os.kill(os.getpid(), signal.SIGTERM)})
    result = train(run_config(**RHYTHM), watcher).result
    assert result.last.name == "checkpoint_step_3"
    assert [record.step for record in watcher.of("validated")] == [2]


def test_a_listener_may_ask_for_a_checkpoint_or_a_stop(run_config) -> None:
    class Asking(Watcher):
        def started(self, run: RunView) -> None:
            self.run = run

        def step_done(self, done: Any) -> None:
            super().step_done(done)
            if done.step == 1:
                self.run.request_save()
            if done.step == 3:
                self.run.request_stop("patience")

    watcher = Asking()
    result = train(run_config(**RHYTHM), watcher).result
    assert [folder.name for folder in watcher.of("saved")] == ["checkpoint_step_1", "checkpoint_step_3"]
    assert (result.steps, result.early) == (3, True)


def test_the_first_reason_to_stop_counts() -> None:
    view = RunView(RunState(), max_steps=3)
    view.request_stop("signal")
    view.request_stop("patience")
    assert view.stop_reason == "signal"


def test_every_hook_does_nothing_by_default() -> None:
    hooks = [name for name, _ in inspect.getmembers(TrainingEvents, inspect.isfunction)]
    steps = {"step_done", "step_resumed", "logged", "validated"}
    assert steps | {"started", "say", "saving", "saved", "finished", "reported"} == set(hooks)
    for name in hooks:
        parameters = list(inspect.signature(getattr(TrainingEvents, name)).parameters.values())[1:]
        named = {one.name: None for one in parameters if one.kind is one.KEYWORD_ONLY}
        assert getattr(TrainingEvents(), name)(*[None] * (len(parameters) - len(named)), **named) is None


def test_every_event_hears_the_same(tmp_path: Path) -> None:
    first, second = Watcher(), Watcher()
    view = RunView(RunState(), max_steps=2, events=[first, second])
    view.say("a")
    view.saved(tmp_path)
    assert first.events == second.events == [("say", "a"), ("saved", tmp_path)]
    assert view.last_saved == tmp_path


def test_what_is_there_when_a_run_begins_is_given_back_when_it_breaks(run_config) -> None:
    """A listener that raises while the run starts leaves no signal handler behind."""
    before = signal.getsignal(signal.SIGTERM)

    class Broken(Watcher):
        def step_done(self, done: Any) -> None:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        train(run_config(**RHYTHM), Broken())
    assert signal.getsignal(signal.SIGTERM) == before
