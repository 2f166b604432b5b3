"""Servers that lie, drip, lead astray or send too much: one line, soon, and nothing outside the download is touched."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surestep.data.datasets.dataset import RemoteFile
from surestep.data.fetch import http_transfer
from surestep.data.fetch.download import fetch_file
from surestep.data.fetch.http_transfer import where_it_leads, without_secrets
from surestep.data.fetch.part_file import PartFile, open_part
from surestep.errors import DownloadError, StorageError, SurestepError
from surestep.untrusted.bounds import BOUNDS

CONTENT = bytes(range(256)) * 64
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"

Answer = Callable[[socket.socket, str], None]


@contextmanager
def serving(*answers: Answer, host: str = "127.0.0.1") -> Iterator[tuple[str, list[str]]]:
    """A server that answers its n-th connection by the n-th function, the last one for ever; and what it was asked."""
    asked: list[str] = []
    over = threading.Event()
    listening = socket.create_server((host, 0))

    def serve() -> None:
        while not over.is_set():
            try:
                connection = listening.accept()[0]
            except OSError:
                return
            with connection:
                request = b""
                while b"\r\n\r\n" not in request and (piece := connection.recv(65_536)):
                    request += piece
                if not request:
                    continue
                asked.append(request.decode("latin-1"))
                try:
                    answers[min(len(asked), len(answers)) - 1](connection, asked[-1])
                except OSError:  # the client has gone, as it should
                    continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://{host}:{listening.getsockname()[1]}", asked
    finally:
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def sends(content: bytes) -> Answer:
    return lambda connection, _request: connection.sendall(content)


def leads_to(address: str) -> Answer:
    return sends(f"HTTP/1.1 302 Found\r\nLocation: {address}\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))


def body(content: bytes = CONTENT, *, headers: str = "", status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
    return head.encode("latin-1") + content


def drips(connection: socket.socket, _request: str) -> None:
    """One byte after another, each in time, for ever."""
    connection.sendall(OK + b"\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


def drips_headers(connection: socket.socket, _request: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    drips_on(connection)


def drips_informations(connection: socket.socket, _request: str) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        time.sleep(0.02)


def drips_on(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


def falls_silent(connection: socket.socket, _request: str) -> None:
    connection.sendall(body()[:300])
    connection.recv(1)  # until the client leaves


def streams(connection: socket.socket, _request: str) -> None:
    """Without a length and without an end."""
    connection.sendall(OK + b"\r\n")
    while True:
        connection.sendall(b"x" * 65_536)


def remote(url: str, *, sha256: str | None = SHA256, num_bytes: int | None = len(CONTENT)) -> RemoteFile:
    return RemoteFile("data.jsonl", f"{url}/data.jsonl", num_bytes, sha256)


def failure(file: RemoteFile, folder: Path, *, attempts: int = 2, **options: Any) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch_file(file, folder, wait_s=0.0, num_attempts=attempts, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1_000
    assert not (folder / "data.jsonl").exists()
    return message


UNKNOWN: dict[str, Any] = {"sha256": None, "num_bytes": None}
NAMED: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "length that is a word": (OK + b"Content-Length: abc\r\n\r\n" + CONTENT, {}, "connection broke"),
    "length below zero": (OK + b"Content-Length: -5\r\n\r\n" + CONTENT, {}, "connection broke"),
    "length of 5,000 digits": (OK + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n", {}, "connection broke"),
    "two lengths": (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", {}, "connection broke"),
    "length of another file": (body(b"x" * 50), {}, "announces 50 bytes, the file has 16,384"),
    "length beyond the cap": (OK + b"Content-Length: 99999999999999\r\n\r\n", UNKNOWN, "SURESTEP_MAX_DOWNLOAD_MIB"),
    "length that promises more than comes": (
        OK + b"Content-Length: 16384\r\n\r\n" + CONTENT[:100],
        {},
        r"connection broke .*2 attempts",
    ),
    "cut where nothing is known": (OK + b"Content-Length: 500\r\n\r\nabc", UNKNOWN, "connection broke"),
    "cut in a chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\nff\r\nabc", UNKNOWN, "connection broke"),
    "chunk of no size": (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc", UNKNOWN, "connection broke"),
    "more than the known size": (OK + b"\r\n" + CONTENT + b"x", {}, "more than its 16,384 bytes"),
    "less than the known size": (OK + b"\r\nabc", {"sha256": None}, "it has 3 bytes, expected 16,384"),
    "empty": (body(b""), UNKNOWN, "it is empty"),
    "empty, no length": (OK + b"\r\n", UNKNOWN, "it is empty"),
    "empty, checked": (OK + b"\r\n", {"num_bytes": None}, "it is empty"),
    "packed": (body(gzip.compress(b"\0" * 2**24), headers="Content-Encoding: gzip\r\n"), UNKNOWN, "packed .*'gzip'"),
    "packed twice": (body(b"x", headers="Content-Encoding: gzip, br\r\n"), UNKNOWN, "packed"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", UNKNOWN, "answered 204"),
    "part that nobody asked for": (
        body(CONTENT[:9], status="206 x", headers="Content-Range: bytes 0-8/16384\r\n"),
        UNKNOWN,
        "answered 206",
    ),
    "a status of its own": (body(status="799 \x1b[2J"), {}, "answered 799"),
    "no http": (b"SSH-2.0-OpenSSH_9\r\n\r\n", {}, "connection broke"),
    "nothing": (b"", {}, "connection broke"),
    "headers without end": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2**20, {}, "connection broke"),
    "ten thousand headers": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n", {}, "connection broke"),
    "a web page": (body(b"<html>", headers="Content-Type: TEXT/HTML; charset=x\r\n"), UNKNOWN, "web page"),
    "a redirect to nowhere": (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", {}, "answered 302"),
}


@pytest.mark.parametrize(("answer", "known", "said"), NAMED.values(), ids=NAMED)
def test_an_answer_that_is_not_the_file_is_one_line(
    answer: bytes, known: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with serving(sends(answer)) as (url, _):
        message = failure(remote(url, **known), tmp_path)
    assert re.search(said, message), message
    left = os.listdir(tmp_path)
    assert left in ([], ["data.jsonl.part"])
    assert left == [] or known.get("sha256", SHA256) is not None, "what cannot be gone on with does not stay"


@pytest.mark.parametrize("answer", [drips, drips_headers, drips_informations])
def test_a_server_that_drips_meets_the_total_time(
    answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = next(bound for bound in BOUNDS if bound.variable == "SURESTEP_MAX_DOWNLOAD_MINUTES")
    monkeypatch.setattr(type(bound), "__call__", lambda self: 0.3 if self is bound else self.default * self.size)
    begun = time.monotonic()
    with serving(answer) as (url, _):
        assert "SURESTEP_MAX_DOWNLOAD_MINUTES higher" in failure(remote(url, **UNKNOWN), tmp_path)
    assert time.monotonic() - begun < 3
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_server_that_falls_silent_meets_the_idle_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURESTEP_MAX_IDLE_SECONDS", "1")
    with serving(falls_silent) as (url, asked):
        message = failure(remote(url), tmp_path, attempts=1)
    assert "nothing for more than 1 seconds" in message
    assert "SURESTEP_MAX_IDLE_SECONDS" in message
    assert len(asked) == 1


def test_a_stream_without_end_meets_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURESTEP_MAX_DOWNLOAD_MIB", "1")
    with serving(streams) as (url, asked):
        assert "it holds more than 1 MiB" in failure(remote(url, **UNKNOWN), tmp_path)
        assert "more than its 16,384 bytes" in failure(remote(url), tmp_path)
        assert len(asked) == 2, "neither is tried again"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "address",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x", "gopher://127.0.0.1/x", "javascript:1", "//["],
)
def test_a_redirect_to_another_scheme_is_refused(address: str, tmp_path: Path) -> None:
    with serving(leads_to(address)) as (url, _):
        message = failure(remote(url), tmp_path)
    assert re.search("allowed: http and https|is no address|answered 302", message), message
    assert os.listdir(tmp_path) == []


def test_redirects_lead_to_the_file_and_do_not_go_on_for_ever(tmp_path: Path) -> None:
    with serving(sends(body())) as (there, _), serving(leads_to(f"{there}/data.jsonl")) as (url, _):
        assert fetch_file(remote(url), tmp_path / "one").read_bytes() == CONTENT
    with serving(leads_to("/data.jsonl")) as (url, asked):
        assert "more than 10 redirects" in failure(remote(url), tmp_path)
        assert len(asked) == 11


def test_the_body_of_a_redirect_is_not_read(tmp_path: Path) -> None:
    def bomb(connection: socket.socket, _request: str) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Encoding: gzip\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65_536)

    with serving(bomb, sends(body())) as (url, _):
        assert fetch_file(remote(url), tmp_path).read_bytes() == CONTENT


def test_a_public_server_cannot_lead_to_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 plays the public server, 127.0.0.2 this machine: it is connected to, and sent nothing."""
    real = http_transfer.where_it_leads
    monkeypatch.setattr(
        http_transfer, "where_it_leads", lambda host: "a public address" if host == "127.0.0.1" else real(host)
    )
    with serving(sends(body()), host="127.0.0.2") as (inside, asked), serving(leads_to(f"{inside}/x")) as (url, _):
        message = failure(remote(url), tmp_path)
        assert "from a public address to this machine's own" in message
        assert asked == []
        assert fetch_file(remote("http://nowhere.invalid"), tmp_path, base=inside).read_bytes() == CONTENT
    name = f"http://localhost:{inside.rpartition(':')[2]}"
    monkeypatch.setattr(http_transfer, "proxy_of", lambda _url: "http://proxy")
    hops = http_transfer._Hops()
    hops.check_address("http://example.org/x")
    with pytest.raises(DownloadError, match="this machine's own"):
        hops.check_address(f"{name}/x")


def test_https_does_not_lead_to_http(monkeypatch: pytest.MonkeyPatch) -> None:
    hops = http_transfer._Hops()
    hops.check_address("https://example.org/x")
    hops.check_address("https://example.com/x")
    with pytest.raises(DownloadError, match="from https to"):
        hops.check_address("http://example.com/x")


@pytest.mark.parametrize(
    ("host", "leads"),
    [
        ("8.8.8.8", "a public address"),
        ("2606:4700::1111", "a public address"),
        ("example.org", "a public address"),
        ("10.0.0.1", "an address within a network"),
        ("192.168.1.1", "an address within a network"),
        ("100.64.0.1", "an address within a network"),
        ("fd00::1", "an address within a network"),
        ("::ffff:10.0.0.1", "an address within a network"),
        ("169.254.169.254", "this machine's own"),
        ("127.8.8.8", "this machine's own"),
        ("0.0.0.0", "this machine's own"),
        ("::1", "this machine's own"),
        ("::ffff:127.0.0.1", "this machine's own"),
        ("fe80::1%eth0", "this machine's own"),
        ("LOCALHOST.", "this machine's own"),
        ("a.localhost", "this machine's own"),
    ],
)
def test_where_an_address_leads(host: str, leads: str) -> None:
    assert where_it_leads(host) == leads


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder", "second name"])
def test_a_part_that_is_something_else_is_left_alone(kind: str, tmp_path: Path) -> None:
    precious, part = tmp_path / "precious", tmp_path / "to" / "data.jsonl.part"
    part.parent.mkdir()
    if kind != "dangling link":
        precious.write_bytes(b"mine")
    if kind.endswith("link"):
        part.symlink_to(precious)
    elif kind == "pipe":
        os.mkfifo(part)
    elif kind == "folder":
        part.mkdir()
    else:
        part.hardlink_to(precious)
    with serving(sends(body())) as (url, asked):
        assert "not the part of a download: remove it" in failure(remote(url), part.parent)
        assert asked == []
    assert os.path.lexists(part)
    assert precious.read_bytes() == b"mine" if kind != "dangling link" else not precious.exists()


def test_a_part_is_written_by_one_process(tmp_path: Path) -> None:
    with serving(sends(body())) as (url, asked):
        with open_part(tmp_path / "data.jsonl.part", keep=True) as part:
            part.write(CONTENT[:100])
            assert "another process" in failure(remote(url), tmp_path)
        assert asked == []
        assert (tmp_path / "data.jsonl.part").read_bytes() == CONTENT[:100]


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_a_target_that_is_no_file_is_said_at_once(kind: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data.jsonl") if kind == "pipe" else (tmp_path / "data.jsonl").mkdir()
    with pytest.raises(DownloadError, match="is no file"):
        fetch_file(remote("http://127.0.0.1:9"), tmp_path)


def test_a_link_for_a_target_that_leads_nowhere_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").symlink_to(tmp_path / "elsewhere")
    with serving(sends(body())) as (url, _):
        fetch_file(remote(url), tmp_path)
    assert (tmp_path / "data.jsonl").read_bytes() == CONTENT
    assert not (tmp_path / "elsewhere").exists()


def ranged(content: bytes, *, etag: str = "", claims: str = "") -> Answer:
    """Honours a range whatever `If-Range` says; `claims` is another `Content-Range`."""

    def answer(connection: socket.socket, request: str) -> None:
        begin = int(request.partition("bytes=")[2].partition("-")[0] or 0)
        sent = claims or f"bytes {begin}-{len(content) - 1}/{len(content)}"
        headers = f"ETag: {etag}\r\n" if etag else ""
        status = "200 OK"
        if begin:
            status, headers = "206 Partial", headers + f"Content-Range: {sent}\r\n"
        connection.sendall(body(content[begin:], status=status, headers=headers))

    return answer


def cut(content: bytes, at: int, *, etag: str) -> Answer:
    return lambda connection, _request: connection.sendall(
        body(content, headers=f"ETag: {etag}\r\n")[: -len(content) + at]
    )


def test_a_file_that_changes_between_two_attempts_is_fetched_anew(tmp_path: Path) -> None:
    """The server ignores If-Range: the other version is known by its ETag."""
    other = b"y" * len(CONTENT)
    with serving(cut(other, 5_000, etag='"a"'), ranged(CONTENT, etag='"b"'), sends(body())) as (url, asked):
        assert fetch_file(remote(url), tmp_path, wait_s=0.0).read_bytes() == CONTENT
    assert [("bytes=5000-" in request, 'if-range: "a"' in request.lower()) for request in asked] == [
        (False, False),
        (True, True),
        (False, False),
    ]


@pytest.mark.parametrize(
    "claims",
    ["bytes 0-16383/16384", "bytes 5001-16383/16384", "bytes x", "bytes 5000-4000/16384", "bytes 5000-9/" + "9" * 99],
)
def test_a_part_that_does_not_fit_is_fetched_anew(claims: str, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl.part").write_bytes(CONTENT[:5_000])
    with serving(ranged(CONTENT, claims=claims), sends(body())) as (url, asked):
        assert fetch_file(remote(url), tmp_path, wait_s=0.0).read_bytes() == CONTENT
    assert "range:" not in asked[1].lower()


def test_a_range_of_a_larger_file_is_another_file(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl.part").write_bytes(CONTENT[:5_000])
    with serving(ranged(CONTENT, claims="bytes 5000-99998/99999")) as (url, _):
        assert "announces 99,999 bytes" in failure(remote(url), tmp_path)


@pytest.mark.parametrize("sha256", [SHA256, None])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_disk_that_fills_up_is_one_line(
    code: int, sha256: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PartFile.write

    def full(self: PartFile, chunk: bytes) -> None:
        real(self, chunk[:100])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(PartFile, "write", full)
    with serving(sends(body())) as (url, asked), pytest.raises(StorageError) as caught:
        fetch_file(remote(url, sha256=sha256), tmp_path, wait_s=0.0)
    assert "\n" not in str(caught.value)
    assert len(asked) == 1, "a fault of the disk is no fault of the connection"
    assert os.listdir(tmp_path) == (["data.jsonl.part"] if sha256 else [])


def test_a_disk_that_takes_half_of_what_is_written_loses_nothing(tmp_path: Path) -> None:
    """A write of the system may be short."""

    class Short:
        def __init__(self, file: Any) -> None:
            self.file = file

        def write(self, content: memoryview) -> int:
            return int(self.file.write(content[: max(1, len(content) // 2)]))

    with open_part(tmp_path / "a.part", keep=True) as part:
        part._file = Short(part._file)  # type: ignore[assignment]
        part.write(CONTENT)
    assert (tmp_path / "a.part").read_bytes() == CONTENT


def test_a_mirror_on_a_disk_meets_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.jsonl").write_bytes(b"x" * (2**20 + 1))
    monkeypatch.setenv("SURESTEP_MAX_DOWNLOAD_MIB", "1")
    file = remote("http://nowhere.invalid", **UNKNOWN)
    assert "more than 1 MiB" in failure(file, tmp_path / "to", base=str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    assert "no file" in failure(file, tmp_path / "to", base=str(tmp_path / "pipe"))


@pytest.mark.parametrize(
    "base", ["http://", "http://[::1", "https://a:b@", "http://\x00/", "http://a b/", "http://x:99999999/"]
)
def test_an_address_that_is_none(base: str, tmp_path: Path) -> None:
    assert "address" in failure(remote("http://nowhere.invalid"), tmp_path, base=base, attempts=1)


def test_a_proxy_that_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("nonsense://x:1", "http://x:port"):
        monkeypatch.setenv("http_proxy", wrong)
        monkeypatch.delenv("no_proxy", raising=False)
        assert "prox" in failure(remote("http://nowhere.invalid"), tmp_path, attempts=1)


def test_messages_hold_no_password_and_no_signature(tmp_path: Path) -> None:
    with serving(sends(b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n")) as (url, _):
        secret = url.replace("http://", "http://me:hunter2@")
        message = failure(remote(secret), tmp_path, base=f"{secret}/data.jsonl")
    assert "hunter2" not in message
    assert url in message
    assert without_secrets("http://h/p?X-Signature=s#f") == "http://h/p"


HEADERS = st.sampled_from(
    ["Content-Length", "Content-Range", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Location", "ETag"]
)
LINES = st.lists(
    st.tuples(HEADERS, st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20)), max_size=4
)


@settings(max_examples=15)
@given(status=st.integers(100, 999), lines=LINES, content=st.binary(max_size=30), begin=st.integers(0, 20))
def test_whatever_a_server_says_is_the_file_or_one_line(
    status: int, lines: list[tuple[str, str]], content: bytes, begin: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    if begin:
        (folder / "data.jsonl.part").write_bytes(CONTENT[:begin])
    said = "".join(f"{name}: {value}\r\n" for name, value in lines).encode("latin-1")
    with serving(sends(f"HTTP/1.1 {status} x\r\nConnection: close\r\n".encode() + said + b"\r\n" + content)) as (
        url,
        _,
    ):
        path = folder / "data.jsonl"
        error = None
        try:
            fetch_file(remote(url, sha256=SHA256 if begin else None, num_bytes=None), folder, num_attempts=1)
        except SurestepError as raised:
            error = raised
    if error is None:
        assert path.read_bytes() == content != b""
    else:
        assert "\n" not in str(error)
        assert not path.exists()
