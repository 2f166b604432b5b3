"""The error analysis stands in the results, in the page and in the production check, from one set of sentences."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from surestep.config import EvalConfig
from surestep.evaluation.check.folder import check_error_analysis
from surestep.evaluation.evaluate import evaluate_predictions
from surestep.evaluation.results.find import find_evaluation
from surestep.metrics.error_analysis.wording import error_lines

TEXTS = ("3 + 4 = 7", "Then x + 1 = 8.", "We count the <b>apples</b>.")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("errors")
    rng = random.Random(0)
    rows = [
        {"problem": f"problem {number}", "problem_id": f"p{number}", "step": place, "parent": place - 1,
         "position": place + 1, "text": text, "label": float(rng.random() < 0.5), "num_ratings": 1,
         "confidence": round(rng.random(), 3)}
        for number in range(40)
        for place, text in enumerate(TEXTS)
    ]  # fmt: skip
    path = folder / "predictions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = EvalConfig(bootstrap_resamples=30, baselines=False)
    evaluate_predictions(path, output_dir=folder / "out", settings=settings, with_page=True)
    return folder / "out"


def test_the_results_have_the_tables_and_the_page_shows_them(results: Path) -> None:
    section = json.loads((results / "eval_metrics.json").read_text())["error_analysis"]["per_dataset"]["all"]
    assert {row["kind"]: row["num_steps"] for row in section["by_kind"]} == dict.fromkeys(
        ("arithmetic", "algebra", "text"), 40
    )
    assert [row["from"] for row in section["by_position"]] == [1, 2, 3]
    assert section["raters"] == {
        "left_out": "no step with a label was rated more than once, so raters cannot be told from the model"
    }
    page = (results / "report.html").read_text()
    assert '<section id="error-analysis">' in page
    for title in ("By kind of step", "By position", "By length in characters"):
        assert f"<summary>{title}</summary>" in page
    assert "How much of the error is the raters&#39; cannot be said" in page


def test_the_check_says_where_the_model_fails(results: Path) -> None:
    found = find_evaluation(results)
    finding = check_error_analysis(found)
    assert finding.status == "pass"
    for line in error_lines(found.report["error_analysis"]["per_dataset"]):
        assert line.rstrip(".") in finding.detail
