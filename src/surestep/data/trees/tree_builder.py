"""Merging steps into one tree: the same step after the same steps is one node.

Knows trees and ratings; knows no file. Columns instead of objects keep memory proportional to the
text: a node costs its text and about 200 bytes until `build` makes the tree.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from surestep.data.records.reading_report import ReadReport
from surestep.data.trees.text import clean_text, cleaned
from surestep.data.trees.tree_columns import TreeColumns
from surestep.types import ROOT, ReasoningTree


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

    def replay(self, added: Iterable[Sequence[Any]]) -> None:
        """Adds the steps of one record, checked and clean: what `RecordSteps` holds of each (`added`)."""
        places: list[int] = []
        find, texts, num_ratings = self._index.get, self._texts, self._num_ratings
        for number, text, parent, confidence, context in added:
            if parent != ROOT:
                parent = places[parent]
            key = (parent, text) if context is None else (parent, text, context)
            index = find(key)
            if index is None:
                index = self._index[key] = len(texts)
                texts.append(text)
                self._parents.append(parent)
                self._first.append(0.0 if confidence is None else confidence)
                num_ratings.append(0 if confidence is None else 1)
                if context is not None:
                    self._contexts[index] = context
            elif confidence is not None:
                self._rate(index, confidence)
            if number == len(places):
                places.append(index)

    def build(self, report: ReadReport, *, drop_unlabelled_tails: bool = False) -> ReasoningTree:
        """The tree, in the order in which steps were added; see `columns`."""
        return self.columns(report, drop_unlabelled_tails=drop_unlabelled_tails).tree()

    def columns(self, report: ReadReport, *, drop_unlabelled_tails: bool = False) -> TreeColumns:
        """The tree as columns, in the order in which steps were added.

        Args:
            report: counts the texts that were cleaned, the steps rated again, those in conflict and what is
                dropped here.
            drop_unlabelled_tails: drop steps that carry no label and lead to no labelled step.
        """
        keep = self._kept(drop_unlabelled_tails)
        num_dropped = len(keep) - sum(keep)
        report.count("text_cleaned", self._num_cleaned)
        report.count("unlabelled_tail", num_dropped)
        report.count("rated_again", len(self._again))
        report.count("rating_conflict", sum(min(ratings) != max(ratings) for ratings in self._again.values()))
        texts, parents, num_ratings = self._texts, self._parents.tolist(), self._num_ratings.tolist()
        confidences = [value if count else None for value, count in zip(self._first, num_ratings, strict=True)]
        for index, ratings in self._again.items():
            # The mean of floats in [0, 1] may leave it by a rounding error only in its last bit.
            confidences[index] = min(1.0, math.fsum(ratings) / num_ratings[index])
        contexts: list[str | None] = [None] * len(texts)
        for index, context in self._contexts.items():
            contexts[index] = context
        if num_dropped:
            place = [ROOT, *itertools.accumulate(keep)]  # of each step behind its own, so that ROOT finds the first
            parents = [place[parent + 1] - (parent != ROOT) for parent in itertools.compress(parents, keep)]
            texts, num_ratings = list(itertools.compress(texts, keep)), list(itertools.compress(num_ratings, keep))
            confidences = list(itertools.compress(confidences, keep))
            contexts = list(itertools.compress(contexts, keep))
        return TreeColumns(
            self.problem,
            list(texts),
            parents,
            confidences,
            num_ratings,
            contexts,
            [None] * len(texts),
            id=self.id,
            group=self.group,
        )

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
    found = finished_columns(builder, report, drop_unlabelled_tails=drop_unlabelled_tails)
    return None if found is None else found.tree()


def finished_columns(builder: TreeBuilder, report: ReadReport, *, drop_unlabelled_tails: bool) -> TreeColumns | None:
    """The same as columns."""
    return counted(builder.columns(report, drop_unlabelled_tails=drop_unlabelled_tails), report)


def counted(found: TreeColumns, report: ReadReport) -> TreeColumns | None:
    """A tree, counted; None (counted) where none of its steps carries a label."""
    num_labels = found.num_labels
    if num_labels == 0:
        report.count("tree_without_labels", where=found.id or None)
        return None
    report.count("trees")
    report.count("steps", len(found.texts))
    report.count("labels", num_labels)
    return found
