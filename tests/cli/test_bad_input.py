"""Bad input of every kind: one line that says what, where and how to fix it, and nothing written is harmed."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runs import hashes
from surestep.cli.main import main
from warm_python import NOBODY_ANSWERS

Command = Callable[..., str]


def rows(run_files: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_files / "train.jsonl").read_text(encoding="utf-8").splitlines()]


def write(path: Path, values: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def half_of_a_line(folder: Path, run_files: Path) -> Path:
    path = folder / "cut.jsonl"
    text = (run_files / "train.jsonl").read_text(encoding="utf-8")
    path.write_text(text[: len(text) - 40], encoding="utf-8")
    return path


def half_of_a_gzip(folder: Path, run_files: Path) -> Path:
    path = folder / "cut.jsonl.gz"
    whole = gzip.compress((run_files / "train.jsonl").read_bytes())
    path.write_bytes(whole[: len(whole) // 2])
    return path


def broken_line_17(folder: Path, run_files: Path) -> Path:
    path = folder / "broken.jsonl"
    lines = (run_files / "train.jsonl").read_text(encoding="utf-8").splitlines()
    lines[16] = lines[16].replace('"problem":', '"problem" ', 1)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def label_out_of_range(folder: Path, run_files: Path) -> Path:
    values = rows(run_files)
    values[2]["steps"][0]["confidence"] = 1.5
    return write(folder / "label.jsonl", values)


def empty_step(folder: Path, run_files: Path) -> Path:
    values = rows(run_files)
    values[4]["steps"][1]["text"] = "  "
    return write(folder / "empty.jsonl", values)


def no_record(folder: Path, _run_files: Path) -> Path:
    path = folder / "nothing.jsonl"
    path.write_text("")
    return path


def gone(folder: Path, _run_files: Path) -> Path:
    return folder / "gone.jsonl"


BAD_FILES = [
    (gone, ["gone.jsonl", "own_train"]),
    (half_of_a_line, ["cut.jsonl, line 40"]),
    (half_of_a_gzip, ["cut.jsonl.gz"]),
    (broken_line_17, ["broken.jsonl, line 17"]),
    (label_out_of_range, ["label.jsonl, line 3", "1.5", "0 to 1"]),
    (empty_step, ["empty.jsonl, line 5", "empty"]),
    (no_record, ["nothing.jsonl"]),
]


@pytest.mark.parametrize(("make", "words"), BAD_FILES)
def test_a_bad_file_stops_training_before_anything_is_written(
    fail: Command, flags: list[str], tmp_path: Path, run_files: Path, make, words: list[str]
) -> None:
    path = make(tmp_path, run_files)
    cache = tmp_path / "cache"
    err = fail("train", *flags, "--own_train", path, "--cache_dir", cache)
    for word in words:
        assert word in err
    assert not (tmp_path / "outputs").exists()
    assert not [found for found in cache.rglob("*") if found.is_file()]  # no half of a store


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--use_own", "false"], ["every dataset is disabled", "--use_prm800k"]),
        (["--own_weight", "0"], ["weights", "sum to 0"]),
        (["--own_weight", "-1"], ["data.own_weight", "-1"]),
        (["--max_steps", "many"], ["training.max_steps", "'many'"]),
        (["--lr_scheduler_type", "cosin"], ["cosine"]),
        (["--config", "gone.json"], ["gone.json"]),
        (["--device", "cuda"], ["cuda", "--device cpu"]),
        (["--device", "auto", "--attention", "varlen"], ["varlen", "--attention"]),
        (["--attention", "flex"], ["flex", "'dense'"]),
        (["--mixed_precision", "fp16"], ["fp16", "needs a GPU"]),
        (["--device", "auto", "--mixed_precision", "fp16"], ["fp16", "needs a GPU"]),
        (["--backbone", "./no/such/folder/anywhere"], ["no/such/folder", "--backbone"]),
        (["--own_train", "."], ["own_train"]),
        (["--output_dir", "/dev/null/outputs"], ["/dev/null/outputs", "--output_dir"]),
        (["--init_from", "nowhere"], ["nowhere", "no such checkpoint"]),
    ],
)
def test_a_bad_setting_is_one_line(
    fail: Command, flags: list[str], tmp_path: Path, arguments: list[str], words: list[str], monkeypatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    err = fail("train", *flags, *arguments)
    for word in words:
        assert word in err
    assert not (tmp_path / "outputs").exists()


def change_a_byte(checkpoint: Path) -> None:
    path = checkpoint / "head.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def drop_a_key(checkpoint: Path) -> None:
    """With a manifest that fits, as if it had been written without the key."""
    from safetensors.torch import load_file, save_file

    from surestep.scoring.checkpoint.manifest import read_manifest, write_manifest

    manifest = read_manifest(checkpoint, with_state=True)
    tensors = load_file(checkpoint / "head.safetensors")
    del tensors["confidence_row"]
    save_file(tensors, checkpoint / "head.safetensors")
    write_manifest(checkpoint, manifest)


def lose_the_manifest(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").unlink()


def cut_a_file(checkpoint: Path) -> None:
    path = checkpoint / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (change_a_byte, ["head.safetensors"]),
        (drop_a_key, ["head.safetensors", "confidence_row"]),
        (lose_the_manifest, ["manifest.json"]),
        (cut_a_file, ["adapter_model.safetensors"]),
    ],
)
def test_a_damaged_checkpoint_is_neither_evaluated_nor_trained_on(
    fail: Command, flags: list[str], finished_run: Path, damage, words: list[str]
) -> None:
    damage(finished_run / "checkpoint_step_2")
    before = hashes(finished_run.parent)
    flags = [*flags, "--output_dir", str(finished_run.parent)]
    start = ["--experiment_name", "next", "--init_from", finished_run / "checkpoint_step_2"]
    for arguments in (
        ["evaluate", "--checkpoint", finished_run / "checkpoint_step_2"],
        ["train", "--preset", "lora", *flags, "--resume"],
        ["train", "--preset", "lora", *flags, *start],
    ):
        err = fail(*arguments)
        for word in words:
            assert word in err
        assert hashes(finished_run.parent) == before


@pytest.mark.slow
@pytest.mark.parametrize(("make", "words"), [(half_of_a_line, ["line 40"]), (label_out_of_range, ["line 3"])])
def test_a_bad_test_file_stops_an_evaluation_and_keeps_the_one_before(
    fail: Command, finished_run: Path, tmp_path: Path, run_files: Path, make, words: list[str]
) -> None:
    assert main(["evaluate", "--checkpoint", str(finished_run / "checkpoint_step_2")]) == 0
    before = hashes(finished_run.parent)
    err = fail("evaluate", "--checkpoint", finished_run / "checkpoint_step_2", "--own_test", make(tmp_path, run_files))
    for word in words:
        assert word in err
    assert hashes(finished_run.parent) == before


def test_a_bad_predictions_file_is_one_line(fail: Command, tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [{"confidence": 0.5, "label": 1}, {"confidence": 1.5, "label": 1}])
    assert "p.jsonl, line 2: confidence is 1.5" in fail("evaluate", "--predictions", path)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["p.jsonl"]


SMALL_FILES = """
import resource, sys
from surestep.cli.main import main
import surestep.training.optimizer_step as optimizer_step
saved = optimizer_step.save_state
def limited(*arguments, **named):
    # From the second checkpoint on no file may grow beyond this: what a full disk or a quota does to a write.
    if arguments[1].step > 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    saved(*arguments, **named)
optimizer_step.save_state = limited
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="resource limits are POSIX")
def test_a_disk_that_fills_up_during_a_checkpoint_harms_no_other(
    flags: list[str], tmp_path: Path, quick_python: Path
) -> None:
    done = subprocess.run(
        [quick_python / "python", "-c", SMALL_FILES, "train", "--preset", "lora", *flags],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("surestep: ")
    assert "checkpoint_step_4" in done.stderr
    experiment = tmp_path / "outputs" / "run"
    assert [path.name for path in experiment.glob("*checkpoint_step*")] == ["checkpoint_step_2"]
    assert main(["evaluate", "--checkpoint", str(experiment / "checkpoint_step_2")]) == 0


@pytest.mark.slow
def test_a_hub_id_without_a_network_is_one_line(flags: list[str], tmp_path: Path, quick_python: Path) -> None:
    """A process whose hub's client, which reads its settings when it is imported, knows that endpoint too."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"HF_ENDPOINT": NOBODY_ANSWERS, "OMP_NUM_THREADS": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    command = [quick_python / "surestep", "train", *flags, "--backbone", "no-one/no-such-model"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("surestep: no-one/no-such-model")
    assert "--backbone" in done.stderr
    assert not (tmp_path / "outputs").exists()
