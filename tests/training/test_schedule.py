"""The learning rate over a run."""

from __future__ import annotations

import math

import pytest

from surestep.config import TrainingConfig
from surestep.training.schedule import learning_rate_factor


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
