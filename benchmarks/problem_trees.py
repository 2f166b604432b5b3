"""Problem trees of any size, made of random tokens, for measuring how time and memory grow with a tree."""

from __future__ import annotations

import numpy as np

from surestep.bench.example_work import random_tree
from surestep.encoding.encoded_tree import EncodedTree, preorder
from surestep.types import ROOT, Node, ReasoningTree


def problem_tree(nodes: int, random: np.random.Generator, *, num_ids: int, confidence_id: int) -> EncodedTree:
    """A problem tree of `nodes` nodes, the problem included, as several labelling records of one problem make it.

    Each solution starts at the problem or at a step of an earlier one; 0 to 5 alternatives stand beside each of its
    steps and end there. Solutions are added until the tree has its size.
    """
    parents: list[int] = []
    inner: list[int] = []
    while len(parents) < nodes - 1:
        parent = inner[int(random.integers(len(inner)))] if inner and random.random() < 0.5 else ROOT
        for _ in range(int(random.integers(4, 22))):
            following = len(parents)
            parents += [parent] * (1 + int(random.integers(0, 6)))
            inner.append(following)
            parent = following
    parents = parents[: nodes - 1]
    order = preorder(ReasoningTree("problem", tuple(Node("step", parent) for parent in parents)))
    place = {ROOT: 0} | {index: rank for rank, index in enumerate(order, start=1)}
    lengths = np.clip(random.lognormal(3.3, 0.6, nodes), 5, 300).astype(np.int64)
    lengths[0] = int(random.integers(40, 140))
    return random_tree(
        np.concatenate([[0], np.cumsum(lengths)]),
        np.array([-1] + [place[parents[index]] for index in order]),
        random,
        num_ids=num_ids,
        confidence_id=confidence_id,
    )
