"""The learning rate over a run."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from surestep.config import Config, TrainingConfig
from surestep.errors import ConfigError
from surestep.training.schedule import check_schedule, learning_rate_factor


def factors(**settings) -> list[float]:
    config = TrainingConfig(max_steps=100, **settings)
    return [learning_rate_factor(step, config) for step in range(100)]


def test_cosine_rises_linearly_then_falls_to_nothing() -> None:
    found = factors(warmup_steps=20)
    assert found[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert found[20:] == pytest.approx([0.5 * (1 + math.cos(math.pi * (s - 20) / 80)) for s in range(20, 100)])
    assert 0.0 < found[-1] < 0.001


def test_linear_falls_in_a_straight_line() -> None:
    found = factors(warmup_steps=0, lr_scheduler_type="linear")
    assert found == pytest.approx([1 - step / 100 for step in range(100)])


def test_constant_stays_after_warmup() -> None:
    found = factors(warmup_steps=5, lr_scheduler_type="constant")
    assert found[4:] == [1.0] * 96


def test_no_warmup_starts_at_the_peak() -> None:
    assert factors(warmup_steps=0)[0] == 1.0


def test_a_warmup_ratio_replaces_the_warmup_steps() -> None:
    assert factors(warmup_steps=50, warmup_ratio=0.1) == factors(warmup_steps=10)


def test_a_run_shorter_than_its_warmup_never_divides_by_zero() -> None:
    config = TrainingConfig(max_steps=10, warmup_steps=500)
    assert [learning_rate_factor(step, config) for step in range(10)] == pytest.approx(
        [(s + 1) / 500 for s in range(10)]
    )


SHAPES: list[tuple[str, str, dict[str, Any]]] = [
    ("wsd", "warmup_stable_decay", {"num_decay_steps": 10}),
    ("polynomial", "polynomial", {"power": 2.0}),
    ("inverse_sqrt", "inverse_sqrt", {}),
    ("cosine_with_restarts", "cosine_with_restarts", {"num_cycles": 3}),
    ("cosine_with_min_lr", "cosine_with_min_lr", {"min_lr_rate": 0.1}),
]


@pytest.mark.parametrize(("name", "theirs", "named"), SHAPES)
def test_the_shapes_of_transformers_are_theirs_step_by_step(name: str, theirs: str, named: dict[str, Any]) -> None:
    """Against their scheduler as it is stepped in training; ours needs the step alone, so that it resumes anywhere."""
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = get_scheduler(
        theirs, optimizer, num_warmup_steps=10, num_training_steps=100, scheduler_specific_kwargs=named
    )
    found = []
    for _ in range(100):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    given = {} if name == "wsd" else named
    config = TrainingConfig(max_steps=100, warmup_steps=10, lr_scheduler_type=name, lr_scheduler_kwargs=given)
    assert [learning_rate_factor(step, config) for step in range(10, 100)] == pytest.approx(found[10:])
    assert [learning_rate_factor(step, config) for step in range(10)] == pytest.approx(
        [(s + 1) / 10 for s in range(10)]
    )


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("cosine_with_min_lr", {}, "min_lr"),
        ("polynomial", {"pwoer": 2}, "pwoer"),
        ("wsd", {"num_decay_steps": "many"}, "warmup_stable_decay does not take"),
    ],
)
def test_what_a_shape_does_not_take_is_refused_before_anything_is_written(
    name: Any, given: dict[str, Any], words: str
) -> None:
    config = TrainingConfig(max_steps=100, warmup_steps=10, lr_scheduler_type=name, lr_scheduler_kwargs=given)
    with pytest.raises(ConfigError, match=words):
        check_schedule(config)


def test_our_own_shapes_take_nothing() -> None:
    config = Config()
    config.training.lr_scheduler_kwargs = {"min_lr_rate": 0.1}
    assert any("lr_scheduler_type is cosine, which takes none" in problem for problem in config.problems())


@pytest.mark.parametrize(("epochs", "processes", "steps"), [(1, 1, 13), (2, 1, 25), (0.5, 2, 4), (3, 4, 10)])
def test_epochs_become_steps(epochs: float, processes: int, steps: int) -> None:
    config = TrainingConfig(num_train_epochs=epochs, per_device_train_batch_size=4, gradient_accumulation_steps=2)
    line = config.settle_epochs(100, num_processes=processes)
    assert line is not None
    assert f"{steps} steps" in line
    assert (config.max_steps, config.num_train_epochs) == (steps, epochs)


def test_steps_and_epochs_are_one_or_the_other() -> None:
    config = TrainingConfig()
    config.num_train_epochs = 3
    assert (config.num_train_epochs, config.max_steps) == (3, TrainingConfig().max_steps)
    config.max_steps = 50
    assert (config.num_train_epochs, config.max_steps) == (None, 50)
    assert config.settle_epochs(100) is None
