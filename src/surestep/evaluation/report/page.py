"""`report.html`: one file that explains an evaluation to a person, and a PNG of each of its charts.

The page needs no network, no font and no other file, and its Content-Security-Policy allows nothing but its own style
and script, by their hashes. Everything that comes from data is escaped by the template. Only what is shown is embedded,
so that the page of 100,000 steps is as small as that of a thousand.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surestep import __version__
from surestep.counted import counted
from surestep.evaluation.report.charts import confidence as report_charts
from surestep.evaluation.report.charts import positions as report_positions
from surestep.evaluation.report.charts import risk_coverage as report_risk_charts
from surestep.evaluation.report.charts.chart import Chart
from surestep.evaluation.report.charts.png import write_png
from surestep.evaluation.report.charts.run import mixture, training_curve
from surestep.evaluation.report.charts.svg import to_svg
from surestep.evaluation.report.error_analysis import shown_errors
from surestep.evaluation.report.headline import (
    all_figures,
    baselines_table,
    regret_by_part,
    shown_figures,
    verdict,
)
from surestep.evaluation.report.made_from import (
    CHECKPOINT,
    MISTAKES,
    PREDICTIONS,
    MadeFrom,
    fingerprint_of,
    lost_parts,
    read_page,
)
from surestep.evaluation.report.mistakes import LEAST_DISTANCE, Mistakes, worst_mistakes
from surestep.evaluation.report.position_table import position_table
from surestep.evaluation.results.run_files import RunFiles
from surestep.files import PAGE_ADVICE, PLOTS, REPORT, write_text, written_together
from surestep.metrics.report.wording import number, step_text
from surestep.scored import ScoredSteps

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_DATASET_CHARTS = 12
NO_ROWS = (
    "The confidence histogram, the risk–coverage curve and the worst mistakes need predictions.jsonl.gz, "
    "which is not in this folder (surestep evaluate --save_predictions true writes it)."
)
NO_TEXT = "The worst mistakes: these predictions have no text (`problem` and `text` in each row)."

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Sources:
    """What a page is made from.

    Attributes:
        report: the content of `eval_metrics.json`.
        run: what was found around it.
        predictions: the labelled steps, or None where they were not kept.
        rows: every step as in `predictions.jsonl`, or None.
    """

    report: Mapping[str, Any]
    run: RunFiles
    predictions: ScoredSteps | None = None
    rows: Sequence[Row] | None = None


@dataclass(frozen=True)
class WrittenPage:
    """Where the page lies, its charts, and what it says is missing.

    Attributes:
        path: the page.
        plots: the charts that were drawn.
        missing: a sentence for each thing that a page written now could not show.
        kept: what the page that was there shows and a new one would lack, so that it was left as it was.
    """

    path: Path
    plots: tuple[Path, ...]
    missing: tuple[str, ...]
    kept: tuple[str, ...] = ()


def write_page(sources: Sources, folder: Path, *, allow_poorer: bool = False) -> WrittenPage:
    """Write `report.html` and `plots/*.png` into `folder`; plots of the page that it replaces are removed.

    A page that shows what the new one would lack is kept (`lost_parts`) with its plots, and only plots that are
    not there are drawn; `allow_poorer` replaces it all the same.

    Raises:
        StorageError: the folder cannot be written; the former page and plots are as they were.
    """
    charts = {
        "reliability": _reliability(sources),
        "quality": _quality(sources),
        "training": [chart for chart in _training(sources.run) if chart is not None],
    }
    drawn = [chart for group in charts.values() for chart in group]
    missing = _missing(sources)
    mistakes = worst_mistakes(sources.rows or [])
    made = _made_from(sources, drawn, mistakes)
    path, plots = folder / REPORT, folder / PLOTS
    old = read_page(path, plots, sources.report)
    left_out = report_positions.CHARTS if _only_one_position(sources) else ()
    kept = () if allow_poorer else lost_parts(old, made, needed=PREDICTIONS, left_out=left_out)
    if kept:
        is_same = old is not None and old.evaluation == made.evaluation
        drawn = [chart for chart in drawn if is_same and not (plots / f"{chart.name}.png").exists()]
    written = []
    with written_together() as group:
        for chart in drawn:
            written.append(plots / f"{chart.name}.png")
            write_png(chart, written[-1])
        if not kept:
            # The page last: it is never beside plots of other figures that it does not name.
            write_text(path, _render(sources, charts, missing, mistakes, made), advice=PAGE_ADVICE)
            for name in sorted(set(old.parts if old is not None else ()) - set(made.parts)):
                group.remove(plots / f"{Path(name).name}.png", advice=PAGE_ADVICE)
    return WrittenPage(path, tuple(written), missing, kept)


def _made_from(sources: Sources, charts: Sequence[Chart], mistakes: Mistakes) -> MadeFrom:
    parts = [chart.name for chart in charts]
    parts += [MISTAKES] if _has_mistakes(sources, mistakes) else []
    parts += ["settings"] if sources.run.settings else []
    made_with = [PREDICTIONS] if sources.predictions is not None else []
    made_with += [CHECKPOINT] if sources.run.checkpoint is not None else []
    return MadeFrom(fingerprint_of(sources.report), tuple(made_with), tuple(parts))


def _has_mistakes(sources: Sources, mistakes: Mistakes) -> bool:
    """Whether mistakes can be shown with their text, or there is text and no mistake, which is worth saying."""
    if mistakes.shown:
        return any(mistake.problem or mistake.focus.text for mistake in mistakes.shown)
    return any(row.get("text") for row in sources.rows or ())


def _reliability(sources: Sources) -> list[Chart]:
    report, predictions = sources.report, sources.predictions
    charts = [report_charts.reliability("reliability", "Overall", report["overall"], predictions)]
    if len(report["overall"]["reliability"].get("equal_mass") or []) > 1:
        title = "Overall, bins of equal counts"
        charts.append(report_charts.reliability_equal_counts("reliability_equal_counts", title, report["overall"]))
    per_dataset = report["per_dataset"]
    if len(per_dataset) > 1:
        for place, (name, section) in enumerate(per_dataset.items()):
            if section["num_steps"] and place < MAX_DATASET_CHARTS:
                part = None if predictions is None else predictions.for_dataset(name)
                charts.append(report_charts.reliability(f"reliability_{place + 1}", name, section, part))
    if predictions is not None and (predictions.raw_confidence != predictions.confidence).any():
        charts.append(report_charts.before_and_after(predictions))
    return charts


def _quality(sources: Sources) -> list[Chart]:
    predictions = sources.predictions
    charts: list[Chart | None] = []
    if predictions is not None:
        charts += [
            report_charts.histogram(predictions),
            report_risk_charts.risk_coverage(predictions),
            report_risk_charts.risk_coverage_by_dataset(predictions),
        ]
    groups = report_positions.position_groups(sources.report["overall"], predictions)
    if groups and not report_positions.only_one_position(groups):
        charts += [report_positions.error_by_position(groups), report_positions.label_by_position(groups)]
    return [chart for chart in charts if chart is not None]


def _only_one_position(sources: Sources) -> str:
    groups = report_positions.position_groups(sources.report["overall"], sources.predictions)
    return report_positions.only_one_position(groups)


def _training(run: RunFiles) -> list[Chart | None]:
    loss = (run.settings.get("training") or {}).get("loss", "bce")
    return [training_curve(run.log, loss=loss), mixture(run.data_report)]


def _missing(sources: Sources) -> tuple[str, ...]:
    missing = list(sources.run.missing)
    if sources.rows is None:
        missing.append(NO_ROWS)
    elif not any(row.get("text") for row in sources.rows):
        missing.append(NO_TEXT)
    without = [name for name, section in sources.report["per_dataset"].items() if not section["num_steps"]]
    missing += [f"{name}: no labelled step, so it has no figures." for name in without]
    if len(sources.report["per_dataset"]) > MAX_DATASET_CHARTS:
        missing.append(f"Reliability diagrams of single datasets beyond the first {MAX_DATASET_CHARTS}.")
    return tuple(missing)


def _render(
    sources: Sources,
    charts: Mapping[str, list[Chart]],
    missing: Sequence[str],
    mistakes: Mistakes,
    made: MadeFrom,
) -> str:
    from markupsafe import Markup

    report = sources.report
    style, script = _asset("report.css"), _asset("report.js")
    header, baselines = baselines_table(report)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; "
            "form-action 'none'",
            style=Markup(style),
            script=Markup(script),
            title=_title(report),
            report=report,
            verdict=verdict(report),
            figures=shown_figures(report["overall"]),
            sections=[(name, section, shown_figures(section)) for name, section in _sections(report)],
            all_sections=all_figures(report)[0],
            all_figures=all_figures(report)[1],
            regret_by_part=regret_by_part(report),
            baselines_header=header,
            baselines=baselines,
            charts={group: [(chart, Markup(to_svg(chart))) for chart in found] for group, found in charts.items()},
            mistakes=mistakes,
            least_distance=LEAST_DISTANCE,
            has_mistakes=_has_mistakes(sources, mistakes),
            positions=position_table(dict(_sections(report))),
            only_one_position=_only_one_position(sources),
            made_from=made.to_json(),
            error_analysis=shown_errors(report),
            missing=missing,
            run=sources.run,
            reading=_reading_notes(sources),
            settings=json.dumps(sources.run.settings, indent=2, ensure_ascii=False) if sources.run.settings else "",
            version=__version__,
            number=number,
            step_text=step_text,
            shade=shade,
        )
    )


def _sections(report: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    per_dataset = list(report["per_dataset"].items())
    return [*per_dataset, ("overall", report["overall"])] if len(per_dataset) > 1 else per_dataset


def _title(report: Mapping[str, Any]) -> str:
    checkpoint = report.get("checkpoint")
    if isinstance(checkpoint, str):
        return "/".join(Path(checkpoint).parts[-2:])
    if isinstance(scorer := report.get("scorer"), dict):
        return f"{scorer.get('form')} {scorer.get('name')}"
    return Path(str(report.get("predictions", "predictions"))).name


def _reading_notes(sources: Sources) -> list[str]:
    """Terms of use and what reading left out, of evaluated and of training data."""
    notes: list[str] = []
    for values in (sources.report.get("datasets"), sources.run.data_report.get("datasets")):
        for name, dataset in (values or {}).items():
            notes += [f"{name}: {note}" for note in (dataset.get("reading") or {}).get("notes", [])]
            if beyond := dataset.get("labels_beyond_position_limit"):
                notes.append(f"{name}: {counted(beyond, 'labelled step')} beyond the position limit, not scored")
    notes += [str(line) for line in sources.run.data_report.get("lines", [])]
    return list(dict.fromkeys(notes))


def shade(confidence: float) -> int:
    """Which of eleven shades, 0 (low) to 10 (high), a confidence is shown in.

    >>> shade(0.0), shade(0.449), shade(1.0)
    (0, 4, 10)
    """
    return round(confidence * 10)


@cache  # a template is compiled once a process: half a second for a page
def environment() -> Environment:
    """Templates of this package, every value escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("surestep.evaluation.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(name: str) -> str:
    return (files("surestep.evaluation.report") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """A source of a Content-Security-Policy that allows exactly `text` inline."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
