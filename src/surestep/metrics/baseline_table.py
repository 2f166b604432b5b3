"""Baselines beside the model: their figures on the same steps, and which of them the model does not beat.

Knows confidences and labels of both; knows not how a baseline was made, which its `about` says. Differences are paired:
model and baseline are measured on the same resampled problems.

Legend: N steps, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surestep.metrics.columns import FloatArray
from surestep.metrics.figure_table import compute_figures
from surestep.metrics.intervals import intervals_json, percentile_interval
from surestep.metrics.predictions import Predictions
from surestep.metrics.presorted import PresortedRanking
from surestep.metrics.problem_sums import ProblemSums, ratio
from surestep.metrics.resamples import count_blocks
from surestep.metrics.section_draws import MOST_GROUPS, step_losses

COMPARED = ("mse", "nll", "auroc")
HIGHER_IS_BETTER = frozenset({"auroc"})

Json = dict[str, Any]
Draws = Mapping[str, FloatArray]


@dataclass(frozen=True, eq=False, slots=True)
class Baseline:
    """A predictor that the model has to beat.

    Attributes:
        name: short, for a table.
        about: what it knows and what it was fitted on, one sentence.
        confidence: shape (N,), in [0, 1], one for each step that the model scored.
    """

    name: str
    about: str
    confidence: FloatArray


def measure(
    baseline: Predictions, model: Json, model_draws: Draws | None, *, resamples: int, seed: int
) -> tuple[Json, dict[str, bool | None]]:
    """A baseline's figures on the steps of one section, and whether the model beats it.

    Args:
        baseline: the steps with the baseline's confidences.
        model: the model's section on the same steps.
        model_draws: `COMPARED` of the model, each (R,), from the same resamples; None where there are no intervals.
        resamples: R.
        seed: of the resamples.

    Returns:
        The figures, their `intervals` (of `COMPARED`) and `model_difference` (model less baseline: value, low, high);
        and for each of `COMPARED` whether the interval of the difference lies wholly on the model's side, None where
        there is none.
    """
    figures = compute_figures(baseline.confidence, baseline.label, problem=baseline.problem)
    section: Json = figures.to_json()
    beaten: dict[str, bool | None] = dict.fromkeys(COMPARED)
    if model_draws is None:
        return section, beaten
    draws = compared_draws(baseline, resamples=resamples, seed=seed)
    section["intervals"] = {
        name: found for name, found in intervals_json(draws).items() if figures.values[name] is not None
    }
    section["model_difference"] = differences = {}
    for name in COMPARED:
        ours, theirs = model[name], figures.values[name]
        if ours is None or theirs is None:
            continue
        interval = percentile_interval(model_draws[name] - draws[name])
        differences[name] = {"value": ours - theirs, **interval.to_json()}
        if interval.low is not None and interval.high is not None:
            beaten[name] = interval.low > 0.0 if name in HIGHER_IS_BETTER else interval.high < 0.0
    return section, beaten


def compared_draws(part: Predictions, *, resamples: int, seed: int) -> dict[str, FloatArray]:
    """`COMPARED` under resampled problems, each (R,), NaN where undefined."""
    problems, problem = np.unique(part.problem, return_inverse=True)
    problem = problem.astype(np.int64)
    sums = ProblemSums(problem, problems.size)
    sums.add("steps", np.ones(len(part)))
    losses = step_losses(part.confidence, part.label)
    for name in ("mse", "nll"):
        sums.add(name, losses[name])
    ranking = PresortedRanking(part.raw_confidence, part.label, problem, ("auroc",), most_groups=MOST_GROUPS)
    table = sums.table()
    products: list[FloatArray] = []
    auroc: list[FloatArray] = []
    for counts in count_blocks(problems.size, resamples=resamples, seed=seed):
        products.append(counts @ table)
        auroc.append(ranking(counts)["auroc"])
    found = sums.split(np.concatenate(products))
    return {
        **{name: ratio(found, name, "steps") for name in ("mse", "nll")},
        "auroc": np.concatenate(auroc) + ranking.shift["auroc"],
    }


def verdict(where: str, section: Json, rows: Sequence[tuple[str, Json]]) -> list[str]:
    """Sentences on one section: which baselines the model does not beat, and by what.

    Args:
        where: name of the dataset, or "overall".
        section: the model's, with `beats_baselines`.
        rows: name of each baseline and its section on the same steps.

    >>> verdict("a", {"auroc": 0.6, "beats_baselines": {"mean": {"mse": True, "nll": True, "auroc": True}}}, [])
    ['a: beats every baseline in MSE, NLL and AUROC.']
    """
    beaten: Mapping[str, Mapping[str, bool | None]] = section["beats_baselines"]
    if not beaten:
        return []
    figures = {name: dict(row) for name, row in rows}
    sentences = [
        _not_beaten(where, section, name, figure, figures[name])
        for name, result in beaten.items()
        for figure in COMPARED
        if result[figure] is False
    ]
    unknown = [figure for figure in COMPARED if all(result[figure] is None for result in beaten.values())]
    known = [figure for figure in COMPARED if figure not in unknown]
    if known and not sentences:
        sentences.append(f"{where}: beats every baseline in {_listed(figure.upper() for figure in known)}.")
    if unknown:
        reason = section.get("no_intervals") or "; ".join(section["undefined"].get(figure, "") for figure in unknown)
        sentences.append(
            f"{where}: no verdict in {_listed(figure.upper() for figure in unknown)}: "
            f"{reason or 'too few resamples have a value'}."
        )
    return sentences


def _not_beaten(where: str, section: Json, name: str, figure: str, row: Json) -> str:
    difference = row["model_difference"][figure]
    worse = difference["high"] < 0.0 if figure in HIGHER_IS_BETTER else difference["low"] > 0.0
    return (
        f"{where}: {'is worse than' if worse else 'does not beat'} {name} in {figure.upper()}: {section[figure]:.4f} "
        f"against {row[figure]:.4f}, difference {difference['value']:+.4f} "
        f"({difference['low']:+.4f} to {difference['high']:+.4f})."
    )


def _listed(words: Iterable[str]) -> str:
    """a, b and c."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
