"""Linear layers in 4 bits: the same bits from files and in memory, and adapters that train around them.

On a CPU these run bitsandbytes' own CPU kernels, which a run of ours is not allowed to use; the same on a GPU is in
tests/gpu.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from surestep.config import LoraConfig
from surestep.model.backbones.load import load_backbone
from surestep.model.backbones.lora import add_adapters
from surestep.model.fast.fuse import can_fuse
from surestep.model.precision.bitsandbytes_available import bitsandbytes_problem
from surestep.model.precision.nf4 import num_weights, quantise_linear_layers

pytestmark = pytest.mark.skipif(bitsandbytes_problem() is not None, reason=str(bitsandbytes_problem()))

CPU = torch.device("cpu")


@pytest.fixture
def load(backbone_folder: Callable[[str], Path]) -> Callable[..., Any]:
    def find(name: str = "qwen3", **options: Any) -> Any:
        folder = name if name.startswith("builtin") else str(backbone_folder(name))
        return load_backbone(folder, revision=None, dtype=torch.float32, **options)

    return find


def linear_layers(module: nn.Module) -> dict[str, Any]:
    return {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear)}


def test_files_and_memory_give_the_same_bits(load: Callable[..., Any]) -> None:
    from_files, in_memory = load(nf4_device=CPU).module, load().module
    quantise_linear_layers(in_memory, dtype=torch.float32, device=CPU)
    mine, theirs = linear_layers(from_files), linear_layers(in_memory)
    assert mine.keys() == theirs.keys()
    assert len(mine) == 14
    for name, layer in mine.items():
        assert layer.weight.dtype == torch.uint8, name
        assert torch.equal(layer.weight, theirs[name].weight)
        assert torch.equal(layer.weight.quant_state.absmax, theirs[name].weight.quant_state.absmax)
        assert layer.weight.quant_state.nested
        assert theirs[name].weight.quant_state.nested
    x = torch.randint(0, 300, (1, 20))
    from_files.train()
    in_memory.train()
    assert torch.equal(from_files(x).last_hidden_state, in_memory(x).last_hidden_state)


@pytest.mark.parametrize("name", ["qwen3", "builtin:tiny"])
def test_the_pinned_hash_is_that_of_the_original_weights(load: Callable[..., Any], name: str) -> None:
    assert load(name, nf4_device=CPU).weights_sha256 == load(name).weights_sha256


@pytest.mark.parametrize("name", ["qwen3", "builtin:tiny"])
def test_embedding_norms_and_biases_stay_as_they_were(load: Callable[..., Any], name: str) -> None:
    small, plain = load(name, nf4_device=CPU).module, load(name).module
    kept = {key for key, value in plain.named_parameters() if "_proj.weight" not in key}
    found = dict(small.named_parameters())
    assert kept
    assert all(torch.equal(found[key], plain.get_parameter(key)) for key in kept)


def test_a_packed_parameter_counts_the_weights_it_stands_for(load: Callable[..., Any]) -> None:
    small, plain = (load("builtin:tiny", **options).module for options in ({"nf4_device": CPU}, {}))
    assert sum(map(num_weights, small.parameters())) == sum(p.numel() for p in plain.parameters())
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in plain.parameters())


@pytest.mark.parametrize("name", ["qwen3", "builtin:tiny"])
@pytest.mark.parametrize("targets", ["auto", "all-linear"])
def test_adapters_train_around_it_and_nothing_else_does(load: Callable[..., Any], name: str, targets: str) -> None:
    settings = LoraConfig(use_lora=True, lora_r=4, lora_dropout=0.0, lora_target_modules=targets)
    backbone = load(name, nf4_device=CPU)
    before = {key: layer.weight.clone() for key, layer in linear_layers(backbone.module).items()}
    adapted = add_adapters(backbone.module, settings).train()
    assert not can_fuse(adapted.get_base_model())
    trained = [(key, p) for key, p in adapted.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in key and p.dtype == torch.float32 for key, p in trained)
    optimizer = torch.optim.AdamW([p for _, p in trained], lr=1e-2)
    losses, target = [], torch.randn(20, backbone.hidden_size, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        loss = (adapted(torch.arange(20)[None]).last_hidden_state - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    after = {key.replace(".base_layer", ""): layer for key, layer in linear_layers(adapted.get_base_model()).items()}
    assert all(torch.equal(after[key].weight, value) for key, value in before.items())
