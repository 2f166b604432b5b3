"""What a server's sessions say of a checkpoint's monitor, and what the client makes of it."""

from __future__ import annotations

from typing import Any

import httpx2

from fake_server import FakeRunner, at_once, number_for, serving
from surestep.client import AsyncClient
from surestep.guarantees.monitoring import Monitor, MonitorReading
from surestep.inference.recomputed_sessions import RecomputedSession

MONITOR = Monitor.fit([[0.9, 0.4 + number / 100] for number in range(20)], list(range(20)), alpha=0.2)
STEPS = "abcd"


class Watched(FakeRunner):
    """Its sessions are watched."""

    def open_session(self, problem: str, namespace: str) -> RecomputedSession:
        return RecomputedSession(problem, MONITOR)


def expected() -> list[MonitorReading]:
    """The fake's raw numbers are half of its confidences."""
    return MONITOR.readings([number_for("p", STEPS[: count + 1]) / 2 for count in range(len(STEPS))])


def test_every_added_step_is_answered_with_what_the_monitor_says() -> None:
    async def main() -> None:
        async with serving(runner=Watched()) as server, server.client() as client:
            opened = (await client.post("/v1/sessions", json={"problem": "p"})).json()
            assert opened["monitor"] is None, "nothing is said before the first step"
            path = f"/v1/sessions/{opened['id']}"
            said = []
            for at, step in enumerate(STEPS):
                answer = (await client.post(f"{path}/steps", json={"step": step, "at": at})).json()
                said.append(answer["monitor"])
                assert set(answer["monitor"]) == {"alarm", "level", "promised_until", "promised", "note"}
            assert said == [reading.to_json() for reading in expected()]
            assert [one["promised"] for one in said] == [True, True, False, False]
            assert "nothing is promised here" in said[-1]["note"] or said[-1]["alarm"]
            again = (await client.post(f"{path}/steps", json={"step": "b", "at": 1})).json()
            assert again["monitor"] == said[1], "a step that is there already is answered as before"
            assert (await client.get(path)).json()["monitor"] == said[-1]
            fork = (await client.post(f"{path}/fork")).json()
            assert fork["monitor"] == said[-1]
            await client.post(f"{path}/candidates", json={"steps": ["x", "y"]})
            assert (await client.get(path)).json()["monitor"] == said[-1]

    at_once(main())


def test_without_a_monitor_there_is_none() -> None:
    async def main() -> None:
        async with serving() as server, server.client() as client:
            opened = (await client.post("/v1/sessions", json={"problem": "p"})).json()
            answer = (await client.post(f"/v1/sessions/{opened['id']}/steps", json={"step": "a"})).json()
            assert opened["monitor"] is answer["monitor"] is None

    at_once(main())


def test_the_client_has_the_last_reading() -> None:
    async def main(runner: Any) -> list[MonitorReading | None]:
        async with serving(runner=runner) as server:
            transport = httpx2.ASGITransport(app=server.app)
            async with AsyncClient("http://server", transport=transport) as client:
                session = await client.session("p")
                found = [session.monitor]
                for step in STEPS:
                    await session.add(step)
                    found.append(session.monitor)
                assert (await session.fork()).monitor == found[-1]
                return found

    assert at_once(main(Watched())) == [None, *expected()]
    assert at_once(main(FakeRunner())) == [None] * 5
