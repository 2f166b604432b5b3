"""One JSON-ready report of scored steps: overall and per dataset, each beside its constant baseline.

Knows the layout of `eval_metrics.json` and says in it how every figure was made. Knows no file, no
model and no text; whoever writes the file adds what was scored and how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from surestep.metrics.baselines import ConstantBaseline
from surestep.metrics.calibration_error import NUM_BINS, reliability_equal_mass, reliability_equal_width
from surestep.metrics.columns import FloatArray
from surestep.metrics.figures import FigureSet, compute_figures
from surestep.metrics.pointwise import NLL_CLIP, NUM_LABEL_RANGES, mae_by_label_range
from surestep.metrics.predictions import Predictions
from surestep.metrics.truth import truth_report

TRAINING_MEAN = "training_mean"
EVALUATED_MEAN = "evaluated_mean"
MIXED_MEANS = "training_mean_where_known_else_evaluated_mean"
SKILL_FIGURES = ("mse", "nll")

Json = dict[str, object]

NOTES: dict[str, str] = {
    "soft_labels": (
        "MSE, MAE, R², NLL and ECE use the label as it is. AUROC and average precision count a label of at "
        "least 0.5 as right; their _without_half variants leave labels of exactly 0.5 out. Brier uses the "
        "binary label (label >= 0.5). Accuracy compares confidence >= 0.5 with label > 0.5 and leaves labels "
        "of exactly 0.5 out."
    ),
    "ece": (
        f"{NUM_BINS} bins of equal width: [0, 0.1), [0.1, 0.2), ... [0.9, 1.0]; a lower edge belongs to its "
        "bin, 1.0 to the last; edges are the float64 values of 0.1, 0.2, ... The estimate is the plain one, "
        "biased upward on few steps."
    ),
    "ece_equal_mass": (
        f"{NUM_BINS} bins of about equal numbers of steps. Equal confidences stay together, in the bin where "
        "the middle of their ranks falls; bins left empty by ties are not listed."
    ),
    "nll": f"In nats; confidences are clipped to [{NLL_CLIP:g}, 1 - {NLL_CLIP:g}].",
    "average_precision_error": "Finds the wrong steps (label < 0.5) from the lowest confidence up.",
    "mae_by_label_range": (
        f"{NUM_LABEL_RANGES} ranges of the label, edges owned as by the ECE bins; null where count is 0."
    ),
    "r2_mixture": (
        "R² over a mixture of datasets mostly measures which dataset a step came from: compare "
        "dataset_mean_baseline, which knows nothing else, and read r2_mean_per_dataset, the plain mean of "
        "the R² within the datasets named in r2_mean_per_dataset_over."
    ),
    "constant_baseline": (
        "One constant for every step: the mean training label where known (source training_mean), else the "
        "mean of the labels evaluated here (source evaluated_mean), which no model could have known "
        "beforehand. skill is 1 - figure / figure of the constant: 0 is no better than it, 1 is perfect."
    ),
    "undefined": "A null figure has no value on this data; 'undefined' beside it gives the reason.",
}


def build_report(predictions: Predictions, *, baseline: ConstantBaseline | None = None) -> Json:
    """All figures of `predictions`, overall and per dataset.

    Args:
        predictions: the labelled steps; every name in `dataset_names` gets its section, also one
            without a step, whose figures are then null with that reason.
        baseline: mean training labels; where one is missing the evaluated labels' own mean takes its
            place, and `constant_baseline.source` says so.

    Returns:
        `overall`, `per_dataset` by name, and `notes`, which say how each figure was made. A section
        has `num_steps`, `num_problems`, all of `FIGURES`, `mae_by_label_range`, `reliability`,
        `constant_baseline`, `skill`, `truth` where true confidences are known, and `undefined`. Only
        plain dicts, lists, strings and finite numbers: `json.dumps(..., allow_nan=False)` takes it.

    >>> report = build_report(Predictions(
    ...     confidence=np.array([0.25, 0.75]), label=np.array([0.0, 1.0]), dataset=np.array([0, 0]),
    ...     dataset_names=("a",), problem=np.array([0, 0]), position=np.array([1, 2]),
    ... ))
    >>> report["overall"]["mse"], report["overall"]["skill"]["mse"]
    (0.0625, 0.75)
    """
    baseline = baseline if baseline is not None else ConstantBaseline()
    parts = {name: predictions.for_dataset(name) for name in predictions.dataset_names}
    per_dataset = {name: _section(part, baseline.per_dataset.get(name)) for name, part in parts.items()}
    overall = _section(predictions, baseline.overall)
    overall |= _mean_r2(per_dataset)
    overall["dataset_mean_baseline"] = _dataset_mean_baseline(predictions, baseline)
    return {"overall": overall, "per_dataset": per_dataset, "notes": dict(NOTES)}


def _section(predictions: Predictions, training_mean: float | None) -> Json:
    p, y = predictions.confidence, predictions.label
    figures = compute_figures(p, y, raw_confidence=predictions.raw_confidence)
    constant, source = _constant(y, training_mean)
    # Without a step there is no constant to compare with; the figures are null either way.
    of_constant = compute_figures(np.full(len(p), 0.0 if constant is None else constant), y)
    skill = _skill(figures, of_constant)
    section: Json = {
        "num_steps": len(predictions),
        "num_problems": predictions.num_problems,
        "num_labels_half": int((y == 0.5).sum()),
        "mean_confidence": float(p.mean()) if len(p) else None,
        "mean_label": float(y.mean()) if len(y) else None,
        **figures.to_json(),
        "mae_by_label_range": [asdict(row) for row in mae_by_label_range(p, y)],
        "reliability": {
            "equal_width": [asdict(row) for row in reliability_equal_width(p, y)],
            "equal_mass": [asdict(row) for row in reliability_equal_mass(p, y)],
        },
        "constant_baseline": {"constant": constant, "source": source, **of_constant.to_json()},
        "skill": skill.to_json(),
    }
    truth = truth_report(p, y, predictions.true_confidence)
    if truth is not None:
        section["truth"] = truth
    return section


def _constant(label: FloatArray, training_mean: float | None) -> tuple[float | None, str]:
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


def _mean_r2(per_dataset: dict[str, Json]) -> Json:
    found = {name: r2 for name, s in per_dataset.items() if isinstance(r2 := s["r2"], float)}
    return {
        "r2_mean_per_dataset": float(np.mean(list(found.values()))) if found else None,
        "r2_mean_per_dataset_over": list(found),
    }


def _dataset_mean_baseline(predictions: Predictions, baseline: ConstantBaseline) -> Json:
    """Figures of a predictor that knows only which dataset a step came from."""
    by_dataset: list[float] = []
    sources: list[str] = []
    for index, name in enumerate(predictions.dataset_names):
        labels = predictions.label[predictions.dataset == index]
        constant, source = _constant(labels, baseline.per_dataset.get(name))
        by_dataset.append(0.0 if constant is None else constant)
        if labels.size:
            sources.append(source)
    constants = np.array(by_dataset)[predictions.dataset] if by_dataset else np.empty(0)
    figures = compute_figures(constants, predictions.label)
    return {"source": _common_source(sources), **figures.to_json()}


def _common_source(sources: Sequence[str]) -> str | None:
    if len(set(sources)) > 1:
        return MIXED_MEANS
    return sources[0] if sources else None
