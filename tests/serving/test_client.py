"""The client: the scorer's interface, patience with a busy server, and one line for whatever else goes wrong."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from fake_server import at_once, expected, number_for, serving, solution
from surestep.client import AsyncClient, AsyncSession, Client, RemoteSession
from surestep.errors import InputError, ServerError
from surestep.serving.api_keys import ApiKeys

GOOD = {"confidences": [0.9], "raw": [0.8], "min": 0.9, "product": 0.9, "mean": 0.9, "last": 0.9}
KEY = "k" * 20


class Answers:
    """A server that gives these answers in turn, and remembers what it was asked."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self.left = list(answers)
        self.asked: list[httpx2.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def client(self, **options: Any) -> Client:
        return Client("http://server", transport=httpx2.MockTransport(self), sleep=self.slept.append, **options)

    def scored(self, **options: Any) -> Any:
        """What both clients make of these answers: they must agree."""
        answers, found = list(self.left), []
        for ask in (self._blocking, self._awaiting):
            self.left, self.asked, self.slept = list(answers), [], []
            try:
                found.append(ask(options))
            except (InputError, ServerError) as error:
                found.append((type(error), str(error)))
        assert found[0] == found[1]
        return found[0]

    def _blocking(self, options: Any) -> Any:
        with self.client(**options) as client:
            return client.score("p", ["a"])

    def _awaiting(self, options: Any) -> Any:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        async def main() -> Any:
            transport = httpx2.MockTransport(self)
            async with AsyncClient("http://server", transport=transport, sleep=sleep, **options) as client:
                return await client.score("p", ["a"])

        return at_once(main())


def reply(status: int, body: Any = None, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, json=body, headers={name.replace("_", "-"): text for name, text in headers.items()})


def refusal(status: int, message: str = "the queue is full", **headers: str) -> httpx2.Response:
    return reply(status, {"error": {"type": "t", "message": message}}, **headers)


def test_a_solution_is_asked_for_and_its_numbers_come_back() -> None:
    answers = Answers(reply(200, GOOD))
    scores = answers.scored(api_key=KEY, timeout_s=7.0)
    assert (scores.steps, scores.confidences, scores.raw, scores.min) == (("a",), (0.9,), (0.8,), 0.9)
    (request,) = answers.asked
    assert json.loads(request.content) == {"problem": "p", "steps": ["a"], "dataset": None}
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["x-surestep-deadline"] == "7"


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    answers = Answers(refusal(429, retry_after="3"), refusal(503, retry_after="7"), reply(503), reply(200, GOOD))
    assert answers.scored().confidences == (0.9,)
    assert answers.slept[:2] == [3.0, 7.0]
    assert 0.1 < answers.slept[2] < 1


def test_a_connection_that_fails_is_tried_again_with_growing_pauses() -> None:
    failures = [httpx2.ConnectError("refused"), httpx2.ReadError("reset"), httpx2.RemoteProtocolError("closed")]
    answers = Answers(*failures, reply(502), reply(200, GOOD))
    assert answers.scored().confidences == (0.9,)
    for attempt, pause in enumerate(answers.slept):
        assert 0.05 * 2**attempt <= pause <= 0.1 * 2**attempt, "twice as long each time, a part of it by chance"


@pytest.mark.parametrize(
    ("answers", "kind", "words"),
    [
        ([refusal(422, "steps is\nmissing")], InputError, "steps is missing"),
        ([refusal(413)], InputError, "status 413"),
        ([refusal(400)], InputError, "status 400"),
        ([refusal(401, "an API key is needed")], ServerError, "an API key is needed"),
        ([refusal(504, "the deadline has passed")], ServerError, "deadline"),
        ([refusal(500)], ServerError, "status 500"),
        ([refusal(429, retry_after="1")] * 3, ServerError, "the queue is full"),
        ([httpx2.ConnectError("refused")] * 3, ServerError, "is `surestep serve` running there?"),
        ([httpx2.ReadTimeout("slow")], ServerError, "set timeout_s higher"),
        ([httpx2.Response(404, text="<html>")], ServerError, "an answer that is not Surestep's"),
        ([httpx2.Response(200, text="<html>")], ServerError, "is it a Surestep server?"),
        ([reply(200, {"confidences": [0.5]})], ServerError, "is it a Surestep server?"),
        ([reply(200, {"confidences": [], "raw": []})], ServerError, "0 confidences for 1 step"),
        ([httpx2.Response(200, text='{"confidences": [NaN], "raw": [1]}')], ServerError, "NaN"),
    ],
)
def test_what_goes_wrong_is_one_line(answers: list[Any], kind: type[Exception], words: str) -> None:
    found, message = Answers(*answers).scored(retries=2)
    assert found is kind
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("url", ["server:8000", "ftp://server", "http://", "", "http://[::1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(InputError, match="the server's address is"):
            kind(url)


@pytest.mark.parametrize("rule", ["lines", "tag:;", None])
def test_reward_functions_over_a_client_split_as_the_servers_checkpoint_was_trained(rule: str | None) -> None:
    from surestep.inference.reward_functions.answer_rewards import AnswerRewards

    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        return reply(200, {"model": {"split_rule": rule}, "limits": {}})

    with Client("http://server", transport=httpx2.MockTransport(answer)) as client:
        assert AnswerRewards(client).reader.step_rule == AnswerRewards(client).reader.step_rule == (rule or "auto")
    assert asked == ["/v1/about"]


def test_what_cannot_be_sent_is_refused_before_it_is() -> None:
    client = Answers().client()
    for steps in ("a text", b"bytes", None, 7, {"a": 1}, [1], ["a", None]):
        with pytest.raises(InputError, match="allowed:"):
            client.score("p", steps)  # type: ignore[arg-type]
    for item in ("p", ("p",), {"problem": "p"}, None):
        with pytest.raises(InputError, match="an item is"):
            list(client.score_many([item]))  # type: ignore[list-item]
    with pytest.raises(InputError, match="candidate 1"):
        client.rerank("p", [["a"], "b"])
    with pytest.raises(InputError, match="timeout_s"):
        Client("http://server", timeout_s=0)
    with pytest.raises(InputError, match="API key"):
        Client("http://server", api_key="ü")


def test_many_solutions_come_in_order_and_no_more_are_taken_than_are_on_their_way() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        number = float(json.loads(request.content)["problem"])
        return reply(200, {"confidences": [number / 1000], "raw": [0.5]})

    taken = 0

    def items() -> Iterator[tuple[str, list[str]]]:
        nonlocal taken
        for number in range(200):
            taken += 1
            yield str(number), ["a"]

    client = Client("http://server", transport=httpx2.MockTransport(answer), concurrency=4)
    for number, scores in enumerate(client.score_many(items())):
        assert scores.confidences == (number / 1000,)
        assert taken <= number + 9
        if number == 100:
            break
    assert taken < 120, "whoever stops listening stops the asking"


@pytest.mark.parametrize("concurrency", [1, 3, 16])
@pytest.mark.parametrize("is_wrong", [True, False])
def test_the_results_before_a_wrong_item_come_first(is_wrong: bool, concurrency: int) -> None:
    """As `Scorer.score_many` does, whether the item is wrong or the iterable raises."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return reply(200, {"confidences": [float(json.loads(request.content)["problem"]) / 1000], "raw": [0.5]})

    def items() -> Iterator[Any]:
        yield from ((str(number), ["a"]) for number in range(5))
        if is_wrong:
            yield ("5", "a raw solution")
        raise OSError("the disk is gone")

    kind = InputError if is_wrong else OSError
    transport = httpx2.MockTransport(answer)
    found: list[Any] = []

    def ask() -> None:
        with Client("http://server", transport=transport, concurrency=concurrency) as client:
            for scores in client.score_many(items()):
                found.append(scores.confidences[0])

    with pytest.raises(kind):
        ask()

    async def main() -> None:
        async with AsyncClient("http://server", transport=transport, concurrency=concurrency) as client:
            async for scores in client.score_many(items()):
                found.append(scores.confidences[0])

    with pytest.raises(kind):
        at_once(main())
    assert found == [number / 1000 for number in range(5)] * 2


def test_the_awaiting_client_speaks_with_the_server() -> None:
    async def main() -> None:
        async with serving(keys=ApiKeys([("ada", KEY)])) as server:
            transport = httpx2.ASGITransport(app=server.app)
            async with AsyncClient("http://server", api_key=KEY, transport=transport, concurrency=5) as client:
                bodies = [solution(number) for number in range(20)]
                many = client.score_many({"problem": body["problem"], "steps": body["steps"]} for body in bodies)
                found = [scores.confidences async for scores in many]
                assert found == [tuple(expected(body)) for body in bodies]
                ranking = await client.rerank("p", [["a"], ["b"], ["c"]])
                assert [one.score for one in ranking] == sorted((number_for("p", [s]) for s in "abc"), reverse=True)
                assert (await client.about())["model"]["step"] == 7
                session = await client.session("p")
                assert await session.add("a") == number_for("p", ["a"])
                branch = await session.fork()
                await branch.add("b")
                assert await session.score_candidates(["x", "y"]) == [number_for("p", ["a", s]) for s in "xy"]
                assert (session.steps, branch.steps) == (("a",), ("a", "b"))
                assert branch.confidences == (number_for("p", "a"), number_for("p", "ab"))
                assert branch.num_tokens == 3
                await session.close()
                with pytest.raises(ServerError, match="no such session"):
                    await session.add("c")
                with pytest.raises(InputError, match="the text is empty"):
                    await client.score("p", [" "])

    at_once(main())


def test_a_step_whose_answer_was_lost_is_not_added_twice() -> None:
    async def main() -> None:
        async with serving() as server:
            inner, lost = httpx2.ASGITransport(app=server.app), 0

            class Loses(httpx2.AsyncBaseTransport):
                async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
                    nonlocal lost
                    response = await inner.handle_async_request(request)
                    if request.url.path.endswith("/steps") and lost < 2:
                        lost += 1
                        raise httpx2.ReadError("the connection was reset")
                    return response

            async with AsyncClient("http://server", transport=Loses()) as client:
                session = await client.session("p")
                assert await session.add("a") == number_for("p", "a")
                assert await session.add("b") == number_for("p", "ab")
                assert lost == 2
                assert (await (await session.fork()).add("c")) == number_for("p", "abc")

    at_once(main())


def test_both_clients_offer_the_same() -> None:
    def offered(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    pairs: list[tuple[type, type]] = [(Client, AsyncClient), (RemoteSession, AsyncSession)]
    for blocking, awaiting in pairs:
        assert offered(blocking) == offered(awaiting)


def test_a_request_that_is_given_up_is_cancelled() -> None:
    """`score_many` that is left early leaves nothing on its way."""

    async def main() -> None:
        async with serving() as server:
            client = AsyncClient("http://server", transport=httpx2.ASGITransport(app=server.app))
            many = client.score_many((f"problem {n}", ["xxx " * 90]) for n in range(100))
            async for _ in many:
                break
            await many.aclose()  # type: ignore[attr-defined]
            await asyncio.sleep(0)
            assert server.service.batcher.waiting_tokens == 0
            assert len(asyncio.all_tasks()) < 10
            await client.close()

    at_once(main())
