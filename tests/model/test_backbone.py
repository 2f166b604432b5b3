"""A backbone is loaded whole and pinned, or refused in one line."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from surestep.errors import BackboneError
from surestep.model.backbones.files import hash_weights
from surestep.model.backbones.load import Backbone, load_backbone

Find = Callable[[str], Path]


def load(name: str | Path) -> Backbone:
    return load_backbone(str(name), revision=None, dtype=torch.float32)


@pytest.fixture
def llama(backbone_folder: Find, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(backbone_folder("llama"), tmp_path / "llama"))


def test_a_local_folder_is_loaded_and_pinned(llama: Path) -> None:
    backbone = load(llama)
    assert backbone.hidden_size == 32
    assert backbone.max_positions == 512
    assert backbone.weights_sha256 == hash_weights(llama)
    saved = load_file(llama / "model.safetensors")
    assert torch.equal(backbone.module.embed_tokens.weight, saved["embed_tokens.weight"])


def test_learned_positions_limit_the_path_too(backbone_folder: Find) -> None:
    assert load(backbone_folder("gpt2")).max_positions == 256


def test_a_causal_model_with_its_language_head_is_read_without_it(stories260k: Path) -> None:
    backbone = load(stories260k)
    assert type(backbone.module).__name__ == "LlamaModel"
    assert (backbone.hidden_size, backbone.max_positions) == (64, 512)


def test_another_weight_gives_another_hash(llama: Path) -> None:
    before = hash_weights(llama)
    tensors = load_file(llama / "model.safetensors")
    tensors["norm.weight"][0] += 1
    save_file(tensors, llama / "model.safetensors", metadata={"format": "pt"})
    assert hash_weights(llama) != before


def refusal(name: str | Path) -> str:
    with pytest.raises(BackboneError) as caught:
        load(name)
    message = str(caught.value)
    assert "\n" not in message
    assert str(name) in message
    return message


def shard(folder: Path) -> Path:
    """Divide the weights into one file a tensor; returns the index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = {}
    for number, (name, tensor) in enumerate(sorted(tensors.items())):
        names[name] = f"model-{number:05}.safetensors"
        save_file({name: tensor}, folder / names[name], metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return index


def test_every_file_that_is_read_is_hashed(llama: Path) -> None:
    (llama / "README.md").write_text("not read")
    assert load(llama).files == {
        name: hashlib.sha256((llama / name).read_bytes()).hexdigest()
        for name in ("config.json", "model.safetensors", "tokenizer.json")
    }
    before = load(llama)
    index = shard(llama)
    after = load(llama)
    assert torch.equal(after.module.norm.weight, before.module.norm.weight)
    assert {index.name, "config.json", "model-00000.safetensors"} < set(after.files)
    assert after.weights_sha256 != before.weights_sha256
    assert after.config == json.loads((llama / "config.json").read_text())


def test_a_missing_shard_an_empty_index_and_no_weights_are_refused(llama: Path) -> None:
    index = shard(llama)
    values = json.loads(index.read_text())
    (llama / "model-00003.safetensors").unlink()
    assert "(model-00003.safetensors)" in refusal(llama)
    for broken in ({}, {"weight_map": {}}, {"weight_map": []}, [], "x"):
        index.write_text(json.dumps(broken))
        assert index.name in refusal(llama)
    index.write_text("{")
    assert "cannot be read" in refusal(llama)
    for path in llama.glob("*.safetensors"):
        path.unlink()
    index.write_text(json.dumps(values))
    assert "are missing" in refusal(llama)
    index.unlink()
    assert "holds no weights" in refusal(llama)


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/x.safetensors", "a/../../x.safetensors", "..\\x.safetensors", 7]
)
def test_weights_outside_the_folder_are_refused(name: Any, llama: Path) -> None:
    index = shard(llama)
    shutil.copy(llama / "model-00000.safetensors", llama.parent / "x.safetensors")
    values = json.loads(index.read_text())
    values["weight_map"][min(values["weight_map"])] = name
    index.write_text(json.dumps(values))
    assert "allowed: a name within its folder" in refusal(llama)
    index.unlink()
    config = json.loads((llama / "config.json").read_text())
    (llama / "config.json").write_text(json.dumps({**config, "transformers_weights": name}))
    assert "allowed: a name within its folder" in refusal(llama)


def test_an_adapter_in_a_backbones_folder_is_refused(llama: Path) -> None:
    values = {"peft_type": "LORA", "base_model_name_or_path": "somebody/else"}
    (llama / "adapter_config.json").write_text(json.dumps(values))
    assert "adapter_config.json" in refusal(llama)


def test_a_missing_weight_is_refused_and_named(llama: Path) -> None:
    tensors = load_file(llama / "model.safetensors")
    del tensors["layers.1.mlp.up_proj.weight"]
    save_file(tensors, llama / "model.safetensors", metadata={"format": "pt"})
    assert "layers.1.mlp.up_proj.weight" in refusal(llama)


def test_a_weight_of_another_shape_is_refused(llama: Path) -> None:
    tensors = load_file(llama / "model.safetensors")
    tensors["norm.weight"] = torch.ones(7)
    save_file(tensors, llama / "model.safetensors", metadata={"format": "pt"})
    refusal(llama)


def test_a_cut_weight_file_is_refused(llama: Path) -> None:
    weights = llama / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refusal(llama)


def test_a_folder_without_weights_is_refused(llama: Path) -> None:
    (llama / "model.safetensors").unlink()
    refusal(llama)


def test_a_folder_without_a_configuration_is_refused(llama: Path) -> None:
    (llama / "config.json").unlink()
    assert "config.json" in refusal(llama)


def test_a_damaged_configuration_is_refused(llama: Path) -> None:
    (llama / "config.json").write_text("{")
    refusal(llama)


def test_an_unknown_architecture_is_refused(llama: Path) -> None:
    config = json.loads((llama / "config.json").read_text())
    (llama / "config.json").write_text(json.dumps({**config, "model_type": "nonsuch"}))
    refusal(llama)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nonsuch")


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    from transformers import T5Config, T5Model

    T5Model(T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)).save_pretrained(tmp_path)
    assert "encoder-decoder" in refusal(tmp_path)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def on_the_hub(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder as the commit of a hub repository some-one/llama, in the hub's cache."""
    import huggingface_hub.constants

    repository = tmp_path / "hub" / "models--some-one--llama"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("surestep.model.backbones.load.from_cache_only", lambda _name: True)
    return Path(shutil.copytree(llama, repository / "snapshots" / COMMIT))


@pytest.mark.parametrize("is_sharded", [False, True], ids=["one file", "shards"])
def test_a_hub_id_is_compared_with_its_sizes_before_anything_is_built(
    is_sharded: bool, on_the_hub: Path, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_sharded:
        (on_the_hub / "model.safetensors").rename(on_the_hub / "part.safetensors")
        weights = dict.fromkeys(load_file(on_the_hub / "part.safetensors"), "part.safetensors")
        index = {"metadata": {}, "weight_map": weights}
        (on_the_hub / "model.safetensors.index.json").write_text(json.dumps(index))
    found = load("some-one/llama")
    assert found.revision == COMMIT
    if not is_sharded:
        assert found.files == load(llama).files
    values = json.loads((on_the_hub / "config.json").read_text())
    monkeypatch.setattr("transformers.AutoModel.from_pretrained", lambda *_a, **_k: pytest.fail("it is built"))
    for field, value in (("num_hidden_layers", 1_000_000), ("intermediate_size", 10**9), ("vocab_size", -1)):
        (on_the_hub / "config.json").write_text(json.dumps(values | {field: value}))
        assert f"{field} is" in refusal("some-one/llama")
    (on_the_hub / "config.json").write_text(json.dumps(values))
    if is_sharded:
        index = {"metadata": {}, "weight_map": {"norm.weight": "../../x.safetensors"}}
        (on_the_hub / "model.safetensors.index.json").write_text(json.dumps(index))
        assert "outside its folder" in refusal("some-one/llama")
    else:
        (on_the_hub / "model.safetensors").write_bytes(b"\xff" * 8 + b"{}")
        assert "model.safetensors" in refusal("some-one/llama")


def test_a_hub_name_without_a_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    message = refusal("nobody/nonsuch-model-4B")
    assert "builtin:tiny" in message


def test_the_tiny_backbone_needs_no_file() -> None:
    backbone = load("builtin:tiny")
    assert backbone.hidden_size == 128
