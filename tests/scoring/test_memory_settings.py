"""`nf4` and `adamw_8bit`: refused in one line where they cannot be had, never dropped in silence."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch

from scores import scores_of
from surestep.cli.main import main
from surestep.config import Config
from surestep.errors import ConfigError, DeviceError
from surestep.model.precision import bitsandbytes_available as low_bits
from surestep.scoring import hardware as hardware_module
from surestep.scoring.build_model import build_model
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.checkpoint.save import save_checkpoint
from surestep.scoring.hardware import Hardware, base_that_fits, choose_hardware, for_scoring_here, nf4_device
from surestep.types import Node, ReasoningTree

CPU = choose_hardware("cpu", "no")
GPU = Hardware(torch.device("cuda"), "bf16", ())
TREE = ReasoningTree("what is 2 + 2?", (Node("two and two"), Node("is 4", 0), Node("is 5", 0)))


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(low_bits, "version", version)


def nf4(config: Config) -> Config:
    config.lora.use_lora, config.lora.base_precision = True, "nf4"
    return config


def test_nf4_without_a_gpu_is_refused_before_the_backbone_is_looked_for() -> None:
    config = nf4(Config())
    config.model.backbone = "no/such-backbone"
    with pytest.raises(DeviceError, match=r"nf4.*CUDA GPU.*--base_precision same"):
        build_model(config, CPU)


@pytest.mark.usefixtures("not_installed")
def test_nf4_without_bitsandbytes_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"nf4.*pip install 'surestep\[memory\]'.*--base_precision same"):
        nf4_device(nf4(Config()).lora, GPU)


@pytest.mark.parametrize("found", ["0.43.1", "0.49.2"])
def test_an_old_bitsandbytes_is_refused(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    monkeypatch.setattr(low_bits, "version", lambda _name: found)
    assert f"bitsandbytes {found} is older than 0.50" in str(low_bits.bitsandbytes_problem())


def test_a_bitsandbytes_that_does_not_load_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_name: str) -> Any:
        raise OSError("libcudart.so.13: cannot open shared object file\nmany\nlines")

    monkeypatch.setattr(low_bits, "version", lambda _name: "0.50.2")
    monkeypatch.setattr(low_bits, "import_module", load)
    problem = str(low_bits.bitsandbytes_problem())
    assert "cannot be loaded (OSError)" in problem
    assert "\n" not in problem


def test_without_lora_no_weight_is_frozen_and_none_is_quantised() -> None:
    config = Config()
    config.lora.base_precision = "nf4"
    assert nf4_device(config.lora, CPU) is None
    assert len(config.problems()) == 1


@pytest.mark.usefixtures("not_installed")
def test_a_scorer_here_holds_the_base_in_its_own_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    assert for_scoring_here(nf4(Config())).lora.base_precision == "same"
    config = nf4(Config())
    base_that_fits(config.lora, GPU.device)  # a GPU, but no bitsandbytes
    assert config.lora.base_precision == "same"
    monkeypatch.setattr(hardware_module, "bitsandbytes_problem", lambda: None)
    config = nf4(Config())
    base_that_fits(config.lora, GPU.device)
    assert config.lora.base_precision == "nf4"
    base_that_fits(config.lora, CPU.device)  # `--device cpu` beside a GPU
    assert config.lora.base_precision == "same"


@pytest.fixture
def checkpoint(build_small: Callable[..., Any], small_config: Callable[..., Config], tmp_path: Path) -> Path:
    """Adapters whose configuration says that they were trained over 4 bits."""
    config = small_config("llama", lora=True).model_copy(deep=True)
    built = build_small(config=config)
    config.training.device = "auto"
    folder = tmp_path / "checkpoint_step_1"
    save_checkpoint(folder, built, nf4(config), step=1, label_means={"own": 0.5})
    return folder


def test_scoring_without_a_gpu_says_that_the_base_is_another(checkpoint: Path, build_small: Any) -> None:
    loaded = load_checkpoint(checkpoint)
    assert loaded.config.lora.base_precision == "same"
    assert "own precision" in loaded.built.reasons[-1]
    assert "nf4" in loaded.built.reasons[-1]
    expected = build_small("llama", lora=True)
    assert scores_of(loaded.built.scorer(loaded.config), [TREE]) == scores_of(expected.scorer(loaded.config), [TREE])


def test_training_on_from_it_without_a_gpu_is_refused(checkpoint: Path) -> None:
    config = load_checkpoint(checkpoint).config
    with pytest.raises(DeviceError, match="CUDA GPU"):
        load_checkpoint(checkpoint, hardware=CPU, config=nf4(config))


def test_an_export_merges_into_the_original_weights_and_says_so(
    checkpoint: Path, build_small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "merged"
    assert main(["export", "--checkpoint", str(checkpoint), "--output_dir", str(folder)]) == 0
    assert "trained over nf4 weights" in capsys.readouterr().out
    loaded = load_checkpoint(folder)
    assert loaded.config.lora.base_precision == "same"
    expected = build_small("llama", lora=True)
    (mine,), (theirs,) = (scores_of(built.scorer(loaded.config), [TREE]) for built in (loaded.built, expected))
    assert mine == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--base_precision", "nf4"], ["nf4", "frozen", "--use_lora true"]),
        (["--base_precision", "nf4", "--use_lora", "--device", "cpu"], ["nf4", "CUDA GPU", "--base_precision same"]),
        (["--base_precision", "nf4", "--use_lora"], ["nf4", "CUDA GPU", "--base_precision same"]),
    ],
)
def test_training_is_refused_in_a_line_before_anything_is_written(
    flags: list[str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--backbone", "builtin:tiny", "--output_dir", str(tmp_path / "outputs"), "--data_dir", str(tmp_path)]
    assert main(["train", *arguments, *flags]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert all(word in line for word in words)
    assert not (tmp_path / "outputs").exists()


@pytest.mark.usefixtures("not_installed")
def test_the_8_bit_optimiser_is_refused_at_start_without_its_library(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--backbone", "builtin:tiny", "--output_dir", str(tmp_path / "outputs"), "--data_dir", str(tmp_path)]
    assert main(["train", *arguments, "--optimizer", "adamw_8bit"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "pip install 'surestep[memory]'" in line
    assert "--optimizer adamw" in line


@pytest.mark.parametrize("preset", ["lora", "full"])
def test_a_benchmark_is_refused_in_a_line(preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "train", "--preset", preset, "--shape", "small", "--base_precision", "nf4"]
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "nf4" in line
