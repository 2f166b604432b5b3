"""Whatever a file holds, a reader gives valid trees or one line: never another exception."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layout_rows import DIFFERENTLY_MADE, EVERY_LAYOUT, FILE_READERS, READERS, VALID
from surestep.data.records.reading_report import ReadReport
from surestep.errors import DataError

SCALARS = st.sampled_from(
    [None, True, False, 0, 1, -1, 7, 0.5, 1e400, "", " ", "a", "\ud800", "1", [], {}, [None], 10**30]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, item in inner for place in places(item, (*path, key))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of a JSON value with another one at `path`."""
    copy = json.loads(json.dumps(value))
    target = copy
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = new
    return copy


def read(kind: str, path: Path) -> None:
    trees, refusal = [], path.name
    try:
        trees = list(READERS[kind](path, report=ReadReport()))
    except DataError as error:
        refusal = str(error)
    assert path.name in refusal
    assert "\n" not in refusal
    for tree in trees:
        tree.problem.encode()
        assert all(node.text.encode() for node in tree.nodes)


@pytest.mark.parametrize("kind", FILE_READERS)
def test_the_valid_record_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(VALID[kind]), encoding="utf-8")
    assert len(list(READERS[kind](path, report=ReadReport()))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY_LAYOUT)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_value_in_any_place_is_read_or_refused(kind: str, tmp_path: Path, data: st.DataObject) -> None:
    record = VALID[kind]
    for _ in range(data.draw(st.integers(1, 2))):
        found = places(record)
        if found:
            record = replaced(record, data.draw(st.sampled_from(found)), data.draw(SCALARS))
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(VALID[kind]) + "\n" + json.dumps(record) + "\n", encoding="utf-8")
    read(kind, path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DIFFERENTLY_MADE)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_damaged_byte_is_read_or_refused(kind: str, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray((json.dumps(VALID[kind], ensure_ascii=False) + "\n").encode() * 2)
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "data.jsonl"
    path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    read(kind, path)


@pytest.mark.parametrize("kind", FILE_READERS)
def test_a_number_longer_than_python_reads_is_read_or_refused_wherever_it_stands(kind: str, tmp_path: Path) -> None:
    """Python itself refuses to read more than 4,300 digits, with an error that is no reader's."""
    path = tmp_path / "data.jsonl"
    for place in places(VALID[kind]):
        for number in ("7" * 5000, "-" + "7" * 5000, "7" * 5000 + ".0"):
            path.write_text(json.dumps(replaced(VALID[kind], place, number)), encoding="utf-8")
            read(kind, path)
