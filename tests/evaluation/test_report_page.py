"""What is in `report.html`: everything escaped, nothing from outside, small whatever the size of the data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from reports import ATTACK, make_rows, write_predictions
from surestep.cli.output.tables import metrics_table, regret_lines
from surestep.config import EvalConfig
from surestep.errors import DataError
from surestep.evaluation.evaluate import evaluate_predictions
from surestep.evaluation.report.charts import positions
from surestep.evaluation.report.headline import FIGURES, value_of, verdict
from surestep.evaluation.report.model_card import card_text
from surestep.evaluation.report.page import NO_ROWS, NO_TEXT
from surestep.evaluation.report.write import report_on_folder
from surestep.evaluation.results.run_files import RunFiles
from surestep.metrics.report.wording import SKILL, with_interval


class Elements(HTMLParser):
    """Every tag with its attributes, and all text outside of style and script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.inside: str | None = None
        self.raw = {"style": "", "script": ""}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag if tag in self.raw else self.inside
        self.text += " "

    def handle_endtag(self, tag: str) -> None:
        self.inside = None if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        if self.inside in self.raw:
            self.raw[self.inside] += data
        else:
            self.text += data


def page_of(folder: Path, rows: list[dict[str, Any]]) -> str:
    folder.mkdir(exist_ok=True)
    path = write_predictions(folder / "predictions.jsonl", rows)
    settings = EvalConfig(bootstrap_resamples=20, baselines=False)  # the page is what is tested here
    written = evaluate_predictions(path, output_dir=folder, settings=settings, with_page=True).written
    assert written is not None
    return written.page.path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation with its page; tests change copies of it."""
    folder = tmp_path_factory.mktemp("finished")
    page_of(folder, make_rows(20))
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy that stands alone: its figures name its own predictions."""
    folder = Path(shutil.copytree(finished, tmp_path / "evaluation"))
    path = folder / "eval_metrics.json"
    report = json.loads(path.read_text(encoding="utf-8")) | {"predictions": str(folder / "predictions.jsonl")}
    path.write_text(json.dumps(report), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page whose every text from data tries to break out."""
    rows = make_rows(30, datasets=(f"first {ATTACK}", "second"))
    for row in rows:
        row["text"] += ATTACK
        row["problem"] += ATTACK
        row["problem_id"] += ATTACK
        row["context"] = ATTACK
    return page_of(tmp_path_factory.mktemp("hostile"), rows)


def test_all_text_from_data_is_escaped(hostile: str) -> None:
    found = Elements(hostile)
    assert sum(tag == "script" for tag, _ in found.tags) == 1
    assert not any(tag == "img" for tag, _ in found.tags)
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert found.text.count(ATTACK) > 100
    assert "broken" not in found.raw["script"]


def test_nothing_comes_from_outside(hostile: str) -> None:
    found = Elements(hostile)
    for tag, attributes in found.tags:
        assert not {"src", "srcset", "data", "action", "style"} & attributes.keys(), tag
        assert (attributes.get("href") or "#").startswith("#")
        assert tag not in {"link", "iframe", "object", "embed", "base"}
    assert not re.search(r"url\(|@import|https?:", found.raw["style"])
    assert not re.search(r"fetch\(|XMLHttpRequest|https?:|eval\(|innerHTML", found.raw["script"])


def test_the_policy_allows_its_own_style_and_script_only(hostile: str) -> None:
    found = Elements(hostile)
    (policy,) = [a["content"] for _, a in found.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for name in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(found.raw[name].encode()).digest()).decode()
        assert rules[f"{name}-src"] == f"'sha256-{digest}'"


@pytest.mark.slow
def test_every_chart_is_there_as_svg_and_as_png(hostile: str, finished: Path) -> None:
    plots = {path.stem for path in (finished / "plots").iterdir()}
    assert plots == {
        *(
            "reliability",
            "reliability_equal_counts",
            "reliability_1",
            "reliability_2",
            "confidence_histogram",
            "risk_coverage",
        ),
        *("risk_coverage_by_dataset", "error_by_position", "label_by_position"),
    }
    assert sum(tag == "svg" for tag, _ in Elements(hostile).tags) == len(plots)
    identifiers = [a["id"] for _, a in Elements(hostile).tags if "id" in a]
    assert len(identifiers) == len(set(identifiers))


@pytest.mark.slow
def test_100_000_steps_make_a_small_page(tmp_path: Path) -> None:
    """By the size at 4,000 steps and what each of 16,000 more adds, of which few are shown."""
    rows = make_rows(4_500)
    assert len(rows) > 20_000
    for row in rows:
        row["text"] *= 8
    counts = 4_000, 20_000
    few, many = (len(page_of(tmp_path / str(count), rows[:count]).encode()) for count in counts)
    a_step = (many - few) / (counts[1] - counts[0])
    assert many + max(a_step, 0.0) * (100_000 - counts[1]) < 2_000_000


def test_without_predictions_the_page_says_what_is_missing(folder: Path) -> None:
    full = (folder / "report.html").read_text(encoding="utf-8")
    (folder / "predictions.jsonl").unlink()
    written = report_on_folder(folder, allow_poorer=True)
    page = written.page.path.read_text(encoding="utf-8")
    assert NO_ROWS in written.page.missing
    assert NO_ROWS.split(",")[0] in Elements(page).text
    assert "confidence_histogram" not in {path.stem for path in written.page.plots}
    assert {path.name for path in (folder / "plots").iterdir()} == {path.name for path in written.page.plots}
    assert NO_ROWS not in Elements(full).text


def test_predictions_without_text_have_no_list_of_mistakes(tmp_path: Path) -> None:
    rows = [{"confidence": k / 20, "label": float(k % 2)} for k in range(21)]
    page = page_of(tmp_path / "e", rows)
    assert NO_TEXT in Elements(page).text
    assert 'id="mistakes"' not in page


def test_predictions_of_another_evaluation_are_refused(folder: Path) -> None:
    write_predictions(folder / "predictions.jsonl", make_rows(20, seed=1))
    with pytest.raises(DataError, match="labelled rows with an MSE of"):
        report_on_folder(folder)


def test_the_intervals_that_evaluation_makes_are_on_the_page(finished: Path) -> None:
    overall_section = json.loads((finished / "eval_metrics.json").read_text(encoding="utf-8"))["overall"]
    text = Elements((finished / "report.html").read_text(encoding="utf-8")).text
    for found in (overall_section["intervals"]["mse"], overall_section["skill"]["intervals"]["mse"]):
        assert f"95\xa0%: {found['low']:.3f} to {found['high']:.3f}".replace("-", "−") in text
    calibrated = overall_section["if_calibrated"]["ece"]
    assert f"if calibrated: {calibrated['mean']:.3f}, up to {calibrated['high']:.3f}" in text


def test_intervals_baselines_and_the_reports_own_verdict_are_shown(folder: Path) -> None:
    path = folder / "eval_metrics.json"
    report = json.loads(path.read_text())
    report["overall"]["intervals"] = {"ece": {"low": 0.0123, "high": 0.0456, "method": "percentile"}}
    report["baselines"] = [
        {"name": "step position", "mse": 0.2345, "auroc": 0.5678, "about": "By depth.", "per_dataset": {}}
    ]
    report["verdict"] = ["It beats the length of a step."]
    path.write_text(json.dumps(report))
    text = Elements(report_on_folder(folder).page.path.read_text(encoding="utf-8")).text
    for said in ("0.012 to 0.046", "step position", "By depth.", "0.234", "0.568", "It beats the length of a step."):
        assert said in text


STRANGE: dict[str, list[dict[str, Any]]] = {
    "one step": [{"confidence": 0.7, "label": 1.0, "text": "x"}],
    "one problem": [{"confidence": c, "label": 1.0, "problem_id": "p", "text": "x"} for c in (0.2, 0.7)],
    "one label": [{"confidence": k / 10, "label": 0.5, "text": "x"} for k in range(11)],
    "one confidence": [{"confidence": 0.5, "label": float(k % 2), "text": "x"} for k in range(11)],
    "far positions": [{"confidence": 0.9, "label": float(k % 3 == 0), "position": 7 * k + 1} for k in range(60)],
    "many datasets": [{"confidence": k / 40, "label": k % 2 / 1, "dataset": f"d{k % 20}"} for k in range(40)],
}


@pytest.mark.slow
@pytest.mark.parametrize("rows", STRANGE.values(), ids=STRANGE.keys())
def test_small_and_strange_results_have_a_page(
    rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures, intervals or whole charts may be undefined there; drawing in PNG is left out to be quick."""
    monkeypatch.setattr("surestep.evaluation.report.page.write_png", lambda chart, path: None)
    found = Elements(page_of(tmp_path / "e", rows))
    assert sum(tag == "h1" for tag, _ in found.tags) == 1
    # Reliability, histogram, risk and coverage; where steps stand at several positions two charts more.
    several = len({row.get("position", 1) for row in rows}) > 1
    assert sum(tag == "svg" for tag, _ in found.tags) >= (5 if several else 3)
    assert "nan" not in found.text.lower()
    assert "None" not in found.text


def at_one_position(rows: list[dict[str, Any]], position: int = 1) -> list[dict[str, Any]]:
    """The same steps, each the only one of its solution that a scorer was asked for."""
    return [
        {**row, "problem_id": f"{row['problem_id']}.{row['step']}", "step": 0, "parent": -1, "position": position}
        for row in rows
    ]


@pytest.mark.slow
def test_charts_of_one_position_only_are_left_out_and_a_sentence_says_why(tmp_path: Path) -> None:
    rows = at_one_position(make_rows(6), 12)
    found = Elements(page_of(tmp_path / "e", rows))
    assert f"All {len(rows)} steps stand at positions 11–15 of their solutions, so there are no charts" in found.text
    plots = {path.stem for path in (tmp_path / "e" / "plots").iterdir()}
    assert not plots & {"error_by_position", "label_by_position"}
    assert plots >= {"reliability", "confidence_histogram", "risk_coverage"}
    assert "Figures by step position" not in found.text


@pytest.mark.slow
def test_a_page_with_charts_of_one_position_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier versions drew them; a page without them says no less."""
    folder = tmp_path / "e"
    with monkeypatch.context() as patch:
        patch.setattr(positions, "only_one_position", lambda groups: "")
        page_of(folder, at_one_position(make_rows(6)))
        assert (folder / "plots" / "error_by_position.png").exists()
    written = report_on_folder(folder).page
    assert written.kept == ()
    assert not (folder / "plots" / "error_by_position.png").exists()
    assert "no charts by step position" in written.path.read_text(encoding="utf-8")


def test_the_figures_of_each_position_are_a_table(finished: Path) -> None:
    report = json.loads((finished / "eval_metrics.json").read_text(encoding="utf-8"))
    text = " ".join(Elements((finished / "report.html").read_text(encoding="utf-8")).text.split())
    for name, section in (*report["per_dataset"].items(), ("overall", report["overall"])):
        for row in section["by_position"]:
            assert f"{name} position {row['from']} {row['num_steps']} {row['mean_confidence']:.3f}" in text


def with_truth(rows: list[dict[str, Any]], far: int) -> list[dict[str, Any]]:
    """The same with a known truth, from which the confidence of the first `far` steps is 0.4 away, else 0.02."""
    known = []
    for number, row in enumerate(rows):
        truth = abs(row["confidence"] - (0.4 if number < far else 0.02))
        known.append({**row, "true_confidence": truth})
    return known


@pytest.mark.slow
def test_mistakes_on_data_of_known_truth_are_measured_against_it(tmp_path: Path) -> None:
    rows = with_truth(make_rows(6), far=0)
    assert any(row["confidence"] > 0.9 and row["label"] == 0.0 for row in rows), "coins that came up otherwise"
    found = Elements(page_of(tmp_path / "none", rows))
    text = " ".join(found.text.split())
    assert "The worst mistakes There are none. The true confidence of each step is known" in text
    assert not any("mistake" in (attributes.get("class") or "").split() for _, attributes in found.tags)
    rows = with_truth(make_rows(6, datasets=("only",)), far=3)
    far = [row for row in rows if abs(row["confidence"] - row["true_confidence"]) >= 0.25]
    text = " ".join(Elements(page_of(tmp_path / "some", rows)).text.split())
    assert far
    assert f"worst of {len(far)}, the largest distance first" in text
    for row in far:
        drawn = "right" if row["label"] else "wrong"
        assert f"{row['confidence']:.2f} true {row['true_confidence']:.2f} drawn {drawn} {row['text']}" in text


@pytest.mark.slow
def test_regret_is_shown_wherever_the_truth_is_known(tmp_path: Path) -> None:
    """Also where nobody says which part of the data a problem is of."""
    page = page_of(tmp_path / "e", with_truth(make_rows(6), far=3))
    truth = json.loads((tmp_path / "e" / "eval_metrics.json").read_text(encoding="utf-8"))["overall"]["truth"]
    text = " ".join(Elements(page).text.split())
    counts = f"{truth['num_steps_clean']} clean, {truth['num_steps_noisy']} noisy steps"
    assert f"overall {counts} {truth['regret']:.4f}" in text
    ends = truth["intervals"]["regret_noisy"]
    noisy = with_interval(truth["regret_noisy"], (ends["low"], ends["high"]))
    assert regret_lines(report_in(tmp_path / "e")) == [f"overall: regret of clean steps –, of noisy ones {noisy}"]


def report_in(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "eval_metrics.json").read_text(encoding="utf-8"))
    return values


def in_terminal(report: dict[str, Any]) -> str:
    """What `surestep evaluate` prints of the figures."""
    text = StringIO()
    console = Console(width=200, file=text)
    console.print(metrics_table(report, title="test split"))
    console.print(verdict(report).headline)
    return text.getvalue()


@pytest.mark.slow
def test_a_word_has_one_scale_on_the_page_in_the_card_and_in_the_terminal(finished: Path) -> None:
    """Every main figure is the same text in all three, and in no other number of decimals and no percentage."""
    report = report_in(finished)
    page = (finished / "report.html").read_text(encoding="utf-8")
    # Shares of the error are percentages, and one may be equal to a figure by chance.
    page = Elements(re.sub(r'<section id="error-analysis">.*?</section>', "", page, flags=re.DOTALL)).text
    page = page[: page.index("The worst mistakes")]  # a single step's values have decimals of their own
    card = card_text({**report, "checkpoint": "run/checkpoint_step_1"}, RunFiles())
    card = card[card.index("\n# ") :]  # its header is for machines
    terminal = in_terminal(report)
    for section in (*report["per_dataset"].values(), report["overall"]):
        for name, _, _ in FIGURES:
            value = value_of(section, name)
            assert value is not None
            for where, text in (("page", page), ("card", card), ("terminal", terminal)):
                plain = text.replace("−", "-")
                assert f"{value:.3f}" in plain, (where, name)
                for other in (f"{value:.4f}", f"{value:.5f}", f"{value:.1%}", f"{value:.0%}", f"{100 * value:.1f} %"):
                    assert not re.search(rf"(?<![\d.]){re.escape(other)}(?!\d)", plain), (where, name, other)


def test_a_section_and_a_share_are_called_alike_everywhere(finished: Path) -> None:
    report = report_in(finished)
    page = (finished / "report.html").read_text(encoding="utf-8")
    card = card_text({**report, "checkpoint": "run/checkpoint_step_1"}, RunFiles())
    terminal = in_terminal(report)
    assert '<th scope="row">overall</th>' in page
    assert "| overall | " in card
    assert " overall" in terminal
    meaning = f"{SKILL}: 0 is no better than the constant, 1 is perfect."
    assert meaning in page
    assert meaning in card
    assert f"skill: {SKILL}" in terminal


def overall(**values: Any) -> dict[str, Any]:
    base = {
        "num_steps": 1000,
        "num_problems": 200,
        "mean_confidence": 0.5,
        "mean_label": 0.5,
        "reliability": {"equal_width": []},
        "constant_baseline": {"constant": 0.5, "source": "training_mean"},
        "skill": {"mse": 0.3},
        "ece": 0.01,
        "auroc": 0.7,
    }
    return {"overall": {**base, **values}}


def test_a_constant_is_not_praised_for_its_calibration() -> None:
    """A low ECE next to no skill is what a constant has."""
    for skill in (-0.1, 0.004, 0.05):
        assert "confidence" not in verdict(overall(skill={"mse": skill}, ece=0.001)).headline


@pytest.mark.parametrize(
    ("values", "said", "tone"),
    [
        ({"skill": {"mse": -0.1}}, "No better than always answering the mean", "bad"),
        ({"skill": {"mse": 0.2, "intervals": {"mse": {"low": -0.1, "high": 0.4}}}}, "No better than", "bad"),
        (
            {"beats_baselines": {"mean": {"mse": True}, "TF-IDF": {"mse": False}}},
            "baseline does as well: TF-IDF",
            "bad",
        ),
        ({"beats_baselines": {"mean": {"mse": True, "auroc": None}}}, "Clearly better", "fair"),
        (
            {"ece": 0.06, "if_calibrated": {"ece": {"mean": 0.05, "high": 0.07}}},
            "calibrated, as far as so few steps can show",
            "fair",
        ),
        (
            {"ece": 0.025, "if_calibrated": {"ece": {"mean": 0.009, "high": 0.016}}},
            "close to calibrated",
            "fair",
        ),
        ({"ece": 0.06}, "roughly right", "fair"),
        ({"num_problems": 29}, r"Too few problems to say \(29; at least 30 are needed\)", "fair"),
        ({"num_problems": 29, "skill": {"mse": -0.4}}, "Too few problems to say", "fair"),
        ({"skill": {"mse": -0.2, "intervals": {"mse": {"low": -0.4, "high": -0.1}}}}, "Worse than always", "bad"),
        ({"skill": {"mse": 0.004}}, "Hardly better than always answering the mean", "bad"),
        (
            {"skill": {"mse": 0.05}, "ece": 0.2, "mean_confidence": 0.7},
            "A little better .* too high by about 0.20",
            "bad",
        ),
        ({}, "Clearly better than always answering the mean, and its confidence is close to calibrated", "fair"),
        ({"skill": {"mse": 0.6}}, "Far better", "good"),
        ({"ece": 0.2, "mean_confidence": 0.7}, "too high by about 0.20", "bad"),
        ({"ece": 0.1, "mean_confidence": 0.4}, "too low by about 0.10", "fair"),
        ({"ece": 0.1}, "is off by about 0.10", "fair"),
        ({"skill": {"mse": None, "undefined": {"mse": "there are no labelled steps"}}}, "No verdict", "fair"),
    ],
)
def test_the_headline_says_the_bad_before_the_good(values: dict[str, Any], said: str, tone: str) -> None:
    found = verdict(overall(**values))
    assert re.search(said, found.headline)
    assert found.tone == tone


def test_skill_is_said_against_the_constants_that_it_was_measured_with() -> None:
    """Over several datasets that is each one's own mean, not the one mean of them all."""
    found = verdict(overall(skill={"mse": 0.3, "against": "dataset_mean"}, dataset_mean={"mse": 0.2}))
    assert "that of constants, each dataset's own mean" in found.sentences[0]
    assert "0.50" not in found.sentences[0]


def test_an_ece_stands_beside_what_noise_would_show() -> None:
    values = {"ece": 0.025, "intervals": {"ece": {"low": 0.014, "high": 0.034}}}
    close = verdict(overall(**values, if_calibrated={"ece": {"mean": 0.009, "high": 0.016}}))
    assert "Its ECE is 0.025 (0.014 to 0.034); a perfectly calibrated model would show at most 0.016" in " ".join(
        close.sentences
    )
    assert "not calibrated perfectly" in " ".join(close.sentences)
    noise = verdict(overall(**values, if_calibrated={"ece": {"mean": 0.02, "high": 0.03}}))
    assert "cannot be told from a perfect one" in " ".join(noise.sentences)
