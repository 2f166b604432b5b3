"""Rows that several processes read give the trees, counts and errors that one gives, whatever is wrong with them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layout_rows import VALID
from pickling_helper import Pickling
from surestep.data.datasets import DATASETS
from surestep.data.records import helper_process as helper_module
from surestep.data.records.helper_process import HelperProcess, NoResultError, batches, helpers, in_order
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import Record
from surestep.data.sources import source as source_module
from surestep.data.sources import spelled_trees as spelled_module
from surestep.data.sources.hold_out import Division
from surestep.data.sources.source import Source
from surestep.data.trees import problem_records as records_module
from surestep.data.trees import problem_rows as rows_module
from surestep.data.trees.problem_records import RecordSteps, merged
from surestep.errors import DataError

MERGED = sorted(name for name, dataset in DATASETS.items() if dataset.problem_rows is not None)


@contextmanager
def shared(helper: Any) -> Iterator[None]:
    """Every reading is shared with a helper, in batches of few rows."""

    @contextmanager
    def given_helpers(number: int, _first: Any) -> Iterator[list[Any]]:
        yield [helper] if number else []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_module, "helpers", given_helpers)
        patch.setattr(helper_module, "LEAST_SHARED", 0)
        patch.setattr(helper_module, "num_cores", lambda: 2)
        patch.setattr(rows_module, "BATCH", 150)
        patch.setattr(spelled_module, "BATCH", 150)
        yield


def outcome(source: Source) -> Any:
    report = ReadReport()
    try:
        return list(source.read(report)), report, json.dumps(report.to_dict())
    except DataError as error:
        return type(error), str(error)


def source_of(path: Path, layout: str = "own", bad_rows: Any = "stop") -> Source:
    return Source(layout, "mine", "train", layout, (path,), bad_rows=bad_rows, divisions=(Division(0.5, 3, "rest"),))


ROWS = st.lists(
    st.one_of(
        st.builds(
            lambda problem, steps, labels, name: json.dumps(
                {
                    "problem": problem,
                    "steps": steps,
                    "confidences": labels[: len(steps)],
                    **({"id": name} if name else {}),
                }
            ),
            st.sampled_from(["p ", "q?", "Q", "r é"]),
            st.lists(st.sampled_from(["a", " b ", "c\r\n", "d é"]), min_size=1, max_size=3),
            st.lists(st.sampled_from([0, 1, 0.5, None, "+", "good", "1"]), min_size=3, max_size=3),
            st.sampled_from(["", "x"]),
        ),
        st.builds(lambda label: json.dumps({"problem": "p", "steps": ["a"], "labels": [label]}), st.sampled_from("+-")),
        st.sampled_from(["", "  ", '{"problem": "p"}', "7", '{"problem": "p", "steps": ["a"], "more": 1}']),
        st.sampled_from(
            ["{not json", '["p"]', '{"problem": "p", "problem": "q", "steps": ["a"]}', '{"problem": "\\ud800"}']
        )
        | st.nothing(),
    ),
    max_size=14,
)


@given(ROWS, st.sampled_from(["stop", "skip"]), st.sampled_from([0, 2, 10**9]))
def test_trees_counts_and_errors_are_those_of_one_process(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], bad_rows: str, lost_after: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "shared.jsonl"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    source = source_of(path, bad_rows=bad_rows)
    alone = outcome(source)
    with shared(Pickling(lost_after)):
        assert outcome(source) == alone


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["a", " b\r\n", 'c "é"\u2028', "\U0001f600"]),
        st.sampled_from([None, 0.0, 1.0, 0.1, 1e-17, 1]),
        st.sampled_from([None, "", "evidence ü"]),
    ),
    min_size=1,
    max_size=5,
)


@given(STEPS, st.sampled_from(["", "g", 'g"ö']), st.booleans())
def test_an_only_record_is_merged_and_spelled_as_many_are(steps: list[Any], group: str, drop: bool) -> None:
    found = RecordSteps(Record({}, Path("a.jsonl"), 7), " p ü", group=group)
    parent = -1
    for text, confidence, context in steps:
        parent = found.add(text, parent, confidence=confidence, context=context)
    record = found.spelled()
    assert record.body == json.dumps((group, found.added))
    reports = [ReadReport(), ReadReport()]
    alone = merged((record.head, [record.body]), reports[0], drop_unlabelled_tails=drop)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records_module, "_of_one", lambda *_: None)
        assert merged((record.head, [record.body]), reports[1], drop_unlabelled_tails=drop) == alone
    assert reports[0] == reports[1]
    if alone is not None:
        rows = list(zip(alone.texts, alone.parents, alone.confidences, alone.num_ratings, alone.contexts,
                        alone.true_confidences, strict=True))  # fmt: skip
        assert alone.spelled() == json.dumps([alone.problem, rows, alone.group])


@pytest.mark.parametrize("layout", MERGED)
def test_every_layout_that_merges_rows_is_read_alike(tmp_path: Path, layout: str) -> None:
    row = VALID[layout]
    lines = [json.dumps(row)] * 3 + [json.dumps({**row, key: [7]}) for key in row] + [json.dumps(row)]
    for bad_rows in ("stop", "skip"):
        path = tmp_path / "rows.jsonl"
        path.write_text("\n".join(lines) + "\n")
        alone = outcome(source_of(path, layout, bad_rows))
        helper = Pickling()
        with shared(helper):
            assert outcome(source_of(path, layout, bad_rows)) == alone
        assert helper.left < 10**9


@pytest.mark.parametrize("name", ["rows.json", "rows.csv", "rows.jsonl.gz"])
def test_files_that_are_no_lines_are_read_as_before(tmp_path: Path, name: str) -> None:
    import gzip

    rows = [{"problem": f"p{number % 3}", "steps": json.dumps(["a", "b"]), "labels": "[1, 0]"} for number in range(9)]
    path = tmp_path / name
    if name.endswith(".csv"):
        lines = ["problem,steps,labels", *('{problem},"[""a"", ""b""]","{labels}"'.format(**row) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    elif name.endswith(".json"):
        path.write_text(json.dumps([{**row, "steps": ["a", "b"], "labels": [1, 0]} for row in rows]))
    else:
        path.write_bytes(
            gzip.compress("".join(json.dumps({**row, "steps": ["a"], "labels": [1]}) + "\n" for row in rows).encode())
        )
    alone = outcome(source_of(path))
    assert isinstance(alone[0], list)
    with shared(Pickling()):
        assert outcome(source_of(path)) == alone


def test_bytes_that_are_no_text_are_named_after_the_rows_before_them(tmp_path: Path) -> None:
    good = json.dumps({"problem": "p", "steps": ["a"], "labels": [1]})
    path = tmp_path / "rows.jsonl"
    for before in (good, '{"problem": "p"}'):
        path.write_bytes(f"{good}\n{before}\n{good}\n".encode() + b"\xff\xfe\n")
        alone = outcome(source_of(path))
        with shared(Pickling()):
            assert outcome(source_of(path)) == alone


def doubled(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return 2 * number


def of_values(function: Callable[..., int], values: list[int], started: list[Any]) -> list[int]:
    return [found for _, found in in_order(function, ((value,) for value in values), started)]


def test_results_come_in_order_and_errors_in_their_turn() -> None:
    for started in ([], [Pickling()], [Pickling(3), Pickling()]):
        assert of_values(doubled, list(range(40)), started) == list(range(0, 80, 2))
        coming = in_order(doubled, ((number,) for number in (1, 2, -1, 3)), started)
        assert [next(coming)[1], next(coming)[1]] == [2, 4]
        with pytest.raises(ValueError, match="-1 is negative"):
            next(coming)


def test_batches_hold_everything_once() -> None:
    assert list(batches(range(7), 3, lambda _: 1)) == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.fixture(scope="module")
def started() -> Iterator[list[HelperProcess]]:
    with helpers(1, bool) as found:
        assert len(found) == 1
        found[0]._started.result(timeout=60)
        yield found
    assert found[0]._process.returncode is not None
    assert not any(thread.is_alive() for thread in found[0]._threads)


def test_a_process_works_and_what_it_cannot_is_done_here(started: list[HelperProcess]) -> None:
    # `doubled` is of this file, which the helper cannot import; a lambda cannot even be sent.
    assert of_values(abs, list(range(-30, 0)), started) == list(range(30, 0, -1))
    assert of_values(doubled, [1, 2, 3], started) == [2, 4, 6]
    assert of_values(lambda number: number, [1, 2, 3], started) == [1, 2, 3]
    assert started[0].num_waiting == 0
    assert started[0].submit(abs, -5).result(timeout=60) == 5
    started[0].taken()


def test_a_process_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    with helpers(1, bool) as started:
        started[0]._started.result(timeout=60)
        os.kill(started[0]._process.pid, signal.SIGKILL)
        assert started[0].is_ready()
        assert of_values(abs, list(range(-30, 0)), started) == list(range(30, 0, -1))


@pytest.mark.parametrize("garbage", [b"x", b"\xff" * 40], ids=["one byte", "a length beyond all memory"])
def test_a_process_whose_answers_come_out_of_step_counts_as_lost(garbage: bytes) -> None:
    with helpers(1, bool) as started:
        started[0]._started.result(timeout=60)
        with pytest.raises(NoResultError):
            started[0].submit(os.write, 1, garbage).result(timeout=60)
        started[0].taken()
        # More than a pipe holds: nothing waits for a process that nobody reads from.
        values = [str(number) * 50_000 for number in range(40)]
        assert [found for _, found in in_order(len, ((value,) for value in values), started)] == list(map(len, values))


def added(first: int, second: int) -> int:
    return first + second


def test_a_system_that_refuses_wide_pipes_has_a_helper_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl", reason="a system without it has pipes of one size")
    asked = []

    def refused(*arguments: Any) -> int:
        asked.append(arguments)
        raise PermissionError("beyond what a user may hold")

    monkeypatch.setattr(fcntl, "fcntl", refused)
    with helpers(1, bool) as started:
        assert started[0].submit(len, "four").result(timeout=60) == 4
    assert len(asked) == (2 if hasattr(fcntl, "F_SETPIPE_SZ") else 0)


def test_what_is_held_begins_every_call() -> None:
    for started in ([], [Pickling()], [Pickling(2), Pickling()]):
        found = in_order(added, ((number,) for number in range(20)), started, held=7)
        assert [result for _, result in found] == list(range(7, 27))
    cannot_be_sent = lambda number: 2 * number  # noqa: E731
    found = in_order(map_value, ((number,) for number in range(5)), [Pickling()], held=cannot_be_sent)
    assert [result for _, result in found] == [0, 2, 4, 6, 8]


def map_value(function: Callable[[int], int], value: int) -> int:
    return function(value)


def test_a_process_holds_what_it_was_sent_last(started: list[HelperProcess]) -> None:
    for base in (2, 2, 3):
        given = started[0].hold(base)
        given.result(timeout=60)
        assert started[0].hold(base) is given
        found = in_order(pow, ((number,) for number in range(20)), started, held=base)
        assert [result for _, result in found] == [base**number for number in range(20)]
    assert started[0].num_waiting == 0


def test_no_process_is_started_where_none_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for executable in ("", None, "/nowhere/python"):
        monkeypatch.setattr(sys, "executable", executable)
        with helpers(1, bool) as started:
            assert of_values(doubled, [1], started) == [2]
            assert started == []


@pytest.mark.parametrize(("cores", "size", "expected"), [(1, 100, 0), (2, 100, 1), (64, 100, 3), (2, 10, 0)])
def test_small_files_and_one_core_start_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, size: int, expected: int
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b" " * size)
    monkeypatch.setattr(helper_module, "LEAST_SHARED", 50)
    monkeypatch.setattr(helper_module, "num_cores", lambda: cores)
    assert source_of(path)._num_helpers() == expected
    assert helper_module.helpers_for([path], least=size) == expected
    assert helper_module.helpers_for([path], least=size + 1) == 0
    assert source_of(tmp_path / "absent.jsonl")._num_helpers() == 0


@pytest.mark.slow
def test_no_process_outlives_one_that_is_killed() -> None:
    code = (
        "import time\nfrom surestep.data.records.helper_process import helpers\n"
        "with helpers(1, bool) as started:\n"
        "    started[0].submit(abs, 1).result()\n    print(started[0]._process.pid, flush=True)\n    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail(f"process {child} is still there")
