"""One section of a report: the figures of some steps beside their constant, broken down, with intervals.

Knows the layout of a section of `eval_metrics.json`; knows no file, no model and no other section.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from surestep.metrics.breakdown import group_rows
from surestep.metrics.calibration_error import reliability_equal_mass, reliability_equal_width
from surestep.metrics.columns import FloatArray
from surestep.metrics.figure_table import FigureSet, compute_figures
from surestep.metrics.pointwise import mae_by_label_range
from surestep.metrics.predictions import Predictions
from surestep.metrics.resamples import Bootstrap
from surestep.metrics.section_intervals import SKILL_FIGURES, add_intervals, groupings_of, why_no_intervals
from surestep.metrics.truth import truth_report

TRAINING_MEAN = "training_mean"
EVALUATED_MEAN = "evaluated_mean"
KEPT_DRAWS = ("mse", "nll", "auroc", "r2")

Json = dict[str, Any]


@dataclass(slots=True)
class Section:
    """A section, the steps it is about, and the resampled values that later comparisons need.

    Attributes:
        json: as it is written.
        part: the steps.
        draws: `KEPT_DRAWS` -> (R,); None where there are no intervals.
    """

    json: Json
    part: Predictions
    draws: dict[str, FloatArray] | None


def make_section(part: Predictions, training_mean: float | None, bootstrap: Bootstrap) -> Section:
    """The section of `part`, compared with `training_mean` or, where that is unknown, the mean of its labels."""
    p, y = part.confidence, part.label
    figures = compute_figures(p, y, raw_confidence=part.raw_confidence, problem=part.problem)
    constant, source = constant_of(y, training_mean)
    # Without a step there is no constant to compare with; the figures are null either way.
    of_constant = compute_figures(np.full(len(p), 0.0 if constant is None else constant), y)
    groupings = groupings_of(part)
    section: Json = {
        "num_steps": len(part),
        "num_problems": part.num_problems,
        "num_labels_half": int((y == 0.5).sum()),
        "mean_confidence": float(p.mean()) if len(p) else None,
        "mean_label": float(y.mean()) if len(y) else None,
        **figures.to_json(),
        "intervals": {},
        "if_calibrated": {},
        "mae_by_label_range": [asdict(row) for row in mae_by_label_range(p, y)],
        "reliability": {
            "equal_width": [asdict(row) for row in reliability_equal_width(p, y)],
            "equal_mass": [asdict(row) for row in reliability_equal_mass(p, y)],
        },
        **{name: group_rows(part, grouping) for name, grouping in groupings.items()},
        "constant_baseline": {"constant": constant, "source": source, **of_constant.to_json()},
        "skill": _skill(figures, of_constant).to_json(),
    }
    truth = truth_report(p, y, part.true_confidence)
    if truth is not None:
        section["truth"] = truth
    reason = why_no_intervals(part, bootstrap.resamples)
    if reason is not None or constant is None:
        section["no_intervals"] = reason
        return Section(section, part, None)
    draws = add_intervals(
        section, part, groupings, constant=constant, resamples=bootstrap.resamples, seed=bootstrap.seed
    )
    return Section(section, part, {name: draws.figures[name] for name in KEPT_DRAWS})


def constant_of(label: FloatArray, training_mean: float | None) -> tuple[float | None, str]:
    """The constant that stands for these steps, and where it comes from; None where there is no step either.

    >>> constant_of(np.array([0.0, 1.0]), None)
    (0.5, 'evaluated_mean')
    """
    if training_mean is not None:
        return training_mean, TRAINING_MEAN
    return (float(label.mean()) if label.size else None), EVALUATED_MEAN


def _skill(figures: FigureSet, of_constant: FigureSet) -> FigureSet:
    """1 − figure / figure of the constant, for the figures where 0 is perfect."""
    skill = FigureSet()
    for name in SKILL_FIGURES:
        ours, theirs = figures.values[name], of_constant.values[name]
        if ours is None or theirs is None:
            skill.values[name] = None
            skill.undefined[name] = figures.undefined[name]
        elif theirs == 0.0:
            skill.values[name] = None
            skill.undefined[name] = f"the constant's own {name} is 0, so nothing can be better"
        else:
            skill.values[name] = 1.0 - ours / theirs
    return skill
