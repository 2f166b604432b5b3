"""Collecting the records of one problem, wherever in the files they stand, into one tree.

Knows trees and the order in which problems appeared; knows no file format. Records wait in a temporary file, so that
what is held of each is some 50 bytes: where it waits, which problem it is about, and its place in the order.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from surestep.data.records.disk_list import DiskList, small_value_of
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import Record
from surestep.data.trees.text import clean_text, cleaned
from surestep.data.trees.tree_builder import TreeBuilder, counted, finished_columns
from surestep.data.trees.tree_columns import TreeColumns, spelled_number
from surestep.types import ROOT, ReasoningTree

_quoted = json.encoder.encode_basestring_ascii

SpelledProblem = tuple[str, list[str]]
"""The head of a problem's first record, and the bodies of all of its records; see `SpelledRecord`."""


class SpelledRecord(NamedTuple):
    """The steps of one record as JSON in ASCII.

    Attributes:
        key: of what tells problems apart (`key_of_text`).
        head: the problem's text, and the name of a tree that begins here.
        body: its group and its steps.
        num_cleaned: how many of its texts were cleaned.
    """

    key: tuple[int, int]
    head: str
    body: str
    num_cleaned: int


class RecordSteps:
    """The steps of one record, as `TreeBuilder.add` takes them; its indices count within the record.

    Args:
        record: names the tree (file and line) where `name` is empty.
        problem: its text, cleaned here.
        name: the tree's own id, where the file gives one.
        group: see `ReasoningTree.group`.

    Raises:
        DataError: the problem is blank.
    """

    __slots__ = ("_index", "added", "group", "name", "num_cleaned", "place", "problem")

    def __init__(self, record: Record, problem: str, *, name: str = "", group: str = "") -> None:
        self.problem = clean_text(problem)
        if not self.problem:
            raise record.error("the problem is empty; allowed: text")
        self.place = f"{record.path.name.split('.')[0]}:{record.number or record.line}"
        self.name = name
        self.group = group
        self.num_cleaned = int(self.problem != problem)
        self.added: list[tuple[int, str, int, float | None, str | None]] = []
        self._index: dict[tuple[int, str, str | None], int] = {}

    def add(self, text: str, parent: int = ROOT, *, confidence: float | None = None, context: str | None = None) -> int:
        """Adds one step, or one more rating of it, and returns its index; see `TreeBuilder.add`."""
        if context is None:  # nearly always, and there are millions of steps
            clean = clean_text(text)
            if clean is not text:
                self.num_cleaned += clean != text
                text = clean
        else:
            text, context, changed = cleaned(text, context)
            self.num_cleaned += changed
        steps = self._index
        index = steps.setdefault((parent, text, context), len(steps))
        if index == len(steps) - 1:
            if not text:
                raise ValueError("the step is empty")
            if not ROOT <= parent < index:
                raise ValueError(f"parent {parent} does not exist; allowed: -1 to {index - 1}")
        if confidence is not None and not 0.0 <= confidence <= 1.0:
            raise ValueError(f"confidence {confidence}; allowed: 0 to 1")
        self.added.append((index, text, parent, confidence, context))
        return index

    def spelled(self) -> SpelledRecord:
        """The record as it waits for the others of its problem."""
        return SpelledRecord(
            key_of_text(f"{len(self.name)} {self.name}{self.problem}"),
            f"[{_quoted(self.problem)}, {_quoted(self.name or self.place)}]",
            self._spelled_steps(),
            self.num_cleaned,
        )

    def _spelled_steps(self) -> str:
        """The group and the steps as `json.dumps` spells them, which takes a third longer for it."""
        steps = ", ".join(
            [
                f"[{number}, {_quoted(text)}, {parent}, {confidence!r}, null]"
                if context is None and type(confidence) is float
                else f"[{number}, {_quoted(text)}, {parent}, {spelled_number(confidence)}, "
                f"{'null' if context is None else _quoted(context)}]"
                for number, text, parent, confidence, context in self.added
            ]
        )
        return f"[{_quoted(self.group)}, [{steps}]]"

    def tree(self, report: ReadReport) -> ReasoningTree:
        """The record alone as a tree, labelled or not."""
        builder = TreeBuilder(self.problem, id=self.name or self.place, group=self.group)
        builder.replay(self.added)
        report.count("text_cleaned", self.num_cleaned)
        tree = builder.build(report)
        for reason, number in (("trees", 1), ("steps", len(tree.nodes)), ("labels", tree.num_labels)):
            report.count(reason, number)
        return tree


class Problems:
    """The records of each problem; problems are told apart by their exact (clean) text and name.

    Copies that differ in spelling become separate trees, which `problem_key` still keeps on one side of every split.
    The records of a problem are joined in the order of what they hold, so that the steps of a tree stand in the same
    order wherever its records stand in the file; only the name of a tree without one tells its first place.
    """

    def __init__(self) -> None:
        self._records = DiskList()
        self._keys = array("Q")
        self._num_cleaned = 0

    def add(self, steps: RecordSteps) -> None:
        """Take the steps of one record."""
        self.add_spelled(steps.spelled())

    def add_spelled(self, record: SpelledRecord) -> None:
        """The same of a record that was spelled before."""
        self._keys.extend(record.key)
        self._num_cleaned += record.num_cleaned
        self._records.append_spelled(record.head)
        self._records.append_spelled(record.body)

    def trees(self, report: ReadReport, *, drop_unlabelled_tails: bool) -> Iterator[ReasoningTree]:
        """The trees in order of first appearance, each made as it is asked for."""
        for spelled in self.spelled(report):
            found = merged(spelled, report, drop_unlabelled_tails=drop_unlabelled_tails)
            if found is not None:
                yield found.tree()

    def spelled(self, report: ReadReport) -> Iterator[SpelledProblem]:
        """The problems in order of first appearance, to be `merged`."""
        report.count("text_cleaned", self._num_cleaned)
        keys, self._keys = np.array(self._keys, np.uint64).reshape(-1, 2), array("Q")
        groups = grouped(keys)
        report.expect("trees", len(keys))  # at most: one a record
        del keys
        spelled = self._records.spelled
        for records in groups:
            numbers = records.tolist()
            yield spelled(2 * numbers[0]), [spelled(2 * number + 1) for number in numbers]
        self._records.close()


def merged(spelled: SpelledProblem, report: ReadReport, *, drop_unlabelled_tails: bool) -> TreeColumns | None:
    """The tree of a problem's records; None (counted) where none of its steps carries a label."""
    head, bodies = spelled
    problem, identity = small_value_of(head)
    parts = list(map(small_value_of, sorted(bodies)))  # sorted as they are spelled
    alone = _of_one(problem, identity, *parts[0]) if len(parts) == 1 else None
    if alone is not None and not (drop_unlabelled_tails and alone.num_labels < len(alone.texts)):
        return counted(alone, report)
    # Of several groups that records name for one problem, the first by name, and none only where none does.
    group = min((group for group, _ in parts if group), default="")
    builder = TreeBuilder(problem, id=identity, group=group)
    for _, added in parts:
        builder.replay(added)
    return finished_columns(builder, report, drop_unlabelled_tails=drop_unlabelled_tails)


def _of_one(problem: str, identity: str, group: str, added: list[list[Any]]) -> TreeColumns | None:
    """The tree of an only record; None where it has a step twice, or none."""
    if not added:
        return None
    numbers, texts, parents, labels, contexts = map(list, zip(*added, strict=True))
    if numbers != list(range(len(added))):
        return None
    if set(map(type, labels)) != {float}:
        labels = [None if label is None else float(label) for label in labels]
    num_ratings = [int(label is not None) for label in labels]
    unknown = [None] * len(added)
    return TreeColumns(problem, texts, parents, labels, num_ratings, contexts, unknown, id=identity, group=group)


def key_of_text(text: str) -> tuple[int, int]:
    """128 bits for a text, as two numbers: that two texts of a dataset ever share them is out of the question."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")


def grouped(keys: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Indices of the records of each key, in order; the keys by their first record.

    Args:
        keys: 128 bits of each record, as two columns.
    """
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable, so equal keys keep their order
    keys = keys[order]
    is_first = np.ones(len(keys), bool)
    is_first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    starts, ends = np.flatnonzero(is_first), np.append(np.flatnonzero(is_first)[1:], len(keys))
    del keys, is_first
    for group in np.argsort(order[starts]):
        yield order[starts[group] : ends[group]]
