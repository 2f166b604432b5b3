"""A function as a scorer, a map around any scorer, and what scoring costs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surestep.calibration import Calibration
from surestep.calibration.maps import Platt
from surestep.errors import ConfigError, InputError
from surestep.scoring.checkpoint.calibration_file import calibration_text, read_calibration_of
from surestep.scoring.other_scorers.path_scores import checked_scores, mean_over_paths
from surestep.scoring.other_scorers.python_function import FunctionScorer
from surestep.scoring.other_scorers.wrapped import CalibratedScorer, MeasuredScorer
from surestep.scoring.protocol import Scorer, TokensUsed, TreeScores, Wanted
from surestep.types import Node, ReasoningTree, chain

OTHER = {"form": "x", "name": "y", "sha256": "2" * 64}
TREE = ReasoningTree("p", (Node("aa"), Node("b", 0), Node("ccc", 0)))


@dataclass
class Given:
    """A scorer of one tree whose scores are known; a token a step."""

    values: tuple[float, ...] = (0.9, 0.2, np.nan)
    tokens: int = 100

    def about(self) -> dict[str, Any]:
        return {"scorer": {"name": "given", "form": "test", "sha256": "1" * 64}}

    def tokens_used(self) -> TokensUsed:
        return TokensUsed(self.tokens, 0)

    def score(
        self, trees: Sequence[ReasoningTree], *, dataset: str | None = None, wanted: Wanted = "all"
    ) -> Iterator[TreeScores]:
        for _ in trees:
            self.tokens += 3
            yield TreeScores(np.array(self.values), np.array(self.values))


def test_a_function_is_asked_for_each_path_and_shared_steps_have_the_mean() -> None:
    asked = []

    def by_length(problem: str, steps: list[str]) -> list[float]:
        asked.append((problem, steps))
        return [len(steps[-1]) / 4] * len(steps)

    (found,) = FunctionScorer(by_length, "tests:by_length").score([TREE])
    assert asked == [("p", ["aa", "b"]), ("p", ["aa", "ccc"])]
    assert found.raw_N.tolist() == [0.5, 0.25, 0.75]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ([0.5], "gave 1 score for 2 steps"),
        ([0.5, 1.5], "gave the score 1.5"),
        ([0.5, "1"], "gave the score '1'"),
        ([0.5, True], "gave the score True"),
        ([0.5, float("nan")], "gave the score nan"),
        ("ab", "gave 'ab'; allowed: a list of numbers"),
        (None, "gave None; allowed: a list of numbers"),
        (ZeroDivisionError("oh\nno"), "failed (ZeroDivisionError: oh no)"),
    ],
)
def test_what_a_function_gives_is_checked_in_a_line(result: Any, words: str) -> None:
    def function(problem: str, steps: list[str]) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    with pytest.raises(InputError) as raised:
        list(FunctionScorer(function, "m:f").score([chain("p", ["a", "b"])]))
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_arrays_and_steps_without_a_score_are_taken() -> None:
    assert checked_scores(np.array([0.5, 1.0], np.float32), 2, "it") == [0.5, 1.0]
    assert checked_scores((None, 0), 2, "it") == [None, 0.0]
    assert np.isnan(mean_over_paths(1, [([0], [None])])).all()


def test_a_function_is_imported_from_where_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "def score(problem, steps):\n    return [0.25] * len(steps)\nnumber = 3\n"
    (tmp_path / "my_scores_here.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    scorer = FunctionScorer.named("my_scores_here:score")
    assert sys.path == before
    assert next(scorer.score([TREE])).raw_N.tolist() == [0.25] * 3
    about = scorer.about()["scorer"]
    assert about["function"] == "my_scores_here:score"
    (tmp_path / "my_scores_here.py").write_text("# changed\n")
    assert scorer.about()["scorer"]["sha256"] != about["sha256"]
    for name, words in (
        ("my_scores_here", "names no function"),
        ("my_scores_here:other", "has no function other"),
        ("my_scores_here:number", "has no function number"),
        ("not_there_at_all:score", "cannot be imported"),
    ):
        with pytest.raises(ConfigError, match=words):
            FunctionScorer.named(name)


def test_a_map_changes_confidences_and_leaves_the_order_to_the_scorer(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    fitted = Calibration(Platt(2.0, 0.0), {"own": Platt(1.0, 1.0)}, {"scorer": Given().about()["scorer"]})
    file.write_text(calibration_text(fitted))
    stored = read_calibration_of(Given(), file)
    scorer = CalibratedScorer(Given(), stored, file, "pooled", spec="test:given")
    (found,) = scorer.score([TREE])
    np.testing.assert_allclose(found.confidence_N[:2], Platt(2.0, 0.0).apply([0.9, 0.2]))
    assert np.isnan(found.confidence_N[2])
    assert found.raw_N[:2].tolist() == [0.9, 0.2]
    (own,) = scorer.score([TREE], dataset="own")
    np.testing.assert_allclose(own.confidence_N[:2], Platt(1.0, 1.0).apply([0.9, 0.2]))
    assert scorer.about()["calibration"]["applied"] == "pooled"
    assert scorer.about()["scorer"]["spec"] == "test:given"
    (plain,) = CalibratedScorer(Given(), stored, file, "none").score([TREE])
    assert plain.confidence_N[:2].tolist() == [0.9, 0.2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (calibration_text(Calibration(Platt(2.0, 0.0))), "was fitted to a checkpoint of Surestep"),
        (
            calibration_text(Calibration(Platt(2.0, 0.0), {}, {"scorer": OTHER})),
            "was fitted to the x y (222222222222), not to the test given (111111111111)",
        ),
        ("{}", "cannot be read"),
        ("[", "cannot be read"),
        (None, "cannot be read (No such file"),
    ],
)
def test_a_map_of_another_scorer_is_refused(content: str | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError) as raised:
        read_calibration_of(Given(), file)
    assert words in str(raised.value)


def test_cost_counts_what_this_scoring_took() -> None:
    scorer = MeasuredScorer(Given())
    assert isinstance(scorer, Scorer)
    list(scorer.score([TREE, TREE]))
    cost = scorer.about()["cost"]
    assert cost.pop("seconds") >= 0
    assert cost == {"trees": 2, "steps": 4, "tokens_read": 6, "tokens_written": 0}


def test_the_time_of_whoever_reads_the_scores_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 100.0, 102.0, 200.0, 200.5])
    monkeypatch.setattr("surestep.scoring.other_scorers.wrapped.time.perf_counter", lambda: next(clock))
    scorer = MeasuredScorer(Given())
    list(scorer.score([TREE, TREE]))
    assert scorer.seconds == 3.5


def test_a_scorer_that_counts_no_tokens_says_so() -> None:
    scorer = MeasuredScorer(FunctionScorer(lambda problem, steps: [0.5] * len(steps), "m:f"))
    list(scorer.score([TREE]))
    assert scorer.cost()["tokens_read"] is None
