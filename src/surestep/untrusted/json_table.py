"""Lines of JSON objects as a table of columns, where that is sure to give what the reader of `json_text` gives.

pyarrow reads a line in a twentieth of the time that a dictionary of it takes. It refuses what is no JSON, a key that an
object has twice, a value of another kind than its column's and a field that is not asked for; what it does not refuse
is looked for here. Everything that is not sure is left to the reader of `json_text`, which decides what is read and
words every message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from surestep.untrusted.json_text import has_long_number

Kind = Literal["string", "int64", "float64"]
"""What a column holds; numbers spelled as JSON spells them, `3.0` is no int64."""


def sure_table(text: str, kinds: Mapping[str, Kind]) -> Any | None:
    """A pyarrow table with a row for each line of `text` and a column for each of `kinds`, null where a line has none.

    None where it is not sure: a line is blank or holds anything but one object without blanks around it, or an object
    has another field or a value of another kind. NaN and Infinity, which are no JSON, are floats in it.

    >>> sure_table('{"a": "x"}\\n{"b": 2}\\n', {"a": "string", "b": "int64"}).to_pydict()
    {'a': ['x', None], 'b': [None, 2]}
    >>> sure_table('{"a": 1}\\n', {"a": "string"}) is sure_table('{"a": "x"} {"a": "y"}\\n', {"a": "string"}) is None
    True
    """
    # With a brace at both ends of every line and no object within an object, each line holds whole objects: one each,
    # where there are as many as lines. A text holds no line end, or it is no JSON.
    num_lines = text.count("\n") + (not text.endswith("\n"))
    is_framed = text.startswith("{") and text.endswith(("}\n", "}")) and text.count("}\n{") == num_lines - 1
    if not is_framed or has_long_number(text):
        return None
    import pyarrow
    from pyarrow import json

    schema = pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in kinds.items()])
    content = text.encode()
    try:
        table = json.read_json(
            pyarrow.BufferReader(content),
            read_options=json.ReadOptions(use_threads=False, block_size=len(content) + 1),
            parse_options=json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
        )
    except pyarrow.ArrowException:
        return None
    return table if table.num_rows == num_lines else None
