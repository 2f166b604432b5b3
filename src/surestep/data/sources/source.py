"""One split of one dataset: its files, reader and options, its trees, and a fingerprint of both.

Knows readers and divisions by problem; knows no configuration, tokenizer or training.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from surestep.data.datasets import DATASETS
from surestep.data.datasets.dataset import Split
from surestep.data.records.bad_rows import BadRows
from surestep.data.records.disk_list import DiskList
from surestep.data.records.reading_report import ReadReport
from surestep.data.sources.hold_out import Division, place
from surestep.data.trees.identity import VERSION as IDENTITY_VERSION
from surestep.data.trees.identity import key_of
from surestep.data.trees.text import VERSION as TEXT_VERSION
from surestep.errors import DataError
from surestep.files import sha256_of
from surestep.types import Node, ReasoningTree


@dataclass(frozen=True, slots=True)
class Source:
    """Everything that decides which trees a split of a dataset holds.

    Attributes:
        key: the dataset's name in the configuration (`use_<key>`, `<key>_weight`).
        name: the name shown in reports and given to the trees; differs from `key` for own data only.
        split: train, validation or test.
        reader: name of the dataset or layout whose reader reads it.
        files: what it reads; none where it generates.
        options: its keyword options.
        divisions: applied one after the other, each to what the one before left.
        bad_rows: what to do with a row that contradicts its layout (`read_rows`).
    """

    key: str
    name: str
    split: Split
    reader: str
    files: tuple[Path, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    divisions: tuple[Division, ...] = ()
    bad_rows: BadRows = "stop"

    def fingerprint(self) -> str:
        """SHA-256 over the files' bytes, the reader and its version, the options, the division, and the versions of
        how texts are cleaned and problems told apart.

        Equal fingerprints mean equal trees; where the files lie and what they are called does not matter,
        except for trees named after their file.
        """
        what = {
            "name": self.name,
            "split": self.split,
            "reader": self.reader,
            "version": DATASETS[self.reader].version,
            "options": dict(sorted(self.options.items())),
            "bad_rows": self.bad_rows,
            "texts": TEXT_VERSION,
            "problems": IDENTITY_VERSION,
            "divisions": [[part.fraction, part.seed, part.keep] for part in self.divisions],
            "files": [[path.name, sha256_of(path)] for path in self.files],
        }
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    def read(self, report: ReadReport) -> Iterator[ReasoningTree]:
        """The trees, each with `dataset` set to `name`.

        Where the file is divided, its trees wait in a temporary file until all problems are known.

        Raises:
            DataError: a file is broken, or holds nothing for this split.
        """
        is_empty = True
        for tree in self._trees(report):
            is_empty = False
            yield ReasoningTree(tree.problem, tree.nodes, id=tree.id, group=tree.group, dataset=self.name)
        if is_empty:
            files = ", ".join(map(str, self.files)) or self.reader
            raise DataError(f"{self.name}: no labelled problem for {self.split} in {files}; {_why(report)}")

    def _trees(self, report: ReadReport) -> Iterator[ReasoningTree]:
        read = DATASETS[self.reader].read
        assert read is not None, self.reader
        # What is generated has no rows.
        policy = {"bad_rows": self.bad_rows} if self.files else {}
        reader = partial(read, list(self.files), **policy, **self.options)
        if not self.divisions:
            yield from reader(report=report)
            return
        whole = ReadReport()
        waiting = DiskList()
        places = [array("Q") for _ in self.divisions]
        num_steps, num_labels = array("q"), array("q")
        for tree in reader(report=whole):
            waiting.append(_values_of(tree))
            num_steps.append(len(tree.nodes))
            num_labels.append(tree.num_labels)
            for division, column in zip(self.divisions, places, strict=True):
                # Without the dataset's name: what a file is called in a report moves no problem to the other side.
                column.append(place(division.seed, key_of(tree.problem, group=tree.group)))
        kept = np.arange(len(waiting))
        for division, column in zip(self.divisions, places, strict=True):
            kept = kept[division.keeps(np.array(column, np.uint64)[kept])]
        # The readers counted the whole file; what this split holds is less.
        for reason, number in (
            ("trees", len(kept)),
            ("steps", int(np.array(num_steps, np.int64)[kept].sum())),
            ("labels", int(np.array(num_labels, np.int64)[kept].sum())),
        ):
            whole.counts.pop(reason, None)
            whole.count(reason, number)
        whole.count("other_split", len(waiting) - len(kept))
        report.merge(whole)
        for index in kept:
            yield _tree_of(waiting[int(index)])
        waiting.close()


def _values_of(tree: ReasoningTree) -> list[Any]:
    """A tree without its dataset's name, as JSON can hold it."""
    nodes = [
        (node.text, node.parent, node.confidence, node.num_ratings, node.context, node.true_confidence)
        for node in tree.nodes
    ]
    return [tree.problem, nodes, tree.id, tree.group]


def _tree_of(values: list[Any]) -> ReasoningTree:
    problem, nodes, identity, group = values
    return ReasoningTree(problem, tuple(Node(*node) for node in nodes), id=identity, group=group)


def _why(report: ReadReport) -> str:
    return "; ".join(report.lines()) or "it holds no record"
