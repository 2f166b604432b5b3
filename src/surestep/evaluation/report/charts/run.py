"""The charts of a run: how training went and what it was fed.

Takes the lines of `metrics.jsonl` and the object of `data_report.json` as plain values; knows no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from surestep.evaluation.report.charts.chart import Axis, Bars, Chart, Line, Panel, Points, Role, axis
from surestep.metrics.report.wording import number, share_text

CURVE_POINTS = 200

_LOSSES = {"bce": ("nll", "loss (nats)", "validation NLL"), "mse": ("mse", "loss (squared error)", "validation MSE")}
"""Training loss -> the validation figure in the same unit, the axis, the line's name."""


def training_curve(lines: Sequence[Mapping[str, Any]], *, loss: str = "bce") -> Chart | None:
    """Training loss and the validation figure of the same unit by optimiser step; None where nothing was logged."""
    figure, label, name = _LOSSES.get(loss, _LOSSES["bce"])
    # Runs of before log no mean over labels, only the weighted sum.
    steps = [(line["step"], line.get("loss_per_label") or line["loss"]) for line in lines if line.get("kind") == "step"]
    validations = [line for line in lines if line.get("kind") == "validation"]
    found = [(line["step"], line["mean"][figure]) for line in validations if line["mean"].get(figure) is not None]
    if not steps and not found:
        return None
    marks: list[Line | Points] = []
    at, losses = _thinned(steps)
    if steps:
        marks.append(Line(at, losses, "reference", "training loss"))
    x, y = [float(step) for step, _ in found], [float(value) for _, value in found]
    if found:
        tips = [f"step {step:,.0f}: {name} {number(value)}" for step, value in found]
        marks += [Line(x, y, "model", name), Points(x, y, "model", tips)]
        best = [line["step"] for line in validations if line.get("is_best")]
        at_best = [(step, value) for step, value in found if best and step == best[-1]]
        if at_best:
            step, value = at_best[0]
            tip = [f"best so far when the run ended: step {step:,}"]
            marks.append(Points([float(step)], [float(value)], "wrong", tip, name="best", sizes=[0.6]))
    across = axis("optimiser step", [*at, *x])
    return Chart(
        name="training_curve",
        title="Training",
        note="Validation is held out by problem. Validation rising while training falls means overfitting.",
        x=across,
        panels=(Panel(axis(label, [*losses, *y], from_zero=False), tuple(marks)),),
        header=("step", name),
        rows=tuple((f"{step:,.0f}", number(value)) for step, value in zip(x, y, strict=True)),
    )


def mixture(data_report: Mapping[str, Any]) -> Chart | None:
    """Each dataset's share of the loss beside its share of the labels; None where nothing is recorded."""
    datasets = data_report.get("datasets") or {}
    if not datasets:
        return None
    labels = {name: float(values["labels"]) for name, values in datasets.items()}
    total = sum(labels.values()) or 1.0
    of_loss = [float(values["share_of_loss"]) for values in datasets.values()]
    of_labels = [count / total for count in labels.values()]
    places = np.arange(len(datasets), dtype=np.float64)
    columns: tuple[tuple[str, Role, list[float]], ...] = (
        ("of the loss", "model", of_loss),
        ("of the labels", "reference", of_labels),
    )
    marks = tuple(
        Bars(
            left=(places - 0.36 + 0.36 * side).tolist(),
            right=(places + 0.36 * side).tolist(),
            base=[0.0] * len(places),
            top=shares,
            role=role,
            tips=[f"{name}: {share_text(share)} {said}" for name, share in zip(datasets, shares, strict=True)],
            name=said,
        )
        for side, (said, role, shares) in enumerate(columns)
    )
    percent = Axis("share", 0.0, 1.0, tuple((k / 4, f"{k / 4:.0%}") for k in range(5)))
    names = Axis("", -0.6, len(datasets) - 0.4, tuple(zip(places.tolist(), map(_cut, datasets), strict=True)))
    return Chart(
        name="mixture",
        title="What it was trained on",
        note="Weights are shares of the loss: a dataset with few labels can weigh as much as one with many.",
        x=names,
        panels=(Panel(percent, marks),),
        header=("dataset", "problems", "labels", "mean label", "share of loss", "passes"),
        rows=tuple(
            (
                name,
                f"{values['problems']:,}",
                f"{values['labels']:,}",
                number(values["label_mean"]),
                share_text(values["share_of_loss"]),
                f"{values.get('expected_passes', 0.0):.1f}",
            )
            for name, values in datasets.items()
        ),
    )


def _cut(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"


def _thinned(steps: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """At most `CURVE_POINTS` points, each the mean of its neighbours."""
    if not steps:
        return [], []
    blocks = np.array_split(np.array(steps, np.float64), min(CURVE_POINTS, len(steps)))
    means = np.array([block.mean(axis=0) for block in blocks])
    return means[:, 0].tolist(), means[:, 1].tolist()
