"""A session of `scoring.sessions` as a server uses it: asked by one thread, read by another without waiting for it."""

from __future__ import annotations

from collections.abc import Sequence

from surestep.guarantees.monitoring import MonitorReading
from surestep.inference.requests import SessionStep
from surestep.scoring.protocol import NodeScores
from surestep.scoring.sessions import NextSteps, Session, SessionScorer


class HeldSession:
    """A session, and what is known of it without asking.

    Asking the session itself may wait for a pass that runs, and the server's loop must not.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.steps: list[str] = []
        self.confidences: list[float | None] = []
        self.raw: list[float | None] = []
        self.readings: list[MonitorReading] = list(session.readings)
        self.num_tokens = session.num_tokens

    def fork(self) -> HeldSession:
        """Another session that begins with the same steps and numbers."""
        other = HeldSession(self.session.fork())
        other.steps, other.confidences, other.raw = list(self.steps), list(self.confidences), list(self.raw)
        return other

    def close(self) -> None:
        """Give back what it holds."""
        self.session.close()

    def took(self, steps: Sequence[str], scores: NodeScores) -> None:
        """The session has been given `steps`, with these scores."""
        self.steps += steps
        self.confidences += scores.confidence
        self.readings += self.session.readings[len(self.readings) :]
        self.raw += scores.raw
        self.num_tokens = self.session.num_tokens


def run_session_steps(sessions: SessionScorer, steps: Sequence[SessionStep]) -> list[NodeScores]:
    """The numbers of what may follow in many sessions, in one pass as far as the token budget goes.

    Raises:
        Exception: whatever the sessions raise; then none of them has been changed.
    """
    held = [_held(step) for step in steps]
    requests = [
        NextSteps(session.session, step.steps, step.context, keep=step.keep)
        for session, step in zip(held, steps, strict=True)
    ]
    found = sessions.score_next(requests)
    for session, step, scores in zip(held, steps, found, strict=True):
        if step.keep:
            session.took(step.steps, scores)
    return found


def _held(step: SessionStep) -> HeldSession:
    assert isinstance(step.session, HeldSession)
    return step.session
