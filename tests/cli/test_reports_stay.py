"""Rewriting never makes a page, its plots or a card poorer; what is kept, and what is of other figures, is said."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports import make_rows, write_predictions
from surestep.cli.main import main
from surestep.evaluation.report.made_from import (
    BY_HAND,
    MadeFrom,
    fingerprint_of,
    lost_parts,
    read_card,
    read_page,
    signed_card,
)
from surestep.evaluation.report.model_card import write_card
from surestep.evaluation.report.write import report_on_folder
from surestep.evaluation.results.predictions import read_predictions_of
from surestep.evaluation.results.run_files import RunFiles

Command = Callable[..., str]
QUICK = ("--bootstrap_resamples", "20", "--baselines", "false")


def state(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def metrics_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "eval_metrics.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def _evaluated_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of an evaluation with its predictions, page and plots, and a copy of all that it wrote."""
    root = tmp_path_factory.mktemp("evaluated-once")
    folder = root / "full"
    folder.mkdir()
    path = write_predictions(folder / "predictions.jsonl", make_rows(12))
    assert main(["evaluate", "--predictions", str(path), "--output_dir", str(folder), *QUICK]) == 0
    return folder, Path(shutil.copytree(folder, root / "kept"))


@pytest.fixture
def full(_evaluated_once: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> Path:
    """An evaluation with its predictions, page and plots, as it was written: its files name their folder."""
    folder, kept = _evaluated_once
    shutil.rmtree(folder)
    shutil.copytree(kept, folder)
    capsys.readouterr()
    return folder


def without_record(page: str) -> str:
    """As earlier versions wrote it."""
    before, _, rest = page.partition('<meta name="surestep-made-from"')
    return before + rest.partition(">\n")[2]


@pytest.mark.slow
@pytest.mark.parametrize("is_of_before", [False, True])
def test_without_predictions_a_full_page_and_its_plots_are_kept(
    full: Path, succeed: Command, is_of_before: bool
) -> None:
    page = full / "report.html"
    if is_of_before:
        page.write_text(without_record(page.read_text(encoding="utf-8")), encoding="utf-8")
    (full / "predictions.jsonl").unlink()
    before = state(full)
    out = succeed("report", full)
    assert state(full) == before
    assert "report.html is kept as it was: a new one would lack" in out
    assert "worst mistakes" in out
    assert "confidence histogram" in out
    assert f"surestep report {full} --allow_poorer" in out
    succeed("report", full, "--allow_poorer")
    assert 'id="mistakes"' not in page.read_text(encoding="utf-8")
    assert not (full / "plots" / "risk_coverage.png").exists()


def test_a_lost_plot_that_can_be_drawn_is_drawn_beside_a_kept_page(full: Path, succeed: Command) -> None:
    (full / "predictions.jsonl").unlink()
    before = state(full)
    (full / "plots" / "error_by_position.png").unlink()
    (full / "plots" / "risk_coverage.png").unlink()
    succeed("report", full)
    assert state(full).keys() == before.keys() - {"plots/risk_coverage.png"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["predictions.jsonl", "predictions.jsonl.gz"])
@pytest.mark.parametrize("what", ["another evaluation", "cut"])
def test_predictions_that_are_not_its_own_change_nothing(full: Path, fail: Command, name: str, what: str) -> None:
    (full / "predictions.jsonl").unlink()
    text = "".join(json.dumps(row) + "\n" for row in make_rows(9, seed=5)).encode()
    if what == "cut":
        text = text[:-20]
    content = gzip.compress(text) if name.endswith(".gz") else text
    (full / name).write_bytes(content)
    before = state(full)
    assert "labelled rows with an MSE of" in fail("report", full) or what == "cut"
    assert state(full) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b'{"confidence": 0.5, "label": 1.0}\n', mtime=0)],
    ids=("empty", "broken", "other"),
)
def test_its_own_predictions_are_found_behind_others(full: Path, succeed: Command, content: bytes) -> None:
    """Beside the plain file that it was measured on lies a compressed one of something else."""
    (full / "predictions.jsonl.gz").write_bytes(content)
    before = state(full)
    out = succeed("report", full)
    assert state(full) == before
    assert "kept" not in out


@pytest.mark.slow
def test_predictions_that_lie_elsewhere_are_read_where_the_figures_name_them(tmp_path: Path, succeed: Command) -> None:
    path = write_predictions(tmp_path / "scores.jsonl", make_rows(12))
    succeed("evaluate", "--predictions", path, *QUICK)
    folder = tmp_path / "eval_scores"
    before = state(folder)
    assert "kept" not in succeed("report", folder)
    assert state(folder) == before
    moved = tmp_path / "moved"
    moved.mkdir()
    path.rename(moved / "scores.jsonl")
    shutil.move(folder, moved / "eval_scores")
    steps = read_predictions_of(metrics_of(moved / "eval_scores"), moved / "eval_scores")
    assert steps is not None


@pytest.mark.slow
def test_a_page_of_other_figures_is_replaced_by_a_full_one_and_kept_from_a_poorer_one(
    full: Path, tmp_path: Path, succeed: Command
) -> None:
    other = write_predictions(tmp_path / "other.jsonl", make_rows(12, datasets=("one",), seed=3))
    succeed("evaluate", "--predictions", other, "--output_dir", full, "--report", "false", *QUICK)
    other.rename(tmp_path / "hidden.jsonl")
    (full / "predictions.jsonl").rename(tmp_path / "first.jsonl")
    before = state(full)
    assert "report.html is kept" in succeed("report", full)
    assert state(full) == before
    (tmp_path / "hidden.jsonl").rename(other)
    assert "kept" not in succeed("report", full)
    said = read_page(full / "report.html", full / "plots", {})
    assert said is not None
    assert said.evaluation == fingerprint_of(metrics_of(full))
    # Plots of datasets that these figures do not have are gone with the page that showed them.
    assert {path.stem for path in (full / "plots").iterdir()} == set(said.parts) - {"worst mistakes", "settings"}


def test_a_foreign_page_and_foreign_plots_stay(full: Path, succeed: Command) -> None:
    (full / "plots" / "mine.png").write_bytes(b"mine")
    succeed("report", full)
    assert (full / "plots" / "mine.png").read_bytes() == b"mine"
    (full / "report.html").write_text("<title>mine</title>", encoding="utf-8")
    assert "a page that Surestep did not write" in succeed("report", full)
    assert (full / "report.html").read_text(encoding="utf-8") == "<title>mine</title>"


@pytest.mark.slow
def test_evaluate_says_what_lies_there_of_other_figures_and_compare_leaves_it_aside(
    full: Path, tmp_path: Path, succeed: Command
) -> None:
    other = write_predictions(tmp_path / "other.jsonl", make_rows(12, seed=3))
    kept = (full / "predictions.jsonl").read_bytes()
    out = succeed("evaluate", "--predictions", other, "--output_dir", full, "--report", "false", *QUICK)
    assert "predictions.jsonl there is not of these figures" in out
    assert "report.html there does not show these figures" in out
    assert (full / "predictions.jsonl").read_bytes() == kept
    succeed("evaluate", "--predictions", tmp_path / "other.jsonl", "--output_dir", tmp_path / "again", *QUICK)
    result = json.loads(succeed("compare", "--json", full, tmp_path / "again"))
    assert {row["predictions"] for row in result["runs"]} == {str(other)}
    assert result["runs"][1]["difference"]["difference"] == 0.0


@pytest.mark.slow
def test_evaluate_with_its_own_files_there_says_nothing(full: Path, succeed: Command) -> None:
    out = succeed("evaluate", "--predictions", full / "predictions.jsonl", "--output_dir", full, *QUICK)
    assert "these figures: " not in out
    assert "kept" not in out


def test_the_page_says_what_it_was_made_from(full: Path) -> None:
    said = read_page(full / "report.html", full / "plots", {})
    assert said is not None
    assert said.evaluation == fingerprint_of(metrics_of(full))
    assert said.made_with == ("predictions",)
    assert {"risk_coverage", "worst mistakes"} <= set(said.parts)


CARD = {"checkpoint": "run/checkpoint_step_2", "step": 2}


@pytest.fixture
def carded(full: Path) -> tuple[Path, dict[str, Any], RunFiles]:
    """A card with all that a run says."""
    report = metrics_of(full) | CARD
    run = RunFiles(checkpoint=full / "run", manifest={"step": 2}, settings={"training": {"max_steps": 2}})
    assert write_card(report, run, full).kept == ()
    return full, report, run


def test_a_card_without_its_checkpoint_is_kept(carded: tuple[Path, dict[str, Any], RunFiles]) -> None:
    folder, report, run = carded
    before = state(folder)
    assert write_card(report, RunFiles(settings=run.settings), folder).kept == ("origin",)
    assert state(folder) == before
    # Of other figures it is replaced where the checkpoint is there, and kept where it is not.
    other = json.loads(json.dumps(report))
    other["overall"]["mse"] = 0.5
    assert write_card(other, RunFiles(), folder).kept == ("origin", "settings")
    assert write_card(other, run, folder).kept == ()
    assert write_card(report, RunFiles(), folder, allow_poorer=True).kept == ()


@pytest.mark.slow
@pytest.mark.parametrize("change", ["license: mit\n", "\n", "x"])
def test_a_card_that_a_person_changed_is_kept(carded: tuple[Path, dict[str, Any], RunFiles], change: str) -> None:
    folder, report, run = carded
    path = folder / "MODEL_CARD.md"
    text = path.read_text(encoding="utf-8")
    for place in (4, len(text)):
        changed = text[:place] + change + text[place:]
        path.write_text(changed, encoding="utf-8")
        assert write_card(report, run, folder).kept == (BY_HAND,)
        assert path.read_text(encoding="utf-8") == changed
    assert write_card(report, run, folder, allow_poorer=True).kept == ()
    assert read_card(path) is not None


def test_a_record_survives_any_names() -> None:
    made = MadeFrom("e", ("predictions",), ('a <b> & "c"', "d"))
    assert lost_parts(made, MadeFrom("e", (), ("d",)), needed="predictions") == ('a <b> & "c"',)
    assert lost_parts(made, MadeFrom("f", ("predictions",), ()), needed="predictions") == ()
    assert lost_parts(None, made, needed="predictions") == ()
    assert "surestep-made-from" in signed_card("text\n", made)


@pytest.mark.slow
def test_a_second_report_writes_the_same(drawn_plots: None, tmp_path: Path, succeed: Command) -> None:
    path = write_predictions(tmp_path / "predictions.jsonl", make_rows(12))
    succeed("evaluate", "--predictions", path, "--output_dir", tmp_path, *QUICK)
    before = state(tmp_path)
    report_on_folder(tmp_path)
    assert state(tmp_path) == before
