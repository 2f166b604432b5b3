"""Work in threads: the same results in the same order on any number of cores, and errors in their turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from surestep import cores
from surestep.cores import in_threads
from surestep.metrics.bootstrap import draws as draws_module
from surestep.metrics.figures import cells as cells_module
from surestep.metrics.report import build_report
from surestep.metrics.report import section as section_module
from surestep.scored import ScoredSteps


@pytest.mark.parametrize("number", [1, 2, 64])
def test_results_come_in_order_and_errors_behind_what_comes_before_them(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "num_cores", lambda: number)
    places: list[str] = []

    def inverse(value: int) -> float:
        places.append(threading.current_thread().name)
        return 1.0 / value

    assert list(in_threads(inverse, [1, 2, 4])) == [1.0, 0.5, 0.25]
    assert all(place.startswith("core") for place in places) == (number > 1)
    found: list[float] = []
    with pytest.raises(ZeroDivisionError):
        found.extend(in_threads(inverse, [1, 2, 0, 4]))
    assert found == [1.0, 0.5]
    assert list(in_threads(inverse, [])) == []


def test_what_is_not_taken_is_not_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a few results wait, and leaving, by an interrupt say, ends the rest."""
    monkeypatch.setattr(cores, "num_cores", lambda: 2)
    begun: list[int] = []

    def work(task: int) -> int:
        begun.append(task)
        return task

    found: Iterator[int] = in_threads(work, range(1000))
    assert next(found) == 0
    found.close()  # type: ignore[attr-defined]
    assert len(begun) <= 2 * cores.MOST_THREADS + 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("core")]


def test_tasks_of_tasks_come_in_order_in_the_same_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three levels deep, so that threads wait for each other's parts, and no thread more than cores."""
    monkeypatch.setattr(cores, "num_cores", lambda: 2)
    places: set[str] = set()

    def level(task: tuple[int, ...]) -> Any:
        places.add(threading.current_thread().name)
        return task if len(task) == 3 else list(in_threads(level, [(*task, place) for place in range(4)]))

    for _ in range(20):
        found = list(in_threads(level, [(place,) for place in range(3)]))
        assert found == [[[(a, b, c) for c in range(4)] for b in range(4)] for a in range(3)]
    assert places <= {"core 0", "core 1"}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("core")]


def test_an_error_in_a_part_of_a_task_is_that_of_the_task_and_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "num_cores", lambda: 2)
    begun: list[int] = []

    def part(value: int) -> float:
        begun.append(value)
        return 1 / (value % 100 - 3)

    def task(first: int) -> list[float]:
        return list(in_threads(part, range(first, first + 100)))

    found = in_threads(task, [100 * number for number in range(50)])
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert len(begun) < 1000
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("core")]


def test_linear_algebra_uses_one_thread_in_each_and_as_many_as_before_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def widths(_task: int = 0) -> list[Any]:
        return [part["num_threads"] for part in threadpool_info() if part["user_api"] == "blas"]

    monkeypatch.setattr(cores, "num_cores", lambda: 2)
    before = widths()
    assert before, "no linear algebra was found"
    for inside in in_threads(widths, [0, 1, 2]):
        assert set(inside) == {1}
    assert widths() == before


def test_a_report_is_the_same_to_the_digit_on_any_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few draws each, so that there is something to share."""
    monkeypatch.setattr(draws_module, "_BLOCK_ENTRIES", 150)
    monkeypatch.setattr(cells_module, "_FEWEST_STEPS", 0)
    monkeypatch.setattr(section_module, "FEWEST_SHARED", 0)
    rng = np.random.default_rng(0)
    steps = ScoredSteps.of_columns(
        rng.random(400),
        rng.choice([0.0, 0.5, 1.0], 400),
        problem=np.repeat(np.arange(40), 10),
        dataset=np.repeat([0, 1], 200),
        dataset_names=("a", "b"),
    )
    found = []
    for number in (1, 2):
        monkeypatch.setattr(cores, "num_cores", lambda number=number: number)
        draws_module.forget_draws()
        found.append(build_report(steps, baselines=[], resamples=25))
    assert found[0] == found[1]
