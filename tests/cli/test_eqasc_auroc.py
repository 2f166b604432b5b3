"""What a perfect detector of the crowd's "yes" gets on eQASC's layout, through `surestep evaluate --predictions`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from surestep.cli.main import main
from surestep.data.datasets.eqasc import read_eqasc
from surestep.data.records.reading_report import ReadReport

WORDS = ["yes", "no", "?", "unsure", "fact1", "yes", "?", "not-quite", "bad-answer", "no"]


def questions() -> list[dict[str, Any]]:
    """Each chain's facts are the crowd's word and its number, so that a detector can know it."""
    chains = [
        [{"text": f"fact {number}"}, {"text": f"{word} {number}"}, {"turk_label": {"label": word}}]
        for number, word in enumerate(WORDS)
    ]
    choices = [{"text": "c", "label": "A", "df": "d", "chains": chains}]
    return [{"id": f"q{number}", "question": {"stem": f"s{number}", "choices": choices}} for number in range(3)]


def auroc(tmp_path: Path, rule: Any) -> float:
    """Of the detector that is sure exactly where the crowd said yes."""
    path = tmp_path / "eqasc_test_grc.json"
    path.write_text(json.dumps(questions()), encoding="utf-8")
    rows = [
        {"problem_id": tree.id, "confidence": float(node.text.startswith("yes")), "label": node.confidence}
        for tree in read_eqasc(path, report=ReadReport(), unsure=rule)
        for node in tree.nodes
        if node.confidence is not None
    ]
    predictions = tmp_path / "predictions.jsonl"
    predictions.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    out = tmp_path / rule
    assert main(["evaluate", "--predictions", str(predictions), "--output_dir", str(out), "--baselines", "false"]) == 0
    value: float = json.loads((out / "eval_metrics.json").read_text(encoding="utf-8"))["overall"]["auroc"]
    return value


@pytest.mark.slow
def test_by_the_authors_rule_a_perfect_detector_is_perfect(tmp_path: Path) -> None:
    """As in their own evaluation, where `?` and `unsure` count among the chains that are not valid."""
    assert auroc(tmp_path, "negative") == 1.0
    # With 0.5, which counts as right, three of five chains called right are ones it rightly has no confidence in.
    assert auroc(tmp_path, "half") == pytest.approx((2 + 3 / 2) / 5)
