"""The messages in docs/troubleshooting.md are those of the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "troubleshooting.md"
_MARK = "\1"
"""Stands between texts; none holds it."""
_ROW = re.compile(r"^\| `(?P<message>[^`]+)`", re.MULTILINE)
MESSAGES = [found["message"] for found in _ROW.finditer(PAGE.read_text(encoding="utf-8"))]


def _text(part: ast.expr) -> str:
    """A part of an f-string: its text, \\0 for what is filled in, with the noun of several where `counted` has one."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    value = part.value if isinstance(part, ast.FormattedValue) else part
    if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "counted":
        words = [word.value for word in value.args[1:] if isinstance(word, ast.Constant)]
        return f"\0 {words[1] if len(words) > 1 else f'{words[0]}s'}" if words else "\0"
    return "\0"


def _texts() -> set[str]:
    """Every text of the source; what is filled in is \\0."""
    found = set()
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.add("".join(map(_text, node.values)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def _holds(text: str, parts: list[str]) -> bool:
    """Whether the parts stand in `text` in this order, with anything between them."""
    place = 0
    for part in parts:
        found = text.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return True


def _with(words: str, joined: str) -> Iterator[str]:
    """The texts between the marks of `joined` that hold `words`."""
    end = 0
    while (found := joined.find(words, end)) >= 0:
        end = joined.find(_MARK, found)
        yield joined[joined.rfind(_MARK, 0, found) + 1 : end]


def test_every_message_is_one_of_the_source() -> None:
    joined = _MARK + "".join(f"{text}{_MARK}" for text in _texts())
    unknown = []
    for message in MESSAGES:
        parts = message.split("...")
        longest = max(parts, key=len)  # few texts hold it, and that is quickly asked of all of them at once
        if not any(_holds(text, parts) for text in _with(longest, joined)):
            unknown.append(message)
    assert unknown == []


def test_texts_are_found_between_their_marks() -> None:
    joined = "\1ab\1\1cab\1b\1"
    assert [list(_with(words, joined)) for words in ("ab", "b", "x", "ca")] == [
        ["ab", "cab"],
        ["ab", "cab", "b"],
        [],
        ["cab"],
    ]


@pytest.mark.parametrize(
    ("parts", "is_there"), [(["b", "d"], True), (["d", "b"], False), (["abcdef"], False), ([""], True)]
)
def test_parts_of_a_message_stand_in_their_order(parts: list[str], is_there: bool) -> None:
    assert _holds("a b c d", parts) is is_there


def test_the_page_covers_the_usual_cases() -> None:
    assert len(MESSAGES) > 50
    assert len(set(MESSAGES)) == len(MESSAGES)
