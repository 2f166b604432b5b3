"""What the tests of the commands share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runs import DATA_FLAGS
from surestep.cli.main import main


def run_flags(backbone: Path, run_files: Path, outputs: Path) -> list[str]:
    """A run of four steps on our own small files, into `outputs/run`."""
    return [
        *("--backbone", str(backbone), "--mlp_hidden_dims", "[16]", "--lora_r", "4"),
        *DATA_FLAGS,
        *("--own_train", str(run_files / "train.jsonl"), "--own_test", str(run_files / "test.jsonl")),
        *("--cache_dir", str(run_files / "cache"), "--output_dir", str(outputs)),
        *("--experiment_name", "run", "--device", "cpu", "--tensorboard", "false"),
        *("--max_steps", "4", "--batch_size", "2", "--gradient_accumulation_steps", "1", "--warmup_steps", "0"),
        *("--eval_steps", "2", "--save_steps", "2", "--logging_steps", "1"),
        *("--bootstrap_resamples", "20"),
    ]


@pytest.fixture
def flags(backbone_folder: Callable[[str], Path], run_files: Path, tmp_path: Path) -> list[str]:
    """A run of four steps on our own small files, into `tmp_path/outputs/run`."""
    return run_flags(backbone_folder("llama"), run_files, tmp_path / "outputs")


@pytest.fixture(scope="session")
def _trained_once(
    backbone_folder: Callable[[str], Path], run_files: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Where a run of two LoRA steps was trained into, and a copy of all that it left."""
    root = tmp_path_factory.mktemp("trained-once")
    flags = run_flags(backbone_folder("llama"), run_files, root / "outputs")
    assert main(["train", "--preset", "lora", *flags, "--max_steps", "2"]) == 0
    return root / "outputs", Path(shutil.copytree(root / "outputs", root / "kept"))


@pytest.fixture
def finished_run(_trained_once: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder `run` of a finished run of two LoRA steps, as training left it; its evaluation lies beside it."""
    outputs, kept = _trained_once
    shutil.rmtree(outputs)
    shutil.copytree(kept, outputs)
    capsys.readouterr()
    return outputs / "run"


@pytest.fixture
def succeed(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must succeed; its output."""

    def run(*arguments: object, code: int = 0) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == code
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    return run


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must end with one line for the user; that line."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        err = capsys.readouterr().err
        assert err.startswith("surestep: ")
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        return err

    return run
