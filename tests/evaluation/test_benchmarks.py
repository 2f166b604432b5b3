"""Benchmarks from files to figures: scores by hand, what is refused, what is counted, one tree for all candidates."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scores import scores_of
from surestep.calibration.calibration import Calibration
from surestep.calibration.maps.platt import Platt
from surestep.cli.commands import benchmark
from surestep.config import Config
from surestep.data.benchmarks.candidates import Candidate, CandidateSet
from surestep.data.datasets import TREE_LAYOUTS
from surestep.data.records.reading_report import ReadReport
from surestep.errors import ConfigError, DataError
from surestep.evaluation.benchmarks.best_of_n import candidate_tree, run_best_of_n, score_candidates
from surestep.evaluation.benchmarks.prmbench import run_prmbench
from surestep.evaluation.benchmarks.processbench import run_processbench
from surestep.evaluation.benchmarks.result_file import Resampling, find_data
from surestep.evaluation.benchmarks.solutions import score_paths
from surestep.evaluation.benchmarks.threshold import ThresholdData
from surestep.files import MANIFEST
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.checkpoint.load import LoadedCheckpoint
from surestep.scoring.checkpoint.manifest import Manifest
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.protocol import TreeScores
from surestep.scoring.score_file import FileScorer
from surestep.types import ReasoningTree, chain

FEW = Resampling(resamples=20, seed=0)


class StepsSayIt:
    """A scorer whose confidence is the number that a step's text is."""

    def about(self) -> dict[str, Any]:
        return {"scorer": "its text"}

    def score(self, trees: Sequence[ReasoningTree], **_: Any) -> Iterator[TreeScores]:
        for tree in trees:
            found = np.array([np.nan if node.text == "?" else float(node.text) for node in tree.nodes])
            yield TreeScores(found, found)


def write_json(path: Path, records: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def solutions(*made: tuple[list[str], int], prefix: str = "s") -> list[dict[str, Any]]:
    return [
        {"id": f"{prefix}-{number}", "problem": f"{prefix} {number}?", "steps": steps, "label": label}
        for number, (steps, label) in enumerate(made)
    ]


MATH = solutions((["0.9", "0.3"], 1), (["0.9", "0.7"], 1), (["0.9"], -1), (["0.6"], -1), prefix="math")
GSM = solutions((["0.2"], 0), (["0.8", "0.8"], -1), (["0.8", "?"], -1), prefix="gsm")


def processbench(data: Path, **options: Any):
    defaults = {"threshold": None, "threshold_data": None, "resampling": FEW}
    return run_processbench(StepsSayIt(), [data], **defaults | options)


def test_processbench_by_hand(tmp_path: Path) -> None:
    write_json(tmp_path / "pb" / "math.json", MATH)
    write_json(tmp_path / "pb" / "gsm8k.json", GSM)
    result = processbench(tmp_path / "pb", threshold=0.65)
    half, given = result.report["thresholds"]
    assert (half["threshold"], half["how"], given["threshold"]) == (0.5, "fixed beforehand", 0.65)
    math, gsm = half["subsets"]["math"], half["subsets"]["gsm8k"]
    assert (math["accuracy_erroneous"], math["accuracy_correct"]) == (0.5, 1.0)
    assert math["f1"] == pytest.approx(2 / 3)
    # The solution with a step that nobody scored is neither right nor missed.
    assert (gsm["accuracy_erroneous"], gsm["accuracy_correct"], gsm["num_solutions"]) == (1.0, 1.0, 2)
    assert half["mean"]["f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert half["mean_by_count"]["accuracy_erroneous"] == pytest.approx((4 * 0.5 + 2 * 1.0) / 6)
    assert given["subsets"]["math"]["accuracy_correct"] == 0.5
    assert result.report["blind"]["math"]["f1"] < 0.5
    assert result.report["steps_not_scored"] == result.report["solutions_not_measured"] == {"gsm8k": 1, "math": 0}
    rows = {row["id"]: row for row in result.rows}
    assert rows["math-0"]["predictions"] == {"0.5": 1, "0.65": 1}
    assert rows["gsm-2"]["predictions"]["0.5"] is None
    assert len(result.report["data"][0]["sha256"]) == 64


def test_a_threshold_chosen_on_other_data_names_it(tmp_path: Path) -> None:
    data = write_json(tmp_path / "math.json", MATH)
    other = write_json(tmp_path / "other" / "gsm8k.json", GSM[:2])
    report = processbench(data, threshold_data=ThresholdData(other, StepsSayIt())).report
    chosen = report["thresholds"][-1]
    assert chosen["threshold"] == pytest.approx(0.5)
    assert chosen["chosen_on"][0]["path"] == str(other)
    assert str(other) in chosen["how"]
    assert chosen["f1_there"] == 1.0
    assert chosen["equal_there"] == {"from": 0.2, "below": 0.8}


@pytest.mark.parametrize("how", ["the same file", "a copy", "the same solutions in another form", "one of them"])
def test_a_threshold_is_never_chosen_on_what_is_evaluated(tmp_path: Path, how: str) -> None:
    data = write_json(tmp_path / "math.json", MATH)
    other = data
    if how == "a copy":
        other = tmp_path / "copy.json"
        other.write_bytes(data.read_bytes())
    elif how == "the same solutions in another form":
        other = tmp_path / "other.jsonl"
        other.write_text("".join(json.dumps(row | {"id": "x"}) + "\n" for row in MATH), encoding="utf-8")
    elif how == "one of them":
        other = write_json(tmp_path / "other.json", [*GSM, MATH[0]])
    with pytest.raises(ConfigError, match="never tuned on what it is measured on"):
        processbench(data, threshold_data=ThresholdData(other, StepsSayIt()))


def test_paths_of_labelled_trees_choose_a_threshold_too(tmp_path: Path) -> None:
    """Every path to a leaf; one with an unlabelled step before its first wrong one is left out."""
    own = tmp_path / "labelled.jsonl"
    alternatives = [{"text": "0.55", "confidence": 0.0}, {"text": "0.7", "confidence": None}]
    steps = [
        {"text": "0.9", "confidence": 1.0},
        {"text": "0.8", "confidence": 0.5, "alternatives": alternatives},
        {"text": "0.65", "confidence": 1.0},
    ]
    own.write_text(json.dumps({"problem": "p?", "steps": steps}) + "\n", encoding="utf-8")
    report = ReadReport()
    found = score_paths(StepsSayIt(), own, "own", report)
    assert [(s.label, [n.text for n in s.tree.nodes]) for s in found.solutions] == [
        (1, ["0.9", "0.55"]),
        (-1, ["0.9", "0.8", "0.65"]),
    ]
    assert found.confidences == [[0.9, 0.55], [0.9, 0.8, 0.65]]
    assert report["path_without_verdict"] == 1
    data = write_json(tmp_path / "math.json", MATH)
    chosen = processbench(data, threshold_data=ThresholdData(own, StepsSayIt(), "own")).report["thresholds"][-1]
    assert chosen["threshold"] == pytest.approx(0.6)
    assert (chosen["num_solutions"], chosen["layout"]) == (2, "own")
    own.write_text(json.dumps({"problem": "math 0?", "steps": ["0.9", "0.3"], "confidences": [1, 0]}), encoding="utf-8")
    with pytest.raises(ConfigError, match="holds 1 of the evaluated solutions"):
        processbench(data, threshold_data=ThresholdData(own, StepsSayIt(), "own"))


def test_the_command_offers_every_layout_of_trees() -> None:
    published = {"agent_process_bench", "delta_bench", "hard2verify", "mmlu_pro_cot", "tool_prm_bench"}
    own = {"chat_verdicts", "own", "step_table", "stepwise", "versaprm"}
    assert set(TREE_LAYOUTS) == {"eqasc", "math_shepherd", "prm800k", "reveal", *own, *published}
    parser = argparse.ArgumentParser()
    benchmark.configure(parser)
    for layout in ("processbench", *TREE_LAYOUTS):
        args = parser.parse_args(["processbench", "--data", "d", "--threshold_format", layout])
        assert args.threshold_format == layout


def test_a_calibration_is_applied_on_request(
    build_small: Callable[..., BuiltModel], small_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = small_config("llama")
    built = build_small(config=config)
    built.calibration = Calibration(Platt(1.0, -2.0))
    (tmp_path / MANIFEST).write_text("{}")
    loaded = LoadedCheckpoint(tmp_path, config, Manifest("full", 1, 0, {}, "", "", {}), built)
    scorers = [loaded.scorer(config, calibrated=calibrated) for calibrated in (False, True)]
    raw, mapped = (scores_of(scorer, [chain("p", ["a", "b"])])[0] for scorer in scorers)
    assert [scorer.about()["calibration"]["applied"] for scorer in scorers] == ["none", "pooled"]
    assert mapped == pytest.approx(Platt(1.0, -2.0).apply([v for v in raw if v is not None]).tolist())
    assert raw != pytest.approx(mapped)


def test_a_threshold_needs_wrong_and_right_solutions(tmp_path: Path) -> None:
    data = write_json(tmp_path / "math.json", MATH)
    other = write_json(tmp_path / "other.json", GSM[1:2])
    with pytest.raises(ConfigError, match="without erroneous or without correct"):
        processbench(data, threshold_data=ThresholdData(other, StepsSayIt()))


def test_a_subset_of_one_problem_is_measured_as_far_as_it_goes(tmp_path: Path) -> None:
    report = processbench(write_json(tmp_path / "math.json", MATH[:1])).report
    section = report["thresholds"][0]["subsets"]["math"]
    assert section["accuracy_erroneous"] == 1.0
    assert (section["f1"], section["undefined"]["f1"]) == (None, "the subset has no correct solution")
    assert report["thresholds"][0]["mean"]["f1"] is None
    json.dumps(report, allow_nan=False)


def test_a_file_without_usable_solutions_says_why(tmp_path: Path) -> None:
    data = write_json(tmp_path / "math.json", [MATH[0] | {"label": 7}])
    with pytest.raises(DataError, match=r"no usable solution; .*1 record whose error index is outside"):
        processbench(data)
    with pytest.raises(DataError, match="no usable solution"):
        processbench(write_json(tmp_path / "empty.json", []))


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no data file"):
        find_data(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        find_data(tmp_path / "missing.json")
    for name in ("math.json", "math.jsonl", "notes.txt"):
        (tmp_path / name).write_text("[]")
    with pytest.raises(DataError, match=r"math.json and .*math.jsonl are both called math"):
        find_data(tmp_path)


def confidences(path: Path, *rows: dict[str, Any]) -> FileScorer:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return FileScorer.read(path)


def test_confidences_of_another_scorer(tmp_path: Path) -> None:
    rows = [{"id": row["id"], "confidences": [None if s == "?" else float(s) for s in row["steps"]]} for row in GSM]
    scores = confidences(tmp_path / "c.jsonl", *rows, {"id": "other", "confidences": []})
    data = write_json(tmp_path / "gsm8k.json", GSM)
    report = run_processbench(scores, [data], threshold=None, threshold_data=None, resampling=FEW).report
    assert report["thresholds"] == processbench(data).report["thresholds"]
    assert report["predictions_not_used"] == 1


@pytest.mark.parametrize("name", [7, 7.0, "7"])
def test_an_id_that_is_a_number_is_found_as_the_data_names_it(tmp_path: Path, name: Any) -> None:
    scores = confidences(tmp_path / "c.jsonl", {"id": name, "confidences": [0.25]})
    assert scores_of(scores, [replace(chain("p", ["s"]), id="7")]) == [[0.25]]
    with pytest.raises(DataError, match="'id' is missing; allowed: text or a whole number"):
        confidences(tmp_path / "d.jsonl", {"confidences": [0.25]})


def test_the_subset_decides_where_ids_repeat(tmp_path: Path) -> None:
    scores = confidences(
        tmp_path / "c.jsonl",
        {"subset": "a", "id": "1", "confidences": [0.25]},
        {"subset": "b", "id": "1", "confidences": [0.75]},
    )
    a, b = (replace(chain("p", ["s"]), id="1", dataset=name) for name in "ab")
    assert scores_of(scores, [b, a]) == [[0.75], [0.25]]
    unnamed = confidences(tmp_path / "d.jsonl", {"id": "1", "confidences": [0.25]})
    with pytest.raises(DataError, match="id '1' is in b and in a; name the 'subset' of each row"):
        scores_of(unnamed, [b, a])
    with pytest.raises(DataError, match="two solutions of a have the id '1'"):
        scores_of(scores, [a, a])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"id": "gsm-0", "confidences": [0.5]}], "no confidences for the solution 'gsm-1' of gsm8k"),
        ([{"id": "gsm-0", "confidences": [0.5, 0.5]}], r"line 1: 2 confidences for 'gsm-0' of 1 step"),
        ([{"id": "gsm-0", "confidences": [1.01]}], "line 1: confidence 1 is 1.01; allowed: a number from 0 to 1"),
        ([{"id": "gsm-0", "confidences": [float("nan")]}], "confidence 1 is nan"),
        ([{"id": "gsm-0", "confidences": 0.5}], "'confidences' is 0.5; allowed: a list"),
        ([{"confidences": [0.5]}], "'id' is missing"),
        ([{"id": "a", "confidences": []}, {"id": "a", "confidences": []}], "line 2: id 'a' stands on line 1 as well"),
    ],
)
def test_bad_confidences_are_one_line(tmp_path: Path, rows: list[dict[str, Any]], words: str) -> None:
    data = write_json(tmp_path / "gsm8k.json", GSM)
    with pytest.raises(DataError, match=words):
        run_processbench(
            confidences(tmp_path / "c.jsonl", *rows), [data], threshold=None, threshold_data=None, resampling=FEW
        )


def prm(category: str, steps: list[str], wrong: list[int], name: str = "1") -> dict[str, Any]:
    return {
        "idx": name,
        "original_question": f"q{name}",
        "modified_question": f"q{name} changed",
        "modified_process": steps,
        "error_steps": wrong,
        "classification": category,
    }


def test_prmbench_by_hand(tmp_path: Path) -> None:
    data = write_json(
        tmp_path / "prm.json",
        [
            prm("redundency", ["0.9", "0.2", "0.8"], [2]),  # all three judged rightly
            prm("circular", ["0.9", "0.9"], [2]),  # the wrong one missed
            prm("multi_solutions", ["0.9", "0.1"], []),  # a right one called wrong
            prm("multi_solutions", ["0.9", "0.9"], [5], name="2"),
        ],
    )
    report = run_prmbench(StepsSayIt(), [data], threshold=0.5, resampling=FEW).report
    found = report["categories"]
    assert found["redundency"]["prm_score"] == 1.0
    assert found["circular"]["f1"] == pytest.approx(2 / 3)
    assert (found["circular"]["negative_f1"], found["circular"]["prm_score"]) == (0.0, pytest.approx(1 / 3))
    assert found["multi_solutions"]["prm_score"] == found["multi_solutions"]["f1"] == pytest.approx(6 / 7)
    assert found["multi_solutions"]["negative_f1"] is None
    # 6 of 7 right steps kept, 1 of 2 wrong steps found.
    overall = report["overall"]
    assert (overall["num_right_steps"], overall["num_wrong_steps"], overall["num_problems"]) == (7, 2, 2)
    assert overall["f1"] == pytest.approx(12 / 14)
    assert overall["negative_f1"] == pytest.approx(0.5)
    assert overall["prm_score"] == pytest.approx((12 / 14 + 0.5) / 2)
    assert report["groups"]["simplicity"]["prm_score"] == pytest.approx((1 + 1 / 3) / 2)
    assert report["groups"]["soundness"]["prm_score"] is None
    assert "deception" in report["categories_not_in_data"]
    assert report["reading"]["counts"]["error_index_outside"] == 1
    assert report["overall_without_records_outside"]["num_solutions"] == 3
    assert report["all_right"]["f1"] == pytest.approx(14 / 16)
    assert report["all_right"]["negative_f1"] == 0.0
    json.dumps(report, allow_nan=False)


def test_prmbench_counts_steps_that_nobody_scored(tmp_path: Path) -> None:
    data = write_json(tmp_path / "prm.json", [prm("circular", ["0.9", "?"], [2])])
    report = run_prmbench(StepsSayIt(), [data], threshold=0.5, resampling=FEW).report
    assert (report["steps_not_scored"], report["solutions_not_measured"]) == (1, 1)
    assert (report["overall"]["num_solutions"], report["overall"]["num_wrong_steps"]) == (0, 0)
    assert report["overall"]["prm_score"] is None
    with pytest.raises(DataError, match="no usable solution"):
        run_prmbench(StepsSayIt(), [write_json(tmp_path / "e.json", [])], threshold=0.5, resampling=FEW)


def candidates(*made: tuple[list[str], bool], problem: str = "p?", answer: str | None = None) -> dict[str, Any]:
    given = [{"steps": steps, "correct": right, "answer": answer or steps[-1]} for steps, right in made]
    return {"problem": problem, "candidates": given}


def test_best_of_n_by_hand(tmp_path: Path) -> None:
    data = write_json(
        tmp_path / "c.json",
        [
            candidates((["0.9", "0.8"], True), (["0.3", "0.9"], False)),  # min chooses right, last wrong
            candidates((["0.5"], False), (["0.5"], True), problem="q?"),  # a tie
        ],
    )
    report = run_best_of_n(StepsSayIt(), [data], sizes=None, resampling=FEW).report
    assert list(report["by_n"]) == ["1", "2"]
    two = {name: method["accuracy"] for name, method in report["by_n"]["2"]["methods"].items()}
    assert two["pass"] == 1.0
    assert two["random_choice"] == two["majority"] == 0.5
    assert two["best_min"] == two["best_product"] == two["best_mean"] == 0.75
    assert two["best_last"] == 0.25
    assert two["weighted_majority_min"] == 0.75
    assert report["by_n"]["2"]["methods"]["best_min"]["minus_majority"]["value"] == 0.25
    assert report["reading"]["counts"]["answer_conflict"] == 1
    one = [method["accuracy"] for method in report["by_n"]["1"]["methods"].values()]
    assert one == pytest.approx([0.5] * len(two))


def test_n_ends_at_the_smallest_count_unless_asked_for(tmp_path: Path) -> None:
    data = write_json(
        tmp_path / "c.json",
        [candidates(*[([f"0.{n}"], n == 9) for n in range(1, 10)]), candidates((["0.5"], True), problem="q?")],
    )
    assert list(run_best_of_n(StepsSayIt(), [data], sizes=None, resampling=FEW).report["by_n"]) == ["1"]
    report = run_best_of_n(StepsSayIt(), [data], sizes=[8, 1], resampling=FEW).report
    assert report["by_n"]["8"]["problems_with_fewer_candidates"] == 1
    assert report["by_n"]["8"]["methods"]["best_min"]["accuracy"] == pytest.approx(8 / 9)
    with pytest.raises(ConfigError, match="--n 10: no problem has so many candidates; allowed: 1 to 9"):
        run_best_of_n(StepsSayIt(), [data], sizes=[10], resampling=FEW)


def test_confidences_in_the_file_give_the_same_figures(tmp_path: Path) -> None:
    data = write_json(tmp_path / "c.json", [candidates((["0.9", "0.8"], True), (["0.3"], False), (["0.9"], False))])
    first = run_best_of_n(StepsSayIt(), [data], sizes=None, resampling=FEW)
    saved = tmp_path / "saved.jsonl"
    saved.write_text("".join(json.dumps(row) + "\n" for row in first.rows), encoding="utf-8")
    assert run_best_of_n(None, [saved], sizes=None, resampling=FEW).report["by_n"] == first.report["by_n"]
    with pytest.raises(DataError, match=r"candidate 1 of .* has no 'confidences'; .*--checkpoint"):
        run_best_of_n(None, [data], sizes=None, resampling=FEW)


def test_unscored_and_missing_steps_stay_among_the_candidates(tmp_path: Path) -> None:
    row = {
        "problem": "p?",
        "candidates": [
            {"steps": [], "correct": False},
            {"steps": ["0.4", "?"], "correct": True},
            {"steps": ["?"], "correct": False},
        ],
    }
    report = run_best_of_n(StepsSayIt(), [write_json(tmp_path / "c.json", [row])], sizes=[3], resampling=FEW).report
    assert report["candidates_not_scored_to_the_end"] == 2
    assert report["reading"]["counts"]["candidate_without_steps"] == 1
    assert report["by_n"]["3"]["methods"]["best_last"]["accuracy"] == 1.0


class Counting:
    """A model's scores, and how many trees it was given."""

    def __init__(self, scorer: ModelScorer) -> None:
        self.scorer = scorer
        self.trees = 0

    def about(self) -> dict[str, Any]:
        return {}

    def score(self, trees: Sequence[ReasoningTree], **options: Any) -> Iterator[TreeScores]:
        self.trees += len(trees)
        return self.scorer.score(trees, **options)


def test_candidates_scored_as_one_tree_get_what_each_gets_alone(
    build_small: Callable[..., BuiltModel], small_config: Callable[..., Config]
) -> None:
    scorer = Counting(build_small("llama").scorer(small_config("llama")))
    steps = [
        ("first add", "it is 4", "A: 4"),
        ("first add", "it is 5", "A: 5"),
        ("first add", "it is 4", "A: 5"),
        ("first add",),  # ends where others go on
        ("guess", "it is 4", "A: 4"),
        ("first add", "it is 4", "A: 4"),  # a copy
    ]
    found = CandidateSet("2 + 2?", "p", 1, [Candidate(each, True, "4") for each in steps])
    report = ReadReport()
    tree, paths = candidate_tree(found, report)
    assert len(tree.nodes) == 9
    assert report["shared_steps"] == sum(map(len, steps)) - 9
    assert [tuple(tree.nodes[n].text for n in path) for path in paths] == steps
    (together,) = score_candidates(scorer, [found], ReadReport())
    assert scorer.trees == 1
    alone = scores_of(scorer.scorer, [chain("2 + 2?", list(each)) for each in steps])
    assert len({round(value, 6) for values in alone for value in values}) == 9
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
