"""Messages say "1 row" and "2 rows": what counts something leaves the form of the noun to `counted`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import surestep
from surestep.counted import counted
from surestep.data.records.reading_report import REASONS, ReadReport

SOURCE = Path(surestep.__file__).parent
NOUNS = (
    *("answers", "bytes", "candidates", "checkpoints", "columns", "completions", "confidences", "copies", "entries"),
    *("examples", "files", "groups", "keys", "labels", "layers", "lines", "messages", "points", "predictions"),
    *("problems", "processes", "prompts", "queries", "records", "rows", "scores", "sessions", "solutions", "steps"),
    *("texts", "tokens", "trees", "values", "verdicts", "votes", "weights", "words"),
)
_LIKELY = re.compile(r"\{len\(|:,[^{}]*\} ?[a-z\"]")
"""Stands in files that may have what is looked for: parsing all of them takes seconds."""
_PLURAL = re.compile(rf" (?:[a-z-]+ ){{0,2}}?(?:{'|'.join(NOUNS)})\b(?!/)")


@pytest.mark.parametrize("number", [0, 1, 2, 1000])
def test_one_is_one_and_everything_else_is_many(number: int) -> None:
    said = counted(number, "copy is", "copies are")
    assert said == {0: "0 copies are", 1: "1 copy is", 2: "2 copies are", 1000: "1,000 copies are"}[number]
    assert counted(number, "near row").endswith("rows") == (number != 1)


def uncounted(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of each number before a noun that is always of many; "1 of 3 rows" counts the row in front."""
    for node in ast.walk(tree):
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for place, (value, behind) in enumerate(pairwise(parts)):
            if not isinstance(value, ast.FormattedValue) or not isinstance(behind, ast.Constant):
                continue
            code, form = ast.unparse(value.value), "" if value.format_spec is None else ast.unparse(value.format_spec)
            is_count = (re.match(r"len\(", code) or "," in form) and "." not in form and not code.isupper()
            before = str(parts[place - 1].value) if place and isinstance(parts[place - 1], ast.Constant) else ""
            if is_count and _PLURAL.match(str(behind.value)) and not before.endswith(" of "):
                yield node.lineno, f"{{{code}}}{behind.value}"


def test_no_message_puts_a_number_before_a_noun_that_is_always_of_many() -> None:
    found = [
        f"{path.relative_to(SOURCE)}, line {line}: {text}"
        for path in sorted(SOURCE.rglob("*.py"))
        if _LIKELY.search(source := path.read_text(encoding="utf-8"))
        for line, text in uncounted(ast.parse(source))
    ]
    assert found == [], "say it with counted(number, 'row')"


def test_the_rule_finds_what_it_is_for() -> None:
    code = 'f"{len(a)} rows, {b:,} labelled steps, {c:.1f} tokens; {d:,} of {e:,} rows, {f:,} rows/s, {MOST:,} steps"'
    assert [text for _, text in uncounted(ast.parse(code))] == ["{len(a)} rows, ", "{b} labelled steps, "]


@pytest.mark.parametrize("reason", REASONS)
def test_what_reading_counted_once_is_said_of_one(reason: str) -> None:
    one, several = ReadReport(), ReadReport()
    one.count(reason)
    several.count(reason, 2)
    (first,), (second,) = one.lines(), several.lines()
    assert first.startswith("1 ")
    assert second.startswith("2 ")
    assert first[2:] != second[2:]
    assert not set("[|]") & set(first + second)
