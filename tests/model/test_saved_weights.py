"""Every tensor is saved, and every key is accounted for when it comes back."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from surestep.errors import CheckpointError
from surestep.model import saved_weights as weights_module
from surestep.model.saved_weights import ADAPTER_FILE, HEAD_FILE, check_keys, load_adapter, load_head, save_weights
from surestep.scoring.build_model import BuiltModel

Build = Callable[..., BuiltModel]


def change(path: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize("lora", [False, True])
def test_what_is_trained_is_what_is_saved(lora: bool, build_small: Build, tmp_path: Path) -> None:
    model = build_small("llama", lora=lora).model
    save_weights(model, tmp_path)
    saved = sum(load_file(path)[key].numel() for path in tmp_path.rglob("*.safetensors") for key in load_file(path))
    assert saved == sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def test_head_and_adapters_come_back_to_the_bit(build_small: Build, tmp_path: Path) -> None:
    saved, other = (build_small("llama", lora=True).model for _ in range(2))
    with torch.no_grad():
        for parameter in saved.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    save_weights(saved, tmp_path)
    load_head(other, tmp_path)
    load_adapter(other, tmp_path)
    for (name, a), (_, b) in zip(saved.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_saving_changes_neither_route_nor_attention(build_small: Build, tmp_path: Path) -> None:
    model = build_small("llama").model
    before = model.transformer.config._attn_implementation
    save_weights(model, tmp_path)
    assert model.transformer.config._attn_implementation == before
    assert "surestep" not in (tmp_path / "backbone" / "config.json").read_text()


@pytest.mark.parametrize("key", ["head.output.bias", "head.hidden.0.weight", "confidence_row"])
def test_a_missing_key_of_the_head_is_named(key: str, build_small: Build, tmp_path: Path) -> None:
    model = build_small("llama").model
    save_weights(model, tmp_path)
    change(tmp_path / HEAD_FILE, lambda tensors: tensors.__delitem__(key))
    with pytest.raises(CheckpointError, match=f"missing {key}") as caught:
        load_head(model, tmp_path)
    assert HEAD_FILE in str(caught.value)


def test_a_missing_key_of_the_adapter_is_named(build_small: Build, tmp_path: Path) -> None:
    model = build_small("llama", lora=True).model
    save_weights(model, tmp_path)
    key = min(load_file(tmp_path / ADAPTER_FILE))
    change(tmp_path / ADAPTER_FILE, lambda tensors: tensors.__delitem__(key))
    with pytest.raises(CheckpointError, match="missing") as caught:
        load_adapter(model, tmp_path)
    assert key in str(caught.value)


def test_unexpected_keys_and_other_shapes_are_named_together() -> None:
    found = {"a": torch.zeros(2), "b": torch.zeros(3), "new": torch.zeros(1)}
    expected = {"a": torch.zeros(2), "b": torch.zeros(4), "old": torch.zeros(1)}
    with pytest.raises(CheckpointError) as caught:
        check_keys(Path("x.safetensors"), found, expected)
    message = str(caught.value)
    assert all(part in message for part in ("missing old", "unexpected new", "b is (3,), expected (4,)"))


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / HEAD_FILE).write_bytes(b"not safetensors")
    with pytest.raises(CheckpointError, match=HEAD_FILE) as caught:
        weights_module.read_tensors(tmp_path / HEAD_FILE)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_an_os_error_whoever_reports_it(
    build_small: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError

    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(weights_module, "save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        save_weights(build_small("llama").model, tmp_path)
    assert caught.value.errno == errno.ENOSPC
