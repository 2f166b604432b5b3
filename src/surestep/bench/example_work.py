"""The work that a benchmark measures: examples of random tokens, their lengths and branches those of real data.

Drawn by seed, so that another program can be given the very same lengths (`chain_lengths`). The tokens are noise:
what is learned from them is nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from surestep.encoding.encoded_tree import EncodedTree
from surestep.encoding.limits import LimitLoss
from surestep.encoding.token_store import TreeStore
from surestep.training.training_sets import RunData, TrainingSet

MEAN_LOG_LENGTH, SPREAD_LOG_LENGTH = 5.2, 0.7
"""Lengths are log-normal: a mean of about 235 tokens, a few beyond 1,000, as PRM800K, REVEAL and eQASC mix."""

SHORTEST, LONGEST = 24, 2048
TOKENS_PER_STEP = 30


def chain_lengths(count: int, seed: int = 0, *, longest: int = LONGEST) -> list[int]:
    """Tokens of `count` examples.

    >>> chain_lengths(3)
    [194, 91, 102]
    """
    random = np.random.default_rng([seed, 1])
    lengths = random.lognormal(MEAN_LOG_LENGTH, SPREAD_LOG_LENGTH, count)
    return [int(length) for length in np.clip(lengths, SHORTEST, longest)]


def chain(length: int, random: np.random.Generator, *, num_ids: int, confidence_id: int) -> EncodedTree:
    """A problem and its steps in one path, a step about every 30 tokens, each with a random soft label."""
    steps = max(1, length // TOKENS_PER_STEP - 1)
    offsets = np.linspace(0, length, steps + 2).astype(np.int64)
    return random_tree(offsets, np.arange(-1, steps), random, num_ids=num_ids, confidence_id=confidence_id)


def bushy(random: np.random.Generator, *, num_ids: int, confidence_id: int) -> EncodedTree:
    """A problem tree such as PRM800K's phase 1: a path of about a dozen steps, each with alternatives that end there.

    In preorder, the long path first.
    """
    depth = int(random.integers(4, 22))
    path = list(range(-1, depth))
    branches = [parent for parent in range(depth - 1, -1, -1) for _ in range(int(random.integers(0, 6)))]
    parents = np.array(path + branches)
    lengths = np.clip(random.lognormal(3.3, 0.6, len(parents)), 5, 300).astype(np.int64)
    lengths[0] = int(random.integers(40, 140))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return random_tree(offsets, parents, random, num_ids=num_ids, confidence_id=confidence_id)


def candidates(
    count: int, random: np.random.Generator, *, num_ids: int, confidence_id: int, prompt: int = 150, steps: int = 8
) -> EncodedTree:
    """`count` solutions of one problem, as best-of-N scores them: a shared problem, and nothing shared behind it."""
    parents = [-1] + [
        0 if step == 0 else 1 + number * steps + step - 1 for number in range(count) for step in range(steps)
    ]
    lengths = np.full(len(parents), TOKENS_PER_STEP, np.int64)
    lengths[0] = prompt
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return random_tree(offsets, np.array(parents), random, num_ids=num_ids, confidence_id=confidence_id)


def paths_of(tree: EncodedTree) -> list[EncodedTree]:
    """Every leaf's path as a chain of its own: what a program without trees has to run."""
    found = []
    for leaf in sorted(set(range(tree.num_nodes)) - set(tree.parent_N.tolist())):
        keep = np.zeros(tree.num_nodes, bool)
        node = leaf
        while node >= 0:
            keep[node] = True
            node = int(tree.parent_N[node])
        found.append(tree.select(keep))
    return found


def random_tree(
    offsets: np.ndarray[tuple[int], np.dtype[np.int64]],
    parents: np.ndarray[tuple[int], np.dtype[np.int64]],
    random: np.random.Generator,
    *,
    num_ids: int,
    confidence_id: int,
) -> EncodedTree:
    """Random tokens and labels on nodes in preorder; `offsets` [N + 1] in tokens, `parents` [N], -1 for the problem."""
    tokens = random.integers(0, num_ids, int(offsets[-1])).astype(np.int32)
    tokens[tokens == confidence_id] = 0
    tokens[offsets[2:] - 1] = confidence_id
    labels = random.random(len(parents))
    labels[0] = np.nan
    return EncodedTree(
        tokens_T=tokens,
        offsets=offsets.astype(np.int64),
        parent_N=parents.astype(np.int32),
        label_N=labels,
        source_N=np.arange(-1, len(parents) - 1, dtype=np.int32),
    )


def run_data(trees: Sequence[EncodedTree]) -> RunData:
    """The examples as a run reads them."""
    labels = sum(tree.num_labels for tree in trees)
    label_sum = float(sum(np.nansum(tree.label_N) for tree in trees))
    examples = TrainingSet(
        name="bench",
        share=1.0,
        store=cast(TreeStore, trees),  # read by index, as a store is
        chosen=np.arange(len(trees)),
        max_length=2**31 - 1,
        max_steps=None,
        loss=LimitLoss(labels=labels),
        label_sum=label_sum,
    )
    return RunData(training={"bench": examples}, validation={})
