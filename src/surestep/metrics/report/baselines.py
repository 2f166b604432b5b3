"""Predictors beside the model: their figures on the same steps, and which of them the model does not beat.

Knows confidences and labels of both; not how a baseline was made, which its `about` says. Differences are paired:
model and baseline are measured on the same draws of problems.

Legend: N steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surestep.metrics.bootstrap.draws import FEWEST_FOR_VERDICT
from surestep.metrics.bootstrap.interval import percentile
from surestep.metrics.columns import FloatArray
from surestep.metrics.figures import FIGURES, compute_figures
from surestep.metrics.measure import Measure, resample
from surestep.metrics.report.constants import EVALUATED_MEAN, ConstantBaseline, constant_of, dataset_constants
from surestep.metrics.report.section import Section, for_each
from surestep.metrics.report.verdict import COMPARED, sentences
from surestep.scored import ScoredSteps

Json = dict[str, Any]
Beaten = dict[str, bool | None]


@dataclass(frozen=True, eq=False, slots=True)
class Baseline:
    """A predictor that the model has to beat.

    Attributes:
        name: short, for a table.
        about: what it knows and what it was fitted on, one sentence.
        confidence: shape (N,), in [0, 1], one for each labelled step that the model scored.
    """

    name: str
    about: str
    confidence: FloatArray


def constant_baselines(steps: ScoredSteps, known: ConstantBaseline) -> list[Baseline]:
    """The two constants: one for all steps, and one for each dataset where there are several.

    A mean that is not known from training is that of the labels evaluated here, which `about` says.
    """
    present = [steps.dataset_names[index] for index in np.unique(steps.dataset)]
    # One dataset is compared with its own constant, whatever else was trained on.
    training_mean = known.per_dataset.get(present[0]) if len(present) == 1 else known.overall
    overall, source = constant_of(steps.label, training_mean)
    kind = "mean label of the training data" if source != EVALUATED_MEAN else "mean of the labels evaluated here"
    name = "training mean" if source != EVALUATED_MEAN else "evaluated mean"
    found = [Baseline(name, f"One constant for every step: {kind}.", np.full(len(steps), overall or 0.0))]
    if len(steps.dataset_names) > 1:
        by_dataset, sources = dataset_constants(steps, known)
        unknown = sorted(name for name, source in sources.items() if source == EVALUATED_MEAN)
        about = "One constant a dataset: its mean label in training"
        about += f"; for {', '.join(unknown)} the mean of the labels evaluated here." if unknown else "."
        found.append(Baseline("dataset mean", about, by_dataset[steps.dataset]))
    return found


def baseline_table(
    steps: ScoredSteps, baselines: Sequence[Baseline], overall: Section, per_dataset: Mapping[str, Section]
) -> Json:
    """`baselines` and `verdict` of a report; puts `beats_baselines` into each section that has steps.

    A row of `baselines` holds `name`, `about`, the figures over all steps and `per_dataset`; each with `intervals` and
    `model_difference` where there are intervals.
    """
    named: list[tuple[str | None, Section]] = [(None, overall), *per_dataset.items()]
    sections = {name: section for name, section in named if section.num_steps}
    measured: dict[str | None, list[Json]] = {}

    def beside(name: str | None) -> list[tuple[Json, Beaten]]:
        rows = steps.dataset >= 0 if name is None else steps.dataset == steps.dataset_names.index(name)
        part = steps if name is None else steps.select(rows).densely()
        return _beside(sections[name], [part.with_confidence(baseline.confidence[rows]) for baseline in baselines])

    compared = [name for name, section in sections.items() if name is None or section.num_steps < len(steps)]
    of_each = dict(zip(compared, for_each(beside, compared, len(steps)), strict=True))
    for name, section in sections.items():
        if name not in of_each:  # it holds all steps
            measured[name] = measured[None]
            section.json["beats_baselines"] = overall.json["beats_baselines"]
            continue
        found = of_each[name]
        measured[name] = [json for json, _ in found]
        section.json["beats_baselines"] = {
            baseline.name: beaten for baseline, (_, beaten) in zip(baselines, found, strict=True)
        }
    rows_json: list[Json] = [
        {
            "name": baseline.name,
            "about": baseline.about,
            **(measured[None][number] if None in measured else {}),
            "per_dataset": {name: found[number] for name, found in measured.items() if name is not None},
        }
        for number, baseline in enumerate(baselines)
    ]
    return {"baselines": rows_json, "verdict": _verdict(rows_json, sections)}


def _beside(section: Section, baselines: Sequence[ScoredSteps]) -> list[tuple[Json, Beaten]]:
    """Each baseline's figures on the steps of one section, and whether the model beats it.

    The figures, their `intervals` (of `COMPARED`) and `model_difference` (model less baseline: value, low, high); and
    for each of `COMPARED` whether the interval of the difference lies wholly on the model's side, None where there is
    none, or where there are too few problems to go by it.
    """
    chosen = [FIGURES[name] for name in COMPARED]
    measures = [Measure(scored, chosen, num_problems=section.num_problems) for scored in baselines]
    if section.draws is not None:
        resample(measures, section.draws)
    found = []
    for scored, measure in zip(baselines, measures, strict=True):
        figures = section.figures_of(scored.confidence)
        if figures is None:
            figures = compute_figures(scored.confidence, scored.label, problem=scored.problem)
        json: Json = figures.to_json()
        beaten: Beaten = dict.fromkeys(COMPARED)
        if section.draws is not None:
            enough = section.num_problems >= FEWEST_FOR_VERDICT
            intervals = {name: measure.interval(name) for name in COMPARED}
            json["intervals"] = {name: value.to_json() for name, value in intervals.items() if value is not None}
            json["model_difference"] = differences = {}
            for name in COMPARED:
                if (difference := _difference(section.measure, measure, name)) is not None:
                    differences[name] = difference[0]
                    beaten[name] = difference[1] if enough else None
        found.append((json, beaten))
    return found


def _difference(model: Measure, baseline: Measure, name: str) -> tuple[Json, bool | None] | None:
    ours, theirs = model.values[name], baseline.values[name]
    if ours is None or theirs is None:
        return None
    interval = percentile(model.draws(name) - baseline.draws(name))
    beaten = None
    if interval.low is not None and interval.high is not None:
        beaten = interval.low > 0.0 if FIGURES[name].direction == "higher" else interval.high < 0.0
    return {"value": ours - theirs, **interval.to_json()}, beaten


def _verdict(rows: Sequence[Json], sections: Mapping[str | None, Section]) -> list[str]:
    named = {name: section for name, section in sections.items() if name is not None}
    found: list[str] = []
    for name, section in named.items():
        found += sentences(name, section.json, [(row["name"], row["per_dataset"][name]) for row in rows])
    if len(named) > 1:
        found += sentences("overall", sections[None].json, [(row["name"], row) for row in rows])
    return found
