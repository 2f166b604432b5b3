"""The table of figures: every entry is complete, and the examples in its description are true."""

from __future__ import annotations

import ast
import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest

from surestep.metrics import FIGURES, figures
from surestep.metrics.figures import with_direction

MODULES = sorted(path.stem for path in Path(figures.__file__).parent.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_what_it_is(name: str) -> None:
    figure = FIGURES[name]
    assert figure.name == name
    assert figure.title
    assert figure.meaning.endswith(".")
    low, high = figure.range
    assert low < high
    assert (name in with_direction()) == (figure.direction in {"lower", "higher"})


def test_a_better_value_is_one_in_the_direction_of_the_figure() -> None:
    assert FIGURES["mse"].is_better(0.1, than=0.2)
    assert FIGURES["auroc"].is_better(0.2, than=0.1)
    assert not FIGURES["calibration_in_the_large"].is_better(0.1, than=0.2)
    for name in with_direction():
        assert not FIGURES[name].is_better(0.5, than=0.5)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_under_each_figure_are_true(name: str) -> None:
    """Texts under an assignment are no docstrings, so that doctest does not find them by itself."""
    module = importlib.import_module(f"surestep.metrics.figures.{name}")
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    runner, parser = doctest.DocTestRunner(), doctest.DocTestParser()
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            text = str(statement.value.value)
            runner.run(parser.get_doctest(text, {**vars(module), "np": np}, name, module.__file__, statement.lineno))
    assert runner.summarize(verbose=False).failed == 0
