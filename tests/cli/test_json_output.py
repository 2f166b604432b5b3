"""`--json`: standard output is one JSON value, and what else is said is not lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from surestep.cli.main import main


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def evaluation(folder: Path) -> list[str]:
    rows = [
        {"dataset": "own", "problem": f"p{i}", "step": j, "confidence": (i + j) % 7 / 7, "label": (i * j) % 2}
        for i in range(40)
        for j in range(3)
    ]
    return ["evaluate", "--predictions", str(write_lines(folder / "rows.jsonl", rows))]


def processbench(folder: Path) -> list[str]:
    solutions = [
        {"id": f"gsm8k-{i}", "problem": f"p{i}", "steps": ["a", "b", "c"], "label": i % 4 - 1} for i in range(12)
    ]
    rows = [{"subset": "gsm8k", "id": row["id"], "confidences": [0.9, 0.2, 0.8]} for row in solutions]
    data, given = write_lines(folder / "gsm8k.jsonl", solutions), write_lines(folder / "given.jsonl", rows)
    return ["benchmark", "processbench", "--data", str(data), "--predictions", str(given)]


@pytest.mark.slow
@pytest.mark.parametrize(("command", "key"), [(evaluation, "overall"), (processbench, "thresholds")])
def test_standard_output_is_the_result_alone(command: Any, key: str, tmp_path: Path, capsys: Any) -> None:
    arguments = [*command(tmp_path), "--resamples", "50"] if command is processbench else command(tmp_path)
    assert main([*arguments, "--output_dir", str(tmp_path / "out"), "--json"]) == 0
    said = capsys.readouterr()
    assert key in json.loads(said.out)
    assert "results: " in said.err
    assert main([*arguments, "--output_dir", str(tmp_path / "again")]) == 0
    said = capsys.readouterr()
    assert "results: " in said.out
    assert "{" not in said.out
