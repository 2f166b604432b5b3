"""Which checkpoint a path or a hub id means, and the sentence where it means none."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

from surestep import Scorer, hub
from surestep.errors import CheckpointError
from surestep.evaluation.results.find import find_evaluation
from surestep.files import BEST, MANIFEST
from surestep.scoring.checkpoint.find import find_checkpoint

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def refusal(path: Any, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "address", ["s3://bucket/run", "gs://b/r", "http://host/r", "https://huggingface.co/a/b", "hf://a/b", "S3://b/r"]
)
def test_addresses_are_refused_by_name_as_text_and_as_path(address: str) -> None:
    assert address in refusal(address)
    assert "is an address; copy the checkpoint to a folder here" in refusal(Path(address))


def test_a_folder_that_is_not_there_names_what_lies_beside_it(run_folder: Path) -> None:
    assert "holds mine" in refusal(run_folder.parent / "mein")
    assert "holds mine" in refusal(str(run_folder.parent / "mein"))
    assert "holds checkpoint_step_2, checkpoint_step_4" in refusal(run_folder / "checkpoint_step_3")
    assert "name a run's folder" in refusal("/no/such/folder")
    assert "no such checkpoint" in refusal("~no-such-user/run")


def test_a_folder_of_runs_a_file_a_backbone_and_an_empty_folder_say_what_they_are(
    run_folder: Path, backbone_folder: Any, tmp_path: Path
) -> None:
    assert "it holds the runs mine" in refusal(run_folder.parent)
    assert "is a file; name the folder" in refusal(run_folder / "checkpoint_step_2" / MANIFEST)
    assert "surestep train --backbone" in refusal(backbone_folder("gpt2"))
    assert "holds no checkpoint (no manifest.json)" in refusal(tmp_path)
    assert "backbone without a trained head" in refusal("builtin:tiny")
    assert "has no revision 'main'" in refusal(run_folder, revision="main")


def test_of_a_run_the_best_else_the_latest_is_taken_and_said(run_folder: Path, tmp_path: Path) -> None:
    found = find_checkpoint(run_folder)
    assert (found.folder.name, found.line) == (
        "checkpoint_step_2",
        f"{run_folder} is a run: its best checkpoint by validation is checkpoint_step_2",
    )
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    shutil.rmtree(copy / "checkpoint_step_2")
    gone = find_checkpoint(copy)
    assert gone.folder.name == "checkpoint_step_4"
    assert gone.line is not None
    assert "the one marked as best is not there any more, so its latest is taken, checkpoint_step_4" in gone.line
    (copy / BEST).unlink()
    line = find_checkpoint(copy).line
    assert line is not None
    assert "none is marked as best" in line
    bare = Path(shutil.copytree(run_folder, tmp_path / "bare", ignore=shutil.ignore_patterns("checkpoint_step_*")))
    assert f"holds no checkpoint (no manifest.json): {BEST} names one that is not there any more" in refusal(bare)
    assert find_checkpoint(copy / "checkpoint_step_4") == (copy / "checkpoint_step_4", None)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"checkpoint": 3}', b'{"checkpoint": "../x"}', b"[" * 100_000, b"\xff"]
)
def test_a_damaged_mark_of_the_best_is_named_and_nothing_is_taken_in_its_place(
    run_folder: Path, tmp_path: Path, content: bytes
) -> None:
    copy = Path(shutil.copytree(run_folder, tmp_path / "copy"))
    (copy / BEST).write_bytes(content)
    assert f"{copy / BEST} is damaged" in refusal(copy)
    with pytest.raises(CheckpointError, match="is damaged"):
        find_evaluation(copy)
    (copy / BEST).unlink()
    os.mkfifo(copy / BEST)
    assert "is damaged" in refusal(copy)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
    hub._answers.cache_clear()
    yield
    hub._answers.cache_clear()


def test_a_hub_id_without_a_network_is_refused_by_name(offline: None) -> None:
    message = refusal("some-one/no-such-checkpoint", revision="v1")
    assert "some-one/no-such-checkpoint at revision v1: neither a folder here nor in the hub's local cache" in message


class StubHub:
    """A hub with one repository, in the client's own layout: files of a commit that are links into a store."""

    def __init__(self, checkpoint: Path, cache: Path) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.fetched: list[str] = []
        store, self.snapshot = cache / "blobs", cache / "snapshots" / COMMIT
        for path in [path for path in checkpoint.rglob("*") if path.is_file()]:
            name = path.relative_to(checkpoint).as_posix()
            (self.snapshot / name).parent.mkdir(parents=True, exist_ok=True)
            store.mkdir(exist_ok=True)
            shutil.copyfile(path, store / name.replace("/", "_"))
            (self.snapshot / name).symlink_to(store / name.replace("/", "_"))
        (self.snapshot / "README.md").write_text("a card")

    def file(self, name: str, filename: str, *, revision: str | None, local_files_only: bool) -> str:
        self.asked.append((name, revision))
        return str(self.snapshot / filename)

    def repository(self, name: str, *, revision: str, allow_patterns: list[str], local_files_only: bool) -> str:
        self.asked.append((name, revision))
        self.fetched = allow_patterns
        return str(self.snapshot)


@pytest.fixture
def stub(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubHub:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = StubHub(checkpoint, tmp_path / "hub")
    monkeypatch.setattr("surestep.scoring.checkpoint.from_hub.from_cache_only", lambda _name: False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", made.file)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.repository)
    return made


def test_a_checkpoint_from_the_hub_scores_as_the_one_here(stub: StubHub, scorer: Scorer) -> None:
    for _ in range(2):
        loaded = Scorer.load("some-one/gpt2-prm", revision="v1", device="cpu")
        assert loaded.score("1+1?", ["so 2"]) == scorer.score("1+1?", ["so 2"])
    assert stub.asked[:2] == [("some-one/gpt2-prm", "v1"), ("some-one/gpt2-prm", COMMIT)]
    assert MANIFEST in stub.fetched
    assert not any("README" in name or "training_state" in name for name in stub.fetched)
    assert not any(path.is_symlink() for path in Path(str(loaded.about()["checkpoint"])).rglob("*"))


def test_a_folder_of_that_name_goes_before_the_hub(stub: StubHub, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    assert "no such checkpoint" in refusal("outputs/mine"), "its parent is here, so it is a folder that is not"
    shutil.copytree(checkpoint, tmp_path / "outputs" / "mine")
    assert find_checkpoint("outputs/mine") == (Path("outputs/mine"), None)
    assert stub.asked == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (RepositoryNotFoundError, "nor a repository that the hub shows to you"),
        (RevisionNotFoundError, "knows no revision v1 of it"),
        (EntryNotFoundError, "holds no manifest.json: it is no checkpoint of Surestep"),
        (OSError, "cannot be taken from the hub (OSError: the disk is full)"),
    ],
)
def test_what_the_hub_answers_becomes_one_line(
    kind: type[Exception], words: str, stub: StubHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> str:
        error = kind.__new__(kind)
        error.args = ("the disk\nis full",)
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    assert words in refusal("some-one/gpt2-prm", revision="v1")


@pytest.mark.parametrize("content", ["{}", "[]", '{"files": {"../../x": {}}}', "no JSON"])
def test_a_manifest_that_is_none_is_refused(content: str, stub: StubHub) -> None:
    (stub.snapshot / MANIFEST).unlink()
    (stub.snapshot / MANIFEST).write_text(content)
    assert "some-one/gpt2-prm cannot be taken from the hub" in refusal("some-one/gpt2-prm")
