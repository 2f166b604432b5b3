"""Evaluations side by side: one table by one figure, and which differences are real.

A difference is measured on the steps that both runs scored, with a paired bootstrap over problems; see
`metrics.paired`. Runs on different splits or data are refused unless that is asked for, and then said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from surestep.errors import ConfigError
from surestep.evaluation.compare.join import difference_of, read_keyed, section_of
from surestep.evaluation.results.find import FoundEvaluation
from surestep.evaluation.results.same_data import OVERALL, differences_of_data, unknown_data
from surestep.metrics.bootstrap.draws import DEFAULT_RESAMPLES
from surestep.metrics.bootstrap.interval import DEFAULT_LEVEL
from surestep.metrics.figures import FIGURES, with_direction
from surestep.metrics.report.assessment import few_problems, too_few
from surestep.metrics.report.wording import with_interval

PULLED_TO_ZERO = frozenset({"ece", "ece_equal_mass"})
"""Figures whose plain estimates are biased toward each other
(docs/experiments/2026-11-23-differences-leaks-probes.md)."""

Json = dict[str, Any]


def compare_runs(
    runs: Sequence[FoundEvaluation],
    *,
    sort: str,
    dataset: str = OVERALL,
    allow_different: bool = False,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Json:
    """All runs in order of `sort`, each with its difference to the best and a verdict in words.

    Args:
        runs: at least one.
        sort: a key of `FIGURES`.
        dataset: the section that is compared.
        allow_different: compare runs of different splits or data too; `notes` then says what differs.
        resamples: of the paired bootstrap.
        seed: of its draws.

    Returns:
        `sort`, `better`, `dataset`, `best`, `level`, `resamples`, `seed`, `runs` (name, path, split, step, figures,
        scorer, calibration, cost, difference, verdict) and `notes`.

    Raises:
        ConfigError: a run has no such dataset, or runs differ in split or data.
        DataError: a predictions file is malformed.
    """
    sections = [section_of(run, dataset) for run in runs]
    notes = differences_of_data(runs, dataset)
    if notes and not allow_different:
        raise ConfigError(
            [f"not the same data: {note}" for note in notes]
            + ["compare runs of one split and one set of files, or add --allow_different to see them anyway"]
        )
    notes = [f"NOT the same data: {note}" for note in notes] + unknown_data(runs, dataset)
    sign = -1.0 if FIGURES[sort].direction == "higher" else 1.0

    def rank(index: int) -> tuple[bool, float]:
        value = sections[index].get(sort)
        return value is None, 0.0 if value is None else sign * value

    order = sorted(range(len(runs)), key=rank)
    best = runs[order[0]]
    keyed_best = read_keyed(best, dataset) if len(runs) > 1 else None
    rows = []
    for place, index in enumerate(order):
        run, section = runs[index], sections[index]
        mine = None if keyed_best is None else read_keyed(run, dataset) if place else keyed_best
        read = run.predictions if mine is None or mine.path is None else mine.path
        row: Json = {
            "name": run.name,
            "path": str(run.path),
            "predictions": None if read is None else str(read),
            "split": run.split,
            "checkpoint": run.report.get("checkpoint"),
            "scorer": run.part("scorer") or None,
            "calibration": run.part("calibration").get("applied"),
            "cost": run.part("cost") or None,
            "step": run.step,
            "num_steps": section.get("num_steps"),
            "num_problems": section.get("num_problems"),
            "figures": {name: section.get(name) for name in FIGURES},
            "difference": None,
            "verdict": "best",
        }
        if place and mine is not None and keyed_best is not None:
            row["difference"] = difference_of(sort, mine, keyed_best, resamples=resamples, seed=seed)
            row["verdict"] = _verdict(sort, row["difference"], sign)
        rows.append(row)
    if len(runs) > 1 and sort in PULLED_TO_ZERO:
        notes.append(
            f"a difference of {sort} is understated, since the plain estimate is biased upward, and more so for the "
            "better run: read whether it is real, not how large it is"
        )
    if len(runs) > 2:
        notes.append(
            "each interval is for one comparison, and the best was picked on the same data: among many runs a few "
            "differences look real by chance"
        )
    return {
        "sort": sort,
        "better": FIGURES[sort].direction,
        "dataset": dataset,
        "best": best.name,
        "level": DEFAULT_LEVEL,
        "resamples": resamples,
        "seed": seed,
        "runs": rows,
        "notes": notes,
    }


def _verdict(sort: str, difference: Json, sign: float) -> str:
    counted = [
        f"{difference[name]:,} {words}"
        for name, words in (
            ("unmatched", "steps of this run are not among the best's"),
            ("unmatched_of_best", "of the best's are not among this run's"),
            ("labels_differ", "matched steps have other labels and were left out"),
        )
        if difference.get(name)
    ]
    said = "".join(f"; {part}" for part in counted)
    if difference["is_real"] is None:
        return f"no difference is given: {difference['why']}{said}"
    value, low, high = difference["difference"], difference["low"], difference["high"]
    figures = f"{sort} {with_interval(value, (low, high), sign='+')}"
    if too_few(difference["num_problems"]):
        return f"{few_problems(difference['num_problems'])}: {figures}{said}"
    if not difference["is_real"]:
        return f"no difference to the best is shown: {figures} covers 0{said}"
    return f"{'worse' if sign * value > 0 else 'better'} than the best on the same steps: {figures}{said}"


def check_sort(name: str) -> str:
    """`name` where it is a figure whose direction is known.

    Raises:
        ConfigError: it is not.
    """
    allowed = with_direction()
    if name not in allowed:
        why = "has no better and worse" if name in FIGURES else "is no figure"
        raise ConfigError(f"--sort: {name!r} {why}; allowed: {', '.join(allowed)}")
    return name
