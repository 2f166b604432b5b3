"""What everything that scores steps shares: a checkpoint, a file of another scorer's confidences, a test's fake.

Knows trees and numbers; knows no model.

Legend: N nodes of one tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from surestep.scored import FloatArray
from surestep.types import ReasoningTree

Wanted = Literal["all", "labelled"]
"""Every step, or only those with a label, which may save passes."""


class TreeScores(NamedTuple):
    """The scores of one tree, one for every node in the tree's own order; NaN where the scorer gave none.

    Attributes:
        confidence_N: float64 in [0, 1], after the calibration map, if any.
        raw_N: float64 in [0, 1], before it; rankings go by it.
        spread_N: float64, how far the members of an ensemble are from each other: the standard deviation of their own
            confidences; None of a scorer that is none.
    """

    confidence_N: FloatArray
    raw_N: FloatArray
    spread_N: FloatArray | None = None


class TokensUsed(NamedTuple):
    """Tokens that scoring took so far; None where nobody says.

    Attributes:
        read: that went through a model as given text, a shared prefix once.
        written: that a model generated.
    """

    read: int | None
    written: int | None


@runtime_checkable
class CountsTokens(Protocol):
    """A scorer that knows what it costs."""

    def tokens_used(self) -> TokensUsed:
        """Tokens so far."""
        ...


@dataclass(frozen=True, slots=True)
class NodeScores:
    """The scores of what was asked for, one for each node or step, in its order; None where there is none.

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


@runtime_checkable
class Scorer(Protocol):
    """Whatever answers for a tree."""

    def about(self) -> dict[str, Any]:
        """What a result file says of it, JSON-ready."""
        ...

    def score(
        self, trees: Sequence[ReasoningTree], *, dataset: str | None = None, wanted: Wanted = "all"
    ) -> Iterator[TreeScores]:
        """The scores of each tree, in order, as soon as they are known.

        Args:
            trees: what is scored; a `StoredSplit` spares a model the tokenising. A benchmark's tree may list empty
                steps, each of which needs a score like every other, or no step at all.
            dataset: ask for this dataset's own calibration map; where there is none, the pooled one is applied.
            wanted: which steps need a score.
        """
        ...
