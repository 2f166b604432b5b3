"""Which map to take: K-fold cross-validation over problems.

Folds hold whole problems: steps of one problem succeed and fail together, and a map that has seen one of them has seen
the others. The identity always competes. A map is accepted in its place only if, on problems that it had not seen, it
lowers the NLL by more than noise and raises neither Brier score nor ECE by more than noise; *noise* is one standard
error over problems of the paired difference. Of the accepted maps the one of least NLL is taken.

Legend: N steps, K folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surestep.calibration.gain import BoolArray, CalibrationData, Change, FloatArray, IntArray, changes
from surestep.calibration.maps import MAPS
from surestep.calibration.maps.confidence_map import ConfidenceMap, Identity
from surestep.metrics import nll

NUM_FOLDS = 5
TIE = 1e-4
"""Nats a step: of maps whose cross-validated NLL differs by no more, the simplest is taken."""
LEAST_RISE = 1e-6
"""A Brier score or ECE that rises by no more than this is not worse, however small its standard error."""

FIGURE_NAMES = {"nll": "NLL", "brier": "Brier score", "ece": "ECE (cross-fitted)"}


@dataclass(frozen=True)
class Judgement:
    """Whether a confidence may take the place of another, by figures on held-out problems.

    Attributes:
        changes: by figure (`surestep.calibration.gain.FIGURES`).
        rejected_by: the first figure that speaks against it, or None where it is accepted.
    """

    changes: dict[str, Change]
    rejected_by: str | None

    @property
    def accepted(self) -> bool:
        """Whether no figure speaks against it."""
        return self.rejected_by is None

    def in_words(self) -> str:
        """The verdict with its numbers.

        >>> Judgement({"nll": Change(0.5, 0.45, 0.01)}, None).in_words()
        'accepted: NLL 0.5000 to 0.4500 (-0.0500 ± 0.0100)'
        """
        shown = self.rejected_by or "nll"
        change = self.changes[shown]
        numbers = f"{change.before:.4f} to {change.after:.4f} ({change.rise:+.4f} ± {change.error:.4f})"
        verdict = "accepted" if self.accepted else "rejected"
        why = " does not clearly fall:" if self.rejected_by == "nll" else " rises:" if self.rejected_by else ""
        return f"{verdict}: {FIGURE_NAMES[shown]}{why} {numbers}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "accepted": self.accepted,
            "rejected_by": self.rejected_by,
            "reason": self.in_words(),
            "changes": {name: change.to_json() for name, change in self.changes.items()},
        }


@dataclass(frozen=True)
class Choice:
    """The map that won, and how each did on problems that it had not seen.

    Attributes:
        chosen: the winner, fitted on all steps.
        scores: cross-validated NLL of each map, in nats a step.
        held_out: each map's confidences [N], each given by a map that was fitted without its fold.
        judgements: of each map but the identity, against the identity.
    """

    chosen: ConfidenceMap
    scores: dict[str, float]
    held_out: dict[str, FloatArray]
    judgements: dict[str, Judgement]


def assign_folds(data: CalibrationData, *, num_folds: int = NUM_FOLDS, seed: int = 0) -> IntArray:
    """The fold of each step, int64 [N] from 0: problems dealt out at random, every dataset over all folds.

    Fold sizes differ by at most one problem, and depend on the seed and the problems' numbers alone.

    >>> data = CalibrationData(np.ones(6), np.ones(6), np.array([7, 7, 3, 3, 9, 5]), np.zeros(6), ("a",))
    >>> folds = assign_folds(data, num_folds=2)
    >>> bool(folds[0] == folds[1] and folds[2] == folds[3]), sorted(folds[[0, 2, 4, 5]].tolist())
    (True, [0, 0, 1, 1])
    """
    _, first, problem_of_step = np.unique(data.problem, return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(first))
    order = order[np.argsort(data.dataset[first][order], kind="stable")]
    fold_of_problem = np.empty(len(first), dtype=np.int64)
    fold_of_problem[order] = np.arange(len(first)) % num_folds
    folds: IntArray = fold_of_problem[problem_of_step]
    return folds


def fit_map(method: str, data: CalibrationData, rows: BoolArray | None = None) -> ConfidenceMap:
    """Fit one map on the steps where `rows` is true, or on all."""
    part = data if rows is None else data.select(rows)
    return MAPS[method].fit(part.confidence, part.label, part.weights)


def cross_validate(method: str, data: CalibrationData, folds: IntArray) -> FloatArray:
    """Confidences [N], each given by a map of this kind that was fitted on the other folds."""
    held_out = np.empty(len(data))
    for fold in np.unique(folds):
        mine = folds == fold
        held_out[mine] = fit_map(method, data, ~mine).apply(data.confidence[mine])
    return held_out


def judge(before: FloatArray, after: FloatArray, data: CalibrationData, folds: IntArray) -> Judgement:
    """Whether confidences `after` [N] may take the place of `before`, both out of fold.

    Accepted where NLL falls by more than one standard error of the difference over problems (and more than `TIE`), and
    neither Brier score nor ECE rises by more than one of theirs (and more than `LEAST_RISE`).
    """
    found = changes(before, after, data, folds)
    rejected_by = None
    if -found["nll"].rise <= max(found["nll"].error, TIE):
        rejected_by = "nll"
    else:
        worse = (name for name in ("brier", "ece") if found[name].rise > max(found[name].error, LEAST_RISE))
        rejected_by = next(worse, None)
    return Judgement(found, rejected_by)


def choose_map(data: CalibrationData, folds: IntArray, *, methods: Sequence[str] | None = None) -> Choice:
    """Of the maps among `methods` (all where left out) that `judge` accepts in place of the identity the best.

    The best is that of least cross-validated NLL, ties to the simpler one; where none is accepted, the identity.
    """
    competing = [method for method in MAPS if methods is None or method in methods or method == Identity.kind]
    held_out = {method: cross_validate(method, data, folds) for method in competing}
    scores = {method: nll(p, data.label, data.weights) for method, p in held_out.items()}
    unchanged = held_out[Identity.kind]
    judgements = {method: judge(unchanged, p, data, folds) for method, p in held_out.items() if method != Identity.kind}
    accepted = [method for method, judgement in judgements.items() if judgement.accepted]
    best = min((scores[method] for method in accepted), default=0.0)
    winner = next((method for method in accepted if scores[method] <= best + TIE), Identity.kind)
    return Choice(fit_map(winner, data), scores, held_out, judgements)


def held_out_by_choice(data: CalibrationData, folds: IntArray, *, methods: Sequence[str] | None = None) -> FloatArray:
    """Confidences [N], each given by a map that was chosen and fitted on the other folds.

    What `choose_map` reports of its winner is a little too good, for the winner was picked by it; here the choice,
    too, is made without the steps that it is measured on (nested cross-validation; Cawley and Talbot, JMLR 2010).
    """
    held_out = np.empty(len(data))
    for fold in np.unique(folds):
        mine = folds == fold
        _, others = np.unique(folds[~mine], return_inverse=True)
        chosen = choose_map(data.select(~mine), others, methods=methods).chosen
        held_out[mine] = chosen.apply(data.confidence[mine])
    return held_out
