"""Random trees, for Hypothesis and for plain seeds."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from hypothesis import strategies as st

from surestep.encoding.encoded_tree import EncodedTree
from surestep.types import ROOT, Node, ReasoningTree

NUM_TOKEN_IDS = 200
"""Ids below this occur in every tiny backbone's embedding."""

CONFIDENCE_ID = 300
"""Stands for the `<CONFIDENCE>` token where trees are made without a tokenizer."""

_WORDS = ("add ", "sub ", "x = ", "3", "7", " + ", "so ", "thus ", "é", "√2 ", "\n", "(a, b) ", "therefore ")

confidences = st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1, width=32))
"""A label as the readers make it: missing, one of PRM800K's three, or a soft one."""

texts = st.lists(st.sampled_from(_WORDS), min_size=1, max_size=6).map(lambda words: "".join(words) + ".")
"""Short texts that hold more than spaces."""


@st.composite
def trees(draw: st.DrawFn, *, min_nodes: int = 1, max_nodes: int = 8) -> ReasoningTree:
    """Trees of any shape, labels present or missing, some steps with evidence."""
    nodes = []
    for index in range(draw(st.integers(min_nodes, max_nodes))):
        confidence = draw(confidences)
        nodes.append(
            Node(
                text=draw(texts),
                parent=draw(st.integers(ROOT, index - 1)),
                confidence=confidence,
                num_ratings=int(confidence is not None),
                context=draw(st.one_of(st.none(), texts)),
            )
        )
    return ReasoningTree(draw(texts), tuple(nodes))


@st.composite
def encoded_trees(draw: st.DrawFn, *, max_nodes: int = 10, max_length: int = 6) -> EncodedTree:
    """Token trees made without a tokenizer; the problem alone (one node) among them."""
    parents = [ROOT]
    depth_of = [0]
    for index in range(1, draw(st.integers(1, max_nodes))):
        # In preorder a node's parent is the node before it or one of that node's ancestors.
        ancestors = [index - 1]
        while parents[ancestors[-1]] != ROOT:
            ancestors.append(parents[ancestors[-1]])
        parents.append(draw(st.sampled_from(ancestors)))
        depth_of.append(depth_of[parents[-1]] + 1)
    lengths = [draw(st.integers(1, max_length)) for _ in parents]
    labels: list[Any] = [draw(confidences) for _ in parents]
    return encoded_tree(parents, lengths, labels, random.Random(draw(st.integers(0, 2**16))))


def encoded_tree(parents: list[int], lengths: list[int], labels: list[float | None], rng: random.Random) -> EncodedTree:
    """Random tokens in the shape of `parents` (in preorder) and `lengths`; the problem's label is ignored."""
    tokens: list[int] = []
    for node, length in enumerate(lengths):
        segment = [rng.randrange(1, NUM_TOKEN_IDS) for _ in range(length)]
        tokens += segment if node == 0 else [*segment[:-1], CONFIDENCE_ID]
    values = [np.nan if value is None or node == 0 else value for node, value in enumerate(labels)]
    return EncodedTree(
        tokens_T=np.array(tokens, np.int32),
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
        parent_N=np.array(parents, np.int32),
        label_N=np.array(values, np.float32),
        source_N=np.arange(-1, len(parents) - 1, dtype=np.int32),
    )


def random_tree(seed: int, *, num_nodes: int = 10, branching: float = 0.5) -> ReasoningTree:
    """A tree drawn from `seed`; `branching` is how often a step does not follow the one before it."""
    rng = random.Random(seed)
    nodes = []
    for index in range(num_nodes):
        parent = rng.randint(ROOT, index - 1) if rng.random() < branching else index - 1
        confidence = rng.choice([None, 0.0, 0.5, 1.0, round(rng.random(), 3)])
        text = "".join(rng.choices(_WORDS, k=rng.randint(1, 6))) + f"step {index}."
        context = f"fact {rng.randint(0, 9)}" if rng.random() < 0.2 else None
        nodes.append(Node(text, parent, confidence, int(confidence is not None), context))
    return ReasoningTree(f"problem {seed}: {rng.randint(0, 99)}?", tuple(nodes), id=f"tree-{seed}")
