"""`surestep bench` runs on any machine, prints a table and one JSON line; no time is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

QUICK = ["--device", "cpu", "--steps", "1", "--repeats", "1", "--examples", "2", "--backbone", "builtin:tiny"]
MEASURED = ("tokens_per_s", "labels_per_s", "spread", "ceiling_share", "padding", "peak_gb", "first_step_s")


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "surestep.cli.main", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(("work", "rows"), [("train", 2), ("trees", 1), ("score", 3)])
def test_a_table_and_a_line_of_json(work: str, rows: int, tmp_path: Path) -> None:
    output = tmp_path / "bench.jsonl"
    extra = ["--budgets", "600"] if work == "trees" else []
    done = bench(work, *QUICK, *extra, "--output", str(output))
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert json.loads(output.read_text(encoding="utf-8")) == record
    assert record["bench"] == work
    assert record["ceiling_tflops"] > 0
    assert "torch" in record["versions"]
    assert len(record["rows"]) == rows
    for row in record["rows"]:
        assert all(isinstance(row[name], float) for name in MEASURED)
        assert row["tokens_per_s"] > row["labels_per_s"] > 0
        assert 0 <= row["padding"] < 1
        assert row["name"].split(",")[0].split(":")[0] in done.stdout
    if work == "score":
        whole, tree, flat = record["rows"]
        steps = {
            "tree": tree["labels_per_s"] / tree["tokens_per_s"],
            "flat": flat["labels_per_s"] / flat["tokens_per_s"],
        }
        assert steps["tree"] > 1.2 * steps["flat"], "shared prefixes are run once"
        assert whole["settings"]["token_budget"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--shape", "huge"], ["--shape", "huge", "qwen3-4b", "small"]),
        (["train", "--steps", "0"], ["--steps", "at least 1"]),
        (["score", "--shape", "small", "--backbone", "builtin:tiny"], ["--shape", "--backbone"]),
    ],
)
def test_misuse_is_told_in_a_line(arguments: list[str], words: list[str]) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr
