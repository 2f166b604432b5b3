"""Who may not in is told so before a byte of the body is read, and holds no room."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from fake_server import Server, at_once, expected, now, serving, solution
from surestep.errors import ConfigError
from surestep.serving.api_keys import ApiKeys, check_exposed, read_api_keys
from surestep.serving.settings import ServeConfig
from surestep.serving.speed import BusyError, Room, Speed

ADA, BOB = "ada-" + "a" * 20, "bob-" + "b" * 20


class Connection:
    """One request by hand: how much of the body was asked for, and what came back."""

    def __init__(self, body: list[bytes], *, then: str = "wait", pause_s: float = 0.0, **headers: str) -> None:
        self.chunks = list(body)
        self.num_asked = 0
        self.num_asked_before_answer: int | None = None
        self.answer: list[dict[str, Any]] = []
        self._then = then
        self._pause_s = pause_s
        self.headers = {"content-type": "application/json", **headers}

    async def receive(self) -> dict[str, Any]:
        self.num_asked += 1
        await asyncio.sleep(self._pause_s)
        if self.chunks:
            chunk = self.chunks.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(self.chunks) or self._then == "more"}
        if self._then == "leave":
            return {"type": "http.disconnect"}
        await asyncio.sleep(10_000)
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if not self.answer:
            self.num_asked_before_answer = self.num_asked
        self.answer.append(message)

    async def ask(self, server: Server, path: str = "/v1/steps", method: str = "POST") -> None:
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in self.headers.items()],
            "server": ("server", 80),
            "client": ("client", 1),
        }
        await server.app(scope, self.receive, self.send)

    @property
    def status(self) -> int:
        return int(self.answer[0]["status"])

    @property
    def error(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(b"".join(part.get("body", b"") for part in self.answer[1:]))["error"]
        return found

    def header(self, name: str) -> str:
        return dict(self.answer[0]["headers"])[name.lower().encode()].decode()


def body_of(number: int, **size: int) -> list[bytes]:
    return [json.dumps(solution(number, **size)).encode()]


@pytest.mark.slow
def test_a_full_queue_refuses_before_the_body_is_read_and_says_when_to_come_again() -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            bodies = [solution(number, words=95, steps=4) for number in range(400)]
            flood = [asyncio.create_task(client.post("/v1/steps", json=body)) for body in bodies]
            await asyncio.sleep(0.02)
            waits, started = set(), now()
            for number in range(30):
                refused = Connection(body_of(number), **{"content-length": "300000"})
                await refused.ask(server)
                assert refused.status == 429
                assert refused.num_asked_before_answer == 0
                assert refused.error["type"] == "too_many_requests"
                waits.add(int(refused.header("Retry-After")))
            assert now() == started
            assert waits <= {5, 6, 7, 8}, "the queue holds five seconds of work; up to half as much again by chance"
            assert len(waits) > 1, "those refused together do not come again together"
            answers = [await work for work in flood]
            assert {answer.status_code for answer in answers} == {200, 429}
            for body, answer in zip(bodies, answers, strict=True):
                if answer.status_code == 200:
                    assert answer.json()["confidences"] == expected(body)
            assert server.service.room.num_tokens == 0
            assert (await client.post("/v1/steps", json=solution(1))).status_code == 200

    at_once(main())


def test_what_is_alone_always_finds_room() -> None:
    room = Room(Speed(ServeConfig(queue_s=0.001), 8192), 1.0)
    first = room.reserve("a", 4_000_000)
    with pytest.raises(BusyError):
        room.reserve("b", 10)
    first.release()
    room.reserve("b", 10).release()
    assert room.num_tokens == 0


def test_one_key_leaves_room_for_others() -> None:
    speed = Speed(ServeConfig(queue_s=1), 8192)
    speed.seconds_per_token = 1 / 1000
    room = Room(speed, 0.25, jitter=lambda: 0.0)
    held = [room.reserve("a", 400), room.reserve("a", 400)]
    with pytest.raises(BusyError):
        room.reserve("a", 400)
    held.append(room.reserve("b", 400))
    for reservation in held:
        reservation.release()
    assert room.num_tokens == 0


def test_a_key_that_is_alone_with_a_large_body_leaves_room_for_others() -> None:
    async def main() -> None:
        keys = ApiKeys([("ada", ADA), ("bob", BOB)])
        async with serving(keys=keys, queue_s=1) as server, server.client(BOB) as bob:
            slow = Connection([b"{"], then="more", authorization=f"Bearer {ADA}", **{"content-length": "4000000"})
            work = asyncio.create_task(slow.ask(server))
            await asyncio.sleep(0.1)
            assert (await bob.post("/v1/steps", json=solution(1))).status_code == 200
            await work
            assert slow.status == 408

    at_once(main())


def test_a_body_of_unknown_length_is_counted_while_it_comes() -> None:
    async def main() -> None:
        async with serving(max_body_mb=0.01) as server:
            chunked = Connection([b"x" * 4000] * 10)
            await chunked.ask(server)
            assert chunked.status == 413
            assert chunked.num_asked_before_answer == 3
            told = Connection([b"x" * 4000] * 10, **{"content-length": "40000"})
            await told.ask(server)
            assert told.status == 413
            assert told.num_asked_before_answer == 0
            assert server.service.room.num_tokens == 0

    at_once(main())


def test_a_body_that_does_not_arrive_is_given_up() -> None:
    async def main() -> None:
        async with serving(body_timeout_s=3) as server:
            slow = Connection([b"{"], then="more")
            started = now()
            await slow.ask(server)
            assert slow.status == 408
            assert now() - started == pytest.approx(3)
            assert slow.error["type"] == "request_timeout"
            assert server.service.room.num_tokens == 0

    at_once(main())


def test_a_client_that_leaves_leaves_the_queue() -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            flood = [asyncio.create_task(client.post("/v1/steps", json=solution(n, words=95))) for n in range(40)]
            await asyncio.sleep(0.02)
            gone = Connection(body_of(777), then="leave")
            await gone.ask(server)
            assert gone.answer == []
            assert {(await work).status_code for work in flood} == {200}
            assert "problem 777" not in server.runner.order
            assert any('"status": 499' in line for line in server.log)
            left_while_sending = Connection([b"{"], then="more")
            left_while_sending._then = "leave"
            left_while_sending.chunks = []
            await left_while_sending.ask(server)
            assert left_while_sending.answer == []
            assert server.service.room.num_tokens == 0

    at_once(main())


def test_without_a_valid_key_nothing_is_read() -> None:
    wrong: list[dict[str, str]] = [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {ADA}"},
        {"authorization": f"Bearer {ADA}x"},
        {"authorization": f"Bearer {ADA[:-1]}"},
        {"x-api-key": ""},
        {"x-api-key": "ÿ" * 30},
    ]
    addresses = (("/v1/steps", "POST"), ("/v1/about", "GET"), ("/metrics", "GET"), ("/else", "PUT"))

    async def main() -> None:
        async with serving(keys=ApiKeys([("ada", ADA)])) as server:
            for headers in wrong:
                for path, method in addresses:
                    refused = Connection(body_of(1), **headers)
                    await refused.ask(server, path, method)
                    assert (refused.status, refused.num_asked_before_answer) == (401, 0), headers
                    assert refused.header("WWW-Authenticate") == "Bearer"
            for path in ("/health", "/ready", "/openapi.json"):
                let_in = Connection([])
                await let_in.ask(server, path, "GET")
                assert let_in.status == 200

    at_once(main())


@pytest.mark.parametrize("headers", [{"authorization": f"bearer  {ADA}"}, {"x-api-key": ADA}])
def test_a_valid_key_is_let_in(headers: dict[str, str]) -> None:
    async def main() -> None:
        async with serving(keys=ApiKeys([("ada", ADA), ("bob", BOB)])) as server:
            asked = Connection(body_of(1), **headers)
            await asked.ask(server)
            assert asked.status == 200
            line = json.loads(server.log[-1])
            assert line["key"] == "ada"
            assert ADA not in "".join(server.log)

    at_once(main())


def test_every_key_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time must not say how far down the list a key stands."""
    from surestep.serving import api_keys

    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr(api_keys.hmac, "compare_digest", compare)
    keys = ApiKeys([("ada", ADA), ("bob", BOB)])
    caller = keys.caller([(b"x-api-key", ADA.encode())])
    assert caller is not None
    assert caller.name == "ada"
    assert len(compared) == 2
    assert all(len(digest) == 32 for digest in compared), "hashes, so that lengths say nothing either"
    other = keys.caller([(b"x-api-key", BOB.encode())])
    assert other is not None
    assert other.namespace != caller.namespace


def test_keys_are_read_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# those who may\nada {ADA}\n\n{BOB}\n")
    keys = read_api_keys(file)
    assert [keys.caller([(b"x-api-key", key.encode())]).name for key in (ADA, BOB)] == ["ada", "key-4"]  # type: ignore[union-attr]
    file.write_bytes(f"\ufeffada {ADA}\r\n{BOB}\r\n".encode())
    keys = read_api_keys(file)
    assert [keys.caller([(b"x-api-key", key.encode())]).name for key in (ADA, BOB)] == ["ada", "key-2"]  # type: ignore[union-attr]
    assert len(read_api_keys(None, {"SURESTEP_API_KEYS": f" {ADA}, {BOB},"})) == 2
    assert len(read_api_keys(None, {})) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("short", "has 5 letters"),
        (f"ada {ADA}\nada {BOB}", "stands twice"),
        (f"a {ADA}\nb {ADA}", "stands twice"),
        (f"a b {ADA}", "has 3 words"),
        ("# nobody\n", "holds no key"),
        ("schlüssel-" + "ü" * 20, "allowed: from 16, ASCII"),
    ],
)
def test_a_file_of_keys_that_is_wrong_is_refused_in_a_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words) as caught:
        read_api_keys(file)
    assert ADA not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_api_keys(tmp_path / "none")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]"])
def test_loopback_needs_no_key(host: str) -> None:
    check_exposed(host, ApiKeys())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_any_other_address_needs_keys(host: str) -> None:
    with pytest.raises(ConfigError, match="there are no API keys"):
        check_exposed(host, ApiKeys())
    check_exposed(host, ApiKeys([("ada", ADA)]))


def test_without_keys_only_loopback_names_are_answered() -> None:
    """A page of a web site whose name points to 127.0.0.1 must not read what is answered here."""
    from fake_server import FakeRunner, FakeThreads
    from surestep.serving.app import create_app

    app = create_app(ServeConfig(), FakeRunner(), threads=FakeThreads(), loopback_names_only=True)
    hosts = {
        "127.0.0.1:8000": 200,
        "localhost": 200,
        "[::1]:8000": 200,
        "[::1]": 200,
        "evil.example:8000": 400,
        "evil.example": 400,
        "127.0.0.1.evil.example": 400,
        "localhost.evil.example:80": 400,
        "": 400,
    }

    async def main() -> None:
        for host, status in hosts.items():
            for path in ("/health", "/v1/about"):
                asked = Connection([], host=host)
                await asked.ask(Server(app, FakeRunner(), []), path, "GET")
                assert asked.status == status, host

    at_once(main())
