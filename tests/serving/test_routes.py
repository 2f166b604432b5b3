"""What each address answers, and that every mistake of a client is one line of one shape with the right status."""

from __future__ import annotations

import asyncio
import io
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_server import FakeRunner, Server, at_once, expected, number_for, serving, solution
from surestep.serving.http.event_log import EventLog

TEXTS = ["the cat of Ada Lovelace", "sat on my secret mat"]


def ask(path: str, body: Any, method: str = "POST", *, settings: dict[str, Any] | None = None, **options: Any) -> Any:
    """The answer of a new server; `body` is JSON, or bytes as they are."""

    async def main() -> Any:
        async with serving(**(settings or {})) as server, server.client() as client:
            if isinstance(body, bytes):
                headers = {"content-type": "application/json", **options}
                return await client.request(method, path, content=body, headers=headers)
            return await client.request(method, path, json=body, **options)

    return at_once(main())


def asked(*requests: tuple[str, Any]) -> list[Any]:
    """The answers of one server to bodies of JSON, or of bytes, one after another."""

    async def main() -> list[Any]:
        async with serving() as server, server.client(headers={"content-type": "application/json"}) as client:
            return [
                await client.post(path, **({"content": body} if isinstance(body, bytes) else {"json": body}))
                for path, body in requests
            ]

    return at_once(main())


def error_of(response: Any) -> str:
    """Its message, once it has the one shape."""
    found = response.json()
    assert set(found) == {"error"}
    assert set(found["error"]) == {"type", "message"}
    message: str = found["error"]["message"]
    assert message
    assert "\n" not in message
    assert response.headers["content-type"] == "application/json"
    assert re.fullmatch(r"[0-9a-f]{16}", response.headers["x-request-id"])
    return message


def test_a_solution_is_scored_with_all_its_numbers() -> None:
    body = solution(1, steps=3) | {"threshold": 0.7}
    numbers = expected(body)
    found = ask("/v1/steps", body).json()
    assert found["confidences"] == numbers
    assert found["raw"] == [number / 2 for number in numbers]
    assert found["min"] == min(numbers)
    assert found["product"] == pytest.approx(numbers[0] * numbers[1] * numbers[2])
    assert found["mean"] == pytest.approx(sum(numbers) / 3)
    assert found["last"] == numbers[-1]
    assert found["first_below"] == next((i for i, number in enumerate(numbers) if number < 0.7), None)


def test_without_a_threshold_no_step_is_named() -> None:
    assert ask("/v1/steps", solution(1)).json()["first_below"] is None


def test_candidates_come_best_first_and_share_what_they_begin_with() -> None:
    candidates = [["a", "b"], ["a", "c"], ["d"], ["a", "b"]]
    found = ask("/v1/rerank", {"problem": "p", "candidates": candidates, "by": "last"}).json()
    numbers = [number_for("p", steps) for steps in candidates]
    assert [one["index"] for one in found["ranking"]] == sorted(range(4), key=lambda i: (-numbers[i], i))
    assert [one["score"] for one in found["ranking"]] == sorted(numbers, reverse=True)
    assert found["num_tokens"] == 1 + 4, "the problem, a, b, c, d"
    for one in found["ranking"]:
        steps = candidates[one["index"]]
        assert one["confidences"] == [number_for("p", steps[: i + 1]) for i in range(len(steps))]


WRONG: list[tuple[Any, int, str]] = [
    (b"", 422, "the body is missing"),
    (b"{", 400, "not JSON"),
    (b"\xff\xfe", 400, "not UTF-8"),
    (b"[]", 422, "the body is []"),
    (b"null", 422, "the body"),
    (b'{"problem": "p", "steps": ["a"], "threshold": NaN}', 400, "NaN"),
    (b'{"problem": "p", "steps": ["a"], "threshold": Infinity}', 400, "Infinity"),
    (b'{"problem": "p", "steps": ["a"], "threshold": 1e999}', 422, "threshold"),
    (b'{"problem": "p", "problem": "q", "steps": ["a"]}', 400, "stands twice"),
    (b"[" * 100_000, 400, "nested"),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, 400, "nested"),
    (b'{"problem": "p", "steps": ["a"], "threshold": ' + b"9" * 10_000 + b"}", 400, "digits"),
    (b'{"problem": "p", "steps": ["\\ud800"]}', 422, "steps.0"),
    (b'{"problem": "\\udfff", "steps": ["a"]}', 422, "problem"),
    ({"steps": ["a"]}, 422, "problem is missing"),
    ({"problem": "p"}, 422, "steps is missing"),
    ({"problem": " \n", "steps": ["a"]}, 422, "problem"),
    ({"problem": "p", "steps": []}, 422, "steps"),
    ({"problem": "p", "steps": ["a", "\t"]}, 422, "steps.1"),
    ({"problem": "p", "steps": ["a", None]}, 422, "steps.1"),
    ({"problem": "p", "steps": "abc"}, 422, "steps is 'abc'"),
    ({"problem": "p", "steps": {"0": "a"}}, 422, "steps"),
    ({"problem": ["p"], "steps": ["a"]}, 422, "problem"),
    ({"problem": 7, "steps": ["a"]}, 422, "problem is 7"),
    ({"problem": "p", "steps": ["a"], "threshold": True}, 422, "threshold is True"),
    ({"problem": "p", "steps": ["a"], "threshold": "0.5"}, 422, "threshold is '0.5'"),
    ({"problem": "p", "steps": ["a"], "threshold": 1.5}, 422, "threshold is 1.5"),
    ({"problem": "p", "steps": ["a"], "treshold": 0.5}, 422, "treshold is no field of it"),
    ({"problem": "p", "steps": ["a"], "contexts": ["c", "d"]}, 422, "contexts has 2 entries for 1 step"),
    ({"problem": "unreadable", "steps": ["a"]}, 422, "cannot be read"),
]


def test_a_wrong_body_is_refused_in_one_line() -> None:
    for (body, status, words), response in zip(WRONG, asked(*(("/v1/steps", body) for body, *_ in WRONG)), strict=True):
        assert response.status_code == status, body
        assert words in error_of(response), body


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", ""])
def test_a_body_that_does_not_say_that_it_is_json_is_refused(kind: str) -> None:
    response = ask("/v1/steps", json.dumps(solution(1)).encode(), **{"content-type": kind})
    assert response.status_code == 400
    assert "must be JSON" in error_of(response)


@pytest.mark.parametrize("kind", ["Application/JSON; charset=utf-8", "application/problem+json"])
def test_the_ways_to_say_json(kind: str) -> None:
    assert ask("/v1/steps", json.dumps(solution(1)).encode(), **{"content-type": kind}).status_code == 200


def test_a_wrong_address_or_method_is_refused_in_one_line() -> None:
    cases = [
        ("GET", "/", 404),
        ("GET", "/v1/steps/", 404),
        ("POST", "/v1/nothing", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/v1/sessions/%00", 404),
        ("GET", "/docs", 404),
        ("GET", "/v1/steps", 405),
        ("DELETE", "/v1/rerank", 405),
        ("TRACE", "/health", 405),
    ]

    async def main() -> list[Any]:
        async with serving() as server, server.client() as client:
            return [await client.request(method, path, json={}) for method, path, _ in cases]

    for (method, path, status), response in zip(cases, at_once(main()), strict=True):
        assert response.status_code == status, f"{method} {path}"
        error_of(response)
        assert status != 405 or response.headers["allow"]


def test_a_wrong_method_names_all_that_the_address_takes() -> None:
    assert ask("/v1/sessions/x", {}, "PUT").headers["allow"] == "DELETE, GET"
    assert ask("/openapi.json", {}, "POST").headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("settings", "path", "body", "status", "words"),
    [
        ({"max_steps": 3}, "/v1/steps", solution(1, steps=4), 422, "4 steps; allowed: 3"),
        ({"max_steps": 1}, "/v1/rerank", {"problem": "p", "candidates": [["a", "b"]]}, 422, "2 steps; allowed: 1"),
        ({"max_candidates": 1}, "/v1/rerank", {"problem": "p", "candidates": [["a"], ["a"]]}, 422, "2 candidates"),
        ({"smallest_request": 4000}, "/v1/steps", solution(1, words=4000, steps=1), 413, "allowed: 4,000"),
        ({"smallest_request": 4000}, "/v1/steps", {"problem": "p" * 70_000, "steps": ["a"]}, 413, "4,000 tokens"),
        ({"max_body_mb": 0.001}, "/v1/steps", solution(1, words=300, steps=1), 413, "0.001 MB"),
        ({"smallest_request": 4000}, "/v1/sessions", {"problem": "p" * 70_000}, 413, "4,000 tokens"),
    ],
)
def test_every_limit(settings: dict[str, Any], path: str, body: Any, status: int, words: str) -> None:
    response = ask(path, body, settings={"pass_time_ms": 10, **settings})
    assert response.status_code == status
    assert words in error_of(response)


def test_what_is_just_within_the_limits_is_answered() -> None:
    body = solution(1, steps=3)
    assert ask("/v1/steps", body, settings={"max_steps": 3}).json()["confidences"] == expected(body)


def test_the_server_says_which_model_answers_and_hides_its_folders() -> None:
    found = ask("/v1/about", None, "GET")
    assert found.json()["model"]["checkpoint"] == "checkpoint_step_7"
    assert "secret" not in found.text
    assert found.json()["limits"]["steps"] == 512


@pytest.mark.parametrize(
    ("name", "shown"),
    [("/home/ada/models/tiny", "tiny"), ("C:\\models\\tiny", "tiny"), ("owner/name", "owner/name"), (None, None)],
)
def test_no_folder_of_the_server_is_shown_however_deep(name: Any, shown: Any) -> None:
    class Local(FakeRunner):
        def about(self) -> dict[str, Any]:
            more = {"backbone": {"name": name, "also": [name]}, "precision": "float32", "split_rule": "lines"}
            return super().about() | more

    async def main() -> Any:
        async with serving(runner=Local()) as server, server.client() as client:
            return (await client.get("/v1/about")).json()["model"]

    model = at_once(main())
    assert model["backbone"] == {"name": shown, "also": [shown]}
    assert (model["precision"], model["split_rule"]) == ("float32", "lines")


def test_a_log_that_cannot_be_written_fails_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            tried.append(text)
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Closed())
    log = EventLog()
    log.event("info", "request", status=200)
    log.error("pass_failed", RuntimeError("x"))
    assert ["request" in tried[0], "pass_failed" in tried[-1]] == [True, True]


def test_metrics_count_and_name_nobody() -> None:
    async def main() -> str:
        async with serving() as server, server.client() as client:
            await client.post("/v1/steps", json={"problem": TEXTS[0], "steps": [TEXTS[1]]})
            await client.get("/made/up/by/a/client")
            return (await client.get("/metrics")).text

    text = at_once(main())
    assert 'surestep_requests_total{route="/v1/steps",status="200"} 1.0' in text
    assert 'surestep_requests_total{route="other",status="404"} 1.0' in text
    for name in (
        "steps_total 1.0",
        "pass_seconds_count 1.0",
        "queue_tokens 0.0",
        "room_tokens 100000.0",
        "sessions 0.0",
    ):
        assert f"surestep_{name}" in text
    assert "made" not in text
    assert "Ada" not in text


def test_no_text_of_a_user_is_in_the_log() -> None:
    """Of good requests, refused ones, failed passes, unknown addresses and broken JSON."""

    async def main() -> Server:
        async with serving(max_steps=2) as server, server.client() as client:
            for body in (
                {"problem": TEXTS[0], "steps": [TEXTS[1]]},
                {"problem": TEXTS[0], "steps": TEXTS[1]},
                {"problem": TEXTS[0], "steps": [TEXTS[1], "poison"]},
                {"problem": TEXTS[0], "steps": [TEXTS[1]] * 3},
                {TEXTS[0]: TEXTS[1]},
            ):
                await client.post("/v1/steps", json=body)
            await client.post("/v1/steps", content=json.dumps(TEXTS)[:-3])
            await client.get(f"/{TEXTS[0]}", params={"q": TEXTS[1]})
            session = (await client.post("/v1/sessions", json={"problem": TEXTS[0]})).json()
            await client.post(f"/v1/sessions/{session['id']}/steps", json={"step": TEXTS[1]})
            assert not any(session["id"] in line for line in server.log), "an id opens a session"
            return server  # type: ignore[no-any-return]

    log = at_once(main()).log
    lines = [json.loads(line) for line in log]
    assert len([line for line in lines if line["event"] == "request"]) == 9
    assert any(line["event"] == "pass_failed" for line in lines)
    assert all({"time", "level", "event"} <= set(line) for line in lines)
    for word in ("Ada", "Lovelace", "secret", "mat", "poison"):
        assert not any(word in line for line in log)


def test_messages_of_errors_are_in_the_log_where_that_is_asked_for() -> None:
    from surestep.serving.http.event_log import EventLog

    lines: list[str] = []
    EventLog("info", with_texts=True, write=lines.append).error("pass_failed", ValueError("near 'sat'"))
    EventLog("error", write=lines.append).event("info", "request")
    (line,) = lines
    assert "near 'sat'" in line


def test_the_description_is_complete() -> None:
    found = ask("/openapi.json", None, "GET").json()
    assert {
        "/v1/steps",
        "/v1/rerank",
        "/v1/sessions",
        "/v1/sessions/{id}/steps",
        "/health",
        "/ready",
        "/metrics",
    } <= set(found["paths"])
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], f"{method} {path}"
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert answer["content"]["application/json"]["schema"]["$ref"].endswith("ErrorAnswer")
    schemas = found["components"]["schemas"]
    for name in ("StepsBody", "RerankBody", "SessionBody", "AddBody", "CandidatesBody"):
        assert schemas[name]["examples"]


def test_the_examples_of_the_description_work() -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            found = (await client.get("/openapi.json")).json()
            schemas = found["components"]["schemas"]
            assert (await client.post("/v1/steps", json=schemas["StepsBody"]["examples"][0])).status_code == 200
            assert (await client.post("/v1/rerank", json=schemas["RerankBody"]["examples"][0])).status_code == 200
            made = await client.post("/v1/sessions", json=schemas["SessionBody"]["examples"][0])
            path = f"/v1/sessions/{made.json()['id']}"
            for name, schema in (("steps", "AddBody"), ("candidates", "CandidatesBody")):
                answer = await client.post(f"{path}/{name}", json=schemas[schema]["examples"][0])
                assert answer.status_code == 200

    at_once(main())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = ("problem", "steps", "contexts", "dataset", "threshold", "candidates", "by", "step", "at", "context")
STEPS = st.lists(st.text(max_size=12), max_size=4)
ALMOST = st.fixed_dictionaries(
    {},
    optional={
        "problem": st.text(max_size=12) | JSON,
        "steps": STEPS | JSON,
        "contexts": st.lists(st.none() | st.text(max_size=5), max_size=4) | JSON,
        "dataset": st.text(max_size=5) | JSON,
        "threshold": st.floats(0, 1) | JSON,
        "candidates": st.lists(STEPS, max_size=4) | JSON,
        "by": st.sampled_from(["min", "last", "median"]) | JSON,
        "step": st.text(max_size=9) | JSON,
        "at": st.integers() | JSON,
        "context": st.text(max_size=5) | JSON,
    },
)
PATHS = ("/v1/steps", "/v1/rerank", "/v1/sessions", "/v1/sessions/{id}/steps", "/v1/sessions/{id}/candidates")


@pytest.mark.slow
@settings(max_examples=5)
@given(st.lists(st.tuples(st.sampled_from(PATHS), ALMOST | JSON), min_size=20, max_size=30))
def test_whatever_json_is_sent_no_answer_is_an_error_of_the_server(requests: list[tuple[str, Any]]) -> None:
    """Every answer has the one shape and a status below 500; the server is well afterwards."""

    async def main() -> None:
        async with serving(max_sessions=10_000) as server, server.client() as client:
            session = (await client.post("/v1/sessions", json={"problem": "p"})).json()["id"]
            answers = await asyncio.gather(
                *(client.post(path.replace("{id}", session), json=body) for path, body in requests)
            )
            for (path, body), answer in zip(requests, answers, strict=True):
                assert answer.status_code in {200, 201, 400, 404, 409, 413, 422}, (path, body, answer.text)
                if answer.status_code >= 400:
                    error_of(answer)
            assert (await client.get("/ready")).status_code == 200

    at_once(main())


@pytest.mark.slow
@settings(max_examples=5)
@given(st.lists(st.binary(max_size=60) | st.text(max_size=30).map(str.encode), min_size=20, max_size=30))
def test_whatever_bytes_are_sent_no_answer_is_an_error_of_the_server(bodies: list[bytes]) -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            for body in bodies:
                answer = await client.post("/v1/steps", content=body, headers={"content-type": "application/json"})
                assert answer.status_code in {400, 422}
                error_of(answer)

    at_once(main())


@pytest.mark.parametrize("host", ["[", "[::1", "]", "a:b:c", "", "x" * 3000, "a b", "/?#@"])
def test_whatever_name_the_client_uses_no_answer_is_an_error_of_the_server(host: str) -> None:
    async def main() -> None:
        async with serving() as server, server.client(headers={"host": host}) as client:
            assert (await client.post("/v1/steps", json=solution(1))).status_code == 200
            assert (await client.delete("/v1/steps")).status_code == 405
            assert (await client.get("/nowhere")).status_code == 404

    at_once(main())


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/openapi.json", "/v1/about"])
def test_what_can_be_asked_for_can_be_looked_for(path: str) -> None:
    """HEAD is GET without the body (RFC 9110, 9.3.2): load balancers ask that way."""

    async def main() -> None:
        async with serving() as server, server.client() as client:
            assert (await client.head(path)).status_code == 200

    at_once(main())
