"""Figures against targets: pass, fail, and targets that the data cannot give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surestep.evaluation.check.checklist import CheckResult
from surestep.evaluation.check.figures import check_figures
from surestep.evaluation.check.finding import Finding
from surestep.evaluation.check.targets import Bound, Targets, load_targets
from surestep.metrics.report import build_report
from surestep.scored import ScoredSteps


def report_of(error: float, *, values: tuple[float, ...] = (0.0, 1.0), truth: bool = False, size: int = 4000) -> Any:
    """A scorer of two datasets that is off by `error` everywhere; labels drawn from `values`."""
    label = np.random.default_rng(2).choice(values, size)
    return build_report(
        ScoredSteps.of_columns(
            confidence=np.abs(label - error),
            label=label,
            dataset=(np.arange(size) % 2).astype(int),
            dataset_names=("one", "two"),
            problem=np.arange(size) % 200,
            position=np.ones(size, int),
            true_confidence=np.full(size, 0.5) if truth else None,
        )
    )


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def targets_of(**changes: Any) -> Targets:
    return Targets.model_validate({**load_targets("production").model_dump(), **changes})


def test_each_dataset_and_all_together_are_judged() -> None:
    found = by_name(check_figures(report_of(0.02), load_targets("quick")))
    assert set(found) == {
        f"{name} {figure}" for name in ("one", "two", "overall") for figure in ("mse", "mae", "r2", "ece")
    }
    assert {finding.status for finding in found.values()} == {"pass"}
    assert {f.status for f in check_figures(report_of(0.4), load_targets("quick"))} == {"fail"}


def test_a_target_beyond_the_data_is_marked_whether_met_or_not() -> None:
    for error, met in ((0.3, False), (0.02, True)):
        finding = by_name(check_figures(report_of(error), load_targets("production")))["one mse"]
        assert finding.status == "contradicts-data"
        assert finding.numbers["met"] is met
        assert finding.numbers["implied_r2"] == pytest.approx(1 - 0.015 / 0.25, abs=1e-3)
        assert "it needs R² ≥ 0.94" in finding.detail
        assert ("look for a leak" in finding.detail) is met
        assert "--targets FILE" in finding.mend


def test_a_contradiction_is_no_pass_unless_allowed() -> None:
    report = report_of(0.02)
    for rule, passed in (("fail", False), ("allow", True)):
        targets = targets_of(contradictions=rule)
        result = CheckResult(Path("x"), targets, findings=check_figures(report, targets))
        assert (result.count("fail"), result.count("contradicts-data")) == (0, 3)
        assert result.passed is passed


def test_the_known_truth_replaces_the_convention() -> None:
    # Labels that are coin tosses: the true probabilities have an MSE of 0.25, all of the variance.
    finding = by_name(check_figures(report_of(0.02, truth=True), load_targets("quick")))["one r2"]
    assert finding.status == "contradicts-data"
    assert "true probabilities have 0.2500" in finding.detail


def test_beside_a_target_stand_the_constant_and_the_skill() -> None:
    finding = by_name(check_figures(report_of(0.3), load_targets("quick")))["two mae"]
    assert finding.numbers["constant"] == pytest.approx(0.5, abs=0.01)
    assert finding.numbers["skill"] == pytest.approx(1 - 0.3 / 0.5, abs=0.01)
    skill = check_figures(report_of(0.3), targets_of(figures={"skill_mse": {"min": 0.5}}))[0]
    assert (skill.status, skill.numbers["constant"]) == ("pass", 0.0)


def test_a_target_that_the_constant_meets_says_so() -> None:
    finding = by_name(check_figures(report_of(0.3, values=(0.9, 1.0)), load_targets("quick")))["one mse"]
    assert "the constant meets it too" in finding.detail


def test_an_undefined_figure_is_a_failure_with_its_reason() -> None:
    finding = by_name(check_figures(report_of(0.1, values=(1.0,)), load_targets("quick")))["one r2"]
    assert (finding.status, finding.value) == ("fail", "undefined")
    assert "no variance to explain" in finding.detail


def test_an_interval_across_the_target_is_said() -> None:
    report = report_of(0.19)
    report["per_dataset"]["one"]["intervals"] = {"mse": {"low": 0.03, "high": 0.05}}
    finding = by_name(check_figures(report, load_targets("quick")))["one mse"]
    assert finding.status == "pass"
    assert "95 % interval 0.0300 to 0.0500, which the target lies within" in finding.detail


def test_a_dataset_of_the_targets_that_was_not_evaluated_fails() -> None:
    targets = targets_of(datasets={"maps": {"mse": Bound(max=1).model_dump()}})
    finding = by_name(check_figures(report_of(0.1), targets))["maps"]
    assert (finding.status, finding.value) == ("fail", "not evaluated")
