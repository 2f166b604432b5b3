"""Requests of many clients share passes: nobody gets another's answer, waits for ever, or fails for a neighbour."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import httpx2
import pytest

from fake_server import FakeRunner, FakeThreads, Server, at_once, expected, now, serving, solution
from surestep.serving.api_keys import ApiKeys

KEYS = {name: f"{name}-{'k' * 20}" for name in ("ada", "bob", "cem", "dee")}


def keys() -> ApiKeys:
    return ApiKeys(KEYS.items())


async def ask(client: httpx2.AsyncClient, body: dict[str, Any], **headers: str) -> httpx2.Response:
    return await client.post("/v1/steps", json=body, headers=headers)


@pytest.mark.slow
def test_64_clients_that_come_and_go_get_their_own_answers_only() -> None:
    """Mixed lengths, four keys, one in five requests given up at a random time."""
    answered = cancelled = 0

    async def one_client(server: Server, number: int) -> None:
        nonlocal answered, cancelled
        rng = random.Random(number)
        async with server.client(KEYS[sorted(KEYS)[number % 4]]) as client:
            for turn in range(6):
                body = solution(100 * number + turn, words=rng.randint(1, 60), steps=rng.randint(1, 8))
                work = asyncio.create_task(ask(client, body))
                if rng.random() < 0.2:
                    await asyncio.sleep(rng.random() * 0.2)
                    if work.cancel():
                        cancelled += 1
                        await asyncio.gather(work, return_exceptions=True)
                        continue
                response = await work
                if response.status_code == 429:
                    await asyncio.sleep(int(response.headers["retry-after"]))
                    continue
                assert response.status_code == 200, response.text
                assert response.json()["confidences"] == expected(body)
                answered += 1

    async def main() -> None:
        async with serving(keys=keys()) as server:
            await asyncio.gather(*(one_client(server, number) for number in range(64)))
            assert server.service.room.num_tokens == server.service.batcher.waiting_tokens == 0
            assert max(server.runner.passes) > 4, "requests share passes"

    at_once(main())
    assert answered > 200
    assert cancelled > 25


def test_a_lone_request_is_not_delayed_and_those_that_overlap_share_a_pass() -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            started = now()
            await ask(client, solution(1, words=9, steps=2))
            assert now() - started == pytest.approx(28 / 20_000), "the time of its own tokens"
            await asyncio.gather(*(ask(client, solution(number)) for number in range(2, 12)))
            assert server.runner.passes == [1, 10]

    at_once(main())


def test_a_pass_has_no_more_tokens_than_its_time_allows() -> None:
    async def main() -> None:
        async with serving(pass_time_ms=50) as server, server.client() as client:
            await asyncio.gather(*(ask(client, solution(number, words=95, steps=2)) for number in range(20)))
            assert sum(server.runner.passes) == 20
            assert max(server.runner.passes) == 5, "1,000 tokens, and each request has 200"

    at_once(main())


def test_a_large_request_takes_turns_with_others() -> None:
    """Its pieces are passes of their own: others are answered between them."""

    async def main() -> None:
        async with serving(keys=keys()) as server, server.client(KEYS["ada"]) as ada, server.client(KEYS["bob"]) as bob:
            large = solution(1, words=45, steps=120)
            work = asyncio.create_task(ask(ada, large))
            await asyncio.sleep(0.001)
            started = now()
            await ask(bob, solution(2))
            assert now() - started < 0.12, "about two passes"
            assert not work.done()
            assert (await work).json()["confidences"] == expected(large)
            assert len(server.runner.passes) > 5

    at_once(main())


def test_a_key_that_floods_does_not_make_another_wait() -> None:
    async def main() -> None:
        async with serving(keys=keys()) as server, server.client(KEYS["ada"]) as ada, server.client(KEYS["bob"]) as bob:
            flood = [asyncio.create_task(ask(ada, solution(n, words=95, steps=2))) for n in range(300)]
            await asyncio.sleep(0.06)
            started = now()
            assert (await ask(bob, solution(999))).status_code == 200
            assert now() - started < 0.12, "the pass that runs, and the next"
            statuses = {(await work).status_code for work in flood}
            assert statuses == {200, 429}, "a key may fill a quarter of the queue"

    at_once(main())


def test_a_deadline_that_cannot_be_kept_is_refused_at_once_and_one_that_passes_in_time() -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            flood = [asyncio.create_task(ask(client, solution(n, words=95, steps=2))) for n in range(100)]
            await asyncio.sleep(0.01)
            started = now()
            refused = await ask(client, solution(1000), **{"X-Surestep-Deadline": "0.3"})
            assert refused.status_code == 504
            assert refused.json()["error"]["type"] == "deadline_exceeded"
            assert now() == started
            assert {(await work).status_code for work in flood} == {200}

    at_once(main())


def test_an_answer_that_takes_longer_than_was_estimated_is_given_up_at_the_deadline() -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            server.service.speed.seconds_per_token = 1e-9
            started = now()
            late = await ask(client, solution(1, words=995, steps=5), **{"X-Surestep-Deadline": "0.1"})
            assert late.status_code == 504
            assert now() - started == pytest.approx(0.1)
            await asyncio.sleep(10)
            assert server.service.room.num_tokens == 0
            assert (await ask(client, solution(2))).json()["confidences"] == expected(solution(2))

    at_once(main())


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", ""])
def test_a_deadline_that_is_no_time_is_refused(text: str) -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            assert (await ask(client, solution(1), **{"X-Surestep-Deadline": text})).status_code == 400

    at_once(main())


def test_a_failing_pass_isolates_the_culprit() -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            bodies = [solution(number) for number in range(16)]
            bodies[11]["steps"] = ["poison"]
            answers = await asyncio.gather(*(ask(client, body) for body in bodies))
            assert [answer.status_code for answer in answers] == [500 if n == 11 else 200 for n in range(16)]
            for number, answer in enumerate(answers):
                if number != 11:
                    assert answer.json()["confidences"] == expected(bodies[number])
            assert (await client.get("/health")).status_code == 200, "one bad request is no bad server"
            assert not any("poison" in line for line in server.log)

    at_once(main())


class Switched(FakeRunner):
    """Fails every pass while it is told to."""

    broken = False

    def run(self, works: Any) -> Any:
        if self.broken:
            raise RuntimeError("no kernel image")
        return super().run(works)


def test_a_model_that_fails_every_time_makes_the_server_unwell() -> None:
    async def main() -> None:
        runner = Switched()
        async with serving(runner=runner) as server, server.client() as client:
            runner.broken = True
            for number in range(3):
                assert (await client.get("/health")).status_code == 200
                assert (await ask(client, solution(number))).status_code == 500
            await asyncio.sleep(1)
            assert (await client.get("/health")).status_code == 503
            assert (await client.get("/ready")).status_code == 503
            assert any("probe_failed" in line for line in server.log)
            runner.broken = False
            assert (await ask(client, solution(1))).status_code == 200
            assert (await client.get("/health")).status_code == 200

    at_once(main())


def test_one_client_that_sends_what_fails_again_and_again_makes_no_server_unwell() -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            for _ in range(10):
                assert (await ask(client, {"problem": "p", "steps": ["poison"]})).status_code == 500
                await asyncio.sleep(0.1)
                assert (await client.get("/health")).status_code == 200
                assert (await client.get("/ready")).status_code == 200
            assert sum("probe_passed" in line for line in server.log) == 3

    at_once(main())


def test_candidates_are_ranked_where_each_alone_is_small_enough() -> None:
    async def main() -> None:
        limits = {"smallest_request": 100, "smallest_pass": 10, "max_request_passes": 0.001}
        async with serving(**limits) as server, server.client() as client:
            limit = server.service.speed.request_limit
            candidates = [[f"{number}" + " x" * (limit // 2)] for number in range(9)]
            answer = await client.post("/v1/rerank", json={"problem": "p", "candidates": candidates})
            assert answer.status_code == 200, answer.text
            assert sorted(one["index"] for one in answer.json()["ranking"]) == list(range(9))
            for one in answer.json()["ranking"]:
                alone = (await ask(client, {"problem": "p", "steps": candidates[one["index"]]})).json()
                assert one["confidences"] == alone["confidences"]
            large = [["x " * (2 * limit)]]
            assert (await client.post("/v1/rerank", json={"problem": "p", "candidates": large})).status_code == 413

    at_once(main())


def test_what_the_runner_says_of_one_request_is_that_requests_answer() -> None:
    from surestep.errors import DeviceError, InputError

    class Picky(FakeRunner):
        def run(self, works: Any) -> Any:
            found = {"input": InputError("no such step"), "device": DeviceError("out of memory with 7 tokens")}
            return [found.get(w.request.tree.problem, s) for w, s in zip(works, super().run(works), strict=True)]

    async def main() -> None:
        async with serving(runner=Picky()) as server, server.client() as client:
            good, wrong, broken = await asyncio.gather(
                *(ask(client, {"problem": problem, "steps": ["a"]}) for problem in ("good", "input", "device"))
            )
            assert (good.status_code, wrong.status_code, broken.status_code) == (200, 422, 500)
            assert "no such step" in wrong.text
            assert "memory" not in broken.text

    at_once(main())


def test_a_runner_that_loses_a_result_fails_instead_of_mixing_answers() -> None:
    class Loses(FakeRunner):
        def run(self, works: Any) -> Any:
            results = super().run(works)
            return results[1:] if len(results) > 1 else results

    async def main() -> None:
        async with serving(runner=Loses()) as server, server.client() as client:
            answers = await asyncio.gather(*(ask(client, solution(number)) for number in range(5)))
            for number, answer in enumerate(answers):
                assert answer.json()["confidences"] == expected(solution(number))

    at_once(main())


def test_draining_answers_all_that_wait_and_refuses_what_comes_after() -> None:
    async def main() -> None:
        async with serving(drain_notice_s=0.2, drain_s=20) as server, server.client() as client:
            waiting = [asyncio.create_task(ask(client, solution(n, words=95, steps=2))) for n in range(40)]
            await asyncio.sleep(0.01)
            drain = asyncio.create_task(server.service.drain())
            await asyncio.sleep(0.1)
            assert (await client.get("/ready")).status_code == 503
            assert (await client.get("/health")).status_code == 200
            on_its_way = await ask(client, solution(50))
            assert on_its_way.status_code == 200
            await asyncio.sleep(0.15)
            refused = await ask(client, solution(51))
            assert refused.status_code == 503
            assert refused.json()["error"]["type"] == "unavailable"
            await drain
            assert [(await work).status_code for work in waiting] == [200] * 40

    at_once(main())


def test_a_drain_that_takes_too_long_ends_and_says_so_to_whoever_waits() -> None:
    async def main() -> None:
        async with serving(drain_notice_s=0, drain_s=0.3) as server, server.client() as client:
            waiting = [asyncio.create_task(ask(client, solution(n, words=95, steps=2))) for n in range(100)]
            await asyncio.sleep(0.01)
            started = now()
            await server.service.drain()
            assert now() - started == pytest.approx(0.3, abs=0.06)
            statuses = [(await work).status_code for work in waiting]
            assert set(statuses) == {200, 503}

    at_once(main())


def test_draining_an_idle_server_takes_no_time() -> None:
    async def main() -> None:
        async with serving(drain_notice_s=0) as server:
            started = now()
            await server.service.drain()
            assert now() == started

    at_once(main())


def test_a_server_whose_model_cannot_run_is_never_ready() -> None:
    class Broken(FakeRunner):
        def run(self, works: Any) -> Any:
            raise RuntimeError("no kernel image")

    async def main() -> None:
        from surestep.serving.app import create_app
        from surestep.serving.settings import ServeConfig

        app = create_app(ServeConfig(), Broken())
        async with app.router.lifespan_context(app):
            await asyncio.sleep(1)
            assert not app.state.service.is_ready
            assert not app.state.service.is_healthy

    at_once(main())


def test_the_speed_follows_the_passes() -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            server.service.threads._tokens_per_s = 5_000
            before = server.service.speed.pass_budget
            for _ in range(6):
                await asyncio.gather(*(ask(client, solution(n, words=95, steps=2)) for n in range(10)))
            assert server.service.speed.pass_budget < before / 2

    at_once(main())


@pytest.mark.parametrize("passes_at_once", [1, 2, 3, "as the model says"])
def test_a_second_pass_begins_beside_the_first_only_when_it_is_full(passes_at_once: int | str) -> None:
    class Overlaps(FakeRunner):
        def about(self) -> dict[str, Any]:
            return super().about() | {"passes_at_once": 2}

    asked, expected_most = (0, 2) if isinstance(passes_at_once, str) else (passes_at_once, passes_at_once)

    class Counts(FakeThreads):
        running = most = 0

        async def run(self, work: Any, *arguments: Any) -> Any:
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                return await super().run(work, *arguments)
            finally:
                self.running -= 1

    async def main() -> None:
        threads = Counts()
        made = serving(runner=Overlaps(), threads=threads, passes_at_once=asked)
        async with made as server, server.client() as client:
            few = [asyncio.create_task(ask(client, solution(n, words=20, steps=2))) for n in range(3)]
            await asyncio.gather(*few)
            assert threads.most == 1
            bodies = [solution(n, words=95, steps=2) for n in range(60)]
            answers = await asyncio.gather(*(ask(client, body) for body in bodies))
            assert [answer.json()["confidences"] for answer in answers] == [expected(body) for body in bodies]
            assert threads.most == expected_most
            assert server.service.batcher.num_open == 0
            assert server.service.batcher._running_tokens == 0

    at_once(main())
