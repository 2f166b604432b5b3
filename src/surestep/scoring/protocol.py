"""What everything that scores steps shares: a checkpoint, a file of another scorer's confidences, a test's fake.

Knows trees and numbers; knows no model.

Legend: N nodes of one tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """

    confidence_N: FloatArray
    raw_N: FloatArray


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
            trees: what is scored; a `StoredSplit` spares a model the tokenising.
            dataset: ask for this dataset's own calibration map; where there is none, the pooled one is applied.
            wanted: which steps need a score.
        """
        ...
