"""Results as tables."""

from __future__ import annotations

from typing import Any

from surestep.cli.output.fitted_table import FittedTable
from surestep.counted import counted
from surestep.metrics.figures import FIGURES, in_tables
from surestep.metrics.report.assessment import few_problems, too_few
from surestep.metrics.report.truth import regret_rows
from surestep.metrics.report.wording import SKILL, ends_of, number, plus_minus, with_interval

_BASELINE_COLUMNS = ("mse", "nll", "auroc", "ece", "r2", "spearman")


def metrics_table(report: dict[str, Any], *, title: str) -> FittedTable:
    """The figures of each dataset, with half of their interval, and of all together where there are several."""
    table = FittedTable(title)
    sections = list(report["per_dataset"].items())
    if len(sections) != 1:
        sections.append(("overall", report["overall"]))
    table.add_columns_of(*(name for name, _ in sections), first="figure")
    table.add_cells("labelled steps", *(f"{section['num_steps']:,}" for _, section in sections))
    table.add_cells("problems", *(f"{section['num_problems']:,}" for _, section in sections))
    for name in in_tables():
        table.add_cells(FIGURES[name].title, *(plus_minus(s.get(name), ends_of(s, name)) for _, s in sections))
    table.add_cells("skill", *(plus_minus(s["skill"]["mse"], ends_of(s["skill"], "mse")) for _, s in sections))
    constants = [section[section["skill"].get("against", "constant_baseline")] for _, section in sections]
    for name in ("mse", "nll"):
        title_of = f"{FIGURES[name].title} of a constant"
        table.add_cells(title_of, *(number(c.get(name), minus="-") for c in constants), style="dim")
    remarks = ["± half of the 95 % interval, by bootstrap over problems", f"skill: {SKILL}"]
    if len(sections) > 1:
        mean = number(report["overall"]["r2_mean_per_dataset"], minus="-")
        remarks.append(f"overall R² mostly tells the datasets apart (mean of their own: {mean})")
    table.remark = "; ".join(remarks)
    return table


def baselines_table(report: dict[str, Any]) -> FittedTable | None:
    """Each baseline beside the model, per dataset and overall; None where there is no baseline.

    A figure that the model does not beat is marked with an asterisk.
    """
    if not report.get("baselines"):
        return None
    table = FittedTable("baselines (* not beaten by the model)")
    table.add_columns_of(*(FIGURES[name].title for name in _BASELINE_COLUMNS), first="scorer")
    several = len(report["per_dataset"]) > 1
    few: list[str] = []
    for name in [*report["per_dataset"], *([None] if several else [])]:
        section = report["overall"] if name is None else report["per_dataset"][name]
        if not section["num_steps"]:
            continue
        where = "overall" if name is None else name
        within = f"{where}: " if several else ""
        table.add_cells(f"{within}model", *(_marked(section, {}, column) for column in _BASELINE_COLUMNS), style="bold")
        for row in report["baselines"]:
            values = row if name is None else row["per_dataset"][name]
            beaten = section["beats_baselines"][row["name"]]
            label = f"{'  ' if several else ''}{row['name']}"
            table.add_cells(label, *(_marked(values, beaten, column) for column in _BASELINE_COLUMNS))
        if too_few(section["num_problems"]):
            few.append(f"{where}: {few_problems(section['num_problems'])}")
    table.remark = "; ".join(few) or None
    return table


def _figure(value: float | None) -> str:
    return number(value, minus="-")


def _marked(values: dict[str, Any], beaten: dict[str, bool | None], column: str) -> str:
    return number(values[column], minus="-") + ("*" if beaten.get(column) is False else " ")


def regret_lines(report: dict[str, Any]) -> list[str]:
    """Regret to the known truth, overall and in each part of the data, one line each; none where no truth is known."""
    return [
        f"{row['part']}: regret of clean steps {_regret(row, 'regret_clean')}, "
        f"of noisy ones {_regret(row, 'regret_noisy')}"
        for row in regret_rows(report["overall"])
    ]


def _regret(row: dict[str, Any], name: str) -> str:
    return with_interval(row[name], ends_of(row, name))


def scorer_lines(report: dict[str, Any]) -> list[str]:
    """What a report says of scoring itself: its cost, and what became of a critic's votes."""
    lines = [_cost_line(report["cost"])] if "cost" in report else []
    if votes := report.get("votes"):
        lines.append(
            f"{counted(votes['asked'], 'vote')}, {votes['unreadable']:,} of them unreadable; solutions without a "
            f"readable vote: {votes['solutions_without_vote']:,}, refused as too long: {votes['solutions_refused']:,}"
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
    return (
        f"scoring took {seconds:,.1f} s for {counted(steps, 'step')}{each}; tokens read: {read}, written: "
        f"{written}{a_step}"
    )


def calibration_line(found: dict[str, Any]) -> str:
    """What the calibration of a checkpoint did to its figures, from `calibration` of a report.

    >>> calibration_line({"stored": False, "applied": "none"})
    'no calibration is stored: `surestep calibrate` fits one on validation'
    """
    if not found["stored"] and (parts := found.get("miscalibrated_by")):
        return (
            f"no calibration is stored, and the loss that it was trained with ({', '.join(parts)}) is not lowest at "
            "the mean label: read its confidences as a ranking until `surestep calibrate` has fitted a map"
        )
    if not found["stored"]:
        return "no calibration is stored: `surestep calibrate` fits one on validation"
    if found["applied"] == "none":
        return "the stored calibration was not applied (--calibration none)"
    before, after = found["before"]["overall"], found["after"]["overall"]
    changes = ", ".join(
        f"{FIGURES[name].title} {_figure(before[name])} -> {_figure(after[name])}" for name in ("nll", "ece", "mse")
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
