"""A source is read and tokenised once; whatever decides its tokens decides its place in the cache."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from surestep.data.records.reading_report import ReadReport
from surestep.data.sources.hold_out import Division
from surestep.data.sources.source import Source
from surestep.encoding.formatter import Formatter
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.token_store import TreeStore
from surestep.encoding.tokenizer import StepTokenizer
from surestep.errors import DataError, StorageError
from surestep.scoring.stored_split import default_cache_dir, prepare_source, prepare_sources


@pytest.fixture(scope="module")
def tokenizer() -> StepTokenizer:
    return load_tokenizer("builtin:tiny")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    rows = [{"problem": f"{n} + 1?", "steps": ["add 1", f"so {n}"], "confidences": [1.0, None]} for n in range(5)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def source_of(file: Path) -> Source:
    return Source("own", "mine", "train", "own", (file,))


def prepare(file: Path, tokenizer: StepTokenizer, cache: Path, formatter: Formatter | None = None) -> TreeStore:
    return prepare_source(source_of(file), tokenizer, formatter or Formatter(), cache_dir=cache).store


def test_trees_are_stored_with_the_readers_report(file: Path, tokenizer: StepTokenizer, tmp_path: Path) -> None:
    stored = prepare(file, tokenizer, tmp_path / "cache")
    report = ReadReport()
    trees = list(source_of(file).read(report))
    assert (len(stored), stored.num_labels) == (5, 5)
    assert list(stored.ids) == [tree.id for tree in trees]
    assert stored.notes["report"] == report.to_dict()


def test_the_second_time_nothing_is_read(
    file: Path, tokenizer: StepTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(file, tokenizer, tmp_path / "cache")

    def read_again(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(Source, "read", read_again)
    monkeypatch.setattr(Source, "park", read_again)
    second = prepare(file, tokenizer, tmp_path / "cache")
    assert second.folder == first.folder
    np.testing.assert_array_equal(second[3].tokens_T, first[3].tokens_T)
    assert second.notes == first.notes


def test_a_changed_file_or_format_is_read_anew(file: Path, tokenizer: StepTokenizer, tmp_path: Path) -> None:
    folders = {prepare(file, tokenizer, tmp_path / "cache").folder}
    folders.add(prepare(file, tokenizer, tmp_path / "cache", Formatter(step="{text}\n\n")).folder)
    file.write_text(file.read_text().replace("add 1", "add one"))
    folders.add(prepare(file, tokenizer, tmp_path / "cache").folder)
    assert len(folders) == 3


def test_another_tokenizer_has_its_own_store(
    file: Path, tokenizer: StepTokenizer, tmp_path: Path, stories260k: Path
) -> None:
    first = prepare(file, tokenizer, tmp_path / "cache")
    second = prepare(file, load_tokenizer(str(stories260k)), tmp_path / "cache")
    assert first.folder != second.folder


def test_progress_is_told_of_every_tree(file: Path, tokenizer: StepTokenizer, tmp_path: Path) -> None:
    told: list[int] = []
    titles: list[str] = []

    def progress(title: str):  # type: ignore[no-untyped-def]
        titles.append(title)
        return told.append

    prepare_source(source_of(file), tokenizer, Formatter(), cache_dir=tmp_path / "cache", progress=progress)
    assert sum(told) == 5
    assert "mine train" in titles[0]


def test_a_bad_line_leaves_nothing_in_the_cache(file: Path, tokenizer: StepTokenizer, tmp_path: Path) -> None:
    file.write_text(file.read_text() + "{not json\n")
    with pytest.raises(DataError, match="line 6"):
        prepare(file, tokenizer, tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_cache_that_cannot_be_written_is_one_line(file: Path, tokenizer: StepTokenizer) -> None:
    with pytest.raises(StorageError, match="--cache_dir") as caught:
        prepare(file, tokenizer, file / "cache")
    assert "\n" not in str(caught.value)


def test_the_cache_lies_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache_dir() == Path("/somewhere/surestep")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache" / "surestep"


def divided(file: Path, seed: int = 0) -> list[Source]:
    sides = (("train", "rest"), ("validation", "held_out"))
    return [
        Source("own", "mine", split, "own", (file,), divisions=(Division(0.4, seed, side),)) for split, side in sides
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_splits_of_one_file_are_read_once_and_stored_as_each_alone(
    file: Path, tokenizer: StepTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    for source in divided(file):
        prepare_source(source, tokenizer, Formatter(), cache_dir=alone)
    other = source_of(tmp_path / "other.jsonl")
    other.files[0].write_text(file.read_text().replace("add", "take"))
    prepare_source(other, tokenizer, Formatter(), cache_dir=alone)
    read: list[tuple[Path, ...]] = []
    park = Source.park

    def counted(source: Source, **others: object) -> object:
        read.append(source.files)
        return park(source, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(Source, "park", counted)
    train, validation = divided(file)
    splits = prepare_sources([train, other, validation], tokenizer, Formatter(), cache_dir=together)
    assert read == [(file,), other.files]
    assert [split.source for split in splits] == [train, other, validation]
    assert contents(together) == contents(alone)
    assert [len(split) for split in splits] == [len(splits[0]), 5, 5 - len(splits[0])]


def test_only_what_is_not_stored_yet_is_read_for(file: Path, tokenizer: StepTokenizer, tmp_path: Path) -> None:
    train, validation = divided(file)
    first = prepare_source(train, tokenizer, Formatter(), cache_dir=tmp_path / "cache")
    before = {path: path.stat().st_mtime_ns for path in first.store.folder.iterdir()}
    again, other = prepare_sources([train, validation], tokenizer, Formatter(), cache_dir=tmp_path / "cache")
    assert {path: path.stat().st_mtime_ns for path in again.store.folder.iterdir()} == before
    assert len(again) + len(other) == 5


def test_reading_is_told_row_by_row_with_what_is_expected(file: Path, tokenizer: StepTokenizer, tmp_path: Path) -> None:
    said: list[tuple[object, ...]] = []

    class Stages:
        def __call__(self, count: int, /) -> None:
            said.append(("stored", count))

        def reading(self, reason: str, done: int, expected: int | None, /) -> None:
            said.append((reason, done, expected))

        def expect(self, total: int, /) -> None:
            said.append(("all", total))

    train, validation = divided(file)
    splits = prepare_sources(
        [train, validation], tokenizer, Formatter(), cache_dir=tmp_path / "cache", progress=lambda _title: Stages()
    )
    rows, trees = ([(reason, number, 5) for number in range(6)] for reason in ("records", "trees"))
    stored = [[("all", len(split)), *[("stored", 1)] * len(split)] for split in splits]
    assert said == [*rows, *trees, *stored[0], *stored[1]]
