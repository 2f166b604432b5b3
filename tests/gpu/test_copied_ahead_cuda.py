"""Packs that are copied ahead give exactly the numbers of packs that are copied when their pass begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor

from surestep.bench.backbone_shapes import build_shape
from surestep.bench.example_work import bushy, chain, chain_lengths, run_data
from surestep.config import get_default_config, get_lora_config
from surestep.model.to_device import copied_ahead, to_device
from surestep.scoring.hardware import choose_hardware
from surestep.training import optimizer_step
from surestep.training.passes.recorded import records_passes
from surestep.training.processes import make_accelerator
from surestep.training.step_data import TrainingPack
from surestep.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

GPU = torch.device("cuda")
LONG = 20_000_000
"""Clock cycles for which a stream is kept busy: 10 ms or so, in which any copy would be through."""


@dataclass
class _Numbers:
    """A pack of nothing but numbers; its copy, and what is done with it, may be kept waiting."""

    values: Tensor
    copy_waits: int

    def to(self, device: torch.device) -> _Numbers:
        torch.cuda._sleep(self.copy_waits)
        return _Numbers(to_device(self.values, device), self.copy_waits)


@pytest.mark.parametrize(
    ("copy_waits", "pass_waits"), [(0, 0), (LONG, 0), (0, LONG)], ids=["alike", "slow-copies", "slow-passes"]
)
def test_every_number_arrives_before_it_is_read_and_is_not_overwritten_before(copy_waits: int, pass_waits: int) -> None:
    """Over many packs of one size, so that their memory is used again at once; some steps break off half-way."""
    random = np.random.default_rng(0)
    read: list[tuple[Tensor, Tensor]] = []
    for step in range(12):
        packs = [_Numbers(torch.from_numpy(random.random(40_000)).pin_memory(), copy_waits) for _ in range(6)]
        with closing(copied_ahead(packs, GPU)) as ahead:
            for number, pack in enumerate(ahead):
                torch.cuda._sleep(pass_waits)
                read.append((packs[number].values, pack.values.clone()))
                if step % 3 == 1 and number == 2:
                    break
            del pack
    torch.cuda.synchronize()
    assert len(read) == 8 * 6 + 4 * 3
    assert all(torch.equal(expected, found.cpu()) for expected, found in read)


def _when_needed(packs: Iterable[TrainingPack], device: torch.device) -> Iterator[TrainingPack]:
    """As it was before: each copied when its pass begins."""
    for pack in packs:
        yield pack.to(device)


def _passes(*, recorded: bool, in_full: bool) -> tuple[list[float], list[list[Tensor]], int]:
    """Of six steps of several passes each their losses and gradients, nothing updated; how many shapes are recorded."""
    config = get_default_config() if in_full else get_lora_config()
    config.training.per_device_train_batch_size, config.training.gradient_accumulation_steps = 24, 1
    config.training.max_steps, config.training.cuda_graphs = 6, recorded
    hardware = choose_hardware("cuda", "bf16")
    built = build_shape(config, hardware, "small")
    random = np.random.default_rng(0)
    ids = {"num_ids": 8000, "confidence_id": built.model.confidence_id}
    trees = [chain(length, random, **ids) for length in chain_lengths(40)] + [bushy(random, **ids) for _ in range(8)]
    accelerator = make_accelerator(hardware)
    assert records_passes(config.training, config.lora, built, accelerator, 1500) is recorded
    trainer = Trainer(
        config.training, built, run_data(trees).training, accelerator=accelerator, token_budget=1500, recorded=recorded
    )
    built.model.train()
    step = trainer.optimizer_step
    losses, gradients = [], []
    with step.rounded_weights(), closing(trainer.steps()) as steps:
        for packs in islice(steps, 6):
            assert len(packs.packs) > 2
            losses.append(float(step._passes(packs)))
            gradients.append([p.grad.detach().clone() for p in built.model.parameters() if p.grad is not None])
    return losses, gradients, step.num_recorded


@pytest.mark.parametrize("in_full", [False, True], ids=["lora", "full"])
@pytest.mark.parametrize("recorded", [False, True], ids=["as-usual", "recorded"])
def test_losses_and_gradients_are_those_of_packs_copied_when_they_are_needed(
    monkeypatch: pytest.MonkeyPatch, recorded: bool, in_full: bool
) -> None:
    """To the bit, wherever two runs that copy as before agree to the bit."""
    losses, gradients, shapes = _passes(recorded=recorded, in_full=in_full)
    assert (shapes > 1) is recorded
    monkeypatch.setattr(optimizer_step, "copied_ahead", _when_needed)
    before, again = (_passes(recorded=recorded, in_full=in_full) for _ in range(2))
    assert losses == before[0] == again[0]
    exact = 0
    for found, expected, repeated in zip(gradients, before[1], again[1], strict=True):
        for mine, first, second in zip(found, expected, repeated, strict=True):
            if torch.equal(first, second):
                exact += 1
                assert torch.equal(mine, first)
            else:
                torch.testing.assert_close(mine, first, rtol=1e-3, atol=1e-5)
    assert exact > 0
