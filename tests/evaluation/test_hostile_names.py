"""Names that a page, its charts and a terminal must survive: too long, obeyed by a terminal, or a formula."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path

import pytest

from surestep.cli.main import _visible_warning
from surestep.evaluation.report.charts.chart import Axis, Chart, Line, Panel
from surestep.evaluation.report.charts.png import LONGEST_TEXT, _plain, write_png
from surestep.evaluation.report.made_from import read_card
from surestep.terminal_text import visible

NAMES = ["\x1b]52;c;eA==\x07", "a\0b", "\u202eabc", "$\\frac{", "x" * 100_000, "步骤", "two\nlines", "_hidden", ""]


def chart_of(name: str) -> Chart:
    axis = Axis(name, 0.0, 1.0, ((0.0, name), (1.0, "1")))
    lines = (Line([0.0, 1.0], [0.0, 1.0], "model", name), Line([0.0, 1.0], [1.0, 0.0], "a", "other"))
    return Chart("c", name, "", axis, (Panel(axis, lines),))


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name[:9]))
def test_a_chart_is_drawn_whatever_a_dataset_is_called(name: str, drawn_plots: None, tmp_path: Path) -> None:
    begun = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write_png(chart_of(name), tmp_path / "a.png")
    assert [str(warning.message) for warning in caught if "missing from" in str(warning.message)] == []
    assert time.monotonic() - begun < 20
    assert (tmp_path / "a.png").stat().st_size > 1_000
    assert len(_plain(name).replace("\\$", "$")) <= LONGEST_TEXT


def test_a_warning_of_a_library_is_visible_text() -> None:
    said = _visible_warning(UserWarning("a \x1b[2J b"), UserWarning, "file.py", 3)
    assert "\\u001b[2J" in said
    assert visible(said) == said


def test_a_pipe_for_a_former_card_makes_nobody_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "MODEL_CARD.md")
    assert read_card(tmp_path / "MODEL_CARD.md") is None
