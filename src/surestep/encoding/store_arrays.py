"""The arrays of a token store, written as trees come: by this process with those that help, or by two threads of it.

A process that helps makes whole chunks of columns, texts' ids among them; where the tokenizer's own library has to be
asked, whose work needs no Python, one thread reads trees while another turns them into tokens. What is held is some
chunks of trees. Knows the columns of a store; knows no folder's life (`token_store`, `store_files`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surestep.data.records.helper_process import HelperProcess, in_order
from surestep.data.trees.identity import key_of, normalize_text
from surestep.data.trees.tree_columns import AnyTree, TreeColumns, WaitingTree, as_columns, num_steps
from surestep.encoding.encoded_tree import EncodedTrees, NodesOfTrees, encode_together, laid_out
from surestep.encoding.formatter import Formatter
from surestep.encoding.store_files import HashedFile
from surestep.encoding.tokenizer import StepTokenizer
from surestep.encoding.words.plain_texts import PartlyEncoded, PlainTexts
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
CHUNK_TREES, CHUNK_NODES = 256, 2**12
"""A chunk ends with the tree that reaches either."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """The columns of some trees but for their tokens, and how many bytes each text has. Can be pickled."""

    numbers: dict[str, NDArray[Any]]
    texts: dict[str, tuple[bytes, NDArray[np.int64]]]


@dataclass(frozen=True, slots=True)
class _Encoder:
    """What makes chunks in a process that has no tokenizer."""

    plain_texts: PlainTexts
    formatter: Formatter


def write_arrays(
    folder: Path,
    trees: Iterable[AnyTree],
    tokenizer: StepTokenizer,
    formatter: Formatter,
    started: Sequence[HelperProcess] = (),
) -> dict[str, HashedFile]:
    """Write all but `meta.json`; gives the files by their names, for their hashes.

    Args:
        folder: of the files.
        trees: taken some chunks ahead.
        tokenizer: of their texts.
        formatter: likewise.
        started: processes that help, where they can: where words have their ids in a table.
    """
    num_nodes = num_tokens = 0
    num_bytes = dict.fromkeys(TEXTS, 0)
    with ExitStack() as stack:
        files = {name: HashedFile(stack.enter_context((folder / f"{name}.bin").open("wb"))) for name in DTYPES}

        def write(name: str, values: Sequence[Any] | NDArray[Any]) -> None:
            files[name].write(np.asarray(values, DTYPES[name]).tobytes())

        # Closed here and not when it is collected: no thread outlives an error or a Ctrl-C.
        for chunk, encoded in stack.enter_context(closing(_encoded_chunks(trees, tokenizer, formatter, started))):
            write("tree_node", num_nodes + encoded.first_nodes())
            write("tree_token", num_tokens + encoded.first_tokens())
            for name, values in _nodes(encoded).items():
                write(name, values)
            for name, values in chunk.numbers.items():
                write(name, values)
            for name, (content, lengths) in chunk.texts.items():
                ends = num_bytes[name] + np.cumsum(lengths)
                files[name].write(content)
                if len(ends):
                    write(f"{name}_start", ends - lengths)
                    num_bytes[name] = int(ends[-1])
            num_nodes += len(encoded.parent_N)
            num_tokens += len(encoded.tokens_T)
        write("tree_node", [num_nodes])
        write("tree_token", [num_tokens])
        for name, end in num_bytes.items():
            write(f"{name}_start", [end])
    return {f"{name}.bin": file for name, file in files.items()}


def _encoded_chunks(
    trees: Iterable[AnyTree], tokenizer: StepTokenizer, formatter: Formatter, started: Sequence[HelperProcess]
) -> Generator[tuple[_Chunk, EncodedTrees], None, None]:
    """Chunks of trees with their tokens, in order."""
    if started and tokenizer.plain_texts is not None:
        tasks = ((chunk,) for chunk in _chunks(trees))
        encoder = _Encoder(tokenizer.plain_texts, formatter)
        for _, (shared, nodes, found) in in_order(_made_by, tasks, started, held=encoder):
            yield shared, nodes.with_tokens(*tokenizer.completed(found), tokenizer)
        return
    # The next one is read while one is tokenised.
    with ThreadPoolExecutor(1, thread_name_prefix="tokenise") as pool:
        before: tuple[list[ReasoningTree | TreeColumns], Future[EncodedTrees]] | None = None
        for waiting in _chunks(trees):
            chunk = [tree.columns() if isinstance(tree, WaitingTree) else tree for tree in waiting]
            begun = pool.submit(encode_together, chunk, tokenizer, formatter)
            if before is not None:
                yield _chunk_of(list(map(as_columns, before[0]))), before[1].result()
            before = chunk, begun
        if before is not None:
            yield _chunk_of(list(map(as_columns, before[0]))), before[1].result()


def _made_by(encoder: _Encoder, trees: Sequence[AnyTree]) -> tuple[_Chunk, NodesOfTrees, PartlyEncoded]:
    """A chunk, its nodes and the ids of its plain texts, in whichever process is free."""
    columns = list(map(as_columns, trees))
    texts, nodes = laid_out(columns, encoder.formatter)
    return _chunk_of(columns), nodes, encoder.plain_texts.encode(texts)


def _chunks(trees: Iterable[AnyTree]) -> Iterator[list[AnyTree]]:
    chunk: list[AnyTree] = []
    num_nodes = 0
    for tree in trees:
        chunk.append(tree)
        num_nodes += num_steps(tree)
        if len(chunk) == CHUNK_TREES or num_nodes >= CHUNK_NODES:
            yield chunk
            chunk, num_nodes = [], 0
    if chunk:
        yield chunk


def _nodes(encoded: EncodedTrees) -> dict[str, Any]:
    return {
        "tokens": encoded.tokens_T,
        "node_length": encoded.length_N,
        "parent": encoded.parent_N,
        "source": encoded.source_N,
        "label": encoded.label_N,
    }


def _chunk_of(trees: Sequence[TreeColumns]) -> _Chunk:
    text_hashes, keys = [], []
    for tree in trees:
        known = tree.text_hash
        text_hashes.append(problem_hash(normalize_text(tree.problem)) if known is None else known)
        # A problem without a group is its text, whose normal form costs too much to make it twice.
        in_group = key_of(tree.problem, group=tree.group, dataset=tree.dataset) if tree.group else ""
        keys.append(problem_hash(in_group) if tree.group else text_hashes[-1])
    numbers = {
        "problem_key": keys,
        "text_hash": text_hashes,
        "num_ratings": _of_steps(tree.num_ratings for tree in trees),
        "true_confidence": _of_steps(tree.true_confidences for tree in trees),  # of None, NumPy makes NaN
        "has_context": [context is not None for tree in trees for context in tree.contexts],
    }
    return _Chunk(
        {name: np.array(values, DTYPES[name]) for name, values in numbers.items()},
        {name: _joined(texts) for name, texts in _texts(trees).items()},
    )


def _joined(texts: Sequence[str]) -> tuple[bytes, NDArray[np.int64]]:
    """The bytes of texts, and how many each has."""
    whole = "".join(texts)
    if whole.isascii():
        lengths = list(map(len, texts))
        return whole.encode("ascii"), np.array(lengths, np.int64)
    contents = [text.encode("utf-8", "surrogatepass") for text in texts]
    return b"".join(contents), np.array(list(map(len, contents)), np.int64)


def _of_steps(columns: Iterable[Iterable[Any]]) -> list[Any]:
    return list(chain.from_iterable(columns))


def _texts(trees: Sequence[TreeColumns]) -> dict[str, list[str]]:
    return {
        "id": [tree.id for tree in trees],
        "group": [tree.group for tree in trees],
        "dataset": [tree.dataset for tree in trees],
        "problem": [tree.problem for tree in trees],
        "step": _of_steps(tree.texts for tree in trees),
        "context": [context or "" for tree in trees for context in tree.contexts],
    }
