"""Solution-level figures of some steps, JSON-ready: by every aggregate, with intervals over problems.

Knows the layout of `solution_level` in `eval_metrics.json` and in benchmark results.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from surestep.metrics.benchmarks.aggregation import AGGREGATIONS
from surestep.metrics.bootstrap.draws import FEWEST_PROBLEMS, Draws, seed_for
from surestep.metrics.bootstrap.interval import percentile
from surestep.metrics.columns import FloatArray
from surestep.metrics.figures import FIGURES
from surestep.metrics.figures.figure import ratio
from surestep.metrics.measure import Measure, resample
from surestep.metrics.measured_rows import MeasuredRows
from surestep.metrics.solution_level.decisions import DECISIONS, THRESHOLD
from surestep.metrics.solution_level.orders import NDCG_DEPTH, order_sums, sibling_sums
from surestep.metrics.solution_level.solutions import LEFT_OUT, JudgedSolutions, solutions_of
from surestep.scored import ScoredSteps

Json = dict[str, Any]

RANKINGS = ("auroc", "average_precision")
ORDERS = ("precision_at_1", "ndcg", "pairwise_accuracy")
SOLUTION_FIGURES = (*RANKINGS, *(figure.name for figure in DECISIONS), *ORDERS)
"""Every figure of a solution's score."""

_OF_SEVERAL = ("precision_at_1", "ndcg")
"""Figures of a choice; of problems with one solution each they would be the share of right ones."""
MOST_GROUPS = 512
"""How finely draws tell scores apart: four aggregates are drawn, and draws of AUROC move by less than 1 / 512²."""

NOTES: dict[str, str] = {
    "solutions": (
        "every path from a first step to a last one; wrong where a step is labelled below 0.5, right where the last "
        "step is labelled and none is wrong"
    ),
    "by_aggregate": "a solution's score: min, product, mean or last of its steps' confidences",
    "rankings": "auroc and average_precision of right against wrong solutions read the confidence before a calibration "
    "map, as do the orders",
    "decisions": f"f1, f1_wrong, balanced_accuracy and mcc call a solution right where its score is above {THRESHOLD}",
    "orders": (
        "per problem, then the mean over problems: precision_at_1 is whether the highest score is a right solution's, "
        f"ndcg has linear gains and {NDCG_DEPTH} places; both are 0 for a problem without a right solution. "
        "pairwise_accuracy is over all pairs of a right and a wrong solution of one problem. Equal scores count as the "
        "mean over their orders"
    ),
    "sibling_pairs": (
        "steps that follow the same step of a tree and have different labels: how often the better one has the higher "
        "confidence, half where they tie"
    ),
    "left_out": "; ".join(f"{name}: {meaning}" for name, meaning in LEFT_OUT.items()),
    "intervals": "95 %, percentile bootstrap over problems",
}


def solution_level_report(steps: ScoredSteps, *, resamples: int, seed: int) -> Json:
    """`solution_level` of an evaluation: a section for each dataset that has a judged solution, and the notes.

    Args:
        steps: every row, labelled or not.
        resamples: of the problems; 0 for no intervals.
        seed: of the resamples.
    """
    sections = {name: solutions_of_dataset(steps, name, resamples=resamples, seed=seed) for name in steps.dataset_names}
    return {"per_dataset": sections, "notes": NOTES}


def solutions_of_dataset(steps: ScoredSteps, name: str, *, resamples: int, seed: int) -> Json:
    """The section of one dataset; arguments as of `solution_level_report`."""
    part = steps.for_dataset(name)
    own = seed if len(steps.dataset_names) == 1 else seed_for(seed, name)
    return solution_section(solutions_of(part), resamples=resamples, seed=own, steps=part.measured())


def solution_section(found: JudgedSolutions, *, resamples: int, seed: int, steps: ScoredSteps | None = None) -> Json:
    """Figures of judged solutions by every aggregate; `steps`, measured, adds the pairs of siblings.

    >>> solutions = solutions_of(ScoredSteps.of_columns([0.9, 0.2, 0.4], [1.0, 0.0, 1.0], problem=["a", "a", "b"]))
    >>> section = solution_section(solutions, resamples=0, seed=0)
    >>> section["by_aggregate"]["min"]["auroc"], section["by_aggregate"]["last"]["balanced_accuracy"]
    (1.0, 0.75)
    """
    num_problems = int(found.problem.max()) + 1 if len(found) else 0
    section: Json = {
        "num_solutions": len(found),
        "num_right": int(found.is_right.sum()),
        "num_wrong": int((~found.is_right).sum()),
        "num_problems": num_problems,
        "num_problems_with_several": int((np.bincount(found.problem) > 1).sum()),
        "num_problems_without_right": num_problems - len(np.unique(found.problem[found.is_right])),
        "left_out": {name: count for name, count in found.left_out.items() if count},
        "by_aggregate": _by_aggregate(found, num_problems, resamples, seed) if len(found) else {},
    }
    if steps is not None:
        section["sibling_pairs"] = _sibling_pairs(steps.densely(), resamples, seed)
    return section


def _by_aggregate(found: JudgedSolutions, num_problems: int, resamples: int, seed: int) -> Json:
    figures = [*(FIGURES[name] for name in RANKINGS), *DECISIONS]
    scored = {how: MeasuredRows.of(found.scored_by(how)) for how in AGGREGATIONS}
    measures = {
        how: Measure(rows, figures, num_problems=num_problems, most_groups=MOST_GROUPS) for how, rows in scored.items()
    }
    draws = Draws(num_problems, resamples, seed) if resamples and num_problems >= FEWEST_PROBLEMS else None
    if draws is not None:
        resample(list(measures.values()), draws)
    ordered = {
        how: order_sums(rows.raw_confidence, found.is_right, found.problem, num_problems)
        for how, rows in scored.items()
    }
    drawn = {} if draws is None else dict(zip(ordered, _drawn_together(draws, list(ordered.values())), strict=True))
    result: Json = {}
    for how, measure in measures.items():
        sums = ordered[how]
        orders = {name: float(value[0]) for name, value in _orders(sums.sum(axis=0)[None, :]).items()}
        values = measure.values | {name: None if np.isnan(value) else value for name, value in orders.items()}
        undefined = {name: reason.replace(" steps", " solutions") for name, reason in measure.undefined.items()}
        if not (np.bincount(found.problem) > 1).any():
            for name in _OF_SEVERAL:
                values[name], undefined[name] = None, "every problem has one solution: none is chosen among several"
        if np.isnan(orders["pairwise_accuracy"]):
            undefined["pairwise_accuracy"] = "no problem has both a right and a wrong solution"
        intervals = {name: interval.to_json() for name in measure.figures if (interval := measure.interval(name))}
        if draws is not None:
            orders_drawn = _orders(drawn[how])
            intervals |= {name: percentile(orders_drawn[name]).to_json() for name in ORDERS if values[name] is not None}
        result[how] = {**values, "intervals": intervals, "undefined": undefined}
    return result


def _drawn_together(draws: Draws, tables: list[FloatArray]) -> list[FloatArray]:
    """`Draws.sums` of each table, all drawn at once."""
    widths = np.cumsum([table.shape[1] for table in tables])
    return np.split(draws.sums(np.concatenate(tables, axis=1)), widths[:-1], axis=1)


def _orders(sums: FloatArray) -> dict[str, FloatArray]:
    """`sums` (R, 5) as figures (R,)."""
    return {
        "precision_at_1": ratio(sums[:, 0], sums[:, 2]),
        "ndcg": ratio(sums[:, 1], sums[:, 2]),
        "pairwise_accuracy": ratio(sums[:, 3], sums[:, 4]),
    }


def _sibling_pairs(steps: ScoredSteps, resamples: int, seed: int) -> Json:
    sums = sibling_sums(steps, steps.num_problems)
    won, pairs = sums.sum(axis=0) if len(sums) else (0.0, 0.0)
    result: Json = {"num_pairs": int(pairs), "accuracy": float(won / pairs) if pairs else None, "interval": None}
    with_pairs = sums[sums[:, 1] > 0]
    if resamples and len(with_pairs) >= FEWEST_PROBLEMS:
        drawn = Draws(len(sums), resamples, seed).sums(sums)
        result["interval"] = percentile(ratio(drawn[:, 0], drawn[:, 1])).to_json()
    return result
