"""The arrays of a token store, written as trees come: one thread reads trees while another turns them into tokens.

The tokenizer's own work needs no Python, so the two share the machine's cores; what is held is two chunks of trees.
Knows the columns of a store; knows no folder's life (`token_store`, `store_files`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surestep.data.trees.identity import key_of, normalize_text
from surestep.data.trees.tree_columns import TreeColumns
from surestep.encoding.encoded_tree import EncodedTrees, encode_together
from surestep.encoding.formatter import Formatter
from surestep.encoding.store_files import HashedFile
from surestep.encoding.tokenizer import StepTokenizer
from surestep.scored import problem_hash
from surestep.types import ReasoningTree

NUMBERS: dict[str, type] = {
    "tree_node": np.int64,
    "tree_token": np.int64,
    "problem_key": np.uint64,
    "text_hash": np.uint64,
    "tokens": np.int32,
    "node_length": np.int32,
    "parent": np.int32,
    "source": np.int32,
    "label": np.float64,
    "num_ratings": np.int32,
    "true_confidence": np.float64,
    "has_context": np.uint8,
}
TEXTS = ("id", "group", "dataset", "problem", "step", "context")
DTYPES: dict[str, type] = {
    **NUMBERS,
    **dict.fromkeys(TEXTS, np.uint8),
    **{f"{name}_start": np.int64 for name in TEXTS},
}
CHUNK_TREES, CHUNK_NODES = 256, 2**13
"""A chunk ends with the tree that reaches either."""

Tree = ReasoningTree | TreeColumns
_Chunk = list[Tree]


def write_arrays(
    folder: Path, trees: Iterable[Tree], tokenizer: StepTokenizer, formatter: Formatter
) -> dict[str, HashedFile]:
    """Write all but `meta.json`; gives the files by their names, for their hashes."""
    num_nodes = num_tokens = 0
    num_bytes = dict.fromkeys(TEXTS, 0)
    with ExitStack() as stack:
        files = {name: HashedFile(stack.enter_context((folder / f"{name}.bin").open("wb"))) for name in DTYPES}

        def write(name: str, values: Sequence[Any] | NDArray[Any]) -> None:
            files[name].write(np.asarray(values, DTYPES[name]).tobytes())

        # Closed here and not when it is collected: no thread outlives an error or a Ctrl-C.
        for chunk, encoded in stack.enter_context(closing(_encoded_chunks(trees, tokenizer, formatter))):
            columns = [tree if isinstance(tree, TreeColumns) else TreeColumns.of(tree) for tree in chunk]
            for name, values in _numbers(columns, encoded, num_nodes, num_tokens).items():
                write(name, values)
            for name, texts in _texts(columns).items():
                contents = [text.encode("utf-8", "surrogatepass") for text in texts]
                ends = num_bytes[name] + np.cumsum([len(content) for content in contents], dtype=np.int64)
                files[name].write(b"".join(contents))
                if len(ends):
                    write(f"{name}_start", np.concatenate([[num_bytes[name]], ends[:-1]]))
                    num_bytes[name] = int(ends[-1])
            num_nodes += len(encoded.parent_N)
            num_tokens += len(encoded.tokens_T)
        write("tree_node", [num_nodes])
        write("tree_token", [num_tokens])
        for name, end in num_bytes.items():
            write(f"{name}_start", [end])
    return {f"{name}.bin": file for name, file in files.items()}


def _encoded_chunks(
    trees: Iterable[Tree], tokenizer: StepTokenizer, formatter: Formatter
) -> Generator[tuple[_Chunk, EncodedTrees], None, None]:
    """Chunks of trees with their tokens, in order; the next one is read while one is tokenised."""
    with ThreadPoolExecutor(1, thread_name_prefix="tokenise") as pool:
        before: tuple[_Chunk, Future[EncodedTrees]] | None = None
        for chunk in _chunks(trees):
            begun = pool.submit(encode_together, chunk, tokenizer, formatter)
            if before is not None:
                yield before[0], before[1].result()
            before = chunk, begun
        if before is not None:
            yield before[0], before[1].result()


def _chunks(trees: Iterable[Tree]) -> Iterator[_Chunk]:
    chunk: _Chunk = []
    num_nodes = 0
    for tree in trees:
        chunk.append(tree)
        num_nodes += len(tree.texts if isinstance(tree, TreeColumns) else tree.nodes)
        if len(chunk) == CHUNK_TREES or num_nodes >= CHUNK_NODES:
            yield chunk
            chunk, num_nodes = [], 0
    if chunk:
        yield chunk


def _numbers(trees: Sequence[TreeColumns], encoded: EncodedTrees, first_node: int, first_token: int) -> dict[str, Any]:
    text_hashes, keys = [], []
    for tree in trees:
        known = tree.text_hash
        text_hashes.append(problem_hash(normalize_text(tree.problem)) if known is None else known)
        # A problem without a group is its text, whose normal form costs too much to make it twice.
        in_group = key_of(tree.problem, group=tree.group, dataset=tree.dataset) if tree.group else ""
        keys.append(problem_hash(in_group) if tree.group else text_hashes[-1])
    return {
        "tree_node": first_node + encoded.first_nodes(),
        "tree_token": first_token + encoded.first_tokens(),
        "problem_key": keys,
        "text_hash": text_hashes,
        "tokens": encoded.tokens_T,
        "node_length": encoded.length_N,
        "parent": encoded.parent_N,
        "source": encoded.source_N,
        "label": encoded.label_N,
        "num_ratings": _of_steps([tree.num_ratings for tree in trees]),
        "true_confidence": _of_steps([tree.true_confidences for tree in trees]),  # of None, NumPy makes NaN
        "has_context": [context is not None for tree in trees for context in tree.contexts],
    }


def _of_steps(columns: Iterable[Iterable[Any]]) -> list[Any]:
    return list(chain.from_iterable(columns))


def _texts(trees: Sequence[TreeColumns]) -> dict[str, list[str]]:
    return {
        "id": [tree.id for tree in trees],
        "group": [tree.group for tree in trees],
        "dataset": [tree.dataset for tree in trees],
        "problem": [tree.problem for tree in trees],
        "step": _of_steps([tree.texts for tree in trees]),
        "context": [context or "" for tree in trees for context in tree.contexts],
    }
