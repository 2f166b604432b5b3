"""`surestep calibrate` as a process of its own: on `builtin:tiny` with arithmetic, then in everything that scores."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from documents import Ran, run
from runs import hashes, read_lines
from scores import scores_of
from surestep.calibration import Platt
from surestep.scoring.checkpoint.calibration_file import read_calibration
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.checkpoint.save import save_checkpoint
from surestep.types import chain

SETTINGS = [
    *("--backbone", "builtin:tiny", "--mlp_hidden_dims", "[16]", "--mlp_dropout", "0"),
    *("--use_prm800k", "false", "--use_eqasc", "false", "--use_arithmetic", "true"),
    *("--arithmetic_problems", "300", "--arithmetic_eval_problems", "60", "--max_steps_per_example", "none"),
    *("--max_steps", "12", "--warmup_steps", "0", "--learning_rate", "3e-3", "--batch_size", "8"),
    *("--gradient_accumulation_steps", "1", "--tensorboard", "false", "--device", "cpu", "--experiment_name", "run"),
    *("--bootstrap_resamples", "20"),
]
SHARPENED = 8.0

Surestep = Callable[..., Ran]


@pytest.fixture(scope="module")
def surestep(quick_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Surestep:
    """Run the command as a process; its exit code and all that it printed."""
    folder = tmp_path_factory.mktemp("work")

    def call(*arguments: object) -> Ran:
        return run(["surestep", *map(str, arguments)], folder, first_on_path=quick_python)

    return call


@pytest.fixture(scope="module")
def trained(surestep: Surestep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a short run."""
    folder = tmp_path_factory.mktemp("trained")
    ran = surestep("train", "--preset", "full", *SETTINGS, "--output_dir", folder)
    assert ran.code == 0, ran.output
    return folder / "run" / "checkpoint_step_12"


@pytest.fixture(scope="module")
def overconfident(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model, but every logit is eight times as large."""
    folder = tmp_path_factory.mktemp("overconfident") / "checkpoint_step_12"
    loaded = load_checkpoint(trained)
    for parameter in loaded.built.model.head.output.parameters():
        parameter.data.mul_(SHARPENED)
    save_checkpoint(folder, loaded.built, loaded.config, step=12, label_means=loaded.manifest.label_means)
    return folder


@pytest.fixture
def checkpoint(overconfident: Path, tmp_path: Path) -> Path:
    """An overconfident one that a test may calibrate."""
    return Path(shutil.copytree(overconfident, tmp_path / "checkpoint_step_12"))


def done(ran: Ran) -> str:
    assert ran.code == 0, ran.output
    return ran.output


def refused(ran: Ran) -> str:
    lines = [line for line in ran.output.splitlines() if line.startswith("surestep: ")]
    assert ran.code == 2, ran.output
    assert "Traceback" not in ran.output
    assert len(lines) == 1, ran.output
    return lines[0]


def evaluated(surestep: Surestep, checkpoint: Path, folder: Path, *flags: str) -> tuple[dict[str, Any], list[Any], str]:
    quick = ("--save_predictions", "--report", "false", "--baselines", "false")
    out = done(surestep("evaluate", "--checkpoint", checkpoint, "--output_dir", folder, *quick, *flags))
    return json.loads((folder / "eval_metrics.json").read_text()), read_lines(folder / "predictions.jsonl.gz"), out


def write_labels(path: Path, count: int, *, right: Callable[[random.Random], float]) -> Path:
    """Labelled sums in our own layout, five steps each."""
    source = random.Random(0)
    rows = []
    for number in range(count):
        left = source.randint(1, 9)
        steps = [{"text": f"{left} + {n} = {left + n}", "confidence": right(source)} for n in range(5)]
        rows.append({"problem": f"start {left}; number {number}", "steps": steps})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.slow
def test_an_overconfident_model_is_mended_on_problems_that_nobody_fitted(
    surestep: Surestep, checkpoint: Path, tmp_path: Path
) -> None:
    before, raw_rows, out = evaluated(surestep, checkpoint, tmp_path / "before")
    assert before["calibration"] == {"applied": "none", "stored": False}
    assert "no calibration is stored" in out
    assert not any("raw_confidence" in row for row in raw_rows)
    out = done(surestep("calibrate", "--checkpoint", checkpoint))
    judged = json.loads((checkpoint / "calibration.json").read_text())["about"]["maps"]
    assert list(judged) == ["temperature", "platt", "beta", "isotonic"]
    for kind, judgement in judged.items():
        assert f"{kind} {judgement['reason']}" in " ".join(out.split())
        assert set(judgement["changes"]) == {"nll", "brier", "ece"}
        assert judgement["accepted"] == (judgement["rejected_by"] is None)
    for words in ("none (before)", "isotonic", "after, chosen within folds", "pooled map: ", "stored: "):
        assert words in out
    after, rows, out = evaluated(surestep, checkpoint, tmp_path / "after")
    assert "calibrated by the pooled map" in out
    found = after["calibration"]
    assert (found["applied"], found["stored"], found["used"]) == ("pooled", True, {"arithmetic": "pooled"})
    for figure in ("nll", "ece", "mse", "brier"):
        assert found["before"]["overall"][figure] == before["overall"][figure]
        assert found["after"]["overall"][figure] == after["overall"][figure]
    assert after["overall"]["nll"] < before["overall"]["nll"] - 0.05
    assert after["overall"]["ece"] < before["overall"]["ece"]
    assert after["overall"]["auroc"] == before["overall"]["auroc"], "ranking goes by the raw score"
    assert [row["raw_confidence"] for row in rows] == [row["confidence"] for row in raw_rows]
    calibration = read_calibration(checkpoint)
    assert calibration is not None
    assert [row["confidence"] for row in rows] == calibration.pooled.apply(
        [row["confidence"] for row in raw_rows]
    ).tolist()
    assert found["fitted_on_these"] == []
    _, _, out = evaluated(surestep, checkpoint, tmp_path / "validation", "--split", "validation")
    assert "too good on arithmetic" in out
    none, rows, out = evaluated(surestep, checkpoint, tmp_path / "none", "--calibration", "none")
    assert none["overall"] == before["overall"]
    assert none["calibration"]["applied"] == "none"
    assert rows == raw_rows
    assert "was not applied" in out


@pytest.mark.slow
def test_a_known_distortion_of_this_model_is_recovered(surestep: Surestep, checkpoint: Path, tmp_path: Path) -> None:
    """Labels that are a known map of the model's own confidence, scored here, calibrated in a process of its own."""
    path = write_labels(tmp_path / "labels.jsonl", 60, right=lambda _: 0.5)
    records = read_lines(path)
    loaded = load_checkpoint(checkpoint)
    trees = [chain(record["problem"], [step["text"] for step in record["steps"]]) for record in records]
    truth = Platt(slope=0.5, intercept=1.0)
    for record, confidences in zip(records, scores_of(loaded.built.scorer(loaded.config), trees), strict=True):
        for step, confidence in zip(record["steps"], confidences, strict=True):
            step["confidence"] = float(truth.apply(confidence))
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    done(surestep("calibrate", "--checkpoint", checkpoint, "--data", path))
    calibration = read_calibration(checkpoint)
    assert calibration is not None
    assert isinstance(calibration.pooled, Platt), "the simplest map that explains these labels"
    assert calibration.pooled.slope == pytest.approx(0.5, abs=1e-3)
    assert calibration.pooled.intercept == pytest.approx(1.0, abs=1e-3)
    done(surestep("calibrate", "--checkpoint", checkpoint, "--data", path, "--method", "temperature"))
    calibration = read_calibration(checkpoint)
    assert calibration is not None
    assert calibration.about["methods"] == ["temperature"]
    assert calibration.pooled.kind in {"identity", "temperature"}


@pytest.mark.slow
def test_the_record_holds_what_was_done_and_only_held_out_figures(surestep: Surestep, checkpoint: Path) -> None:
    done(surestep("calibrate", "--checkpoint", checkpoint))
    first = json.loads((checkpoint / "calibration.json").read_text())
    about = first["about"]
    assert (about["split"], about["num_problems"], about["num_folds"]) == ("validation", 60, 5)
    held_out = {name: found["overall"]["nll"] for name, found in about["held_out"].items()}
    assert list(held_out) == ["identity", "temperature", "platt", "beta", "isotonic", "chosen within folds"]
    assert held_out[first["pooled"]["kind"]] <= held_out["identity"]
    assert about["datasets"]["arithmetic"]["num_steps"] == about["num_steps"]
    assert about["datasets"]["arithmetic"]["fingerprint"]
    done(surestep("calibrate", "--checkpoint", checkpoint))
    second = json.loads((checkpoint / "calibration.json").read_text())
    assert {**second, "about": None} == {**first, "about": None}, "validation is scored without the stored map"
    assert second["about"]["held_out"] == about["held_out"]


@pytest.mark.slow
def test_removing_it_gives_the_checkpoint_of_before(surestep: Surestep, checkpoint: Path) -> None:
    before = hashes(checkpoint)
    done(surestep("calibrate", "--checkpoint", checkpoint))
    assert "removed: " in done(surestep("calibrate", "--checkpoint", checkpoint, "--remove"))
    assert hashes(checkpoint) == before
    assert "has no calibration" in done(surestep("calibrate", "--checkpoint", checkpoint, "--remove"))


@pytest.mark.slow
def test_own_labels_recalibrate_without_training(surestep: Surestep, checkpoint: Path, tmp_path: Path) -> None:
    """Labels drawn with 0.8 whatever the text: the best map of a model that knows nothing of them is 0.8."""
    own = write_labels(tmp_path / "labels.jsonl", 80, right=lambda source: float(source.random() < 0.8))
    out = done(surestep("calibrate", "--checkpoint", checkpoint, "--data", own, "--format", "own"))
    assert "400 steps of 80 problems" in out
    calibration = read_calibration(checkpoint)
    assert calibration is not None
    assert list(calibration.about["datasets"]) == ["own"]
    raw = [row["raw_confidence"] for row in evaluated(surestep, checkpoint, tmp_path / "r")[1]]
    assert calibration.pooled.apply(raw).mean() == pytest.approx(0.8, abs=0.12)


@pytest.mark.slow
def test_a_changed_byte_of_the_calibration_is_an_error_wherever_it_scores(surestep: Surestep, checkpoint: Path) -> None:
    done(surestep("calibrate", "--checkpoint", checkpoint))
    path = checkpoint / "calibration.json"
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 3] ^= 1
    path.write_bytes(changed)
    for command in (["evaluate"], ["calibrate"], ["calibrate", "--remove"]):
        line = refused(surestep(*command, "--checkpoint", checkpoint))
        assert "calibration.json" in line
        assert "sha256" in line


@pytest.mark.slow
def test_export_keeps_it(surestep: Surestep, checkpoint: Path, tmp_path: Path) -> None:
    done(surestep("calibrate", "--checkpoint", checkpoint))
    done(surestep("export", "--checkpoint", checkpoint, "--output_dir", tmp_path / "exported"))
    assert read_calibration(tmp_path / "exported") == read_calibration(checkpoint)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--arithmetic_eval_problems", "8"], ["8 problems", "too few", "--data"]),
        (["--split", "test"], ["test split", "evaluation only"]),
        (["--format", "own"], ["--format", "--data"]),
        (["--remove", "--method", "platt"], ["--remove", "--method"]),
        (["--data", "gone.jsonl"], ["gone.jsonl"]),
        (["--data", "ONE_KIND"], ["one kind", "0 wrong"]),
        (["--data", "FEW"], ["too few"]),
        (["--data", "BROKEN"], ["broken.jsonl, line 2"]),
    ],
)
def test_what_cannot_be_calibrated_on_is_one_line_and_changes_nothing(
    flags: list[str], words: list[str], surestep: Surestep, checkpoint: Path, tmp_path: Path
) -> None:
    broken = write_labels(tmp_path / "broken.jsonl", 3, right=lambda _: 1.0)
    lines = broken.read_text().splitlines()
    broken.write_text("\n".join([lines[0], lines[1][:-10], lines[2]]), encoding="utf-8")
    files = {
        "ONE_KIND": write_labels(tmp_path / "right.jsonl", 40, right=lambda _: 1.0),
        "FEW": write_labels(tmp_path / "few.jsonl", 4, right=lambda source: source.choice([0.0, 1.0])),
        "BROKEN": broken,
    }
    before = hashes(checkpoint)
    line = refused(surestep("calibrate", "--checkpoint", checkpoint, *(files.get(flag, flag) for flag in flags)))
    for word in words:
        assert word in line
    assert hashes(checkpoint) == before


@pytest.mark.slow
def test_an_unknown_method_and_a_missing_checkpoint_are_refused(
    surestep: Surestep, checkpoint: Path, tmp_path: Path
) -> None:
    ran = surestep("calibrate", "--checkpoint", checkpoint, "--method", "spline")
    assert (ran.code, "spline" in ran.output) == (2, True)
    assert "no such checkpoint" in refused(surestep("calibrate", "--checkpoint", tmp_path / "gone"))
    line = refused(surestep("evaluate", "--predictions", tmp_path / "p.jsonl", "--calibration", "none"))
    assert "--calibration" in line
