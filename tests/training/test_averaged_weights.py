"""The moving average of the weights: the formula, what is validated and saved, and a resume to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from runs import Watcher, assert_same_bits, hashes, logged, tensors
from surestep.config import Config, TrainingConfig
from surestep.errors import CheckpointError
from surestep.evaluation.evaluate import score_datasets
from surestep.metrics.report import build_report
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.stored_split import silent
from surestep.training import run
from surestep.training.optimizer.averaged_weights import (
    RAW_FILE,
    AveragedWeights,
    average_bytes,
    check_same_average,
)
from surestep.training.optimizer_step import OptimizerStep
from surestep.training.run import train

SETTINGS = {
    "max_steps": 9,
    "eval_steps": 4,
    "save_steps": 5,
    "logging_steps": 3,
    "validation_samples": 5,
    "mlp_dropout": 0.2,
    "lora_dropout": 0.2,
    "ema_decay": 0.8,
}


@given(
    decay=st.floats(1e-3, 0.9999),
    values=st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=6, max_size=6), min_size=1, max_size=12),
    resumed_at=st.integers(0, 12),
)
def test_it_is_the_weighted_sum_over_all_updates(decay: float, values: list[list[float]], resumed_at: int) -> None:
    """Against the sum in float64, also where the average was taken up again on the way; 0-dimensional weights too."""
    model = nn.ParameterDict({"matrix": torch.zeros(2, 2), "scale": torch.zeros(()), "frozen": torch.zeros(1)})
    model["frozen"].requires_grad_(False)
    average = AveragedWeights(model, decay)
    for count, numbers in enumerate(values):
        if count == resumed_at:
            average.exchange()
            average = AveragedWeights(model, decay, updates=count)
        with torch.no_grad():
            model["matrix"].copy_(torch.tensor(numbers[:4]).view(2, 2))
            model["scale"].copy_(torch.tensor(numbers[4]))
        average.update()
    t = len(values)
    shares = [decay ** (t - 1 - i) * (1 - decay) / (1 - decay**t) for i in range(t)]
    assert sum(shares) == pytest.approx(1.0)
    expected = sum(
        share * torch.tensor(numbers, dtype=torch.float64) for share, numbers in zip(shares, values, strict=True)
    )
    places = {name: weight.data_ptr() for name, weight in model.items()}
    average.exchange()
    found = torch.cat([model["matrix"].detach().flatten(), model["scale"].detach().flatten()])
    torch.testing.assert_close(found.double(), expected[:5], rtol=1e-4, atol=2e-3)
    assert average.raw()["matrix"].flatten().tolist() == values[-1][:4]
    average.exchange()
    assert model["matrix"].flatten().tolist() == values[-1][:4], "to the bit"
    assert {name: weight.data_ptr() for name, weight in model.items()} == places, "recorded passes read these places"
    assert average_bytes(model, decay) == 5 * 4
    assert average_bytes(model, None) == 0


@pytest.mark.slow
def test_training_stays_as_it_is_and_the_average_is_validated_and_saved(
    run_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[dict[str, torch.Tensor]] = []
    update = AveragedWeights.update

    def noted(self: AveragedWeights) -> None:
        update(self)
        steps.append({name: weight.double().clone() for name, weight in self.raw().items()})

    monkeypatch.setattr(AveragedWeights, "update", noted)
    settings = {**SETTINGS, "max_steps": 4, "save_steps": 4, "logging_steps": 1}
    plain = run_config(experiment_name="plain", **{**settings, "ema_decay": None})
    averaged = run_config(experiment_name="averaged", **settings)
    watchers = Watcher(), Watcher()
    train(plain, watchers[0])
    assert not steps
    done = train(averaged, watchers[1])
    mine, theirs = (tensors(config.experiment_dir / "checkpoint_step_4") for config in (averaged, plain))
    moments = [name for name in theirs if name.startswith("training_state/optimizer")]
    assert [name for name in moments if not torch.equal(mine[name], theirs[name])] == []
    raw = {name.partition(":")[2]: value for name, value in mine.items() if "raw_weights" in name}
    losses = [[(r.step, r.loss) for r in watcher.of("logged")] for watcher in watchers]
    assert losses[0] == losses[1]
    assert not list(plain.experiment_dir.rglob("raw_weights*"))
    shares = [0.8 ** (3 - i) * 0.2 / (1 - 0.8**4) for i in range(4)]
    for name in ("confidence_row", "head.output.weight"):
        assert torch.equal(raw[name], theirs[f"head.safetensors:{name}"])
        expected = sum(share * step[name] for share, step in zip(shares, steps, strict=True))
        torch.testing.assert_close(mine[f"head.safetensors:{name}"].double(), expected, rtol=1e-5, atol=1e-7)
    assert watchers[0].of("validated")[-1].mean != watchers[1].of("validated")[-1].mean
    assert any(line.startswith("weights: their moving average over about 5 steps") for line in watchers[1].of("say"))
    # The report of the run is of the very weights that lie there.
    scored = score_datasets(load_checkpoint(done.result.best).built, averaged, "validation", progress=silent)
    assert done.validation is not None
    assert build_report(scored.steps)["overall"]["nll"] == done.validation["overall"]["nll"]


@pytest.mark.slow
@pytest.mark.parametrize(("lora", "stopped_at"), [(True, 7), (False, 5)])
def test_a_crash_and_a_resume_are_the_uninterrupted_run_to_the_bit(
    run_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, lora: bool, stopped_at: int
) -> None:
    """So is a run that runs out of memory in a pass; and one that keeps an average goes on with one, or not at all."""
    whole, cut = (run_config(lora=lora, experiment_name=name, **SETTINGS) for name in ("whole", "cut"))
    train(whole, Watcher())

    def crash() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(cut, Watcher({stopped_at + 1: crash}))
    plain = cut.model_copy(deep=True)
    plain.training.ema_decay = None
    before = hashes(cut.experiment_dir)
    with pytest.raises(CheckpointError, match=r"training\.ema_decay set, which is unset now: set it again"):
        train(plain, Watcher(), resume=True)
    assert hashes(cut.experiment_dir) == before
    monkeypatch.setattr(run, "training_token_budget", lambda *_args, **_settings: 1 << 20)
    original, passes = OptimizerStep._pass, []

    def breaking(self: OptimizerStep, pack: Any) -> torch.Tensor:
        passes.append(pack.num_tokens)
        loss = original(self, pack)
        if len(passes) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss

    monkeypatch.setattr(OptimizerStep, "_pass", breaking)
    train(cut, Watcher(), resume=True)
    assert len(passes) == 9 - 5 + 1, "one pass was repeated"
    assert logged(whole.experiment_dir) == logged(cut.experiment_dir)
    assert_same_bits(whole.experiment_dir / "checkpoint_step_9", cut.experiment_dir / "checkpoint_step_9")
    reports = [json.loads((c.validation_dir / "eval_metrics.json").read_text()) for c in (whole, cut)]
    assert reports[0]["overall"] == reports[1]["overall"]


def test_a_training_state_without_an_average_is_not_gone_on_from_with_one(tmp_path: Path) -> None:
    check_same_average(tmp_path, None)
    with pytest.raises(CheckpointError, match=r"ema_decay unset, which is 0\.9 now: take it out, or start from"):
        check_same_average(tmp_path, 0.9)
    (tmp_path / RAW_FILE).touch()
    check_same_average(tmp_path, 0.9)


def test_memory_counts_the_average(build_small: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def budget(*_args: Any, moment_bytes: int, **_settings: Any) -> int:
        asked.append(moment_bytes)
        return 1 << 20

    monkeypatch.setattr(run, "training_token_budget", budget)
    for decay in (None, 0.9):
        run.choose_token_budget(TrainingConfig(ema_decay=decay), build_small("llama", lora=True), max_length=100)
    assert asked[1] == asked[0] * 3 // 2, "AdamW has two numbers of 4 bytes for each weight, the average has one"


@pytest.mark.parametrize(
    ("decay", "steps", "said"), [(None, 5, False), (0.5, 5, False), (0.8, 5, True), (0.99, 9, True)]
)
def test_an_average_longer_than_the_run_is_said(decay: float | None, steps: int, said: bool) -> None:
    config = Config(training=TrainingConfig(ema_decay=decay, max_steps=steps, warmup_steps=0))
    assert any("its beginning stays in the average" in line for line in config.warnings()) is said
