"""AUROC and average precision against scikit-learn and against the pairs they count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from surestep.metrics import (
    UndefinedFigureError,
    auroc,
    auroc_without_half,
    average_precision,
    average_precision_error,
    average_precision_error_without_half,
    average_precision_without_half,
)

# Seeded like all tests; no deadline, because other work may share the machine.
QUICK = settings(derandomize=True, deadline=None, max_examples=60)
TOLERANCE = 1e-12
ALL = (auroc, average_precision, average_precision_error)


def random_columns(seed: int, decimals: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.random(300), decimals)
    return confidence, rng.choice([0.0, 0.25, 0.5, 1.0], 300), rng.integers(1, 5, 300).astype(float)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("decimals", [1, 16])
@pytest.mark.parametrize("seed", range(3))
def test_equal_scikit_learn_with_and_without_ties(seed: int, decimals: int, weighted: bool) -> None:
    p, y, w = random_columns(seed, decimals)
    for keep, suffix in ((np.full(p.size, True), ""), (y != 0.5, "_without_half")):
        right = y[keep] >= 0.5
        sample_weight = w[keep] if weighted else None
        expected = {
            "auroc": sk.roc_auc_score(right, p[keep], sample_weight=sample_weight),
            "average_precision": sk.average_precision_score(right, p[keep], sample_weight=sample_weight),
            "average_precision_error": sk.average_precision_score(~right, -p[keep], sample_weight=sample_weight),
        }
        ours = (
            dict(zip(expected, ALL, strict=True))
            if not suffix
            else {
                "auroc": auroc_without_half,
                "average_precision": average_precision_without_half,
                "average_precision_error": average_precision_error_without_half,
            }
        )
        for name, value in expected.items():
            got = ours[name](p, y, w if weighted else None)
            assert got == pytest.approx(value, abs=TOLERANCE), name + suffix


def test_auroc_counts_pairs_and_half_of_the_ties() -> None:
    p, y, _ = random_columns(0, 1)
    right, wrong = p[y >= 0.5], p[y < 0.5]
    wins = (right[:, None] > wrong).sum() + 0.5 * (right[:, None] == wrong).sum()
    assert auroc(p, y) == pytest.approx(wins / (right.size * wrong.size), abs=TOLERANCE)


def test_a_constant_ranks_at_chance() -> None:
    y = [1.0, 1.0, 1.0, 0.0]
    assert auroc([0.3] * 4, y) == 0.5
    assert average_precision([0.3] * 4, y) == 0.75
    assert average_precision_error([0.3] * 4, y) == 0.25


@pytest.mark.parametrize("figure", ALL)
@pytest.mark.parametrize("label", [0.0, 0.5, 1.0])
def test_one_class_is_undefined_with_its_reason(figure: Any, label: float) -> None:
    kind = "right" if label >= 0.5 else "wrong"
    with pytest.raises(UndefinedFigureError, match=f"only one class: all 2 steps count as {kind}"):
        figure([0.1, 0.9], [label, label])


def test_without_half_can_be_undefined_where_the_whole_is_not() -> None:
    p, y = [0.1, 0.9], [0.0, 0.5]
    assert auroc(p, y) == 1.0
    with pytest.raises(UndefinedFigureError, match="only one class: all 1 step count as wrong"):
        auroc_without_half(p, y)
    with pytest.raises(UndefinedFigureError, match="no labelled steps"):
        auroc_without_half([0.1, 0.9], [0.5, 0.5])


def test_confidences_that_differ_by_less_than_their_distance_from_one_are_still_told_apart() -> None:
    # 1 - 1e-20 and 1 - 1e-30 are the same float64: ranking by 1 - p would tie them.
    assert average_precision_error([1e-30, 1e-20, 0.5], [0.0, 1.0, 1.0]) == 1.0


@QUICK
@given(rows=st.lists(st.tuples(st.integers(0, 8), st.sampled_from([0.0, 0.5, 1.0])), min_size=2, max_size=40))
def test_only_the_order_matters(rows: list[tuple[int, float]]) -> None:
    rank, y = np.array(rows, dtype=float).T
    if (y >= 0.5).all() or (y < 0.5).all():
        y[0] = 1.0 - y[1] if y[1] != 0.5 else 0.0
    for figure in ALL:
        assert figure(rank / 8, y) == pytest.approx(figure((rank / 8) ** 3, y), abs=TOLERANCE)
    assert auroc(1.0 - rank / 8, y) == pytest.approx(1.0 - auroc(rank / 8, y), abs=TOLERANCE)
