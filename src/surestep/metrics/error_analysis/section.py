"""Where a scorer fails, JSON-ready: the same figures by kind, position, length and agreement, on the same draws.

Knows the layout of `error_analysis` in `eval_metrics.json`. What kind a step is and how long its text is are handed
over; knows no text.

Legend: N steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surestep.metrics.bootstrap.draws import FEWEST_FOR_VERDICT, Draws, seed_for
from surestep.metrics.columns import FloatArray, IntArray, distinct_and_places
from surestep.metrics.error_analysis.raters import agreement, raters_section
from surestep.metrics.figures.pointwise import calibration_in_the_large, mae, mse, nll, r2
from surestep.metrics.figures.ranking import auroc
from surestep.metrics.measure import resample
from surestep.metrics.report.groups import Grouping, MeasuredRow, by_position, group_rows
from surestep.metrics.report.section import why_no_intervals
from surestep.scored import ScoredSteps

Json = dict[str, Any]

GROUP_FIGURES = (mse, mae, nll, auroc, r2, calibration_in_the_large)
LENGTH_STARTS = (0, 41, 81, 161, 321)
"""Characters of a step's text at which each range of lengths begins."""
TABLES = ("by_kind", "by_position", "by_length", "by_agreement")
ALIKE, NOT_ALIKE, EITHER, ONCE = "rated again, alike", "rated again, not alike", "rated again, may be either", "once"

NO_TEXTS = "the steps scored have no text"
NOTES: dict[str, str] = {
    "by_kind": (
        "algebra: a variable beside an operator or a relation; arithmetic: no such variable, but a number beside one; "
        "text: everything else (surestep.data.trees.step_kinds has the rule)"
    ),
    "by_position": "the step's place on its path, from 1",
    "by_length": "characters of the step's text",
    "by_agreement": (
        "how often a step was rated, and whether its ratings were alike; `may be either` where mean and count leave "
        "both"
    ),
    "share_of_error": "the group's part of the sum of squared errors",
    "calibration_in_the_large": "mean confidence minus mean label: above 0, scored too high",
    "r2": "within the group: 0 is the group's own mean label",
    "raters": (
        "mse = of_raters + of_model on steps rated more than once: the variance of the ratings over their number, and "
        "the rest; low and high where mean and count leave several sets of ratings. of_one_rating is what a single "
        "rating would add. Copies of one rating make of_raters a lower bound"
    ),
    "intervals": "95 %, percentile bootstrap over problems",
    "few_problems": f"fewer than {FEWEST_FOR_VERDICT} problems: too few to conclude from",
}


@dataclass(frozen=True, eq=False)
class TextFacts:
    """What the texts of N steps say: `kind` of each, by number into `kinds`, and `length` in characters."""

    kinds: tuple[str, ...]
    kind: IntArray
    length: IntArray


def error_analysis(
    steps: ScoredSteps,
    facts: TextFacts | None,
    *,
    conflicts: Mapping[str, int] | None = None,
    resamples: int,
    seed: int,
) -> Json:
    """`error_analysis` of an evaluation: a section for each dataset, and the notes.

    Args:
        steps: measured (`ScoredSteps.measured`).
        facts: of the same steps; None where they have no text.
        conflicts: by dataset, steps whose ratings differ, where the reader counted them.
        resamples: of the problems; 0 for no intervals.
        seed: of the resamples.

    >>> steps = ScoredSteps.of_columns([0.9, 0.2], [1.0, 1.0], problem=["a", "b"], position=[1, 2])
    >>> found = error_analysis(steps, None, resamples=0, seed=0)["per_dataset"]["all"]
    >>> [round(row["share_of_error"], 3) for row in found["by_position"]], found["left_out"]["by_kind"]
    ([0.015, 0.985], 'the steps scored have no text')
    """
    sections = {
        name: errors_of_dataset(steps, facts, name, conflicts=conflicts, resamples=resamples, seed=seed)
        for name in steps.dataset_names
    }
    return {"per_dataset": sections, "notes": NOTES}


def errors_of_dataset(
    steps: ScoredSteps,
    facts: TextFacts | None,
    name: str,
    *,
    conflicts: Mapping[str, int] | None,
    resamples: int,
    seed: int,
) -> Json:
    """The section of one dataset; arguments as of `error_analysis`."""
    rows = steps.dataset == steps.dataset_names.index(name)
    own = seed if len(steps.dataset_names) == 1 else seed_for(seed, name)
    part = steps.select(rows).densely()
    of_part = None if facts is None else TextFacts(facts.kinds, facts.kind[rows], facts.length[rows])
    known = (conflicts or {}).get(name)
    return error_section(part, of_part, conflicts=known, resamples=resamples, seed=own)


def error_section(
    part: ScoredSteps, facts: TextFacts | None, *, conflicts: int | None = None, resamples: int, seed: int
) -> Json:
    """The section of one dataset's measured steps, problems numbered densely."""
    if not len(part):
        return {"num_steps": 0, "num_problems": 0, "left_out": dict.fromkeys(TABLES, "there are no labelled steps")}
    low, high = agreement(part, conflicts)
    groupings, left_out = _groupings(part, facts, low, high)
    tables = {name: group_rows(part, grouping, part.num_problems) for name, grouping in groupings.items()}
    reason = why_no_intervals(part.num_problems, resamples)
    draws = Draws(part.num_problems, resamples, seed) if reason is None else None
    all_rows = [row for rows in tables.values() for row in rows]
    if draws is not None:
        resample([row.measure for row in all_rows if row.measure is not None], draws)
    total = float(((part.confidence - part.label) ** 2).sum())
    for row in all_rows:
        _complete(row, total, with_intervals=draws is not None)
    section: Json = {
        "num_steps": len(part),
        "num_problems": part.num_problems,
        "mse": total / len(part),
        **{name: [row.json for row in rows] for name, rows in tables.items()},
        "raters": raters_section(part, low, high, draws, conflicts=conflicts),
        "left_out": left_out,
    }
    return section if reason is None else section | {"no_intervals": reason}


def _complete(row: MeasuredRow, total: float, *, with_intervals: bool) -> None:
    row.json["share_of_error"] = row.json["mse"] * row.json["num_steps"] / total if total > 0.0 else 0.0
    row.json["few_problems"] = row.json["num_problems"] < FEWEST_FOR_VERDICT
    if with_intervals:
        row.add_intervals()


def _groupings(
    part: ScoredSteps, facts: TextFacts | None, low: FloatArray, high: FloatArray
) -> tuple[dict[str, Grouping], dict[str, str]]:
    """The tables that can be made, and why the others cannot."""
    positions = by_position(part.position)
    found = {"by_position": Grouping(positions.rows, positions.group, GROUP_FIGURES)}
    left_out = {}
    if facts is None:
        left_out = {"by_kind": NO_TEXTS, "by_length": NO_TEXTS}
    else:
        found = {"by_kind": _named("kind", facts.kinds, facts.kind), **found, "by_length": _by_length(facts.length)}
    if not part.num_ratings.any():
        left_out["by_agreement"] = "how often each step was rated is not known"
    elif np.isnan(low).all():
        left_out["by_agreement"] = "no step with a label was rated more than once"
    else:
        names = (ONCE, ALIKE, NOT_ALIKE, EITHER)
        group = np.select([np.isnan(low), high == 0.0, low > 0.0], [0, 1, 2], 3)
        found["by_agreement"] = _named("ratings", names, group.astype(np.int64))
    return found, left_out


def _named(key: str, names: Sequence[str], number: IntArray) -> Grouping:
    """Groups by number into `names`; those without a step are left out."""
    used, group = distinct_and_places(number)
    return Grouping(tuple({key: names[index]} for index in used.tolist()), group, GROUP_FIGURES)


def _by_length(length: IntArray) -> Grouping:
    used, group = distinct_and_places(np.searchsorted(LENGTH_STARTS, length, side="right") - 1)
    ends = [*(start - 1 for start in LENGTH_STARTS[1:]), None]
    rows = tuple({"from": LENGTH_STARTS[index], "to": ends[index]} for index in used.tolist())
    return Grouping(rows, group, GROUP_FIGURES)
