"""A run that starves is told so once, with the setting that mends it; a healthy one is left alone."""

from __future__ import annotations

import pytest

from surestep.training.events.idle_gpu import STEPS_TO_WATCH, UnusedSpeed


def watched(*, on_gpu: bool, steps: int = STEPS_TO_WATCH, budget: int = 5120, **step: float) -> UnusedSpeed:
    watch = UnusedSpeed(on_gpu=on_gpu, token_budget=budget)
    for _ in range(steps):
        watch.add(**({"seconds": 1.0, "waited": 0.0, "tokens": 4000, "passes": 1} | step))  # type: ignore[arg-type]
    return watch


@pytest.mark.parametrize(
    ("step", "budget", "words"),
    [
        ({"waited": 0.5}, 5120, ["50%", "--cache_dir"]),
        ({"tokens": 700}, 5120, ["700 tokens", "--batch_size"]),
        ({"tokens": 3600, "passes": 4}, 1024, ["900 tokens", "--token_budget"]),
    ],
)
def test_a_starving_run_is_told_which_setting_mends_it(step: dict[str, float], budget: int, words: list[str]) -> None:
    watch = watched(on_gpu=True, budget=budget, **step)
    complaint = watch.complaint()
    assert complaint is not None
    for word in words:
        assert word in complaint
    assert "\n" not in complaint
    assert watch.complaint() is None, "once"


def test_nothing_is_said_of_a_healthy_run_of_a_cpu_or_too_early() -> None:
    assert watched(on_gpu=True).complaint() is None
    assert watched(on_gpu=False, tokens=100).complaint() is None
    assert watched(on_gpu=True, waited=0.3).complaint() is None
    early = watched(on_gpu=True, steps=STEPS_TO_WATCH - 1, tokens=100)
    assert early.complaint() is None
    early.add(seconds=1.0, waited=0.0, tokens=100, passes=1)
    assert early.complaint() is not None


def test_slow_first_steps_do_not_count() -> None:
    watch = UnusedSpeed(on_gpu=False, token_budget=100)
    for number in range(STEPS_TO_WATCH):
        watch.add(seconds=10.0 if number < 3 else 1.0, waited=9.0 if number < 3 else 0.0, tokens=50, passes=1)
    assert watch.complaint() is None
