"""Step-level F1s against scikit-learn, and where a kind of step is missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, recall_score

from surestep.metrics.benchmarks.step_errors import step_counts, step_figures

pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30)


@given(pairs)
def test_equal_to_scikit_learn(made: list[tuple[bool, bool]]) -> None:
    # One step of each kind, so that every figure has a value.
    right, called = np.array([*made, (True, True), (False, False)]).T
    figures = {name: value[0] for name, value in step_figures(step_counts(right, called).sum(axis=0)[None]).items()}
    assert figures["f1"] == pytest.approx(f1_score(right, called))
    assert figures["negative_f1"] == pytest.approx(f1_score(right, called, pos_label=0))
    assert figures["prm_score"] == pytest.approx(f1_score(right, called, average="macro"))
    assert figures["accuracy_right_steps"] == pytest.approx(recall_score(right, called))
    assert figures["accuracy_wrong_steps"] == pytest.approx(recall_score(right, called, pos_label=0))


def test_without_wrong_steps_by_design_the_score_is_f1() -> None:
    counts = np.array([[3.0, 1.0, 0.0, 0.0]])
    by_design = step_figures(counts, has_wrong_steps=False)
    assert by_design["prm_score"][0] == by_design["f1"][0] == pytest.approx(6 / 7)
    assert np.isnan(by_design["negative_f1"][0])


def test_a_kind_that_is_missing_has_no_figure() -> None:
    figures = step_figures(np.array([[0.0, 0.0, 1.0, 1.0]]))
    assert np.isnan(figures["f1"][0])
    assert np.isnan(figures["accuracy_right_steps"][0])
    assert figures["negative_f1"][0] == pytest.approx(2 / 3)
