"""What stands around any scorer: a calibration map from a file, and what scoring cost.

Shapes: `N` steps of a tree.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from surestep.calibration.calibration import Calibration
from surestep.files import sha256_of
from surestep.scoring.protocol import CountsTokens, Scorer, TokensUsed, TreeScores, Wanted
from surestep.types import ReasoningTree


@dataclass
class CalibratedScorer:
    """A scorer whose confidences go through a map.

    Attributes:
        scorer: whose confidences; its own ranking of steps stays.
        calibration: None changes nothing.
        file: where the map was read from.
        applied: `pooled`, `dataset`, or `none`, as results say it.
        spec: how its user named it.
    """

    scorer: Scorer
    calibration: Calibration | None
    file: Path | None = None
    applied: str = "none"
    spec: str = ""

    def about(self) -> dict[str, Any]:
        """What the scorer says, and which map is applied."""
        stored: dict[str, Any] = {"stored": self.file is not None, "applied": self.applied}
        if self.file is not None:
            stored |= {"file": str(self.file), "sha256": sha256_of(self.file)}
        about = self.scorer.about()
        return {**about, "scorer": {**about.get("scorer", {}), "spec": self.spec}, "calibration": stored}

    def tokens_used(self) -> TokensUsed:
        """Those of the scorer."""
        return self.scorer.tokens_used() if isinstance(self.scorer, CountsTokens) else TokensUsed(None, None)

    def score(
        self, trees: Sequence[ReasoningTree], *, dataset: str | None = None, wanted: Wanted = "all"
    ) -> Iterator[TreeScores]:
        """See `Scorer`."""
        for found in self.scorer.score(trees, dataset=dataset, wanted=wanted):
            if self.calibration is None or self.applied == "none":
                yield found
            else:
                yield found._replace(confidence_N=self.calibration.calibrated(found.confidence_N, dataset))


@dataclass
class MeasuredScorer:
    """A scorer whose work is measured; `about` has it as `cost`.

    Attributes:
        seconds: that it took, whoever reads the scores left out.
    """

    scorer: Scorer
    seconds: float = 0.0
    trees: int = 0
    steps: int = 0
    _before: TokensUsed = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._before = self._tokens()

    def _tokens(self) -> TokensUsed:
        return self.scorer.tokens_used() if isinstance(self.scorer, CountsTokens) else TokensUsed(None, None)

    def cost(self) -> dict[str, Any]:
        """What scoring took so far, JSON-ready.

        Returns:
            `seconds`; `trees` and `steps` that got a score; `tokens_read` and `tokens_written`, null where the scorer
            does not count them.
        """
        now = self._tokens()
        read, written = (
            None if is_now is None or was is None else is_now - was
            for is_now, was in zip(now, self._before, strict=True)
        )
        return {
            "seconds": round(self.seconds, 3),
            "trees": self.trees,
            "steps": self.steps,
            "tokens_read": read,
            "tokens_written": written,
        }

    def about(self) -> dict[str, Any]:
        """What the scorer says, and its cost so far."""
        return {**self.scorer.about(), "cost": self.cost()}

    def score(
        self, trees: Sequence[ReasoningTree], *, dataset: str | None = None, wanted: Wanted = "all"
    ) -> Iterator[TreeScores]:
        """See `Scorer`."""
        begun = time.perf_counter()
        for found in self.scorer.score(trees, dataset=dataset, wanted=wanted):
            self.seconds += time.perf_counter() - begun
            self.trees += 1
            self.steps += int(np.count_nonzero(~np.isnan(found.raw_N)))
            yield found
            begun = time.perf_counter()
        self.seconds += time.perf_counter() - begun
