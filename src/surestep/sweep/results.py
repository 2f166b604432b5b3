"""What a sweep found: a row for each trial, the best one, which others it cannot be told from, and its edges.

Knows trials and numbers; draws and prints nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from surestep.sweep.plan import SweepPlan
from surestep.sweep.slots import KILLS, REASON, RUNS_DONE, SAME_AS, VALUES, latest_by_slot

LEVEL = 0.95
State = Literal["complete", "pruned", "failed", "running", "waiting"]
_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def mean_interval(values: Sequence[float], *, level: float = LEVEL) -> tuple[float, float] | None:
    """The interval of a mean by Student's t, which holds for few values if they are about normal; None for one value.

    >>> mean_interval([0.5]) is None, [round(end, 3) for end in mean_interval([0.4, 0.5, 0.6])]
    (True, [0.252, 0.748])
    """
    if len(values) < 2:
        return None
    from scipy.stats import t  # takes a moment to import

    half = float(t.ppf(0.5 + level / 2, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def results_of(plan: SweepPlan, study: optuna.Study) -> dict[str, Any]:
    """Everything that is known of a sweep so far, as JSON-ready values, the best trials first."""
    rows = [_row(number, trial) for number, trial in latest_by_slot(study).items()]
    complete = sorted(
        (row for row in rows if row["state"] == "complete"),
        key=lambda row: row["mean"] if plan.lower_is_better else -row["mean"],
    )
    rest = [row for row in rows if row["state"] != "complete"]
    own = [row for row in complete if row["same_as"] is None]
    counts = {state: sum(row["state"] == state for row in rows) for state in _STATES.values()}
    return {
        "name": plan.name,
        "metric": plan.metric,
        "better": "lower" if plan.lower_is_better else "higher",
        "level": LEVEL,
        "sampler": plan.sampler,
        "space": plan.space.to_json(),
        "seeds": plan.seeds,
        "counts": counts,
        "best": _best(plan, own) if own else None,
        "trials": complete + rest,
    }


def _row(number: int, trial: FrozenTrial) -> dict[str, Any]:
    carried, state = trial.user_attrs, _STATES[trial.state]
    runs = [dict(run) for run in carried.get(RUNS_DONE, [])]
    found = [float(run["value"]) for run in runs]
    is_complete = state == "complete"
    interval = mean_interval(found) if is_complete else None
    reason = carried.get(REASON)
    if state == "failed" and reason is None:
        reason = f"its worker was killed, {carried.get(KILLS, 0) + 1} times in all"
    last = None if trial.last_step is None else trial.intermediate_values[trial.last_step]
    return {
        "trial": number,
        "state": state,
        "values": dict(carried.get(VALUES, {})),
        "mean": fmean(found) if is_complete else None,
        "interval": None if interval is None else {"low": interval[0], "high": interval[1]},
        "last_value": None if is_complete else last,
        "held_out": _held_out(runs) if is_complete else None,
        "runs": runs,
        "same_as": carried.get(SAME_AS),
        "reason": reason,
    }


def _held_out(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The figure on the whole validation set: of one run with its interval over problems, else the mean of the runs."""
    known = [run["held_out"] for run in runs if run["held_out"] is not None]
    if len(known) != len(runs) or not known:
        return None
    if len(known) == 1:
        return dict(known[0])
    found = [float(one["value"]) for one in known]
    low, high = mean_interval(found) or (None, None)
    return {"value": fmean(found), "low": low, "high": high}


def _best(plan: SweepPlan, complete: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The best trial, with what can be said against it."""
    best = complete[0]
    equal = sorted(row["trial"] for row in complete[1:] if not _is_told_apart(best, row))
    return {
        "trial": best["trial"],
        "values": best["values"],
        "mean": best["mean"],
        "interval": best["interval"],
        "edges": plan.space.edges(plan.base, best["values"]),
        "not_told_apart_from": equal if plan.num_seeds > 1 else None,
    }


def _is_told_apart(best: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether the interval of their difference, seed by seed, leaves out 0."""
    of_other = {run["seed"]: run["value"] for run in other["runs"]}
    both = [run["value"] - of_other[run["seed"]] for run in best["runs"] if run["seed"] in of_other]
    interval = mean_interval(both)
    return interval is not None and not interval[0] <= 0.0 <= interval[1]


def remarks(plan: SweepPlan, results: Mapping[str, Any]) -> list[str]:
    """What a reader of the table must know, one sentence each."""
    best = results["best"]
    if best is None:
        return ["no trial is complete yet, so there is no best one"]
    said = [
        f"the best one is at the {'lower' if edge == 'low' else 'upper'} edge of {path} "
        f"({plan.space.values[path]}): a better one may lie beyond; widen it in another sweep"
        for path, edge in best["edges"].items()
    ]
    equal = best["not_told_apart_from"]
    if equal:
        said.append(
            f"trial {best['trial']} cannot be told from {_listed(equal)}: the 95 % interval of their difference, seed "
            "by seed, holds 0"
        )
    if plan.num_seeds == 1:
        said.append("one run a trial: seeds alone may make such differences; --seeds 3 in a new sweep repeats each")
    if sum(results["counts"].values()) > 1:
        said.append("the best of many looks better than it is: measure it with `surestep evaluate` on the test split")
    return said


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
    return f"trial {shown}" if len(numbers) == 1 else f"trials {shown}{more}"
