"""Sources to token stores: read and tokenised once, kept on disk by the hash of all that decides them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from surestep.data.records.read_report import ReadReport
from surestep.data.sources.choose import Source
from surestep.encoding.formatter import Formatter
from surestep.encoding.token_store import TreeStore, store_key, write_store
from surestep.encoding.tokenizer import StepTokenizer
from surestep.types import ReasoningTree

ProgressFactory = Callable[[str], Callable[[int], None]]
"""Takes a title; gives a function that is told how many more trees are done."""


def default_cache_dir() -> Path:
    """`surestep` in the user's cache folder (XDG_CACHE_HOME where set)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "surestep"


def silent(_title: str) -> Callable[[int], None]:
    """Progress that nobody sees."""
    return lambda _count: None


def prepare_source(
    source: Source,
    tokenizer: StepTokenizer,
    formatter: Formatter,
    *,
    cache_dir: Path | None,
    progress: ProgressFactory = silent,
) -> TreeStore:
    """The tokenised trees of `source`, from the cache where the same work was done before.

    `TreeStore.notes["report"]` is the reader's report as JSON.

    Raises:
        DataError: a file is missing, cut or malformed.
        StorageError: the cache cannot be written.
    """
    key = store_key(source.fingerprint(), formatter.hash(), tokenizer.hash())
    folder = (cache_dir or default_cache_dir()) / "tokens" / f"{source.name}-{source.split}-{key}"
    if (folder / "meta.json").is_file():
        return TreeStore(folder)
    report = ReadReport()
    notes: dict[str, object] = {}
    advance = progress(f"reading and tokenising {source.name} {source.split}")

    def trees() -> Iterator[ReasoningTree]:
        yield from _counted(source.read(report), advance)
        # The reader fills its report as it goes; the store writes its notes when the last tree is in.
        notes["report"] = report.to_dict()

    return write_store(folder, trees(), tokenizer, formatter, notes=notes)


def _counted(trees: Iterable[ReasoningTree], advance: Callable[[int], None]) -> Iterator[ReasoningTree]:
    for tree in trees:
        yield tree
        advance(1)
