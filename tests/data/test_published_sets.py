"""Published sets of judged steps: a made file of each layout, what is read of it, and how the layout is recognised."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layout_rows import PUBLISHED, VALID
from surestep.data.datasets import DATASETS, SOLUTION_LAYOUTS
from surestep.data.datasets.processbench import Solution
from surestep.data.datasets.published.mapped import FieldMap
from surestep.data.datasets.published.recognise import recognised
from surestep.data.records.reading_report import ReadReport
from surestep.errors import ConfigError, DataError
from surestep.types import ReasoningTree
from surestep.untrusted.python_text import parse_python


def put(path: Path, *rows: Any) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(rows[0] if len(rows) == 1 else list(rows)), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def solutions(layout: str, path: Path, report: ReadReport | None = None) -> list[Solution]:
    read = DATASETS[layout].read_solutions
    assert read is not None
    return list(read(path, report=report or ReadReport()))


def trees(layout: str, path: Path, report: ReadReport | None = None) -> list[ReasoningTree]:
    read = DATASETS[layout].read
    assert read is not None
    return list(read(path, report=report or ReadReport()))


def labels(tree: ReasoningTree) -> list[float | None]:
    return [node.confidence for node in tree.nodes]


MR_BEN = VALID["mr_ben"]


def test_mr_ben_counts_the_steps_that_are_written_and_keeps_every_entry(tmp_path: Path) -> None:
    steps = ["Step 1: a", "- more of it", "Step 2: b", "Solution: c"]
    unnumbered = {"Model_Solution_Steps": ["x = 1", "y = 2", "z = 3"], "Model_Solution_First_Error_Step": 3}
    rows = [
        MR_BEN | {"Model_Solution_Steps": steps},
        MR_BEN | {"Sampled_Model": "n", "Options": ""} | unnumbered,
        MR_BEN | {"Model_Solution_Correctness": "correct", "Model_Solution_First_Error_Step": "N/A", "Options": None},
        MR_BEN | {"Model_Solution_First_Error_Step": "N/A"},  # said to be wrong, and nowhere
        MR_BEN | {"Model_Solution_Steps": json.dumps(steps)},  # a list as text, as tables hold it
        MR_BEN | {"Model_Solution_Steps": str(steps)},
    ]
    report = ReadReport()
    found = solutions("mr_ben", put(tmp_path / "biology.jsonl", *rows), report)
    assert [solution.label for solution in found] == [2, 2, -1, 2, 2]
    assert {solution.subset for solution in found} == {"biology"}
    assert [node.text for node in found[0].tree.nodes] == steps
    assert labels(found[0].tree) == [1.0, 1.0, 0.0, None]
    assert (found[0].tree.problem, found[1].tree.problem) == ("p\nA: 1", "p")
    assert (found[0].tree.id, found[1].tree.id) == ("u/m", "u/n")
    assert (report["error_step_by_number"], report["verdict_conflict"]) == (3, 1)


def test_mr_ben_as_its_repository_has_it_is_one_object_of_questions(tmp_path: Path) -> None:
    other = MR_BEN | {"Sampled_Model": "n"}
    path = put(tmp_path / "math.json", {"u": [MR_BEN, other], "v": [MR_BEN | {"Question_UUID": "v"}]})
    assert [solution.tree.id for solution in solutions("mr_ben", path)] == ["u/m", "u/n", "v/m"]
    assert recognised(path, DATASETS, advice="") == "mr_ben"


def test_big_bench_mistake_counts_from_0_and_null_is_no_mistake(tmp_path: Path) -> None:
    rows = [{"input": "p", "steps": ["a", "b"], "mistake_index": index} for index in (None, 0, 1.0, 5)]
    report = ReadReport()
    found = solutions("big_bench_mistake", put(tmp_path / "word_sorting.jsonl", *rows), report)
    assert [solution.label for solution in found] == [-1, 0, 1]
    assert [solution.tree.id for solution in found] == [f"word_sorting:{line}" for line in (1, 2, 3)]
    assert report["label_past_end"] == 1
    with pytest.raises(DataError, match="'mistake_index' is missing"):
        solutions("big_bench_mistake", put(tmp_path / "b.jsonl", {"input": "p", "steps": ["a"]}))


def test_reason_eval_joins_the_lines_of_a_step_and_counts_from_1(tmp_path: Path) -> None:
    row = VALID["reason_eval"]
    gsm8k = {
        "uuid": "g",
        "question": "p",
        "model_output_steps": "['a', \"b's\"]",
        "model_output_solution_correctness": "correct",
        "model_output_solution_first_error_step": "N/A",
    }
    unplaced = row | {"model_output_solution_first_error_step": "N/A"}
    report = ReadReport()
    found = solutions("reason_eval", put(tmp_path / "x.json", row, gsm8k, unplaced), report)
    assert [(solution.tree.id, solution.label) for solution in found] == [("0", 1), ("g", -1)]
    assert [[node.text for node in solution.tree.nodes] for solution in found] == [["a", "b\nc"], ["a", "b's"]]
    assert report["verdict_conflict"] == 1
    with pytest.raises(DataError, match="there is no first error to find"):
        solutions("reason_eval", put(tmp_path / "r.jsonl", {"question": "p", "rating": [1]}))


def test_hard2verify_judges_every_step_and_an_encrypted_file_says_so(tmp_path: Path) -> None:
    row = VALID["hard2verify"] | {
        "model_response_by_step": ["a", "b", "c"],
        "human_labels": [1, 0, 1],
    }
    conflict = row | {"human_labels_first_error_idx": 2}
    report = ReadReport()
    path = put(tmp_path / "test.jsonl", row, conflict)
    assert [solution.label for solution in solutions("hard2verify", path, report)] == [1]
    assert labels(trees("hard2verify", path)[0]) == [1.0, 0.0, 1.0]
    assert report["verdict_conflict"] == 1
    secret = row | {"canary": "k", "model_response_by_step": "gAAAAB", "human_labels": "gAAAAC"}
    with pytest.raises(DataError, match="the row is encrypted"):
        solutions("hard2verify", put(tmp_path / "e.jsonl", secret))


def test_delta_bench_is_cut_at_its_marks(tmp_path: Path) -> None:
    text = "section1: a\n\nmore\n\n\nsection2: b\n\n\nsection3: c"
    row = {
        "id": "x",
        "question": "p",
        "sections_content": text,
        "reason_error_section_numbers": "[2, 3]",
        "reason_unuseful_section_numbers": "[1]",
    }
    report = ReadReport()
    path = put(tmp_path / "Deltabench_v1.csv", row, row | {"id": "y", "reason_error_section_numbers": "[]"})
    found = solutions("delta_bench", path, report)
    assert [(solution.tree.id, solution.label) for solution in found] == [("x", 1), ("y", -1)]
    assert [node.text for node in found[0].tree.nodes] == ["a\n\nmore", "b", "c"]
    assert labels(trees("delta_bench", path)[0]) == [1.0, 0.0, 0.0]
    assert report["not_useful_step"] == 2
    parts = {"sections": [{"content": "a"}, {"content": "b"}], "reason_error_section_numbers": [9]}
    assert solutions("delta_bench", put(tmp_path / "d.jsonl", {"question": "p"} | parts, row), report)[0].label == 1
    assert report["label_past_end"] == 1
    with pytest.raises(DataError, match="not cut into section1:, section2:"):
        solutions("delta_bench", put(tmp_path / "e.jsonl", row | {"sections_content": "a\nsection2: b"}))


def test_agent_process_bench_scores_the_assistants_messages_by_their_index(tmp_path: Path) -> None:
    row = VALID["agent_process_bench"]
    messages = [*row["messages"], {"role": "user", "content": "go on"}, {"role": "assistant", "content": "b"}]
    given = {"data_source": "d", "query_index": 3, "sample_index": 1, "messages": messages}
    report = ReadReport()
    (tree,) = trees("agent_process_bench", put(tmp_path / "tau2.jsonl", row | given), report)
    assert (tree.id, tree.group) == ("tau2/3/1", "d/3")
    assert [node.text for node in tree.nodes] == ["f({})", "a", "b"]
    assert [node.context for node in tree.nodes] == [None, "tool f: r", "user: go on"]
    assert labels(tree) == [1.0, 0.0, None]
    assert tree.problem == 'user: p\n\nTools:\n{"name": "f"}'
    assert report["missing_label"] == 1
    neutral = row | {"step_labels": {"1": 0, "3": 1.0}}
    assert labels(trees("agent_process_bench", put(tmp_path / "n.jsonl", neutral))[0]) == [0.5, 1.0]
    for wrong, words in (({"0": 1}, "no message of the assistant"), ({"1": 2}, "allowed: 1, 0, -1 or null")):
        with pytest.raises(DataError, match=words):
            trees("agent_process_bench", put(tmp_path / "w.jsonl", row | {"step_labels": wrong}))


def test_tool_prm_bench_is_a_tree_of_two_leaves(tmp_path: Path) -> None:
    row = {
        "sample_id": 4,
        "history": [{"role": "user", "content": "book"}, {"thought": "none of a chat's"}],
        "functions": [{"name": "f"}],
        "action_chosen": {"name": "f"},
        "action_rejected": "wait",
    }
    (tree,) = trees("tool_prm_bench", put(tmp_path / "prmbench_bfcl.json", [row]))
    assert tree.leaves() == [0, 1]
    assert [(node.text, node.confidence) for node in tree.nodes] == [('{"name": "f"}', 1.0), ("wait", 0.0)]
    assert tree.problem == 'Functions:\n[{"name": "f"}]\n\nHistory:\nuser: book\n\n{"thought": "none of a chat\'s"}'


def test_mmlu_pro_cot_shares_the_steps_of_a_question_and_reads_lists_as_python_writes_them(tmp_path: Path) -> None:
    row = {"question": "p", "chain_of_thoughts": "['a', 'b']", "labels": "[1, -1]", "id": "7"}
    (tree,) = trees("mmlu_pro_cot", put(tmp_path / "file.csv", row, row | {"chain_of_thoughts": "['a', \"c's\"]"}))
    assert [(node.text, node.parent, node.confidence) for node in tree.nodes] == [
        ("a", -1, 1.0),
        ("b", 0, 0.0),
        ("c's", 0, 0.0),
    ]


@pytest.mark.parametrize("layout", sorted(PUBLISHED | {"processbench"}))
def test_a_layout_is_recognised_by_its_keys(layout: str, tmp_path: Path) -> None:
    path = put(tmp_path / "data.jsonl", VALID[layout] | {"more": 1})
    assert recognised(path, DATASETS, advice="") == layout
    if layout in SOLUTION_LAYOUTS:
        assert len(solutions(layout, path)) == 1


def test_a_file_of_no_layout_is_answered_with_its_keys_and_the_nearest(tmp_path: Path) -> None:
    path = put(tmp_path / "data.jsonl", {"input": "p", "steps": ["a"], "first_mistake": 0})
    with pytest.raises(DataError) as caught:
        recognised(path, DATASETS, advice="name it with --format")
    assert str(caught.value) == (
        f"{path}, line 1: no layout has these keys: 'first_mistake', 'input', 'steps'; the nearest is "
        "'big_bench_mistake', which also needs mistake_index; name it with --format"
    )


def mapped(path: Path, text: str, base: Any) -> list[Solution]:
    return list(FieldMap.parse(text, base).readers().solutions(path, report=ReadReport()))


@given(
    count=st.integers(1, 6),
    label=st.integers(-1, 5),
    base=st.sampled_from([0, 1]),
    spelling=st.sampled_from([int, float, str]),
    as_text=st.sampled_from([None, json.dumps, str]),
)
def test_any_first_error_file_is_read_through_a_map(
    tmp_path_factory: pytest.TempPathFactory, count: int, label: int, base: int, spelling: Any, as_text: Any
) -> None:
    """The same label whatever the file counts from, however it spells numbers and lists, and however deep it lies."""
    label = min(label, count - 1)
    steps = [f"step {number}" for number in range(count)]
    written = None if label == -1 else label + base
    if written is not None and spelling is not float:
        written = spelling(written)
    row = {
        "doc": {"question": "p?"},
        "response": [{"steps": as_text(steps) if as_text else steps}],
        "notes.first": written,
        "uid": 9,
    }
    path = put(tmp_path_factory.mktemp("map") / "theirs.jsonl", row)
    text = "problem=doc.question, steps=response.0.steps, label=notes.first, id=uid"
    (found,) = mapped(path, text, base)
    assert (found.label, found.tree.id, found.tree.problem) == (label, "9", "p?")
    assert [node.text for node in found.tree.nodes] == steps


@pytest.mark.parametrize(
    ("text", "base", "row", "words"),
    [
        ("label=x", 1, {"problem": "p", "steps": ["a"], "x": 0}, "'label' is 0; allowed: the number .* counted from 1"),
        ("label=x", 0, {"problem": "p", "steps": ["a"], "x": "two"}, "'label' is 'two'"),
        ("label=x", 0, {"problem": "p", "steps": ["a"], "x": True}, "'label' is True"),
        ("label=x", 0, {"problem": "p", "steps": ["a"]}, r"there is no 'x' \(--map label=x\); there is 'problem', 'st"),
        (
            "label=a.1.b",
            0,
            {"problem": "p", "steps": ["a"], "a": [{}]},
            "there is no '1' in 'a' .*; there is a list of 1",
        ),
        ("label=a.b", 0, {"problem": "p", "steps": ["a"], "a": 3}, "there is no 'b' in 'a' .*; there is no object"),
        ("problem=q", 0, {"q": 1, "steps": ["a"], "label": 0}, "'problem' is the number 1; allowed: text"),
        ("steps=s", 0, {"problem": "p", "s": "one text", "label": 0}, "'steps' is 'one text'; allowed: a list"),
        ("steps=s", 0, {"problem": "p", "s": "3", "label": 0}, "'steps' is the number 3; allowed: a list"),
    ],
)
def test_a_map_that_does_not_fit_is_one_line(text: str, base: Any, row: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        mapped(put(tmp_path / "d.jsonl", row), text, base)


@pytest.mark.parametrize(
    ("text", "base", "words"),
    [
        ("problem=input", None, "--map needs --label_base 0 or --label_base 1"),
        ("problem", 0, "--map 'problem'; allowed: field=name"),
        ("answer=x", 0, "field one of problem, steps, label, id"),
        ("label=a,label=b", 0, "--map names 'label' twice"),
        ("", 0, "--map ''"),
    ],
)
def test_a_map_is_checked_before_a_file_is_opened(text: str, base: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        FieldMap.parse(text, base)


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9)
)
PYTHON = st.lists(
    VALUES | st.lists(VALUES, max_size=2) | st.dictionaries(st.text(max_size=3), VALUES, max_size=2), max_size=4
)


@given(PYTHON)
def test_what_python_writes_is_read_back(value: Any) -> None:
    assert parse_python(str(value)) == value


@pytest.mark.parametrize(
    "text", ["print(1)", "[1", "[" * 60 + "]" * 60, "a", "__import__('os')", "1 if 1 else 2", "[1 2]"]
)
def test_what_is_no_list_of_values_is_refused_and_never_run(text: str) -> None:
    with pytest.raises(ValueError, match=r"Python's spelling|nested"):
        parse_python(text)
