"""Sessions that keep texts and numbers only: each new step scores the whole path again.

Right for every backbone, and dear: the fallback where no keys and values can be kept. Knows no tensor.
"""

from __future__ import annotations

from surestep.errors import InputError
from surestep.guarantees.monitoring import Monitor, MonitorReading, MonitorRun
from surestep.inference.requests import SessionStep, StepRequest
from surestep.scoring.protocol import NodeScores
from surestep.types import ROOT, Node, ReasoningTree


class RecomputedSession:
    """A problem, its steps so far, and the number that each of them got when it was added.

    Args:
        problem: the text that all steps answer, not blank.
        monitor: watches the session, unless None.

    Raises:
        InputError: the problem is blank.
    """

    def __init__(self, problem: str, monitor: Monitor | None = None) -> None:
        if not problem.strip():
            raise InputError("the problem is empty")
        self.problem = problem
        self.steps: list[str] = []
        self.confidences: list[float | None] = []
        self.raw: list[float | None] = []
        self.num_tokens = 0
        self._contexts: list[str | None] = []
        self._watch: MonitorRun | None = None if monitor is None else monitor.begin()

    @property
    def readings(self) -> tuple[MonitorReading, ...]:
        """What the monitor said after each step; empty where there is none."""
        return () if self._watch is None else self._watch.readings

    def request_for(self, step: SessionStep) -> StepRequest:
        """The whole path with what may follow it; the new steps are the last nodes.

        Raises:
            InputError: a step is blank.
        """
        last = len(self.steps) - 1
        path = [Node(text, i - 1, context=self._contexts[i]) for i, text in enumerate(self.steps)]
        new = [Node(text, last if self.steps else ROOT, context=step.context) for text in step.steps]
        try:
            return StepRequest(ReasoningTree(self.problem, (*path, *new)))
        except ValueError as error:
            raise InputError(str(error)) from None

    def take(self, step: SessionStep, scores: NodeScores, *, num_tokens: int) -> NodeScores:
        """The numbers of the new steps; a step that is kept becomes the session's next.

        Args:
            step: what was asked.
            scores: of every node of `request_for(step)`.
            num_tokens: of that request.
        """
        first = len(scores.confidence) - len(step.steps)
        new = NodeScores(scores.confidence[first:], scores.raw[first:])
        if step.keep:
            self.steps += step.steps
            self._contexts += [step.context] * len(step.steps)
            self.confidences += new.confidence
            if self._watch is not None:
                self._watch.take(new.raw, new.confidence)
            self.raw += new.raw
            self.num_tokens = num_tokens
        return new

    def fork(self) -> RecomputedSession:
        """Another session that begins with the same steps and numbers."""
        other = RecomputedSession(self.problem)
        other.steps, other._contexts = list(self.steps), list(self._contexts)
        other.confidences, other.raw = list(self.confidences), list(self.raw)
        other.num_tokens = self.num_tokens
        other._watch = None if self._watch is None else self._watch.fork()
        return other

    def close(self) -> None:
        """Drop the texts."""
        self.steps, self._contexts, self.confidences, self.raw = [], [], [], []
        self.num_tokens = 0
