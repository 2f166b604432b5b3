"""Passes before the first request: how fast the model is, and what it does only once is done."""

from __future__ import annotations

import asyncio
import math

from surestep.serving.pass_runner import PassRunner, StepRequest
from surestep.serving.settings import ServeConfig
from surestep.serving.speed import Speed
from surestep.serving.threads import Threads
from surestep.types import chain

_EXAMPLE = chain("What is 12 * 3 + 4?", ["12 * 3 = 36.", "36 + 4 = 40."] * 6)


async def warm_up(runner: PassRunner, threads: Threads, speed: Speed, settings: ServeConfig) -> None:
    """Run passes of growing size until one takes `pass_time_ms`, and set `speed` by the last of them.

    Raises:
        Exception: the smallest pass fails, so no request can be answered.
    """
    loop = asyncio.get_running_loop()
    example = await threads.encode(runner.encode, StepRequest(_EXAMPLE))
    most = int(runner.about()["token_budget"])
    size = min(settings.smallest_pass, most)
    is_first = True
    while True:
        work = [example] * max(1, math.ceil(size / example.num_tokens))
        try:
            for _ in range(2):  # the first of each size also compiles, and makes room in memory
                started = loop.time()
                await threads.run(runner.run, work)
                seconds = max(loop.time() - started, 1e-6)
        except Exception:
            if is_first:
                raise
            return
        speed.set(len(work) * example.num_tokens / seconds)
        is_first = False
        if seconds * 1000 >= settings.pass_time_ms or size >= most:
            return
        size = min(size * 2, most)
