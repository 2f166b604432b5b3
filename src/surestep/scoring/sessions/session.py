"""A solution that grows step by step: each step is scored as it comes, and branches share what they have in common."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from surestep.encoding.encoded_tree import Segment
from surestep.guarantees.monitoring import MonitorReading, MonitorRun
from surestep.scoring.sessions.prefix_cache import Node

if TYPE_CHECKING:
    from surestep.scoring.sessions.session_scorer import SessionScorer


@dataclass(eq=False)
class SessionState:
    """What a session knows of its solution; its scorer reads and writes it.

    Attributes:
        namespace: whose it is.
        segments: the tokens of the problem and of each step, those that are beyond the longest path included.
        raw: the model's own confidence of each step; None beyond the longest path.
        num_scored: how many of `segments` the model takes.
        weights_mark: of the weights that gave `raw`.
        node: the last of the segments whose keys were held when they were last needed.
        is_closed: whether it can be used no more.
    """

    namespace: bytes
    segments: list[Segment]
    num_scored: int
    raw: list[float | None] = field(default_factory=list)
    weights_mark: int = 0
    node: Node | None = None
    is_closed: bool = False

    def copied(self) -> SessionState:
        """The same place for another session."""
        return SessionState(
            self.namespace, list(self.segments), self.num_scored, list(self.raw), self.weights_mark, self.node
        )


class Session:
    """One solution under a problem; made by `SessionScorer.open`.

    It can be used as a context manager, which closes it. Scores are those of `SessionScorer`'s model for the same
    solution as a whole, up to rounding, and a step's score stays as it was given.

    Attributes:
        problem: as given.
        dataset: whose calibration map is applied, where it has one.
    """

    def __init__(
        self,
        scorer: SessionScorer,
        problem: str,
        state: SessionState,
        *,
        dataset: str | None = None,
        watch: MonitorRun | None = None,
    ) -> None:
        self.problem = problem
        self.dataset = dataset
        self._watch = watch
        self._scorer = scorer
        self._state = state
        self._steps: list[str] = []
        # A session that is dropped without being closed is closed by its scorer, when that is used next.
        self._finalizer = weakref.finalize(self, scorer.abandon, state)
        self._finalizer.atexit = False

    def add(self, step: str, *, context: str | None = None) -> float | None:
        """Append a step and score it, at the cost of its own tokens.

        Args:
            step: its text, not blank.
            context: evidence shown to the model in front of it.

        Returns:
            The calibrated confidence, in [0, 1]; None where the step, or one before it, ends beyond the longest path
            that the model takes.

        Raises:
            InputError: the step is no text, or the session is closed.
        """
        return self._scorer.add_many([(self, step, context)])[0]

    def score_candidates(self, steps: Iterable[str], *, context: str | None = None) -> list[float | None]:
        """The confidence that each of `steps` would have as the next one; the session stays where it is.

        All are scored in one pass, as far as the scorer's token budget goes, and none is kept. `context` is evidence
        shown to the model in front of each.

        Raises:
            InputError: a step is no text, or the session is closed.
        """
        return list(self._scorer.score_next([NextSteps(self, steps, context, keep=False)])[0].confidence)

    def fork(self) -> Session:
        """A second session at the same place. Both share what they have in common, and neither sees the other's steps.

        Raises:
            InputError: the session is closed.
        """
        return self._scorer.fork(self)

    def close(self) -> None:
        """Free what no other session needs. Its scores can still be read; closing twice does nothing."""
        self._scorer.close_session(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def steps(self) -> tuple[str, ...]:
        """The text of each step so far, as given."""
        return tuple(self._steps)

    @property
    def raw(self) -> tuple[float | None, ...]:
        """The model's own confidence of each step, before calibration."""
        return tuple(self._scorer.raw_of(self))

    @property
    def confidences(self) -> tuple[float | None, ...]:
        """The calibrated confidence of each step, by the calibration as it is now."""
        return tuple(self._scorer.confidences_of(self))

    @property
    def readings(self) -> tuple[MonitorReading, ...]:
        """What the checkpoint's monitor said after each step; empty where it has none. What was said stays."""
        return () if self._watch is None else self._watch.readings

    @property
    def monitor(self) -> MonitorReading | None:
        """What the monitor says of the solution so far; None without a monitor, and before the first step."""
        return self.readings[-1] if self.readings else None

    @property
    def num_tokens(self) -> int:
        """Tokens of the problem and of all steps."""
        return sum(map(len, self._state.segments))


@dataclass(frozen=True, slots=True)
class NextSteps:
    """What may follow in a session.

    Attributes:
        session: where.
        steps: steps that are added one after another, or candidates for the next one.
        context: evidence in front of each of them.
        keep: whether they are added; else they are compared, and the session stays where it is.
    """

    session: Session
    steps: Iterable[str]
    context: str | None = None
    keep: bool = True
