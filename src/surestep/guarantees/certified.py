"""The certified part of a solution: how many of its steps are kept, and what that promises.

Knows confidences and a certificate.

Legend: T steps of one solution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surestep.arrays import FloatArray
from surestep.guarantees.certificate import Certificate
from surestep.guarantees.cutoff import levels
from surestep.guarantees.path_scores import path_scores
from surestep.guarantees.promises.promise import Rule, Use


@dataclass(frozen=True, slots=True)
class Certified:
    """What a certificate says of a solution.

    Attributes:
        num_kept: so many of its first steps are kept; 0: none.
        levels: of each step, the smallest α at which it would be kept, in (0, 1]; it rises along the solution. For an α
            chosen beforehand: the one promised is the certificate's.
        promise: in a sentence.
    """

    num_kept: int
    levels: tuple[float, ...]
    promise: str


def certified_part(
    certificate: Certificate,
    rule: Rule,
    confidences: Sequence[float | None],
    raw: Sequence[float | None],
) -> Certified:
    """The kept part of one solution.

    Args:
        certificate: whose promise `covers` what is handed out (`uncovered`).
        rule: of the solution's group.
        confidences: T, calibrated by the certificate's own maps; None where a step has none.
        raw: T, before the map.
    """
    g = _scores(certificate, confidences, raw)
    critical = rule.critical
    return Certified(
        num_kept=int((g > rule.cutoff).sum()),
        levels=tuple(levels(g, critical.values, critical.weights, critical.n).tolist()),
        promise=certificate.promise.sentence(certificate.terms),
    )


def last_score(certificate: Certificate, confidences: Sequence[float | None], raw: Sequence[float | None]) -> float:
    """What is compared with the cut-off of a solution as a whole; −∞ without steps, or where a step has no score."""
    return float(_scores(certificate, confidences, raw)[-1]) if confidences else -np.inf


def _scores(certificate: Certificate, confidences: Sequence[float | None], raw: Sequence[float | None]) -> FloatArray:
    score = certificate.terms.judging.score
    values = np.array(confidences if score == "product" else raw, dtype=np.float64)
    return path_scores(np.arange(-1, len(values) - 1), values, score)


def uncovered(
    certificate: Certificate, dataset: str | None, *, use: Use, policy: str | None = None, count: int = 1
) -> str:
    """Why the certificate does not speak of what is handed out; "" where it does.

    Args:
        certificate: the certificate.
        dataset: of the problem, where it is known.
        use: one solution as it is, or the best of several.
        policy: by which aggregation the best was chosen.
        count: of how many.
    """
    rule = certificate.rule_for(dataset)
    if rule is None:
        return f"it is for problems of {', '.join(certificate.groups)}, not of {dataset or 'an unnamed dataset'}"
    return certificate.promise.covers(use, policy, count, certificate.terms, rule)
