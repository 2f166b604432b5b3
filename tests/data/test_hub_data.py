"""A split of a data set on the hub: found by name, fetched once at one revision, and refused in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import surestep
from stub_hub import Repository, StubHub, stub_hub
from surestep.config import Config
from surestep.data.records.hub_files import HubName, files_of_split, hub_name
from surestep.data.records.reading_report import ReadReport
from surestep.data.sources.choose import enabled_sources
from surestep.data.sources.settle import settle_own_data
from surestep.errors import DataError

ROWS = "".join(
    json.dumps({"prompt": f"p{n}", "completions": ["a"], "labels": [n % 2]}) + "\n" for n in range(8)
).encode()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StubHub]:
    with stub_hub(monkeypatch, tmp_path / "cache") as made:
        yield made


def test_a_split_is_fetched_at_one_revision_which_the_run_keeps(hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = hub.repositories["someone/steps"] = Repository(private=False)
    first = repository.commit("main", {"README.md": b"#", "data/train.jsonl": ROWS, "data/test.jsonl": ROWS}, "one")
    config = surestep.with_own_data(Config(), train="someone/steps:train")
    (source,) = enabled_sources(config.data, "train")
    report = ReadReport()
    assert len(list(source.read(report))) == 7, "one of eight is held out"
    assert f"someone/steps of the hub at revision {first}: data/train.jsonl" in report.notes
    settle_own_data(config.data)
    assert str(config.data.own_train) == f"someone/steps:train@{first}"
    repository.commit("main", {"data/train.jsonl": ROWS * 2}, "two")
    (later,) = enabled_sources(config.data, "train")
    assert later.fingerprint() == source.fingerprint(), "the revision is pinned"
    monkeypatch.setattr("surestep.data.records.hub_files.from_cache_only", lambda _name: True)
    (offline,) = enabled_sources(config.data, "train")
    assert offline.fingerprint() == source.fingerprint(), "the cache has it"
    with pytest.raises(DataError, match=r"someone/other:train of the hub: the hub does not answer, and its cache"):
        enabled_sources(surestep.with_own_data(Config(), train="someone/other:train").data, "train")


def test_what_the_hub_does_not_give_is_one_line(hub: StubHub) -> None:
    with pytest.raises(DataError, match=r"someone/none:train of the hub: the hub does not give it .*; check the name"):
        enabled_sources(surestep.with_own_data(Config(), train="someone/none:train").data, "train")
    hub.repositories["someone/none"] = repository = Repository(private=False)
    repository.commit("main", {"README.md": b"#"}, "one")
    with pytest.raises(DataError, match=r"none of its files is of split 'train'; it has 'no data file'"):
        enabled_sources(surestep.with_own_data(Config(), train="someone/none:train").data, "train")


@pytest.mark.parametrize(
    ("there", "split", "expected"),
    [
        (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test.parquet"], "train", 2),
        (["rows.jsonl", "README.md"], "train", 1),
        (["train.jsonl.gz", "constraint.jsonl"], "train", 1),
        (["main/train.parquet", "socratic/train.parquet"], "main/train", 1),
        (["main/train.parquet", "socratic/train.parquet"], "train", "name one folder, a/b:main/train say"),
        (["train.jsonl", "train.parquet"], "train", "as .jsonl and .parquet"),
        (["train.jsonl"], "test", "none of its files is of split 'test'"),
        ([], "train", "no data file"),
    ],
)
def test_the_files_of_a_split(there: list[str], split: str, expected: int | str) -> None:
    if isinstance(expected, int):
        assert len(files_of_split(there, HubName("a/b", split))) == expected
        return
    with pytest.raises(DataError, match=expected):
        files_of_split(there, HubName("a/b", split))


@pytest.mark.parametrize("text", ["a/b", "a.jsonl", "a/b:", "a:b", "/a/b:c", "a/b/c:d", "a/b:../c d", "C:/data/x"])
def test_what_names_no_data_set_of_the_hub(text: str) -> None:
    assert hub_name(text) is None
