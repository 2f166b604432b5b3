"""One split of one dataset: its files, reader and options, its trees, and a fingerprint of both.

Trees come in an order that follows from what they hold, not from where they stand in the file: rows in another order
are the same split, and train to the same weights. Knows readers and divisions by problem; knows no configuration,
tokenizer or training.
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
from surestep.data.records.row_file import RowFile
from surestep.data.sources.hold_out import Division, place
from surestep.data.trees.identity import VERSION as IDENTITY_VERSION
from surestep.data.trees.identity import key_of
from surestep.data.trees.text import VERSION as TEXT_VERSION
from surestep.errors import DataError
from surestep.files import sha256_of
from surestep.types import Node, ReasoningTree

ORDER_VERSION = 1
"""Changes whenever the order of the trees of a split, or of the steps within one, does; part of every fingerprint."""


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
        columns: what the files' columns are called, name in the layout -> name in the file.
        about: sentences on where the files come from and how their layout was found, for people.
    """

    key: str
    name: str
    split: Split
    reader: str
    files: tuple[Path, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    divisions: tuple[Division, ...] = ()
    bad_rows: BadRows = "stop"
    columns: Mapping[str, str] = field(default_factory=dict)
    about: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """SHA-256 over the files' bytes, the reader and its version, the options, the division, and the versions of
        how texts are cleaned and problems told apart.

        Equal fingerprints mean equal trees with equal names; where the files lie does not matter, but a tree without a
        name is named after its file.
        """
        return _hash([self._reading(), [[path.name, sha256_of(path)] for path in self.files]])

    def content(self) -> SourceContent:
        """What decides the trees, their names left out: a file that is called otherwise holds the same ones."""
        files = [[_layout_suffix(path), sha256_of(path)] for path in self.files]
        return SourceContent(files=_hash(files)[:32], reading=_hash(self._reading())[:32])

    def _reading(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "split": self.split,
            "reader": self.reader,
            "version": DATASETS[self.reader].version,
            "options": dict(sorted(self.options.items())),
            "bad_rows": self.bad_rows,
            "texts": TEXT_VERSION,
            "problems": IDENTITY_VERSION,
            "order": ORDER_VERSION,
            **({"columns": dict(sorted(self.columns.items()))} if self.columns else {}),
            "divisions": [[part.fraction, part.seed, part.keep] for part in self.divisions],
        }

    def read(self, report: ReadReport) -> Iterator[ReasoningTree]:
        """The trees, each with `dataset` set to `name`, in the order of a hash of their problem's key, then of their
        content; those that are generated, in the order of their generator.

        They wait in a temporary file until all are known; in memory, some 40 bytes are held of each.

        Raises:
            DataError: a file is broken, or holds nothing for this split.
        """
        is_empty = True
        for sentence in self.about:
            report.note(sentence)
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
        files = [RowFile(path, self.columns) for path in self.files] if self.columns else list(self.files)
        reader = partial(read, files, **policy, **self.options)
        if not self.files and not self.divisions:
            yield from reader(report=report)
            return
        whole = ReadReport()
        waiting = DiskList()
        places = [array("Q") for _ in self.divisions]
        num_steps, num_labels, order = array("q"), array("q"), array("Q")
        for tree in reader(report=whole):
            values = _values_of(tree)
            waiting.append(values)
            num_steps.append(len(tree.nodes))
            num_labels.append(tree.num_labels)
            # Without the dataset's name: what a file is called in a report moves no problem to the other side.
            key = key_of(tree.problem, group=tree.group)
            for division, column in zip(self.divisions, places, strict=True):
                column.append(place(division.seed, key))
            order.extend((_number(key), _number(json.dumps(values[:-1]))))
        kept = np.arange(len(waiting))
        for division, column in zip(self.divisions, places, strict=True):
            kept = kept[division.keeps(np.array(column, np.uint64)[kept])]
        if self.divisions:
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
        if self.files:
            by_key, by_content = np.array(order, np.uint64).reshape(-1, 2)[kept].T
            kept = kept[np.lexsort((by_content, by_key))]
        for index in kept:
            yield _tree_of(waiting[int(index)])
        waiting.close()


@dataclass(frozen=True, slots=True)
class SourceContent:
    """Hashes of what decides the trees of a split, 32 hexadecimal digits each.

    Attributes:
        files: of the files' bytes.
        reading: of everything else: reader, options, division, and the versions of each.
    """

    files: str
    reading: str

    def __str__(self) -> str:
        return self.files + self.reading


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _number(text: str) -> int:
    """A place among 2^64 for a text: as good as any other, and the same for ever."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _layout_suffix(path: Path) -> str:
    """The ending that says how a file is read."""
    return next((suffix.lower() for suffix in reversed(path.suffixes) if suffix.lower() != ".gz"), "")


def _values_of(tree: ReasoningTree) -> list[Any]:
    """A tree without its dataset's name, as JSON can hold it; its id last, which may be its place in the file."""
    nodes = [
        (node.text, node.parent, node.confidence, node.num_ratings, node.context, node.true_confidence)
        for node in tree.nodes
    ]
    return [tree.problem, nodes, tree.group, tree.id]


def _tree_of(values: list[Any]) -> ReasoningTree:
    problem, nodes, group, identity = values
    return ReasoningTree(problem, tuple(Node(*node) for node in nodes), id=identity, group=group)


def _why(report: ReadReport) -> str:
    return "; ".join(report.lines()) or "it holds no record"
