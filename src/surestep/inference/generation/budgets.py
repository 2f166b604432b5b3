"""Budgets of tokens and of time: of one problem, and of all of them.

Knows numbers and clocks; knows no text.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

PROBLEM_TOKENS = "the token budget of the problem (problem_tokens) is used up"
TOTAL_TOKENS = "the token budget of the run (total_tokens) is used up"
PROBLEM_SECONDS = "the time of the problem (problem_seconds) is up"
TOTAL_SECONDS = "the time of the run (total_seconds) is up"


@dataclass
class ProblemBudget:
    """What is left to one problem.

    Attributes:
        tokens: most generated tokens; None for any number.
        of_run: whether that is what the run has left.
        deadline, run_deadline: of `time.monotonic`, of the problem and of the run.
        used: generated so far; where a server does not say how many, as many as it was allowed.
    """

    tokens: int | None = None
    of_run: bool = False
    deadline: float | None = None
    run_deadline: float | None = None
    used: int = 0

    @property
    def left(self) -> int | None:
        """Tokens that may still be generated."""
        return None if self.tokens is None else max(0, self.tokens - self.used)

    @property
    def until(self) -> float | None:
        """When time is up."""
        return min((at for at in (self.deadline, self.run_deadline) if at is not None), default=None)

    def exhausted(self) -> str | None:
        """What is used up, in words; None where there is something left of everything."""
        return self.out_of_tokens if self.left == 0 else self.out_of_time()

    @property
    def out_of_tokens(self) -> str:
        """Whose tokens they are, in words."""
        return TOTAL_TOKENS if self.of_run else PROBLEM_TOKENS

    def out_of_time(self) -> str | None:
        """Whose time is up, in words."""
        now = time.monotonic()
        if self.run_deadline is not None and now >= self.run_deadline:
            return TOTAL_SECONDS
        return PROBLEM_SECONDS if self.deadline is not None and now >= self.deadline else None


@dataclass
class RunBudget:
    """What is left to all problems; carried from part to part of a table.

    The tokens that a problem may take are what those before it, in the order of the file, have left: problems run side
    by side as long as all of them are sure to have enough, else one waits until those before it are done. So which
    problems go short does not depend on how many run at once.

    Attributes:
        total_tokens: of all problems; None for any number.
        most_tokens: what one problem takes at the very most.
        problem_tokens: what one problem may take.
        problem_seconds: what one problem may take.
        deadline: of the run, of `time.monotonic`.
        spent: generated so far, by problems that are done.
    """

    total_tokens: int | None
    most_tokens: int
    problem_tokens: int | None = None
    problem_seconds: float | None = None
    deadline: float | None = None
    spent: int = 0
    _admitted: int = 0
    _running: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def begin(self) -> None:
        """Before problems numbered from 0 are admitted, within the running event loop."""
        self._admitted = self._running = 0
        self._changed = asyncio.Condition()

    async def admit(self, number: int) -> ProblemBudget:
        """The budget of a problem; those with smaller numbers are admitted before it."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._admitted == number and self._may_run())
            self._admitted += 1
            self._running += 1
            self._changed.notify_all()
            tokens, of_run = self.problem_tokens, False
            if self.total_tokens is not None and not self._is_sure(self._running):
                left = max(0, self.total_tokens - self.spent)
                of_run = tokens is None or left < tokens
                tokens = left if of_run else tokens
            deadline = None if self.problem_seconds is None else time.monotonic() + self.problem_seconds
            return ProblemBudget(tokens, of_run, deadline, self.deadline)

    async def settle(self, used: int) -> None:
        """A problem is done and took so many tokens."""
        async with self._changed:
            self._running -= 1
            self.spent += used
            self._changed.notify_all()

    def _may_run(self) -> bool:
        return self._running == 0 or self._is_sure(self._running + 1)

    def _is_sure(self, running: int) -> bool:
        """Whether so many problems have enough whatever they take."""
        return self.total_tokens is None or self.spent + running * self.most_tokens <= self.total_tokens
