"""All parts put together as one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from surestep import __version__
from surestep.inference.certifier import Certifier
from surestep.serving.admission import Admission
from surestep.serving.api_keys import ApiKeys
from surestep.serving.http.event_log import EventLog
from surestep.serving.http.failures import add_failure_handlers
from surestep.serving.http.observed import Observed
from surestep.serving.http.strict_json import StrictJsonRoute
from surestep.serving.pass_runner import PassRunner
from surestep.serving.routes.health import health_router
from surestep.serving.routes.scoring import scoring_router
from surestep.serving.routes.sessions import sessions_router
from surestep.serving.service import ScoreTrees, Service
from surestep.serving.settings import ServeConfig
from surestep.serving.threads import OwnThreads, Threads

_DESCRIPTION = """\
How likely is each step of a model's reasoning right? Every answer that is an error has the body
`{"error": {"type": ..., "message": ...}}`. Every answer has the header `X-Request-Id`, which the server's log has too.
A request may lower its deadline by the header `X-Surestep-Deadline` (seconds).
"""


def create_app(
    settings: ServeConfig,
    runner: PassRunner,
    *,
    keys: ApiKeys | None = None,
    routers: Sequence[APIRouter | Callable[[ScoreTrees], APIRouter]] = (),
    open_paths: Collection[str] = (),
    loopback_names_only: bool = False,
    certifier: Certifier | None = None,
    threads: Threads | None = None,
    log: EventLog | None = None,
) -> FastAPI:
    """The server's application; `app.state.service` holds its parts.

    Args:
        settings: limits.
        runner: the model.
        keys: who is let in; unset: everyone.
        routers: more routes (other protocols, a page); a function is given how to score. Routes that take a body are
            `StrictJsonRoute`s.
        open_paths: `GET` of these, and of all below those that end with `/`, needs no key.
        loopback_names_only: whether requests to any other name than loopback's are refused.
        certifier: says what the model's certificate promises of whole solutions, where it has one.
        threads: where encoding and passes are done; unset: in threads of its own.
        log: gets events; unset: as the settings say, to stderr.
    """
    keys = keys or ApiKeys()
    if settings.passes_at_once == 0:
        settings = settings.model_copy(update={"passes_at_once": int(runner.about().get("passes_at_once", 1))})
    service = Service(
        settings,
        runner,
        keys=keys,
        threads=threads or OwnThreads(settings.passes_at_once),
        log=log or EventLog(settings.log_level, with_texts=settings.log_texts),
        certifier=certifier,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    # No pages of FastAPI's own: they load scripts from other servers.
    app = FastAPI(
        title="Surestep",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service, app.state.threads = service, service.threads
    add_failure_handlers(app)
    own = [scoring_router(service), sessions_router(service), health_router(service)]
    more = [made if isinstance(made, APIRouter) else made(service.score_trees) for made in routers]
    for router in (*own, *more):
        for route in router.routes:
            is_strict = isinstance(route, StrictJsonRoute) or not isinstance(route, APIRoute) or not route.body_field
            assert is_strict, f"{route}: give its router route_class=StrictJsonRoute"
        app.include_router(router)
    app.state.routes = [route for router in (*own, *more) for route in router.routes]
    app.add_middleware(
        Admission,
        settings=settings,
        keys=keys,
        room=service.room,
        in_flight=service.in_flight,
        is_closed=lambda: service.is_closed,
        loopback_names_only=loopback_names_only,
        open_paths=open_paths,
    )
    app.add_middleware(Observed, log=service.log, metrics=service.metrics, deadline_s=settings.deadline_s)
    return app
