"""The notebooks run as they stand, every cell, in order, with what they print close to what they keep."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from documents import run

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "docs" / "notebooks"
_RUNNER = runpy.run_path(str(NOTEBOOKS / "run_notebooks.py"))


def read(name: str) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    return notebook


def code_of(name: str) -> list[dict[str, Any]]:
    return [cell for cell in read(name)["cells"] if cell["cell_type"] == "code"]


@pytest.mark.slow
def test_every_cell_of_every_notebook_runs(tmp_path: Path, quick_python: Path) -> None:
    script = NOTEBOOKS / "run_notebooks.py"
    ran = run(["python", str(script), "--no_write"], tmp_path, first_on_path=quick_python, timeout_s=600)
    assert ran.code == 0, ran.output
    assert re.findall(r"^(\w+)\.ipynb: \d+ s$", ran.output, re.MULTILINE) == list(_RUNNER["ORDER"])


def test_all_notebooks_are_run_and_keep_what_a_run_printed() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(_RUNNER["ORDER"])
    for name in _RUNNER["ORDER"]:
        counts = [cell["execution_count"] for cell in code_of(name)]
        assert counts == list(range(1, len(counts) + 1)), f"{name}: run `python docs/notebooks/run_notebooks.py`"


def test_what_the_runner_prints_is_kept_in_order_and_a_failure_names_its_cell(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    def code(*lines: str) -> dict[str, Any]:
        return {"cell_type": "code", "source": list(lines)}

    told = {"cell_type": "markdown", "source": ["1 / 0"]}
    notebook = {
        "cells": [told, code("a = 2\n", "print(a)\n", "!echo one \\\n", "  two\n", "print(3)"), code("print(a + 2)")]
    }
    _RUNNER["run_notebook"](notebook)
    assert [cell["outputs"][0]["text"] for cell in notebook["cells"][1:]] == [["2\n", "one two\n", "3\n"], ["4\n"]]
    with pytest.raises(ZeroDivisionError) as raised:
        _RUNNER["run_notebook"]({"cells": [told, code("1 / 0")]})
    assert "in cell 2" in raised.value.__notes__[0]
    with pytest.raises(_RUNNER["subprocess"].CalledProcessError):
        _RUNNER["run_notebook"]({"cells": [code("!exit 3")]})
