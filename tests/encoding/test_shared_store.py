"""A store that several processes make is, byte for byte, the one that one makes, whatever its texts hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pickling_helper import Pickling
from strategies import trees
from surestep.data.records.disk_list import DiskList
from surestep.data.records.helper_process import HelperProcess, helpers
from surestep.data.trees.tree_columns import TreeColumns, WaitingTree, as_columns, num_steps
from surestep.encoding import store_arrays as arrays_module
from surestep.encoding.formatter import Formatter
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.store_arrays import write_arrays
from surestep.encoding.tokenizer import StepTokenizer
from surestep.types import ROOT, Node, ReasoningTree

TINY = load_tokenizer("builtin:tiny")
TEXTS = st.sampled_from(
    ["a", "so 12 + 3 = 15; add", " b\r\n", "<CONFIDENCE>", "x <|endoftext|> y", "é 12", "\U0001f600", "word " * 40]
)


def without_words() -> StepTokenizer:
    """A tokenizer that is asked itself for every text."""
    tokenizer = load_tokenizer("builtin:tiny")
    tokenizer._words = tokenizer.plain_texts = None
    return tokenizer


NO_WORDS = without_words()


@st.composite
def odd_trees(draw: Any) -> ReasoningTree:
    """Trees whose texts need the tokenizer, or look as if they did."""
    nodes = []
    for index in range(draw(st.integers(1, 4))):
        label = draw(st.sampled_from([None, 0.0, 0.25, 1.0]))
        context = draw(st.none() | TEXTS)
        true = draw(st.sampled_from([None, 0.5]))
        parent = draw(st.integers(ROOT, index - 1))
        text = f"{draw(TEXTS)} {index}"
        nodes.append(
            Node(text, parent, label, num_ratings=int(label is not None), context=context, true_confidence=true)
        )
    return ReasoningTree(draw(TEXTS), tuple(nodes), id=draw(TEXTS), group=draw(st.sampled_from(["", "g", "é"])))


def waiting(tree: ReasoningTree) -> WaitingTree:
    columns = TreeColumns.of(tree)
    parked = DiskList()
    parked.append_spelled(columns.with_id(columns.spelled()))
    return WaitingTree(parked.spelled(0), len(tree.nodes), tree.dataset, None)


@contextmanager
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays_module, "CHUNK_TREES", 2)
        yield


def files(folder: Path, trees: Any, started: list[Any], tokenizer: StepTokenizer = TINY) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    with small_chunks():
        hashed = write_arrays(folder, iter(trees), tokenizer, Formatter(), started)
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name: len(content) for name, content in found.items()} == {
        name: file.entry()["size"] for name, file in hashed.items()
    }
    return found


FORMS = (lambda tree: tree, TreeColumns.of, waiting)
HELPERS = st.sampled_from([[], [0], [1], [2], [10**9], [10**9, 1]])
"""Of each, after how many tasks it is lost."""


@settings(max_examples=30)
@given(st.lists(odd_trees() | trees(), min_size=1, max_size=6), st.sampled_from(FORMS), HELPERS, st.booleans())
def test_any_trees_are_stored_alike_by_whoever_makes_the_chunks(
    tmp_path_factory: pytest.TempPathFactory, found: list[ReasoningTree], form: Any, lost_after: list[int], words: bool
) -> None:
    folder = tmp_path_factory.getbasetemp() / "store"
    expected = files(folder, found, [])
    assert files(folder, map(form, found), list(map(Pickling, lost_after)), TINY if words else NO_WORDS) == expected


@given(odd_trees() | trees())
def test_a_waiting_tree_is_the_tree(tree: ReasoningTree) -> None:
    parked, columns = waiting(tree), TreeColumns.of(tree)
    assert as_columns(parked).tree() == tree == as_columns(columns).tree()
    assert num_steps(parked) == num_steps(columns) == num_steps(tree) == len(tree.nodes)


@pytest.fixture(scope="module")
def started() -> Iterator[list[HelperProcess]]:
    with helpers(1, bool) as found:
        found[0]._started.result(timeout=60)
        yield found


@pytest.mark.slow
def test_a_process_makes_chunks(tmp_path: Path, started: list[HelperProcess]) -> None:
    texts = ["so 12 + 3 = 15", "é", "<CONFIDENCE>", "register"]
    made = [
        ReasoningTree(f"p {number} {texts[number % 4]}", (Node(texts[(number + 1) % 4], ROOT, 0.5, 1),), id=str(number))
        for number in range(60)
    ]
    assert TINY.plain_texts is not None
    started[0].hold(arrays_module._Encoder(TINY.plain_texts, Formatter())).result(timeout=60)
    expected = files(tmp_path / "alone", made, [])
    asked: list[Any] = []
    submit = started[0].submit

    def noted(*task: Any) -> Any:
        asked.append(submit(*task))
        return asked[-1]

    started[0].submit = noted  # type: ignore[method-assign]
    assert files(tmp_path / "shared", map(waiting, made), started) == expected
    assert asked
    assert all(result.exception(timeout=60) is None for result in asked)
