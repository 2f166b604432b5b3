"""Downloads against a local server: a file is complete and checked, or it is not there."""

from __future__ import annotations

import errno
import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from surestep.data.datasets import PUBLIC_DATASETS
from surestep.data.datasets.dataset import RemoteFile
from surestep.data.fetch import part_file
from surestep.data.fetch.download import fetch_file
from surestep.errors import DownloadError, StorageError

CONTENT = bytes(range(256)) * 4096  # 1 MiB, four chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Behaviour:
    """What the server does wrong, and what it was asked."""

    ranges: bool = True
    cut_after: int | None = None
    cuts_left: int = 0
    statuses: list[int] = field(default_factory=list)
    content_type: str = "application/octet-stream"
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[tuple[str, Behaviour]]:
    """A server of CONTENT at any path, and its behaviour."""
    behaviour = Behaviour()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            behaviour.asked.append(asked)
            if behaviour.statuses:
                self.send_error(behaviour.statuses.pop(0))
                return
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and behaviour.ranges else 0
            if start >= len(CONTENT):
                self.send_error(416)
                return
            body = CONTENT[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", behaviour.content_type)
            self.end_headers()
            if behaviour.cut_after is not None and behaviour.cuts_left:
                behaviour.cuts_left -= 1
                body = body[: behaviour.cut_after]
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", behaviour
        running.shutdown()
        thread.join()


def remote(url: str, sha256: str | None = SHA256, num_bytes: int | None = len(CONTENT)) -> RemoteFile:
    return RemoteFile("data.jsonl", f"{url}/data.jsonl", num_bytes, sha256)


def fetch(file: RemoteFile, folder: Path, **options: Any) -> Path:
    return fetch_file(file, folder, wait_s=0.0, **options)


def failure(file: RemoteFile, folder: Path, **options: Any) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch(file, folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_fetched_checked_and_named_only_when_whole(server, tmp_path: Path) -> None:
    url, _ = server
    seen: list[tuple[int, int | None]] = []
    path = fetch(remote(url), tmp_path / "new" / "folder", progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert os.listdir(path.parent) == ["data.jsonl"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_cut_transfer_goes_on_where_it_stopped(server, tmp_path: Path) -> None:
    url, behaviour = server
    behaviour.cut_after, behaviour.cuts_left = 300_000, 2
    assert fetch(remote(url), tmp_path).read_bytes() == CONTENT
    assert behaviour.asked == [None, "bytes=300000-", "bytes=600000-"]


def test_a_part_left_by_an_earlier_run_is_continued(server, tmp_path: Path) -> None:
    url, behaviour = server
    (tmp_path / "data.jsonl.part").write_bytes(CONTENT[:1000])
    assert fetch(remote(url), tmp_path).read_bytes() == CONTENT
    assert behaviour.asked == ["bytes=1000-"]


def test_a_server_without_ranges_is_read_from_the_start(server, tmp_path: Path) -> None:
    url, behaviour = server
    behaviour.ranges = False
    (tmp_path / "data.jsonl.part").write_bytes(b"half of it")
    assert fetch(remote(url), tmp_path).read_bytes() == CONTENT


def test_without_a_known_checksum_nothing_is_joined_to_an_old_part(server, tmp_path: Path) -> None:
    url, behaviour = server
    (tmp_path / "data.jsonl.part").write_bytes(b"another version of it")
    assert fetch(remote(url, sha256=None, num_bytes=None), tmp_path).read_bytes() == CONTENT
    assert behaviour.asked == [None]


@pytest.mark.parametrize("num_bytes", [len(CONTENT), None])
def test_a_whole_part_is_only_checked(server, tmp_path: Path, num_bytes: int | None) -> None:
    url, _ = server
    (tmp_path / "data.jsonl.part").write_bytes(CONTENT)
    assert fetch(remote(url, num_bytes=num_bytes), tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing_behind(server, tmp_path: Path) -> None:
    url, _ = server
    message = failure(remote(url, sha256="0" * 64), tmp_path)
    assert SHA256 in message
    assert "0" * 64 in message
    assert os.listdir(tmp_path) == []


def test_a_part_of_another_version_is_found_out_and_removed(server, tmp_path: Path) -> None:
    url, _ = server
    (tmp_path / "data.jsonl.part").write_bytes(b"x" * 1000)
    assert "sha256" in failure(remote(url), tmp_path)
    assert fetch(remote(url), tmp_path).read_bytes() == CONTENT


def test_not_found_is_final(server, tmp_path: Path) -> None:
    url, behaviour = server
    behaviour.statuses = [404]
    message = failure(remote(url), tmp_path)
    assert "404" in message
    assert f"{url}/data.jsonl" in message
    assert len(behaviour.asked) == 1


def test_a_server_error_is_tried_again(server, tmp_path: Path) -> None:
    url, behaviour = server
    behaviour.statuses = [500, 503, 429]
    assert fetch(remote(url), tmp_path).read_bytes() == CONTENT
    assert len(behaviour.asked) == 4


def test_a_lasting_fault_is_one_line_and_keeps_the_part(server, tmp_path: Path) -> None:
    url, behaviour = server
    behaviour.cut_after, behaviour.cuts_left = 100_000, 99
    message = failure(remote(url), tmp_path, num_attempts=3)
    assert "3 attempts" in message
    assert (tmp_path / "data.jsonl.part").stat().st_size == 300_000
    behaviour.statuses = [500] * 4
    assert "500" in failure(remote(url), tmp_path)
    assert (tmp_path / "data.jsonl.part").stat().st_size == 300_000


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    message = failure(remote("http://127.0.0.1:9"), tmp_path, num_attempts=2)
    assert "cannot be reached" in message


def test_a_web_page_instead_of_the_file(server, tmp_path: Path) -> None:
    url, behaviour = server
    behaviour.content_type = "text/html; charset=utf-8"
    assert "web page" in failure(remote(url), tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_there_and_right_is_left_alone(server, tmp_path: Path) -> None:
    url, behaviour = server
    (tmp_path / "data.jsonl").write_bytes(CONTENT)
    fetch(remote(url), tmp_path)
    assert behaviour.asked == []


def test_a_file_that_is_there_and_differs_is_never_overwritten(server, tmp_path: Path) -> None:
    url, behaviour = server
    (tmp_path / "data.jsonl").write_bytes(b"my own")
    assert "nothing was changed" in failure(remote(url), tmp_path)
    assert (tmp_path / "data.jsonl").read_bytes() == b"my own"
    assert behaviour.asked == []


@pytest.mark.parametrize("ending", ["", "/", "/data.jsonl"])
def test_a_mirror_by_address(server, tmp_path: Path, ending: str) -> None:
    url, _ = server
    assert fetch(remote("http://nowhere.invalid"), tmp_path, base=url + ending).read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["", "data.jsonl"])
def test_a_mirror_on_disk(tmp_path: Path, name: str) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "data.jsonl").write_bytes(CONTENT)
    path = fetch(remote("http://nowhere.invalid"), tmp_path / "to", base=str(mirror / name))
    assert path.read_bytes() == CONTENT
    assert "no file" in failure(remote("x"), tmp_path / "else", base=str(tmp_path / "absent"))


def test_no_address_and_no_mirror(tmp_path: Path) -> None:
    assert "agreeing" in failure(RemoteFile("reveal_eval.csv", None), tmp_path)


def test_a_full_disk_is_said_before_anything_is_fetched(server, tmp_path: Path) -> None:
    url, behaviour = server
    with pytest.raises(StorageError, match="needs 10,000,000,000,000,000 bytes"):
        fetch(remote(url, num_bytes=10**16), tmp_path)
    assert behaviour.asked == []


def test_a_disk_that_fills_up_while_fetching(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, _ = server

    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(part_file.os, "replace", full)
    with pytest.raises(StorageError, match="the disk is full while fetching data"):
        fetch(remote(url), tmp_path)


def test_a_folder_that_cannot_be_made(server, tmp_path: Path) -> None:
    url, _ = server
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        fetch(remote(url), tmp_path / "file" / "folder")


def test_the_catalogue_says_only_what_is_known() -> None:
    for dataset in PUBLIC_DATASETS.values():
        assert dataset.licence
        for file in dataset.files:
            assert file.url is None or file.url.startswith("https://")
            assert file.url is not None or dataset.by_hand
            assert file.sha256 is None or len(bytes.fromhex(file.sha256)) == 32
    assert {file.name: file.num_bytes for file in PUBLIC_DATASETS["prm800k"].files}["phase2_train.jsonl"] == 456_135_365
