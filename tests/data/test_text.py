"""White space around a text never matters: not to the trees of any reader, not to tokens, whoever made the tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layout_rows import FILE_READERS, READERS, VALID
from strategies import trees
from surestep.data.benchmarks.candidates import read_candidates
from surestep.data.benchmarks.prmbench import read_prmbench
from surestep.data.records.reading_report import ReadReport
from surestep.data.trees.text import clean_text
from surestep.data.trees.tree_builder import TreeBuilder
from surestep.encoding.encoded_tree import encode_trees
from surestep.encoding.formatter import Formatter
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.types import Node, ReasoningTree

SPACE = st.text(alphabet=" \n\r\t\u00a0\u3000\u2028", max_size=3)
TEXT_FIELDS = {"problem", "stem", "question", "step", "text", "evidence", "df", "prompt", "fact1", "fact2"}


def padded(value: Any, draw: Any, key: str | None = None, in_steps: bool = False) -> Any:
    """A row whose texts have white space around them; names, verdicts and labels stay."""
    if isinstance(value, dict):
        return {
            name: padded(item, draw, name, name in ("steps", "completions", "alternatives"))
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [padded(item, draw, None, in_steps) for item in value]
    if isinstance(value, str) and (key in TEXT_FIELDS or (key is None and in_steps)):
        return f"{draw(SPACE)}{value}{draw(SPACE)}"
    return value


def shepherd(problem: str, step: str, mark: str) -> str:
    return f"{problem}Step 1: {step}{mark}"


@pytest.mark.parametrize("ending", [".jsonl", ".json"])
@pytest.mark.parametrize("kind", FILE_READERS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_every_reader_gives_the_same_trees_whatever_surrounds_a_text(
    kind: str, ending: str, tmp_path: Path, data: st.DataObject
) -> None:
    row = padded(VALID[kind], data.draw)
    if kind == "math_shepherd":
        problem, step = f"{data.draw(SPACE)}p {data.draw(SPACE)}", f"{data.draw(SPACE)}a{data.draw(SPACE)}"
        row = {
            "input": shepherd(problem, step.strip() + " ", "ки"),
            "label": shepherd(problem, step.strip() + " ", "+"),
        }
    path = tmp_path / f"data{ending}"
    plain, report = ReadReport(), ReadReport()
    path.write_text(json.dumps([VALID[kind]] * 2), encoding="utf-8")
    expected = list(READERS[kind](path, report=plain))
    path.write_text(json.dumps([VALID[kind], row]), encoding="utf-8")
    assert list(READERS[kind](path, report=report)) == expected
    report.counts.pop("text_cleaned", None)
    assert report.counts == plain.counts


def test_what_was_cleaned_is_counted_and_said(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    step = {"text": "a\r\nb", "confidence": 1, "context": " e"}
    path.write_text(json.dumps({"problem": "p\n", "steps": [step, "c "]}), encoding="utf-8")
    report = ReadReport()
    (tree,) = READERS["own"](path, report=report)
    assert (tree.problem, tree.nodes[0].text, tree.nodes[0].context, tree.nodes[1].text) == ("p", "a\nb", "e", "c")
    assert report["text_cleaned"] == 4
    assert any("4 problems, steps and pieces of evidence" in line for line in report.lines())


def test_benchmark_files_are_cleaned_too(tmp_path: Path) -> None:
    path, report = tmp_path / "data.jsonl", ReadReport()
    path.write_text(
        json.dumps({"problem": " p", "candidates": [{"steps": ["a\n", "b"], "correct": True}]}), encoding="utf-8"
    )
    (found,) = read_candidates(path, report=report)
    assert (found.problem, found.candidates[0].steps, report["text_cleaned"]) == ("p", ("a", "b"), 2)
    row = {
        "classification": "circular",
        "idx": 1.0,
        "question": "q ",
        "modified_process": ["a\r\n", " b"],
        "error_steps": [2.0],
    }
    path.write_text(json.dumps(row), encoding="utf-8")
    (solution,) = read_prmbench(path, report=ReadReport())
    assert [(node.text, node.confidence) for node in solution.tree.nodes] == [("a", 1.0), ("b", 0.0)]
    assert solution.tree.id == "circular_1"


def test_a_step_written_with_other_white_space_is_the_same_node() -> None:
    builder = TreeBuilder("p")
    first = builder.add("12 + 2 = 14", context="e")
    assert builder.add("\n 12 + 2 = 14 \r\n", context=" e\n") == first
    assert builder.add("12  +  2 = 14", context="e") != first
    report = ReadReport()
    assert len(builder.build(report).nodes) == 2
    assert report["text_cleaned"] == 2


@given(trees(), st.data())
def test_a_tree_made_by_hand_has_the_same_tokens_whatever_surrounds_its_texts(
    tree: ReasoningTree, data: st.DataObject
) -> None:
    def around(text: str) -> str:
        return f"{data.draw(SPACE)}{text}{data.draw(SPACE)}"

    nodes = tuple(
        Node(around(node.text), node.parent, node.confidence, node.num_ratings, node.context and around(node.context))
        for node in tree.nodes
    )
    tokenizer, formatter = load_tokenizer("builtin:tiny"), Formatter()
    plain, spaced = encode_trees([tree, ReasoningTree(around(tree.problem), nodes)], tokenizer, formatter)
    assert plain.tokens_T.tolist() == spaced.tokens_T.tolist()
    assert plain.offsets.tolist() == spaced.offsets.tolist()


@given(st.text(alphabet="a \n\r\t\u200b", max_size=8))
def test_cleaning_twice_changes_nothing_and_keeps_what_is_within(text: str) -> None:
    clean = clean_text(text)
    assert clean_text(clean) == clean
    assert "\r" not in clean
    assert clean.split() == text.split()
