"""What a checkpoint's certificate says of the solutions that it scores, beside their confidences.

Knows a certificate and scores; what it does not speak of stays without a certified part, and its reason is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from surestep.calibration.calibration import Calibration
from surestep.guarantees.certificate import Certificate
from surestep.guarantees.certified import Certified, certified_part, uncovered
from surestep.guarantees.promises.promise import Use
from surestep.inference.rerank import RankedCandidate
from surestep.inference.result import SolutionScores


def _nobody(_line: str) -> None:
    """Is told and keeps silent."""


class Certifier:
    """Adds the certified part to scores; safe to use from several threads.

    Args:
        certificate: the checkpoint's.
        calibration: its maps, which may hold some for single datasets.
        say: is told, once for each reason, why something has no certified part.
    """

    def __init__(
        self, certificate: Certificate, calibration: Calibration | None, say: Callable[[str], None] = _nobody
    ) -> None:
        self.certificate = certificate
        self._own_maps = frozenset() if calibration is None else frozenset(calibration.datasets)
        self._say = say
        self._said: set[str] = set()

    @property
    def promise(self) -> str:
        """In a sentence."""
        return self.certificate.promise.sentence(self.certificate.terms)

    def solutions(self, results: Sequence[SolutionScores], dataset: str | None) -> list[SolutionScores]:
        """Scores of solutions that are each handed out as they are, with their certified parts."""
        return [replace(result, certified=self._part(result, dataset, "solution", None, 1)) for result in results]

    def ranking(self, ranking: Sequence[RankedCandidate], by: str, dataset: str | None) -> list[RankedCandidate]:
        """Candidates best first, the best of them with its certified part, as it is the one that is handed out.

        Args:
            ranking: all candidates.
            by: the aggregation that they are ranked by.
            dataset: of the problem, where it is known.
        """
        if not ranking:
            return []
        best, *others = ranking
        part = self._part(best.scores, dataset, "best", by, len(ranking))
        without = [replace(one, scores=replace(one.scores, certified=None)) for one in others]
        return [replace(best, scores=replace(best.scores, certified=part)), *without]

    def _part(
        self, scores: SolutionScores, dataset: str | None, use: Use, policy: str | None, count: int
    ) -> Certified | None:
        reason = self._other_map(dataset) or uncovered(self.certificate, dataset, use=use, policy=policy, count=count)
        rule = self.certificate.rule_for(dataset)
        if reason or rule is None:
            if reason not in self._said:
                self._said.add(reason)
                self._say(f"the certificate says nothing of this: {reason}")
            return None
        return certified_part(self.certificate, rule, scores.confidences, scores.raw)

    def _other_map(self, dataset: str | None) -> str:
        """Why the confidences are not those that were certified; "" where they are."""
        if not self.certificate.needs_map or self.certificate.made_for.own_maps or dataset not in self._own_maps:
            return ""
        return f"it is for the pooled calibration map, not for {dataset}'s own"
