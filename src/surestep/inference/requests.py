"""What is asked of a model that scores for others, and what it answers; knows trees and numbers, no tensor.

Legend: N nodes of one tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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


@dataclass(frozen=True, slots=True)
class NodeScores:
    """A number for every node of a request, in its order; None where there is none.

    Attributes:
        confidence: calibrated, in [0, 1].
        raw: the model's own, in [0, 1].
    """

    confidence: tuple[float | None, ...]
    raw: tuple[float | None, ...]

    def joined(self, other: NodeScores) -> NodeScores:
        """The scores of two pieces of one request: a node has its number in one of them.

        >>> NodeScores((0.5, None), (0.4, None)).joined(NodeScores((None, 0.9), (None, 0.8)))
        NodeScores(confidence=(0.5, 0.9), raw=(0.4, 0.8))
        """

        def either(one: tuple[float | None, ...], two: tuple[float | None, ...]) -> tuple[float | None, ...]:
            return tuple(b if a is None else a for a, b in zip(one, two, strict=True))

        return NodeScores(either(self.confidence, other.confidence), either(self.raw, other.raw))

    def spread(self, nodes: Sequence[int], count: int) -> NodeScores:
        """The scores of a part of a request with `count` nodes, of which it has `nodes`; None for all others.

        >>> NodeScores((0.5,), (0.4,)).spread([1], 2)
        NodeScores(confidence=(None, 0.5), raw=(None, 0.4))
        """
        place = {node: index for index, node in enumerate(nodes)}

        def all_of(part: tuple[float | None, ...]) -> tuple[float | None, ...]:
            return tuple(part[place[node]] if node in place else None for node in range(count))

        return NodeScores(all_of(self.confidence), all_of(self.raw))
