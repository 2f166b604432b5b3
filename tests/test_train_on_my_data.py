"""The how-to about own data works as it stands: its marked blocks run in order in one folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from documents import blocks_of, run

PAGE = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "train-on-my-data.md"
TIMEOUT_S = 600.0
"""For one block, on a machine that other work shares."""


@pytest.mark.slow
def test_the_page_runs_as_it_stands(tmp_path: Path, quick_python: Path) -> None:
    marked = [block for block in blocks_of(PAGE.read_text(encoding="utf-8")) if block.mark == "run"]
    assert len(marked) == 4, "a block has lost its mark"
    printed = []
    for number, block in enumerate(marked):
        script = tmp_path / f"block_{number}.py"
        script.write_text(block.code, encoding="utf-8")
        command = ["bash", "-e", "-c", block.code] if block.language == "bash" else ["python", script.name]
        ran = run(command, tmp_path, first_on_path=quick_python, timeout_s=TIMEOUT_S)
        assert ran.code == 0, f"line {block.line}:\n{ran.output}"
        printed.append(ran.output)
    for output in printed[1:3]:
        assert "own_train and own_test named: own data is on, prm800k and eqasc off" in output
        assert "read as stepwise, recognised by the keys prompt, completions, labels" in output
    assert printed[3].startswith("['own'] outputs/own_rows/")
