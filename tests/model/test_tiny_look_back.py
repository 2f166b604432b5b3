"""The heads of `builtin:tiny` that start at looking back do so."""

from __future__ import annotations

import pytest
import torch

from surestep.model.backbones.tiny import LOOK_BACK, load_tiny_backbone


@pytest.mark.parametrize("position", [10, 40])
def test_half_of_the_heads_look_back_by_their_distance(position: int) -> None:
    model = load_tiny_backbone(seed=0, warm=False).eval()
    model.set_attn_implementation("eager")
    tokens = torch.randint(1, 270, (1, 48), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        attentions = model(tokens, output_attentions=True).attentions
    for layer in attentions:
        for head, distance in enumerate(LOOK_BACK):
            at = position - distance  # the random weights may shift it by one token
            assert layer[0, head, position, at - 1 : at + 2].sum() > 0.9
        # The others start unbiased: no token takes more than a few times its even share.
        assert layer[0, len(LOOK_BACK) :, position].max() < 5 / (position + 1)


def test_the_embedded_weights_are_not_those_of_any_seed() -> None:
    warm = load_tiny_backbone(seed=0)
    again = load_tiny_backbone(seed=1)
    cold = load_tiny_backbone(seed=0, warm=False)
    for (name, one), two, random in zip(warm.named_parameters(), again.parameters(), cold.parameters(), strict=True):
        assert torch.equal(one, two), name
        if one.ndim > 1 and "layers.3" not in name:
            assert not torch.equal(one, random), name
