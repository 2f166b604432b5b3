"""Memory that runs out anywhere in an optimiser step never steps a weight twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from runs import Watcher, assert_same_bits, tensors
from surestep.config import Config
from surestep.errors import DeviceError
from surestep.model.to_device import copied_ahead
from surestep.training import run
from surestep.training.optimizer.parameter_groups import build_optimizer, parameter_names
from surestep.training.optimizer.saved_moments import allocate_moments, moments_to_tensors
from surestep.training.optimizer_step import OptimizerStep
from surestep.training.passes.smaller_packs import PassBudget
from surestep.training.run import train

ROOMY, TIGHT = 1 << 20, 150
"""Tokens in a pass: one that holds any step, also when halved; one that makes several passes of a step."""

SETTINGS = {"max_steps": 5, "save_steps": 2, "mlp_dropout": 0.2, "lora_dropout": 0.2}


def memory_error() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("CUDA out of memory")


@pytest.fixture
def settings(run_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """A run that begins with `budget` tokens in a pass, as free memory would have it."""

    def make(name: str, budget: int, *, lora: bool = True, **others: Any) -> Config:
        monkeypatch.setattr(run, "training_token_budget", lambda *_args, **_settings: budget)
        return run_config(lora=lora, experiment_name=name, **{**SETTINGS, **others})

    return make


def break_pass(monkeypatch: pytest.MonkeyPatch, number: int, where: str) -> list[int]:
    """Let memory run out before or after (its gradients in place) the `number`-th pass of the run, once."""
    original = OptimizerStep._pass
    passes: list[int] = []

    def breaking(self: OptimizerStep, pack: Any) -> torch.Tensor:
        passes.append(pack.num_tokens)
        breaks = len(passes) == number
        if breaks and where == "before":
            raise memory_error()
        loss = original(self, pack)
        if breaks:
            raise memory_error()
        return loss

    monkeypatch.setattr(OptimizerStep, "_pass", breaking)
    return passes


def same_weights(left: Path, right: Path) -> None:
    """All tensors of two checkpoints to the bit, moments included where both still have them."""
    mine, theirs = tensors(left), tensors(right)
    if not ((left / "training_state").is_dir() and (right / "training_state").is_dir()):
        mine, theirs = ({k: v for k, v in found.items() if "training_state" not in k} for found in (mine, theirs))
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lora", "broken"), [(True, [(1, "after"), (3, "before"), (5, "after")]), (False, [(3, "after")])]
)
def test_a_pass_that_breaks_off_leaves_no_trace(
    settings, monkeypatch, lora: bool, broken: list[tuple[int, str]]
) -> None:
    """Packs that any budget makes the same, so that every bit can be compared; dropout on."""
    calm = settings("calm", ROOMY, lora=lora)
    train(calm, Watcher())
    for number, where in broken:
        tight = settings(f"tight-{number}-{where}", ROOMY, lora=lora)
        watcher = Watcher()
        with monkeypatch.context() as patch:
            passes = break_pass(patch, number, where)
            train(tight, watcher)
        assert len(passes) == SETTINGS["max_steps"] + 1, "one pass was repeated"
        assert f"out of memory: continuing with {ROOMY // 2:,} tokens in a pass" in watcher.of("say")
        for step in (2, 4, 5):
            name = f"checkpoint_step_{step}"
            same_weights(calm.experiment_dir / name, tight.experiment_dir / name)


def test_what_is_on_its_way_to_the_device_goes_before_memory_is_freed(settings, monkeypatch) -> None:
    order: list[str] = []

    def ahead(packs: Iterable[Any], device: torch.device) -> Iterator[Any]:
        try:
            yield from copied_ahead(packs, device)
        finally:
            order.append("dropped")

    def shrink(self: PassBudget, free: Callable[[], None]) -> None:
        order.append("shrunk")
        shrunk(self, free)

    shrunk = PassBudget.shrink
    monkeypatch.setattr("surestep.training.optimizer_step.copied_ahead", ahead)
    monkeypatch.setattr(PassBudget, "shrink", shrink)
    break_pass(monkeypatch, 1, "after")
    train(settings("run", ROOMY, max_steps=1), Watcher())
    assert order == ["dropped", "shrunk", "dropped"]


@pytest.mark.slow
def test_from_the_broken_pass_on_the_run_is_one_of_smaller_packs(settings, monkeypatch) -> None:
    """Memory runs out within the first step: from there on every step is that of a run with half the budget."""
    calm = settings("calm", TIGHT // 2)
    train(calm, Watcher())
    for number, where in ((1, "before"), (2, "before"), (2, "after"), (3, "after")):
        tight = settings(f"tight-{number}-{where}", TIGHT)
        with monkeypatch.context() as patch:
            break_pass(patch, number, where)
            train(tight, Watcher())
        same_weights(calm.experiment_dir / "checkpoint_step_5", tight.experiment_dir / "checkpoint_step_5")


def break_clipping(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    original, calls = Accelerator.clip_grad_norm_, []

    def breaking(self: Accelerator, *arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        norm = original(self, *arguments, **settings)
        if len(calls) == number:
            raise memory_error()  # gradients may be clipped already: clipping them again would be another step
        return norm

    monkeypatch.setattr(Accelerator, "clip_grad_norm_", breaking)


def break_update(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    original, calls = torch.optim.AdamW.step, []

    def breaking(self: torch.optim.AdamW, closure: Any = None) -> Any:
        calls.append(1)
        if len(calls) != number:
            return original(self, closure)
        groups, self.param_groups = self.param_groups, self.param_groups[:1]
        original(self, closure)  # some weights have been stepped when memory runs out
        self.param_groups = groups
        raise memory_error()

    monkeypatch.setattr(torch.optim.AdamW, "step", breaking)


@pytest.mark.slow
def test_an_update_that_breaks_off_ends_the_run_and_saves_nothing_of_it(settings, monkeypatch) -> None:
    calm = settings("calm", ROOMY)
    train(calm, Watcher())
    for breaking, number in ((break_clipping, 3), (break_update, 1), (break_update, 3), (break_update, 5)):
        cut = settings(f"cut-{breaking.__name__}-{number}", ROOMY)
        with monkeypatch.context() as patch:
            breaking(patch, number)
            with pytest.raises(DeviceError) as caught:
                train(cut, Watcher())
        for words in (f"in step {number}", "nothing of it is saved", "--token_budget", "--resume"):
            assert words in str(caught.value)
        assert "\n" not in str(caught.value)
        kept = [path.name for path in sorted(cut.experiment_dir.glob("*checkpoint_step_*"))]
        assert kept == [f"checkpoint_step_{step}" for step in (2, 4) if step < number]
        for name in kept:
            same_weights(calm.experiment_dir / name, cut.experiment_dir / name)
        if kept:
            train(cut, Watcher(), resume=True)
            assert_same_bits(calm.experiment_dir / "checkpoint_step_5", cut.experiment_dir / "checkpoint_step_5")


def test_moments_are_there_before_the_first_pass(settings, monkeypatch) -> None:
    original, found = OptimizerStep._pass, []

    def looking(self: OptimizerStep, pack: Any) -> torch.Tensor:
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        found.append(all("exp_avg" in self.optimizer.optimizer.state[parameter] for parameter in trained))
        return original(self, pack)

    monkeypatch.setattr(OptimizerStep, "_pass", looking)
    train(settings("run", ROOMY, max_steps=1), Watcher())
    assert found == [True]


def test_memory_too_small_for_the_moments_is_one_line(settings, monkeypatch) -> None:
    def full(_optimizer: Any) -> None:
        raise memory_error()

    monkeypatch.setattr("surestep.training.optimizer_step.allocate_moments", full)
    with pytest.raises(DeviceError, match=r"out of memory while .*moments.*--optimizer adamw_8bit"):
        train(settings("run", ROOMY), Watcher())


def test_moments_made_beforehand_are_those_of_the_first_step(build_small: Callable[..., Any]) -> None:
    """To the bit, and a parameter that is never stepped is not in the file."""
    found = []
    for beforehand in (False, True):
        model = build_small("llama").model
        config = Config().training
        optimizer = build_optimizer(model, config)
        if beforehand:
            allocate_moments(optimizer)
        torch.manual_seed(0)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for parameter in trained[1:]:
            parameter.grad = torch.randn_like(parameter)
        for _ in range(2):
            optimizer.step()
        found.append(
            (moments_to_tensors(optimizer, parameter_names(model)), [parameter.detach() for parameter in trained])
        )
    (lazy, plain), (early, weights) = found
    assert lazy.keys() == early.keys()
    assert len(early) == 3 * (len(weights) - 1)
    assert all(torch.equal(lazy[name], early[name]) for name in lazy)
    assert all(torch.equal(left, right) for left, right in zip(plain, weights, strict=True))


@pytest.mark.slow
def test_a_resumed_run_shrinks_as_any_other(settings, monkeypatch) -> None:
    calm = settings("calm", ROOMY)
    train(calm, Watcher())
    cut = settings("cut", ROOMY, max_steps=2)
    train(cut, Watcher())
    cut = settings("cut", ROOMY)
    break_pass(monkeypatch, 1, "after")
    train(cut, Watcher(), resume=True)
    same_weights(calm.experiment_dir / "checkpoint_step_5", cut.experiment_dir / "checkpoint_step_5")
    state = json.loads((cut.experiment_dir / "checkpoint_step_5" / "training_state" / "state.json").read_text())
    assert state["step"] == 5
