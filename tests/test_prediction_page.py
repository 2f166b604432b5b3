"""The page that predicts speed and memory of many GPUs shows what its program prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_tables_of_the_prediction_are_those_of_its_program() -> None:
    printed = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "predict_gpus.py")],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    predicted, checked, memory, unevenness = printed.strip().split("\n\n")
    page = (ROOT / "docs" / "explanation" / "growth-with-gpus.md").read_text(encoding="utf-8")
    for table in (predicted, checked, memory):
        assert table in page
    shares = sorted(cell.strip() for row in unevenness.splitlines()[2:] for cell in row.strip("|").split("|")[1:])
    # Two processes with many trees each share them evenly to the last figure.
    assert f"| {next(share for share in shares if share != '1.000')} to {shares[-1]} |" in page
