"""Sessions over HTTP: bound to their key, limited, expiring; a step is never added twice."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from fake_server import FakeThreads, at_once, now, number_for, serving
from surestep.serving.api_keys import ApiKeys

ADA, BOB = "ada-" + "a" * 20, "bob-" + "b" * 20


def keys() -> ApiKeys:
    return ApiKeys([("ada", ADA), ("bob", BOB)])


async def opened(client: Any, problem: str = "p") -> str:
    response = await client.post("/v1/sessions", json={"problem": problem})
    assert response.status_code == 201
    return f"/v1/sessions/{response.json()['id']}"


async def added(client: Any, path: str, step: str, **more: Any) -> Any:
    return await client.post(f"{path}/steps", json={"step": step, **more})


def test_a_session_grows_forks_and_is_deleted() -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            path = await opened(client)
            assert re.fullmatch(r"/v1/sessions/[0-9a-f]{32}", path)
            for count, step in enumerate("abc", start=1):
                answer = (await added(client, path, step)).json()
                assert answer["confidence"] == number_for("p", "abc"[:count])
                assert answer["num_steps"] == count
            fork = await client.post(f"{path}/fork")
            assert fork.status_code == 201
            branch = f"/v1/sessions/{fork.json()['id']}"
            assert branch != path
            assert (await added(client, branch, "x")).json()["confidence"] == number_for("p", "abcx")
            assert (await added(client, path, "y")).json()["confidence"] == number_for("p", "abcy")
            answer = (await client.post(f"{path}/candidates", json={"steps": ["u", "v", "u"]})).json()
            assert answer["confidences"] == [number_for("p", ["a", "b", "c", "y", last]) for last in "uvu"]
            state = (await client.get(path)).json()
            assert state["steps"] == ["a", "b", "c", "y"]
            assert state["raw"] == [value / 2 for value in state["confidences"]]
            assert (await client.delete(path)).status_code == 204
            for again in (await client.get(path), await client.delete(path), await added(client, path, "z")):
                assert again.status_code == 404
            assert (await client.get(branch)).status_code == 200

    at_once(main())


def test_a_foreign_session_is_answered_like_one_that_never_was() -> None:
    async def main() -> None:
        async with serving(keys=keys()) as server, server.client(ADA) as ada, server.client(BOB) as bob:
            path, never = await opened(ada), "/v1/sessions/" + "0" * 32
            for method, end, body in (
                ("GET", "", None),
                ("DELETE", "", None),
                ("POST", "/steps", {"step": "a"}),
                ("POST", "/candidates", {"steps": ["a"]}),
                ("POST", "/fork", None),
            ):
                foreign, unknown = [
                    await bob.request(method, there + end, **({} if body is None else {"json": body}))
                    for there in (path, never)
                ]
                assert foreign.status_code == unknown.status_code == 404
                assert foreign.content == unknown.content
            assert (await ada.get(path)).json()["steps"] == []

    at_once(main())


def test_a_session_expires_when_it_is_not_used() -> None:
    async def main() -> None:
        async with serving(session_expiry_s=60) as server, server.client() as client:
            kept, left = await opened(client), await opened(client)
            for _ in range(5):
                await asyncio.sleep(40)
                assert (await client.get(kept)).status_code == 200
            assert (await client.get(left)).status_code == 404
            assert len(server.service.sessions) == 1

    at_once(main())


def test_a_session_does_not_expire_while_a_step_waits() -> None:
    async def main() -> None:
        async with serving(session_expiry_s=0.01, smallest_request=100_000) as server, server.client() as client:
            path = await opened(client)
            assert (await added(client, path, "xx " * 8000)).status_code == 200

    at_once(main())


def test_there_are_no_more_sessions_than_allowed_and_one_key_leaves_room_for_others() -> None:
    async def main() -> None:
        async with serving(keys=keys(), max_sessions=4) as server, server.client(ADA) as ada, server.client(BOB) as bob:
            paths = [await opened(ada) for _ in range(2)]
            refused = await ada.post("/v1/sessions", json={"problem": "p"})
            assert refused.status_code == 429
            assert refused.headers["retry-after"]
            assert (await ada.post(f"{paths[0]}/fork")).status_code == 429
            for _ in range(2):
                await opened(bob)
            await ada.delete(paths[0])
            await opened(ada)

    at_once(main())


def test_a_step_that_is_sent_twice_is_added_once() -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            path = await opened(client)
            answers = await asyncio.gather(*(added(client, path, "a", at=0) for _ in range(5)))
            assert {answer.json()["confidence"] for answer in answers} == {number_for("p", ["a"])}
            assert (await client.get(path)).json()["steps"] == ["a"]
            other = await added(client, path, "b", at=0)
            assert other.status_code == 409
            assert other.json()["error"]["type"] == "conflict"
            assert (await added(client, path, "b", at=7)).status_code == 409
            assert (await added(client, path, "b", at=1)).json()["confidence"] == number_for("p", "ab")

    at_once(main())


def test_steps_that_are_sent_together_come_one_after_another() -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            path = await opened(client)
            answers = await asyncio.gather(*(added(client, path, letter) for letter in "abcd"))
            steps = (await client.get(path)).json()["steps"]
            assert sorted(steps) == list("abcd")
            for letter, answer in zip("abcd", answers, strict=True):
                assert answer.json()["confidence"] == number_for("p", steps[: steps.index(letter) + 1])

    at_once(main())


def test_a_step_that_fails_is_not_added() -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            path = await opened(client)
            assert (await added(client, path, "poison")).status_code == 500
            assert (await added(client, path, "a")).json()["confidence"] == number_for("p", ["a"])

    at_once(main())


def test_a_session_that_is_deleted_while_a_step_waits_is_gone_for_the_next() -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            path = await opened(client)
            first = asyncio.create_task(added(client, path, "a"))
            await asyncio.sleep(0)
            deleted = asyncio.create_task(client.delete(path))
            second = asyncio.create_task(added(client, path, "b"))
            assert {(await deleted).status_code} == {204}
            assert (await first).status_code in {200, 404}
            assert (await second).status_code == 404
            assert len(server.service.sessions) == 0

    at_once(main())


def test_limits_of_a_session() -> None:
    async def main() -> None:
        async with serving(max_steps=2, max_candidates=2) as server, server.client() as client:
            path = await opened(client)
            for step in "ab":
                assert (await added(client, path, step)).status_code == 200
            assert (await added(client, path, "c")).status_code == 422
            many = await client.post(f"{path}/candidates", json={"steps": ["a", "b", "c"]})
            assert many.status_code == 422

    at_once(main())


def test_two_keys_get_namespaces_of_their_own() -> None:
    from fake_server import FakeRunner

    seen: list[str] = []

    class Notes(FakeRunner):
        def open_session(self, problem: str, namespace: str) -> Any:
            seen.append(namespace)
            return super().open_session(problem, namespace)

    async def main() -> None:
        async with (
            serving(keys=keys(), runner=Notes()) as server,
            server.client(ADA) as ada,
            server.client(BOB) as bob,
        ):
            for client in (ada, bob, ada):
                await opened(client)

    at_once(main())
    assert seen[0] == seen[2] != seen[1]
    assert all(re.fullmatch(r"[0-9a-f]{64}", namespace) for namespace in seen), "no name can be read off"


@pytest.mark.parametrize("id", ["x", "0" * 31, "0" * 33, "%2e%2e", "ü" * 32, "'; drop table"])
def test_an_id_that_is_none_is_not_found(id: str) -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            assert (await client.get(f"/v1/sessions/{id}")).status_code == 404

    at_once(main())


@pytest.mark.parametrize("again", ["a", "b"])
def test_a_step_whose_client_left_while_it_was_scored_is_settled_before_the_next(again: str) -> None:
    """The pass cannot be stopped and adds the step after all; what comes next must see it, not cross it."""

    async def main() -> None:
        async with serving(threads=FakeThreads(tokens_per_s=10)) as server, server.client() as client:
            path = await opened(client)
            service = server.service
            asked = asyncio.create_task(added(client, path, "a", at=0))
            while not service.batcher._passes:
                await asyncio.sleep(0.001)
            asked.cancel()
            second = await added(client, path, again, at=0)
            if again == "a":
                assert second.json()["confidence"] == number_for("p", ["a"])
            else:
                assert second.status_code == 409
            third = await added(client, path, "c")
            assert third.json()["confidence"] == number_for("p", ["a", "c"])
            assert (await client.get(path)).json()["steps"] == ["a", "c"]

    at_once(main())


def test_a_step_that_came_too_late_is_known_when_it_is_sent_again() -> None:
    async def main() -> None:
        async with serving(threads=FakeThreads(tokens_per_s=10)) as server, server.client() as client:
            server.service.speed.seconds_per_token = 1e-6
            path = await opened(client)
            late = await client.post(
                f"{path}/steps", json={"step": "a", "at": 0}, headers={"X-Surestep-Deadline": "0.05"}
            )
            assert late.status_code == 504
            assert (await added(client, path, "a", at=0)).json()["confidence"] == number_for("p", ["a"])
            assert (await client.get(path)).json()["steps"] == ["a"]

    at_once(main())


@pytest.mark.parametrize("end", ["steps", "candidates", "fork", ""])
def test_the_deadline_also_bounds_the_wait_for_an_earlier_step(end: str) -> None:
    async def main() -> None:
        async with serving(threads=FakeThreads(tokens_per_s=1)) as server, server.client() as client:
            server.service.speed.seconds_per_token = 1e-6
            path = await opened(client)
            first = asyncio.create_task(added(client, path, "a b c d e f g h i"))
            while not server.service.batcher._passes:
                await asyncio.sleep(0.001)
            started = now()
            body = {"steps": {"json": {"step": "b"}}, "candidates": {"json": {"steps": ["b"]}}}.get(end, {})
            method = "POST" if end else "DELETE"
            answer = await client.request(
                method, f"{path}/{end}".rstrip("/"), headers={"X-Surestep-Deadline": "0.2"}, **body
            )
            assert answer.status_code == 504
            assert now() - started < 0.5
            assert (await first).status_code == 200
            assert (await client.get(path)).json()["steps"] == ["a b c d e f g h i"]

    at_once(main())


def test_draining_also_answers_steps_that_wait_for_an_earlier_one_of_their_session() -> None:
    async def main() -> None:
        threads = FakeThreads(tokens_per_s=10)
        async with serving(threads=threads, drain_notice_s=0.01) as server, server.client() as client:
            server.service.speed.seconds_per_token = 1e-6
            path = await opened(client)
            waiting = [asyncio.create_task(added(client, path, letter)) for letter in "abc"]
            await asyncio.sleep(0.02)
            await server.service.drain()
            assert [(await work).status_code for work in waiting] == [200] * 3
            assert (await client.get(path)).json()["steps"] == ["a", "b", "c"]
            assert (await added(client, path, "d")).status_code == 503

    at_once(main())
