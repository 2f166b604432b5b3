"""Confidences of solutions and of next steps, from anything with the interface of `surestep.Scorer`.

A step that may follow is scored in a session where the scorer has them (`scorer.session(problem)`), so that it costs
its own tokens only; else, or where a session is lost, the whole path is scored again. Scorers block: each call has a
thread.
Knows texts; knows no generator.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from surestep.errors import SurestepError
from surestep.inference.result import SolutionScores
from surestep.terminal_text import to_stderr


class StepScorer(Protocol):
    """What is asked of a scorer: `surestep.Scorer` and `surestep.client.Client` have it.

    Where it also has `session(problem)`, with `add`, `score_candidates`, `fork` and `close`, searches use that.
    """

    def score_many(self, items: Iterable[tuple[str, Sequence[str]]], /) -> Iterator[SolutionScores]:
        """The confidences of solutions, each (problem, steps), in order."""
        ...


@dataclass
class ScorerCalls:
    """A scorer, asked from an event loop.

    Attributes:
        scorer: whoever gives confidences.
        say: is told, once, where sessions cannot be used.
    """

    scorer: StepScorer
    say: Callable[[str], None] = to_stderr
    _without_sessions: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    async def solutions(self, problem: str, solutions: Sequence[Sequence[str]]) -> list[tuple[float | None, ...]]:
        """The confidences of every step of several solutions of one problem; those of one without steps are none."""
        if not any(solutions):
            return [() for _ in solutions]
        return await asyncio.to_thread(self._solutions, problem, solutions)

    def _solutions(self, problem: str, solutions: Sequence[Sequence[str]]) -> list[tuple[float | None, ...]]:
        found = iter(self.scorer.score_many([(problem, list(steps)) for steps in solutions if steps]))
        return [next(found).confidences if steps else () for steps in solutions]

    def open(self, problem: str) -> ScoredPath:
        """The empty path of a problem."""
        return ScoredPath(self, problem)

    def session_of(self, problem: str, steps: Sequence[str]) -> Any | None:
        """A session with these steps; None where the scorer has none."""
        opening = None if self._without_sessions else getattr(self.scorer, "session", None)
        if opening is None:
            return None
        try:
            session = opening(problem)
            for step in steps:
                session.add(step)
        except SurestepError as error:
            self.without_sessions(error)
            return None
        return session

    def without_sessions(self, error: SurestepError) -> None:
        """Sessions do not work: from here on whole paths are scored."""
        with self._lock:
            if not self._without_sessions:
                self._without_sessions = True
                self.say(f"sessions cannot be used ({error}): each step is scored with the whole path before it")


@dataclass
class ScoredPath:
    """A solution so far; its session, where there is one, is opened when it is first needed.

    Attributes:
        steps, confidences: of the path.
    """

    calls: ScorerCalls
    problem: str
    steps: tuple[str, ...] = ()
    confidences: tuple[float | None, ...] = ()
    _session: Any = field(default=None, repr=False)

    async def next_steps(self, steps: Sequence[str]) -> list[float | None]:
        """The confidence that each of these steps has as the next one."""
        return await asyncio.to_thread(self._next_steps, list(steps))

    def _next_steps(self, steps: list[str]) -> list[float | None]:
        if self._session is None:
            self._session = self.calls.session_of(self.problem, self.steps)
        if self._session is not None:
            try:
                return list(self._session.score_candidates(steps))
            except SurestepError as error:
                self.calls.without_sessions(error)
                self._session = None
        solutions = [(*self.steps, step) for step in steps]
        return [scores[-1] for scores in self.calls._solutions(self.problem, solutions)]

    async def followed_by(self, step: str, confidence: float | None) -> ScoredPath:
        """The path with one more step, whose confidence is known."""
        return await asyncio.to_thread(self._followed_by, step, confidence)

    def _followed_by(self, step: str, confidence: float | None) -> ScoredPath:
        session = None
        if self._session is not None:
            try:
                session = self._session.fork()
                session.add(step)
            except SurestepError as error:
                self.calls.without_sessions(error)
                session = None
        return ScoredPath(self.calls, self.problem, (*self.steps, step), (*self.confidences, confidence), session)

    async def close(self) -> None:
        """Give its session back."""
        session, self._session = self._session, None
        if session is not None:
            await asyncio.to_thread(_close, session)


def _close(session: Any) -> None:
    with suppress(SurestepError):  # it is gone, or expires by itself
        session.close()
