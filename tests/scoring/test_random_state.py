"""Building or loading a model leaves the caller's random numbers alone, and is seeded all the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from runs import Watcher
from surestep.config import Config
from surestep.scoring.build_model import build_model
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.hardware import choose_hardware
from surestep.scoring.random_state import random_state_kept
from surestep.training.run import train


def seed_everything() -> None:
    random.seed(11)
    np.random.seed(12)
    torch.manual_seed(13)


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_what_is_seeded_within_is_forgotten_even_after_an_error() -> None:
    seed_everything()
    expected = draws()
    seed_everything()

    @random_state_kept()
    def breaking() -> None:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        raise ValueError("within")

    with pytest.raises(ValueError, match="within"):
        breaking()
    assert draws() == expected


@pytest.mark.slow
@pytest.mark.parametrize("lora", [True, False])
def test_building_and_loading_leave_the_random_state(run_config: Callable[..., Config], lora: bool) -> None:
    config = run_config(lora=lora, max_steps=1)
    folder = train(config, Watcher()).result.last
    hardware = choose_hardware("cpu", "no")
    makers: list[Callable[[], Any]] = [
        lambda: build_model(config, hardware).model,
        lambda: load_checkpoint(folder).built.model,
        lambda: load_checkpoint(folder, trainable=True).built.model,
    ]
    for make in makers:
        seed_everything()
        expected = draws()
        seed_everything()
        first = make()
        assert draws() == expected
        second = make()  # from another random state
        for (name, mine), (_, theirs) in zip(first.named_parameters(), second.named_parameters(), strict=True):
            assert torch.equal(mine, theirs), name
