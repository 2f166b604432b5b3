"""Sessions under a monitor: the scores that it reads, whatever dataset they are of, and whatever becomes of a pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from surestep.calibration.calibration import Calibration
from surestep.calibration.maps import Platt
from surestep.config import Config
from surestep.errors import InputError
from surestep.guarantees.monitoring import LowestStep, Monitor, RunningProduct
from surestep.model.fast.weights_for_scoring import freeze
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.sessions import SessionScorer

STEPS = ["12 * 3 = 36.", "36 + 4 = 41.", "so it is 41"]


@pytest.fixture(scope="module")
def scorer(build_small: Callable[..., BuiltModel], small_config: Callable[..., Config]) -> ModelScorer:
    made = build_small()
    freeze(made.model)
    maps = Calibration(Platt(0.5, 0.2), {"odd": Platt(2.0, -3.0)})
    return replace(made.scorer(small_config()), calibration=maps)


def monitor(statistic: Any) -> Monitor:
    scores = [[0.5 + number / 50, 0.4 + number / 50] for number in range(20)]
    return Monitor.fit(scores, list(range(20)), alpha=0.2, statistic=statistic)


@pytest.mark.parametrize("statistic", [LowestStep(), RunningProduct()], ids=lambda one: one.name)
def test_a_monitor_reads_the_scores_that_it_was_calibrated_on(scorer: ModelScorer, statistic: Any) -> None:
    """A dataset's own map changes what is answered, and not what is watched: the pooled one was calibrated on."""
    found = []
    sessions = SessionScorer(scorer, monitor=monitor(statistic))
    for dataset in (None, "odd"):
        with sessions.open("What is 12 * 3 + 4?", dataset=dataset) as session:
            for step in STEPS:
                session.add(step)
            raw = [math.nan if value is None else value for value in session.raw]
            values = raw if statistic.reads == "raw" else scorer.calibrated(np.array(raw)).tolist()
            assert list(session.readings) == monitor(statistic).readings(values)
            found.append(session.readings)
    assert found[0] == found[1]


def test_many_sessions_of_one_pass_are_watched_each_alone_and_a_refused_step_changes_nothing(
    scorer: ModelScorer,
) -> None:
    sessions = SessionScorer(replace(scorer, monitor=monitor(LowestStep())))
    one, other = sessions.open("p"), sessions.open("q")
    sessions.add_many([(one, "a"), (other, "b"), (one, "c")])
    assert [len(session.readings) for session in (one, other)] == [2, 1]
    with pytest.raises(InputError):
        sessions.add_many([(one, "d"), (other, " ")])
    assert [len(session.readings) for session in (one, other)] == [2, 1]
    one.close()
    assert one.monitor == one.readings[-1], "what was said can still be read"


def test_a_step_beyond_the_longest_path_is_passed_over_and_counts_as_a_step(scorer: ModelScorer) -> None:
    sessions = SessionScorer(replace(scorer, monitor=monitor(LowestStep()), max_positions=12))
    with sessions.open("p") as session:
        session.add("a")
        before = session.monitor
        session.add("a step that is far longer than what is left of the path " * 3)
        assert session.raw[-1] is None
        assert before is not None
        assert session.monitor is not None
        assert (session.monitor.alarm, session.monitor.level) == (before.alarm, before.level)
        assert session.monitor.step == 2
