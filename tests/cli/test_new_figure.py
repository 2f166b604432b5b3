"""A new figure is one `Figure` and one entry: it shows wherever figures show."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from markupsafe import escape

from surestep.config import Config
from surestep.config.reference import allowed_values
from surestep.errors import ConfigError
from surestep.evaluation.check.targets import Targets, load_targets
from surestep.evaluation.compare.runs import check_sort
from surestep.metrics import FIGURES, Figure
from surestep.metrics.figures.figure import mean_of
from surestep.metrics.report.notes import notes
from surestep.training.events.validate import is_better

NAME = "error_on_wrong"
BARE = ("--baselines", "false")


@pytest.fixture
def new_figure(monkeypatch: pytest.MonkeyPatch) -> Figure:
    figure = Figure(
        NAME,
        "Error on wrong steps",
        "lower",
        mean_of(lambda p, y: np.abs(p - y), where=lambda p, y: y < 0.5),
        range=(0.0, 1.0),
        meaning="Mean distance to the label among the wrong steps; 0 is best.",
        note="Among the steps whose label is below 0.5.",
    )
    monkeypatch.setitem(FIGURES, NAME, figure)
    return figure


def write_scores(folder: Path, noise: float) -> Path:
    rng = np.random.default_rng(3)
    rows = [
        {"dataset": "sums", "problem_id": f"p{i // 3}", "step": i % 3, "label": float(label), "confidence": score}
        for i, label in enumerate(rng.integers(0, 2, 150).tolist())
        for score in [float(np.clip(label + noise * rng.normal(), 0, 1))]
    ]
    folder.mkdir()
    path = folder / "predictions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.slow
def test_it_shows_in_json_table_compare_and_targets(
    new_figure: Figure, tmp_path: Path, succeed: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    folders = []
    for name, noise in (("close", 0.2), ("far", 0.7)):
        path = write_scores(tmp_path / name, noise)
        flags = ("--bootstrap_resamples", "100", "--baselines", "false", "--report", "false")
        printed = succeed("evaluate", "--predictions", path, "--output_dir", tmp_path / name, *flags)
        folders.append(tmp_path / name)
    assert new_figure.title in printed
    section = json.loads((folders[1] / "eval_metrics.json").read_text(encoding="utf-8"))["overall"]
    interval = section["intervals"][NAME]
    assert 0.0 < interval["low"] < section[NAME] < interval["high"] < 1.0
    assert f"{section[NAME]:.3f} ±{(interval['high'] - interval['low']) / 2:.3f}" in printed
    result = json.loads(succeed("compare", "--json", "--sort", NAME, *folders))
    assert [Path(row["name"]).name for row in result["runs"]] == ["close", "far"]
    assert result["better"] == "lower"
    assert result["runs"][1]["difference"]["is_real"]
    assert result["runs"][1]["difference"]["difference"] == pytest.approx(
        result["runs"][1]["figures"][NAME] - result["runs"][0]["figures"][NAME]
    )
    assert notes()[NAME] == new_figure.note
    values = load_targets("production").model_dump()
    bounds = {**values["figures"], NAME: {"max": 0.5}}
    assert NAME in Targets.model_validate({**values, "figures": bounds}).bounds_of("sums")


@pytest.mark.slow
def test_it_is_on_the_page(new_figure: Figure, tmp_path: Path, succeed: Callable[..., str]) -> None:
    path = write_scores(tmp_path / "close", 0.2)
    succeed("evaluate", "--predictions", path, "--output_dir", path.parent, "--bootstrap_resamples", "100", *BARE)
    page = (path.parent / "report.html").read_text(encoding="utf-8")
    section = json.loads((path.parent / "eval_metrics.json").read_text(encoding="utf-8"))["overall"]
    row = page[page.index("All figures") :].partition(f">{new_figure.title}<")[2].partition("</tr>")[0]
    interval = section["intervals"][NAME]
    assert f"<td>{section[NAME]:.3f}<small>{interval['low']:.3f} to {interval['high']:.3f}</small>" in row
    for figure in FIGURES.values():
        assert page.count(f'<th scope="row"><abbr title="{escape(figure.meaning)}">{escape(figure.title)}<') == 1


def test_it_can_pick_the_best_checkpoint(new_figure: Figure) -> None:
    config = Config.from_dict({"training": {"best_metric": NAME}})
    assert config.training.best_metric == NAME
    assert is_better(0.1, 0.2, config.training.best_metric)
    assert f"`{NAME}`" in allowed_values(type(config.training).model_fields["best_metric"])


def test_every_figure_with_a_direction_can_pick_the_best_checkpoint_and_no_other() -> None:
    training = Config().training
    for name, figure in FIGURES.items():
        if figure.direction == "none":
            with pytest.raises(ConfigError, match=rf"best_metric is '{name}'; allowed: 'mse', .* or '"):
                training.best_metric = name
        else:
            training.best_metric = name
            assert training.best_metric == name


def test_it_is_unknown_without_its_entry() -> None:
    with pytest.raises(ConfigError, match=f"best_metric is '{NAME}'"):
        Config.from_dict({"training": {"best_metric": NAME}})
    with pytest.raises(ConfigError, match="is no figure"):
        check_sort(NAME)
    assert NAME not in notes()
