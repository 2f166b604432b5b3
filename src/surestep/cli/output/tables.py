"""Results as tables."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

from surestep.metrics.figures import in_tables
from surestep.metrics.report.assessment import few_problems, too_few
from surestep.metrics.report.wording import ends_of, figure, with_interval

_BASELINE_COLUMNS = ("mse", "nll", "auroc", "ece", "r2", "spearman")


def metrics_table(report: dict[str, Any], *, title: str) -> Table:
    """Figures of each dataset with their intervals, its constant baseline and the skill over it, then overall.

    Fits into 100 columns.
    """
    columns = in_tables()
    table = Table(title=title, box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("dataset")
    for name in ("steps", "problems", *columns, "skill"):
        table.add_column(name, justify="right", no_wrap=True)
    sections = [*report["per_dataset"].items(), ("overall", report["overall"])]
    for name, section in sections:
        table.add_row(
            name,
            f"{section['num_steps']:,}",
            f"{section['num_problems']:,}",
            *(figure(section.get(column)) for column in columns),
            figure(section["skill"]["mse"]),
        )
        intervals = section.get("intervals", {})
        skill = section["skill"].get("intervals", {}).get("mse", {})
        for end, label in (("low", "  95 % from"), ("high", "         to")):
            if intervals:
                ends = (figure(intervals.get(column, {}).get(end)) for column in columns)
                table.add_row(label, "", "", *ends, figure(skill.get(end)), style="cyan")
        baseline = section[section["skill"].get("against", "constant_baseline")]
        table.add_row("  constant", "", "", *(figure(baseline.get(column)) for column in columns), "", style="dim")
    table.caption = (
        "95 % intervals by bootstrap over problems; skill: 1 - MSE / MSE of the dataset's own constant; overall R² "
        "over a mixture mostly measures which dataset a step came from (mean of the datasets' own: "
        f"{figure(report['overall']['r2_mean_per_dataset'])})"
    )
    return table


def baselines_table(report: dict[str, Any]) -> Table | None:
    """Each baseline beside the model, per dataset and overall; None where there is no baseline.

    A figure that the model does not beat is marked with an asterisk.
    """
    if not report.get("baselines"):
        return None
    table = Table(title="baselines (* not beaten by the model)", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("dataset")
    table.add_column("predictor")
    for name in _BASELINE_COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    several = len(report["per_dataset"]) > 1
    few: list[str] = []
    for name in [*report["per_dataset"], *([None] if several else [])]:
        section = report["overall"] if name is None else report["per_dataset"][name]
        if not section["num_steps"]:
            continue
        where = "overall" if name is None else name
        table.add_row(where, "model", *(figure(section[column]) for column in _BASELINE_COLUMNS), style="bold")
        for row in report["baselines"]:
            values = row if name is None else row["per_dataset"][name]
            beaten = section["beats_baselines"][row["name"]]
            table.add_row("", row["name"], *(_marked(values, beaten, column) for column in _BASELINE_COLUMNS))
        if too_few(section["num_problems"]):
            few.append(f"{where}: {few_problems(section['num_problems'])}")
    table.caption = "; ".join(few) or None
    return table


def _marked(values: dict[str, Any], beaten: dict[str, bool | None], column: str) -> str:
    return figure(values[column]) + ("*" if beaten.get(column) is False else " ")


def regret_lines(report: dict[str, Any]) -> list[str]:
    """Regret to the known truth in each part of the data, one line each; none where no truth is known by part."""
    return [
        f"{row['part']}: regret of clean steps {_regret(row, 'regret_clean')}, "
        f"of noisy ones {_regret(row, 'regret_noisy')}"
        for row in report["overall"].get("truth_by_part", ())
    ]


def _regret(row: dict[str, Any], name: str) -> str:
    return with_interval(row[name], ends_of(row, name))


def scorer_lines(report: dict[str, Any]) -> list[str]:
    """What a report says of scoring itself: its cost, and what became of a critic's votes."""
    lines = [_cost_line(report["cost"])] if "cost" in report else []
    if votes := report.get("votes"):
        lines.append(
            f"{votes['asked']:,} votes, {votes['unreadable']:,} of them unreadable; solutions without a readable vote: "
            f"{votes['solutions_without_vote']:,}, refused as too long: {votes['solutions_refused']:,}"
        )
    return lines


def _cost_line(cost: dict[str, Any]) -> str:
    """What scoring took, from `cost` of a report, and by how many tokens and seconds for a thousand steps.

    >>> _cost_line({"seconds": 2.0, "trees": 3, "steps": 10, "tokens_read": 500, "tokens_written": 0})
    'scoring took 2.0 s for 10 steps (200.0 s for 1,000); tokens read: 500, written: 0 (50.0 a step)'
    """
    steps, seconds = cost["steps"], cost["seconds"]
    each = f" ({1000 * seconds / steps:,.1f} s for 1,000)" if steps else ""
    counts = [cost["tokens_read"], cost["tokens_written"]]
    read, written = ("unknown" if count is None else f"{count:,}" for count in counts)
    known = [count for count in counts if count is not None]
    a_step = f" ({sum(known) / steps:,.1f} a step)" if steps and len(known) == 2 else ""
    return f"scoring took {seconds:,.1f} s for {steps:,} steps{each}; tokens read: {read}, written: {written}{a_step}"


def calibration_line(found: dict[str, Any]) -> str:
    """What the calibration of a checkpoint did to its figures, from `calibration` of a report.

    >>> calibration_line({"stored": False, "applied": "none"})
    'no calibration is stored: `surestep calibrate` fits one on validation'
    """
    if not found["stored"]:
        return "no calibration is stored: `surestep calibrate` fits one on validation"
    if found["applied"] == "none":
        return "the stored calibration was not applied (--calibration none)"
    before, after = found["before"]["overall"], found["after"]["overall"]
    changes = ", ".join(
        f"{name.upper()} {figure(before[name])} -> {figure(after[name])}" for name in ("nll", "ece", "mse")
    )
    own = [name for name, which in found["used"].items() if which == "own"]
    which = f", but {', '.join(own)} by their own" if own else ""
    line = f"calibrated by the pooled map ({found['maps']['pooled']['kind']}){which}: {changes}"
    if not found["fitted_on_these"]:
        return line
    seen = ", ".join(found["fitted_on_these"])
    return (
        f"{line}; too good on {seen}, for the map was fitted on these very steps (`surestep calibrate` shows "
        "held-out figures)"
    )
