"""A chart as a PNG, drawn by matplotlib, for slides and papers.

Only the light palette: Okabe and Ito's colours, which people with any colour vision tell apart. Uses no global state
of matplotlib and needs no display.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from surestep.evaluation.report.charts.chart import Bars, Chart, Line, Mark, Points, Role
from surestep.files import PAGE_ADVICE, write_whole
from surestep.terminal_text import in_one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_INCHES = (6.4, 4.6)
DOTS_PER_INCH = 130
LONGEST_TEXT = 90
"""Characters of a title, a label or a name; longer ones are cut in their middle."""

COLOURS: dict[Role, str] = {
    "model": "#0072B2",
    "right": "#0072B2",
    "wrong": "#D55E00",
    "reference": "#6b7280",
    "a": "#0072B2",
    "b": "#D55E00",
    "c": "#009E73",
    "d": "#CC79A7",
    "e": "#B8860B",
    "f": "#56B4E9",
    "g": "#5D3A9B",
    "h": "#4A4A4A",
}


def write_png(chart: Chart, path: Path) -> None:
    """Draw `chart` into `path`.

    Raises:
        StorageError: the file cannot be written; what was there is as it was.
    """
    content = png_of(chart)
    with write_whole(path, "wb", advice=PAGE_ADVICE) as file:
        file.write(content)


def png_of(chart: Chart) -> bytes:
    """`chart` as the content of a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    shares = [panel.share for panel in chart.panels]
    grid = figure.add_gridspec(len(shares), 1, height_ratios=shares)
    places = [figure.add_subplot(grid[row, 0]) for row in range(len(shares))]
    for place, panel in zip(places, chart.panels, strict=True):
        place.set_xlim(chart.x.low, chart.x.high)
        place.set_ylim(panel.y.low, panel.y.high)
        place.set_yticks([value for value, _ in panel.y.ticks], [_plain(text) for _, text in panel.y.ticks])
        place.set_ylabel(_plain(panel.y.label))
        place.set_xticks([value for value, _ in chart.x.ticks], [])
        place.grid(axis="y", color="#d1d5db", linewidth=0.6)
        place.set_axisbelow(True)
        place.spines[["top", "right", "left"]].set_visible(False)
        for mark in panel.marks:
            _draw(place, mark)
    last = places[-1]
    last.set_xticks([value for value, _ in chart.x.ticks], [_plain(text) for _, text in chart.x.ticks])
    last.set_xlabel(_plain(chart.x.label))
    places[0].set_title(_plain(chart.title), loc="left", fontsize=11)
    if any(mark.name for mark in chart.panels[0].marks):
        places[0].legend(frameon=False, fontsize=8)
    content = io.BytesIO()
    with warnings.catch_warnings():
        # It names each letter that its font lacks, in a warning of its own; the page shows all of them.
        warnings.filterwarnings("ignore", message=r"(?s)Glyph .* missing from font", category=UserWarning)
        figure.savefig(content, format="png")
    return content.getvalue()


def _plain(text: str) -> str:
    """Text that matplotlib shows as it is, whatever a dataset is called: no TeX between dollar signs, no control
    characters, and short enough to leave room for the axes.
    """
    return in_one_line(text, longest=LONGEST_TEXT).replace("$", r"\$")


def _draw(place: Axes, mark: Mark) -> None:
    colour = COLOURS[mark.role]
    name = _plain(mark.name) or "_unnamed"
    if isinstance(mark, Line):
        place.plot(mark.x, mark.y, color=colour, linewidth=1.6, linestyle="--" if mark.dashed else "-", label=name)
    elif isinstance(mark, Bars):
        widths = [right - left for left, right in zip(mark.left, mark.right, strict=True)]
        heights = [top - base for base, top in zip(mark.base, mark.top, strict=True)]
        place.bar(
            mark.left,
            heights,
            widths,
            bottom=mark.base,
            align="edge",
            color=colour,
            edgecolor="white",
            linewidth=0.5,
            label=name,
        )
    else:
        _draw_points(place, mark, colour, name)


def _draw_points(place: Axes, mark: Points, colour: str, name: str) -> None:
    if mark.low is not None and mark.high is not None:
        place.vlines(mark.x, mark.low, mark.high, color=colour, linewidth=1.2, alpha=0.7)
    sizes = [18.0] * len(mark.x) if mark.sizes is None else [14.0 + 140.0 * share for share in mark.sizes]
    place.scatter(mark.x, mark.y, s=sizes, color=colour, zorder=3, label=name)
