"""All trees of some files, read once and parked in a temporary file: every split of the same files takes its part.

Knows spelled trees and divisions by problem; knows no file's layout and no configuration.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from surestep.data.records.disk_list import DiskList
from surestep.data.records.reading_report import ReadReport, Watch, WatchedReport
from surestep.data.sources.hold_out import Division
from surestep.data.sources.spelled_trees import Seeds, SpelledTree
from surestep.data.trees.tree_columns import WaitingTree


class ParkedTrees:
    """Trees that wait on the disk; in memory, some 40 bytes are held of each, and 8 more for each seed.

    Args:
        reader: gives the trees of the files with their places for these seeds, counting into the report that it is
            given.
        seeds: of all divisions that parts will be taken by.
        watch: is told how far the reading is.

    Raises:
        DataError: as the reader.
    """

    def __init__(
        self,
        reader: Callable[[ReadReport, Seeds], Iterator[SpelledTree]],
        seeds: Iterable[int],
        *,
        watch: Watch | None = None,
    ) -> None:
        self._report = ReadReport() if watch is None else WatchedReport(watch=watch)
        self._trees = DiskList()
        self._places = {seed: array("Q") for seed in seeds}
        self._num_steps, self._num_labels, self._order = array("I"), array("I"), array("Q")
        self._text_hashes = array("Q")
        for tree in reader(self._report, tuple(self._places)):
            self._trees.append_spelled(tree.content)
            self._num_steps.append(tree.num_steps)
            self._num_labels.append(tree.num_labels)
            for places, where in zip(self._places.values(), tree.places, strict=True):
                places.append(where)
            self._order.extend(tree.order)
            self._text_hashes.append(tree.text_hash)

    def part(
        self, divisions: Iterable[Division], report: ReadReport, *, in_order: bool, dataset: str
    ) -> tuple[int, Iterator[WaitingTree]]:
        """How many trees are left by `divisions`, applied one after the other, and these; what was read is counted.

        Args:
            divisions: by seeds that were named.
            report: gets all that reading the files came to, with the trees of this part alone.
            in_order: by a hash of their problem's key, then of their content; else as they were read.
            dataset: the name of all trees' dataset.
        """
        whole = self._report.copy()
        kept = np.arange(len(self._trees))
        divisions = list(divisions)
        for division in divisions:
            kept = kept[division.keeps(np.array(self._places[division.seed], np.uint64)[kept])]
        if divisions:
            # The readers counted the whole file; what this split holds is less.
            for reason, number in (
                ("trees", len(kept)),
                ("steps", int(np.array(self._num_steps, np.int64)[kept].sum())),
                ("labels", int(np.array(self._num_labels, np.int64)[kept].sum())),
            ):
                whole.counts.pop(reason, None)
                whole.count(reason, number)
            whole.count("other_split", len(self._trees) - len(kept))
        report.merge(whole)
        if in_order:
            by_key, by_content = np.array(self._order, np.uint64).reshape(-1, 2)[kept].T
            kept = kept[np.lexsort((by_content, by_key))]
        return len(kept), self._chosen(kept, dataset)

    def _chosen(self, kept: NDArray[np.int64], dataset: str) -> Iterator[WaitingTree]:
        for index in map(int, kept):
            yield WaitingTree(self._trees.spelled(index), self._num_steps[index], dataset, self._text_hashes[index])

    def close(self) -> None:
        """Give the disk back."""
        self._trees.close()
