"""Clipping inside the fused update, against clipping first and updating then."""

from __future__ import annotations

import copy

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from surestep.scoring.hardware import choose_hardware
from surestep.training.optimizer.clipped_update import clip_and_step, divides_gradients
from surestep.training.processes import make_accelerator

needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=needs_gpu)])
def accelerator(request: pytest.FixtureRequest) -> Accelerator:
    """On the CPU and on a GPU, whatever other tests of this process computed on."""
    return make_accelerator(choose_hardware(request.param, "no"))


def _model(accelerator: Accelerator) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3), nn.Linear(3, 1)).to(accelerator.device)
    model[1].requires_grad_(False)
    return model


def _fill(model: nn.Module, size: float, step: int) -> None:
    """Gradients that differ from step to step; one weight has none."""
    torch.manual_seed(step)
    for parameter in list(model.parameters())[:-1]:
        if parameter.requires_grad:
            parameter.grad = size * torch.randn_like(parameter)


@pytest.mark.parametrize("size", [1e-3, 10.0], ids=["below the norm", "above it"])
@pytest.mark.parametrize("fused", [True, False])
def test_weights_and_norm_are_those_of_clipping_first(accelerator: Accelerator, size: float, fused: bool) -> None:
    one, other = _model(accelerator), _model(accelerator)
    optimizers = [
        torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01, weight_decay=0.1, fused=fused)
        for model in (one, other)
    ]
    assert divides_gradients(optimizers[0]) == fused
    prepared = accelerator.prepare(optimizers[0])
    for step in range(4):
        _fill(one, size, step)
        _fill(other, size, step)
        norm = clip_and_step(prepared, one, accelerator, 0.5)
        expected = nn.utils.clip_grad_norm_(other.parameters(), 0.5)
        optimizers[1].step()
        assert norm is not None
        torch.testing.assert_close(norm, expected)
        assert (expected > 0.5) == (size > 1)
        for found, wanted in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)
        assert getattr(optimizers[0], "grad_scale", None) is None, "the next update is not divided by it"


def test_moments_hold_clipped_gradients(accelerator: Accelerator) -> None:
    """An update of AdamW hardly depends on the size of its gradients; the moments do."""
    model = _model(accelerator)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)
    _fill(model, 10.0, 0)
    clipped = copy.deepcopy(model)
    for parameter, source in zip(clipped.parameters(), model.parameters(), strict=True):
        parameter.grad = None if source.grad is None else source.grad.clone()
    nn.utils.clip_grad_norm_(clipped.parameters(), 0.5)
    clip_and_step(accelerator.prepare(optimizer), model, accelerator, 0.5)
    for parameter, expected in zip(model.parameters(), clipped.parameters(), strict=True):
        if expected.grad is not None:
            torch.testing.assert_close(optimizer.state[parameter]["exp_avg"], 0.1 * expected.grad)


def test_an_update_that_fails_leaves_no_divisor(accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model(accelerator)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    prepared = accelerator.prepare(optimizer)
    _fill(model, 1.0, 0)

    def breaking(*_: object, **__: object) -> None:
        assert optimizer.grad_scale > 1
        raise torch.OutOfMemoryError

    monkeypatch.setattr(prepared, "step", breaking)
    with pytest.raises(torch.OutOfMemoryError):
        clip_and_step(prepared, model, accelerator, 0.5)
    assert not hasattr(optimizer, "grad_scale")


@pytest.mark.parametrize("fused", [True, False])
def test_without_gradients_nothing_moves(accelerator: Accelerator, fused: bool) -> None:
    model = _model(accelerator)
    before = [parameter.clone() for parameter in model.parameters()]
    optimizer = accelerator.prepare(torch.optim.AdamW(model.parameters(), fused=fused))
    clip_and_step(optimizer, model, accelerator, 0.5)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), before, strict=True))
