"""A checkpoint that somebody made to harm: one line and exit code 2, soon and in little memory, from every command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostile import FULL, LORA, NEVER_READ, NEVER_READ_OF_LORA, STATE, copies, sealed
from hostile_commands import SECONDS
from runs import DATA_FLAGS
from surestep.cli.main import main

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def flags(backbone_folder: Callable[[str], Path], run_files: Path) -> list[str]:
    """A run of two steps on small files."""
    return [
        *("--backbone", str(backbone_folder("llama")), "--mlp_hidden_dims", "[16]", "--lora_r", "4"),
        *DATA_FLAGS,
        *("--own_train", str(run_files / "train.jsonl"), "--own_test", str(run_files / "test.jsonl")),
        *("--own_validation", str(run_files / "validation.jsonl"), "--cache_dir", str(run_files / "cache")),
        *("--device", "cpu", "--tensorboard", "false", "--bootstrap_resamples", "20"),
        *("--max_steps", "2", "--batch_size", "2", "--gradient_accumulation_steps", "1", "--warmup_steps", "0"),
        *("--eval_steps", "2", "--save_steps", "2", "--logging_steps", "1"),
    ]


@pytest.fixture(scope="module")
def made(flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint of a small run, LoRA or full, and its run around it."""
    root = tmp_path_factory.mktemp("runs")
    for preset in ("lora", "full"):
        run = ("--preset", preset, "--output_dir", str(root), "--experiment_name", preset)
        assert main(["train", *run, *flags]) == 0
    return lambda preset: root / preset / "checkpoint_step_2"


def results(python: Path, kind: str, original: Path, root: Path, flags: list[str]) -> list[dict[str, Any]]:
    """What each harm of a kind led to."""
    (root / "all").mkdir()
    command = [str(python), str(TESTS / "hostile_commands.py"), str(original), kind, str(root / "all")]
    run = subprocess.run(
        [*command, json.dumps(flags)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
        timeout=1500,
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0, f"after {lines[-1:]}: {run.stderr[-2000:]}"
    return lines


def faults(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results that are not one line, exit code 2, in time; `check` may name the fault in its list, exit code 1."""
    return [
        result
        for result in found
        if (result["command"], result["code"], result["err"]) != ("check", 1, "")
        if result["code"] != 2
        or result["err"].count("\n") != 1
        or not result["err"].startswith("surestep: ")
        or result["err"].startswith("surestep: error: ")  # the command line of the test itself
        or len(result["err"]) > 4100
        or result["seconds"] > SECONDS
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_every_hostile_checkpoint_is_one_line_for_every_command(
    kind: str, made: Any, flags: list[str], tmp_path: Path, quick_python: Path
) -> None:
    found = results(quick_python / "python", kind, made(kind), tmp_path, ["--preset", kind, *flags])
    assert len(found) == len({"lora": LORA, "full": FULL}[kind])
    assert faults(found) == []
    assert {result["command"] for result in found} == {"evaluate", "export", "calibrate", "check", "train"}


@pytest.mark.slow
def test_every_hostile_training_state_is_one_line_for_resuming(
    made: Any, flags: list[str], tmp_path: Path, quick_python: Path
) -> None:
    original = made("lora")
    resumed = ["--preset", "lora", *flags, "--max_steps", "3"]
    found = results(quick_python / "python", "state", original, tmp_path, resumed)
    assert len(found) == len(STATE)
    assert faults(found) == []


def test_an_unharmed_copy_of_each_is_accepted(made: Any, tmp_path: Path) -> None:
    """The harms are what is refused, not the copying and the sealing."""
    for kind in ("lora", "full"):
        folder = Path(shutil.copytree(made(kind), tmp_path / kind / "checkpoint_step_2"))
        sealed(folder)
        out = ("--output_dir", str(tmp_path / f"exported_{kind}"))
        assert main(["export", "--checkpoint", str(folder), *out]) == 0


@pytest.mark.slow
def test_what_is_never_read_changes_nothing(made: Any, tmp_path: Path) -> None:
    """No pickle runs, no other weights are loaded."""
    for kind, harms in (("full", NEVER_READ), ("lora", NEVER_READ_OF_LORA)):
        for number, (_, folder) in enumerate(copies(made(kind), tmp_path / kind, harms)):
            out = tmp_path / f"exported_{kind}_{number}"
            code = main(["export", "--checkpoint", str(folder), "--output_dir", str(out)])
            assert code in {0, 2}
            if code == 0:
                assert_same_bits_of_weights(out, made(kind))


def assert_same_bits_of_weights(left: Path, right: Path) -> None:
    """The heads are equal; export lays the trained row into the embedding, so the backbones are not."""
    assert (left / "head.safetensors").read_bytes() == (right / "head.safetensors").read_bytes()


def test_there_are_enough_of_them() -> None:
    assert len(LORA) + len(FULL) + len(STATE) >= 150
