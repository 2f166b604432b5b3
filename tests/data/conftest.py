"""Files made for the tests, and the place of the real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REAL_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"

WriteLines = Callable[..., Path]


@pytest.fixture
def write_jsonl(tmp_path: Path) -> WriteLines:
    """Writes records to a .jsonl file, one a line, and returns its path."""

    def write(*records: Any, name: str = "data.jsonl") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Finds a real data file by its path below the data folder, or skips the test."""

    def find(name: str) -> Path:
        path = REAL_DATA / name
        if not path.is_file():
            pytest.skip(f"the real file {name} is not at {REAL_DATA}")
        return path

    return find
