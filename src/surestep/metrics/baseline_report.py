"""The table of baselines of a report, and the verdict that follows from it.

Knows the layout of `baselines`, `beats_baselines` and `verdict`; how two predictors are compared is in
`baseline_table`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from surestep.metrics.baseline_table import Baseline, measure, verdict
from surestep.metrics.baselines import ConstantBaseline
from surestep.metrics.columns import FloatArray
from surestep.metrics.predictions import Predictions
from surestep.metrics.resamples import Bootstrap
from surestep.metrics.section import EVALUATED_MEAN, Section, constant_of

Json = dict[str, Any]


def constant_baselines(predictions: Predictions, known: ConstantBaseline) -> list[Baseline]:
    """The two constants: one for all steps, and one for each dataset where there are several.

    A mean that is not known from training is that of the labels evaluated here, which `about` says.
    """
    overall, source = constant_of(predictions.label, known.overall)
    kind = "mean label of the training data" if source != EVALUATED_MEAN else "mean of the labels evaluated here"
    steps = len(predictions)
    found = [Baseline("training mean", f"One constant for every step: {kind}.", np.full(steps, overall or 0.0))]
    if source == EVALUATED_MEAN:
        found = [Baseline("evaluated mean", found[0].about, found[0].confidence)]
    if len(predictions.dataset_names) > 1:
        by_dataset, sources = dataset_constants(predictions, known)
        unknown = sorted(name for name, source in sources.items() if source == EVALUATED_MEAN)
        about = "One constant a dataset: its mean label in training"
        about += f"; for {', '.join(unknown)} the mean of the labels evaluated here." if unknown else "."
        found.append(Baseline("dataset mean", about, by_dataset[predictions.dataset]))
    return found


def dataset_constants(predictions: Predictions, known: ConstantBaseline) -> tuple[FloatArray, dict[str, str]]:
    """The constant of each dataset, in the order of the names (0 without steps), and the source of those with steps."""
    constants: list[float] = []
    sources: dict[str, str] = {}
    for index, name in enumerate(predictions.dataset_names):
        labels = predictions.label[predictions.dataset == index]
        constant, source = constant_of(labels, known.per_dataset.get(name))
        constants.append(0.0 if constant is None else constant)
        if labels.size:
            sources[name] = source
    return np.array(constants), sources


def baseline_table(
    predictions: Predictions,
    baselines: Sequence[Baseline],
    overall: Section,
    per_dataset: Mapping[str, Section],
    bootstrap: Bootstrap,
) -> Json:
    """`baselines` and `verdict` of a report; puts `beats_baselines` into each section that has steps.

    A row of `baselines` holds `name`, `about`, the figures over all steps and `per_dataset`; each with `intervals` and
    `model_difference` where there are intervals.
    """
    named: list[tuple[str | None, Section]] = [(None, overall), *per_dataset.items()]
    sections = {name: section for name, section in named if len(section.part)}
    rows: list[Json] = []
    for section in sections.values():
        section.json["beats_baselines"] = {}
    for baseline in baselines:
        scored = predictions.with_confidence(baseline.confidence)
        measured: dict[str | None, Json] = {}
        for name, section in sections.items():
            if name is not None and len(section.part) == len(predictions):
                measured[name] = measured[None]
                section.json["beats_baselines"][baseline.name] = overall.json["beats_baselines"][baseline.name]
                continue
            part = scored if name is None else scored.for_dataset(name)
            found, beaten = measure(
                part, section.json, section.draws, resamples=bootstrap.resamples, seed=bootstrap.seed
            )
            measured[name] = found
            section.json["beats_baselines"][baseline.name] = beaten
        of_datasets = {name: found for name, found in measured.items() if name is not None}
        rows.append(
            {"name": baseline.name, "about": baseline.about, **measured.get(None, {}), "per_dataset": of_datasets}
        )
    return {"baselines": rows, "verdict": _verdict(rows, sections)}


def _verdict(rows: Sequence[Json], sections: Mapping[str | None, Section]) -> list[str]:
    named = {name: section for name, section in sections.items() if name is not None}
    sentences: list[str] = []
    for name, section in named.items():
        sentences += verdict(name, section.json, [(row["name"], row["per_dataset"][name]) for row in rows])
    if len(named) > 1:
        sentences += verdict("overall", sections[None].json, [(row["name"], row) for row in rows])
    return sentences
