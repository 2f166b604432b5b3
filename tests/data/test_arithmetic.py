"""What `arithmetic` promises: known truth, held-out bands, no split overlap, no shortcut."""

from __future__ import annotations

import hashlib
import itertools
import re
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from surestep.data.synthetic import arithmetic
from surestep.data.synthetic.arithmetic import Split, arithmetic_tree, generate_arithmetic, held_out_parts, is_clean
from surestep.data.synthetic.operations import HELD_OUT_VALUES, is_held_out_pair, is_held_out_rate
from surestep.data.trees.identity import problem_key
from surestep.types import ROOT, Node, ReasoningTree

STEP = re.compile(r"(\d+) ([-+]) (\d+) = (\d+)(?:, checker errs (0\.\d{3}))?")
READ = re.compile(r"read (\d+), dial right (0\.\d{3})")
SIGNS = {"add": "+", "sub": "-"}

splits = st.sampled_from(get_args(Split))
trees = st.builds(arithmetic_tree, splits, st.integers(0, 10**6), seed=st.integers(0, 5))


@pytest.fixture(scope="module")
def train() -> list[ReasoningTree]:
    return list(generate_arithmetic("train", num_problems=1500, seed=0))


@pytest.fixture(scope="module")
def test_split() -> list[ReasoningTree]:
    return list(generate_arithmetic("test", num_problems=600, seed=0))


def stated_value(node: Node) -> int:
    match = READ.fullmatch(node.text)
    if match:
        return int(match[1])
    match = STEP.fullmatch(node.text)
    assert match, node.text
    return int(match[4])


def stated_rates(tree: ReasoningTree) -> list[float]:
    return [float(rate) for node in tree.nodes for rate in re.findall(r"0\.\d{3}", node.text)]


def pairs(tree: ReasoningTree) -> list[tuple[int, int]]:
    matches = (STEP.fullmatch(node.text) for node in tree.nodes)
    return [(int(match[1]), int(match[3])) for match in matches if match]


def recomputed_truth(tree: ReasoningTree, index: int) -> float:
    """P(label = 1) from the text alone, by a calculator that shares no code with the generator."""
    node = tree.nodes[index]
    start, *operations = tree.problem.removeprefix("start ").split("; ")
    read = READ.fullmatch(node.text)
    operation = operations[len(tree.path(index)) - 1]
    if read:
        assert operation == "read"
        return float(read[2])
    match = STEP.fullmatch(node.text)
    assert match, node.text
    before = int(start) if node.parent == ROOT else stated_value(tree.nodes[node.parent])
    name, operand = operation.split()
    claim = f"{before} {SIGNS[name]} {operand}"
    right = node.text.startswith(claim + " = ") and eval(claim) == int(match[4])
    rate = float(match[5] or 0.0)
    return 1.0 - rate if right else rate


@given(trees)
@settings(max_examples=150, deadline=None)
def test_true_confidence_follows_from_the_text_alone(tree: ReasoningTree) -> None:
    for index, node in enumerate(tree.nodes):
        assert node.true_confidence == pytest.approx(recomputed_truth(tree, index), abs=1e-9)
        assert node.confidence in (0.0, 1.0)
        if is_clean(node):
            assert node.confidence == node.true_confidence


@given(trees)
@settings(max_examples=150, deadline=None)
def test_a_tree_states_held_out_pairs_and_rates_only_or_none(tree: ReasoningTree) -> None:
    """Both ways: nothing held out where training looks, and nothing that training saw in what is held out."""
    parts = held_out_parts(tree)
    assert all(is_held_out_pair(*pair) == ("operands" in parts) for pair in pairs(tree))
    if "operands" not in parts:
        assert not {left for left, _ in pairs(tree)} & HELD_OUT_VALUES
    assert all(is_held_out_rate(rate) == ("rates" in parts) for rate in stated_rates(tree))
    assert not parts or tree.id.startswith("test-")


@given(st.integers(0, 99), st.integers(0, 99))
def test_a_pair_is_held_out_in_both_orders(one: int, other: int) -> None:
    assert is_held_out_pair(one, other) == is_held_out_pair(other, one)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 42])
def test_no_sum_with_held_out_operands_is_seen_in_training(seed: int) -> None:
    """Told by the numbers in the texts alone, for sums and differences, in either order."""
    shown = {
        frozenset(pair)
        for split in ("train", "validation")
        for tree in generate_arithmetic(split, num_problems=1000, seed=seed)
        for pair in pairs(tree)
    }
    sums = [
        pair
        for tree in generate_arithmetic("test", num_problems=500, seed=seed)
        if "operands" in held_out_parts(tree)
        for pair in pairs(tree)
    ]
    assert len(sums) > 500
    assert not [pair for pair in sums if frozenset(pair) in shown]
    seen_digits = {(place, digit) for pair in shown for place, digit in enumerate(f"{max(pair):02d}{min(pair)}")}
    held_digits = {(place, digit) for pair in sums for place, digit in enumerate(f"{max(pair):02d}{min(pair)}")}
    assert held_digits <= seen_digits, "only combinations are new"


@given(trees)
@settings(max_examples=100, deadline=None)
def test_siblings_differ_and_every_number_has_two_digits(tree: ReasoningTree) -> None:
    texts = [(node.parent, node.text) for node in tree.nodes]
    assert len(set(texts)) == len(texts)
    assert all(10 <= stated_value(node) <= 99 for node in tree.nodes)
    depth = tree.problem.count(";")
    assert max(len(path) for path in tree.paths()) == depth


@given(splits, st.integers(0, 50), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_a_tree_does_not_depend_on_the_trees_before_it(split: Split, index: int, seed: int) -> None:
    whole = list(generate_arithmetic(split, num_problems=index + 2, seed=seed))
    assert arithmetic_tree(split, index, seed=seed) == whole[index]
    assert list(generate_arithmetic(split, num_problems=2, seed=seed, first=index)) == whole[index:]


def test_the_same_seed_gives_the_same_trees_on_every_machine() -> None:
    text = repr([tree for split in get_args(Split) for tree in generate_arithmetic(split, num_problems=40, seed=7)])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "c534a6dcfc767957"


def test_seeds_differ() -> None:
    assert arithmetic_tree("train", 0, seed=0) != arithmetic_tree("train", 0, seed=1)


@pytest.mark.slow
def test_no_problem_occurs_in_two_splits() -> None:
    problems = {
        split: {problem_key(tree) for tree in generate_arithmetic(split, num_problems=400, seed=0)}
        for split in get_args(Split)
    }
    for one, other in itertools.combinations(problems.values(), 2):
        assert not one & other


def test_test_problems_cover_every_kind_of_held_out(test_split: list[ReasoningTree]) -> None:
    kinds = [held_out_parts(tree) for tree in test_split]
    for kind in ({"operands"}, {"rates"}, {"operands", "rates"}):
        # A fifth each; 600 trees give 120 +- 10.
        assert 80 < kinds.count(frozenset(kind)) < 160


def test_labels_are_drawn_from_the_stated_truth(train: list[ReasoningTree]) -> None:
    nodes = [node for tree in train for node in tree.nodes if not is_clean(node)]
    truth = np.array([node.true_confidence for node in nodes])
    label = np.array([node.confidence for node in nodes])
    for low in np.arange(0.0, 1.0, 0.2):
        inside = (truth >= low) & (truth < low + 0.2)
        error = 4 * np.sqrt(0.25 / inside.sum())
        assert abs(label[inside].mean() - truth[inside].mean()) < error


def test_the_parts_have_the_shares_that_make_the_task_worthwhile(train: list[ReasoningTree]) -> None:
    nodes = [node for tree in train for node in tree.nodes]
    assert 0.65 < np.mean([is_clean(node) for node in nodes]) < 0.8
    assert 0.45 < np.mean([node.confidence for node in nodes]) < 0.55
    assert 0.3 < np.mean([len(tree.leaves()) > 1 for tree in train]) < 0.5
    bayes = np.mean([node.true_confidence * (1 - node.true_confidence) for node in nodes])
    # The best possible MSE against labels; R² of the truth itself stays near 0.8.
    assert 0.03 < bayes < 0.06


def surface(tree: ReasoningTree, index: int) -> list[float]:
    """All that a reader sees who cannot calculate and does not compare step and problem."""
    node = tree.nodes[index]
    numbers = [int(number) for number in re.findall(r"\b\d\d\b", node.text)]
    digits = np.zeros(30)
    for place, digit in enumerate("".join(f"{number:02d}" for number in numbers[-1:])):
        digits[10 * place + int(digit)] = 1.0
    digits[20 + min(len(tree.path(index)), 9)] = 1.0
    return [
        len(tree.path(index)),
        len(node.text),
        len(tree.problem),
        tree.problem.count(";"),
        stated_value(node),
        numbers[0],
        numbers[-1] - numbers[0],
        *(float(sign in node.text) for sign in "+-*"),
        float("checker" in node.text),
        float(node.parent == ROOT),
        *digits,
    ]


def test_surface_features_do_not_predict_a_clean_step(train: list[ReasoningTree]) -> None:
    rows = [
        (surface(tree, index), node.true_confidence)
        for tree in train
        for index, node in enumerate(tree.nodes)
        if is_clean(node)
    ]
    features, label = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    features = (features - features.mean(0)) / (features.std(0) + 1e-9)
    half = len(rows) // 2
    model = LogisticRegression(max_iter=2000, C=0.1).fit(features[:half], label[:half])
    probability = model.predict_proba(features[half:])[:, 1]
    # Random features would give 0.5 +- 0.01; a miscopied operand or a slip near 10 or 99 leaves a trace.
    assert roc_auc_score(label[half:], probability) < 0.56
    assert 1 - np.mean((probability - label[half:]) ** 2) / label[half:].var() < 0.015


def test_position_does_not_predict_a_clean_step(train: list[ReasoningTree]) -> None:
    by_position: dict[int, list[float]] = {}
    for tree in train:
        for index, node in enumerate(tree.nodes):
            if is_clean(node):
                by_position.setdefault(len(tree.path(index)), []).append(node.confidence or 0.0)
    overall = np.mean([value for values in by_position.values() for value in values])
    for values in by_position.values():
        assert abs(np.mean(values) - overall) < 0.05


def test_a_wrong_step_does_not_make_the_next_one_wrong(train: list[ReasoningTree]) -> None:
    after: dict[float, list[float]] = {0.0: [], 1.0: []}
    for tree in train:
        for node in tree.nodes:
            if node.parent != ROOT and is_clean(node) and is_clean(tree.nodes[node.parent]):
                after[tree.nodes[node.parent].true_confidence or 0.0].append(node.true_confidence or 0.0)
    assert abs(np.mean(after[0.0]) - np.mean(after[1.0])) < 0.05


@pytest.mark.parametrize("arguments", [{"num_problems": -1}, {"num_problems": 1, "first": -1}])
def test_negative_counts_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        generate_arithmetic("train", seed=0, **arguments)


def test_an_unknown_split_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="'dev' of arithmetic is unknown; allowed: train, validation, test"):
        generate_arithmetic("dev", num_problems=1, seed=0)  # type: ignore[arg-type]


def test_no_problems_are_no_trees() -> None:
    assert list(arithmetic.generate_arithmetic("train", num_problems=0, seed=0)) == []
