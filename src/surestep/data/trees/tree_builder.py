"""Merging steps into one tree: the same step after the same steps is one node.

Knows trees and ratings; knows no file. Columns instead of objects keep memory proportional to the
text: a node costs its text and about 200 bytes until `build` makes the tree.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator

from surestep.data.records.reading_report import ReadReport
from surestep.data.trees.text import clean_text, cleaned
from surestep.types import ROOT, Node, ReasoningTree


class TreeBuilder:
    """Collects the steps written under one problem; `build` makes the tree.

    A step added again (same parent, same text, same context, all compared as `clean_text` leaves them) becomes the
    same node. Its confidence is the mean of all its ratings, each given as `confidence` of one `add`: the exact sum,
    rounded once, so that their order changes nothing.

    >>> builder = TreeBuilder("1+1?")
    >>> first = builder.add("It is 2.", confidence=1.0)
    >>> builder.add("It is 2.\\n", confidence=0.0) == first
    True
    >>> builder.build(ReadReport()).nodes[0].confidence
    0.5
    """

    __slots__ = ("_again", "_contexts", "_first", "_index", "_num_cleaned", "_num_ratings", "_parents", "_texts",
                 "group", "id", "problem")  # fmt: skip

    def __init__(self, problem: str, *, id: str = "", group: str = "") -> None:
        self.problem = clean_text(problem)
        self.id = id
        self.group = group
        self._num_cleaned = int(self.problem != problem)
        self._texts: list[str] = []
        self._parents = array("q")
        self._first = array("d")
        self._num_ratings = array("q")
        self._contexts: dict[int, str] = {}
        # All ratings of the nodes rated more than once.
        self._again: dict[int, array[float]] = {}
        self._index: dict[tuple[int, str] | tuple[int, str, str], int] = {}

    def __len__(self) -> int:
        """Number of distinct steps so far."""
        return len(self._texts)

    def add(self, text: str, parent: int = ROOT, *, confidence: float | None = None, context: str | None = None) -> int:
        """Adds one step, or one more rating of it, and returns its index.

        Args:
            text: the step as written, not blank; cleaned here.
            parent: index of the step before it, or `ROOT`.
            confidence: one rating in [0, 1], or None for an unrated occurrence.
            context: evidence shown in front of the step; cleaned here, and none where it is blank.
        """
        text, context, changed = cleaned(text, context)
        self._num_cleaned += changed
        key = (parent, text) if context is None else (parent, text, context)
        index = self._index.get(key)
        if index is None:
            if not text:
                raise ValueError("the step is empty")
            if not ROOT <= parent < len(self._texts):
                raise ValueError(f"parent {parent} does not exist; allowed: -1 to {len(self._texts) - 1}")
            index = self._index[key] = len(self._texts)
            self._texts.append(text)
            self._parents.append(parent)
            self._first.append(0.0)
            self._num_ratings.append(0)
            if context is not None:
                self._contexts[index] = context
        if confidence is not None:
            self._rate(index, confidence)
        return index

    def _rate(self, index: int, confidence: float) -> None:
        if not 0.0 <= confidence <= 1.0:
            raise ValueError(f"confidence {confidence}; allowed: 0 to 1")
        if self._num_ratings[index] == 0:
            self._first[index] = confidence
        else:
            self._again.setdefault(index, array("d", [self._first[index]])).append(confidence)
        self._num_ratings[index] += 1

    def _confidence(self, index: int) -> float | None:
        if (count := self._num_ratings[index]) <= 1:
            return self._first[index] if count else None
        # The mean of floats in [0, 1] may leave it by a rounding error only in its last bit.
        return min(1.0, math.fsum(self._again[index]) / count)

    def chains(self) -> Iterator[list[str]]:
        """The texts along the path to every leaf so far."""
        inner = set(self._parents)
        for leaf in range(len(self._texts)):
            if leaf not in inner:
                texts, index = [], leaf
                while index != ROOT:
                    texts.append(self._texts[index])
                    index = self._parents[index]
                yield texts[::-1]

    def build(self, report: ReadReport, *, drop_unlabelled_tails: bool = False) -> ReasoningTree:
        """The tree, in the order in which steps were added.

        Args:
            report: counts the texts that were cleaned, the steps rated again, those in conflict and what is
                dropped here.
            drop_unlabelled_tails: drop steps that carry no label and lead to no labelled step.
        """
        keep = self._kept(drop_unlabelled_tails)
        report.count("text_cleaned", self._num_cleaned)
        report.count("unlabelled_tail", len(self._texts) - sum(keep))
        report.count("rated_again", len(self._again))
        report.count("rating_conflict", sum(min(ratings) != max(ratings) for ratings in self._again.values()))
        nodes: list[Node] = []
        place = array("q", [ROOT]) * len(self._texts)
        for index, kept in enumerate(keep):
            if not kept:
                continue
            place[index] = len(nodes)
            parent = self._parents[index]
            nodes.append(
                Node(
                    self._texts[index],
                    ROOT if parent == ROOT else place[parent],
                    self._confidence(index),
                    self._num_ratings[index],
                    self._contexts.get(index),
                )
            )
        return ReasoningTree(self.problem, tuple(nodes), id=self.id, group=self.group)

    def _kept(self, drop_unlabelled_tails: bool) -> bytearray:
        if not drop_unlabelled_tails:
            return bytearray(b"\x01") * len(self._texts)
        # Parents come before children, so one pass from the end carries "leads to a label" upwards.
        keep = bytearray(bool(count) for count in self._num_ratings)
        for index in range(len(keep) - 1, -1, -1):
            if keep[index] and self._parents[index] != ROOT:
                keep[self._parents[index]] = 1
        return keep


def finish(builder: TreeBuilder, report: ReadReport, *, drop_unlabelled_tails: bool = False) -> ReasoningTree | None:
    """Builds and counts a tree; None (counted) where none of its steps carries a label."""
    tree = builder.build(report, drop_unlabelled_tails=drop_unlabelled_tails)
    if tree.num_labels == 0:
        report.count("tree_without_labels", where=builder.id or None)
        return None
    report.count("trees")
    report.count("steps", len(tree.nodes))
    report.count("labels", tree.num_labels)
    return tree
