"""An endpoint over real HTTP: what is asked, what is understood, what is asked again, and what ends in one line."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from openai_server import OpenAIServer, openai_server, solution_text, step_text
from surestep.errors import InputError, ServerError, SurestepError
from surestep.inference.generation import GenerationSettings, OpenAIEndpoint
from surestep.inference.generation.completion_protocol import wait_before
from surestep.inference.generation.requests import Ask, Continuation, Continued, RefusedError


@pytest.fixture(scope="module")
def running() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


@pytest.fixture
def server(running: OpenAIServer) -> OpenAIServer:
    """The one server with its defaults; starting one takes longer than a test."""
    while running.at_once:  # requests that were given up
        time.sleep(0.01)
    fresh = OpenAIServer(url=running.url)
    running.__dict__.update(fresh.__dict__)
    return running


class Asking:
    """An endpoint whose waits take no time."""

    def __init__(self, server: OpenAIServer, **options: Any) -> None:
        self.waits: list[float] = []
        self.lines: list[str] = []

        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)

        settings = {"model": "fake", "say": self.lines.append, "sleep": sleep, **options}
        self.endpoint = OpenAIEndpoint(server.url, **settings)

    def __call__(
        self, *continuations: Continuation, stop: str | None = None, within_s: float | None = None, **settings: Any
    ) -> list[Continued | None]:
        async def work() -> list[Continued | None]:
            async with self.endpoint.opened() as opened:
                ask = Ask("1+1?", GenerationSettings(prompt="{problem} PROMPT>", **settings), stop)
                deadline = None if within_s is None else time.monotonic() + within_s
                return await opened.go_on(ask, continuations, deadline)

        return asyncio.run(work())


def whole(seed: int = 7, max_tokens: int = 100) -> Continuation:
    return Continuation("", seed, max_tokens)


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_whole_solutions_and_steps(server: OpenAIServer, api: Any) -> None:
    ask = Asking(server, api=api)
    found = ask(whole(3), whole(4), system="Be brief." if api == "chat" else None, temperature=0.5, top_p=0.9)
    assert [one and one.text for one in found] == [solution_text(3), solution_text(4)]
    assert all(one and one.ending == "end" and one.tokens == len(one.text.split(" ")) for one in found)
    body = next(body for body in server.asked if body["seed"] == 3)
    assert (body["n"], body["max_tokens"], body["temperature"], body["top_p"]) == (1, 100, 0.5, 0.9)
    assert "stop" not in body
    before = step_text("", 5)[0] + "\n\n"
    (step,) = ask(Continuation(before, 6, 50), stop="\n\n")
    assert step is not None
    assert (step.text, step.ending) == (step_text(before, 6)[0], "stop")
    assert server.asked[-1]["stop"] == ["\n\n"]
    last = before + step.text + "\n\n"
    (end,) = ask(Continuation(last, 6, 50), stop="\n\n")
    assert end is not None
    assert end.ending == "end"


def test_a_text_of_full_length_breaks_off_also_where_no_reason_is_given(server: OpenAIServer) -> None:
    assert [one and one.ending for one in Asking(server)(whole(max_tokens=4))] == ["length"]
    server.says_finish = False
    assert [one and one.ending for one in Asking(server)(whole(max_tokens=4), whole())] == ["length", "end"]


def test_a_server_that_does_not_say_which_stop_it_was(server: OpenAIServer) -> None:
    server.says_reason = False
    assert [one and one.ending for one in Asking(server)(whole(), stop="\n\n")] == ["end_or_stop"]


def test_several_solutions_in_one_request(server: OpenAIServer) -> None:
    ask = Asking(server, per_request=4)
    found = ask(*[whole(10 + i) for i in range(6)])
    assert sorted(body["n"] for body in server.asked) == [2, 4]
    assert [one and one.text for one in found] == [solution_text(s) for s in (10, 11, 12, 13, 14, 15)]
    assert ask.lines == []


def test_a_server_that_ignores_n_is_asked_for_each(server: OpenAIServer) -> None:
    server.answers_n = False
    ask = Asking(server, per_request=4)
    found = ask(*[whole(10 + i) for i in range(4)])
    assert [one and one.text for one in found] == [solution_text(s) for s in (10, 11, 12, 13)]
    assert ask.lines == ["the endpoint ignores 'n': each solution is asked for by itself"]


def test_a_server_that_does_not_count_tokens(server: OpenAIServer) -> None:
    server.says_usage = False
    ask = Asking(server)
    assert [one and one.tokens for one in ask(whole(), whole(8))] == [None, None]
    assert len(ask.lines) == 1
    assert "does not say how many tokens" in ask.lines[0]


PASSING = {
    "busy": (429, {"retry-after": "7"}),
    "overloaded": (503, {}),
    "failed": 500,
    "gateway": 502,
    "cut JSON": "cut",
    "no choices": "no choices",
    "null": "null",
}


@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_passes_is_waited_for(name: str, server: OpenAIServer) -> None:
    server.faults = [PASSING[name], PASSING[name]]
    ask = Asking(server)
    assert [one and one.text for one in ask(whole(3))] == [solution_text(3)]
    assert len(server.asked) == 3
    assert len(ask.waits) == 2
    if name == "busy":
        assert ask.waits == [7.0, 7.0]


LASTING: dict[str, tuple[list[Any], type[SurestepError], list[str]]] = {
    "always busy": ([(429, {})] * 3, ServerError, ["429 Too Many Requests: 'later'", "3 times in a row"]),
    "too much patience": ([(429, {"retry-after": "9999"})], ServerError, ["asks to wait for '9999'"]),
    "wrong key": ([401], ServerError, ["401", "is the API key right?"]),
    "wrong address": ([404], ServerError, ["404", "is the address right, and the model?"]),
    "refused": ([422], RefusedError, ["422", "no"]),
    "something else": (["no text"] * 3, ServerError, ["a choice without a text", "OpenAI protocol"]),
    "endless": (["huge"], ServerError, ["more than", "bytes"]),
    "leads elsewhere": (["redirect"], ServerError, ["307"]),
    "slow": (["slow"] * 3, ServerError, ["did not answer within 0.1 s"]),
}


@pytest.mark.parametrize("name", LASTING)
def test_a_fault_that_stays_is_one_line(name: str, server: OpenAIServer) -> None:
    faults, kind, words = LASTING[name]
    server.faults = list(faults)
    with pytest.raises(kind) as caught:
        Asking(server, retries=2, timeout_s=0.1 if name == "slow" else 5.0)(whole())
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_nobody_listens() -> None:
    with pytest.raises(ServerError, match="cannot be reached"):
        Asking(OpenAIServer(url="http://127.0.0.1:9"), retries=1)(whole())


def test_retry_after_may_be_a_date_and_waits_grow() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < (wait_before(0, later) or 0) <= 30.5
    assert wait_before(0, "soon") is not None
    assert all(2**i / 8 <= (wait_before(i, None) or 0) <= 2**i / 4 for i in range(6))
    assert (wait_before(400, None) or 0) <= 30
    assert wait_before(0, "nan") is not None
    assert wait_before(0, "-5") is not None


def test_no_more_requests_at_once_than_allowed(server: OpenAIServer) -> None:
    server.delay_s = 0.01
    Asking(server, concurrency=3)(*[whole(i) for i in range(9)])
    assert server.most_at_once == 3


def test_what_is_not_there_at_the_deadline_is_none(server: OpenAIServer) -> None:
    server.faults = [None, "slow", "slow"]
    found = Asking(server, concurrency=1)(whole(1), whole(2), whole(3), within_s=0.2)
    assert [one and one.text for one in found] == [solution_text(1), None, None]


def test_key_and_further_fields(server: OpenAIServer) -> None:
    ask = Asking(server, api_key="sk-secret", extra={"top_k": 20, "seed": None})
    ask(whole(0))
    assert server.headers[-1]["authorization"] == "Bearer sk-secret"
    assert server.asked[-1]["top_k"] == 20
    assert "seed" not in server.asked[-1]
    assert "secret" not in repr(ask.endpoint) + json.dumps(ask.endpoint.about())


def test_the_only_model_is_taken(server: OpenAIServer) -> None:
    ask = Asking(server, model=None)
    ask(whole())
    assert server.asked[-1]["model"] == "fake"
    assert ask.lines == ["the endpoint's model: fake"]
    server.models = ("one", "other")
    with pytest.raises(InputError, match=r"has 2 models.*--model"):
        Asking(server, model=None)(whole())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "localhost:8000"}, "allowed: http://"),
        ({"url": "ftp://host"}, "allowed: http://"),
        *(({"url": f"http://{place}"}, "a port up to") for place in ("host:99999", "host:-1", "host:0", "h:x", "[::1")),
        ({"url": "http://me:pw@host"}, "password"),
        ({"url": "http://host", "api": "responses"}, "allowed: chat, completions"),
        ({"url": "http://host", "api_key": "a\nb"}, "no header"),
        ({"url": "http://host", "concurrency": 0}, "concurrency is 0"),
    ],
)
def test_wrong_options_get_a_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        OpenAIEndpoint(**options)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("http://h:1", "http://h:1/v1"), ("http://h/v1/", "http://h/v1"), ("https://h/api/v3", "https://h/api/v3")],
)
def test_where_requests_go(given: str, expected: str) -> None:
    assert OpenAIEndpoint(given).url == expected
