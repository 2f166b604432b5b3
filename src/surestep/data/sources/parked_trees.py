"""All trees of some files, read once and parked in a temporary file: every split of the same files takes its part.

Knows readers' trees and divisions by problem; knows no file's layout and no configuration.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from surestep.data.records.disk_list import DiskList
from surestep.data.records.reading_report import ReadReport, Watch, WatchedReport
from surestep.data.sources.hold_out import Division, place
from surestep.data.trees.identity import key_of
from surestep.types import Node, ReasoningTree


class ParkedTrees:
    """Trees that wait on the disk; in memory, some 40 bytes are held of each, and 8 more for each seed.

    Args:
        reader: gives the trees of the files, counting into the report that it is given.
        seeds: of all divisions that parts will be taken by.
        watch: is told how far the reading is.

    Raises:
        DataError: as the reader.
    """

    def __init__(
        self,
        reader: Callable[[ReadReport], Iterator[ReasoningTree]],
        seeds: Iterable[int],
        *,
        watch: Watch | None = None,
    ) -> None:
        self._report = ReadReport() if watch is None else WatchedReport(watch=watch)
        self._trees = DiskList()
        self._places = {seed: array("Q") for seed in seeds}
        self._num_steps, self._num_labels, self._order = array("q"), array("q"), array("Q")
        for tree in reader(self._report):
            self._park(tree)

    def _park(self, tree: ReasoningTree) -> None:
        # Its id last, which may be its place in the file and so tells nothing of what the tree holds.
        content = json.dumps([tree.problem, [_values_of(node) for node in tree.nodes], tree.group])
        self._trees.append_spelled(f"{content[:-1]}, {json.dumps(tree.id)}]")
        self._num_steps.append(len(tree.nodes))
        self._num_labels.append(tree.num_labels)
        # Without the dataset's name: what a file is called in a report moves no problem to the other side.
        key = key_of(tree.problem, group=tree.group)
        for seed, places in self._places.items():
            places.append(place(seed, key))
        self._order.extend((_number(key), _number(content)))

    def part(
        self, divisions: Iterable[Division], report: ReadReport, *, in_order: bool, dataset: str
    ) -> tuple[int, Iterator[ReasoningTree]]:
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
        return len(kept), (_tree_of(self._trees[int(index)], dataset) for index in kept)

    def close(self) -> None:
        """Give the disk back."""
        self._trees.close()


def _values_of(node: Node) -> tuple[Any, ...]:
    return (node.text, node.parent, node.confidence, node.num_ratings, node.context, node.true_confidence)


def _tree_of(values: list[Any], dataset: str) -> ReasoningTree:
    problem, nodes, group, identity = values
    return ReasoningTree(problem, tuple(Node(*node) for node in nodes), id=identity, group=group, dataset=dataset)


def _number(text: str) -> int:
    """A place among 2^64 for a text: as good as any other, and the same for ever."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
