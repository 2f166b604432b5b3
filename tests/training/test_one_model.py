"""The best checkpoint is reported from the one model in memory, and resuming reads each weight once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import surestep.files as files
from runs import Watcher
from surestep.config import Config
from surestep.errors import CheckpointError
from surestep.model import saved_weights
from surestep.model.saved_weights import load_backbone_tensors, save_weights
from surestep.scoring.checkpoint import load as checkpoint
from surestep.scoring.checkpoint.load import load_all_weights, load_checkpoint
from surestep.training.run import train


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gemma3", "gemma2", "gpt2", "bloom", "mamba"])
def test_every_tensor_of_a_full_model_is_filled_in_place(
    build_small: Callable[..., Any], tmp_path: Path, family: str
) -> None:
    saved, other = build_small(family).model, build_small(family).model
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in saved.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    save_weights(saved, tmp_path)
    places = {name: parameter.data_ptr() for name, parameter in other.named_parameters()}
    load_backbone_tensors(other, tmp_path)
    for (name, mine), theirs in zip(other.transformer.named_parameters(), saved.transformer.parameters(), strict=True):
        assert torch.equal(mine, theirs), name
    assert {name: parameter.data_ptr() for name, parameter in other.named_parameters()} == places


@pytest.mark.slow
def test_the_best_checkpoint_of_a_full_run_is_reported_without_a_second_model(
    run_config, validations_give, monkeypatch
) -> None:
    validations_give([0.5, 0.2, 0.9])
    config = run_config(lora=False, max_steps=3, eval_steps=1, save_steps=1)

    def no_other(*_args: Any, **_settings: Any) -> Any:
        raise AssertionError("a second model")

    class Watching(Watcher):
        def started(self, run: Any) -> None:
            monkeypatch.setattr(checkpoint, "load_pretrained", no_other)
            monkeypatch.setattr(checkpoint, "load_backbone", no_other)
            monkeypatch.setattr(saved_weights, "_load_backbone_through_transformers", no_other)

    trained = train(config, Watching())
    monkeypatch.undo()
    assert trained.result.best.name == "checkpoint_step_2"
    loaded = load_checkpoint(trained.result.best, trainable=True).built
    again = load_checkpoint(trained.result.last, trainable=True).built
    load_all_weights(again.model, trained.result.best)
    for (name, mine), theirs in zip(again.model.named_parameters(), loaded.model.parameters(), strict=True):
        assert torch.equal(mine, theirs), name


def test_a_checkpoint_whose_keys_differ_is_refused(build_small: Callable[..., Any], tmp_path: Path) -> None:
    model = build_small("llama").model
    save_weights(model, tmp_path)
    path = tmp_path / "backbone" / "model.safetensors"
    tensors = saved_weights.read_tensors(path)
    name = next(iter(tensors))
    tensors[name] = torch.zeros(3)
    saved_weights.save_file(tensors, path)
    with pytest.raises(CheckpointError, match="of another shape"):
        load_backbone_tensors(model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [True, False])
def test_resuming_hashes_each_file_of_the_checkpoint_once(run_config: Callable[..., Config], monkeypatch, lora) -> None:
    config = run_config(lora=lora, max_steps=2, save_steps=2)
    folder = train(config, Watcher()).result.last
    config.training.max_steps = 3
    monkeypatch.setattr(files, "_RACY_NS", 0)  # the files are seconds old, which is too fresh to trust their times
    read: list[str] = []
    real = files.hashlib.sha256

    class Counting:
        def __init__(self) -> None:
            self.digest, self.size = real(), 0

        def update(self, block: bytes) -> None:
            self.digest.update(block)
            self.size += len(block)

        def hexdigest(self) -> str:
            found = self.digest.hexdigest()
            if self.size:
                read.append(found)
                self.size = 0  # asked for again without reading again
            return found

    monkeypatch.setattr(files.hashlib, "sha256", lambda data=b"": Counting() if not data else real(data))

    class Stopping(Watcher):
        def started(self, run: Any) -> None:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(config, Stopping(), resume=True)
    weights = next((folder / "backbone").glob("*.safetensors"), folder / "adapter" / "adapter_model.safetensors")
    monkeypatch.undo()
    digest = real(weights.read_bytes()).hexdigest()
    assert read.count(digest) == 1
    assert len(set(read)) == len(read)
