"""A family of backbones is one entry in `backbones/families.py`: what is fast follows from its name."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import HeliumConfig, MinistralConfig, PreTrainedConfig, SeedOssConfig

from model.test_fused import SHAPE, assert_alike, make_model, scores_and_gradients
from surestep.model.attention.parity_probe import probe_parity
from surestep.model.backbones import families

OTHERS: list[tuple[str, PreTrainedConfig]] = [
    ("Ministral", MinistralConfig(**SHAPE, head_dim=8, sliding_window=6)),
    ("SeedOss", SeedOssConfig(**SHAPE, head_dim=8, attention_dropout=0.0, residual_dropout=0.0)),
    ("Helium", HeliumConfig(**SHAPE, head_dim=8)),
]


@pytest.mark.parametrize(("name", "config"), OTHERS, ids=lambda value: value if isinstance(value, str) else "")
def test_one_entry_gives_a_family_fused_and_narrow_layers(
    name: str, config: PreTrainedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = make_model(config, "all-linear")
    fast = copy.deepcopy(own)
    assert not fast.fuse_layers()
    assert not fast.narrow_layers()
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, name))
    assert fast.fuse_layers()
    assert fast.narrow_layers()
    expected, expected_gradients = scores_and_gradients(own)
    found, gradients = scores_and_gradients(fast)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert_alike(gradients, expected_gradients)
    assert probe_parity(fast, dtype=torch.float32).agrees


def test_an_entry_whose_layers_are_not_alike_is_caught_by_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Granite scales what a layer adds, which layers of the known families do not."""
    from transformers import GraniteConfig

    model = make_model(GraniteConfig(**SHAPE, residual_multiplier=0.2, initializer_range=0.3), None)
    assert probe_parity(model, dtype=torch.float32).agrees
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, "Granite"))
    assert model.narrow_layers()
    assert not probe_parity(model, dtype=torch.float32).agrees
