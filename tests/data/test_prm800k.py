"""PRM800K: every completion is kept, ratings are read as documented, and nothing goes uncounted."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from surestep.data.datasets.prm800k import read_prm800k
from surestep.data.records.reading_report import ReadReport
from surestep.errors import DataError
from surestep.types import ReasoningTree

Write = Callable[..., Path]


def completion(text: str, rating: int | None) -> dict[str, Any]:
    return {"text": text, "rating": rating, "flagged": None}


def step(*completions: dict[str, Any], chosen: int | None = None, human: str | None = None) -> dict[str, Any]:
    written = None if human is None else {"text": human, "rating": None, "source": "human", "flagged": False}
    return {
        "completions": list(completions) or None,
        "human_completion": written,
        "chosen_completion": chosen,
    }


def record(problem: str, *steps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "labeler": "x",
        "generation": None,
        "is_quality_control_question": False,
        "is_initial_screening_question": False,
        "question": {"problem": problem, "ground_truth_answer": "1"},
        "label": {"steps": list(steps), "total_time": 1, "finish_reason": "solution"},
        **fields,
    }


def read(path: Path, **options: Any) -> tuple[list[ReasoningTree], ReadReport]:
    report = ReadReport()
    return list(read_prm800k(path, report=report, **options)), report


def as_rows(tree: ReasoningTree) -> list[tuple[str, float | None, int]]:
    return [(node.text, node.confidence, node.parent) for node in tree.nodes]


def test_every_alternative_is_a_leaf_beside_the_chosen_step(write_jsonl: Write) -> None:
    path = write_jsonl(
        record(
            "p",
            step(completion("a", 1), completion("b", -1), chosen=0),
            step(completion("c", 0), completion("d\n\n# Answer\n\n4", 1), chosen=1),
        )
    )
    (tree,), report = read(path)
    assert as_rows(tree) == [("a", 1.0, -1), ("b", 0.0, -1), ("c", 0.5, 0), ("d\n\n# Answer\n\n4", 1.0, 0)]
    assert (report["trees"], report["steps"], report["labels"]) == (1, 4, 4)


def test_the_human_step_continues_without_a_label(write_jsonl: Write) -> None:
    path = write_jsonl(record("p", step(completion("a", -1), human="h"), step(completion("b", 1), chosen=0)))
    (tree,), report = read(path)
    assert as_rows(tree) == [("a", 0.0, -1), ("h", None, -1), ("b", 1.0, 1)]
    assert report["human_step"] == 1


def test_records_of_one_problem_become_one_tree_wherever_they_stand(write_jsonl: Write) -> None:
    path = write_jsonl(
        record("p", step(completion("a", 1), chosen=0), step(completion("b", 1))),
        record("q", step(completion("a", 1))),
        record("p", step(completion("a", -1), chosen=0), step(completion("c", 0))),
    )
    (first, second), report = read(path)
    assert as_rows(first) == [("a", 0.5, -1), ("c", 0.5, 0), ("b", 1.0, 0)]  # in the order of what the records hold
    assert (first.id, second.id) == ("data:1", "data:2")
    assert (report["rated_again"], report["rating_conflict"]) == (1, 1)


@pytest.mark.parametrize(("neutral", "expected"), [(0.5, 0.5), (1.0, 1.0), (None, None)])
def test_neutral_ratings_follow_the_option(write_jsonl: Write, neutral: float | None, expected: float | None) -> None:
    path = write_jsonl(record("p", step(completion("a", 0), chosen=0), step(completion("b", 1))))
    (tree,), report = read(path, neutral=neutral)
    assert tree.nodes[0].confidence == expected
    assert report["neutral_missing"] == (neutral is None)


def test_an_unrated_step_stays_only_where_it_continues(write_jsonl: Write) -> None:
    path = write_jsonl(
        record(
            "p",
            step(completion("kept", None), completion("dropped", None), chosen=0),
            step(completion("b", 1), completion("c", None)),
        )
    )
    (tree,), report = read(path)
    assert as_rows(tree) == [("kept", None, -1), ("b", 1.0, 0)]
    assert (report["missing_rating"], report["unlabelled_tail"]) == (3, 2)


def test_quality_control_and_screening_stay_out_unless_asked_for(write_jsonl: Write) -> None:
    path = write_jsonl(
        record("p", step(completion("a", 1)), is_quality_control_question=True),
        record("q", step(completion("a", 1)), is_initial_screening_question=True, generation=-1),
        record("r", step(completion("a", 1))),
    )
    trees, report = read(path)
    assert [tree.problem for tree in trees] == ["r"]
    assert (report["quality_control"], report["screening"], report["records"]) == (1, 1, 3)
    trees, _ = read(path, keep_quality_control=True, keep_screening=True)
    assert [tree.problem for tree in trees] == ["p", "q", "r"]


def test_an_empty_step_is_dropped_with_what_follows_it(write_jsonl: Write) -> None:
    path = write_jsonl(record("p", step(completion("a", 1), completion(" \n", 1), chosen=1), step(completion("b", 1))))
    (tree,), report = read(path)
    assert as_rows(tree) == [("a", 1.0, -1)]
    assert (report["empty_step"], report["after_empty_step"]) == (1, 1)
    assert report.places["empty_step"] == ["data.jsonl, line 1"]


def test_endings_that_nobody_chose_are_counted(write_jsonl: Write) -> None:
    path = write_jsonl(
        record("p", step(completion("a", 1)), step(completion("b", 1))),
        record("p", step(completion("c", 1), chosen=7), step(completion("b", 1))),
        record("p"),
    )
    (tree,), report = read(path)
    assert [node.text for node in tree.nodes] == ["a", "c"]
    assert (report["unchosen_end"], report["bad_choice"], report["no_steps"]) == (1, 1, 1)


def test_a_problem_whose_steps_carry_no_label_is_dropped_and_counted(write_jsonl: Write) -> None:
    trees, report = read(write_jsonl(record("p", step(completion("a", None), chosen=0))))
    assert trees == []
    assert (report["tree_without_labels"], report["trees"]) == (1, 0)


@pytest.mark.parametrize("rating", [2, 0.7, "1", True])
def test_a_rating_out_of_range_names_file_line_and_value(write_jsonl: Write, rating: Any) -> None:
    path = write_jsonl(record("p", step(completion("a", 1))), record("p", step(completion("a", rating))))
    with pytest.raises(DataError, match=r"data\.jsonl, line 2: 'rating' is .*; allowed: -1, 0, 1 or null"):
        read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": None}, "'question' is null; allowed: an object"),
        ({"question": {"problem": " "}}, "problem is empty"),
        ({"question": {}}, "'problem' is missing"),
        ({"label": {"steps": {}}}, "'steps' is an object; allowed: a list"),
        ({"label": {"steps": [{"completions": [{"text": None, "rating": 1}]}]}}, "'text' is missing"),
    ],
)
def test_a_record_of_another_shape_names_its_line(write_jsonl: Write, change: dict[str, Any], message: str) -> None:
    path = write_jsonl(record("p", step(completion("a", 1))) | change)
    with pytest.raises(DataError, match=f"line 1: .*{message}"):
        read(path)


@pytest.mark.slow
def test_real_phase_1_train_agrees_with_its_documented_counts(real_data: Callable[[str], Path]) -> None:
    trees, report = read(real_data("PRM800K/phase1_train.jsonl"))
    assert report["records"] == 942
    # 900 problems; 12 of them hold no rating at all.
    assert (report["trees"], report["tree_without_labels"]) == (888, 12)
    assert (report["rated_again"], report["rating_conflict"]) == (4350, 45)
    # 45,499 distinct steps, 575 of them unlabelled ends.
    assert report["steps"] + report["unlabelled_tail"] == 45_499
    assert report["labels"] == 42_861
    assert sum(tree.num_labels for tree in trees) == 42_861


@pytest.mark.slow
def test_the_documented_45435_steps_are_those_without_the_answer_block(
    real_data: Callable[[str], Path], write_jsonl: Write
) -> None:
    # The documented figures merge steps that differ in their "# Answer" block only; the reader keeps it.
    records = [json.loads(line) for line in real_data("PRM800K/phase1_train.jsonl").open(encoding="utf-8")]
    for values in records:
        for each in values["label"]["steps"]:
            for written in (each["completions"] or []) + [each["human_completion"] or {"text": ""}]:
                written["text"] = written["text"].split("\n\n# Answer")[0]
    _, report = read(write_jsonl(*records))
    assert report["steps"] + report["unlabelled_tail"] == 45_435
    assert report["labels"] == 42_800


def test_real_untouched_originals_of_both_phases_are_read(real_data: Callable[[str], Path]) -> None:
    trees, report = read(real_data("PRM800K/raw_examples.jsonl"))
    assert (report["records"], report["screening"], len(trees)) == (11, 1, 10)
    assert report["human_step"] == 14


@pytest.mark.slow
def test_memory_stays_a_small_multiple_of_the_text(tmp_path: Path) -> None:
    """A file like phase 2's: 5 MB, one problem's records far apart, half of it text that is not steps."""
    rng = random.Random(0)
    words = [f"w{number:05d}" for number in range(5000)]
    path, text_bytes = tmp_path / "phase2_train.jsonl", 0
    with path.open("w", encoding="utf-8") as file:
        for number in range(1100):
            steps = []
            for _ in range(8):
                texts = [" ".join(rng.choices(words, k=20)) for _ in range(3)]
                text_bytes += sum(map(len, texts))
                steps.append(step(*(completion(text, rng.choice((-1, 0, 1))) for text in texts), chosen=0))
            values = record(f"problem {number % 250}", *steps)
            values["question"]["pre_generated_steps"] = [" ".join(rng.choices(words, k=30)) for _ in range(4)]
            file.write(json.dumps(values) + "\n")
    size = path.stat().st_size
    assert size > 4.6e6
    num_labels, report = 0, ReadReport()
    tracemalloc.start()
    try:
        for tree in read_prm800k(path, report=report):
            num_labels += tree.num_labels
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert num_labels == 1100 * 8 * 3
    assert peak < 3 * text_bytes, f"peak {peak:,} bytes for {text_bytes:,} bytes of steps in {size:,}"
