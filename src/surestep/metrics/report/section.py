"""One section of a report: the figures of some steps beside their constant, broken down, with intervals.

Knows the layout of a section of `eval_metrics.json`; knows no file, no model and no other section.

Legend: N steps, R draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from surestep.cores import in_threads
from surestep.metrics.bootstrap.draws import FEWEST_PROBLEMS, Draws
from surestep.metrics.bootstrap.interval import percentile
from surestep.metrics.columns import FloatArray
from surestep.metrics.figures import FIGURES, FigureSet, compute_figures
from surestep.metrics.figures.figure import ratio
from surestep.metrics.figures.pointwise import mean_confidence, mean_label
from surestep.metrics.measure import Measure, resample
from surestep.metrics.report.assessment import assessment
from surestep.metrics.report.constants import constant_of
from surestep.metrics.report.groups import (
    MeasuredRow,
    by_label,
    by_position,
    group_rows,
    label_range_rows,
    reliability_rows,
)
from surestep.metrics.report.truth import truth_by_part, truth_of
from surestep.scored import ScoredSteps

SKILL_FIGURES = ("mse", "nll")
"""Figures of which 0 is perfect, so that the share of the constant's that is removed says something."""
CONSTANT, DATASET_MEAN = "constant_baseline", "dataset_mean_baseline"
"""What skill is measured against, by its key in the section."""
CONSTANT_FIGURES = ("mse", "mae", "nll", "brier")
FEWEST_SHARED = 2**14
"""Steps from which sections are worth the starting of threads."""

Json = dict[str, Any]
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How the intervals of a report are made.

    Attributes:
        resamples: how often the problems are drawn anew; 0 for no intervals.
        seed: decides the draws.
    """

    resamples: int = 0
    seed: int = 0


@dataclass(slots=True)
class Section:
    """A section, and what later comparisons need: the steps it is about are not held.

    Attributes:
        json: as it is written.
        draws: what it was resampled with; None where there are no intervals.
        measure: of the model.
        constants: confidences that know nothing of a step, (N,), and their figures on these steps.
    """

    json: Json
    draws: Draws | None
    measure: Measure
    constants: list[tuple[FloatArray, FigureSet]] = field(default_factory=list)

    @property
    def num_steps(self) -> int:
        """N."""
        return self.measure.num_steps

    def figures_of(self, confidence: FloatArray) -> FigureSet | None:
        """The figures of a confidence, (N,), that is one of `constants`."""
        return next((found for known, found in self.constants if np.array_equal(known, confidence)), None)

    @property
    def num_problems(self) -> int:
        """Problems of these steps."""
        found: int = self.json["num_problems"]
        return found


def make_section(
    part: ScoredSteps,
    training_mean: float | None,
    bootstrap: Bootstrap,
    *,
    dataset_means: FloatArray | None = None,
    part_of_tree: Sequence[str] = (),
) -> Section:
    """The section of `part`.

    Args:
        part: measured, problems numbered densely.
        training_mean: the constant that it is compared with; where unknown, the mean of its labels.
        bootstrap: how its intervals are made.
        dataset_means: shape (N,), the constant of each step's own dataset where there are several: skill over all of
            them is then over these, as each dataset's skill is over its own.
        part_of_tree: the part of the data that each tree is of, "" for none; regret is then given by part too.
    """
    num_problems = part.num_problems
    model = Measure(part, (*FIGURES.values(), mean_confidence, mean_label), num_problems=num_problems)
    constant, source = constant_of(part.label, training_mean)
    # Without a step there is no constant to compare with; the figures are null either way.
    as_constant = part.with_confidence(np.full(len(part), 0.0 if constant is None else constant))
    of_constant = compute_figures(as_constant.confidence, part.label, problem=part.problem)
    against, as_own, of_own = CONSTANT, as_constant, of_constant
    if dataset_means is not None:
        against, as_own = DATASET_MEAN, part.with_confidence(dataset_means)
        of_own = compute_figures(as_own.confidence, part.label, names=SKILL_FIGURES)
    known = [(np.broadcast_to(as_constant.confidence[:1], len(part)), of_constant)]  # as long, but no longer held
    broken_down = _BrokenDown(part, num_problems)
    truth = truth_of(part, num_problems=num_problems)
    by_part = truth_by_part(part, part_of_tree, num_problems=num_problems)
    section: Json = {
        "num_steps": len(part),
        "num_problems": num_problems,
        "num_labels_half": int((part.label == 0.5).sum()),
        "mean_confidence": model.values["mean_confidence"],
        "mean_label": model.values["mean_label"],
        **{name: model.values[name] for name in FIGURES},
        "undefined": {name: reason for name, reason in model.undefined.items() if name in FIGURES},
        "intervals": {},
        "if_calibrated": {},
        **broken_down.json(),
        "constant_baseline": {"constant": constant, "source": source, **of_constant.to_json()},
        "skill": {"against": against, **_skill(model, of_own).to_json()},
        **({} if truth is None else {"truth": truth.json}),
        **({"truth_by_part": [row.json for row in by_part]} if by_part else {}),
    }
    reason = why_no_intervals(num_problems, bootstrap.resamples)
    if reason is not None:
        section["no_intervals"] = reason
        section["assessment"] = assessment(section)
        return Section(section, None, model, known)
    draws = Draws(num_problems, bootstrap.resamples, bootstrap.seed)
    base = Measure(as_constant, [FIGURES[name] for name in CONSTANT_FIGURES], num_problems=num_problems)
    own = Measure(as_own, [FIGURES[name] for name in SKILL_FIGURES], num_problems=num_problems)
    del as_constant, as_own  # a measure holds what it needs of them
    of_truth = [measure for found in (truth, *by_part) if found is not None for measure in found.measures.values()]
    drawn = [model, base, own, *broken_down.measures(), *of_truth]
    resample(drawn, draws)
    for measure in drawn:
        measure.release()
    _add_intervals(section, model, base, own)
    section["assessment"] = assessment(section)
    broken_down.add_intervals()
    for found in (truth, *by_part):
        if found is not None:
            found.add_intervals()
    return Section(section, draws, model, known)


def for_each(function: Callable[[_Task], _Result], tasks: Sequence[_Task], num_steps: int) -> Iterator[_Result]:
    """`function` of each of the tasks of a report on so many steps, in order: in threads where there are many steps."""
    return in_threads(function, tasks) if num_steps >= FEWEST_SHARED else map(function, tasks)


def why_no_intervals(num_problems: int, resamples: int) -> str | None:
    """Why a section has no intervals; None where it has."""
    if resamples == 0:
        return "not asked for (eval.bootstrap_resamples is 0)"
    if num_problems < FEWEST_PROBLEMS:
        many = "" if num_problems == 1 else "s"
        return f"{num_problems} problem{many}: intervals resample problems and need at least {FEWEST_PROBLEMS}"
    return None


class _BrokenDown:
    """The section's tables of groups."""

    def __init__(self, part: ScoredSteps, num_problems: int) -> None:
        self.label_ranges = label_range_rows(part, num_problems)
        self.reliability = reliability_rows(part, num_problems)
        self.groups: Mapping[str, list[MeasuredRow]] = {
            "by_position": group_rows(part, by_position(part.position), num_problems),
            "by_label": group_rows(part, by_label(part.label), num_problems),
        }

    def rows(self) -> list[MeasuredRow]:
        """All rows of all tables."""
        tables = [self.label_ranges, *self.reliability.values(), *self.groups.values()]
        return [row for table in tables for row in table]

    def measures(self) -> list[Measure]:
        """Of all rows that have a step."""
        return [row.measure for row in self.rows() if row.measure is not None]

    def add_intervals(self) -> None:
        """Once the measures were resampled."""
        for row in self.rows():
            row.add_intervals()

    def json(self) -> Json:
        """The tables as they are written; later intervals appear in them."""
        return {
            "mae_by_label_range": [row.json for row in self.label_ranges],
            "reliability": {name: [row.json for row in rows] for name, rows in self.reliability.items()},
            **{name: [row.json for row in rows] for name, rows in self.groups.items()},
        }


def _add_intervals(section: Json, model: Measure, base: Measure, own: Measure) -> None:
    intervals = {name: found for name in model.figures if (found := model.interval(name)) is not None}
    section["intervals"] = {name: found.to_json() for name, found in intervals.items()}
    section["if_calibrated"] = {
        name: {"mean": found.if_calibrated[0], "high": found.if_calibrated[1]}
        for name, found in intervals.items()
        # A resolution is a size of gaps too, but those of a calibrated model are none to be compared with.
        if found.if_calibrated is not None and model.figures[name].direction == "lower"
    }
    section["constant_baseline"]["intervals"] = {
        name: found.to_json() for name in base.figures if (found := base.interval(name)) is not None
    }
    section["skill"]["intervals"] = {
        name: percentile(skill_draws(model, own, name)).to_json()
        for name in SKILL_FIGURES
        if section["skill"][name] is not None
    }


def skill_draws(model: Measure, constant: Measure, name: str) -> FloatArray:
    """1 − figure / figure of the constant under each draw, (R,); NaN where the constant's is 0."""
    return 1.0 - ratio(model.draws(name), constant.draws(name))


def _skill(model: Measure, of_constant: FigureSet) -> FigureSet:
    """1 − figure / figure of the constant, for the figures where 0 is perfect."""
    skill = FigureSet()
    for name in SKILL_FIGURES:
        ours, theirs = model.values[name], of_constant.values[name]
        if ours is None or theirs is None:
            skill.values[name] = None
            skill.undefined[name] = model.undefined[name]
        elif theirs == 0.0:
            skill.values[name] = None
            skill.undefined[name] = f"the constant's own {name} is 0, so nothing can be better"
        else:
            skill.values[name] = 1.0 - ours / theirs
    return skill
