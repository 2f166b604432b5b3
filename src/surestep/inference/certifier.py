"""What a checkpoint's certificate says of the solutions that it scores, beside their confidences.

Knows a certificate and scores; what it does not speak of stays without a certified part, and its reason is told once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from surestep.arrays import FloatArray
from surestep.calibration.calibration import Calibration
from surestep.counted import counted
from surestep.errors import InputError
from surestep.guarantees.certificate import Certificate
from surestep.guarantees.certified import Certified, certified_part, last_score, uncovered
from surestep.guarantees.promises.handed_out import rule_of
from surestep.guarantees.promises.promise import Use
from surestep.guarantees.selective.policy import Policy, solution_score
from surestep.guarantees.selective.rule import Decision
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


@dataclass(frozen=True, slots=True)
class HandedOut:
    """One of several solutions, as a certified policy took it, and what to do with it.

    Attributes:
        decision: hand it out; escalate the problem to somebody or something dearer; abstain: there is no answer. Only
            what is handed out carries the promise.
        index: which of the candidates, from 0; None where there was none.
        looked_at: how many candidates were scored.
        scores: of the one that was taken.
        policy: how it was taken.
        promise: in a sentence.
    """

    decision: Decision
    index: int | None
    looked_at: int
    scores: SolutionScores | None
    policy: str
    promise: str


def hand_out(certificate: Certificate, results: Iterable[SolutionScores], dataset: str | None) -> HandedOut:
    """Take one of the solutions by the certificate's own policy, and decide whether it is handed out.

    Args:
        certificate: of the promise `selective`; or `chosen`, which hands out a solution that is kept as a whole.
        results: scored as they are asked for: a policy that stops early asks for no more.
        dataset: of the problem, where it is known.

    Raises:
        InputError: the certificate does not speak of this: its rule is for other datasets, or for fewer candidates.
    """
    policy, promise = certificate.terms.handed_out_by, certificate.promise.sentence(certificate.terms)
    seen: list[SolutionScores] = []

    def scored() -> Iterator[tuple[FloatArray, FloatArray]]:
        for result in results:
            seen.append(result)
            yield _column(result.confidences), _column(result.raw)

    choice = policy.choose(scored())
    rule = certificate.rule_for(dataset)
    reason = uncovered(certificate, dataset, use="best", policy=policy.id, count=len(seen))
    if rule is not None and not reason and not _stopped_early(policy, seen):
        few, many = rule.facts["solutions"]
        reason = "" if few <= len(seen) <= many else f"it is for {few} to {counted(many, 'solution')}, not {len(seen)}"
    if reason or rule is None:
        raise InputError(
            f"the certificate says nothing of this: {reason}; hand out as it was certified, or certify again"
        )
    if choice is None:
        return HandedOut("abstain", None, 0, None, policy.id, promise)
    taken = seen[choice.place]
    part = certified_part(certificate, rule, taken.confidences, taken.raw)
    if certificate.terms.promise == "selective":
        decision = rule_of(rule).decide(last_score(certificate, taken.confidences, taken.raw))
    else:
        decision = "hand_out" if taken.steps and part.num_kept == len(taken.steps) else "abstain"
        taken = replace(taken, certified=part)
    return HandedOut(decision, choice.place, choice.looked_at, taken, policy.id, promise)


def _stopped_early(policy: Policy, seen: Sequence[SolutionScores]) -> bool:
    return bool(seen) and solution_score(_column(seen[-1].confidences), policy.by) > policy.stop_above


def _column(values: Sequence[float | None]) -> FloatArray:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
