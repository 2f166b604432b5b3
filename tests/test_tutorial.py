"""The tutorial works as it stands: its marked blocks run in order in one folder, and show what its text says.

`python` and `surestep` are the quick ones of `warm_python`. Nothing in the text is changed.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from documents import blocks_of, run

pytestmark = pytest.mark.slow  # every block of the tutorial runs

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
TIMEOUT_S = 900.0
"""For one block, on a machine that other work shares; the training takes half a minute of one thread."""


@pytest.mark.slow
def test_the_tutorial_runs_and_shows_what_it_says(tmp_path: Path, quick_python: Path) -> None:
    for name in ("train.py", "evaluate.py"):
        shutil.copy(ROOT / name, tmp_path)
    marked = [block for block in blocks_of(TUTORIAL) if block.mark == "run"]
    assert len(marked) == 7, "a block has lost its mark"
    printed = []
    evaluations: list[dict[str, Any]] = []
    for number, block in enumerate(marked):
        if block.language == "python":
            script = tmp_path / f"block_{number}.py"
            script.write_text(block.code, encoding="utf-8")
            command = ["python", script.name]
        else:
            command = ["bash", "-e", "-o", "pipefail", "-c", block.code]
        ran = run(command, tmp_path, first_on_path=quick_python, timeout_s=TIMEOUT_S)
        assert ran.code == 0, f"line {block.line}:\n{ran.output}"
        printed.append(ran.output)
        if "evaluate.py" in block.code:
            (path,) = tmp_path.glob("outputs/eval_mine/checkpoint_step_*/eval_metrics.json")
            evaluations.append(json.loads(path.read_text(encoding="utf-8")))

    looked_at, shown, scored = printed[1], printed[4], printed[6]
    assert re.search(r"mean label 0\.4[89]", looked_at)
    assert re.search(r"overlap: [1-9]\d* of \d+ problems of own train also occur in own test", looked_at)
    assert shown.splitlines()[0].startswith("skill 0.")
    before, after = (evaluation["per_dataset"]["own"] for evaluation in evaluations)
    assert before["intervals"]["auroc"]["low"] > 0.5
    assert before["skill"]["mse"] > 0.3
    assert after["auroc"] == before["auroc"], "calibration changes no order"
    right, wrong = map(float, re.findall(r"^([01]\.\d\d)  ", scored, re.MULTILINE))
    assert wrong < 0.5 < right
