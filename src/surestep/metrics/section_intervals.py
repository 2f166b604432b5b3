"""The intervals of one section of a report, put where their figures are.

Knows the layout of a section; draws come from `section_draws`, the way from draws to an interval from `intervals` and
`inversion`.

Legend: R resamples, B bins, P groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from surestep.metrics.breakdown import Grouping, by_label, by_position
from surestep.metrics.calibration_error import equal_mass_bins, equal_width_bins
from surestep.metrics.columns import BoolArray, FloatArray
from surestep.metrics.figure_table import FIGURES
from surestep.metrics.gap_intervals import gap_intervals
from surestep.metrics.intervals import FEWEST_PROBLEMS, inverted_to_interval, percentile_interval
from surestep.metrics.pointwise import NUM_LABEL_RANGES
from surestep.metrics.predictions import Predictions
from surestep.metrics.section_draws import SectionDraws, draw_section, step_losses

SECTION_FIGURES = (*FIGURES, "mean_confidence", "mean_label")
SKILL_FIGURES = ("mse", "nll")
CONSTANT_FIGURES = ("mse", "mae", "nll", "brier")

Json = dict[str, Any]
Means = dict[str, tuple[FloatArray, BoolArray | None]]


def groupings_of(part: Predictions) -> dict[str, Grouping]:
    """The groups of a section's breakdowns, by the name of the breakdown."""
    return {"by_position": by_position(part.position), "by_label": by_label(part.label)}


def why_no_intervals(part: Predictions, resamples: int) -> str | None:
    """Why a section has no intervals; None where it has."""
    if resamples == 0:
        return "not asked for (eval.bootstrap_resamples is 0)"
    found = part.num_problems
    if found < FEWEST_PROBLEMS:
        return f"{found} problem{'' if found == 1 else 's'}: intervals resample problems and need at least 2"
    return None


def add_intervals(
    section: Json,
    part: Predictions,
    groupings: Mapping[str, Grouping],
    *,
    constant: float,
    resamples: int,
    seed: int,
) -> SectionDraws:
    """Put an `intervals` beside every figure of `section`, which holds the figures of `part`; returns the draws."""
    means = _constant_means(part, constant) | _truth_means(part) | _label_range_means(part)
    draws = draw_section(part, resamples=resamples, seed=seed, groupings=groupings, means=means)
    inverted = gap_intervals(part, draws)
    found: dict[str, object] = {}
    for name in SECTION_FIGURES:
        if section[name] is None:
            continue
        interval = (
            inverted_to_interval(inverted[name]) if name in inverted else percentile_interval(draws.figures[name])
        )
        found[name] = interval.to_json()
    section["intervals"] = found
    section["if_calibrated"] = {
        name: {"mean": result.mean_if_calibrated, "high": result.high_if_calibrated}
        for name, result in inverted.items()
        if name != "brier_resolution" and section[name] is not None
    }
    _add_to_constant(section, draws)
    _add_to_truth(section, draws)
    _add_to_groups(section, groupings, draws)
    _add_to_tables(section, part, draws)
    return draws


def _constant_means(part: Predictions, constant: float) -> Means:
    losses = step_losses(np.full(len(part), constant), part.label)
    return {f"constant/{name}": (losses[name], None) for name in CONSTANT_FIGURES}


def _add_to_constant(section: Json, draws: SectionDraws) -> None:
    of_constant = {name: draws.figures[f"constant/{name}"] for name in CONSTANT_FIGURES}
    section["constant_baseline"]["intervals"] = {
        name: percentile_interval(values).to_json() for name, values in of_constant.items()
    }
    skill: dict[str, object] = {}
    for name in SKILL_FIGURES:
        if section["skill"][name] is not None:
            values = of_constant[name]
            share = np.divide(draws.figures[name], values, out=np.full_like(values, np.nan), where=values > 0.0)
            skill[name] = percentile_interval(1.0 - share).to_json()
    section["skill"]["intervals"] = skill


def _truth_means(part: Predictions) -> Means:
    truth = part.true_confidence
    known = ~np.isnan(truth)
    if not known.any():
        return {}
    filled = np.where(known, truth, 0.0)
    noisy = known & (filled > 0.0) & (filled < 1.0)
    ours, best = step_losses(part.confidence, part.label), step_losses(filled, part.label)
    regret = (part.confidence - filled) ** 2
    wanted: dict[str, tuple[FloatArray, BoolArray]] = {
        "regret": (regret, known),
        "regret_noisy": (regret, noisy),
        "regret_clean": (regret, known & ~noisy),
        "mse": (ours["mse"], known),
        "best_mse": (best["mse"], known),
        "nll": (ours["nll"], known),
        "best_nll": (best["nll"], known),
        "mse_noisy": (ours["mse"], noisy),
        "best_mse_noisy": (best["mse"], noisy),
    }
    return {f"truth/{name}": (values, where) for name, (values, where) in wanted.items() if where.any()}


def _add_to_truth(section: Json, draws: SectionDraws) -> None:
    if "truth" in section:
        section["truth"]["intervals"] = {
            name.removeprefix("truth/"): percentile_interval(values).to_json()
            for name, values in draws.figures.items()
            if name.startswith("truth/")
        }


def _add_to_groups(section: Json, groupings: Mapping[str, Grouping], draws: SectionDraws) -> None:
    for name, grouping in groupings.items():
        steps = draws.sums[f"{name}/steps"].reshape(-1, len(grouping.rows))
        for figure in (*grouping.figures, "mean_confidence", "mean_label"):
            for number, row in enumerate(section[name]):
                intervals = row.setdefault("intervals", {})
                if figure == "auroc":
                    values = draws.ranking_by_group[number]
                else:
                    sums = draws.sums[f"{name}/{figure}"].reshape(-1, len(grouping.rows))
                    values = _divided(sums[:, number], steps[:, number])
                if row[figure] is not None:
                    intervals[figure] = percentile_interval(values).to_json()


def _add_to_tables(section: Json, part: Predictions, draws: SectionDraws) -> None:
    for kind, bins in (("width", equal_width_bins(part.confidence)), ("mass", equal_mass_bins(part.confidence))):
        rows = section["reliability"][f"equal_{kind}"]
        # The table of equal mass lists only the bins that hold a step.
        numbers = range(len(rows)) if kind == "width" else np.unique(bins).tolist()
        label, steps = draws.sums[f"{kind}/label"], draws.sums[f"{kind}/steps"]
        for row, number in zip(rows, numbers, strict=True):
            if row["count"]:
                values = _divided(label[:, number], steps[:, number])
                row["intervals"] = {"mean_label": percentile_interval(values).to_json()}
    for number, row in enumerate(section["mae_by_label_range"]):
        if row["count"]:
            values = draws.figures[f"label_range/{number}"]
            row["intervals"] = {"mae": percentile_interval(values).to_json()}


def _label_range_means(part: Predictions) -> Means:
    error = np.abs(part.confidence - part.label)
    ranges = equal_width_bins(part.label, NUM_LABEL_RANGES)
    return {f"label_range/{k}": (error, ranges == k) for k in np.unique(ranges).tolist()}


def _divided(above: FloatArray, below: FloatArray) -> FloatArray:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0.0)
