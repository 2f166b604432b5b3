"""Lines of JSON objects as a table of columns, where that is sure to give what the reader of `json_text` gives.

pyarrow reads a line in a twentieth of the time that a dictionary of it takes. It refuses what is no JSON, a key that an
object has twice, a value of another kind than its column's and a field that is not asked for; what it does not refuse
is looked for here. Everything that is not sure is left to the reader of `json_text`, which decides what is read and
words every message.

Fields that nobody reads have to be asked for as well: pyarrow would pass over a key that stands twice among those it
ignores, and where it finds fields by itself, thousands of names in thousands of rows are a column each.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from surestep.untrusted.json_text import has_lone_surrogate, has_long_number, parse_json

Kind = Literal["string", "int64", "float64"]
"""What a column holds; numbers spelled as JSON spells them, `3.0` is no int64."""

_LOOKED_AT = 8
"""Lines of which further fields are known; a field that stands in none of them is not sure."""
_MOST_UNREAD = 64
"""Further fields: each is read like a column that is asked for."""


def sure_table(text: str, kinds: Mapping[str, Kind], *, reserved: Collection[str] | None = None) -> Any | None:
    """A pyarrow table with a row for each line of `text` and a column for each of `kinds`, null where a line has none.

    None where it is not sure: a line is blank or holds anything but one object without blanks around it, or an object
    has another field or a value of another kind. NaN, which is no JSON, is a float in it; an infinity is not sure, for
    pyarrow also reads one where it is spelled as no reader of JSON knows it (`Inf`).

    With `reserved`, fields of further names are left out of the table, where each holds texts, numbers or truth values
    alone; those of the names in `reserved` are not.

    >>> sure_table('{"a": "x"}\\n{"b": 2}\\n', {"a": "string", "b": "int64"}).to_pydict()
    {'a': ['x', None], 'b': [None, 2]}
    >>> sure_table('{"a": 1}\\n', {"a": "string"}) is sure_table('{"a": "x"} {"a": "y"}\\n', {"a": "string"}) is None
    True
    >>> sure_table('{"a": "x", "b": 1}\\n', {"a": "string"}, reserved=()).column_names
    ['a']
    """
    # With a brace at both ends of every line and no object within an object, each line holds whole objects: one each,
    # where there are as many as lines. A text holds no line end, or it is no JSON.
    num_lines = text.count("\n") + (not text.endswith("\n"))
    is_framed = text.startswith("{") and text.endswith(("}\n", "}")) and text.count("}\n{") == num_lines - 1
    if not is_framed or has_long_number(text):
        return None
    unread: dict[str, str] | None = {} if reserved is None else _unread_kinds(text, kinds)
    if unread is None or not unread.keys().isdisjoint(reserved or ()):
        return None
    import pyarrow
    from pyarrow import compute, json

    fields = {**kinds, **unread}
    schema = pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in fields.items()])
    content = text.encode()
    try:
        table = json.read_json(
            pyarrow.BufferReader(content),
            read_options=json.ReadOptions(use_threads=False, block_size=len(content) + 1),
            parse_options=json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
        )
    except pyarrow.ArrowException:
        return None
    floats = [table[name] for name, kind in fields.items() if kind == "float64"]
    if table.num_rows != num_lines or any(compute.any(compute.is_inf(column)).as_py() for column in floats):
        return None
    return table.select(list(kinds)) if unread else table


def _unread_kinds(text: str, kinds: Mapping[str, Kind]) -> dict[str, str] | None:
    """Fields of the first objects beside `kinds`, and of what kind each is; None where one is of none, or of several.

    >>> _unread_kinds('{"a": 1, "b": null}\\n{"b": 2, "c": true}\\n', {"a": "int64"})
    {'b': 'float64', 'c': 'bool'}
    >>> _unread_kinds('{"b": 2}\\n{"b": "x"}\\n', {}) is _unread_kinds('{"b": [2]}\\n', {}) is None
    True
    """
    found: dict[str, str] = {}
    for line in text.split("\n", _LOOKED_AT)[:_LOOKED_AT]:
        try:
            values = parse_json(line) if line else {}
        except ValueError:
            return None
        if not isinstance(values, dict):
            return None
        for name, value in values.items():
            if name in kinds:
                continue
            kind = None if has_lone_surrogate(name) else _kind_of(value)  # a column's name is UTF-8
            if kind is None or (kind != "null" and found.get(name, "null") not in {"null", kind}):
                return None
            if kind != "null" or name not in found:
                found[name] = kind
    return found if len(found) <= _MOST_UNREAD else None


def _kind_of(value: object) -> str | None:
    if isinstance(value, list | dict):
        return None
    if value is None or isinstance(value, bool | str):
        return "null" if value is None else "bool" if isinstance(value, bool) else "string"
    return "float64"
