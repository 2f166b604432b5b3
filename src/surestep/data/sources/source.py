"""One split of one dataset: its files, reader and options, its trees, and a fingerprint of both.

Trees come in an order that follows from what they hold, not from where they stand in the file: rows in another order
are the same split, and train to the same weights. Knows readers and divisions by problem; knows no configuration,
tokenizer or training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from surestep.data.datasets import DATASETS
from surestep.data.datasets.dataset import Split
from surestep.data.records.bad_rows import BadRows
from surestep.data.records.helper_process import HelperProcess, helpers, helpers_for
from surestep.data.records.reading_report import ReadReport, Watch
from surestep.data.records.row_file import RowFile
from surestep.data.sources.hold_out import Division
from surestep.data.sources.parked_trees import ParkedTrees
from surestep.data.sources.spelled_trees import Seeds, SpelledTree, spelled_tree, spelled_trees
from surestep.data.trees.identity import VERSION as IDENTITY_VERSION
from surestep.data.trees.text import VERSION as TEXT_VERSION
from surestep.data.trees.tree_columns import TreeColumns, WaitingTree
from surestep.errors import DataError
from surestep.files import sha256_of
from surestep.types import ReasoningTree

_Tree = TypeVar("_Tree", ReasoningTree, WaitingTree)

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
        if self.is_streamed:
            yield from self.not_empty(self._streamed(report), report)
            return
        with self.helping() as started:
            parked = self.park(started=started)
        for tree in self.part_of(parked, report)[1]:
            yield tree.columns().tree()
        parked.close()

    @property
    def is_streamed(self) -> bool:
        """Whether trees are used as they are made: nothing is read, and nothing divided."""
        return not self.files and not self.divisions

    def reads_like(self, other: Source) -> bool:
        """Whether both read the same trees of the same files, and differ in what they take of them at most."""

        def read(source: Source) -> tuple[Any, ...]:
            return (source.reader, source.files, source.bad_rows, dict(source.columns), dict(source.options))

        return not (self.is_streamed or other.is_streamed) and read(self) == read(other)

    @contextmanager
    def helping(self) -> Iterator[list[HelperProcess]]:
        """Processes that help reading, and storing what is read; ended when the block is left."""
        with helpers(self._num_helpers(), _readers) as started:
            yield started

    def park(
        self, *, others: Iterable[Source] = (), watch: Watch | None = None, started: Sequence[HelperProcess] = ()
    ) -> ParkedTrees:
        """All trees of the files, for this source and for `others` that read alike.

        Args:
            others: whose parts will be taken too.
            watch: is told how far the reading is.
            started: of `helping`.

        Raises:
            DataError: a file is broken.
        """
        seeds = dict.fromkeys(division.seed for source in (self, *others) for division in source.divisions)
        return ParkedTrees(partial(self._spelled, started=started), seeds, watch=watch)

    def _num_helpers(self) -> int:
        """Processes that help reading: what is not merged by problem is read by one, and so is what is soon read."""
        return 0 if DATASETS[self.reader].problem_rows is None else helpers_for(self.files)

    def _spelled(self, report: ReadReport, seeds: Seeds, *, started: Sequence[HelperProcess]) -> Iterator[SpelledTree]:
        problem_rows = DATASETS[self.reader].problem_rows
        if problem_rows is None:
            return (spelled_tree(TreeColumns.of(tree), seeds) for tree in self._reader()(report=report))
        rows = problem_rows(**self.options)
        problems = rows.problems(self._row_files(), report=report, bad_rows=self.bad_rows, started=started)
        drop = rows.drop_unlabelled_tails
        return spelled_trees(problems, report, seeds, drop_unlabelled_tails=drop, started=started)

    def part_of(self, parked: ParkedTrees, report: ReadReport) -> tuple[int, Iterator[WaitingTree]]:
        """How many of the parked trees are this source's, and these.

        Raises:
            DataError: when the first is asked for, where there is none.
        """
        for sentence in self.about:
            report.note(sentence)
        count, trees = parked.part(self.divisions, report, in_order=bool(self.files), dataset=self.name)
        return count, self.not_empty(trees, report)

    def not_empty(self, trees: Iterable[_Tree], report: ReadReport) -> Iterator[_Tree]:
        """The same trees.

        Raises:
            DataError: there is none; `report` says why.
        """
        is_empty = True
        for tree in trees:
            is_empty = False
            yield tree
        if is_empty:
            files = ", ".join(map(str, self.files)) or self.reader
            raise DataError(f"{self.name}: no labelled problem for {self.split} in {files}; {_why(report)}")

    def _streamed(self, report: ReadReport) -> Iterator[ReasoningTree]:
        for sentence in self.about:
            report.note(sentence)
        for tree in self._reader()(report=report):
            yield ReasoningTree(tree.problem, tree.nodes, id=tree.id, group=tree.group, dataset=self.name)

    def _reader(self) -> Callable[..., Iterator[ReasoningTree]]:
        read = DATASETS[self.reader].read
        assert read is not None, self.reader
        # What is generated has no rows.
        policy = {"bad_rows": self.bad_rows} if self.files else {}
        return partial(read, self._row_files(), **policy, **self.options)

    def _row_files(self) -> list[Any]:
        return [RowFile(path, self.columns) for path in self.files] if self.columns else list(self.files)


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


def _readers() -> int:
    """How many readers there are: asked of a helper, it imports them."""
    return len(DATASETS)


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _layout_suffix(path: Path) -> str:
    """The ending that says how a file is read."""
    return next((suffix.lower() for suffix in reversed(path.suffixes) if suffix.lower() != ".gz"), "")


def _why(report: ReadReport) -> str:
    return "; ".join(report.lines()) or "it holds no record"
