"""The steps of trees as columns of numbers, in the order of trees and of the steps within each.

Knows what `ScoredSteps` holds beside confidences; knows no scorer.

Legend: N steps, T trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surestep.data.trees.identity import problem_key
from surestep.scored import FloatArray, IntArray, problem_hash
from surestep.types import ROOT, ReasoningTree


@dataclass(frozen=True, eq=False)
class StepColumns:
    """What is known of each step before it is scored.

    Attributes:
        label, true_confidence: float64 [N], NaN where missing.
        num_ratings: int64 [N], 0 where there is no label.
        tree: int64 [N], which tree, in order.
        step, parent: int64 [N], index within the tree; a first step has parent -1.
        position: int64 [N], depth along the path, from 1.
        problem_key: uint64 [T], `problem_hash` of each tree's problem.
        tree_ids: T names.
    """

    label: FloatArray
    true_confidence: FloatArray
    num_ratings: IntArray
    tree: IntArray
    step: IntArray
    parent: IntArray
    position: IntArray
    problem_key: NDArray[np.uint64]
    tree_ids: Sequence[str]


def columns_of(trees: Sequence[ReasoningTree]) -> StepColumns:
    """The columns of any trees.

    >>> from surestep.types import chain
    >>> columns_of([chain("1+1?", ["one and one", "is 2"], [None, 1.0])]).position.tolist()
    [1, 2]
    """
    nodes = [node for tree in trees for node in tree.nodes]
    sizes = np.array([len(tree.nodes) for tree in trees], dtype=np.int64)
    tree_number = np.repeat(np.arange(len(trees), dtype=np.int64), sizes)
    return StepColumns(
        label=np.array([np.nan if node.confidence is None else node.confidence for node in nodes], np.float64),
        true_confidence=np.array([_or_nan(node.true_confidence) for node in nodes], np.float64),
        num_ratings=np.array([node.num_ratings for node in nodes], np.int64),
        tree=tree_number,
        step=np.arange(len(nodes), dtype=np.int64) - (np.cumsum(sizes) - sizes)[tree_number],
        parent=np.array([node.parent for node in nodes], np.int64),
        position=np.array([depth for tree in trees for depth in step_depths(tree)], np.int64),
        problem_key=np.array([problem_hash(problem_key(tree)) for tree in trees], np.uint64),
        tree_ids=[tree.id for tree in trees],
    )


def step_depths(tree: ReasoningTree) -> list[int]:
    """How many steps lead to each node, itself included: its position, from 1."""
    depths: list[int] = []
    for node in tree.nodes:
        depths.append(1 if node.parent == ROOT else depths[node.parent] + 1)
    return depths


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
