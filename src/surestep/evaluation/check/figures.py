"""The figures of an evaluation against targets, each beside its constant baseline and what the labels allow.

Knows a report's sections; opens no file and measures nothing anew.
"""

from __future__ import annotations

from typing import Any

from surestep.evaluation.check.finding import Finding, Status
from surestep.evaluation.check.targets import SKILLS, Bound, Targets
from surestep.evaluation.results.same_data import OVERALL
from surestep.metrics.report.implied import implied_by, label_variance
from surestep.metrics.report.wording import figure as figure_text
from surestep.metrics.report.wording import interval_text

Section = dict[str, Any]


def check_figures(report: dict[str, Any], targets: Targets) -> list[Finding]:
    """One finding for each bound on each dataset, and on all together where there are several."""
    sections: dict[str, Section] = dict(report["per_dataset"])
    if len(sections) > 1 or OVERALL in targets.datasets:
        sections[OVERALL] = report["overall"]
    found = [
        _check(name, section, figure, bound, targets)
        for name, section in sections.items()
        for figure, bound in targets.bounds_of(name).items()
    ]
    unknown = sorted(set(targets.datasets) - set(sections))
    return found + [
        Finding(
            "figures",
            name,
            "fail",
            value="not evaluated",
            target="evaluated",
            detail=f"the targets name it; evaluated: {', '.join(report['per_dataset'])}",
            mend="evaluate it, or remove it from the targets file",
        )
        for name in unknown
    ]


def _check(name: str, section: Section, figure: str, bound: Bound, targets: Targets) -> Finding:
    value, constant, skill = _figure(section, figure), _of_constant(section, figure), _skill(section, figure)
    variance, best_mse = label_variance(section), _best_mse(section)
    implied = implied_by(figure, bound.value, variance=variance, best_mse=best_mse, plausible_r2=targets.plausible_r2)
    met = value is not None and bound.met_by(value)
    status: Status = "contradicts-data" if implied.contradicts else "pass" if met else "fail"
    interval = section.get("intervals", {}).get(figure)
    details = [
        _undefined(section, figure) if value is None else "",
        implied.reason,
        "met nevertheless: look for a leak before you believe it" if implied.contradicts and met else "",
        "the constant meets it too, so it shows nothing" if _constant_meets(bound, constant) else "",
        _interval_words(interval, bound),
    ]
    return Finding(
        "figures",
        f"{name} {figure}",
        status,
        value="undefined" if value is None else figure_text(value),
        target=str(bound),
        detail="; ".join(part for part in details if part),
        mend=_mend(name, figure, status),
        numbers={
            "dataset": name,
            "figure": figure,
            "value": value,
            "target": bound.value,
            "side": "max" if bound.max is not None else "min",
            "met": met,
            "constant": constant,
            "skill": skill,
            "label_variance": variance,
            "implied_r2": implied.r2,
            "best_mse": best_mse,
            "interval": interval,
        },
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _figure(section: Section, figure: str) -> float | None:
    if figure in SKILLS:
        return _number(section.get("skill", {}).get(figure.removeprefix("skill_")))
    return _number(section.get(figure))


def _of_constant(section: Section, figure: str) -> float | None:
    return 0.0 if figure in SKILLS else _number(section.get("constant_baseline", {}).get(figure))


def _skill(section: Section, figure: str) -> float | None:
    """1 − figure / figure of the constant; None where 0 is not the perfect value, or the constant's is 0."""
    if figure in SKILLS:
        return _figure(section, figure)
    value, constant = _number(section.get(figure)), _of_constant(section, figure)
    if figure not in {"mse", "mae", "nll", "brier"} or value is None or not constant:
        return None
    return 1.0 - value / constant


def _best_mse(section: Section) -> float | None:
    """MSE of the true probabilities, where they are known of every step."""
    truth = section.get("truth")
    if not isinstance(truth, dict) or truth.get("num_steps_without_truth") != 0:
        return None
    return _number(truth.get("best_mse"))


def _constant_meets(bound: Bound, constant: float | None) -> bool:
    return constant is not None and bound.met_by(constant)


def _interval_words(interval: object, bound: Bound) -> str:
    if not isinstance(interval, dict):
        return ""
    low, high = _number(interval.get("low")), _number(interval.get("high"))
    if low is None or high is None:
        return ""
    across = bound.met_by(low) != bound.met_by(high)
    return f"95 % interval {interval_text((low, high), 4, minus='-')}" + (
        ", which the target lies within" if across else ""
    )


def _undefined(section: Section, figure: str) -> str:
    name = figure.removeprefix("skill_")
    reasons = (section.get("skill", {}) if figure in SKILLS else section).get("undefined", {})
    return str(reasons.get(name) or "the evaluation does not hold it; evaluate again")


def _mend(name: str, figure: str, status: Status) -> str:
    if status == "contradicts-data":
        return f"state a target that this data allows (datasets.{name}.{figure} in --targets FILE)"
    if status != "fail":
        return ""
    if figure.startswith("ece"):
        return "read the reliability table; fit a calibration map on validation data"
    return "train longer or on more data like this, or lower the learning rate; read the worst errors first"
