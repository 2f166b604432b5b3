"""The recipe for a calibration map, followed: a class, one entry of `MAPS`, and everything knows it."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pytest

from calibration_samples import steps
from surestep.calibration import MAPS, Calibration, ConfidenceMap, choose_map, fit_calibration
from surestep.calibration.choose import assign_folds, cross_validate
from surestep.cli.commands import calibrate


@dataclass(frozen=True)
class Shrink(ConfidenceMap):
    """Towards one half by a share."""

    share: float
    kind: ClassVar[str] = "shrink"

    def apply(self, confidence: Any) -> Any:
        return np.asarray(0.5 + (1.0 - self.share) * (np.array(confidence, dtype=np.float64) - 0.5))

    @classmethod
    def fit(cls, confidence: Any, label: Any, weights: Any) -> Self:
        p, y = confidence - 0.5, label - 0.5
        return cls(float(np.clip(1.0 - np.sum(weights * p * y) / np.sum(weights * p * p), 0.0, 1.0)))


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MAPS, "shrink", Shrink)


def data_that_wants_it() -> Any:
    """A confidence of which two thirds of the distance to one half are true."""
    return steps(num_problems=400, distort=lambda p: np.clip(0.5 + 1.5 * (p - 0.5), 0.0, 1.0))


def test_the_command_offers_it(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    calibrate.configure(parser)
    for flag in ("--method", "--methods"):
        assert parser.parse_args(["--checkpoint", "c", flag, "shrink"]).method == "shrink"
    with pytest.raises(SystemExit):
        parser.parse_args(["--checkpoint", "c", "--method", "spline"])
    assert "shrink" in capsys.readouterr().err


def test_it_competes_is_judged_and_can_win() -> None:
    data = data_that_wants_it()
    folds = assign_folds(data)
    choice = choose_map(data, folds)
    assert list(choice.scores) == list(MAPS)
    assert (choice.held_out["shrink"] == cross_validate("shrink", data, folds)).all()
    assert choice.judgements["shrink"].accepted
    alone = choose_map(data, folds, methods=["shrink"])
    assert isinstance(alone.chosen, Shrink)
    assert 0.1 < alone.chosen.share < 0.4, "ends beyond 0 and 1 were cut off"


def test_it_is_stored_and_read_again() -> None:
    stored = fit_calibration(data_that_wants_it(), methods=["shrink"]).calibration()
    assert stored.pooled.in_words().startswith("shrink (share 0.2")
    assert Calibration.from_json(json.loads(json.dumps(stored.to_json()))) == stored
