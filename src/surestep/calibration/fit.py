"""A model's calibration from its scored validation steps: the pooled map, and which datasets get their own.

A dataset's own map must earn its place: enough problems, and on problems that neither had seen it must be accepted in
the pooled map's place by the same rule by which a map replaces none (`surestep.calibration.choose.judge`): NLL lower by
more than one standard error (the one-standard-error rule of Breiman and others, Classification and Regression Trees,
1984), Brier score and ECE not higher by more than one. Refuses data that cannot tell one map from another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surestep.calibration.calibration import Calibration
from surestep.calibration.choose import (
    NUM_FOLDS,
    Choice,
    Judgement,
    assign_folds,
    choose_map,
    held_out_by_choice,
    judge,
)
from surestep.calibration.gain import CalibrationData, FloatArray, IntArray
from surestep.calibration.maps.confidence_map import ConfidenceMap
from surestep.counted import counted
from surestep.errors import DataError
from surestep.metrics import nll

LEAST_LABELS = 50
LEAST_PROBLEMS = 2 * NUM_FOLDS
LEAST_OF_EACH_KIND = 5.0
"""Labels' worth of right and of wrong steps: a neutral label of 0.5 is half of each."""

LEAST_PROBLEMS_OF_ITS_OWN = 50
"""Problems from which on a dataset may have a map of its own."""


@dataclass(frozen=True)
class DatasetVerdict:
    """Whether a dataset gets its own map, and why.

    Attributes:
        num_problems, num_steps: what it has.
        nll_pooled, nll_own: on held-out folds, in nats a step; own is None where it was not tried.
        own: the map where it earned its place.
        reason: one sentence.
        judgement: its own map in place of the pooled one, on held-out folds; None where it was not tried.
        maps: each kind of map fitted on this dataset alone, in place of no map; empty where it was not tried.
    """

    num_problems: int
    num_steps: int
    nll_pooled: float
    nll_own: float | None
    own: ConfidenceMap | None
    reason: str
    judgement: Judgement | None = None
    maps: dict[str, Judgement] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the map."""
        return {
            "num_problems": self.num_problems,
            "num_steps": self.num_steps,
            "nll_pooled": self.nll_pooled,
            "nll_own": self.nll_own,
            "reason": self.reason,
            "own_map": None if self.judgement is None else self.judgement.to_json(),
            "maps": {kind: judgement.to_json() for kind, judgement in self.maps.items()},
        }


@dataclass(frozen=True)
class Fitted:
    """A calibration and what cross-validation said of it.

    Attributes:
        choice: the pooled map and its competitors.
        held_out: confidences [N] of the whole procedure on problems it had not seen (pooled map).
        verdicts: by dataset.
        num_folds, seed: of the folds.
    """

    choice: Choice
    held_out: FloatArray
    verdicts: dict[str, DatasetVerdict] = field(default_factory=dict)
    num_folds: int = NUM_FOLDS
    seed: int = 0

    def calibration(self) -> Calibration:
        """The maps alone."""
        own = {name: verdict.own for name, verdict in self.verdicts.items() if verdict.own is not None}
        return Calibration(self.choice.chosen, own)


def fit_calibration(
    data: CalibrationData,
    *,
    methods: Sequence[str] | None = None,
    seed: int = 0,
    least_own_problems: int = LEAST_PROBLEMS_OF_ITS_OWN,
) -> Fitted:
    """Choose and fit the pooled map and the datasets' own.

    Args:
        data: scored without any map. Every step counts by its weight, whatever its dataset.
        methods: which maps compete with the identity; all where left out.
        seed: deals the problems out to folds.
        least_own_problems: see `LEAST_PROBLEMS_OF_ITS_OWN`.

    Raises:
        DataError: too few labels or problems, or labels of (almost) one kind only.
    """
    _refuse_too_little(data)
    folds = assign_folds(data, seed=seed)
    for fold in range(NUM_FOLDS):
        _refuse_one_kind(data.select(folds != fold), least=0.0)
    held_out = held_out_by_choice(data, folds, methods=methods)
    verdicts = {}
    for name in data.dataset_names:
        if data.rows_of(name).any():
            verdicts[name] = _judge(name, data, folds, held_out, methods, least_own_problems)
    return Fitted(choose_map(data, folds, methods=methods), held_out, verdicts, seed=seed)


def _judge(
    name: str,
    data: CalibrationData,
    folds: IntArray,
    pooled_held_out: FloatArray,
    methods: Sequence[str] | None,
    least_problems: int,
) -> DatasetVerdict:
    rows = data.rows_of(name)
    part = data.select(rows)
    nll_pooled = nll(pooled_held_out[rows], part.label, part.weights)

    def verdict(reason: str) -> DatasetVerdict:
        return DatasetVerdict(part.num_problems, len(part), nll_pooled, None, None, reason)

    if rows.all():
        return verdict("it is all the data, so the pooled map is its own")
    if part.num_problems < least_problems:
        return verdict(f"{counted(part.num_problems, 'problem')}; a map of its own needs {least_problems}")
    if _lacks_a_kind(part, LEAST_OF_EACH_KIND) or any(
        _lacks_a_kind(part.select(folds[rows] != fold), 0.0) for fold in range(NUM_FOLDS)
    ):
        return verdict("its labels are almost all of one kind")
    own_held_out = held_out_by_choice(part, folds[rows], methods=methods)
    judgement = judge(pooled_held_out[rows], own_held_out, part, folds[rows])
    choice = choose_map(part, folds[rows], methods=methods)
    better = "better" if judgement.accepted else "not clearly better"
    return DatasetVerdict(
        part.num_problems,
        len(part),
        nll_pooled,
        nll(own_held_out, part.label, part.weights),
        choice.chosen if judgement.accepted else None,
        f"its own map is {better} than the pooled one ({judgement.in_words()})",
        judgement,
        choice.judgements,
    )


def _refuse_too_little(data: CalibrationData) -> None:
    if len(data) < LEAST_LABELS or data.num_problems < LEAST_PROBLEMS:
        found = f"{counted(len(data), 'labelled step')} of {counted(data.num_problems, 'problem')}"
        raise DataError(
            f"{found} are too few to calibrate on; needed: {LEAST_LABELS} steps of {LEAST_PROBLEMS} problems; "
            "name more labelled data with --data"
        )
    _refuse_one_kind(data, least=LEAST_OF_EACH_KIND)


def _refuse_one_kind(data: CalibrationData, *, least: float) -> None:
    if _lacks_a_kind(data, least):
        right = float(data.label.sum())
        raise DataError(
            f"the labels are (almost) of one kind: {right:g} right and {len(data) - right:g} wrong among "
            f"{counted(len(data), 'step')}; a map needs at least {LEAST_OF_EACH_KIND:g} of each, spread over problems; "
            "name other labelled data with --data"
        )


def _lacks_a_kind(data: CalibrationData, least: float) -> bool:
    right = float(np.sum(data.label * data.weights))
    wrong = float(np.sum((1.0 - data.label) * data.weights))
    return min(right, wrong) <= 0.0 or min(right, wrong) < least
