"""A token store is written once and whole, read from disk, and the same however it was written."""

from __future__ import annotations

import dataclasses
import errno
import gc
import os
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import random_tree, trees
from surestep.encoding import store_arrays as arrays_module
from surestep.encoding import token_store as store_module
from surestep.encoding.encoded_tree import EncodedTree, encode_trees
from surestep.encoding.formatter import Formatter
from surestep.encoding.limits import LimitLoss, limit_nodes, limit_tree
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.step_columns import columns_of
from surestep.encoding.token_store import TreeStore, store_key, write_store
from surestep.encoding.tokenizer import StepTokenizer
from surestep.errors import DataError, StorageError
from surestep.types import ReasoningTree, chain

TREES = [random_tree(seed, num_nodes=1 + seed % 7) for seed in range(9)]


@pytest.fixture(scope="module")
def tokenizer() -> StepTokenizer:
    return load_tokenizer("builtin:tiny")


def write(folder: Path, trees: Any, tokenizer: StepTokenizer, **notes: Any) -> TreeStore:
    return write_store(folder, trees, tokenizer, Formatter(), notes=notes)


def assert_same(found: EncodedTree, expected: EncodedTree) -> None:
    for name in ("tokens_T", "offsets", "parent_N", "label_N", "source_N"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_stored_comes_back(tmp_path: Path, tokenizer: StepTokenizer) -> None:
    stored = write(tmp_path / "s", TREES, tokenizer, report="all read")
    encoded = encode_trees(TREES, tokenizer, Formatter())
    assert len(stored) == len(TREES)
    for found, expected in zip(TreeStore(tmp_path / "s"), encoded, strict=True):
        assert_same(found, expected)
    assert list(stored.ids) == [tree.id for tree in TREES]
    assert stored.notes == {"report": "all read"}
    assert stored.num_tokens == sum(tree.num_tokens for tree in encoded)
    assert stored.num_labels == sum(tree.num_labels for tree in TREES)
    labels = [node.confidence for tree in TREES for node in tree.nodes if node.confidence is not None]
    assert stored.label_mean() == pytest.approx(np.mean(labels), abs=1e-7)


@given(st.lists(trees(min_nodes=0), max_size=6))
def test_any_trees_come_back(tmp_path_factory: pytest.TempPathFactory, several: list[ReasoningTree]) -> None:
    tokenizer = load_tokenizer("builtin:tiny")
    stored = write(tmp_path_factory.mktemp("any") / "s", several, tokenizer)
    for found, expected in zip(stored, encode_trees(several, tokenizer, Formatter()), strict=True):
        assert_same(found, expected)


@pytest.mark.slow
@given(st.lists(trees(min_nodes=0), max_size=6), st.data())
def test_any_trees_come_back_as_they_were_read(
    tmp_path_factory: pytest.TempPathFactory, several: list[ReasoningTree], data: st.DataObject
) -> None:
    words = st.sampled_from(["", "a", "b\0", "ü\udcff"])
    several = [
        dataclasses.replace(
            tree,
            id=data.draw(words),
            group=data.draw(words),
            dataset=data.draw(words),
            nodes=tuple(
                dataclasses.replace(
                    node,
                    confidence=data.draw(st.one_of(st.none(), st.floats(0, 1))),
                    num_ratings=data.draw(st.integers(0, 9)),
                    context=data.draw(st.sampled_from([None, "", "seen"])),
                    true_confidence=data.draw(st.one_of(st.none(), st.floats(0, 1))),
                )
                for node in tree.nodes
            ),
        )
        for tree in several
    ]
    stored = write(tmp_path_factory.mktemp("any") / "s", several, load_tokenizer("builtin:tiny"))
    assert [stored.tree(index) for index in range(len(stored))] == several
    order = data.draw(st.permutations(range(len(several))))
    found, expected = stored.columns(np.array(order, np.int64)), columns_of([several[index] for index in order])
    for column in dataclasses.fields(expected):
        np.testing.assert_array_equal(getattr(found, column.name), getattr(expected, column.name), column.name)


def test_labels_are_kept_to_the_last_digit(tmp_path: Path, tokenizer: StepTokenizer) -> None:
    """In float32, 0.1 and 1/3 would be other numbers, and so would every figure measured on them."""
    stored = write(tmp_path / "s", [chain("p", ["a", "b"], [0.1, 1 / 3])], tokenizer)
    assert stored[0].label_N.tolist()[1:] == [0.1, 1 / 3]
    assert stored.label_mean() == (0.1 + 1 / 3) / 2


LIMITS = st.one_of(st.none(), st.integers(1, 40))


@given(st.lists(trees(min_nodes=0), min_size=1, max_size=8), st.data(), LIMITS, LIMITS)
def test_limits_of_many_trees_at_once_are_those_of_each(
    tmp_path_factory: pytest.TempPathFactory,
    several: list[ReasoningTree],
    data: st.DataObject,
    max_length: int | None,
    max_steps: int | None,
) -> None:
    stored = write(tmp_path_factory.mktemp("any") / "s", several, load_tokenizer("builtin:tiny"))
    numbers = data.draw(st.lists(st.integers(0, len(several) - 1), unique=True))
    keep, loss = limit_nodes(stored.nodes(np.array(numbers, np.int64)), max_length=max_length, max_steps=max_steps)
    kept_nodes = np.split(keep, np.cumsum([stored[number].num_nodes for number in numbers])[:-1]) if numbers else []
    expected = LimitLoss()
    for number, kept in zip(numbers, kept_nodes, strict=True):
        limited, lost = limit_tree(stored[number], max_length=max_length, max_steps=max_steps)
        assert_same(stored[number].select(kept), limited)
        expected += lost
    assert loss == expected


def test_ids_are_read_one_by_one(tmp_path: Path, tokenizer: StepTokenizer) -> None:
    ids = ["", "ü", "rows:17", "\udcff", "x" * 300]
    named = [dataclasses.replace(TREES[0], id=identity) for identity in ids]
    stored = write(tmp_path / "s", named, tokenizer)
    assert list(stored.ids) == ids
    assert stored.ids[-1] == ids[-1]
    with pytest.raises(IndexError):
        stored.ids[len(ids)]


def test_copies_of_a_problem_share_its_hash(tmp_path: Path, tokenizer: StepTokenizer) -> None:
    problems = ["What is 2 + 2?", " what is  2 + 2", "What is 2 + 3?"]
    first, copy, other = write(tmp_path / "s", [chain(text, ["s"], [1.0]) for text in problems], tokenizer).text_hashes
    assert first == copy != other


@pytest.mark.slow
def test_an_open_store_holds_nothing_for_each_tree(tmp_path: Path, tokenizer: StepTokenizer) -> None:
    """Ids, hashes and offsets of ten times the trees take the same memory: they stay on disk."""
    held = []
    for name, count in (("warm", 10), ("few", 100), ("many", 1_000)):
        write(tmp_path / name, TREES * count, tokenizer)
        tracemalloc.start()
        stored = TreeStore(tmp_path / name)
        assert stored.num_labels
        assert stored[-1].num_tokens
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert held[2] - held[1] < len(TREES) * 900, "not a byte a tree"


def test_an_index_counts_from_either_end_and_beyond_is_an_error(tmp_path: Path, tokenizer: StepTokenizer) -> None:
    stored = write(tmp_path / "s", TREES, tokenizer)
    assert_same(stored[-1], stored[len(TREES) - 1])
    with pytest.raises(IndexError):
        stored[len(TREES)]


def test_tokens_stay_on_disk(tmp_path: Path, tokenizer: StepTokenizer) -> None:
    stored = write(tmp_path / "s", TREES, tokenizer)
    base = stored[3].tokens_T
    while not isinstance(base, np.memmap) and base.base is not None:
        base = base.base
    assert isinstance(base, np.memmap)
    assert not stored[3].tokens_T.flags.writeable, "nobody may change the cache by accident"


@pytest.mark.parametrize("size", [1, 2, 4, 1000])
def test_the_content_does_not_depend_on_how_many_trees_are_tokenised_at_once(
    tmp_path: Path, tokenizer: StepTokenizer, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    write(tmp_path / "as_usual", TREES, tokenizer)
    monkeypatch.setattr(arrays_module, "CHUNK_TREES", size)
    write(tmp_path / "in_chunks", iter(TREES), tokenizer)
    assert contents(tmp_path / "in_chunks") == contents(tmp_path / "as_usual")


def test_trees_are_taken_as_they_come_not_all_at_once(
    tmp_path: Path, tokenizer: StepTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays_module, "CHUNK_TREES", 2)
    taken: list[int] = []
    written_before: list[int] = []

    def stream() -> Iterator[ReasoningTree]:
        for number, tree in enumerate(TREES):
            part = next(iter(tmp_path.glob("*.part")))
            written_before.append((part / "meta.json").exists())
            taken.append(number)
            yield tree

    seen: list[int] = []
    original = arrays_module.encode_together

    def encode(chunk: Any, *rest: Any) -> Any:
        seen.append(len(chunk))
        # What was handed over before, this chunk, and the next one, which is read meanwhile.
        ahead.append(len(taken) - sum(seen))
        return original(chunk, *rest)

    ahead: list[int] = []
    monkeypatch.setattr(arrays_module, "encode_together", encode)
    write(tmp_path / "s", stream(), tokenizer)
    assert (max(seen), sum(seen)) == (2, len(TREES))
    assert 0 <= min(ahead) <= max(ahead) <= 2
    assert not any(written_before)


def test_a_chunk_of_few_large_trees_ends_by_its_steps(
    tmp_path: Path, tokenizer: StepTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held is two chunks, so neither may hold more than a bound of steps and one tree."""
    monkeypatch.setattr(arrays_module, "CHUNK_NODES", 6)
    sizes: list[int] = []
    original = arrays_module.encode_together

    def encode(chunk: Any, *rest: Any) -> Any:
        sizes.append(sum(len(tree.nodes) for tree in chunk[:-1]))
        return original(chunk, *rest)

    monkeypatch.setattr(arrays_module, "encode_together", encode)
    write(tmp_path / "s", iter(TREES), tokenizer)
    assert max(sizes) < 6 < len(sizes) * 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_the_collector_is_as_before_and_no_thread_is_left(
    tmp_path: Path, tokenizer: StepTokenizer, error: type[BaseException]
) -> None:
    before, threads, during = gc.get_threshold(), threading.active_count(), []

    def stream() -> Iterator[ReasoningTree]:
        during.append(gc.get_threshold())
        yield from TREES
        raise error

    with pytest.raises(error):
        write(tmp_path / "s", stream(), tokenizer)
    assert gc.get_threshold() == before != during[0]
    assert threading.active_count() == threads
    write(tmp_path / "s", iter(TREES), tokenizer)
    assert gc.get_threshold() == before
    assert gc.isenabled()


def test_a_run_that_dies_midway_leaves_no_store(tmp_path: Path, tokenizer: StepTokenizer) -> None:
    def stream() -> Iterator[ReasoningTree]:
        yield from TREES
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "s", stream(), tokenizer)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_does_not_stop_the_next(tmp_path: Path, tokenizer: StepTokenizer) -> None:
    """A killed run cannot tidy up, and in a container the next run may well have its process id."""
    left = tmp_path / f".s.{os.getpid()}.part"
    left.mkdir()
    (left / "tokens.bin").write_bytes(b"half a tok")
    assert len(write(tmp_path / "s", TREES, tokenizer)) == len(TREES)


def test_an_error_of_the_reader_passes_through_and_leaves_no_store(tmp_path: Path, tokenizer: StepTokenizer) -> None:
    def stream() -> Iterator[ReasoningTree]:
        yield TREES[0]
        raise DataError("not JSON", path="x.jsonl", line=17)

    with pytest.raises(DataError, match=r"x\.jsonl, line 17"):
        write(tmp_path / "s", stream(), tokenizer)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_no_store(
    tmp_path: Path, tokenizer: StepTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store_module, "write_arrays", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        write(tmp_path / "s", TREES, tokenizer)
    assert "--cache_dir" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, tokenizer: StepTokenizer) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="Not a directory"):
        write(tmp_path / "file" / "s", TREES, tokenizer)


def test_two_runs_that_do_the_same_work_end_with_one_store(tmp_path: Path, tokenizer: StepTokenizer) -> None:
    def stream() -> Iterator[ReasoningTree]:
        yield from TREES
        write(tmp_path / "s", TREES, tokenizer, by="the other run")

    stored = write(tmp_path / "s", stream(), tokenizer, by="this run")
    assert stored.notes == {"by": "the other run"}
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_run_beaten_at_the_last_moment_uses_the_others_store(
    tmp_path: Path, tokenizer: StepTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.rename

    def beaten(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", original)
        write(tmp_path / "s", TREES, tokenizer, by="the other run")
        return original(self, target)

    monkeypatch.setattr(Path, "rename", beaten)
    assert write(tmp_path / "s", TREES, tokenizer).notes == {"by": "the other run"}
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_notes_may_fill_up_while_trees_are_read(tmp_path: Path, tokenizer: StepTokenizer) -> None:
    notes: dict[str, int] = {}

    def stream() -> Iterator[ReasoningTree]:
        yield from TREES
        notes["dropped"] = 3

    assert write_store(tmp_path / "s", stream(), tokenizer, Formatter(), notes=notes).notes == {"dropped": 3}


def test_an_empty_split_is_an_empty_store(tmp_path: Path, tokenizer: StepTokenizer) -> None:
    stored = write(tmp_path / "s", [], tokenizer)
    assert (len(stored), stored.num_tokens, stored.num_labels, stored.label_mean()) == (0, 0, 0, None)


def test_the_key_changes_with_every_part() -> None:
    keys = {store_key("a", "b"), store_key("a", "c"), store_key("b", "a"), store_key("ab"), store_key("a", "b", "")}
    assert len(keys) == 5
