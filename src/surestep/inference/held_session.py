"""A session of `scoring.sessions` as a server uses it: asked by one thread, read by another without waiting for it.

Knows the interface of sessions; knows no tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

from surestep.inference.requests import NodeScores, SessionStep


class StepSession(Protocol):
    """What `scoring.sessions.Session` offers, as far as a server needs it."""

    @property
    def raw(self) -> Sequence[float | None]: ...
    @property
    def num_tokens(self) -> int: ...
    def fork(self) -> Self: ...
    def close(self) -> None: ...


class StepSessions(Protocol):
    """What `scoring.sessions.SessionScorer` offers, as far as a server needs it."""

    def open(self, problem: str, *, namespace: str) -> StepSession:
        """A session under a problem."""
        ...

    def add_many(self, steps: Sequence[tuple[StepSession, str, str | None]]) -> list[float | None]:
        """Append a step, with its evidence, to each session: all of them or, where it raises, none."""
        ...


class HeldSession:
    """A session, and what is known of it without asking.

    Asking the session itself may wait for a pass that runs, and the server's loop must not.
    """

    def __init__(self, session: StepSession) -> None:
        self.session = session
        self.steps: list[str] = []
        self.confidences: list[float | None] = []
        self.raw: list[float | None] = []
        self.num_tokens = session.num_tokens

    def fork(self) -> HeldSession:
        """Another session that begins with the same steps and numbers."""
        other = HeldSession(self.session.fork())
        other.steps, other.confidences, other.raw = list(self.steps), list(self.confidences), list(self.raw)
        return other

    def close(self) -> None:
        """Give back what it holds."""
        self.session.close()

    def took(self, step: str, confidence: float | None) -> NodeScores:
        """The session has been given `step`; the step's numbers."""
        raw = self.session.raw[-1]
        self.steps.append(step)
        self.confidences.append(confidence)
        self.raw.append(raw)
        self.num_tokens = self.session.num_tokens
        return NodeScores((confidence,), (raw,))


def run_session_steps(sessions: StepSessions, steps: Sequence[SessionStep]) -> list[NodeScores]:
    """The numbers of what may follow in many sessions; the steps that are kept go through the model together, last.

    Raises:
        Exception: whatever the sessions raise; then none of them has been changed.
    """
    found: dict[int, NodeScores] = {}
    kept: list[tuple[int, HeldSession]] = []
    for number, step in enumerate(steps):
        session = step.session
        assert isinstance(session, HeldSession)
        if step.keep:
            kept.append((number, session))
        else:
            found[number] = _candidates(sessions, session.session, step)
    if kept:
        added = sessions.add_many([(held.session, steps[i].steps[0], steps[i].context) for i, held in kept])
        for (number, held), confidence in zip(kept, added, strict=True):
            found[number] = held.took(steps[number].steps[0], confidence)
    return [found[number] for number in range(len(steps))]


def _candidates(sessions: StepSessions, session: StepSession, step: SessionStep) -> NodeScores:
    """On forks, which are closed again: so the model's own number is known too, and evidence can stand in front."""
    forks = [session.fork() for _ in step.steps]
    try:
        confidences = sessions.add_many(
            [(fork, text, step.context) for fork, text in zip(forks, step.steps, strict=True)]
        )
        return NodeScores(tuple(confidences), tuple(fork.raw[-1] for fork in forks))
    finally:
        for fork in forks:
            fork.close()
