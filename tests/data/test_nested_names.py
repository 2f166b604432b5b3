"""One look-up of `a.b.0.c` in a record, whichever flag it comes from and whatever holds the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.data.datasets.published.mapped import value_at
from surestep.data.records.record import Record
from surestep.data.records.row_file import RowFile, find
from surestep.errors import BadRowError

PATH = Path("rows.jsonl")
NAMES = st.sampled_from(["a", "b", "a.b", "0", "ü"])
VALUES = st.recursive(
    st.integers(0, 9) | st.just("text"),
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(NAMES, inner, min_size=1, max_size=3),
    max_leaves=8,
)


def places(value: Any, before: str = "") -> list[tuple[str, Any]]:
    """Every path in a value, and what stands there; where a name holds a dot, a path may be of two places."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for name, inner in pairs:
        path = f"{before}.{name}" if before else str(name)
        found += [(path, inner), *places(inner, path)]
    return found


@given(st.dictionaries(NAMES.filter(lambda name: "." not in name), VALUES, min_size=1))
def test_every_place_is_found_by_both_flags_and_in_cells(values: dict[str, Any]) -> None:
    all_places = places(values)
    paths = [path for path, _ in all_places]
    cells = {name: inner if isinstance(inner, str) else json.dumps(inner) for name, inner in values.items()}
    for path, expected in all_places:
        if "a.b" in path or paths.count(path) > 1:
            continue  # a name with a dot, which comes first: the next test
        record = Record(values, PATH, 1)
        assert value_at(record, path, "label") == expected
        assert RowFile(PATH, {"x": path}).renamed(record).values["x"] == expected
        if "." in path:
            assert find(Record(cells, PATH, 1, is_cells=True), path).value == expected


def test_a_name_with_a_dot_comes_first_at_every_level() -> None:
    record = Record({"a": {"b.c": 1, "b": {"c": 2}}, "a.b.c": 3, "n": None, "f": float("nan")}, PATH, 1)
    assert find(record, "a.b.c").value == 3
    del record.values["a.b.c"]
    assert find(record, "a.b.c").value == 1
    assert RowFile(PATH, {"x": "n.deep", "y": "f.deep"}).renamed(record).values["x"] is None
    for name in ("n.deep", "f.deep", "a.x", "a.b.c.d"):
        with pytest.raises(BadRowError, match=r"there is no .* \(--map label="):
            value_at(record, name, "label")


def test_what_leads_nowhere_says_how_far() -> None:
    record = Record({"a": {"b": [1, 2]}, "t": "text"}, PATH, 3)
    with pytest.raises(BadRowError, match=r"line 3.*there is no '2' in 'a.b' .*there is a list of 2"):
        value_at(record, "a.b.2", "label")
    with pytest.raises(BadRowError, match=r"there is no column 'a.b.2'"):
        RowFile(PATH, {"x": "a.b.2"}).renamed(record)
    with pytest.raises(BadRowError, match=r"'t' is text; allowed: an object"):
        RowFile(PATH, {"x": "t.y"}).renamed(record)
    with pytest.raises(BadRowError, match=r"'a' is no JSON"):
        find(Record({"a": "{broken"}, PATH, 1, is_cells=True), "a.b")
