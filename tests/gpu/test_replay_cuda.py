"""Replayed passes give the numbers of the passes that were recorded, step after step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from runs import Watcher
from runs_together import assert_same_run
from surestep.bench.backbone_shapes import build_shape
from surestep.bench.example_work import bushy, chain, chain_lengths, run_data
from surestep.config import Config, get_default_config, get_lora_config
from surestep.scoring.hardware import choose_hardware
from surestep.training.optimizer_step import OptimizerStep
from surestep.training.passes import recorded as replay
from surestep.training.passes.recorded import records_passes
from surestep.training.processes import make_accelerator
from surestep.training.run import train
from surestep.training.step_data import TrainingPack
from surestep.training.trainer import Trainer
from two_processes import copy_up_to

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def _config(*, in_full: bool) -> Config:
    config = get_default_config() if in_full else get_lora_config()
    config.training.per_device_train_batch_size, config.training.gradient_accumulation_steps = 12, 1
    config.training.learning_rate, config.training.warmup_steps, config.training.max_steps = 1e-3, 0, 40
    config.training.cuda_graphs = True
    return config


def _train(
    steps: int, *, compiled: bool, most: int, ema_decay: float | None = None, in_full: bool = False
) -> tuple[dict[str, torch.Tensor], list[float], int, list[str]]:
    """Trained weights, losses, recordings and what was said."""
    config = _config(in_full=in_full)
    config.training.ema_decay = ema_decay
    hardware = choose_hardware("cuda", "bf16")
    built = build_shape(config, hardware, "small")
    if compiled:
        config.model.compile = True
        built.compile_if_worth(config.model.compile, 1e9)
    random = np.random.default_rng(0)
    ids = {"num_ids": 8000, "confidence_id": built.model.confidence_id}
    trees = [chain(length, random, **ids) for length in chain_lengths(40)] + [bushy(random, **ids) for _ in range(8)]
    said: list[str] = []
    accelerator = make_accelerator(hardware)
    assert records_passes(config.training, config.lora, built, accelerator, 3000)
    trainer = Trainer(
        config.training, built, run_data(trees).training, accelerator=accelerator, token_budget=3000, recorded=True
    )
    recorded = trainer.optimizer_step._recorded
    assert recorded is not None
    recorded._say = said.append
    losses = []
    built.model.train()
    original, replay._MOST = replay._MOST, most
    try:
        stream = trainer.bare_steps()
        for _ in range(steps):
            losses.append(next(stream).loss)
            with trainer.optimizer_step.averaged_weights():  # as a validation would have them
                pass
        stream.close()
    finally:
        replay._MOST = original
    weights = {name: p.detach().clone() for name, p in built.model.named_parameters() if p.requires_grad}
    return weights, [float(loss) for loss in losses], len(recorded._recorded), said


@pytest.mark.parametrize("in_full", [False, True], ids=["lora", "full"])
@pytest.mark.parametrize("compiled", [False, True])
def test_replayed_steps_equal_the_same_steps_run_as_usual(compiled: bool, in_full: bool) -> None:
    """Dropout included: a replay draws from the step's seed as a pass does."""
    weights, losses, recordings, said = _train(12, compiled=compiled, most=48, in_full=in_full)
    assert said == []
    assert recordings > 2
    expected, expected_losses, none, _ = _train(12, compiled=compiled, most=0, in_full=in_full)
    assert none == 0
    assert losses == pytest.approx(expected_losses, rel=1e-4)
    for name, value in weights.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=2e-5, msg=name)


def test_where_recording_fails_passes_run_as_usual_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    original = OptimizerStep._pack_loss

    def waits(self: OptimizerStep, pack: TrainingPack) -> torch.Tensor:
        loss = original(self, pack)
        float(loss)  # waits for the GPU, which no recording may
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(OptimizerStep, "_pack_loss", waits)
        _, losses, recordings, said = _train(5, compiled=False, most=48)
    assert recordings == 0
    assert len(said) == 1
    assert "cannot be recorded" in said[0]
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    before = torch.cuda.memory_reserved()
    filler = torch.empty(2**28, device="cuda")
    del filler
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= before, "memory is given back as before"
    _, expected, _, _ = _train(5, compiled=False, most=0)
    assert losses == pytest.approx(expected, rel=1e-4)


def test_an_average_beside_replayed_passes_leaves_the_weights_as_they_are() -> None:
    """Weights that changed places with their averages, and back, lie where recordings read them."""
    weights, losses, recordings, said = _train(12, compiled=False, most=48, ema_decay=0.9)
    assert said == []
    assert recordings > 2
    expected, expected_losses, _, _ = _train(12, compiled=False, most=48)
    assert losses == pytest.approx(expected_losses, rel=1e-4)
    for name, value in weights.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_a_recorded_run_that_was_cut_goes_on_as_it_was(run_config: Callable[..., Config], lora: bool) -> None:
    """Its first passes after the cut run as usual, until they are recorded anew."""

    def made(name: str) -> Config:
        settings = {"eval_steps": 4, "save_steps": 6, "max_steps": 12, "token_budget": 240, "lora_dropout": 0.1}
        place = {"device": "cuda", "mixed_precision": "bf16", "cuda_graphs": True, "compile": False}
        return run_config("qwen3", lora=lora, experiment_name=name, **settings, **place)

    whole, cut, watcher = made("whole"), made("cut"), Watcher()
    train(whole, Watcher())
    copy_up_to(whole.experiment_dir, cut.experiment_dir, 6)
    train(cut, watcher, resume=True)
    assert watcher.of("started") == [(6, 12)]
    assert any("passes: recorded once for each shape" in line for line in watcher.of("say"))
    assert_same_run(cut, whole, rel=1e-3)
