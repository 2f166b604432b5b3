"""What the tests of training share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from surestep.training.events import validate as validation
from surestep.training.events.records import ValidationRecord


@pytest.fixture
def validations_give(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[float]], None]:
    """Lay down what the validations of a run will say, one value after another by step; the last one repeats."""
    measured = validation.validate

    def script(values: Sequence[float]) -> None:
        def validate(*arguments: Any, step: int, best: float | None, **others: Any) -> ValidationRecord:
            record = measured(*arguments, step=step, best=best, **others)
            value = values[min(step - 1, len(values) - 1)]
            return replace(record, value=value, is_best=best is None or value < best)

        monkeypatch.setattr(validation, "validate", validate)

    return script
