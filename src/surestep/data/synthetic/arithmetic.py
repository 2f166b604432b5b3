"""The built-in dataset `arithmetic`: chains of sums whose true confidence is known by construction.

A problem is a list of operations, a step carries out one of them:

    start 47; add 8; read; sub 5             the problem
    47 + 8 = 55                              clean: right or wrong, the text decides
    47 + 8 = 56, checker errs 0.137          noisy: the label is flipped with probability 0.137
    read 31, dial right 0.823                noisy: nothing to check, right with probability 0.823

A step is right if and only if it carries out its operation on the value that the step before it stated (so nothing is
wrong merely because an earlier step was). `true_confidence` is p* = P(label = 1 | text so far), `confidence` a label
drawn from it. Whether a step is wrong is drawn before any number is, so neither its place in the chain nor its length
tells.

Held out of train and validation, present in test: values of the stated rates (`HELD_OUT_RATES`) and pairs of operands
(`is_held_out_pair`), among them all of some ranges of the number that is added to. A fifth of the test trees have
held-out operands, a fifth held-out rates, a fifth both: such a tree states nothing else of that kind, so that no pair
(and no rate) of theirs was seen in training, after a wrong step neither. No problem text occurs in two splits.
Tree `i` depends on the seed, the split and `i` alone.

Knows no tokenizer, no model and no file.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from surestep.data.synthetic.operations import (
    LARGEST,
    SMALLEST,
    Operation,
    can_continue,
    draw_operations,
    draw_rate,
    write_step,
    wrong_steps,
)
from surestep.types import ROOT, Node, ReasoningTree

DATASET = "arithmetic"
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

_WRONG_SHARE = 0.42
_READ_SHARE, _CHECKED_SHARE = 0.14, 0.16
_BRANCHING_SHARE = 0.4  # of the trees; in them every step may have alternatives
ERR_RATES, RELIABILITIES = (0.02, 0.45), (0.02, 0.98)
"""Bounds of the rates that a checked step and a reading state."""
_TEST_KINDS = ("seen", "seen", "operands", "rates", "operands+rates")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is settled about a node before any number is: all that its label depends on."""

    parent: int
    depth: int
    wrong: bool
    rate: float | None  # a checked step's error rate, a reading's reliability


def generate_arithmetic(split: Split, *, num_problems: int, seed: int, first: int = 0) -> Iterator[ReasoningTree]:
    """The trees `first` to `first + num_problems - 1` of a split, in order.

    Args:
        split: "train", "validation" or "test"; only the last states held-out rates and operands.
        num_problems: how many trees, at least 0.
        seed: trees of different seeds share nothing but their distribution.
        first: index of the first tree; tree `i` is the same wherever the iteration starts.

    Raises:
        ValueError: an unknown split, or a negative `num_problems` or `first`.

    >>> tree = next(generate_arithmetic("test", num_problems=1, seed=0))
    >>> tree.dataset, tree.id.split(":")[0]
    ('arithmetic', 'test-000000')
    """
    if num_problems < 0 or first < 0:
        raise ValueError(f"num_problems {num_problems} and first {first} must be at least 0")
    _check_split(split)
    return (arithmetic_tree(split, index, seed=seed) for index in range(first, first + num_problems))


def arithmetic_tree(split: Split, index: int, *, seed: int) -> ReasoningTree:
    """Tree number `index` of a split; its `id` is "<split>-<index>:<what is held out>".

    Raises:
        ValueError: an unknown split.
    """
    _check_split(split)
    rng = random.Random(f"arithmetic:{seed}:{split}:{index}")
    kind = rng.choice(_TEST_KINDS) if split == "test" else "seen"
    names = ["read" if rng.random() < _READ_SHARE else "" for _ in range(rng.randint(3, 5))]
    plans = _plan(rng, names, held_out_rates="rates" in kind)
    while True:  # the labels are settled: drawing the numbers again cannot change them
        drawn = draw_operations(rng, names, held_out="operands" in kind)
        if drawn is None:
            continue
        start, operations = drawn
        problem = "; ".join((f"start {start}", *map(str, operations)))
        if split_of_problem(problem) != split:
            continue
        nodes = _nodes(rng, plans, start, operations, held_out="operands" in kind)
        if nodes is not None:
            return ReasoningTree(problem, nodes, id=f"{split}-{index:06d}:{kind}", dataset=DATASET)


def held_out_parts(tree: ReasoningTree) -> frozenset[str]:
    """What a test tree holds that training never saw: "operands", "rates", both or nothing.

    >>> sorted(held_out_parts(arithmetic_tree("train", 0, seed=0)))
    []
    """
    return parts_of_id(tree.id)


def parts_of_id(tree_id: str) -> frozenset[str]:
    """`held_out_parts` of the tree that has this `id`, as files of predictions name it.

    >>> sorted(parts_of_id("test-000012:operands+rates"))
    ['operands', 'rates']
    """
    return frozenset(tree_id.partition(":")[2].split("+")) - {"seen", ""}


def part_of_id(tree_id: str) -> str:
    """The part of the data that the tree with this `id` is of, in words; "" where the id is not one of these trees.

    >>> part_of_id("test-000012:operands+rates"), part_of_id("test-000013:seen"), part_of_id("p7")
    ('both held out', 'all seen in training', '')
    """
    if not tree_id.partition(":")[2]:
        return ""
    return _PART_NAMES.get(parts_of_id(tree_id), "")


_PART_NAMES = {
    frozenset[str](): "all seen in training",
    frozenset({"operands"}): "held-out operands",
    frozenset({"rates"}): "held-out rates",
    frozenset({"operands", "rates"}): "both held out",
}


def is_clean(node: Node) -> bool:
    """Whether the text alone decides the label: p* is 0 or 1.

    >>> is_clean(Node("47 + 8 = 55", true_confidence=1.0))
    True
    """
    return node.true_confidence in (0.0, 1.0)


def split_of_problem(problem: str) -> Split:
    """The only split in which a problem's text may occur: three quarters are train's.

    >>> split_of_problem("start 47; add 8; sub 5")
    'train'
    """
    eighth = zlib.crc32(problem.encode()) % 8
    return "validation" if eighth == 0 else "test" if eighth == 1 else "train"


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"split {split!r} of arithmetic is unknown; allowed: {', '.join(SPLITS)}")


def _plan(rng: random.Random, names: list[str], *, held_out_rates: bool) -> list[_Plan]:
    """The tree's shape, which steps are wrong and every stated rate, in preorder."""
    branching = rng.random() < _BRANCHING_SHARE
    plans: list[_Plan] = []

    def grow(parent: int, depth: int) -> None:
        if depth == len(names):
            return
        siblings = 1 + (branching and rng.random() < 0.5) + (branching and rng.random() < 0.15)
        heir = rng.randrange(siblings)  # continues in any case, right or wrong
        right_taken = False
        for sibling in range(siblings):
            is_read = names[depth] == "read"
            # Two right alternatives would be one text: at most one, the others are made wrong.
            wrong = not is_read and (rng.random() < _WRONG_SHARE or right_taken)
            right_taken = right_taken or not (wrong or is_read)
            rate = None
            if is_read or rng.random() < _CHECKED_SHARE:
                rate = draw_rate(rng, RELIABILITIES if is_read else ERR_RATES, held_out=held_out_rates)
            plans.append(_Plan(parent, depth, wrong, rate))
            if sibling == heir or rng.random() < 0.1:
                grow(len(plans) - 1, depth + 1)

    grow(ROOT, 0)
    return plans


def _nodes(
    rng: random.Random, plans: list[_Plan], start: int, operations: list[Operation], *, held_out: bool
) -> tuple[Node, ...] | None:
    """The plan filled with numbers, or None where a wrong step finds no plausible text."""
    nodes: list[Node] = []
    stated: list[int] = []  # the value that each node states
    for plan in plans:
        value = start if plan.parent == ROOT else stated[plan.parent]
        operation, rest = operations[plan.depth], operations[plan.depth + 1 :]
        taken = {node.text.partition(",")[0] for node in nodes if node.parent == plan.parent}
        if operation.name == "read":
            candidates = [(f"read {read}", read) for read in range(SMALLEST, LARGEST + 1)]
        elif plan.wrong:
            candidates = wrong_steps(rng, value, operation)
        else:
            candidates = [write_step(value, operation, operation.apply(value))]
        candidates = [
            (text, result)
            for text, result in candidates
            if text not in taken and can_continue(result, rest, held_out=held_out)
        ]
        if not candidates:
            return None
        text, result = rng.choice(candidates)
        stated.append(result)
        nodes.append(_node(rng, plan, text, is_read=operation.name == "read"))
    return tuple(nodes)


def _node(rng: random.Random, plan: _Plan, text: str, *, is_read: bool) -> Node:
    truth = 0.0 if plan.wrong else 1.0
    if plan.rate is not None:
        text += f", dial right {plan.rate:.3f}" if is_read else f", checker errs {plan.rate:.3f}"
        truth = plan.rate if is_read or plan.wrong else round(1.0 - plan.rate, 3)
    return Node(text, plan.parent, confidence=float(rng.random() < truth), num_ratings=1, true_confidence=truth)
