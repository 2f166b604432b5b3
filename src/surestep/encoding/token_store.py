"""Tokenised trees on disk: written once, memory-mapped ever after.

A store is a folder named by the hash of all that decides its content (files, reader options, formatter,
tokenizer). It is written beside its final place and renamed, so a killed run leaves a whole store or none.
Writing and reading one keep memory at the size of the trees in use, whatever the dataset's size. Knows no dataset.

    meta.json      the reader's report
    tokens.bin     int32, all trees' tokens        node_length.bin  int32, tokens of each node
    tree_node.bin  int64, first node of each tree  tree_token.bin   int64, first token of each tree
    parent.bin     int32   source.bin  int32       label.bin        float32, NaN where missing
    id.bin         UTF-8, all trees' ids           tree_id.bin      int64, first byte of each tree's id
    problem.bin    uint64, hash of each tree's problem
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from surestep.data.trees.identity import normalize_text
from surestep.encoding.encoded_tree import EncodedTree, Nodes, encode_trees
from surestep.encoding.formatter import Formatter
from surestep.encoding.tokenizer import StepTokenizer
from surestep.errors import StorageError
from surestep.types import ReasoningTree

STORE_VERSION = 5
_DTYPES: dict[str, type] = {
    "tokens": np.int32,
    "node_length": np.int32,
    "parent": np.int32,
    "source": np.int32,
    "label": np.float32,
    "tree_node": np.int64,
    "tree_token": np.int64,
    "id": np.uint8,
    "tree_id": np.int64,
    "problem": np.uint64,
}
_CHUNK_TREES = 256
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
    """Trees of one split, in the order they were read.

    Attributes:
        ids: the id of each tree in its dataset.
        problem_hashes: uint64, `problem_hash` of each tree; equal for copies of a problem.
        notes: what was stored with them (`write_store(notes=...)`).
    """

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.folder = folder
        self.notes: dict[str, Any] = meta["notes"]
        self._arrays: dict[str, _Array] = {
            name: np.memmap(folder / f"{name}.bin", dtype, "r")
            if (folder / f"{name}.bin").stat().st_size
            else np.zeros(0, dtype)
            for name, dtype in _DTYPES.items()
        }
        self.ids = StoredTexts(self._arrays["id"], self._arrays["tree_id"])
        self.problem_hashes: NDArray[np.uint64] = self._arrays["problem"]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> EncodedTree:  # type: ignore[override]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
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
            num_trees=len(numbers),
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
        return sum(float(np.nansum(labels, dtype=np.float64)) for labels in self._labels()) / count if count else None

    def _labels(self) -> Iterator[_Array]:
        """All labels, in parts that fit in memory."""
        labels = self._arrays["label"]
        return (labels[start : start + _CHUNK_LABELS] for start in range(0, len(labels), _CHUNK_LABELS))


def problem_hash(tree: ReasoningTree) -> int:
    """64 bits of the normalised problem text, by which sets are compared for common problems."""
    return int.from_bytes(hashlib.sha256(normalize_text(tree.problem).encode()).digest()[:8], "big")


def store_key(*parts: str) -> str:
    """The folder name of a store that `parts` decide."""
    return hashlib.sha256("\0".join((str(STORE_VERSION), *parts)).encode()).hexdigest()[:24]


def write_store(
    folder: Path,
    trees: Iterable[ReasoningTree],
    tokenizer: StepTokenizer,
    formatter: Formatter,
    *,
    notes: dict[str, Any],
) -> TreeStore:
    """Tokenise `trees` as they come and store them in `folder`; `notes` is written last, so it may fill up.

    Raises:
        StorageError: the folder cannot be written (a full disk among the reasons); nothing is left behind.
    """
    # Process ids come again in containers and on other machines that share the folder.
    beside = folder.with_name(f"{folder.name}.{secrets.token_hex(6)}.part")
    try:
        beside.mkdir(parents=True)
        _write_arrays(beside, trees, tokenizer, formatter)
        meta = {"version": STORE_VERSION, "notes": notes}
        (beside / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        _rename_unless_there(beside, folder)
    except OSError as error:
        raise StorageError(
            f"{folder}: the tokenised data cannot be written ({error.strerror}); "
            "free space or set --cache_dir to another folder"
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return TreeStore(folder)


def _rename_unless_there(beside: Path, folder: Path) -> None:
    """Put a finished store in its place, unless another run finished the same work first."""
    try:
        beside.rename(folder)
    except OSError:
        if not (folder / "meta.json").is_file():
            raise


def _write_arrays(folder: Path, trees: Iterable[ReasoningTree], tokenizer: StepTokenizer, formatter: Formatter) -> None:
    files: dict[str, BinaryIO] = {name: (folder / f"{name}.bin").open("wb") for name in _DTYPES}
    num_nodes = num_tokens = num_bytes = 0
    try:
        for chunk in _chunks(trees):
            for tree, encoded in zip(chunk, encode_trees(chunk, tokenizer, formatter), strict=True):
                identity = tree.id.encode("utf-8", "surrogatepass")
                arrays = {
                    "tokens": encoded.tokens_T,
                    "node_length": np.diff(encoded.offsets),
                    "parent": encoded.parent_N,
                    "source": encoded.source_N,
                    "label": encoded.label_N,
                    "tree_node": [num_nodes],
                    "tree_token": [num_tokens],
                    "id": np.frombuffer(identity, np.uint8),
                    "tree_id": [num_bytes],
                    "problem": [problem_hash(tree)],
                }
                for name, values in arrays.items():
                    files[name].write(np.asarray(values, _DTYPES[name]).tobytes())
                num_nodes += encoded.num_nodes
                num_tokens += encoded.num_tokens
                num_bytes += len(identity)
        for name, end in (("tree_node", num_nodes), ("tree_token", num_tokens), ("tree_id", num_bytes)):
            files[name].write(np.int64(end).tobytes())
    finally:
        for file in files.values():
            file.close()


def _chunks(trees: Iterable[ReasoningTree]) -> Iterator[list[ReasoningTree]]:
    iterator = iter(trees)
    while chunk := list(islice(iterator, _CHUNK_TREES)):
        yield chunk
