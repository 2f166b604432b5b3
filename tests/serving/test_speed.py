"""The time of a pass is learned as overhead and time a token, whatever sizes come; budgets and waits follow it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_server import FakeRunner, FakeThreads, at_once, serving, solution
from surestep.serving.settings import ServeConfig
from surestep.serving.speed import Speed


def learned(overhead_s: float, per_token_s: float, sizes: list[int], **settings: Any) -> Speed:
    speed = Speed(ServeConfig(**settings), 32768)
    for size in sizes:
        speed.observe(size, overhead_s + per_token_s * size)
    return speed


@given(
    overhead_s=st.floats(1e-4, 0.2),
    per_token_s=st.floats(1e-6, 1e-3),
    sizes=st.lists(st.integers(40, 20_000), min_size=2, max_size=40),
)
def test_a_line_is_found_from_passes_on_it(overhead_s: float, per_token_s: float, sizes: list[int]) -> None:
    speed = learned(overhead_s, per_token_s, [*sizes, 32, 32768])
    for size in (32, 1000, 32768):
        assert speed.seconds_for(size) >= 0
        alone = speed.overhead_s + speed.seconds_per_token * size
        assert alone == pytest.approx(overhead_s + per_token_s * size, rel=0.3)
    assert speed.overhead_s >= 0
    assert speed.seconds_per_token > 0
    assert 1 <= speed.pass_budget <= 32768
    assert speed.pass_time_s <= 0.1 + 1e-9, "twice pass_time_ms"


def test_small_passes_alone_do_not_make_passes_small() -> None:
    """What starting a pass costs is not taken for slow tokens: 40 ms of it, and 12.5 us a token, as on an H200."""
    speed = learned(0.04, 12.5e-6, [128, 256, 512, 1024, 2048, 4096, 8192, 16384])
    before = speed.pass_budget
    assert before == pytest.approx((0.1 - 0.04) / 12.5e-6, rel=0.02)
    for _ in range(200):
        speed.observe(300, 0.04 + 300 * 12.5e-6)
    assert speed.pass_budget == pytest.approx(before, rel=0.02)


def test_passes_that_were_held_up_move_nothing_and_a_slower_model_does() -> None:
    speed, rng = learned(0.005, 13e-6, [256, 512, 1024, 2048, 4096, 8192]), random.Random(0)
    before = speed.pass_budget
    for number in range(100):
        size = rng.randint(500, 3000)
        speed.observe(size, (0.005 + 13e-6 * size) * (20 if number % 5 == 0 else 1))
    assert speed.pass_budget == pytest.approx(before, rel=0.05)
    for _ in range(40):
        size = rng.randint(500, 3000)
        speed.observe(size, 2 * (0.005 + 13e-6 * size))
    assert speed.pass_budget < 0.7 * before


def test_waiting_is_counted_in_passes() -> None:
    speed = learned(0.01, 1e-5, [128, 1024, 8192, 16384])
    budget = speed.pass_budget
    assert speed.seconds_for(0) == 0
    assert speed.seconds_for(10) == pytest.approx(0.01, rel=0.1), "the overhead of one pass"
    assert speed.seconds_for(10 * budget) == pytest.approx(10 * speed.pass_time_s, rel=0.01)
    assert speed.room == pytest.approx(5 * budget / speed.pass_time_s, rel=0.01)


def test_a_budget_is_a_size_up_to_which_the_model_fills_its_passes() -> None:
    sizes = (128, 1024, 2048, 4096)
    for per_token_s, budget in ((1e-4, 500), (3e-5, 1024), (2e-5, 2048), (5e-6, 10_000)):
        speed = Speed(ServeConfig(), 32768, sizes)
        for size in (100, 1000, 10_000):
            speed.observe(size, per_token_s * size)
        expected = 128 if budget == 500 else budget
        assert speed.pass_budget == expected


class WithOverhead(FakeThreads):
    """A pass takes 40 ms and 12.5 us a token."""

    async def run(self, work: Any, *arguments: Any) -> Any:
        await asyncio.sleep(0.04)
        return await super().run(work, *arguments)


@pytest.mark.slow
def test_a_server_whose_passes_have_an_overhead_fills_them() -> None:
    """Many clients, each with one request at a time: they share few large passes, and none waits long."""
    per_s = 1 / 12.5e-6

    async def client(server: Any, number: int, waits: list[float]) -> None:
        loop = asyncio.get_running_loop()
        async with server.client() as asking:
            for turn in range(6):
                started = loop.time()
                answer = await asking.post("/v1/steps", json=solution(100 * number + turn, words=95, steps=3))
                assert answer.status_code == 200
                waits.append(loop.time() - started)

    async def main() -> None:
        made = FakeRunner(token_budget=32768)
        async with serving(runner=made, threads=WithOverhead(per_s)) as server:
            waits: list[float] = []
            started = asyncio.get_running_loop().time()
            await asyncio.gather(*(client(server, number, waits) for number in range(64)))
            seconds = asyncio.get_running_loop().time() - started
            assert 64 * 6 * 300 / seconds > 0.4 * per_s, "six tenths of a pass are tokens"
            assert max(waits) < 0.5, "passes of at most 100 ms"

    at_once(main())


def test_every_recorded_size_is_met_before_the_first_request() -> None:
    class Records(FakeRunner):
        seen: list[int]

        def about(self) -> dict[str, Any]:
            return super().about() | {"recorded_sizes": (128, 256, 512, 4096)}

        def run(self, works: Any) -> Any:
            self.seen.append(sum(work.num_tokens for work in works))
            return super().run(works)

    async def main() -> None:
        made = Records()
        made.seen = []
        async with serving(runner=made):
            for below, size in ((0, 128), (128, 256), (256, 512), (3584, 4096)):
                assert any(below < tokens <= size for tokens in made.seen), size

    at_once(main())
