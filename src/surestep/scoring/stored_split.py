"""Sources to stored splits: read and tokenised once, kept on disk by the hash of all that decides them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from surestep.collector import seldom_collecting
from surestep.data.datasets.dataset import Split
from surestep.data.records.helper_process import HelperProcess, helpers_for
from surestep.data.records.reading_report import ReadReport
from surestep.data.sources.parked_trees import ParkedTrees
from surestep.data.sources.source import Source
from surestep.data.trees.tree_columns import AnyTree
from surestep.encoding.encoded_tree import EncodedTree
from surestep.encoding.formatter import Formatter
from surestep.encoding.step_columns import StepColumns
from surestep.encoding.store_files import DamagedStoreError, remove_abandoned
from surestep.encoding.token_store import TreeStore, store_key, write_store
from surestep.encoding.tokenizer import StepTokenizer
from surestep.scored import IntArray
from surestep.types import ReasoningTree

MANY_TREES = 100_000
"""From which what follows their last one takes seconds, and is said."""
_LARGE_VOCABULARY = 10_000
"""Tokens that are not sent to other processes at once."""
_LARGE_FILES = 128 * 2**20
"""Bytes of files from which a large vocabulary is worth sending."""

ProgressFactory = Callable[[str], Callable[[int], None]]
"""Takes a title; gives a function that is told how many more trees are done, which may be a `StageCounter`."""


@runtime_checkable
class StageCounter(Protocol):
    """Shows how many trees are done, and what comes before the first of them."""

    def __call__(self, count: int, /) -> None:
        """So many more trees are done."""
        ...

    def reading(self, reason: str, done: int, expected: int | None, /) -> None:
        """So many `records` are read or `trees` made of them, of so many, where that is known."""
        ...

    def expect(self, total: int, /) -> None:
        """All is read; so many trees will be done."""
        ...


def default_cache_dir() -> Path:
    """`surestep` in the user's cache folder (XDG_CACHE_HOME where set)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "surestep"


def silent(_title: str) -> Callable[[int], None]:
    """Progress that nobody sees."""
    return lambda _count: None


@dataclass(frozen=True, eq=False)
class StoredSplit(Sequence[ReasoningTree]):
    """The trees of a split, or some of them, read from disk as they are asked for: as texts, tokens or numbers.

    Attributes:
        name: the dataset as it is shown.
        split: train, validation or test.
        store: where the trees are.
        chosen: numbers of the trees in the store; None: all of them.
        source: where they come from, where that is known.
    """

    name: str
    split: Split
    store: TreeStore
    chosen: IntArray | None = None
    source: Source | None = None

    def __len__(self) -> int:
        return len(self.store) if self.chosen is None else len(self.chosen)

    def __getitem__(self, index: int) -> ReasoningTree:  # type: ignore[override]
        return self.store.tree(self.number(index))

    def number(self, index: int) -> int:
        """Which tree of the store the tree at `index` is."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return index if self.chosen is None else int(self.chosen[index])

    @property
    def encoded(self) -> Sequence[EncodedTree]:
        """The same trees as tokens."""
        return self.store if self.chosen is None else _Encoded(self)

    @property
    def text_format(self) -> tuple[str, str]:
        """Hashes of the formatter and the tokenizer that `encoded` was made with."""
        return self.store.text_format

    @property
    def report(self) -> dict[str, Any]:
        """What reading the whole split dropped, merged or left unlabelled."""
        found: dict[str, Any] = self.store.notes.get("report", {})
        return found

    @property
    def num_problems(self) -> int:
        """Problems of these trees: a problem may have many, one for each of its solutions or choices."""
        return self.store.num_problems(self.chosen)

    @property
    def num_tokens(self) -> int:
        """Tokens of the whole split, shared prefixes counted once."""
        return self.store.num_tokens

    @property
    def num_labels(self) -> int:
        """Labelled steps of these trees."""
        if self.chosen is None:
            return self.store.num_labels
        return int(np.count_nonzero(~np.isnan(self.store.nodes(self.chosen).label_N)))

    def columns(self) -> StepColumns:
        """The steps as numbers."""
        return self.store.columns(np.arange(len(self.store)) if self.chosen is None else self.chosen)

    def text_hashes(self) -> NDArray[np.uint64]:
        """The hash of each tree's problem text, whatever its group: what is compared to find a problem again."""
        found = np.asarray(self.store.text_hashes)
        return found if self.chosen is None else found[self.chosen]

    def take(self, chosen: IntArray) -> StoredSplit:
        """The trees at these places."""
        return replace(self, chosen=chosen if self.chosen is None else self.chosen[chosen])


@dataclass(frozen=True)
class _Encoded(Sequence[EncodedTree]):
    split: StoredSplit

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> EncodedTree:  # type: ignore[override]
        return self.split.store[self.split.number(index)]


def prepare_source(
    source: Source,
    tokenizer: StepTokenizer,
    formatter: Formatter,
    *,
    cache_dir: Path | None,
    progress: ProgressFactory = silent,
) -> StoredSplit:
    """`prepare_sources` of one."""
    (stored,) = prepare_sources([source], tokenizer, formatter, cache_dir=cache_dir, progress=progress)
    return stored


def prepare_sources(
    sources: Sequence[Source],
    tokenizer: StepTokenizer,
    formatter: Formatter,
    *,
    cache_dir: Path | None,
    progress: ProgressFactory = silent,
) -> list[StoredSplit]:
    """The trees of each source, from the cache where the same work was done before.

    Sources that divide the same files are read once together. A damaged store in the cache is made anew, and the title
    of `progress` says so; what killed runs left there goes.

    Raises:
        DataError: a file is missing, cut or malformed.
        StorageError: the cache cannot be written.
    """
    stores: list[TreeStore | None] = [None] * len(sources)
    folders, titles = [], []
    for number, source in enumerate(sources):
        key = store_key(source.fingerprint(), formatter.hash(), tokenizer.hash())
        folders.append((cache_dir or default_cache_dir()) / "tokens" / f"{source.name}-{source.split}-{key}")
        remove_abandoned(folders[-1].parent)
        what = f"{source.name} {source.split}"
        titles.append(f"reading and tokenising {what}")
        if folders[-1].exists():
            try:
                stores[number] = TreeStore(folders[-1])
            except DamagedStoreError as error:
                titles[-1] = f"the stored tokens of {what} are damaged ({error}): reading and tokenising again"
    for number, source in enumerate(sources):
        if stores[number] is not None:
            continue
        alike = [other for other in range(number + 1, len(sources)) if stores[other] is None]
        alike = [number, *(other for other in alike if sources[other].reads_like(source))]
        parked: ParkedTrees | None = None
        with source.helping() as started:
            for this in alike:
                advance = progress(titles[this])
                if parked is None and not source.is_streamed:
                    watch = advance.reading if isinstance(advance, StageCounter) else None
                    others = [sources[other] for other in alike[1:]]
                    with seldom_collecting():
                        parked = source.park(others=others, watch=watch, started=started)
                check = partial(progress, f"checking the stored tokens of {sources[this].name} {sources[this].split}")
                made = _Making(tokenizer, formatter, folders[this], _storing(started, source, tokenizer))
                stores[this] = _stored(sources[this], parked, made, advance, check)
        if parked is not None:
            parked.close()
    written = [store for store in stores if store is not None]
    return [
        StoredSplit(source.name, source.split, store, source=source)
        for source, store in zip(sources, written, strict=True)
    ]


def _storing(started: Sequence[HelperProcess], source: Source, tokenizer: StepTokenizer) -> Sequence[HelperProcess]:
    """Those that help storing, too: a large vocabulary takes a second to send, and its words are learnt again there."""
    is_large = len(tokenizer.tokenizer) > _LARGE_VOCABULARY
    return started[: helpers_for(source.files, least=_LARGE_FILES)] if is_large else started


@dataclass(frozen=True, slots=True)
class _Making:
    """What makes a store: of what, where, and the processes that help."""

    tokenizer: StepTokenizer
    formatter: Formatter
    folder: Path
    started: Sequence[HelperProcess]


def _stored(
    source: Source,
    parked: ParkedTrees | None,
    made: _Making,
    advance: Callable[[int], None],
    check: Callable[[], object],
) -> TreeStore:
    """The store of a source, written; `parked` is None where its trees are not parked.

    Behind the last of many trees `check` is called: the store is compared with what was written, which is seen nowhere.
    """
    report = ReadReport()
    notes: dict[str, object] = {}

    def trees() -> Iterator[AnyTree]:
        found: Iterable[AnyTree]
        if parked is None:
            found = source.read(report)
        else:
            count, found = source.part_of(parked, report)
            if isinstance(advance, StageCounter):
                advance.expect(count)
        yield from _counted(found, advance)
        # The reader fills its report as it goes; the store writes its notes when the last tree is in.
        notes["report"] = report.to_dict()
        if report["trees"] >= MANY_TREES:
            check()

    return write_store(made.folder, trees(), made.tokenizer, made.formatter, notes=notes, started=made.started)


def _counted(trees: Iterable[AnyTree], advance: Callable[[int], None]) -> Iterator[AnyTree]:
    for tree in trees:
        yield tree
        advance(1)
