"""Token sequences that begin alike, as one tree: what they share is computed once, whatever made them.

Each step of a tree is scored at the last token of a sequence of its own: all that the model sees up to there. A causal
model gives the same there, whether it reads the sequence alone or as a path of this tree. Knows tokens; knows no text.

Shapes: `N` steps of the reasoning tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from surestep.encoding.encoded_tree import EncodedTree
from surestep.scored import FloatArray

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SequenceTree:
    """Sequences as a tree.

    Attributes:
        encoded: its `source_N` is the step that a node's last token scores.
        same_as: steps whose sequence is another step's, which alone stands in the tree.
    """

    encoded: EncodedTree
    same_as: dict[int, int]

    def all_steps(self, raw: FloatArray, num_steps: int) -> FloatArray:
        """The scores of all N steps, from those of `encoded`, which may end before the last steps."""
        raw_N = np.full(num_steps, np.nan)
        raw_N[: len(raw)] = raw
        for step, other in self.same_as.items():
            raw_N[step] = raw_N[other]
        return raw_N


@dataclass
class _Nodes:
    segments: list[Tokens] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)

    def add(self, segment: Tokens, parent: int, source: int) -> int:
        self.segments.append(segment)
        self.parents.append(parent)
        self.sources.append(source)
        return len(self.segments) - 1


def tree_of_sequences(sequences: Sequence[Tokens], labels: Sequence[float | None]) -> SequenceTree:
    """The tree of N sequences, each of at least two tokens, with the label of each step.

    >>> tree = tree_of_sequences([(1, 2, 3), (1, 2, 3, 4, 5), (1, 2, 6)], [None, 1.0, None]).encoded
    >>> tree.tokens_T.tolist(), tree.parent_N.tolist(), tree.source_N.tolist()
    ([1, 2, 3, 4, 5, 6], [-1, 0, 1, 2, 1], [-1, -1, 0, 1, 2])
    """
    first: dict[Tokens, int] = {}
    same_as = {}
    for step, sequence in enumerate(sequences):
        if first.setdefault(sequence, step) != step:
            same_as[step] = first[sequence]
    wanted = [np.nan if label is None else float(label) for label in labels]
    for step, other in same_as.items():  # whoever asks for labelled steps only asks for this one too
        if np.isnan(wanted[other]):
            wanted[other] = wanted[step]
    nodes = _nodes_of(sorted(first), first)
    lengths = [len(segment) for segment in nodes.segments]
    encoded = EncodedTree(
        tokens_T=np.fromiter((token for segment in nodes.segments for token in segment), np.int32),
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
        parent_N=np.array(nodes.parents, np.int32),
        label_N=np.array([np.nan if source < 0 else wanted[source] for source in nodes.sources], np.float64),
        source_N=np.array(nodes.sources, np.int32),
    )
    return SequenceTree(encoded, same_as)


def _nodes_of(ordered: Sequence[Tokens], first: dict[Tokens, int]) -> _Nodes:
    """Nodes in preorder: a sequence sorts right before those that it begins."""
    nodes = _Nodes()
    # The first token is a node of its own: node 0 stands for the problem, which is never scored and never dropped.
    waiting = [(low, high, 0, -1) for low, high in _groups(ordered, 0, len(ordered), 0)[::-1]]
    while waiting:
        low, high, depth, parent = waiting.pop()
        end = 1 if depth == 0 else _shared(ordered[low], ordered[high - 1])
        ends_here = len(ordered[low]) == end
        node = nodes.add(ordered[low][depth:end], parent, first[ordered[low]] if ends_here else -1)
        rest = _groups(ordered, low + ends_here, high, end)
        waiting += [(*group, end, node) for group in rest[::-1]]
    return nodes


def _groups(ordered: Sequence[Tokens], low: int, high: int, depth: int) -> list[tuple[int, int]]:
    """Runs of sequences with the same token at `depth`."""
    starts = [i for i in range(low, high) if i == low or ordered[i][depth] != ordered[i - 1][depth]]
    return list(zip(starts, [*starts[1:], high], strict=True)) if starts else []


def _shared(one: Tokens, other: Tokens) -> int:
    """How many tokens both begin with."""
    length = min(len(one), len(other))
    differ = np.flatnonzero(np.array(one[:length]) != np.array(other[:length]))
    return int(differ[0]) if len(differ) else length
