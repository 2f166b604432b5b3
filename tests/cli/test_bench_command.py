"""`surestep bench` runs on any machine, prints a table and one JSON line; no time is judged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from surestep.bench import timing

QUICK = ["--device", "cpu", "--steps", "1", "--repeats", "1", "--examples", "2"]
MEASURED = ("tokens_per_s", "labels_per_s", "spread", "ceiling_share", "padding", "peak_gb", "first_step_s")


@pytest.mark.slow
@pytest.mark.parametrize(("work", "rows"), [("train", 2), ("trees", 1), ("score", 3)])
def test_a_table_and_a_line_of_json(
    work: str,
    rows: int,
    tmp_path: Path,
    succeed: Callable[..., str],
    backbone_folder: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(timing._CEILING_SIZE, "cpu", 256)
    output = tmp_path / "bench.jsonl"
    extra = ["--budgets", "600"] if work == "trees" else []
    shown = succeed("bench", work, *QUICK, "--backbone", backbone_folder("llama"), *extra, "--output", output)
    record = json.loads(shown.splitlines()[-1])
    assert json.loads(output.read_text(encoding="utf-8")) == record
    assert record["bench"] == work
    assert record["ceiling_tflops"] > 0
    assert "torch" in record["versions"]
    assert len(record["rows"]) == rows
    for row in record["rows"]:
        assert all(isinstance(row[name], float) for name in MEASURED)
        assert row["tokens_per_s"] > row["labels_per_s"] > 0
        assert 0 <= row["padding"] < 1
    if work == "score":
        whole, tree, flat = record["rows"]
        per_token = [row["labels_per_s"] / row["tokens_per_s"] for row in (tree, flat)]
        assert per_token[0] > 1.2 * per_token[1], "shared prefixes are run once"
        assert whole["settings"]["token_budget"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--shape", "huge"], ["--shape", "huge", "qwen3-4b", "small"]),
        (["train", "--steps", "0"], ["--steps", "at least 1"]),
        (["score", "--shape", "small", "--backbone", "builtin:tiny"], ["--shape", "--backbone"]),
    ],
)
def test_misuse_is_told_in_a_line(arguments: list[str], words: list[str], fail: Callable[..., str]) -> None:
    line = fail("bench", *arguments)
    for word in words:
        assert word in line
