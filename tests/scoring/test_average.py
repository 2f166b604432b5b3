"""The mean of several checkpoints: of every weight, a checkpoint of its own, and refused where there is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from hostile import sealed
from runs import tensors
from scores import scores_of
from small_checkpoints import write_members
from strategies import random_tree
from surestep.calibration.calibration import Calibration
from surestep.calibration.maps.temperature import Temperature
from surestep.cli.main import main
from surestep.config import Config
from surestep.errors import CheckpointError, StorageError
from surestep.model.saved_weights import write_means
from surestep.scoring.checkpoint.average import average_checkpoints
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.checkpoint.manifest import manifest_sha256

DTYPES = {torch.float32: 1e-7, torch.bfloat16: 4e-3, torch.float64: 1e-15}


@given(
    values=st.lists(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=3, max_size=3), min_size=2, max_size=5),
    dtype=st.sampled_from(list(DTYPES)),
)
def test_means_are_taken_exactly_and_rounded_once(tmp_path_factory: Any, values: list[list[float]], dtype: Any) -> None:
    folder = tmp_path_factory.mktemp("means")
    files = [folder / f"{number}.safetensors" for number in range(len(values))]
    for file, numbers in zip(files, values, strict=True):
        save_file({"weight": torch.tensor(numbers, dtype=dtype), "ids": torch.tensor([1, 2])}, file)
    write_means(folder / "mean.safetensors", files)
    found = load_file(folder / "mean.safetensors")
    members = [load_file(file)["weight"].tolist() for file in files]
    expected = [sum(numbers) / len(members) for numbers in zip(*members, strict=True)]
    assert found["weight"].dtype == dtype
    assert found["weight"].tolist() == torch.tensor(expected, dtype=torch.float64).to(dtype).tolist()
    assert found["ids"].tolist() == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [True, False])
def test_every_weight_is_the_mean_and_the_folder_is_a_checkpoint(
    lora: bool, build_small: Callable[..., Any], small_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = small_config("llama", lora=lora)
    calibration = Calibration(Temperature(2.0), {}, {})
    members = write_members(tmp_path / "run", build_small, config, 3, calibration=calibration)
    made = average_checkpoints(members, tmp_path / "mean")
    found, each = tensors(tmp_path / "mean"), [tensors(member) for member in members]
    assert found.keys() == each[0].keys()
    for name, value in found.items():
        expected = sum(one[name].double() for one in each) / 3
        assert torch.equal(value, expected.to(value.dtype)), name
    assert not (tmp_path / "mean" / "calibration.json").exists()
    assert any(line.startswith("calibration.json: not carried over") for line in made.lines)
    assert any("two factors" in line for line in made.lines) is lora
    loaded = load_checkpoint(tmp_path / "mean")
    assert loaded.manifest.label_means == {"own": pytest.approx(0.7)}
    assert any("the mean of several checkpoints" in reason for reason in loaded.built.reasons)
    origin = json.loads((tmp_path / "mean" / "averaged_from.json").read_text())["checkpoints"]
    assert [one["name"] for one in origin] == [f"run/checkpoint_step_{step}" for step in (1, 2, 3)]
    assert [one["manifest_sha256"] for one in origin] == [manifest_sha256(member) for member in members]
    trees = [random_tree(seed, num_nodes=6) for seed in range(2)]
    assert scores_of(loaded.built.scorer(loaded.config), trees) != scores_of(
        load_checkpoint(members[1]).built.scorer(config, calibrated=False), trees
    )


def changed(kind: str, small_config: Callable[..., Config]) -> Config:
    config = small_config("qwen3" if kind == "backbone" else "llama", lora=kind != "full")
    if kind == "rank":
        config.lora.lora_r = 8
    if kind == "alpha":
        config.lora.lora_alpha = 3
    if kind == "head":
        config.model.mlp_hidden_dims = [8]
    if kind == "activation":
        config.model.mlp_activation = "relu"
    return config


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("full", "one is lora, the other full"),
        ("backbone", "other backbones"),
        ("rank", "lora.r is 4 and 8"),
        ("alpha", "lora.lora_alpha is 32 and 3"),
        ("head", r"model.mlp_hidden_dims is \[16\] and \[8\]"),
        ("activation", "model.mlp_activation is gelu and relu"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_one_line(
    kind: str, said: str, build_small: Callable[..., Any], small_config: Callable[..., Config], tmp_path: Path
) -> None:
    first = write_members(tmp_path / "first", build_small, small_config("llama", lora=True), 1)
    other = write_members(tmp_path / "other", build_small, changed(kind, small_config), 1)
    with pytest.raises(CheckpointError, match=rf"does not fit together with .*{said}") as caught:
        average_checkpoints([*first, *other], tmp_path / "mean")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "mean").exists()


def test_the_command_takes_names_or_the_last_of_a_run(
    build_small: Callable[..., Any],
    small_config: Callable[..., Config],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    members = write_members(run, build_small, small_config("llama", lora=True), 3)

    def call(*arguments: object) -> tuple[int, str]:
        code = main(["average", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    by_name, last = tmp_path / "by_name", tmp_path / "last"
    code, said = call(*members[1:], "--output", by_name)
    assert code == 0, said
    assert f"wrote {by_name}: a checkpoint of its own" in said
    assert call(run, "--last", 2, "--output", last)[0] == 0
    mine, theirs = tensors(by_name), tensors(last)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    for arguments, expected in (
        ((run, "--last", 4), "is a run with 3 of them, and --last asks for 4"),
        ((run, "--last", 1), "an average takes two or more"),
        ((members[0], "--last", 2), "is no run with checkpoints"),
        ((*members, "--last", 2), "takes them from one run, and 3 are named"),
        ((members[0],), "is one checkpoint; name two or more"),
        ((run, members[2]), "is named twice"),
        ((), "name a checkpoint"),
    ):
        code, said = call(*arguments, "--output", tmp_path / "no")
        lines = [line for line in said.splitlines() if line.startswith("surestep")]
        assert (code, len(lines)) == (2, 1), said
        assert expected in lines[0]
    assert "exists; name a folder" in call(*members, "--output", last)[1]
    with pytest.raises(StorageError, match="for training alone"):
        average_checkpoints(members, run / "checkpoint_step_9")


def test_damaged_members_and_broken_weights_are_refused(
    build_small: Callable[..., Any], small_config: Callable[..., Config], tmp_path: Path
) -> None:
    members = write_members(tmp_path / "run", build_small, small_config("llama", lora=True), 2)
    whole = tmp_path / "whole"
    shutil.copytree(members[1], whole)
    head = members[1] / "head.safetensors"
    weights = load_file(head)
    weights["confidence_row"][0] = float("nan")
    save_file(weights, head)
    with pytest.raises(CheckpointError, match="has changed since it was written"):
        average_checkpoints(members, tmp_path / "mean")
    sealed(members[1])
    with pytest.raises(CheckpointError, match="confidence_row is not finite in one of the checkpoints"):
        average_checkpoints(members, tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
    assert average_checkpoints([members[0], whole], tmp_path / "mean").folder.is_dir()
