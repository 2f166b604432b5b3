"""Collecting the records of one problem, wherever in the files they stand, into one tree.

Knows trees and the order in which problems appeared; knows no file format.
"""

from __future__ import annotations

from collections.abc import Iterator

from surestep.data.build import TreeBuilder, finish
from surestep.data.jsonl import Record
from surestep.data.report import ReadReport
from surestep.types import ReasoningTree


class Problems:
    """One `TreeBuilder` a problem; problems are told apart by their exact text and name.

    Copies that differ in spacing or case become separate trees, which `ReasoningTree.problem_key` still
    keeps on one side of every split.
    """

    def __init__(self) -> None:
        self._builders: dict[tuple[str, str], TreeBuilder] = {}

    def builder(self, record: Record, problem: str, *, name: str = "", group: str = "") -> TreeBuilder:
        """The builder of the problem that `record` is about.

        Args:
            record: names the tree (file and line) where `name` is empty.
            problem: its text.
            name: the tree's own id, where the file gives one.
            group: see `ReasoningTree.group`.

        Raises:
            DataError: the problem is blank.
        """
        if not problem.strip():
            raise record.error("the problem is empty; allowed: text")
        builder = self._builders.get((name, problem))
        if builder is None:
            place = f"{record.path.name.split('.')[0]}:{record.number or record.line}"
            builder = self._builders[name, problem] = TreeBuilder(problem, id=name or place, group=group)
        return builder

    def trees(self, report: ReadReport, *, drop_unlabelled_tails: bool) -> Iterator[ReasoningTree]:
        """The trees in order of first appearance; a problem is forgotten as its tree is yielded."""
        while self._builders:
            builder = self._builders.pop(next(iter(self._builders)))
            if tree := finish(builder, report, drop_unlabelled_tails=drop_unlabelled_tails):
                yield tree
