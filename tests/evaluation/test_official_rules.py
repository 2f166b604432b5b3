"""ProcessBench and PRMBench equal slow implementations of their official rules: with ties, empty steps, gaps, repeats.

Also on real ProcessBench files with made scores, and through the result files of PRMBench's own program.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import benchmark_rules as rules
from scores import scores_of
from surestep.data.benchmarks.prmbench import CATEGORIES, without_number
from surestep.errors import ConfigError, DataError
from surestep.evaluation.benchmarks.prmbench import run_prmbench
from surestep.evaluation.benchmarks.prmbench_results import read_predictions
from surestep.evaluation.benchmarks.processbench import run_processbench
from surestep.evaluation.benchmarks.result_file import Resampling
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.score_file import FileScorer
from surestep.types import Node, ReasoningTree, chain

ONE = Resampling(resamples=1, seed=0)

# Few values, so that ties are common, and thresholds equal to some of them.
score = st.sampled_from([0.0, 0.3, 0.5, 0.5, 0.7, 1.0])
maybe = st.one_of(score, score, score, st.none())
step = st.sampled_from(["", " ", "so x = 1", "Step 2. then", "a\n"])


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@st.composite
def processbench(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, list[float | None]]]:
    """Records of one subset, a wrong and a right one among them, and scores; some without steps, some not scored."""
    texts = [*draw(st.lists(st.lists(step, max_size=4), max_size=8)), ["a"], ["", "b"]]
    labels = [draw(st.integers(-1, len(steps) - 1)) for steps in texts[:-2]] + [-1, 0]
    scores = [[draw(maybe) for _ in steps] for steps in texts[:-2]] + [[draw(score)], [draw(score), draw(score)]]
    records = [
        {"id": f"s{n}", "problem": f"p{n}", "steps": steps, "label": label}
        for n, (steps, label) in enumerate(zip(texts, labels, strict=True))
    ]
    return records, {record["id"]: found for record, found in zip(records, scores, strict=True)}


@pytest.mark.slow
@given(made=processbench(), threshold=st.sampled_from([0.0, 0.3, 0.45, 0.7, 1.0]))
def test_processbench_is_its_official_rule(
    tmp_path: Path, made: tuple[list[dict[str, Any]], dict[str, list[float | None]]], threshold: float
) -> None:
    records, scores = made
    data = write(tmp_path / "gsm8k.jsonl", records)
    found = write(tmp_path / "p.jsonl", [{"id": name, "confidences": values} for name, values in scores.items()])
    report = run_processbench(
        FileScorer.read(found), [data], threshold=threshold, threshold_data=None, resampling=ONE, protocol="paper"
    ).report
    assert len(report["thresholds"]) == 3
    known = [values for values in scores.values() if None not in values]
    for at in report["thresholds"]:
        section = at["subsets"]["gsm8k"]
        ours = section["accuracy_erroneous"], section["accuracy_correct"], section["f1"]
        assert ours == pytest.approx(rules.processbench_f1(records, scores, at["threshold"]), abs=1e-12)
        assert at["ties"] == section["ties"] == sum(value == at["threshold"] for values in known for value in values)
        assert section["num_solutions"] == len(known)
    paper = report["thresholds"][-1]
    assert paper["tuned_on"] == ["gsm8k"]
    assert paper["f1_there"] == pytest.approx(rules.best_f1(records, scores), abs=1e-12)
    assert paper["subsets"]["gsm8k"]["f1"] == pytest.approx(paper["f1_there"], abs=1e-12)
    assert report["solutions_not_measured"] == {"gsm8k": len(records) - len(known)}


@pytest.mark.parametrize("decimals", [pytest.param(17, marks=pytest.mark.slow), 1])
def test_processbench_on_its_own_file(tmp_path: Path, shared_data: Path, decimals: int) -> None:
    """Made scores, also rounded to one decimal, where one in ten lies on a threshold."""
    path = shared_data / "ProcessBench" / "gsm8k.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not at {path.parent}")
    records = json.loads(path.read_text(encoding="utf-8"))
    random = np.random.default_rng(0)
    scores = {
        record["id"]: [
            round(float(random.beta(2, 4) if index == record["label"] else random.beta(4, 2)), decimals)
            for index in range(len(record["steps"]))
        ]
        for record in records
    }
    found = write(tmp_path / "p.jsonl", [{"id": name, "confidences": values} for name, values in scores.items()])
    report = run_processbench(
        FileScorer.read(found), [path], threshold=0.7, threshold_data=None, resampling=ONE, protocol="paper"
    ).report
    for at in report["thresholds"]:
        section = at["subsets"]["gsm8k"]
        ours = section["accuracy_erroneous"], section["accuracy_correct"], section["f1"]
        assert ours == pytest.approx(rules.processbench_f1(records, scores, at["threshold"]), abs=1e-14)
    assert [at["ties"] > 100 for at in report["thresholds"][:2]] == [decimals == 1] * 2
    if decimals == 1:  # with few values the slow search is quick
        assert report["thresholds"][-1]["f1_there"] == pytest.approx(rules.best_f1(records, scores), abs=1e-14)


def test_the_papers_protocol_says_what_it_tuned_on(tmp_path: Path) -> None:
    gsm = [
        {"id": "g0", "problem": "p", "steps": ["a"], "label": 0},
        {"id": "g1", "problem": "q", "steps": ["a"], "label": -1},
    ]
    math = [
        {"id": "m0", "problem": "r", "steps": ["a"], "label": 0},
        {"id": "m1", "problem": "s", "steps": ["a"], "label": -1},
    ]
    files = [write(tmp_path / "gsm8k.jsonl", gsm), write(tmp_path / "math.jsonl", math)]
    scores = {"g0": 0.2, "g1": 0.4, "m0": 0.35, "m1": 0.9}
    found = FileScorer.read(write(tmp_path / "p.jsonl", [{"id": k, "confidences": [v]} for k, v in scores.items()]))
    options: dict[str, Any] = {"threshold": None, "threshold_data": None, "resampling": ONE}
    own = run_processbench(found, files, **options).report
    assert (own["protocol"], len(own["thresholds"])) == ("own", 1)
    half, paper = run_processbench(found, files, protocol="paper", **options).report["thresholds"]
    assert half == own["thresholds"][0]
    assert paper["threshold"] == pytest.approx(0.3)
    assert paper["equal_there"] == {"from": 0.2, "below": 0.4}
    assert (paper["mean"]["f1"], paper["mean_of_unseen"]["f1"]) == (0.5, 0.0)
    with pytest.raises(ConfigError, match="--protocol paper chooses the threshold on the subset 'gsm8k'"):
        run_processbench(found, files[1:], protocol="paper", **options)
    with pytest.raises(ConfigError, match="has no erroneous or no correct solutions that were scored to their end"):
        run_processbench(found, [write(tmp_path / "gsm8k.jsonl", gsm[:1])], protocol="paper", **options)


@st.composite
def prmbench(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Records of several categories with shared names, numbers that point nowhere, repeats, missing originals."""
    names = [
        ("redundency", "0"),
        *draw(st.lists(st.tuples(st.sampled_from(CATEGORIES), st.sampled_from("012")), max_size=9)),
    ]
    return [
        {
            "idx": name,
            "classification": category,
            "original_question": f"q{name}",
            "modified_question": f"q{name}?",
            "original_process": draw(st.one_of(st.none(), st.lists(step, max_size=4))),
            "modified_process": (steps := draw(st.lists(step, max_size=4))),
            "error_steps": draw(st.lists(st.integers(0, len(steps) + 2), max_size=3, unique=True)),
        }
        for category, name in names
    ]


def measured(report: dict[str, Any]) -> dict[str, Any]:
    """The figures under their official names, by category, from the part that has them so."""
    official = report["official"]
    by_category: dict[str, dict[str, float]] = {"total": official["total_hallucination_results"]}
    for figure, values in official["hallucination_type_results"].items():
        for category, value in values.items():
            by_category.setdefault(category, {})[figure] = value
    return by_category


OURS = {
    "f1": "f1",
    "negative_f1": "negative_f1",
    "accuracy_right_steps": "correct_step_acc",
    "accuracy_wrong_steps": "wrong_step_acc",
    "total_step_acc": "total_step_acc",
    "precision": "precision",
    "negative_precision": "negative_precision",
    "first_error_acc": "first_error_acc",
    "similarity": "similarity",
}


def assert_equal(report: dict[str, Any], official: dict[str, dict[str, float]]) -> None:
    ours = measured(report)
    assert ours.keys() == official.keys()
    sections = {"total": report["overall"], "correct": report["correct"], **report["categories"]}
    for category, figures in official.items():
        assert ours[category] == pytest.approx(figures, abs=1e-12)
        for name, official_name in OURS.items():
            value, theirs = sections[category][name], figures[official_name]
            # Where a figure has no value we write null, and an F1 that finds nothing is 0, where they may write -1.
            assert value == pytest.approx(theirs, abs=1e-12) or (theirs in (-1, 0) and value in (None, 0.0)), name


@pytest.mark.slow
@given(records=prmbench(), values=st.data(), threshold=st.sampled_from([0.3, 0.5, 0.6]))
def test_prmbench_is_its_official_rule(
    tmp_path: Path, records: list[dict[str, Any]], values: st.DataObject, threshold: float
) -> None:
    data = write(tmp_path / "prm.jsonl", records)
    solutions = rules.prmbench_solutions(records)
    scores = {
        name: values.draw(st.lists(maybe, min_size=len(steps), max_size=len(steps)))
        for name, (_, steps, _) in solutions.items()
    }
    found = FileScorer.read(write(tmp_path / "p.jsonl", [{"id": n, "confidences": v} for n, v in scores.items()]))
    result = run_prmbench(found, [data], threshold=threshold, resampling=ONE)
    known = {name: given for name, given in scores.items() if None not in given}
    verdicts = {name: [value > threshold for value in given] for name, given in known.items()}
    assert_equal(result.report, rules.prmbench_figures(records, verdicts))
    assert result.report["ties"] == sum(value == threshold for given in known.values() for value in given)
    assert result.report["solutions_not_measured"] == len(solutions) - len(known)
    # What is written for the benchmark's own program gives the same, read back as another scorer's result.
    official = write(tmp_path / "o.jsonl", result.official["prmbench_official_scores"])
    again = run_prmbench(read_predictions(official, by_scores=False), [data], threshold=0.5, resampling=ONE).report
    assert again["official"] == result.report["official"]
    by_scores = read_predictions(official, by_scores=True)
    again = run_prmbench(by_scores, [data], threshold=threshold, resampling=ONE).report
    assert (again["official"], again["ties"]) == (result.report["official"], result.report["ties"])


RECORDS = [
    {
        "idx": "0",
        "classification": category,
        "original_question": "q",
        "modified_question": "q",
        "original_process": ["a", "b"],
        "modified_process": ["a", "", "c"],
        "error_steps": [2],
    }
    for category in ("redundency", "deception")
]
NAMES = {"correct_0": [True, True], "redundency_0": [True, True, False], "deception_0": [True, False, True]}


def answers(**more: Any) -> list[dict[str, Any]]:
    return [{"idx": name, "scores": {"step_level_validity_labels": labels, **more}} for name, labels in NAMES.items()]


LAYOUTS = {
    "rows": answers(),
    "scores beside them, of another threshold": [
        {
            "idx": name,
            "scores": {"step_level_validity_labels": labels, "step_level_validity_scores": [-3.0] * len(labels)},
        }
        for name, labels in NAMES.items()
    ],
    "a checkpoint of the program": [{"task_name": "t", "model_name": "m", "results": row} for row in answers()],
    "its result": [{"detailed_logs": [{"idx": row["idx"], "prediction": row} for row in answers()]}],
    "repeats, of which the first counts": [*answers(), {"idx": "correct_0", "validity": False}],
    "labels as numbers": [
        {"idx": name, "scores": {"step_level_validity_labels": [int(v) for v in labels]}}
        for name, labels in NAMES.items()
    ],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_result_files_of_the_benchmarks_own_program(tmp_path: Path, layout: str) -> None:
    data, rows = write(tmp_path / "prm.jsonl", RECORDS), LAYOUTS[layout]
    found = read_predictions(write(tmp_path / "r.jsonl", rows), by_scores=False)
    report = run_prmbench(found, [data], threshold=0.5, resampling=ONE).report
    assert_equal(report, rules.prmbench_figures(RECORDS, NAMES))
    assert report["how"] == "the verdicts of the predictions' own file"
    assert (report["predictions_repeated"], report["predictions_not_used"]) == (int("repeats" in layout), 0)


def test_redundancy_decides_where_it_is_asked_for(tmp_path: Path) -> None:
    data = write(tmp_path / "prm.jsonl", RECORDS)
    rows = answers()
    rows[1]["scores"]["step_level_redundancy_labels"] = [False, True, False]
    rows[2]["scores"]["step_level_redundancy_labels"] = [True, True, True]  # deception is no matter of redundancy
    found = read_predictions(write(tmp_path / "r.jsonl", rows), by_scores=False)
    report = run_prmbench(found, [data], threshold=0.5, resampling=ONE).report
    assert_equal(report, rules.prmbench_figures(RECORDS, NAMES | {"redundency_0": [True, False, True]}))


def test_what_the_program_could_not_answer_is_left_out(tmp_path: Path) -> None:
    """Marked by it, or cut short of the solution's steps; before the change no line is needed."""
    data = write(tmp_path / "prm.jsonl", RECORDS)
    _, redundant, deception = answers()
    redundant["scores"]["step_level_validity_labels"] = [True, True]
    found = read_predictions(write(tmp_path / "r.jsonl", [redundant, deception]), by_scores=False)
    report = run_prmbench(found, [data], threshold=0.5, resampling=ONE).report
    assert_equal(report | {"correct": {}}, rules.prmbench_figures(RECORDS, {"deception_0": NAMES["deception_0"]}))
    assert (report["solutions_not_measured"], report["originals_not_in_predictions"], report["correct"]) == (1, 1, None)
    assert report["official"]["validitiy_rate"] == 0.5
    assert report["overall"]["similarity"] is None


@pytest.mark.parametrize(
    ("rows", "by_scores", "words"),
    [
        (answers()[:2], False, "holds no verdicts for the solution 'deception_0'"),
        ([{"idx": None, "scores": {}}], False, "'idx' is missing"),
        ([{"idx": "deception_0", "scores": {}}], False, "neither 'step_level_validity_labels' nor"),
        (
            [{"idx": "deception_0", "scores": {"step_level_validity_labels": ["yes"]}}],
            False,
            "1 is 'yes'; allowed: a number",
        ),
        ([{"idx": "deception_0", "results": 3}], False, "'results' is the number 3; allowed: an object"),
        (answers(step_level_validity_scores=[0.5, 2.0]), True, "are not all from 0 to 1"),
        (
            [{"idx": "redundency_0", "scores": {"step_level_validity_labels": [True] * 4}}],
            False,
            "4 verdicts for 'redundency_0' of 3 steps",
        ),
    ],
)
def test_broken_result_files_are_one_line(
    tmp_path: Path, rows: list[dict[str, Any]], by_scores: bool, words: str
) -> None:
    data, path = write(tmp_path / "prm.jsonl", RECORDS), write(tmp_path / "r.jsonl", rows)
    with pytest.raises(DataError) as caught:
        run_prmbench(read_predictions(path, by_scores=by_scores), [data], threshold=0.5, resampling=ONE)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.lists(st.sampled_from(["Step ", "step", "12", ".", " ", "3", "a", "\n"]), max_size=7).map("".join))
def test_the_number_in_front_goes_as_the_adapters_take_it(text: str) -> None:
    """By hand: white space, an optional 'step' with blanks, digits, a point, and the white space behind it."""
    bare = text.strip()
    rest = bare[4:].lstrip() if bare[:4].lower() == "step" else bare
    digits = len(rest) - len(rest.lstrip("0123456789"))
    expected = rest[digits + 1 :].lstrip() if digits and rest[digits : digits + 1] == "." else bare
    assert without_number(text) == expected


def test_a_model_scores_an_empty_step(build_small: Callable[..., BuiltModel], small_config: Callable[..., Any]) -> None:
    """As an empty line with its own <CONFIDENCE>: every step before it keeps its number, those behind it see it."""
    scorer = build_small("llama").scorer(small_config("llama"))
    nodes = tuple(Node(text, index - 1) for index, text in enumerate(["add 1", "", "", "is 2"]))
    first = ReasoningTree("p?", (Node(""),), lists_empty_steps=True)
    none = ReasoningTree("p?", (), lists_empty_steps=True)
    with_empty, alone, nothing, plain = scores_of(
        scorer, [ReasoningTree("p?", nodes, lists_empty_steps=True), first, none, chain("p?", ["add 1", "is 2"])]
    )
    assert all(0.0 < value < 1.0 for value in [*with_empty, *alone] if value is not None)
    assert (len(with_empty), len(alone), nothing) == (4, 1, [])
    assert with_empty[0] == pytest.approx(plain[0], abs=1e-6)
    assert with_empty[3] != pytest.approx(plain[1], abs=1e-6)
    with pytest.raises(ValueError, match="step 1 is empty"):
        ReasoningTree("p?", nodes)


def test_a_solution_beyond_the_position_limit_is_left_out(
    tmp_path: Path, build_small: Callable[..., BuiltModel], small_config: Callable[..., Any]
) -> None:
    scorer = build_small("llama").scorer(small_config("llama"))
    scorer.max_positions = 40
    rows = [
        {"id": "short", "problem": "p?", "steps": ["a", "", "b"], "label": -1},
        {"id": "long", "problem": "q?", "steps": ["a", "word " * 60], "label": -1},
        {"id": "nothing", "problem": "r?", "steps": [], "label": -1},
    ]
    report = run_processbench(
        scorer, [write(tmp_path / "math.jsonl", rows)], threshold=0.0, threshold_data=None, resampling=ONE
    ).report
    assert report["solutions_not_measured"] == report["steps_not_scored"] == {"math": 1}
    section = report["thresholds"][-1]["subsets"]["math"]
    assert (section["num_solutions"], section["accuracy_correct"]) == (2, 1.0)
    assert section["undefined"]["f1"] == "the subset has no erroneous solution that was scored to its end"
