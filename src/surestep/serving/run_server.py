"""The process: a socket, uvicorn, and an end that leaves nobody without an answer."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from surestep.errors import ConfigError
from surestep.serving.service import Service
from surestep.serving.settings import ServeConfig

_SWITCH_INTERVAL_S = 1e-4
"""How long a busy thread keeps the others from running: the model's thread asks often, and for little."""
_CLOSING_S = 2
"""For connections to close once nobody waits for an answer any more."""


def open_socket(settings: ServeConfig) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigError: the address is not this machine's, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host.strip("[]"), settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
        if os.name == "posix":  # elsewhere it would let two servers listen at once
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(address)
        except OSError:
            made.close()
            raise
        return made
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"--host {settings.host} --port {settings.port} cannot be listened on ({reason}); choose another --port "
            "(0: any that is free), or an address of this machine"
        ) from None


def address_of(listening: socket.socket) -> str:
    """`http://127.0.0.1:8000`."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(app: FastAPI, listening: socket.socket, *, started: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, then answer what waits; the signal is raised again at the end.

    So the exit status is 143 after SIGTERM and 130 after Ctrl-C. A second signal ends at once.

    Args:
        app: what `create_app` made.
        listening: where.
        started: called once, when connections are accepted.
    """
    service: Service = app.state.service
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    _log_through(service)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=max(1, round(service.settings.keep_alive_s)),
        timeout_graceful_shutdown=_CLOSING_S,
    )
    _Server(config, service, started).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Stops only when nobody waits any more."""

    def __init__(self, config: uvicorn.Config, service: Service, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._service = service
        self._tell_started = started
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        if self.started:
            self._tell_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins to drain, the second ends at once."""
        if self._loop is None or self._is_stopping:
            self.force_exit = True
            super().handle_exit(sig, frame)
            return
        self._is_stopping = True
        self._loop.call_soon_threadsafe(self._begin_drain, sig)

    def _begin_drain(self, sig: int) -> None:
        self._drain = asyncio.create_task(self._drain_and_exit(sig))

    async def _drain_and_exit(self, sig: int) -> None:
        try:
            await self._service.drain()
        finally:
            super().handle_exit(sig, None)


def _log_through(service: Service) -> None:
    """uvicorn's own warnings as events; an exception by its class and place only."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1] is not None:
                service.log.error("server_error", record.exc_info[1])
            else:
                service.log.event("warning", "server", message=record.getMessage())

    logger = logging.getLogger("uvicorn")
    logger.handlers[:] = [Handler(logging.WARNING)]
    logger.propagate = False
