"""The disk is full at a write, rename or sync of a command: the former results are whole, and one line says so.

Here at a few writes of each command; tests/faults fills it at every one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runs import Watcher, hashes
from surestep.cli.main import main
from surestep.config import Config
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.training.run import train
from survival import refuses_and_keeps


@pytest.fixture
def trained(run_config: Callable[..., Config]) -> Config:
    config = run_config(max_steps=2, baselines=False)
    train(config, Watcher())
    return config


@pytest.mark.slow
def test_evaluate_and_report(trained: Config, drawn: None) -> None:
    checkpoint = trained.experiment_dir / "checkpoint_step_2"
    results = trained.output_dir / "results"
    arguments = ["evaluate", "--checkpoint", checkpoint, "--output_dir", results, "--baselines", "false"]
    assert main([*map(str, arguments), "--split", "validation"]) == 0
    assert {"eval_metrics.json", "predictions.jsonl.gz", "report.html", "MODEL_CARD.md", "plots"} == {
        path.name for path in results.iterdir()
    }
    # The lock, files beside their places, the first one in its place, one of the last.
    for number in (2, 4, 26, 29, 49):
        assert refuses_and_keeps(number, arguments, trained.output_dir)
    for number in (5, 41):
        assert refuses_and_keeps(number, ["report", results], trained.output_dir)


@pytest.mark.slow
def test_calibrate(trained: Config) -> None:
    checkpoint = trained.experiment_dir / "checkpoint_step_2"
    arguments = ["calibrate", "--checkpoint", checkpoint, "--method", "temperature"]
    for number in (4, 8, 12):
        # Behind the first rename the new calibration may stand: valid, as `store_calibration` promises.
        assert refuses_and_keeps(number, arguments, trained.output_dir, same=number < 12)
        load_checkpoint(checkpoint)


@pytest.mark.slow
def test_export(trained: Config) -> None:
    merged = trained.output_dir / "merged"
    arguments = ["export", "--checkpoint", trained.experiment_dir / "checkpoint_step_2", "--output_dir", merged]
    for number in (1, 3):
        assert refuses_and_keeps(number, arguments, trained.output_dir)
        assert not merged.exists()


def test_export_for_vllm(trained: Config) -> None:
    served = trained.output_dir / "served"
    checkpoint = trained.experiment_dir / "checkpoint_step_2"
    arguments = ["export", "--checkpoint", checkpoint, "--output_dir", served, "--for", "vllm"]
    for number in (1, 5):
        assert refuses_and_keeps(number, arguments, trained.output_dir)
        assert not served.exists()


@pytest.mark.slow
def test_predictions_of_another_evaluation_are_noticed(trained: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """What a kill between two renames leaves: new predictions beside the former figures."""
    checkpoint = trained.experiment_dir / "checkpoint_step_2"
    results, others = trained.output_dir / "results", trained.output_dir / "others"
    arguments = ["evaluate", "--checkpoint", str(checkpoint), "--baselines", "false", "--report", "false"]
    assert main([*arguments, "--output_dir", str(results)]) == 0
    assert main([*arguments, "--output_dir", str(others), "--split", "validation"]) == 0
    shutil.copy(others / "predictions.jsonl.gz", results)
    capsys.readouterr()
    assert main(["report", str(results)]) == 2
    assert "sha256 differs" in capsys.readouterr().err
    assert main(["compare", str(results), str(others)]) == 2


@pytest.mark.slow
def test_train(run_config: Callable[..., Config], tmp_path: Path) -> None:
    """Each failure leaves whole checkpoints or none, and the same command goes on."""
    config = run_config(max_steps=2, save_steps=1, baselines=False)
    config.save(tmp_path / "config.json")
    config.output_dir.mkdir(parents=True)
    arguments = ["train", "--config", tmp_path / "config.json"]
    for number, way in ((3, "--overwrite"), (18, "--overwrite"), (75, "--overwrite"), (20, "--resume")):
        assert refuses_and_keeps(number, [*arguments, way], config.output_dir, same=False)
        for path in config.experiment_dir.glob("checkpoint_step_*"):
            load_checkpoint(path)
    assert main([*map(str, arguments), "--resume"]) == 0
    assert hashes(config.experiment_dir / "checkpoint_step_2")
