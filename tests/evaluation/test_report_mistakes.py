"""Which mistakes are shown, within which steps, and that any file gives a bounded list."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reports import make_rows
from surestep.evaluation.report.mistakes import (
    KINDS,
    LEAST_DISTANCE,
    MAX_CHARACTERS,
    MAX_STEP,
    STEPS_AFTER,
    STEPS_BEFORE,
    TRUTH_KINDS,
    worst_mistakes,
)


def row(confidence: float, label: float | None, **others: Any) -> dict[str, Any]:
    return {"confidence": confidence, "label": label, **others}


def test_the_largest_distance_comes_first_and_both_kinds_are_told_apart() -> None:
    rows = [row(0.6, 0.0), row(0.99, 0.0), row(0.2, 1.0), row(0.9, 1.0), row(0.1, 0.0), row(0.0, 0.5), row(1.0, 0.5)]
    found = worst_mistakes(rows)
    assert [(m.kind, m.focus.confidence) for m in found.shown] == [(KINDS[0], 0.99), (KINDS[1], 0.2), (KINDS[0], 0.6)]
    assert found.totals == {("all", KINDS[0]): 2, ("all", KINDS[1]): 1}


def test_a_step_without_a_label_is_shown_but_is_no_mistake() -> None:
    common = {"dataset": "d", "problem_id": "p"}
    rows = [
        row(0.9, None, step=0, parent=-1, text="first", **common),
        row(0.9, 0.0, step=1, parent=0, text="second", **common),
    ]
    (mistake,) = worst_mistakes(rows).shown
    assert [(step.text, step.label, step.is_focus) for step in mistake.steps] == [
        ("first", None, False),
        ("second", 0.0, True),
    ]


def test_a_step_is_shown_on_its_own_path_through_the_tree() -> None:
    """Not with its siblings, and with the first of the steps that follow it."""
    tree = [
        ("a", -1, 1.0, 1.0),
        ("b wrong", 0, 0.95, 0.0),
        ("b right", 0, 0.9, 1.0),
        ("c", 1, 0.5, 0.5),
        ("c other", 1, 0.5, 0.5),
    ]
    rows = [
        row(confidence, label, dataset="d", problem_id="p", step=k, parent=parent, text=text)
        for k, (text, parent, confidence, label) in enumerate(tree)
    ]
    (mistake,) = worst_mistakes(rows[::-1]).shown
    assert [step.text for step in mistake.steps] == ["a", "b wrong", "c"]
    assert [step.number for step in mistake.steps] == [1, 2, 3]


def test_without_parents_a_problem_is_a_chain_by_position() -> None:
    rows = [row(0.9, float(k != 2), problem_id="p", position=k, text=str(k)) for k in (3, 1, 2)]
    (mistake,) = worst_mistakes(rows).shown
    assert [step.text for step in mistake.steps] == ["1", "2", "3"]


def test_parents_that_run_in_a_circle_end() -> None:
    rows = [row(0.9, float(k), problem_id="p", step=k, parent=1 - k, text=str(k)) for k in (0, 1)]
    (mistake,) = worst_mistakes(rows).shown
    assert [step.text for step in mistake.steps if step.is_focus] == ["0"]


def test_long_solutions_and_long_texts_are_cut_and_say_so() -> None:
    rows = [
        row(0.9, float(k != 40), problem_id="p", step=k, parent=k - 1, text="x" * 5000, problem="y" * 5000)
        for k in range(80)
    ]
    (mistake,) = worst_mistakes(rows).shown
    assert (mistake.num_before, mistake.num_after) == (40 - STEPS_BEFORE, 79 - 40 - STEPS_AFTER)
    assert len(mistake.steps) == STEPS_BEFORE + 1 + STEPS_AFTER
    assert mistake.focus.number == 41
    assert mistake.focus.text.endswith("… [3,800 more characters]")
    assert len(mistake.focus.text) < MAX_STEP + 40


def test_the_whole_stays_within_its_budget() -> None:
    rows = [row(0.9, 0.0, problem_id=str(k), text="x" * 1000, problem="y" * 20_000) for k in range(1000)]
    found = worst_mistakes(rows, limit=10_000)
    assert 0 < sum(mistake.num_characters for mistake in found.shown) <= MAX_CHARACTERS
    assert found.total == 1000


def test_every_dataset_and_kind_gets_its_share() -> None:
    found = worst_mistakes(make_rows(400, datasets=("a", "b")), limit=20)
    counts: dict[Any, int] = {}
    for mistake in found.shown:
        counts[mistake.dataset, mistake.kind] = counts.get((mistake.dataset, mistake.kind), 0) + 1
    assert counts == {(name, kind): 5 for name in ("a", "b") for kind in KINDS}


def test_a_confidence_near_the_truth_is_no_mistake_whatever_label_was_drawn() -> None:
    """A coin that comes up right in 979 of 1,000 cases, and came up wrong: 0.96 was a good answer."""
    coin = row(0.96, 0.0, true_confidence=0.979)
    assert worst_mistakes([coin]).total == 0
    assert worst_mistakes([{**coin, "true_confidence": None}]).total == 1


def test_a_confidence_far_from_the_truth_is_a_mistake_even_where_the_label_agrees() -> None:
    rows = [
        row(0.99, 1.0, true_confidence=0.5),
        row(0.6, 1.0, true_confidence=1.0),
        row(0.05, 0.0, true_confidence=0.9),
        row(0.9, 0.0, true_confidence=0.0),
    ]
    found = worst_mistakes(rows)
    above, below = TRUTH_KINDS
    assert [(m.kind, m.focus.confidence) for m in found.shown] == [
        (above, 0.9),
        (below, 0.05),
        (above, 0.99),
        (below, 0.6),
    ]
    assert (found.with_truth, found.with_labels_only) == (("all",), ())


def test_each_dataset_is_measured_by_what_is_known_of_it() -> None:
    rows = [
        row(0.9, 0.0, dataset="coins", true_confidence=0.95),
        row(0.9, 0.0, dataset="coins", true_confidence=0.1),
        row(0.9, 0.0, dataset="graded"),
    ]
    found = worst_mistakes(rows)
    assert found.totals == {("coins", TRUTH_KINDS[0]): 1, ("graded", KINDS[0]): 1}
    assert found.kinds == (KINDS[0], TRUTH_KINDS[0])
    assert (found.with_truth, found.with_labels_only) == (("coins",), ("graded",))


@given(st.floats(0, 1), st.floats(0, 1), st.one_of(st.none(), st.floats(0, 1)))
def test_with_the_truth_known_the_distance_from_it_decides(
    confidence: float, truth: float, label: float | None
) -> None:
    found = worst_mistakes([row(confidence, label, true_confidence=truth)])
    # Without a label a step is in no figure, and so in no list.
    assert found.total == (label is not None and abs(confidence - truth) >= LEAST_DISTANCE)


def test_the_datas_own_position_names_a_step() -> None:
    """A file may hold some steps of a solution only."""
    (mistake,) = worst_mistakes([row(0.9, 0.0, problem_id="p", position=7), row(0.9, 1.0, problem_id="p")]).shown
    assert mistake.focus.number == 7
    assert worst_mistakes([row(0.9, 0.0, position=k, problem_id=str(k)) for k in (4, 2, 4)]).positions == (2, 4)


anything = st.one_of(
    st.none(), st.integers(-2, 5), st.text(max_size=3), st.floats(), st.lists(st.integers(), max_size=2)
)
strange_rows = st.lists(
    st.fixed_dictionaries(
        {"confidence": st.floats(0, 1), "label": st.one_of(st.none(), st.floats(0, 1))},
        optional=dict.fromkeys(
            ("dataset", "problem_id", "step", "parent", "position", "problem", "text", "true_confidence"), anything
        ),
    ),
    max_size=12,
)


@given(strange_rows)
def test_no_file_is_too_strange(rows: list[dict[str, Any]]) -> None:
    found = worst_mistakes(rows)
    for mistake in found.shown:
        assert sum(step.is_focus for step in mistake.steps) == 1
        assert mistake.dataset in found.datasets
