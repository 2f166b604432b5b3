"""`/v1/sessions`: solutions that grow step by step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter
from starlette.responses import Response

from surestep.counted import counted
from surestep.errors import InputError
from surestep.serving.batcher import TooLateError
from surestep.serving.http.context import CURRENT, current_caller
from surestep.serving.http.failures import Failure, error_answers
from surestep.serving.http.strict_json import StrictJsonRoute
from surestep.serving.pass_runner import NodeScores, SessionHandle, SessionStep
from surestep.serving.routes.bodies import (
    AddAnswer,
    AddBody,
    CandidatesAnswer,
    CandidatesBody,
    SessionAnswer,
    SessionBody,
    monitor_answer,
)
from surestep.serving.service import Service
from surestep.serving.session_store import NoSessionError, OpenSession, TooManySessionsError

_ANSWERED_AT_ONCE = error_answers(400, 401, 404, 422)
_DELETE_ERRORS = error_answers(400, 401, 404, 422, 504)
_ERRORS = error_answers(400, 401, 404, 408, 409, 413, 422, 429, 500, 503, 504)


def sessions_router(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/v1/sessions", route_class=StrictJsonRoute, tags=["sessions"])
    store, settings = service.sessions, service.settings

    @asynccontextmanager
    async def alone_with(id: str) -> AsyncIterator[OpenSession]:
        """A session that nobody else changes within the block; waiting for that ends at the request's deadline."""
        with store.used(id, current_caller().name) as session:
            try:
                async with asyncio.timeout_at(CURRENT.get().deadline):
                    await session.lock.acquire()
            except TimeoutError:
                raise TooLateError("the deadline has passed: other requests of this session came first") from None
            try:
                try:
                    async with asyncio.timeout_at(CURRENT.get().deadline):
                        await service.batcher.settled(session.handle)
                except TimeoutError:
                    raise TooLateError("the deadline has passed: an earlier step of this session is scored") from None
                if session.is_closed:
                    raise NoSessionError("there is no such session: it was deleted, or it has expired")
                yield session
            finally:
                session.lock.release()

    def answer(session: OpenSession) -> SessionAnswer:
        handle = session.handle
        # A pass may be adding a step in its thread; `raw` is the last to grow.
        count = len(handle.raw)
        return SessionAnswer(
            id=session.id,
            steps=list(handle.steps[:count]),
            confidences=list(handle.confidences[:count]),
            raw=list(handle.raw[:count]),
            num_tokens=handle.num_tokens,
            monitor=monitor_answer(handle.readings, count),
            expires_in_s=settings.session_expiry_s,
        )

    def added(handle: SessionHandle, at: int) -> AddAnswer:
        return AddAnswer(
            confidence=handle.confidences[at],
            raw=handle.raw[at],
            num_steps=len(handle.steps),
            num_tokens=handle.num_tokens,
            monitor=monitor_answer(handle.readings, at + 1),
        )

    async def keep(handle: SessionHandle) -> OpenSession:
        try:
            return store.add(current_caller().name, handle)
        except TooManySessionsError:
            await service.threads.run(handle.close)
            raise

    async def submit(step: SessionStep) -> NodeScores:
        return await service.submit(step, num_steps=len(step.steps))

    @router.post("", status_code=201, summary="Open a session", responses=_ERRORS)
    async def create(body: SessionBody) -> SessionAnswer:
        """A session holds a problem and, from then on, the steps that are added."""
        caller = current_caller()
        store.check_room(caller.name)
        if len(body.problem) > 16 * service.speed.request_limit:
            raise Failure(413, f"the problem has more than {counted(service.speed.request_limit, 'token')}")
        handle = await service.threads.run(service.runner.open_session, body.problem, caller.namespace)
        return answer(await keep(handle))

    @router.get("/{id}", summary="A session as it stands", responses=_ANSWERED_AT_ONCE)
    async def show(id: str) -> SessionAnswer:
        """Its steps and their confidences; counts as use."""
        with store.used(id, current_caller().name) as session:
            return answer(session)

    @router.post("/{id}/steps", summary="Add the next step", responses=_ERRORS)
    async def add(id: str, body: AddBody) -> AddAnswer:
        """The step's confidence; it never changes afterwards."""
        async with alone_with(id) as session:
            handle = session.handle
            count = len(handle.steps)
            at = count if body.at is None else body.at
            if at < count and handle.steps[at] == body.step:
                return added(handle, at)
            if at != count:
                raise Failure(409, f"the session has {counted(count, 'step')}, and the request says {at:,}")
            if count >= settings.max_steps:
                raise InputError(f"the session has {counted(count, 'step')}, as many as allowed")
            await submit(SessionStep(handle, (body.step,), body.context))
            return added(handle, at)

    @router.post("/{id}/candidates", summary="Score candidates for the next step", responses=_ERRORS)
    async def candidates(id: str, body: CandidatesBody) -> CandidatesAnswer:
        """All in one pass; none of them is kept."""
        if len(body.steps) > settings.max_candidates:
            raise InputError(
                f"the request has {counted(len(body.steps), 'candidate')}; allowed: {settings.max_candidates:,}"
            )
        async with alone_with(id) as session:
            new = await submit(SessionStep(session.handle, tuple(body.steps), body.context, keep=False))
            return CandidatesAnswer(confidences=list(new.confidence), raw=list(new.raw))

    @router.post("/{id}/fork", status_code=201, summary="Open another session from here", responses=_ERRORS)
    async def fork(id: str) -> SessionAnswer:
        """What is added to one of the two is not seen by the other."""
        async with alone_with(id) as session:
            store.check_room(current_caller().name)
            handle = await service.threads.run(session.handle.fork)
            return answer(await keep(handle))

    @router.delete(
        "/{id}", status_code=204, summary="Close a session", responses=_DELETE_ERRORS, response_class=Response
    )
    async def delete(id: str) -> Response:
        """Its memory is given back."""
        async with alone_with(id) as session:
            store.remove(session)
            await service.threads.run(session.handle.close)
            return Response(status_code=204)

    return router
