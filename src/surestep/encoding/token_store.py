"""Trees of a split on disk, as tokens and as texts: written once, memory-mapped ever after.

A store is a folder named by the hash of all that decides its content (files, reader options, formatter,
tokenizer). It is written beside its final place and renamed, so a killed run leaves a whole store or none; opening one
compares every file with the hashes in `meta.json` (`store_files`).
Writing and reading one keep memory at the size of the trees in use, whatever the dataset's size. Knows no dataset.

    meta.json         the reader's report, what turned text to tokens, size and sha256 of every file
    of a tree         tree_node, tree_token: int64, its first node and token
                      problem_key, text_hash: uint64, hashes of its problem's key and of its problem's text
                      id, group, dataset, problem: UTF-8
    of a node, in     tokens: int32   node_length: int32, tokens of each node
    preorder          parent: int32   source: int32, its step; -1 for the problem   label: float64, NaN where missing
    of a step, in     num_ratings: int32   true_confidence: float64, NaN where unknown
    the tree's order  step, context: UTF-8   has_context: uint8

A text column `x` is two files: `x.bin`, the bytes of all its texts, and `x_start.bin`, int64, where each begins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surestep.arrays import distinct
from surestep.collector import seldom_collecting
from surestep.data.records.helper_process import HelperProcess
from surestep.data.trees.tree_columns import AnyTree
from surestep.disk import advice_after
from surestep.encoding.encoded_tree import EncodedTree, Nodes, path_sums
from surestep.encoding.formatter import Formatter
from surestep.encoding.step_columns import StepColumns
from surestep.encoding.store_arrays import DTYPES, TEXTS, write_arrays
from surestep.encoding.store_files import (
    META,
    DamagedStoreError,
    meta_text,
    put_in_place,
    read_whole_store,
    remove_damaged,
    unfinished,
)
from surestep.encoding.tokenizer import StepTokenizer
from surestep.errors import StorageError
from surestep.types import Node, ReasoningTree

STORE_VERSION = 7
_CHUNK_LABELS = 2**20
_Array = NDArray[Any]


class StoredTexts(Sequence[str]):
    """Texts that stay on disk until they are asked for: their bytes, and where each begins."""

    def __init__(self, content: _Array, starts: _Array) -> None:
        self._content, self._starts = content, starts

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return bytes(self._content[self._starts[index] : self._starts[index + 1]]).decode("utf-8", "surrogatepass")


class TreeStore(Sequence[EncodedTree]):
    """Trees of one split, in the order they were read; `tree` gives their texts back, `columns` their numbers.

    Attributes:
        ids: the id of each tree in its dataset.
        text_hashes: uint64, of each tree's problem text; equal for copies of a problem, whatever their groups.
        problem_keys: uint64, of each tree's problem (`problem_keys.problem_key`).
        text_format: hashes of the formatter and the tokenizer that made the tokens.
        notes: what was stored with them (`write_store(notes=...)`).

    Raises:
        DamagedStoreError: a file is missing, cut or changed since it was written.
    """

    def __init__(self, folder: Path) -> None:
        meta = read_whole_store(folder, version=STORE_VERSION, names=[f"{name}.bin" for name in DTYPES])
        self.folder = folder
        self.notes: dict[str, Any] = meta["notes"]
        self.text_format: tuple[str, str] = tuple(meta["text_format"])
        self._arrays: dict[str, _Array] = {
            name: np.memmap(folder / f"{name}.bin", dtype, "r")
            if (folder / f"{name}.bin").stat().st_size
            else np.zeros(0, dtype)
            for name, dtype in DTYPES.items()
        }
        self._texts = {name: StoredTexts(self._arrays[name], self._arrays[f"{name}_start"]) for name in TEXTS}
        self.ids = self._texts["id"]
        self.text_hashes: NDArray[np.uint64] = self._arrays["text_hash"]
        self.problem_keys: NDArray[np.uint64] = self._arrays["problem_key"]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> EncodedTree:  # type: ignore[override]
        index = self._checked(index)
        arrays = self._arrays
        first, last = arrays["tree_node"][index], arrays["tree_node"][index + 1]
        start, end = arrays["tree_token"][index], arrays["tree_token"][index + 1]
        return EncodedTree(
            tokens_T=np.asarray(arrays["tokens"][start:end]),
            offsets=np.concatenate([[0], np.cumsum(arrays["node_length"][first:last], dtype=np.int64)]),
            parent_N=np.asarray(arrays["parent"][first:last]),
            label_N=np.asarray(arrays["label"][first:last]),
            source_N=np.asarray(arrays["source"][first:last]),
        )

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return index % len(self)

    def tree(self, index: int) -> ReasoningTree:
        """The tree as it was read."""
        index = self._checked(index)
        columns = self.columns(np.array([index], np.int64))
        first = self._first_step(index)
        nodes = tuple(
            Node(
                text=self._texts["step"][first + step],
                parent=parent,
                confidence=None if np.isnan(label) else label,
                num_ratings=ratings,
                context=self._context(first + step),
                true_confidence=None if np.isnan(true) else true,
            )
            for step, (parent, label, ratings, true) in enumerate(
                zip(
                    columns.parent.tolist(),
                    columns.label.tolist(),
                    columns.num_ratings.tolist(),
                    columns.true_confidence.tolist(),
                    strict=True,
                )
            )
        )
        texts = self._texts
        return ReasoningTree(
            texts["problem"][index],
            nodes,
            id=self.ids[index],
            group=texts["group"][index],
            dataset=texts["dataset"][index],
        )

    def problem_text(self, index: int) -> str:
        """The problem of a tree."""
        return self._texts["problem"][index]

    def step_text(self, index: int, step: int) -> str:
        """A step of a tree."""
        return self._texts["step"][self._first_step(index) + step]

    def step_context(self, index: int, step: int) -> str | None:
        """The evidence shown in front of a step of a tree."""
        return self._context(self._first_step(index) + step)

    def group(self, index: int) -> str:
        """The group of a tree, "" where it names none."""
        return self._texts["group"][index]

    def _context(self, row: int) -> str | None:
        return self._texts["context"][row] if self._arrays["has_context"][row] else None

    def _first_step(self, index: int) -> int:
        # Every tree before it has one node that is no step: its problem.
        return int(self._arrays["tree_node"][index]) - index

    def num_steps(self, index: int) -> int:
        """Steps of a tree, its problem not counted."""
        first, last = self._arrays["tree_node"][self._checked(index) : self._checked(index) + 2]
        return int(last - first) - 1

    def tree_tokens(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens of each of the trees with these numbers, a shared prefix counted once."""
        starts: NDArray[np.int64] = self._arrays["tree_token"]
        return starts[numbers + 1] - starts[numbers]

    def num_ratings(self, tree: int | NDArray[np.int64], step: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many ratings the label of each of these steps is the mean of, 0 where it has none.

        Args:
            tree: the number of the tree, one for all steps or one for each.
            step: their indices in their trees.
        """
        first = self._arrays["tree_node"][tree] - tree  # every tree before it has one node that is no step
        found: NDArray[np.int64] = self._arrays["num_ratings"][first + step].astype(np.int64)
        return found

    def nodes(self, numbers: NDArray[np.int64]) -> Nodes:
        """The nodes of the trees with these numbers, in this order, without their tokens."""
        arrays = self._arrays
        first = arrays["tree_node"][numbers]
        count = arrays["tree_node"][numbers + 1] - first
        start = np.cumsum(count) - count
        tree_N = np.repeat(np.arange(len(numbers)), count)
        chosen = np.arange(len(tree_N)) + (first - start)[tree_N]
        parent = arrays["parent"][chosen].astype(np.int64)
        return Nodes(
            tree_N=tree_N,
            length_N=arrays["node_length"][chosen].astype(np.int64),
            parent_N=np.where(parent >= 0, parent + start[tree_N], -1),
            label_N=arrays["label"][chosen],
            source_N=arrays["source"][chosen].astype(np.int64),
            num_trees=len(numbers),
        )

    def num_problems(self, numbers: NDArray[np.int64] | None = None) -> int:
        """Problems, told apart by their keys, of all trees or of those with these numbers."""
        return len(distinct(self.problem_keys if numbers is None else self.problem_keys[numbers]))

    def columns(self, numbers: NDArray[np.int64]) -> StepColumns:
        """The steps of the trees with these numbers, in this order, each tree's in the order it was read in."""
        nodes = self.nodes(numbers)
        is_step = nodes.parent_N >= 0
        tree = nodes.tree_N[is_step]
        count = np.bincount(tree, minlength=len(numbers))
        first_row = np.cumsum(count) - count
        source = nodes.source_N[is_step]
        row = first_row[tree] + source
        step = np.empty(len(row), np.int64)
        label, parent, position = np.empty(len(row)), step.copy(), step.copy()
        step[row] = source
        label[row] = nodes.label_N[is_step]
        parent[row] = nodes.source_N[nodes.parent_N[is_step]]  # the problem's source is -1, as is a first step's parent
        position[row] = path_sums(is_step, nodes.parent_N)[is_step]
        stored = (self._arrays["tree_node"][numbers] - numbers - first_row)[tree] + np.arange(len(row))
        return StepColumns(
            label=label,
            true_confidence=np.asarray(self._arrays["true_confidence"][stored]),
            num_ratings=self._arrays["num_ratings"][stored].astype(np.int64),
            tree=tree.astype(np.int64),
            step=step,
            parent=parent,
            position=position,
            problem_key=np.asarray(self.problem_keys[numbers]),
            tree_ids=[self.ids[int(number)] for number in numbers],
        )

    @property
    def num_tokens(self) -> int:
        """Tokens of all trees, shared prefixes counted once."""
        return len(self._arrays["tokens"])

    @property
    def num_labels(self) -> int:
        """Labelled steps of all trees."""
        return sum(int(np.count_nonzero(~np.isnan(labels))) for labels in self._labels())

    def label_mean(self) -> float | None:
        """Mean confidence of the labelled steps; None where there are none."""
        count = self.num_labels
        return sum(float(np.nansum(labels)) for labels in self._labels()) / count if count else None

    def _labels(self) -> Iterator[_Array]:
        """All labels, in parts that fit in memory."""
        labels = self._arrays["label"]
        return (labels[start : start + _CHUNK_LABELS] for start in range(0, len(labels), _CHUNK_LABELS))


def store_key(*parts: str) -> str:
    """The folder name of a store that `parts` decide."""
    return hashlib.sha256("\0".join((str(STORE_VERSION), *parts)).encode()).hexdigest()[:24]


def write_store(
    folder: Path,
    trees: Iterable[AnyTree],
    tokenizer: StepTokenizer,
    formatter: Formatter,
    *,
    notes: dict[str, Any],
    started: Sequence[HelperProcess] = (),
) -> TreeStore:
    """Tokenise `trees` as they come and store them in `folder`; `notes` is written last, so it may fill up.

    Processes that are `started` help; the store is the same to the byte.

    Raises:
        StorageError: the folder cannot be written (a full disk among the reasons); nothing is left behind.
    """
    try:
        with unfinished(folder) as beside:
            with seldom_collecting():
                files = write_arrays(beside, trees, tokenizer, formatter, started)
            meta = {"version": STORE_VERSION, "text_format": [formatter.hash(), tokenizer.hash()], "notes": notes}
            (beside / META).write_text(meta_text(meta, files), encoding="utf-8")
            if not put_in_place(beside, folder):
                with suppress(DamagedStoreError):
                    return TreeStore(folder)  # another run finished the same work first
                remove_damaged(folder)
                put_in_place(beside, folder)
        return TreeStore(folder)
    except (OSError, DamagedStoreError) as error:
        why = getattr(error, "strerror", None) or error
        mend = advice_after(error, "free space or set --cache_dir to another folder")
        raise StorageError(f"{folder}: the tokenised data cannot be written ({why}); {mend}") from None
