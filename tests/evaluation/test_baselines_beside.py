"""Baselines fitted while a model scores are those fitted afterwards, and never outlive the scoring."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pickling_helper import Pickling
from surestep.config import Config
from surestep.evaluation import evaluate as evaluate_module
from surestep.evaluation.baselines import beside
from surestep.evaluation.baselines import scores as baseline_scores
from surestep.evaluation.baselines.fitted import FittedScores
from surestep.evaluation.baselines.scores import FitPlan, FitTask
from surestep.evaluation.evaluate import evaluate_checkpoint
from surestep.scored import ScoredSteps
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.checkpoint.load import LoadedCheckpoint, load_checkpoint
from surestep.scoring.checkpoint.save import save_checkpoint
from surestep.scoring.stored_split import silent

STEPS = ScoredSteps.of_columns([0.5, 0.25, 0.5], [1.0, 0.0, np.nan])


@pytest.fixture
def loaded(
    run_config: Callable[..., Config], build_small: Callable[..., BuiltModel], monkeypatch: pytest.MonkeyPatch
) -> LoadedCheckpoint:
    """A checkpoint that is soon evaluated: beside one baseline, without intervals."""
    monkeypatch.setattr(baseline_scores, "FITS", dict(list(baseline_scores.FITS.items())[:1]))
    config = run_config()
    config.eval.bootstrap_resamples = 0
    config.eval.report = False
    folder = config.experiment_dir / "checkpoint_step_1"
    save_checkpoint(folder, build_small(config=config), config, step=1, label_means={})
    return load_checkpoint(folder)


def started(monkeypatch: pytest.MonkeyPatch, helper: Any) -> list[int]:
    """`helper` in place of a process, and a model that leaves a core; how often a process was asked for."""
    asked: list[int] = []

    @contextmanager
    def given(number: int, _first: Any) -> Iterator[list[Any]]:
        asked.append(number)
        yield [helper]

    monkeypatch.setattr(beside, "helpers", given)
    monkeypatch.setattr(evaluate_module, "leaves_a_core", lambda _built: True)
    return asked


def evaluated(loaded: LoadedCheckpoint, folder: Path, **settings: Any) -> dict[str, Any]:
    """The report, with a cache of its own."""
    config = loaded.config.model_copy(deep=True)
    config.data.cache_dir = folder / "cache"
    for name, value in settings.items():
        setattr(config.eval, name, value)
    return evaluate_checkpoint(loaded, config, split="test", output_dir=folder, progress=silent).report


def test_what_is_fitted_beside_equals_what_is_fitted_afterwards(
    loaded: LoadedCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = evaluated(loaded, tmp_path / "after")
    assert [row["name"] for row in after["baselines"]][-1:] == ["position, length"]
    helper = Pickling()
    asked = started(monkeypatch, helper)
    found = evaluated(loaded, tmp_path / "beside")
    assert (asked, helper.num_waiting) == ([1], 1)
    assert (found["baselines"], found["baselines_left_out"]) == (after["baselines"], after["baselines_left_out"])
    again = Pickling()
    started(monkeypatch, again)
    assert evaluated(loaded, tmp_path / "beside")["baselines"] == after["baselines"]
    assert again.num_waiting == 0, "what was fitted before is not fitted again"


def test_nothing_is_begun_without_baselines_or_beside_a_model_on_a_cpu(
    loaded: LoadedCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = started(monkeypatch, Pickling())
    evaluated(loaded, tmp_path / "without", baselines=False)
    assert asked == []
    monkeypatch.setattr(evaluate_module, "leaves_a_core", beside.leaves_a_core)
    plan_of = evaluate_module._planned_beside(loaded, loaded.config)
    assert plan_of is None
    with beside.fitted_beside([], plan_of) as fitting:
        assert fitting.of(STEPS) is None
    assert asked == []


@pytest.mark.parametrize(("device", "cores", "expected"), [("cuda", 2, True), ("cuda", 1, False), ("cpu", 64, False)])
def test_a_core_is_left_by_a_model_on_a_gpu(
    device: str, cores: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "num_cores", lambda: cores)
    built: Any = SimpleNamespace(hardware=SimpleNamespace(device=torch.device(device)))
    assert beside.leaves_a_core(built) is expected


@pytest.mark.slow
def test_missing_training_data_are_reported_as_afterwards(
    loaded: LoadedCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded.manifest.label_means["own"] = 0.123
    after = evaluated(loaded, tmp_path / "after")
    started(monkeypatch, Pickling())
    found = evaluated(loaded, tmp_path / "beside")
    assert "the training data here is not what" in found["baselines_left_out"][0]
    assert found["baselines_left_out"] == after["baselines_left_out"]


def _halves(number: int) -> FittedScores:
    return FittedScores(np.full(number, 0.5), "at once")


def _for_long(_number: int) -> FittedScores:
    time.sleep(60.0)
    return _halves(2)


def plan(function: Callable[[int], FittedScores]) -> FitPlan:
    return FitPlan([FitTask("x", "about", function, lambda: (2,), 2)], ["why"])


def test_steps_that_got_no_score_are_fitted_afterwards() -> None:
    """The texts that were scored are then others than those that were expected."""
    fitting = beside.FittingBeside(plan(_halves), [Pickling()])  # type: ignore[list-item]
    found = fitting.of(STEPS)
    assert found is not None
    assert ([row.about for row in found.baselines], found.left_out) == (["about; at once."], ["why"])
    assert fitting.of(ScoredSteps.of_columns([np.nan, 0.25, 0.5], [1.0, 0.0, np.nan])) is None
    for helpers in ([], [Pickling(lost_after=0)]):
        assert beside.FittingBeside(plan(_halves), helpers).of(STEPS) is None, "no process, or a lost one"  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_process_that_fits_ends_with_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "expected_steps", lambda _splits: STEPS)
    real, processes = beside.helpers, []

    @contextmanager
    def watched(number: int, first: Any) -> Iterator[list[Any]]:
        with real(number, first) as found:
            processes.extend(helper._process for helper in found)
            yield found

    monkeypatch.setattr(beside, "helpers", watched)
    with pytest.raises(KeyboardInterrupt), beside.fitted_beside([], lambda _steps: plan(_for_long)):
        raise KeyboardInterrupt
    assert [process.returncode for process in processes] == [-9]
    with pytest.raises(ProcessLookupError):
        os.kill(processes[0].pid, 0)


@pytest.mark.slow
def test_a_real_process_fits_the_same(
    loaded: LoadedCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = evaluated(loaded, tmp_path / "after")
    monkeypatch.setattr(evaluate_module, "leaves_a_core", lambda _built: True)
    monkeypatch.setattr(baseline_scores.FitPlan, "fitted", lambda _: pytest.fail("it was fitted here"))
    assert evaluated(loaded, tmp_path / "beside")["baselines"] == after["baselines"]
