"""A pass's gradients added to what is there, against autograd's own adding."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from surestep.training.passes.added_gradients import add_gradients


class Blocks(nn.Module):
    """Weights whose gradients lie close, apart in one wider tensor, in one tensor for several weights, and nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.close = nn.Parameter(torch.randn(5, 3))
        self.apart = nn.Parameter(torch.randn(5, 3))
        self.summed = nn.ParameterList([nn.Parameter(torch.randn(4)) for _ in range(2)])
        self.unused = nn.Parameter(torch.randn(2))

    def forward(self, x: Tensor) -> Tensor:
        beside = torch.cat([self.apart, torch.ones(5, 4)], 1)  # its gradient is columns of a wider one
        one, other = self.summed
        summed = squared(one + other)
        return (squared(x @ self.close) + (x @ beside).sin()[:, :3]).sum() + summed.sum()


def squared(x: Tensor) -> Tensor:
    return x * x


@pytest.mark.parametrize("begins_with", ["nothing", "zeros"])
def test_sums_over_passes_are_those_of_backward_to_the_bit(begins_with: str) -> None:
    torch.manual_seed(0)
    ours = Blocks()
    theirs = copy.deepcopy(ours)
    if begins_with == "zeros":
        for model in (ours, theirs):
            for parameter in model.parameters():
                parameter.grad = torch.zeros_like(parameter)
    places = [None if parameter.grad is None else parameter.grad.data_ptr() for parameter in ours.parameters()]
    for _ in range(3):
        x = torch.randn(7, 5)
        add_gradients(ours(x), list(ours.parameters()))
        theirs(x).backward()
    for own, other, place in zip(ours.parameters(), theirs.parameters(), places, strict=True):
        assert (own.grad is None) == (other.grad is None)
        if own.grad is not None and other.grad is not None:
            assert torch.equal(own.grad, other.grad)
            assert place in (None, own.grad.data_ptr()), "a recording adds to the memory that it found"
    assert (ours.unused.grad is None) == (begins_with == "nothing")


def test_gradients_that_lie_apart_are_among_them() -> None:
    model = Blocks()
    found = torch.autograd.grad(model(torch.randn(7, 5)), [model.close, model.apart])
    assert [gradient.is_contiguous() for gradient in found] == [True, False]
