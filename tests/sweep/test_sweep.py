"""The search itself, over training that is made up: every trial once, by any number of workers, through kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna", reason="the extra `sweep` is not installed")

from fake_training import FakeTraining, loss, make_plan
from surestep.config import Config
from surestep.errors import ConfigError, StorageError
from surestep.sweep.plan import BEST_CONFIG, PLOT, RESULTS, SweepPlan
from surestep.sweep.results import remarks
from surestep.sweep.run import SweepEnd, run_sweep, show_sweep
from surestep.sweep.training_process import RunEnd

RATES = "learning_rate=1e-5,5e-5,1e-4,5e-4"


def sweep(plan: SweepPlan, train: FakeTraining, *, workers: int = 1, **options: Any) -> SweepEnd:
    return run_sweep(plan, command=[], workers=workers, say=lambda _line: None, train=train, **options)


@pytest.mark.slow
def test_a_grid_is_tried_once_and_a_second_start_trains_nothing(tmp_path: Path) -> None:
    train = FakeTraining()
    plan = make_plan(tmp_path, "learning_rate=5e-5,1e-4", "lora_ranks", pruning="none")
    end = sweep(plan, train)
    assert len(train.trained) == 6 == len({(c.training.learning_rate, c.lora.lora_r) for c in train.trained})
    assert {config.lora.lora_alpha / config.lora.lora_r for config in train.trained} == {2}
    assert end.results["best"]["values"]["training.learning_rate"] == 1e-4
    assert sweep(plan, train).results == end.results
    assert len(train.trained) == 6


@pytest.mark.slow
def test_results_chart_and_best_configuration_are_written(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, RATES, seeds=3, pruning="none")
    end = sweep(plan, FakeTraining())
    assert json.loads((plan.folder / RESULTS).read_text()) == end.results
    assert (plan.folder / PLOT).stat().st_size > 0
    best = Config.from_file(plan.folder / BEST_CONFIG)
    assert (best.training.learning_rate, best.experiment_name) == (1e-4, "sweep_best")
    rows = end.results["trials"]
    assert [row["trial"] for row in rows] == [3, 2, 4, 1]
    assert rows[0]["mean"] == pytest.approx(0.501)
    assert rows[0]["interval"]["low"] == pytest.approx(0.501 - 4.30265 * 0.001 / 3**0.5, abs=1e-6)
    assert [run["seed"] for run in rows[0]["runs"]] == [42, 43, 44]
    # Seed by seed the difference is the same, so none is left in doubt, however wide the intervals are.
    assert end.results["best"]["not_told_apart_from"] == []
    assert show_sweep(plan.folder, "sweep").results == end.results
    with pytest.raises(ConfigError, match=r"begun with other settings: space.training.learning_rate \(1e-05"):
        sweep(make_plan(tmp_path, "learning_rate=1e-4,2e-4", seeds=3, pruning="none"), FakeTraining())
    with pytest.raises(ConfigError, match=r"seeds \(3, now 2\)"):
        sweep(make_plan(tmp_path, RATES, seeds=2, pruning="none"), FakeTraining())


def test_seeds_that_disagree_leave_the_best_in_doubt(tmp_path: Path) -> None:
    def noisy(config: Config) -> RunEnd:
        value = loss(config) + (0.2 if (config.training.seed + round(config.training.learning_rate * 1e6)) % 2 else 0)
        return RunEnd("finished", {"value": value, "step": 1, "held_out": None})

    plan = make_plan(tmp_path, "learning_rate=1e-4,1.01e-4", seeds=2)
    end = sweep(plan, FakeTraining(noisy))
    other = next(row["trial"] for row in end.results["trials"][1:])
    assert end.results["best"]["not_told_apart_from"] == [other]
    assert any("cannot be told from" in line for line in remarks(plan, end.results))


@pytest.mark.slow
def test_a_best_at_an_edge_is_warned_of(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, "learning_rate=1e-5,5e-5,1e-4")
    said = remarks(plan, sweep(plan, FakeTraining()).results)
    assert "the best one is at the upper edge of training.learning_rate (1e-05,5e-05,0.0001)" in said[0]


@pytest.mark.slow
def test_draws_depend_on_the_seed_and_not_on_who_draws(tmp_path: Path) -> None:
    alone, together = FakeTraining(), FakeTraining()
    space, settings = ("learning_rate=log:1e-5..1e-3", "lora_r=4..64"), {"trials": 4, "pruning": "none"}
    sweep(make_plan(tmp_path / "a", *space, sampler="random", **settings), alone)
    sweep(make_plan(tmp_path / "b", *space, sampler="random", **settings), together, workers=2)
    assert len(set(alone.rates)) == 4
    assert sorted(alone.rates) == sorted(together.rates)


@pytest.mark.slow
def test_more_trials_may_be_asked_for_later(tmp_path: Path) -> None:
    train, space = FakeTraining(), "learning_rate=log:1e-5..1e-3"
    sweep(make_plan(tmp_path, space, trials=2), train)
    end = sweep(make_plan(tmp_path, space, trials=5), train)
    assert len(train.trained) == 5 == end.results["counts"]["complete"] + end.results["counts"]["pruned"]


@pytest.mark.slow
def test_the_same_draw_is_not_trained_twice(tmp_path: Path) -> None:
    train = FakeTraining()
    end = sweep(make_plan(tmp_path, "learning_rate=1e-4,2e-4", sampler="random", trials=5), train)
    assert len(train.trained) == 2
    assert sum(row["same_as"] is not None for row in end.results["trials"]) == 3


@pytest.mark.slow
def test_a_failing_trial_is_recorded_and_the_sweep_goes_on(tmp_path: Path) -> None:
    def fails(config: Config) -> RunEnd | None:
        return RunEnd("failed", reason="training diverged") if config.training.learning_rate == 5e-4 else None

    end = sweep(make_plan(tmp_path, RATES), FakeTraining(fails))
    failed = [row for row in end.results["trials"] if row["state"] == "failed"]
    assert [(row["trial"], row["reason"]) for row in failed] == [(4, "training diverged")]
    assert end.results["counts"]["complete"] == 3


def test_settings_that_contradict_each_other_fail_their_trial_only(tmp_path: Path) -> None:
    end = sweep(make_plan(tmp_path, "use_eqasc=true,false", use_prm800k=False), FakeTraining())
    assert [(row["state"], row["values"]["data.use_eqasc"]) for row in end.results["trials"]] == [
        ("complete", True),
        ("failed", False),
    ]
    assert "every dataset is disabled" in end.results["trials"][1]["reason"]


def test_a_trial_that_does_badly_is_pruned_in_its_first_run(tmp_path: Path) -> None:
    train = FakeTraining()
    end = sweep(make_plan(tmp_path, "learning_rate=1e-4,1.1e-4,1.2e-4,1e-2", seeds=2), train)
    pruned = end.results["trials"][-1]
    assert (pruned["trial"], pruned["state"], len(pruned["runs"])) == (4, "pruned", 0)
    assert pruned["last_value"] == pytest.approx(loss(train.trained[-1]) + 0.1)
    assert len(train.trained) == 7


@pytest.mark.slow
def test_a_stopped_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    train = FakeTraining()

    def stops(config: Config) -> RunEnd | None:
        if len(train.trained) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
            assert train.stop.wait(20)
            return RunEnd("stopped")
        return None

    from surestep.stop_signals import interrupted_by_signals

    train.instead = stops
    plan = make_plan(tmp_path, RATES, seeds=3)
    with interrupted_by_signals():
        end = sweep(plan, train)
    assert end.stopped is not None
    assert end.stopped.number == signal.SIGTERM
    assert end.results["counts"]["waiting"] == 3
    train.instead = lambda _config: None
    assert sweep(plan, train).results["counts"]["complete"] == 4
    names = [config.experiment_name for config in train.trained]
    assert names.count(names[3]) == 2, "the run that was stopped goes on in its own folder"
    assert len(set(names)) == 12 == len(names) - 1, "and none that had finished is trained again"


WORKER = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from fake_training import FakeTraining, make_plan
from surestep.sweep.run import run_sweep
def slow(config):
    print(config.experiment_name, flush=True)
    time.sleep(60 if sys.argv[1].endswith("killed") else 0.05)
run_sweep(make_plan(Path(sys.argv[1]), "learning_rate=1e-5,2e-5,5e-5,1e-4,2e-4,5e-4", pruning="none"), command=[],
          workers=1, say=lambda line: None, train=FakeTraining(slow))
"""


def start_worker(folder: Path, python: str | Path) -> subprocess.Popen[str]:
    beside = str(Path(__file__).parents[1])
    return subprocess.Popen([python, "-c", WORKER, str(folder), beside], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_the_trial_of_a_killed_worker_is_tried_again(tmp_path: Path) -> None:
    worker = start_worker(tmp_path / "killed", sys.executable)
    assert worker.stdout is not None
    taken = worker.stdout.readline().strip()
    worker.kill()
    worker.wait()
    train = FakeTraining()
    plan = make_plan(tmp_path / "killed", "learning_rate=1e-5,2e-5,5e-5,1e-4,2e-4,5e-4", pruning="none")
    end = sweep(plan, train)
    assert end.results["counts"]["complete"] == 6
    names = [config.experiment_name for config in train.trained]
    assert taken in names
    assert len(names) == 6 == len(set(names))


@pytest.mark.slow
def test_two_processes_that_begin_at_once_share_the_trials(tmp_path: Path, quick_python: Path) -> None:
    workers = [start_worker(tmp_path, quick_python / "python") for _ in range(2)]
    names = [name for worker in workers for name in worker.communicate(timeout=60)[0].split()]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert len(names) == 6 == len(set(names))


@pytest.mark.slow
def test_a_dead_process_of_this_machine_is_known_at_once(tmp_path: Path) -> None:
    from surestep.lock import Holder
    from surestep.sweep import slots
    from surestep.sweep.storage import address_of, open_storage

    plan = make_plan(tmp_path, RATES, pruning="none")
    study = slots.begin_study(plan, open_storage(address_of(None, plan.folder), when_dead=slots.put_back_killed))
    with pytest.warns(UserWarning, match="Study.optimize"):
        taken = study.ask()
    slots.suggest(plan, taken)
    ended = replace(Holder.myself("surestep sweep"), process_started="another boot, another process")
    taken.set_user_attr(slots.WORKER, slots.signature(ended))
    taken.set_user_attr(slots.RUNS_DONE, [{"seed": 42, "run": "r", "value": 0.25, "step": 1, "held_out": None}])
    train = FakeTraining()
    end = sweep(plan, train)
    assert end.results["counts"]["complete"] == 4
    assert train.rates == [5e-5, 1e-4, 5e-4], "what the dead worker had finished is not trained again"
    assert end.results["best"]["mean"] == 0.25


@pytest.mark.slow
def test_a_worker_that_keeps_being_killed_by_a_trial_gives_up_on_it(tmp_path: Path) -> None:
    """What the heartbeat of a dead worker elsewhere leads to."""
    from surestep.sweep import slots
    from surestep.sweep.storage import address_of, open_storage

    plan = make_plan(tmp_path, "learning_rate=1e-4")
    storage = open_storage(address_of(None, plan.folder), when_dead=slots.put_back_killed, heartbeat_s=1)
    study = slots.begin_study(plan, storage)
    for _ in range(slots.MOST_KILLS + 1):
        with pytest.warns(UserWarning, match="Study.optimize"):
            trial = study.ask()
        slots.suggest(plan, trial)
        storage.record_heartbeat(trial._trial_id)
        storage.heartbeat_interval, storage.grace_period = 1, -1
        slots.take_over_dead(study, me=slots.Holder.myself("test"), grace_s=1e9)
    end = sweep(plan, FakeTraining())
    assert [row["reason"] for row in end.results["trials"]] == ["its worker was killed, 4 times in all"]


@pytest.mark.parametrize(
    ("storage", "kind", "said"),
    [
        ("study.db", ConfigError, "is no address of a database"),
        ("foo://user:secret@host/name", ConfigError, "no database is called 'foo'"),
        ("postgresql+pg8000://user:secret@localhost/name", ConfigError, "pip install pg8000"),
        ("sqlite:////proc/none/study.db", StorageError, "cannot be written"),
    ],
)
def test_a_storage_that_cannot_be_used_is_refused_without_its_password(
    tmp_path: Path, storage: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said) as raised:
        sweep(make_plan(tmp_path, RATES), FakeTraining(), storage=storage)
    assert "secret" not in str(raised.value)


def test_a_folder_with_odd_characters_holds_a_sweep(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "50% {of} é#?", RATES, pruning="none")
    assert sweep(plan, FakeTraining()).results["counts"]["complete"] == 4
    assert (plan.folder / "study.db").is_file()


def test_a_run_is_no_sweep(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, RATES)
    plan.base.save(plan.folder / "config.json")
    with pytest.raises(ConfigError, match="holds a run, not a sweep"):
        sweep(plan, FakeTraining())
    with pytest.raises(ConfigError, match="there is no sweep in"):
        show_sweep(tmp_path / "none", "none")


@pytest.mark.slow
def test_threads_of_one_process_share_the_trials(tmp_path: Path) -> None:
    barrier = threading.Barrier(2, timeout=30)

    def together(_config: Config) -> None:
        barrier.wait()

    train = FakeTraining(together)
    sweep(make_plan(tmp_path, RATES), train, workers=2)
    assert sorted(train.rates) == [1e-5, 5e-5, 1e-4, 5e-4]
