"""Notices a run that leaves more than a third of the machine's speed unused, and names the setting that fixes it."""

from __future__ import annotations

from dataclasses import dataclass

from surestep.counted import counted
from surestep.training.events import RunView, TrainingEvents
from surestep.training.events.records import StepDone
from surestep.training.schedule import Rhythm

NOTICED_SHARE = 1 / 3
STEPS_TO_WATCH = 20
"""Optimiser steps before anything is said: the first ones compile and fill caches."""

BUSY_PASS = 2048
"""Tokens in a pass below which a large GPU waits for the CPU more than it computes (a 4B model on an H200 reaches two
thirds of its speed at about 4,000 tokens: docs/experiments/2026-11-23-h200-first-round-of-changes.md)."""


@dataclass
class UnusedSpeed:
    """Sums over the steps of a run, and what they say, once.

    Args:
        on_gpu: whether passes run on a GPU; a CPU is busy with any pass.
        token_budget: tokens that a pass may hold.
    """

    on_gpu: bool
    token_budget: int
    steps: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    tokens: int = 0
    passes: int = 0
    said: bool = False

    def add(self, *, seconds: float, waited: float, tokens: int, passes: int) -> None:
        """Count one optimiser step: its wall time, the share of it spent waiting for examples, and its passes."""
        self.steps += 1
        if self.steps > STEPS_TO_WATCH // 2:
            self.seconds += seconds
            self.waited += waited
            self.tokens += tokens
            self.passes += passes

    def complaint(self) -> str | None:
        """A line for the user, once; None while there is nothing to say.

        >>> watch = UnusedSpeed(on_gpu=True, token_budget=5120)
        >>> for _ in range(STEPS_TO_WATCH):
        ...     watch.add(seconds=0.2, waited=0.0, tokens=600, passes=1)
        >>> watch.complaint()
        'speed: a pass holds 600 tokens on average and the GPU waits between them; raise --batch_size'
        >>> watch.complaint() is None
        True
        """
        if self.said or self.steps < STEPS_TO_WATCH:
            return None
        self.said = True
        if self.waited > NOTICED_SHARE * self.seconds:
            return (
                f"speed: {self.waited / self.seconds:.0%} of the time is spent waiting for examples; put --cache_dir "
                "on a faster disk, or leave a CPU core free"
            )
        mean = self.tokens / max(self.passes, 1)
        if self.on_gpu and mean < BUSY_PASS:
            # Passes that are nearly full are small because the budget is.
            setting = "--token_budget" if mean > self.token_budget / 2 else "--batch_size"
            return (
                f"speed: a pass holds {counted(round(mean), 'token')} on average and the GPU waits between them; "
                f"raise {setting}"
            )
        return None


class IdleGpu(TrainingEvents):
    """Says the complaint at a log line; main process only."""

    def __init__(self, rhythm: Rhythm, *, on_gpu: bool, token_budget: int) -> None:
        self._rhythm = rhythm
        self._watch = UnusedSpeed(on_gpu=on_gpu, token_budget=token_budget)

    def started(self, run: RunView) -> None:
        self._run = run

    def step_done(self, done: StepDone) -> None:
        packs = done.packs
        self._watch.add(seconds=done.seconds, waited=done.waited, tokens=packs.num_tokens, passes=len(packs.packs))
        if self._rhythm.is_logging(done.step) and (complaint := self._watch.complaint()) is not None:
            self._run.say(complaint)
