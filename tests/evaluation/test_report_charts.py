"""The numbers behind the charts, against plain loops, and that both renderings hold them."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import make_rows
from surestep.evaluation.report.charts import confidence as report_charts
from surestep.evaluation.report.charts import positions as report_positions
from surestep.evaluation.report.charts import risk_coverage as report_risk_charts
from surestep.evaluation.report.charts.chart import Bars, Chart, Line, Points, axis, count_axis
from surestep.evaluation.report.charts.group_means import group_means
from surestep.evaluation.report.charts.png import write_png
from surestep.evaluation.report.charts.run import mixture, training_curve
from surestep.evaluation.report.charts.svg import to_svg
from surestep.metrics.report import build_report
from surestep.scored import ScoredSteps
from surestep.scoring.predictions_file import steps_of_rows

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def predictions() -> ScoredSteps:
    return steps_of_rows((row, None) for row in make_rows(60)).measured()


def marks_of(chart: Chart, kind: type, panel: int = 0) -> list[Any]:
    return [mark for mark in chart.panels[panel].marks if isinstance(mark, kind)]


@pytest.fixture(scope="module")
def charts(predictions: ScoredSteps) -> dict[str, Chart]:
    report: Any = build_report(predictions)
    groups = report_positions.position_groups({}, predictions)
    by_dataset = report_risk_charts.risk_coverage_by_dataset(predictions)
    assert by_dataset is not None
    found = [
        report_charts.reliability("reliability", "All", report["overall"], predictions),
        report_charts.reliability_equal_counts("equal", "All", report["overall"]),
        report_charts.histogram(predictions),
        report_risk_charts.risk_coverage(predictions),
        by_dataset,
        report_positions.error_by_position(groups),
        report_positions.label_by_position(groups),
    ]
    return {chart.name: chart for chart in found}


def test_the_histogram_counts_every_step_once(charts: dict[str, Chart], predictions: ScoredSteps) -> None:
    wrong, right = marks_of(charts["confidence_histogram"], Bars)
    assert sum(wrong.top) == (predictions.label < 0.5).sum()
    assert right.top[-1] == (predictions.confidence >= 0.95).sum()
    assert sum(right.top) == len(predictions)


def test_the_reliability_dots_are_those_of_the_report(charts: dict[str, Chart], predictions: ScoredSteps) -> None:
    (dots,) = marks_of(charts["reliability"], Points)
    inside = (predictions.confidence >= 0.9) & (predictions.confidence <= 1.0)
    assert dots.y[-1] == pytest.approx(predictions.label[inside].mean())
    assert dots.low[-1] < dots.y[-1] < dots.high[-1]
    (counts,) = marks_of(charts["reliability"], Bars, 1)
    assert sum(counts.top) == len(predictions)


def test_the_errors_by_position_are_the_means_of_a_plain_loop(
    charts: dict[str, Chart], predictions: ScoredSteps
) -> None:
    (dots,) = marks_of(charts["error_by_position"], Points)
    for at, value in zip(dots.x, dots.y, strict=True):
        errors = [
            (c - y) ** 2
            for c, y, p in zip(predictions.confidence, predictions.label, predictions.position, strict=True)
            if p == at
        ]
        assert value == pytest.approx(sum(errors) / len(errors))


def test_late_positions_are_one_group(predictions: ScoredSteps) -> None:
    shifted = ScoredSteps.of_columns(
        confidence=predictions.confidence,
        label=predictions.label,
        dataset=predictions.dataset,
        dataset_names=predictions.dataset_names,
        problem=predictions.problem,
        position=predictions.position + 18,
    )
    chart = report_positions.error_by_position(report_positions.position_groups({}, shifted))
    assert [row[0] for row in chart.rows] == ["19", "20+"]
    assert sum(int(row[1]) for row in chart.rows) == len(predictions)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.sampled_from([0.0, 0.5, 1.0])), min_size=1))
def test_risk_is_the_mean_over_all_orders_of_equal_steps(steps: list[tuple[float, float]]) -> None:
    confidence, label = (np.array(column, np.float64) for column in zip(*steps, strict=True))
    coverage, risk = report_risk_charts.risk_coverage_curve(confidence, label)
    for share, value in zip(coverage, risk, strict=True):
        count = max(1, math.ceil(share * len(steps) - 1e-9))
        kept = 0.0
        for level in sorted(set(confidence), reverse=True):
            group = label[confidence == level]
            taken = min(len(group), count)
            kept += taken * group.mean()
            count -= taken
        total = max(1, math.ceil(share * len(steps) - 1e-9))
        assert value == pytest.approx(1 - kept / total)


def test_the_best_possible_order_is_never_worse(charts: dict[str, Chart]) -> None:
    _, best, model = marks_of(charts["risk_coverage"], Line)
    assert all(b <= m + 1e-12 for b, m in zip(best.y, model.y, strict=True))
    assert best.y[-1] == pytest.approx(model.y[-1])


@pytest.mark.slow
def test_intervals_of_groups_cover_a_known_mean() -> None:
    """95 % intervals over problems: of 200 made data sets, between 90 and 99 % must hold the true mean."""
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        problem = np.repeat(np.arange(80), 4)
        values = 0.5 + rng.normal(0, 0.2, 80)[problem] + rng.normal(0, 0.1, 320)
        found = group_means(values, np.zeros(320, np.int64), problem, num_groups=1)
        covered += found.low_K[0] <= 0.5 <= found.high_K[0]
    assert 180 <= covered <= 198


@pytest.mark.slow
def test_both_renderings_hold_every_mark(drawn_plots: None, charts: dict[str, Chart], tmp_path: Path) -> None:
    for chart in charts.values():
        svg = ElementTree.fromstring(to_svg(chart).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
        texts = [element.text for element in svg.iter(f"{SVG}text")]
        assert chart.x.label in texts
        for panel in chart.panels:
            assert panel.y.label in texts
        dots = sum(len(mark.x) for panel in chart.panels for mark in panel.marks if isinstance(mark, Points))
        assert len(list(svg.iter(f"{SVG}circle"))) == dots
        assert not any("style" in element.attrib for element in svg.iter())
        write_png(chart, tmp_path / f"{chart.name}.png")
        assert (tmp_path / f"{chart.name}.png").read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / f"{chart.name}.png").stat().st_size > 5000


def test_a_name_is_text_in_both_renderings(drawn_plots: None, tmp_path: Path) -> None:
    """A dataset's name with tags stays text, and dollar signs are no formula for matplotlib."""
    name = r"<b>$\frac{$ & $x$"
    chart = Chart("c", name, "", axis(name, [1.0]), ())
    chart = Chart("c", name, name, chart.x, (report_charts.histogram(one_step()).panels[0],))
    assert "<b>" not in to_svg(chart)
    assert "&lt;b&gt;" in to_svg(chart)
    write_png(chart, tmp_path / "c.png")


def one_step() -> ScoredSteps:
    return steps_of_rows([({"confidence": 0.7, "label": 1.0}, None)]).measured()


def test_a_single_step_has_every_chart() -> None:
    single = one_step()
    report: Any = build_report(single)
    (dots,) = marks_of(report_charts.reliability("r", "r", report["overall"], single), Points)
    assert (list(dots.x), list(dots.y), dots.low) == ([0.7], [1.0], None)
    assert report_risk_charts.risk_coverage_by_dataset(single) is None
    groups = report_positions.position_groups({}, single)
    for chart in (report_risk_charts.risk_coverage(single), report_positions.error_by_position(groups)):
        assert to_svg(chart).startswith("<svg")


def test_a_result_with_groups_and_intervals_of_its_own_needs_no_predictions() -> None:
    interval = {"mean_label": {"low": 0.25, "high": 0.75}}
    table = [
        {"lower": 0.0, "upper": 0.1, "count": 4, "mean_confidence": 0.05, "mean_label": 0.5, "intervals": interval}
    ]
    unknown = {"mean_label": {"low": None, "high": None, "method": "percentile"}}
    table.append({**table[0], "lower": 0.1, "upper": 0.2, "intervals": unknown})
    (dots,) = marks_of(report_charts.reliability("r", "r", {"reliability": {"equal_width": table}}), Points)
    assert (dots.low, dots.high) == ([0.25, 0.5], [0.75, 0.5])
    means = {"mean_confidence": 0.5, "mean_label": 0.75}
    rows = [
        {"from": 1, "to": 1, "num_steps": 7, "mse": 0.125, "intervals": {"mse": {"low": 0.0625, "high": 0.5}}, **means},
        {"from": 11, "to": 15, "num_steps": 3, "mse": 0.25, **means},
    ]
    chart = report_positions.error_by_position(report_positions.position_groups({"by_position": rows}, None))
    assert chart.rows == (("1", "7", "0.125", "0.062", "0.500"), ("11–15", "3", "0.250", "–", "–"))
    assert report_positions.position_groups({}, None) == []


def test_before_and_after_shows_the_raw_score(predictions: ScoredSteps) -> None:
    calibrated = predictions.with_confidence(predictions.confidence * 0.5, raw=predictions.confidence)
    chart = report_charts.before_and_after(calibrated)
    lines = {mark.name: mark for mark in marks_of(chart, Line)}
    assert max(lines["before calibration"].x) > 0.9
    assert max(lines["after"].x) <= 0.5


def test_the_training_curve_follows_the_loss_that_was_trained() -> None:
    log: list[dict[str, Any]] = [{"kind": "step", "step": k, "loss": 1.0 / k} for k in range(1, 1001)]
    log += [
        {"kind": "validation", "step": 500, "mean": {"nll": 0.4, "mse": 0.1}, "is_best": True},
        {"kind": "validation", "step": 1000, "mean": {"nll": 0.5, "mse": 0.2}, "is_best": False},
        {"kind": "note", "step": 0, "text": "x"},
    ]
    for loss, expected in (("bce", [0.4, 0.5]), ("mse", [0.1, 0.2])):
        chart = training_curve(log, loss=loss)
        assert chart is not None
        training, validation = marks_of(chart, Line)
        assert len(training.x) == 200
        assert training.y[0] == pytest.approx(np.mean([1 / k for k in range(1, 6)]))
        assert list(validation.y) == expected
        best = next(mark for mark in marks_of(chart, Points) if mark.name == "best")
        assert (best.x, best.y) == ([500.0], [expected[0]])
    assert training_curve([{"kind": "note", "step": 0}]) is None


def test_the_mixture_shows_both_shares() -> None:
    values = {"problems": 10, "label_mean": 0.5, "expected_passes": 2.0}
    report = {
        "datasets": {
            "a": {"labels": 300, "share_of_loss": 0.5, **values},
            "b": {"labels": 100, "share_of_loss": 0.5, **values},
        }
    }
    chart = mixture(report)
    assert chart is not None
    loss, labels = marks_of(chart, Bars)
    assert (loss.top, labels.top) == ([0.5, 0.5], [0.75, 0.25])
    assert mixture({}) is None


@given(st.lists(st.floats(0, 1e9), min_size=1))
def test_an_axis_holds_its_values_in_few_steps(values: list[float]) -> None:
    found = axis("x", values)
    assert found.low <= min(values)
    assert found.high >= max(values) * (1 - 1e-9)
    assert 2 <= len(found.ticks) <= 8
    assert count_axis("x", values).high >= max(values)
