"""`surestep certify`: what it stores, what it refuses, and where the certified part is seen afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surestep import Scorer
from surestep.calibration import Calibration, Platt
from surestep.errors import CheckpointError
from surestep.files import CERTIFICATE
from surestep.guarantees import cutoff, path_scores
from surestep.scoring.checkpoint.calibration_file import store_calibration
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.checkpoint.manifest import read_manifest, replace_file
from surestep.scoring.checkpoint.to_hub import files_to_upload

Succeed = Callable[..., str]
Fail = Callable[..., str]


@pytest.fixture
def checkpoint(finished_run: Path) -> Path:
    return finished_run / "checkpoint_step_2"


@pytest.fixture
def chains(tmp_path: Path) -> Path:
    """Forty problems that nothing has seen, one solution each: every third of them wrong somewhere."""
    rows = []
    for number in range(40):
        labels = [1.0, 0.0 if number % 3 == 0 else 1.0, None if number % 5 == 0 else 1.0]
        steps = [{"text": f"step {n} of {number}", "confidence": label} for n, label in enumerate(labels)]
        rows.append({"problem": f"unseen {number}: how much is it?", "steps": steps})
    path = tmp_path / "unseen.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def certify(checkpoint: Path, data: Path, *flags: object) -> list[object]:
    return ["certify", "--checkpoint", checkpoint, "--data", data, "--device", "cpu", *flags]


def stored(checkpoint: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((checkpoint / CERTIFICATE).read_text())
    return found


@pytest.mark.slow
def test_the_certificate_is_the_rule_of_these_problems_and_everything_that_scores_shows_it(
    checkpoint: Path, chains: Path, succeed: Succeed, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.json"
    out = succeed(*certify(checkpoint, chains, "--alpha", 0.2, "--score", "min", "--out", copy))
    for words in (
        "at most 20% of problems keep a wrong step (average over problems and calibration sets)",
        "40 problems, one path each; 14 hold a wrong step; 6.7% of steps unlabelled (ignored); none seen in training",
        "(8th largest of 40 critical values)",
        "19.51% expected; for this calibration set below",
        "of right steps, something in ",
        "where something is kept ",
        "Not promised for one problem",
    ):
        assert words in out
    values = stored(checkpoint)
    assert json.loads(copy.read_text()) == values
    assert values["strict"] is True
    assert values["about"]["seen"]["seen"] == {}
    rule = values["rules"]["all"]

    scorer = Scorer.load(checkpoint, device="cpu", say=lambda line: None)
    rows = [json.loads(line) for line in chains.read_text().splitlines()]
    critical = []
    for row in rows:
        result = scorer.score(row["problem"], [step["text"] for step in row["steps"]])
        g = path_scores([-1, 0, 1], [value for value in result.raw if value is not None], "min")
        wrong = [step["confidence"] is not None and step["confidence"] < 0.5 for step in row["steps"]]
        critical.append(g[wrong.index(True)] if any(wrong) else -np.inf)
        assert result.certified is not None
        assert result.certified.num_kept == (g > float(rule["cutoff"])).sum()
    assert float(rule["cutoff"]) == pytest.approx(cutoff(critical, np.ones(40), 40, 0.2), abs=1e-6)
    assert (rule["n"], rule["k"], rule["num_wrong"]) == (40, 8, 14)
    assert len(rule["critical_values"]) == 14

    table = tmp_path / "rows.jsonl"
    table.write_text(json.dumps({"problem": "p", "steps": ["a", "b"]}) + "\n", encoding="utf-8")
    scored = tmp_path / "scored.jsonl"
    succeed("score", table, checkpoint, "--output", scored, "--device", "cpu")
    assert isinstance(json.loads(scored.read_text())["certified_steps"], int)
    several = scorer.rerank("p", [["a"], ["b"]])
    assert [one.scores.certified for one in several] == [None, None], "it is for the only solution of a problem"
    assert "certificate" in scorer.about()


def test_problems_that_were_used_before_are_refused_or_left_out(
    checkpoint: Path, chains: Path, run_files: Path, succeed: Succeed, fail: Fail, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed.jsonl"
    used = (run_files / "train.jsonl").read_text().splitlines()[:6]
    mixed.write_text(chains.read_text() + "\n".join(used) + "\n", encoding="utf-8")
    line = fail(*certify(checkpoint, mixed, "--alpha", 0.2))
    assert "6 of 46 problems were used before" in line
    assert "--remove_seen" in line
    assert not (checkpoint / CERTIFICATE).exists()
    out = succeed(*certify(checkpoint, mixed, "--alpha", 0.2, "--remove_seen"))
    assert "40 problems" in out
    assert sum(stored(checkpoint)["about"]["left_out"].values()) == 6


def test_what_training_read_must_be_there_or_be_said_to_be_unchecked(
    checkpoint: Path, chains: Path, succeed: Succeed, fail: Fail, tmp_path: Path
) -> None:
    gone = ("--alpha", 0.2, "--own_train", tmp_path / "gone.jsonl")
    assert "--unchecked_training" in fail(*certify(checkpoint, chains, *gone))
    out = succeed(*certify(checkpoint, chains, *gone, "--unchecked_training"))
    assert "not all that was used could be compared" in out
    assert len(stored(checkpoint)["about"]["seen"]["not_compared"]) == 2


def test_problems_of_the_calibration_map_are_refused(
    checkpoint: Path, chains: Path, fail: Fail, tmp_path: Path
) -> None:
    from surestep.data.trees.identity import normalize_text
    from surestep.evaluation.certify.seen import PROBLEMS, text_hash

    used = text_hash(normalize_text("unseen 3: how much is it?"))
    about = {PROBLEMS: [used], "datasets": {}}
    store_calibration(checkpoint, read_manifest(checkpoint, with_state=False), Calibration(Platt(1.0, 0.1), {}, about))
    line = fail(*certify(checkpoint, chains, "--alpha", 0.2))
    assert "1 of 40 problems were used before: 1 in the fit of the calibration maps" in line
    store_calibration(checkpoint, read_manifest(checkpoint, with_state=False), Calibration(Platt(1.0, 0.1)))
    assert "run `surestep calibrate` again" in fail(*certify(checkpoint, chains, "--alpha", 0.2))


def test_too_few_problems_give_no_rule(checkpoint: Path, chains: Path, succeed: Succeed) -> None:
    words = "no rule at 0.02: needs 49 problems, has 40; the smallest alpha with a rule is 1/41 = 0.024"
    assert words in succeed(*certify(checkpoint, chains, "--alpha", 0.02, "--no_store"))
    assert not (checkpoint / CERTIFICATE).exists()


def test_without_a_file_the_test_split_certifies(checkpoint: Path, run_files: Path, succeed: Succeed) -> None:
    out = succeed("certify", "--checkpoint", checkpoint, "--alpha", 0.5, "--no_store", "--device", "cpu")
    count = len((run_files / "test.jsonl").read_text().splitlines())
    assert f"{count} problems, " in out


def test_where_a_certificate_was_asked_for_no_rule_is_the_users_mistake(
    checkpoint: Path, chains: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from surestep.cli.main import main

    assert main([str(one) for one in certify(checkpoint, chains, "--alpha", 0.02)]) == 2
    assert "needs 49 problems, has 40" in capsys.readouterr().err
    assert not (checkpoint / CERTIFICATE).exists()


@pytest.mark.slow
def test_other_promises_and_the_form_with_confidence(checkpoint: Path, chains: Path, succeed: Succeed) -> None:
    out = succeed(*certify(checkpoint, chains, "--alpha", 0.2, "--confidence", 0.9, "--promise", "random"))
    assert "for all but 10% of calibration sets" in out
    assert "one drawn solution each" in out
    assert stored(checkpoint)["rules"]["all"]["k"] == 5
    out = succeed(*certify(checkpoint, chains, "--alpha", 0.2, "--promise", "tree", "--unlabelled", "wrong"))
    assert "unlabelled (count as wrong)" in out
    out = succeed(*certify(checkpoint, chains, "--alpha", 0.2, "--by", "dataset", "--loss", "soft"))
    assert "Group        own" in out
    assert "the largest 1 − label of a kept step" in out
    assert stored(checkpoint)["groups"] == {"own": "own"}


def test_it_is_refused_beside_other_weights_and_other_maps_and_goes_when_it_is_removed(
    checkpoint: Path, chains: Path, succeed: Succeed, tmp_path: Path
) -> None:
    succeed(*certify(checkpoint, chains, "--alpha", 0.2))
    other = checkpoint.parent / "checkpoint_step_4"
    shutil.copytree(checkpoint, other)
    manifest = read_manifest(other, with_state=False)
    manifest.step = 4
    replace_file(other, manifest, CERTIFICATE, (checkpoint / CERTIFICATE).read_bytes())
    with pytest.raises(CheckpointError, match="of another checkpoint"):
        load_checkpoint(other)
    manifest = read_manifest(checkpoint, with_state=False)
    line = store_calibration(checkpoint, manifest, Calibration(Platt(0.5, 0.1)))
    assert line is not None
    assert line.startswith("removed: ")
    assert not (checkpoint / CERTIFICATE).exists()
    text = (other / CERTIFICATE).read_bytes()
    replace_file(checkpoint, read_manifest(checkpoint, with_state=False), CERTIFICATE, text)
    with pytest.raises(CheckpointError, match="other calibration maps"):
        load_checkpoint(checkpoint)
    assert "removed" in succeed("certify", "--checkpoint", checkpoint, "--remove")
    assert load_checkpoint(checkpoint).built.certificate is None
    assert "has no certificate" in succeed("certify", "--checkpoint", checkpoint, "--remove")


@pytest.mark.slow
def test_an_export_carries_it_and_the_min_of_raw_confidences_needs_no_map(
    checkpoint: Path, chains: Path, succeed: Succeed, tmp_path: Path
) -> None:
    succeed(*certify(checkpoint, chains, "--alpha", 0.2, "--score", "min"))
    line = store_calibration(checkpoint, read_manifest(checkpoint, with_state=False), Calibration(Platt(0.5, 0.1)))
    assert line is not None
    assert "holds on" in line
    succeed("export", "--checkpoint", checkpoint, "--output_dir", tmp_path / "merged")
    assert CERTIFICATE in files_to_upload(tmp_path / "merged", with_state=False)[0], "a push takes it along"
    carried = load_checkpoint(tmp_path / "merged").built.certificate
    assert carried is not None
    assert carried.about["carried_from_checkpoint"] == stored(checkpoint)["made_for"]["checkpoint"]


def test_scores_of_a_file_are_certified_where_they_hold_every_step(
    chains: Path, succeed: Succeed, fail: Fail, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in chains.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["id"] = str(number)
    data = tmp_path / "named.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    scores = tmp_path / "scores.jsonl"

    def write(values: list[float | None]) -> None:
        lines = [json.dumps({"id": row["id"], "confidences": values}) for row in rows]
        scores.write_text("\n".join(lines) + "\n", encoding="utf-8")

    flags = ("certify", "--predictions", scores, "--data", data, "--alpha", 0.2)
    write([0.9, 0.8, 0.7])
    out = succeed(*flags, "--out", tmp_path / "certificate.json")
    assert "what the scorer was trained on is not known here" in out
    assert (tmp_path / "certificate.json").is_file()
    write([0.9, None, 0.7])
    assert "a file of judged steps alone cannot be certified" in fail(*flags)


def test_steps_that_a_layout_drops_cannot_count_as_wrong(succeed: Succeed, fail: Fail, tmp_path: Path) -> None:
    """PRM800K's reader leaves out what nobody judged behind the last judged step."""
    steps = [
        {"completions": [{"text": text, "rating": rating}], "human_completion": None, "chosen_completion": 0}
        for text, rating in (("a", 1), ("b", None))
    ]
    rows = [{"question": {"problem": f"problem {n}"}, "label": {"steps": steps}} for n in range(12)]
    data = tmp_path / "phase1_test.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    from surestep.data.datasets.prm800k import read_prm800k
    from surestep.data.records.reading_report import ReadReport

    ids = [tree.id for tree in read_prm800k([data], report=ReadReport())]
    scores = tmp_path / "scores.jsonl"
    scores.write_text("".join(json.dumps({"id": one, "confidences": [0.9]}) + "\n" for one in ids), encoding="utf-8")
    flags = ("certify", "--predictions", scores, "--data", data, "--format", "prm800k", "--alpha", 0.2)
    assert "12 steps that nobody judged, behind the last judged one, not read" in succeed(*flags)
    of_evaluate = [json.dumps({"dataset": "prm800k", "id": one, "confidences": [0.9]}) for one in ids]
    scores.write_text("\n".join(of_evaluate) + "\n", encoding="utf-8")
    assert "drops 12 steps that nobody judged" in fail(*flags, "--unlabelled", "wrong")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "name either --checkpoint FOLDER or --predictions FILE"),
        (("--predictions", "x"), "name the labelled trees with --data"),
        (("--checkpoint", "x", "--format", "own"), "--format is the layout of --data"),
        (("--checkpoint", "x", "--alpha", "1.5"), "alpha 1.5; allowed: above 0, below 1"),
        (("--checkpoint", "x", "--confidence", "1"), "--confidence 1.0; allowed"),
        (("--checkpoint", "x", "--wrong_below", "0"), "wrong_below 0.0; allowed"),
        (("--checkpoint", "x", "--remove", "--out", "y"), "--remove only removes"),
        (("--checkpoint", "x", "--confidence", "0.9", "--loss", "soft"), "delta with the soft loss"),
    ],
)
def test_contradictions_are_said_before_anything_is_loaded(flags: tuple[str, ...], words: str, fail: Fail) -> None:
    assert words in fail("certify", *flags)
