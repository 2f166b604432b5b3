"""A chart as inline SVG that takes its colours from the page's style sheet.

No colour, no font and no style attribute is written here: every mark has a class (`role-model`, `grid`, ...), so one
drawing serves light, dark and print, and a strict Content-Security-Policy. Every text is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from surestep.evaluation.report.charts.chart import Axis, Bars, Chart, Line, Mark, Panel, Points

WIDTH = 440
PANEL_HEIGHT = 350
_LEFT, _RIGHT, _TOP, _BOTTOM, _GAP = 58, 12, 10, 44, 16
_LEAST_RADIUS, _GREATEST_RADIUS = 3.0, 8.0


def to_svg(chart: Chart) -> str:
    """The chart as an `<svg>` element with a title and a description for those who do not see it."""
    inner_height = PANEL_HEIGHT - _TOP - _BOTTOM
    gaps = _GAP * (len(chart.panels) - 1)
    total = sum(panel.share for panel in chart.panels)
    parts: list[str] = []
    top = float(_TOP)
    for panel in chart.panels:
        height = (inner_height - gaps) * panel.share / total
        parts += _panel(panel, chart.x, top, height)
        top += height + _GAP
    parts += _x_axis(chart.x, PANEL_HEIGHT - _BOTTOM)
    name = escape(chart.name)
    return (
        f'<svg viewBox="0 0 {WIDTH} {PANEL_HEIGHT}" role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(chart.title)}</title><desc id="{name}-desc">{escape(chart.note)}</desc>'
        + "".join(parts)
        + "</svg>"
    )


class _Scale:
    """Data to drawing coordinates, cut at the axis' ends."""

    def __init__(self, axis: Axis, start: float, end: float) -> None:
        self._axis, self._start, self._end = axis, start, end

    def __call__(self, value: float) -> float:
        low, high = self._axis.low, self._axis.high
        share = (min(max(value, low), high) - low) / (high - low)
        return self._start + share * (self._end - self._start)


def _panel(panel: Panel, x: Axis, top: float, height: float) -> Iterator[str]:
    to_x = _Scale(x, _LEFT, WIDTH - _RIGHT)
    to_y = _Scale(panel.y, top + height, top)
    for value, text in panel.y.ticks:
        y = to_y(value)
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>'
        yield f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'
    middle = top + height / 2
    yield (
        f'<text class="axis" text-anchor="middle" transform="translate(11 {middle:.1f}) rotate(-90)">'
        f"{escape(panel.y.label)}</text>"
    )
    for mark in panel.marks:
        yield from _mark(mark, to_x, to_y)


def _x_axis(x: Axis, bottom: float) -> Iterator[str]:
    to_x = _Scale(x, _LEFT, WIDTH - _RIGHT)
    yield f'<path class="frame" d="M{_LEFT} {bottom}H{WIDTH - _RIGHT}"/>'
    for value, text in x.ticks:
        at = to_x(value)
        yield f'<path class="frame" d="M{at:.1f} {bottom}v4"/>'
        yield f'<text class="tick" x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">{escape(text)}</text>'
    centre = (_LEFT + WIDTH - _RIGHT) / 2
    yield f'<text class="axis" x="{centre}" y="{bottom + 37}" text-anchor="middle">{escape(x.label)}</text>'


def _mark(mark: Mark, to_x: _Scale, to_y: _Scale) -> Iterator[str]:
    if isinstance(mark, Line):
        path = " ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y in zip(mark.x, mark.y, strict=True))
        dashed = " dashed" if mark.dashed else ""
        yield f'<polyline class="line role-{mark.role}{dashed}" points="{path}"/>'
    elif isinstance(mark, Points):
        yield from _points(mark, to_x, to_y)
    else:
        yield from _bars(mark, to_x, to_y)


def _points(mark: Points, to_x: _Scale, to_y: _Scale) -> Iterator[str]:
    for k, (x, y, tip) in enumerate(zip(mark.x, mark.y, mark.tips, strict=True)):
        at = to_x(x)
        if mark.low is not None and mark.high is not None:
            low, high = to_y(mark.low[k]), to_y(mark.high[k])
            yield f'<path class="whisker role-{mark.role}" d="M{at:.1f} {low:.1f}V{high:.1f}"/>'
        share = 0.0 if mark.sizes is None else mark.sizes[k]
        radius = _LEAST_RADIUS + (_GREATEST_RADIUS - _LEAST_RADIUS) * share**0.5
        yield (
            f'<circle class="dot role-{mark.role}" cx="{at:.1f}" cy="{to_y(y):.1f}" r="{radius:.1f}">'
            f"<title>{escape(tip)}</title></circle>"
        )


def _bars(mark: Bars, to_x: _Scale, to_y: _Scale) -> Iterator[str]:
    for left, right, base, top, tip in zip(mark.left, mark.right, mark.base, mark.top, mark.tips, strict=True):
        x, width = to_x(left), to_x(right) - to_x(left)
        space = min(1.0, width / 4)
        y, height = to_y(top), to_y(base) - to_y(top)
        yield (
            f'<rect class="bar role-{mark.role}" x="{x + space / 2:.1f}" y="{y:.1f}" width="{width - space:.1f}" '
            f'height="{height:.1f}"><title>{escape(tip)}</title></rect>'
        )
