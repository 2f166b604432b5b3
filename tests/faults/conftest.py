"""The long forms of the fault tests: `make test-faults` runs them and prints counts; nothing else does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_COUNTS: dict[str, list[int]] = {}

Tally = Callable[..., None]
"""Counts one try of a fault: `tally(fault, survived=..., named=...)`."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "faults" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("faults")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _COUNTS:
        terminalreporter.section("faults: times tried, survived, named")
        for fault, counts in _COUNTS.items():
            terminalreporter.write_line("| " + " | ".join((fault, *(f"{count:,}" for count in counts))) + " |")


@pytest.fixture
def tally() -> Tally:
    def count(fault: str, *, survived: bool, named: bool) -> None:
        counts = _COUNTS.setdefault(fault, [0, 0, 0])
        for index, one in enumerate((True, survived, named)):
            counts[index] += one

    return count
