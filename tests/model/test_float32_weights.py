"""Products over trained float32 weights: half precision does not round their gradients."""

from __future__ import annotations

import copy
import random

import torch
from torch import Tensor
from transformers import AutoModel, Qwen3Config

from strategies import CONFIDENCE_ID, encoded_tree
from surestep.encoding.packing import pack_trees
from surestep.model.attention.interface import register_tree_attention
from surestep.model.confidence_model import ConfidenceModel
from surestep.model.fast.fuse import projections
from surestep.model.fast.projection import RoundedTrainedWeights
from surestep.model.head import ConfidenceHead
from surestep.model.precision.float32_weights import linear_in_half, linear_pair_in_half
from surestep.model.tree_batch import TreeBatch
from surestep.scoring.model_scorer import to_batch


def test_gradients_of_weights_are_summed_and_kept_in_float32() -> None:
    torch.manual_seed(0)
    x = torch.randn(500, 24).bfloat16().requires_grad_()
    weights = [torch.randn(rows, 24, requires_grad=True) for rows in (10, 6)]
    half = torch.cat([weight.detach() for weight in weights]).bfloat16()
    y = linear_in_half(x, half, weights, None)
    upstream = torch.randn(500, 16).bfloat16()
    of_x, *of_weights = torch.autograd.grad(y, [x, *weights], upstream)
    exact = upstream.double().t() @ x.detach().double()
    found = torch.cat(of_weights)
    assert found.dtype == torch.float32
    assert float((found - exact).norm() / exact.norm()) < 1e-6
    assert float((exact.bfloat16() - exact).norm() / exact.norm()) > 1e-3, "what rounding would have cost"
    torch.testing.assert_close(of_x, upstream @ half)


def test_two_weights_that_stay_apart_share_the_gradient_of_their_input() -> None:
    torch.manual_seed(0)
    x = torch.randn(500, 24).bfloat16().requires_grad_()
    a, b = (torch.randn(10, 24, requires_grad=True) for _ in range(2))
    halves = [weight.detach().bfloat16() for weight in (a, b)]
    found = linear_pair_in_half(x, *halves, a, b)
    apart = [linear_in_half(x, half, [weight], None) for half, weight in zip(halves, (a, b), strict=True)]
    assert all(torch.equal(one, other) for one, other in zip(found, apart, strict=True))
    upstream = [torch.randn(500, 10).bfloat16() for _ in range(2)]
    of_x, of_a, of_b = torch.autograd.grad(found, [x, a, b], upstream)
    expected = torch.autograd.grad(apart, [x, a, b], upstream)
    assert torch.equal(of_a, expected[1])
    assert torch.equal(of_b, expected[2])
    torch.testing.assert_close(of_x, expected[0], rtol=0.02, atol=0.05)


def _model_and_batch() -> tuple[ConfidenceModel, TreeBatch]:
    torch.manual_seed(0)
    register_tree_attention()
    config = Qwen3Config(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=200, head_dim=16,
    )  # fmt: skip
    model = ConfidenceModel(
        AutoModel.from_config(config), ConfidenceHead(32, [8], dropout=0.0), confidence_id=CONFIDENCE_ID
    )
    tree = encoded_tree([-1, 0, 1], [5, 4, 3], [1.0] * 3, random.Random(0))
    return model, to_batch(pack_trees([tree]))


def _logits(model: ConfidenceModel, batch: TreeBatch) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found: Tensor = model(batch)
    return found


def test_rounded_copies_are_those_of_the_weights_after_every_update() -> None:
    model, batch = _model_and_batch()
    model.fuse_layers()
    keeping = copy.deepcopy(model)
    with torch.inference_mode():  # copies made here serve in training
        keeping.keep_rounded(torch.bfloat16)
    assert all(isinstance(projection.weights, RoundedTrainedWeights) for projection in projections(keeping.transformer))
    optimizers = [torch.optim.AdamW(one.parameters(), lr=0.1, fused=True) for one in (model, keeping)]
    seen = []
    for _ in range(3):
        for one, optimizer in zip((model, keeping), optimizers, strict=True):
            _logits(one, batch).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            one.weights_changed()
        seen.append(_logits(model, batch))
        assert torch.equal(_logits(keeping, batch), seen[-1])
    assert not torch.equal(seen[0], seen[1])
    assert keeping.state_dict().keys() == model.state_dict().keys(), "copies are not saved"
    keeping.keep_rounded(None)
    keeping.weights_changed()
    assert not any(isinstance(one.weights, RoundedTrainedWeights) for one in projections(keeping.transformer))
    assert torch.equal(_logits(keeping, batch), seen[-1])


def test_nothing_is_kept_where_nothing_is_rounded() -> None:
    model, batch = _model_and_batch()
    model.keep_rounded(torch.bfloat16)  # not fused
    model.fuse_layers()
    model.keep_rounded(torch.float32)
    assert not any(isinstance(one.weights, RoundedTrainedWeights) for one in projections(model.transformer))
    model.weights_changed()
    assert torch.isfinite(model(batch)).all()
