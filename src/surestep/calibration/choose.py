"""Which map to take: K-fold cross-validation over problems, by NLL.

Folds hold whole problems: steps of one problem succeed and fail together, and a map that has seen one of them has seen
the others. The identity always competes, and stays unless another map is better by more than the standard error of the
difference: a map that mends nothing still adds the noise of its own fitting.

Legend: N steps, K folds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from surestep.calibration.gain import BoolArray, CalibrationData, FloatArray, IntArray, nll, nll_gain
from surestep.calibration.maps.confidence_map import ConfidenceMap, Identity
from surestep.calibration.maps.isotonic import fit_isotonic
from surestep.calibration.maps.logistic_fit import fit_beta, fit_platt, fit_temperature

NUM_FOLDS = 5
TIE = 1e-4
"""Nats a step: of maps whose cross-validated NLL differs by no more, the simplest is taken."""

Fit = Callable[[FloatArray, FloatArray, FloatArray], ConfidenceMap]

FITS: Mapping[str, Fit] = {
    "identity": lambda _confidence, _label, _weights: Identity(),
    "temperature": fit_temperature,
    "platt": fit_platt,
    "beta": fit_beta,
    "isotonic": fit_isotonic,
}
"""How each map is fitted, from the simplest (0, 1, 2, 3 numbers) to the most flexible."""

METHODS = tuple(FITS)


@dataclass(frozen=True)
class Choice:
    """The map that won, and how each did on problems that it had not seen.

    Attributes:
        chosen: the winner, fitted on all steps.
        scores: cross-validated NLL of each map, in nats a step.
        held_out: each map's confidences [N], each given by a map that was fitted without its fold.
    """

    chosen: ConfidenceMap
    scores: dict[str, float]
    held_out: dict[str, FloatArray]


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
    return FITS[method](part.confidence, part.label, part.weights)


def cross_validate(method: str, data: CalibrationData, folds: IntArray) -> FloatArray:
    """Confidences [N], each given by a map of this kind that was fitted on the other folds."""
    held_out = np.empty(len(data))
    for fold in np.unique(folds):
        mine = folds == fold
        held_out[mine] = fit_map(method, data, ~mine).apply(data.confidence[mine])
    return held_out


def choose_map(data: CalibrationData, folds: IntArray, *, methods: Sequence[str] = METHODS) -> Choice:
    """The map of least cross-validated NLL among `methods`, ties to the simpler one, or the identity.

    The identity is taken unless the other lowers the NLL by more than one standard error over problems.
    """
    competing = [method for method in METHODS if method in methods or method == Identity.kind]
    held_out = {method: cross_validate(method, data, folds) for method in competing}
    scores = {method: nll(p, data.label, data.weights) for method, p in held_out.items()}
    best = min(scores.values())
    winner = next(method for method in competing if scores[method] <= best + TIE)
    gain, error = nll_gain(held_out[Identity.kind], held_out[winner], data)
    if gain <= error:
        winner = Identity.kind
    return Choice(fit_map(winner, data), scores, held_out)


def held_out_by_choice(data: CalibrationData, folds: IntArray, *, methods: Sequence[str] = METHODS) -> FloatArray:
    """Confidences [N], each given by a map that was chosen and fitted on the other folds.

    What `choose_map` reports of its winner is a little too good, for the winner was picked by it; here the choice,
    too, is made without the steps that it is measured on (nested cross-validation; Cawley and Talbot, JMLR 2010).
    """
    held_out = np.empty(len(data))
    for fold in np.unique(folds):
        mine = folds == fold
        chosen = choose_map(data.select(~mine), folds[~mine], methods=methods).chosen
        held_out[mine] = chosen.apply(data.confidence[mine])
    return held_out
