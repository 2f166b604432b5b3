"""Trees to packs: many trees in one row of tokens, isolated by two numbers per token.

Every token has a `position` (its depth in tokens along its path) and a `subtree_end` (the index just past the
last token of its node's subtree). Then

    query q may see key k   iff   k <= q  and  q < subtree_end[k]

is exactly "k is q, or an ancestor position of q in the same tree":

    tree        problem ── a ── b          tokens      P P a a b c c
                       └── c               position    0 1 2 3 4 2 3
                                           subtree_end 7 7 5 5 5 7 7

Shapes: `P` tokens of the pack, `S` labelled steps in it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surestep.encoding.encoded_tree import EncodedTree, IntArray, LabelArray, Nodes, path_ends, path_sums


@dataclass(frozen=True, slots=True)
class Pack:
    """One forward pass worth of trees.

    Attributes:
        tokens_P, positions_P, subtree_end_P: as above; `subtree_end` counts from the start of the pack.
        tree_starts: where each tree begins, and the end of the last one.
        label_index_S: where the `<CONFIDENCE>` token of each wanted step stands.
        length_S: how many tokens each of them has, that one included.
        labels_S: confidence in [0, 1], float64, NaN where a step is scored without a label.
        tree_S: which tree of the pack, in order, a step belongs to.
        source_S: index of the step in its `ReasoningTree`.
    """

    tokens_P: IntArray
    positions_P: IntArray
    subtree_end_P: IntArray
    tree_starts: IntArray
    label_index_S: IntArray
    length_S: IntArray
    labels_S: LabelArray
    tree_S: IntArray
    source_S: IntArray

    @property
    def num_tokens(self) -> int:
        """Tokens that go through the backbone."""
        return len(self.tokens_P)


def subtree_ends(parent: NDArray[np.integer], offsets: NDArray[np.integer]) -> NDArray[np.int64]:
    """int64 [N]: the token index just past each node's subtree, for nodes in preorder; there may be several roots.

    >>> subtree_ends(np.array([-1, 0, 1, 0, -1]), np.array([0, 2, 4, 5, 7, 8])).tolist()
    [7, 5, 5, 7, 8]
    """
    last, parents = offsets[1:].tolist(), parent.tolist()  # numbers of Python: one at a time, they are the faster ones
    for node in range(len(parents) - 1, -1, -1):
        above = parents[node]
        if above >= 0 and last[above] < last[node]:
            last[above] = last[node]
    return np.array(last, np.int64)


def pack_trees(
    trees: Sequence[EncodedTree], *, every_step: bool = False, first_positions: Sequence[int] | None = None
) -> Pack:
    """Lay trees one after another; `every_step` asks for unlabelled steps as well.

    `first_positions` are the positions of each tree's roots: 0 for a problem (the default), else the number of tokens
    on the path above them.
    """
    first_tokens = np.cumsum([0, *(tree.num_tokens for tree in trees)])
    first_nodes = np.cumsum([0, *(tree.num_nodes for tree in trees)])
    # All trees at once: numpy takes longer to be asked than to answer for one.
    of_tree_N = np.repeat(np.arange(len(trees)), np.diff(first_nodes))
    offsets = _join([tree.offsets[1:] for tree in trees], np.int64) + first_tokens[of_tree_N]
    parent_N = _join([tree.parent_N for tree in trees], np.int64)
    parent_N = np.where(parent_N < 0, -1, parent_N + first_nodes[of_tree_N])
    offsets = np.concatenate([[0], offsets])
    lengths = np.diff(offsets)
    first_position_N = path_ends(lengths, parent_N) - lengths
    if first_positions is not None:
        first_position_N = first_position_N + np.asarray(first_positions, np.int64)[of_tree_N]
    source_N = _join([tree.source_N for tree in trees], np.int32)
    labels_N = _join([tree.label_N for tree in trees], np.float64)
    wanted = source_N >= 0 if every_step else ~np.isnan(labels_N)
    return Pack(
        tokens_P=_join([tree.tokens_T for tree in trees], np.int32),
        positions_P=(np.arange(offsets[-1]) + np.repeat(first_position_N - offsets[:-1], lengths)).astype(np.int32),
        subtree_end_P=np.repeat(subtree_ends(parent_N, offsets), lengths).astype(np.int32),
        tree_starts=first_tokens.astype(np.int32),
        label_index_S=(offsets[1:][wanted] - 1).astype(np.int32),
        length_S=lengths[wanted].astype(np.int32),
        labels_S=labels_N[wanted],
        tree_S=of_tree_N[wanted].astype(np.int32),
        source_S=source_N[wanted],
    )


def _join(parts: Sequence[Any], dtype: Any) -> Any:
    return np.concatenate(parts, dtype=dtype) if parts else np.zeros(0, dtype)


def plan_packs(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Group items into few packs of at most `budget` tokens, and of about equal size.

    First-fit decreasing (Johnson, 1973) says how many; the longest item goes to the emptiest pack then (Graham, 1969),
    where that fits the budget too, because a small pack that is left over keeps a GPU waiting. Every index appears
    once; an item larger than `budget` gets a pack of its own. Ties keep their order, so the plan depends on nothing
    but the sizes.

    >>> plan_packs([3, 7, 5, 4], budget=10)
    [[1, 0], [2, 3]]
    """
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    alone = [[item] for item in order if sizes[item] > budget]
    order = order[len(alone) :]
    packs = _first_fit(sizes, order, budget)
    return alone + (_evened(sizes, order, len(packs), budget) or packs)


def _evened(sizes: Sequence[int], order: Sequence[int], count: int, budget: int) -> list[list[int]] | None:
    """`count` packs of about equal size; None where that breaks the budget."""
    packs: list[list[int]] = [[] for _ in range(count)]
    loads = [(0, number) for number in range(count)]
    for item in order:
        load, number = heapq.heappop(loads)
        if load + sizes[item] > budget:
            return None
        packs[number].append(item)
        heapq.heappush(loads, (load + sizes[item], number))
    return packs


def _first_fit(sizes: Sequence[int], order: Sequence[int], budget: int) -> list[list[int]]:
    packs: list[list[int]] = []
    room: list[int] = []
    for item in order:
        place = next((i for i, free in enumerate(room) if free >= sizes[item]), None)
        if place is None:
            packs.append([item])
            room.append(budget - sizes[item])
        else:
            packs[place].append(item)
            room[place] -= sizes[item]
    return packs


def tree_costs(nodes: Nodes, keep: NDArray[np.bool_], *, attention: float = 0.0) -> NDArray[np.float64]:
    """What each of many trees costs to run, in tokens: its own, and what its tokens attend to.

    Args:
        nodes: of all the trees.
        keep: [N] which of them are in use; a kept node's parent is kept, too.
        attention: what a token costs more for each token before it on its path, in tokens (2 D L / P of a transformer
            with hidden size D, L layers and P weights in products).

    >>> chain = Nodes(np.array([0, 0]), np.array([4, 2]), np.array([-1, 0]), np.zeros(2), np.zeros(2, int), 1)
    >>> tree_costs(chain, np.array([True, True]), attention=0.5).tolist()  # 6 tokens, which see 6 * 6 / 2
    [15.0]
    """
    ends = path_sums(nodes.length_N, nodes.parent_N)
    seen = nodes.length_N * (ends - nodes.length_N / 2)
    of_node = np.where(keep, nodes.length_N + attention * seen, 0.0)
    return np.bincount(nodes.tree_N, of_node, minlength=nodes.num_trees).astype(np.float64)


def even_shares(costs: Sequence[float], count: int) -> list[list[int]]:
    """Items of these costs in `count` shares of about equal cost, each in rising order; every item in one share.

    The costliest item goes to the cheapest share (Graham, 1969): none costs more than the mean plus one item, and none
    is empty where there are as many items as shares. Ties keep their order, so all who plan it find the same.

    >>> even_shares([9.0, 1.0, 4.0, 5.0], 2)
    [[0, 1], [2, 3]]
    """
    shares: list[list[int]] = [[] for _ in range(count)]
    loads = [(0.0, 0, number) for number in range(count)]
    for item in sorted(range(len(costs)), key=lambda i: -costs[i]):
        load, items, number = heapq.heappop(loads)
        shares[number].append(item)
        heapq.heappush(loads, (load + costs[item], items + 1, number))
    return [sorted(share) for share in shares]
