"""Where the server's work is done that would stop its loop: one thread for text, others for the model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Threads(Protocol):
    """Where work is done that would stop the loop."""

    async def encode(self, work: Callable[..., T], *arguments: Any) -> T:
        """In the encoder thread."""
        ...

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """In the model thread."""
        ...


class OwnThreads:
    """One thread for text, for a tokenizer's own threads would fight the model's; one for each pass at once."""

    def __init__(self, passes_at_once: int = 1) -> None:
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._model = ThreadPoolExecutor(passes_at_once, thread_name_prefix="model")

    async def encode(self, work: Callable[..., T], *arguments: Any) -> T:
        """In the encoder thread."""
        return await asyncio.get_running_loop().run_in_executor(self._encoder, work, *arguments)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """In the model thread."""
        return await asyncio.get_running_loop().run_in_executor(self._model, work, *arguments)

    def close(self) -> None:
        """Wait for neither; what has not begun is dropped."""
        self._encoder.shutdown(wait=False, cancel_futures=True)
        self._model.shutdown(wait=False, cancel_futures=True)
