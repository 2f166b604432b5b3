"""Records of one problem become one tree wherever they stand, in memory that does not grow with their text."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.data.datasets import DATASETS
from surestep.data.records import disk_list as spool_module
from surestep.data.records.disk_list import DiskList
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import Record
from surestep.data.sources.hold_out import Division
from surestep.data.sources.source import Source
from surestep.data.trees.problem_records import Problems, RecordSteps
from surestep.data.trees.tree_builder import TreeBuilder, finish
from surestep.errors import StorageError
from surestep.types import ROOT

STEPS = st.tuples(st.sampled_from("ab"), st.integers(-1, 3), st.sampled_from([None, 0.0, 0.1, 0.3, 1.0]), st.booleans())
RECORDS = st.lists(
    st.tuples(st.sampled_from(["p", "q", "r \udcff"]), st.sampled_from(["", "x"]), st.lists(STEPS, max_size=5)),
    max_size=12,
)


def add_all(builder: Any, steps: list[tuple[str, int, float | None, bool]]) -> None:
    """What a reader does: a step continues one that it added before."""
    added: list[int] = []
    for text, parent, confidence, has_context in steps:
        where = added[parent] if 0 <= parent < len(added) else ROOT
        context = "evidence" if has_context else None
        added.append(builder.add(text, where, confidence=confidence, context=context))


@given(RECORDS, st.booleans(), st.sampled_from([0, 2**20]))
def test_equals_one_builder_for_each_problem(records: Any, drop: bool, in_memory: int) -> None:
    collected, problems = Problems(), dict[tuple[str, str], list[RecordSteps]]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool_module, "IN_MEMORY", in_memory)
        for line, (problem, name, steps) in enumerate(records, start=1):
            record = Record({}, Path("rows.jsonl"), line)
            found_steps = RecordSteps(record, problem, name=name, group=f"g{line}")
            add_all(found_steps, steps)
            collected.add(found_steps)
            problems.setdefault((name, problem), []).append(found_steps)
        report, expected_report = ReadReport(), ReadReport()
        found = list(collected.trees(report, drop_unlabelled_tails=drop))
    expected = []
    for same in problems.values():
        builder = TreeBuilder(same[0].problem, id=same[0].name or same[0].place, group=min(part.group for part in same))
        # Joined in the order of what the records hold.
        for part in sorted(same, key=lambda part: json.dumps([part.group, part.added])):
            nodes: list[int] = []
            for index, text, parent, confidence, context in part.added:
                node = builder.add(
                    text, ROOT if parent == ROOT else nodes[parent], confidence=confidence, context=context
                )
                if index == len(nodes):
                    nodes.append(node)
        expected.append(finish(builder, expected_report, drop_unlabelled_tails=drop))
    assert found == [tree for tree in expected if tree is not None]
    assert report == expected_report


def row(number: int) -> dict[str, Any]:
    """One problem of about 2 KB, and every tenth about an earlier one."""
    about = number // 20 * 10 if number % 10 == 9 else number
    return {"problem": f"{about} {'p' * 500}", "steps": [f"{number} {'s' * 500}"] * 3, "confidences": [1, 0, None]}


def held_while_reading(path: Path, num_rows: int, divisions: tuple[Division, ...]) -> int:
    """Most bytes that Python held at once while the rows were read."""
    path.write_text("".join(json.dumps(row(number)) + "\n" for number in range(num_rows)), encoding="utf-8")
    source = Source("own", "own", "train", "own", (path,), divisions=divisions)
    tracemalloc.start()
    num_trees = sum(1 for _ in source.read(ReadReport()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert divisions or num_trees == num_rows * 9 // 10
    return peak


@pytest.mark.slow
@pytest.mark.parametrize("divisions", [(), (Division(0.05, 0, "rest"),)], ids=["whole", "divided"])
def test_ten_times_the_rows_take_no_more_memory_than_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, divisions: tuple[Division, ...]
) -> None:
    """A row is 2 KB of text; what may stay of it is where it waits, which problem it is of, and its order."""
    monkeypatch.setattr(spool_module, "IN_MEMORY", 2**16)
    held_while_reading(tmp_path / "warm.jsonl", 1_500, divisions)  # what is imported or made once is no row's
    few, many = (held_while_reading(tmp_path / "rows.jsonl", rows, divisions) for rows in (250, 1_500))
    assert (many - few) / 1_250 < 100


def test_a_spool_gives_back_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "IN_MEMORY", 10)
    spool, values = DiskList(), ["a", ["b", None, 0.1 + 0.2], "\udcff é\n", "", {"c": [1]}]
    for value in values:
        spool.append(value)
    assert list(spool) == values
    assert [spool[place] for place in (3, -1, 0)] == [values[3], values[-1], values[0]]
    with pytest.raises(IndexError):
        spool[5]


def test_no_folder_for_temporary_files_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(spool_module, "IN_MEMORY", 10)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", nowhere)
    spool = DiskList()
    with pytest.raises(StorageError, match=r"no folder for temporary files.*No usable.*TMPDIR") as caught:
        spool.append("more than ten bytes")
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_line_that_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = DiskList()

    def full(_: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(spool._file, "write", full)
    with pytest.raises(StorageError, match=r"No space left.*TMPDIR") as caught:
        spool.append(1)
    assert tempfile.gettempdir() in str(caught.value)


@pytest.mark.parametrize("kind", ["own", "stepwise", "math_shepherd"])
def test_rows_far_apart_are_merged_by_every_layout(write_jsonl: Callable[..., Path], kind: str) -> None:
    rows = {
        "own": lambda p, s, y: {"problem": p, "steps": s, "confidences": y},
        "stepwise": lambda p, s, y: {"prompt": p, "completions": s, "labels": y},
        "math_shepherd": lambda p, s, y: {
            "input": f"{p} Step 1: " + "".join(f"{text} ки" for text in s),
            "label": f"{p} Step 1: " + "".join(f"{text} {'-+'[value]}" for text, value in zip(s, y, strict=True)),
        },
    }[kind]
    path = write_jsonl(rows("p", ["a", "b"], [1, 0]), rows("q", ["a"], [1]), rows("p", ["a", "c"], [0, 1]))
    trees = list(DATASETS[kind].read(path, report=ReadReport()))
    assert [tree.problem for tree in trees] == ["p", "q"]
    # Which of two alternatives comes first follows from the content of their records.
    assert [(node.confidence, node.parent) for node in trees[0].nodes] == [(0.5, -1), (1.0, 0), (0.0, 0)]
