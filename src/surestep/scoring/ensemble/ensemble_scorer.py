"""Several models as one scorer: the confidence is the mean of the members' probabilities.

A deep ensemble as in Lakshminarayanan, Pritzel and Blundell 2017 (arXiv 1612.01474), of models that were trained apart
from each other, from different seeds as a rule. What is averaged are the members' own confidences; a calibration map is
one of the ensemble as a whole and comes after the mean, for the mean of calibrated members is as a rule too cautious
(Rahaman and Thiery 2021, arXiv 2007.08792).

Shapes: `M` members, `N` nodes of a tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surestep.calibration.calibration import Calibration
from surestep.guarantees.certificate import Certificate
from surestep.scored import FloatArray
from surestep.scoring.hardware import Hardware
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.protocol import TokensUsed, TreeScores, Wanted
from surestep.types import ReasoningTree


@dataclass(kw_only=True)
class EnsembleScorer:
    """Models whose mean answers; safe to use from several threads.

    Attributes:
        members: all turn texts into the same tokens.
        calibration: a map of the mean, unless None; the members' own are left alone.
        facts: what `about` says.
        certificate, selective: none; those of the members speak of the members.
    """

    members: Sequence[ModelScorer]
    calibration: Calibration | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    certificate: Certificate | None = field(default=None, init=False)
    selective: Certificate | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        assert len({member.tokenizer.hash() for member in self.members}) == 1, "texts are tokenised once for all"

    @property
    def hardware(self) -> Hardware:
        """Where the members compute."""
        return self.members[0].hardware

    @property
    def max_positions(self) -> int | None:
        """The longest path that every member takes."""
        return min((member.max_positions for member in self.members if member.max_positions), default=None)

    def about(self) -> dict[str, Any]:
        """Which checkpoints, and how they are run."""
        return dict(self.facts)

    def score(
        self, trees: Sequence[ReasoningTree], *, dataset: str | None = None, wanted: Wanted = "all"
    ) -> Iterator[TreeScores]:
        """Means of each tree, in order; NaN where a member has none, and where nothing is `wanted`.

        The numbers are the same in whatever order the members are named.
        """
        encoded = self.members[0].encoded(trees)
        each = [member.score_encoded(encoded, wanted=wanted) for member in self.members]
        for of_members in zip(*each, strict=True):
            raw_MN = np.sort(np.stack(of_members), axis=0)
            raw_N = raw_MN.mean(axis=0)
            yield TreeScores(self.calibrated(raw_N, dataset), raw_N, raw_MN.std(axis=0))

    def calibrated(self, raw_N: FloatArray, dataset: str | None = None) -> FloatArray:
        """What the ensemble's calibration makes of means, see `ModelScorer.calibrated`."""
        return raw_N.copy() if self.calibration is None else self.calibration.calibrated(raw_N, dataset)

    def tokens_used(self) -> TokensUsed:
        """Tokens that went through all members so far."""
        return TokensUsed(read=sum(member.num_tokens for member in self.members), written=0)
