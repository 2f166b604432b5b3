"""One flag for own data: every layout in every container gives the same trees, and what is not understood is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import surestep
from containers import CONTAINERS, write_jsonl, write_parquet, write_stream
from layout_rows import FILE_READERS, VALID
from surestep.config import Config
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import read_records
from surestep.data.sources.choose import enabled_sources
from surestep.data.sources.settle import settle_own_data
from surestep.data.sources.source import Source
from surestep.errors import ConfigError, DataError, InputError, SurestepError
from surestep.types import ReasoningTree

Rows = list[dict[str, Any]]
FLAT = {"problem": "p", "steps": ["a", "b"], "labels": [1.0, 0.5]}
"""A row of our layout whose columns hold one kind of value each, as a table must."""
ONE_KIND = {"own": FLAT, "stepwise": {"prompt": "p", "completions": ["a", "b"], "labels": [1.0, 0.5]}}
LAID_OUT = [
    (layout, container)
    for layout in FILE_READERS
    for container in sorted(CONTAINERS)
    # eQASC's chains hold facts beside a verdict, which a list of Arrow's cannot.
    if layout != "eqasc" or container not in {"parquet", "feather", "arrow stream", "datasets folder"}
]


def config(named: Any, **fields: Any) -> Config:
    made = surestep.with_own_data(Config(), test=named)
    for name, value in fields.items():
        setattr(made.data, name, value)
    return made


def source(named: Any, **fields: Any) -> Source:
    (found,) = enabled_sources(config(named, **fields).data, "test")
    return found


def trees(named: Any, **fields: Any) -> list[ReasoningTree]:
    # A tree without a name is called after its place, which another container counts otherwise.
    return [replace(tree, id="") for tree in source(named, **fields).read(ReadReport())]


def rows_of(layout: str) -> Rows:
    row = ONE_KIND.get(layout, VALID[layout])
    changed = json.dumps(row)
    for name in ("problem", "prompt", "question", "stem"):
        changed = changed.replace(f'"{name}": "{row.get(name, "s" if name == "stem" else "p")}"', f'"{name}": "other"')
    second = json.loads(changed.replace("p? Step 1", "other? Step 1").replace('"p Step 1', '"other Step 1'))
    for name in ("id", "question_id"):
        if name in second:
            second[name] = "second" if isinstance(second[name], str) else second[name] + 1
    return [row, second]


@pytest.mark.parametrize(("layout", "container"), LAID_OUT)
def test_every_layout_is_recognised_in_every_container_and_gives_the_same_trees(
    layout: str, container: str, tmp_path: Path
) -> None:
    rows = rows_of(layout)
    (tmp_path / "base").mkdir()
    base = write_jsonl(tmp_path / "base", rows)
    named = CONTAINERS[container](tmp_path, rows)
    found, expected = source(named), source(base, own_format=layout)
    assert found.reader == layout
    report = ReadReport()
    assert [replace(t, id="") for t in found.read(report)] == trees(base, own_format=layout) != []
    assert any(f"read as {layout}, recognised by the keys" in note for note in report.notes)
    assert found.content().reading == expected.content().reading, "how it is read is the same run"


LABEL = st.one_of(st.none(), st.floats(0, 1), st.sampled_from([0.0, 1.0]))
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8).filter(str.strip)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(TEXT, st.lists(st.tuples(TEXT, LABEL), min_size=1, max_size=3)), min_size=2, max_size=4))
def test_any_rows_are_the_same_trees_in_every_container(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, list[tuple[str, float | None]]]]
) -> None:
    rows: Rows = [
        {"prompt": problem, "completions": [text for text, _ in steps], "labels": [label for _, label in steps]}
        for problem, steps in drawn
    ]
    rows[0]["labels"] = [1.0 for _ in rows[0]["completions"]]
    base = None
    for container, write in CONTAINERS.items():
        folder = tmp_path_factory.mktemp("rows")
        found = trees(write(folder, rows))
        base = base or found
        assert found == base, container


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_damage_to_a_table_is_read_or_refused_in_one_line(tmp_path: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["rows.parquet", "rows.arrow", "rows.feather", "rows.jsonl.zst"]))
    write = {"rows.parquet": "parquet", "rows.arrow": "arrow stream", "rows.feather": "feather"}.get(kind, "jsonl.zst")
    content = bytearray(CONTAINERS[write](tmp_path, [FLAT] * 3).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / kind).write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    refusal = kind
    try:
        trees(tmp_path / kind)
    except DataError as error:
        refusal = str(error)
    assert kind in refusal
    assert "\n" not in refusal


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"question": "q", "solution": ["a"], "ratings": [1]},
            [
                "'question, solution, ratings'",
                "nearest is own",
                "--columns problem=question steps=solution labels=ratings",
            ],
        ),
        ({"problem": "p", "steps": ["a"], "label": [1]}, ["--columns labels=label"]),
        ({"problem": "p", "sentence": "a", "is_correct": 1}, ["step_table", "step=sentence label=is_correct"]),
        ({"prompt": "p", "completions": ["a"], "ratings": [1]}, ["nearest is stepwise", "--columns labels=ratings"]),
        ({"problem": "p", "solution": "One. Two.", "ratings": [1, 0]}, ["labels=ratings"]),
        ({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}, ["'messages'"]),
        ({"text": "a"}, ["'text'", "own_test", "--own_format"]),
    ],
)
def test_a_file_of_no_layout_is_answered_with_its_keys_the_nearest_layout_and_the_flag(
    row: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        source(write_jsonl(tmp_path, [row]))
    for word in ["rows.jsonl: its rows have the keys", "--columns", *words]:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        (
            {"question": "p", "solution": ["a", "b"], "ratings": [1, 0.5]},
            "problem=question steps=solution labels=ratings",
        ),
        ({"q": {"text": "p"}, "a": {"s": ["a", "b"], "ok": [1, 0.5]}}, "problem=q.text steps=a.s labels=a.ok"),
        ({"problem": 7, "q.t": "p", "steps": ["a", "b"], "labels": [1, 0.5]}, "problem=q.t"),
        ({"q": "p", "parts": ["a", "b"], "v": [1, 0.5]}, "prompt=q completions=parts labels=v"),
    ],
)
@pytest.mark.parametrize("write", [write_jsonl, write_parquet])
def test_columns_are_mapped(row: dict[str, Any], columns: str, write: Any, tmp_path: Path) -> None:
    path = write(tmp_path, [row])
    mapping = columns.split()
    (tree,) = trees(path, own_columns=mapping)
    assert tree.problem == "p"
    assert [(node.text, node.confidence) for node in tree.nodes] == [("a", 1.0), ("b", 0.5)]
    report = ReadReport()
    list(source(path, own_columns=mapping).read(report))
    assert any(f"{mapping[0].partition('=')[0]} from {mapping[0].partition('=')[2]}" in note for note in report.notes)
    plain = write_jsonl(tmp_path, [FLAT])
    assert source(plain, own_columns=mapping).fingerprint() == source(plain).fingerprint(), "it has no such column"


def test_columns_that_are_not_there_or_mean_nothing_are_refused(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, [{"question": "p", "parts": ["a"], "v": [1]}, {"question": "p", "parts": ["a"]}])
    with pytest.raises(DataError, match=r"none of the columns x \(--columns\); it has 'question, parts, v'"):
        source(path, own_columns=["problem=x"])
    with pytest.raises(ConfigError, match=r"maps to 'problme', which no layout has; allowed: .*problem"):
        source(path, own_columns=["problme=question"])
    with pytest.raises(DataError, match=r"line 2: there is no column 'v' \(--columns labels=v\)"):
        trees(path, own_columns=["problem=question", "steps=parts", "labels=v"])
    for wrong in ("problem", "=x", ["problem=a", "problem=b"]):
        with pytest.raises(ConfigError, match=r"own_columns is .*; allowed: name=column"):
            config(path, own_columns=wrong)


@pytest.mark.parametrize(
    "words",
    [("+", "-"), ("true", "FALSE"), ("good", "Bad"), ("correct", " incorrect "), ("1", "0.0"), ("1e0", "0"), (True, 0)],
)
def test_labels_in_words(words: tuple[Any, Any], tmp_path: Path) -> None:
    for row in (
        {"prompt": "p", "completions": ["a", "b"], "labels": [*words]},
        {"problem": "p", "steps": ["a", "b"], "labels": [*words]},
    ):
        (tree,) = trees(write_jsonl(tmp_path, [row]))
        assert [node.confidence for node in tree.nodes] == [1.0, 0.0]
    if all(isinstance(word, str) for word in words):
        table = [{"problem": "p", "step": step, "label": word} for step, word in zip("ab", words, strict=True)]
        for container in ("csv", "jsonl", "parquet"):
            (tree,) = trees(CONTAINERS[container](tmp_path, table))
            assert [node.confidence for node in tree.nodes] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["+", "bad"], ["line 2: the label of step 1 is 'bad' where rows.jsonl, line 1 has '+'", "mix two kinds"]),
        (["true", "1"], ["line 2", "mix two kinds"]),
        (["good", "okay"], ["line 2: the label of step 1 is 'okay'; allowed", "good and bad", "+ and -"]),
        ([1, 2], ["line 2", "is 2; allowed: a number from 0 to 1"]),
        ([1, -1], ["line 2", "is -1"]),
        (["1", "3"], ["line 2", "is '3'"]),
        (["1", "nan"], ["line 2", "is 'nan'"]),
        (["1", "1_0"], ["line 2", "is '1_0'"]),
        (["1", "٠"], ["line 2"]),
    ],
)
def test_labels_that_leave_a_doubt_are_refused_with_their_row(
    labels: list[Any], words: list[str], tmp_path: Path
) -> None:
    rows: Rows = [{"prompt": f"p{n}", "completions": ["a"], "labels": [label]} for n, label in enumerate(labels)]
    with pytest.raises(DataError) as caught:
        trees(write_jsonl(tmp_path, rows))
    for word in words:
        assert word in str(caught.value)


def test_a_cell_of_a_csv_that_spells_no_list_says_how_to_write_it(tmp_path: Path) -> None:
    path = tmp_path / "pandas.csv"
    path.write_text("prompt,completions,labels\np,\"['a', 'b']\",\"[True, False]\"\n")
    with pytest.raises(DataError, match=r"line 2: 'completions' is no JSON .* write the table as JSONL or Parquet"):
        trees(path)


def test_numbers_of_named_classes_are_read_by_their_names(tmp_path: Path) -> None:
    labels = {"_type": "List", "feature": {"_type": "ClassLabel", "names": ["good", "bad"]}}
    note = json.dumps({"info": {"features": {"labels": labels}}})
    table = pyarrow.Table.from_pylist([{"prompt": "p", "completions": ["a", "b", "c"], "labels": [0, 1, -1]}])
    for name, metadata in (("named", {b"huggingface": note.encode()}), ("bare", {})):
        pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), tmp_path / f"{name}.parquet")
    (tree,) = trees(tmp_path / "named.parquet")
    assert [node.confidence for node in tree.nodes] == [1.0, 0.0, None], "0 is the first name, which is 'good'"
    with pytest.raises(DataError, match=r"record 1: the label of step 3 is -1; .* another scale means is yours to say"):
        trees(tmp_path / "bare.parquet")


# --- layouts of steps


def test_pairs_are_siblings_behind_the_same_steps(tmp_path: Path) -> None:
    begun = "Let's think step by step.\nStep 1: Add.\nStep 2:"
    row = {"prompt": "p", "initial_reason_steps": begun, "chosen": " So 2.", "rejected": " So 3.", "full_chosen": "x"}
    lists = {"prompt": "p", "chosen": ["a", "b", "c"], "rejected": ["a", "x"]}
    (tree,) = trees(write_jsonl(tmp_path, [row]))
    assert [(node.text, node.parent, node.confidence) for node in tree.nodes] == [
        ("Let's think step by step.", -1, None),
        ("Step 1: Add.", 0, None),
        ("Step 2: So 2.", 1, 1.0),
        ("Step 2: So 3.", 1, 0.0),
    ]
    (tree,) = trees(write_jsonl(tmp_path, [lists]))
    assert [(node.text, node.parent, node.confidence) for node in tree.nodes] == [
        ("a", -1, None), ("b", 0, 1.0), ("c", 1, None), ("x", 0, 0.0),
    ]  # fmt: skip
    said = {"prompt": [{"role": "user", "content": "p"}], "chosen_step": "b", "rejected_step": "c"}
    (tree,) = trees(write_jsonl(tmp_path, [said]))
    assert (tree.problem, [node.confidence for node in tree.nodes]) == ("p", [1.0, 0.0])
    with pytest.raises(DataError, match="line 1: no step of 'chosen' differs"):
        trees(write_jsonl(tmp_path, [{"prompt": "p", "chosen": "a", "rejected": "a "}]))


def test_a_table_of_steps_tells_solutions_by_their_id_or_by_the_order_of_rows(tmp_path: Path) -> None:
    def table(*rows: tuple[Any, ...]) -> list[ReasoningTree]:
        names = ("problem", "step", "label", "step_index", "solution_id")
        return trees(write_jsonl(tmp_path, [dict(zip(names, row, strict=False)) for row in rows]))

    (tree,) = table(("p", "b", 0, 2, "x"), ("p", "c", 1, 1, "y"), ("p", "a", 1, 1, "x"))
    assert [(node.text, node.parent) for node in tree.nodes] == [("a", -1), ("b", 0), ("c", -1)]
    (tree,) = table(("p", "a", 1, 1), ("p", "b", 0, 2), ("p", "c", 1, 1), ("p", "d", 1, 2))
    assert [(node.text, node.parent) for node in tree.nodes] == [("a", -1), ("b", 0), ("c", -1), ("d", 2)]
    first, second = sorted(table(("p", "a", 1), ("p", "b", 0), ("q", "c", 1)), key=lambda tree: tree.problem)
    assert ([node.text for node in first.nodes], [node.text for node in second.nodes]) == (["a", "b"], ["c"])
    with pytest.raises(DataError, match="step_index 1 of one solution has two texts"):
        table(("p", "a", 1, 1, "x"), ("p", "b", 1, 1, "x"))
    report = ReadReport()
    list(source(write_jsonl(tmp_path, [{"problem": "p", "step": "a", "label": 1}])).read(report))
    assert any("consecutive rows of one problem are one solution" in note for note in report.notes)


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        (["p? Step 1: a", "maybe"], "line 1: the verdict on step 1 is 'maybe'"),
        (["no end", "+"], "the first turn holds no 'Step 1:' and no question mark"),
        (["p? Step 1: a", "+", " ", "-"], "step 2 is empty"),
    ],
)
def test_mistakes_in_chats(turns: list[str], words: str, tmp_path: Path) -> None:
    said = [{"role": ("user", "assistant")[n % 2], "content": turn} for n, turn in enumerate(turns)]
    good = {"conversations": VALID["chat_verdicts"]["conversations"]}
    with pytest.raises(DataError, match=words):
        trees(write_jsonl(tmp_path, [{"conversations": said}, good]))


def test_a_chat_may_name_its_problem_and_leave_the_last_step_open(tmp_path: Path) -> None:
    turns = [("system", "s"), ("human", "Find x. Add."), ("gpt", "+"), ("human", "So 2.")]
    row = {"problem": "Find x.", "messages": [{"from": role, "value": text} for role, text in turns]}
    (tree,) = trees(write_jsonl(tmp_path, [row]))
    assert (tree.problem, [(n.text, n.confidence) for n in tree.nodes]) == ("Find x.", [("Add.", 1.0), ("So 2.", None)])


# --- where the rows are


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    for named, words in {
        tmp_path / "none.jsonl": "no file .*none.jsonl .own_test.; check the path",
        tmp_path / "*.parquet": r"no file matches .*\*.parquet",
        tmp_path: r"is a folder, not a file, and not one that datasets.save_to_disk made .*\*.jsonl' say .own_test.",
        Path("someone/data"): "named with its split, someone/data:train",
    }.items():
        with pytest.raises(DataError, match=words):
            source(named)
    write_jsonl(tmp_path, [FLAT])
    (tmp_path / "rows2.jsonl").write_text(json.dumps(VALID["stepwise"]) + "\n")
    with pytest.raises(
        DataError, match=r"rows2.jsonl: is stepwise by its keys, rows.jsonl own; name files of one layout"
    ):
        source(tmp_path / "*.jsonl")


def test_a_folder_with_several_splits_gives_the_one_that_is_asked_for(tmp_path: Path) -> None:
    for split, count in (("train", 9), ("test", 2)):
        (tmp_path / split).mkdir()
        write_stream(tmp_path / split / "data.arrow", [FLAT | {"problem": f"{split} {n}"} for n in range(count)])
        (tmp_path / split / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    made = surestep.with_own_data(Config(), train=tmp_path, test=tmp_path)
    counts = {}
    for split in ("train", "validation", "test"):
        (found,) = enabled_sources(made.data, split)
        counts[split] = len(list(found.read(ReadReport())))
    assert (counts["train"] + counts["validation"], counts["test"]) == (9, 2)
    with pytest.raises(DataError, match="holds no validation or valid or dev or val; it has test, train"):
        enabled_sources(surestep.with_own_data(Config(), validation=tmp_path).data, "validation")
    (tmp_path / "test" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../train/data.arrow"}]}))
    with pytest.raises(DataError, match="does not name the folder's files"):
        enabled_sources(made.data, "test")


def test_rows_in_memory_are_kept_as_a_file_that_the_run_names(tmp_path: Path) -> None:
    rows = [FLAT, FLAT | {"problem": "q"}]
    expected = trees(write_jsonl(tmp_path, rows))
    for given_rows in (rows, tuple(rows), pyarrow.Table.from_pylist(rows)):
        made = surestep.with_own_data(Config(), test=given_rows, rows_dir=tmp_path / "kept")
        (found,) = enabled_sources(made.data, "test")
        assert [replace(tree, id="") for tree in found.read(ReadReport())] == expected
    assert len(list((tmp_path / "kept").iterdir())) == 1, "the same rows are the same file"
    for wrong, words in {
        7: "of type int; allowed: a path, a list",
        (): "there is no row",
        (1,): "row 1 is of type int",
    }.items():
        with pytest.raises(InputError, match=words):
            surestep.with_own_data(Config(), train=wrong, rows_dir=tmp_path)
    with pytest.raises(InputError, match="a dictionary of train; allowed: one of these"):
        surestep.with_own_data(Config(), train={"train": rows}, rows_dir=tmp_path)


def test_a_run_keeps_how_raw_solutions_are_split_where_the_layout_was_recognised(tmp_path: Path) -> None:
    made = surestep.with_own_data(Config(), train=write_jsonl(tmp_path, [VALID["math_shepherd"]]))
    before = enabled_sources(made.data, "train")[0].fingerprint()
    assert made.data.split_rule() is None
    settle_own_data(made.data)
    assert made.data.split_rule() == "tag:ки"
    assert enabled_sources(made.data, "train")[0].fingerprint() == before
    gone = surestep.with_own_data(Config(), train="gone.jsonl")
    settle_own_data(gone.data)
    with pytest.raises(SurestepError, match=r"no file gone.jsonl \(own_train\)"):
        enabled_sources(gone.data, "train")


@pytest.mark.parametrize("container", ["parquet", "arrow stream"])
def test_a_table_is_read_in_bounded_memory(container: str, tmp_path: Path) -> None:
    texts = pyarrow.array([f"{number} " * 500 for number in range(4_000)])
    table = pyarrow.table({"problem": texts, "step": texts, "label": pyarrow.array([1.0] * 4_000)})
    path = tmp_path / ("rows.parquet" if container == "parquet" else "rows.arrow")
    if container == "parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=500, use_dictionary=False)
    else:
        with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=500)
    size = table.nbytes
    del table, texts
    before, peak = pyarrow.total_allocated_bytes(), 0
    for record in read_records(path):
        if record.number % 100 == 0:
            peak = max(peak, pyarrow.total_allocated_bytes() - before)
    assert record.number == 4_000
    assert peak < size / 4
