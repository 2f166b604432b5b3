"""What is asked of a model that scores for others; knows trees, no tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from surestep.guarantees.monitoring import MonitorReading
from surestep.types import ReasoningTree


@dataclass(frozen=True, slots=True)
class StepRequest:
    """Score every step of a tree; `dataset` asks for that dataset's own calibration map where it has one."""

    tree: ReasoningTree
    dataset: str | None = None


class SessionHandle(Protocol):
    """A solution that grows step by step; used by one thread at a time."""

    @property
    def steps(self) -> Sequence[str]:
        """The text of each step so far."""
        ...

    @property
    def confidences(self) -> Sequence[float | None]:
        """The calibrated confidence of each step so far, in [0, 1]."""
        ...

    @property
    def raw(self) -> Sequence[float | None]:
        """The model's own confidence of each step so far, in [0, 1]."""
        ...

    @property
    def readings(self) -> Sequence[MonitorReading]:
        """What the checkpoint's monitor said after each step; empty where it has none."""
        ...

    @property
    def num_tokens(self) -> int:
        """Tokens of the problem and the steps so far."""
        ...

    def fork(self) -> SessionHandle:
        """Another session that begins with what this one holds now."""
        ...

    def close(self) -> None:
        """Give back what it holds; it is not used any more."""
        ...


@dataclass(frozen=True, slots=True)
class SessionStep:
    """Score what may follow in a session.

    Attributes:
        session: where.
        steps: the next step, or candidates for it.
        context: evidence in front of each of them.
        keep: whether the (one) step becomes the session's next; else nothing is kept.
    """

    session: SessionHandle
    steps: tuple[str, ...]
    context: str | None = None
    keep: bool = True
