"""A tree as arrays: tokens in depth-first preorder, each node's tokens contiguous.

Shapes: `T` tokens of the tree, `N` nodes, the problem being node 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surestep.data.trees.tree_columns import AnyTree, TreeColumns, as_columns
from surestep.encoding.formatter import Formatter
from surestep.encoding.tokenizer import StepTokenizer
from surestep.types import ROOT, ReasoningTree

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]
LabelArray = NDArray[np.float64]
Segment = tuple[int, ...]
"""The tokens of one node: of a problem, or of a step with its `<CONFIDENCE>` token."""


@dataclass(frozen=True, slots=True)
class EncodedTree:
    """One problem's tree, or a piece of it; or what stands below a step or a problem, as a tree of several roots.

    Attributes:
        tokens_T: token ids; the last token of every node but the problem is `<CONFIDENCE>`.
        offsets: int64 [N + 1]; node `n` holds tokens `offsets[n]` to `offsets[n + 1]`.
        parent_N: index of each node's parent, -1 for the problem and for every other root; smaller than the node's own
            index.
        label_N: confidence in [0, 1] as given, float64, NaN where missing.
        source_N: index of the node in its `ReasoningTree`; -1 for the problem, and for a step that stands
            here only as the prefix of others (`cut_tree`) and is scored elsewhere.
    """

    tokens_T: IntArray
    offsets: NDArray[np.int64]
    parent_N: IntArray
    label_N: LabelArray
    source_N: IntArray

    @property
    def num_tokens(self) -> int:
        """Tokens in the tree, every shared prefix counted once."""
        return len(self.tokens_T)

    @property
    def num_nodes(self) -> int:
        """Nodes, the problem included."""
        return len(self.parent_N)

    @property
    def num_labels(self) -> int:
        """Nodes that carry a confidence."""
        return int(np.count_nonzero(~np.isnan(self.label_N)))

    def path_ends(self) -> NDArray[np.int64]:
        """int64 [N]: tokens on the path from the start of its root (the problem) to the end of each node."""
        return path_ends(np.diff(self.offsets), self.parent_N)

    def depths(self) -> IntArray:
        """[N]: how many steps lead to each node, itself included; 0 for the problem, as for every root."""
        depth = [0] * self.num_nodes
        for node, above in enumerate(self.parent_N.tolist()):
            if above >= 0:
                depth[node] = depth[above] + 1
        return np.array(depth, np.int32)

    def select(self, keep: NDArray[np.bool_], *, prefix: NDArray[np.bool_] | None = None) -> EncodedTree:
        """The tree of the nodes where `keep` [N] is true; `prefix` [N] marks those that are scored elsewhere.

        `keep` must hold every kept node's parent, and the problem.
        """
        kept = np.flatnonzero(keep)
        new_index = np.full(self.num_nodes + 1, -1, np.int32)  # the last entry answers parent -1
        new_index[kept] = np.arange(len(kept), dtype=np.int32)
        lengths = np.diff(self.offsets)
        label, source = self.label_N, self.source_N
        if prefix is not None:
            label, source = (
                np.where(prefix, np.nan, label),
                np.where(prefix, np.int32(-1), source),
            )
        return EncodedTree(
            tokens_T=self.tokens_T[np.repeat(keep, lengths)],
            offsets=np.concatenate([[0], np.cumsum(lengths[kept])]).astype(np.int64),
            parent_N=new_index[self.parent_N[kept]],
            label_N=label[kept].astype(np.float64),
            source_N=source[kept],
        )


@dataclass(frozen=True, slots=True)
class EncodedTrees:
    """Trees one after another; `T` and `N` count tokens and nodes of all, `B` trees.

    Attributes:
        tokens_T, label_N, source_N: as in `EncodedTree`.
        length_N: int64, tokens of each node.
        parent_N: as in `EncodedTree`: indices within the node's own tree.
        size_B: int64, nodes of each tree.
    """

    tokens_T: IntArray
    length_N: NDArray[np.int64]
    parent_N: IntArray
    label_N: LabelArray
    source_N: IntArray
    size_B: NDArray[np.int64]

    def first_nodes(self) -> NDArray[np.int64]:
        """int64 [B]: the place of each tree's first node, its problem."""
        first: NDArray[np.int64] = np.cumsum(self.size_B) - self.size_B
        return first

    def first_tokens(self) -> NDArray[np.int64]:
        """int64 [B]: the place of each tree's first token."""
        return (np.cumsum(self.length_N) - self.length_N)[self.first_nodes()]

    def trees(self) -> Iterator[EncodedTree]:
        """Each alone, in arrays of its own, so that one that is kept keeps no other."""
        offsets = np.concatenate([[0], np.cumsum(self.length_N)])
        for first, size in zip(self.first_nodes().tolist(), self.size_B.tolist(), strict=True):
            end = first + size
            yield EncodedTree(
                self.tokens_T[offsets[first] : offsets[end]].copy(),
                offsets[first : end + 1] - offsets[first],
                self.parent_N[first:end].copy(),
                self.label_N[first:end].copy(),
                self.source_N[first:end].copy(),
            )


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes of many trees one after another, without their tokens; here `N` counts all of them.

    Attributes:
        tree_N: int64, which tree, in order, a node belongs to.
        length_N: int64, tokens of each node.
        parent_N: int64, index of each node's parent among these nodes, -1 for a problem.
        label_N: confidence in [0, 1], NaN where missing.
        source_N: int64, index of each node in its `ReasoningTree`, -1 for a problem.
        num_trees: how many trees.
    """

    tree_N: NDArray[np.int64]
    length_N: NDArray[np.int64]
    parent_N: NDArray[np.int64]
    label_N: LabelArray
    source_N: NDArray[np.int64]
    num_trees: int


def path_ends(length_N: NDArray[np.integer], parent_N: NDArray[np.integer]) -> NDArray[np.int64]:
    """int64 [N]: tokens on the path from the start of its root to the end of each node, parents before children.

    For some trees; `path_sums` is the same for so many that a number at a time would be slow.
    """
    ends = length_N.tolist()  # numbers of Python: one at a time, they are the faster ones
    for node, above in enumerate(parent_N.tolist()):
        if above >= 0:
            ends[node] += ends[above]
    return np.array(ends, np.int64)


def path_sums(values: NDArray[Any], parent: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [N]: the sum of `values` along the path from each node up to its problem, both included.

    Each round adds what the ancestor twice as far away has gathered, so a path of 1,000 nodes takes 10 rounds.

    >>> path_sums(np.array([5, 1, 1, 7, 2]), np.array([-1, 0, 1, -1, 3])).tolist()
    [5, 6, 7, 7, 9]
    """
    total = values.astype(np.int64)
    above = parent.copy()
    while len(rest := np.flatnonzero(above >= 0)):
        ancestor = above[rest]
        total[rest] += total[ancestor]
        above[rest] = above[ancestor]
    return total


def preorder(tree: ReasoningTree) -> list[int]:
    """`order_of` the tree's nodes."""
    return order_of([node.parent for node in tree.nodes])


def order_of(parents: Sequence[int]) -> list[int]:
    """Indices of a tree's nodes in depth-first preorder, the sibling with most steps below it first.

    So the long path of a tree with many short branches lies in one piece, the branches behind it: blocks of keys
    that a later block of queries sees are then seen as a whole, and branches are seen by nobody else. Siblings of
    equal size stand in the order they were written.
    """
    sizes = [1] * (len(parents) + 1)  # the last one, which nobody asks for, is the problem's
    children: dict[int, list[int]] = {}
    for index in range(len(parents) - 1, -1, -1):
        sizes[parents[index]] += sizes[index]
    for index, parent in enumerate(parents):
        children.setdefault(parent, []).append(index)
    for siblings in children.values():
        if len(siblings) > 1:
            siblings.sort(key=lambda index: -sizes[index])
    order: list[int] = []
    stack = children.get(ROOT, [])[::-1]
    while stack:
        index = stack.pop()
        order.append(index)
        stack += children.get(index, [])[::-1]
    return order


def encode_trees(trees: Sequence[AnyTree], tokenizer: StepTokenizer, formatter: Formatter) -> list[EncodedTree]:
    """Tokenise every problem and step on its own and join them by ids.

    Joining as text instead would let the tokenizer merge the end of a step with what follows it.
    """
    return list(encode_together(trees, tokenizer, formatter).trees())


def encode_together(trees: Sequence[AnyTree], tokenizer: StepTokenizer, formatter: Formatter) -> EncodedTrees:
    """`encode_trees`, one after another in the same arrays."""
    texts, nodes = laid_out([as_columns(tree) for tree in trees], formatter)
    return nodes.with_tokens(*tokenizer.encode_joined(texts), tokenizer)


@dataclass(frozen=True, slots=True)
class NodesOfTrees:
    """What `EncodedTrees` holds of trees beside their tokens."""

    parent_N: IntArray
    label_N: LabelArray
    source_N: IntArray
    size_B: NDArray[np.int64]

    def with_tokens(self, tokens: IntArray, lengths: NDArray[np.int64], tokenizer: StepTokenizer) -> EncodedTrees:
        """The trees, with the tokens of the texts of their nodes and what the tokenizer puts around these.

        Args:
            tokens: of all nodes, one after another.
            lengths: how many each node has.
            tokenizer: that made them.
        """
        is_problem = np.zeros(len(self.parent_N), bool)
        is_problem[np.cumsum(self.size_B) - self.size_B] = True
        framed = _framed(tokens, lengths, is_problem, tokenizer)
        return EncodedTrees(*framed, self.parent_N, self.label_N, self.source_N, self.size_B)


def laid_out(trees: Sequence[TreeColumns], formatter: Formatter) -> tuple[list[str], NodesOfTrees]:
    """The texts of all nodes of trees in the order of their tokens, and these nodes."""
    texts: list[str] = []
    parents: list[int] = []
    labels: list[float | None] = []
    sources: list[int] = []
    sizes: list[int] = []
    for tree in trees:
        num_steps = len(tree.parents)
        sizes.append(num_steps + 1)
        texts.append(formatter.format_problem(tree.problem))
        parents.append(-1)
        labels.append(None)
        sources.append(-1)
        if list(tree.parents) == list(range(-1, num_steps - 1)):  # one path, which is in order
            texts += map(formatter.format_step, tree.texts, tree.contexts)
            parents += range(num_steps)
            labels += tree.confidences
            sources += range(num_steps)
            continue
        order = order_of(tree.parents)
        place = [0] * (num_steps + 1)  # the last one is where parent -1 finds the problem
        for rank, index in enumerate(order, start=1):
            place[index] = rank
        texts += [formatter.format_step(tree.texts[i], tree.contexts[i]) for i in order]
        parents += [place[tree.parents[i]] for i in order]
        labels += [tree.confidences[i] for i in order]
        sources += order
    # Of None, NumPy makes NaN.
    return texts, NodesOfTrees(
        np.array(parents, np.int32),
        np.array(labels, np.float64),
        np.array(sources, np.int32),
        np.array(sizes, np.int64),
    )


def _framed(
    tokens: IntArray, lengths: NDArray[np.int64], is_problem: NDArray[np.bool_], tokenizer: StepTokenizer
) -> tuple[IntArray, NDArray[np.int64]]:
    """Tokens of texts, one after another, with what stands around a problem and behind a step; and their lengths."""
    before, behind = tokenizer.prefix_ids, tokenizer.suffix_ids
    framed_lengths = lengths + np.where(is_problem, len(before) + len(behind), 1)
    ends = np.cumsum(framed_lengths)
    starts = ends - framed_lengths
    framed = np.empty(int(framed_lengths.sum()), np.int32)
    is_text = np.ones(len(framed), bool)
    added = [(starts[is_problem] + place, token) for place, token in enumerate(before)]
    added += [(ends[is_problem] - place, token) for place, token in enumerate(reversed(behind), start=1)]
    added.append((ends[~is_problem] - 1, tokenizer.confidence_id))
    for places, token in added:
        framed[places] = token
        is_text[places] = False
    framed[is_text] = tokens
    return framed, framed_lengths


def encode_problem(problem: str, tokenizer: StepTokenizer, formatter: Formatter) -> Segment:
    """The tokens of a problem, as they open its tree."""
    (ids,) = tokenizer.encode([formatter.format_problem(problem)])
    return (*tokenizer.prefix_ids, *ids, *tokenizer.suffix_ids)


def encode_steps(
    steps: Sequence[tuple[str, str | None]], tokenizer: StepTokenizer, formatter: Formatter
) -> list[Segment]:
    """The tokens of steps without their problem: of each its text and its evidence, as in a tree."""
    encoded = tokenizer.encode([formatter.format_step(text, context) for text, context in steps])
    return [_step_segment(ids, tokenizer) for ids in encoded]


def forest(segments: Sequence[Segment], parents: Sequence[int], *, wanted: Sequence[bool]) -> EncodedTree:
    """Pieces of text that are tokens already, as a tree of as many roots as `parents` has -1.

    Args:
        segments: the tokens of each node, in depth-first preorder.
        parents: index of each node's parent, -1 for a root.
        wanted: which nodes are scored; a node's `source_N` is its index then, else -1.
    """
    index = np.arange(len(segments), dtype=np.int32)
    return EncodedTree(
        *_joined(segments),
        parent_N=np.array(parents, np.int32),
        label_N=np.full(len(segments), np.nan),
        source_N=np.where(np.array(wanted, bool), index, np.int32(-1)),
    )


def _step_segment(ids: list[int], tokenizer: StepTokenizer) -> Segment:
    return (*ids, tokenizer.confidence_id)


def _joined(segments: Sequence[Segment]) -> tuple[IntArray, NDArray[np.int64]]:
    """All tokens one after another, and where each segment begins."""
    offsets = np.cumsum([0] + [len(segment) for segment in segments], dtype=np.int64)
    return np.fromiter(chain.from_iterable(segments), np.int32, count=int(offsets[-1])), offsets
