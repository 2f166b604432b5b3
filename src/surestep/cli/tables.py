"""Results as tables."""

from __future__ import annotations

from typing import Any

from rich.table import Table

_COLUMNS = ("mse", "mae", "r2", "ece", "nll", "auroc", "accuracy")


def metrics_table(report: dict[str, Any], *, title: str) -> Table:
    """Figures of each dataset, its constant baseline and the skill over it, then overall."""
    table = Table(title=title)
    table.add_column("dataset")
    for name in ("steps", "problems", *_COLUMNS, "skill"):
        table.add_column(name, justify="right")
    sections = [*report["per_dataset"].items(), ("overall", report["overall"])]
    for name, section in sections:
        table.add_row(
            name,
            f"{section['num_steps']:,}",
            f"{section['num_problems']:,}",
            *(figure(section[column]) for column in _COLUMNS),
            figure(section["skill"]["mse"]),
        )
        baseline = section["constant_baseline"]
        table.add_row("  constant", "", "", *(figure(baseline.get(column)) for column in _COLUMNS), "", style="dim")
    table.caption = (
        "skill: 1 - MSE / MSE of the constant; overall R² over a mixture mostly measures which dataset a step "
        f"came from (mean of the datasets' own: {figure(report['overall']['r2_mean_per_dataset'])})"
    )
    return table


def figure(value: float | None) -> str:
    """Four decimals, or a dash where the figure is undefined."""
    return "–" if value is None else f"{value:.4f}"


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
