"""What a scorer says, as lists that are easily compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from surestep.scoring.protocol import Scorer
from surestep.types import ReasoningTree

Confidences = list[float | None]


def scores_of(scorer: Scorer, trees: Sequence[ReasoningTree], **options: Any) -> list[Confidences]:
    """A confidence for every node of every tree, in the tree's own order; None where there is none."""
    found = scorer.score(trees, **options)
    return [[None if value != value else value for value in tree.confidence_N.tolist()] for tree in found]
