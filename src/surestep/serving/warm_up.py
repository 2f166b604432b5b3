"""Passes before the first request: how fast the model is, and what it does only once is done."""

from __future__ import annotations

import asyncio

from surestep.serving.pass_runner import PassRunner, StepRequest
from surestep.serving.settings import ServeConfig
from surestep.serving.speed import Speed
from surestep.serving.threads import Threads
from surestep.types import chain

_GROWTH = 4.0
"""Times the smallest pass: by then the time follows the tokens."""
_LONGEST = 4.0
"""In `pass_time_ms`: no longer pass is tried."""
_SHORT = chain("What is 12 * 3 + 4?", ["12 * 3 = 36."])
_LONG = chain("What is 12 * 3 + 4?", ["12 * 3 = 36.", "36 + 4 = 40."] * 6)


async def warm_up(runner: PassRunner, threads: Threads, speed: Speed, settings: ServeConfig) -> None:
    """Run passes of growing size until their time follows their tokens, and let `speed` learn from them.

    A first pass of every size that the model names (`recorded_sizes`) is among them, so that no request waits for what
    is done once for each.

    Raises:
        Exception: the smallest pass fails, so no request can be answered.
    """
    loop = asyncio.get_running_loop()
    long, short = await threads.encode(lambda: [runner.encode(StepRequest(tree)) for tree in (_LONG, _SHORT)])
    about = runner.about()
    most = int(about["token_budget"])
    to_meet = [int(size) for size in about.get("recorded_sizes", ()) if size <= most]
    first_s = 0.0
    for size in _sizes(settings.smallest_pass, most, to_meet):
        work = [long] * (size // long.num_tokens) + [short] * (size % long.num_tokens // short.num_tokens) or [short]
        num_tokens = sum(request.num_tokens for request in work)
        try:
            for is_measured in (False, True):  # the first of each size also compiles, and makes room in memory
                started = loop.time()
                await threads.run(runner.run, work)
                seconds = max(loop.time() - started, 1e-6)
                if is_measured:
                    speed.observe(num_tokens, seconds)
        except Exception:
            if not first_s:
                raise
            return
        first_s = first_s or seconds
        is_full = seconds * 1000 >= settings.pass_time_ms and seconds >= _GROWTH * first_s
        if size >= max(to_meet, default=0) and (is_full or seconds * 1000 >= _LONGEST * settings.pass_time_ms):
            return


async def smallest_pass(runner: PassRunner, threads: Threads) -> None:
    """Score one short step, for nobody.

    Raises:
        Exception: the model fails.
    """
    (work,) = await threads.encode(lambda: [runner.encode(StepRequest(_SHORT))])
    (scores,) = await threads.run(runner.run, [work])
    if isinstance(scores, Exception):
        raise scores


def _sizes(smallest: int, most: int, to_meet: list[int]) -> list[int]:
    """Tokens of the passes: doubled from `smallest` to `most`, and those to meet."""
    doubled = [min(smallest, most)]
    while doubled[-1] < most:
        doubled.append(min(doubled[-1] * 2, most))
    return sorted({*doubled, *to_meet})
