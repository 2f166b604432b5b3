"""The documentation site's pages: all of the documents, each with a place, every link inside, lists and tables whole.

The site itself is built by `make site`, which takes every warning for an error.
"""

from __future__ import annotations

import re
import runpy
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_WRITER = runpy.run_path(str(DOCS / "site_pages.py"))


@cache
def pages() -> dict[str, str]:
    return {path: content.decode() for path, content in _WRITER["pages_of_the_site"]().items() if path.endswith(".md")}


def placed(navigation: list[Any]) -> list[str]:
    """The pages of a navigation, in order."""
    found: list[str] = []
    for entry in navigation:
        values = entry.values() if isinstance(entry, dict) else [entry]
        for value in values:
            found += placed(value) if isinstance(value, list) else [value]
    return found


def test_every_page_has_one_place_in_the_navigation() -> None:
    navigation = _WRITER["navigation"]((DOCS / "README.md").read_text(encoding="utf-8"))
    assert sorted(placed(navigation)) == sorted(pages())
    names = [next(iter(section)) for section in navigation]
    assert names[1:7] == ["Tutorial", "How-to", "Reference", "Explanation", "Decisions", "Experiments"]


def test_relative_links_of_the_site_lead_to_its_pages_and_pictures() -> None:
    there = set(_WRITER["pages_of_the_site"]())
    for path, text in pages().items():
        without_code = re.sub(r"^ *```.*?^ *```|`[^`\n]+`", "", text, flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", without_code):
            if "://" not in target:
                assert _WRITER["_resolved"](path, target) in there, f"{path}: {target}"


@pytest.mark.parametrize("repository", ["", "https://code.example/surestep/"])
def test_a_link_to_a_file_that_is_no_page_leads_to_the_repository_or_is_text_and_a_dead_one_stays(
    repository: str,
) -> None:
    text = _WRITER["with_links_of_the_site"](
        "[a `b`](train.py) `[c](train.py)` [d](no.py)", "contributing.md", repository=repository
    )
    link = f"[a `b`]({repository}train.py)" if repository else "a `b`"
    assert text == f"{link} `[c](train.py)` [d](no.py)"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Two:\n- a\n- b\n", "Two:\n\n- a\n- b\n"),
        ("Two:\n1. a\n2. b\n", "Two:\n\n1. a\n2. b\n"),
        ("- a\n  more of a\n- b\n", "- a\n  more of a\n- b\n"),
        ("```\ntext\n- no list\n```\n", "```\ntext\n- no list\n```\n"),
        ("in 2026.\n7. is no list here\n", "in 2026.\n7. is no list here\n"),
    ],
)
def test_lists_are_lists_as_on_a_code_host(written: str, shown: str) -> None:
    assert _WRITER["_for_the_generator"](written) == shown


def test_every_table_has_a_head() -> None:
    """Rows without one are shown as a heap of text, here and on a code host."""
    for path, text in pages().items():
        for block in re.split(r"\n\s*\n", re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)):
            lines = block.strip().splitlines()
            rows = [line for line in lines if line.startswith("| ")]
            if len(rows) > 1:
                head = lines.index(rows[0])
                assert re.fullmatch(r"[|:\s-]+", lines[head + 1]), f"{path}: {rows[0][:80]}"
