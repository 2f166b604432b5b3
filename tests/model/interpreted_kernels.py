"""Run by test_tree_kernel.py with TRITON_INTERPRET=1: prints the largest difference of each case as JSON."""

from __future__ import annotations

import json
from functools import partial

import torch
from torch import Tensor

from surestep.model import tree_kernel
from surestep.model.attention import dense_mask
from surestep.model.block_lists import block_lists
from surestep.model.fp8 import quantise_rows
from surestep.model.row_kernel import quantise_rows_on_gpu
from surestep.model.tree_kernel import packed_attention


def nested_ends(num_tokens: int, generator: torch.Generator) -> Tensor:
    """Random trees of chains of 1 to 40 tokens that split where they end."""
    ends = torch.zeros(num_tokens, dtype=torch.long)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    def fill(start: int, stop: int) -> None:
        while start < stop:
            size = draw(1, stop - start) if draw(0, 9) < 7 else stop - start
            own = min(size, draw(1, 40))
            ends[start : start + own] = start + size
            fill(start + own, start + size)
            start += size

    fill(0, num_tokens)
    return ends


def written_out(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = torch.einsum("phe,khe->hpk", query, key) * scale
    return torch.einsum("hpk,khe->phe", scores.masked_fill(~mask, -torch.inf).softmax(-1), value)


def _chosen(launch: tree_kernel.Launch, _: torch.device) -> tree_kernel.Launch:
    return launch


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    errors: dict[str, float] = {}
    for heads, key_heads, size, num_tokens, window, launch in (
        (4, 2, 32, 256, 0, tree_kernel.LARGE),
        (8, 1, 16, 256, 0, tree_kernel.LARGE),
        (3, 1, 16, 128, 0, tree_kernel.LARGE),
        (7, 1, 16, 128, 0, tree_kernel.LARGE),
        (16, 1, 16, 128, 0, tree_kernel.LARGE),
        (4, 1, 32, 256, 20, tree_kernel.LARGE),
        (4, 2, 32, 256, 0, tree_kernel.SMALL),
        (7, 1, 16, 128, 0, tree_kernel.SMALL),
    ):
        tree_kernel.launch_for = partial(_chosen, launch)  # type: ignore[assignment]
        ends = nested_ends(num_tokens, generator)
        whole = dense_mask(ends, torch.zeros_like(ends))
        positions = whole.sum(1) - 1
        mask = dense_mask(ends, positions, window or None)
        joined = torch.randn(num_tokens, (heads + 2 * key_heads) * size, generator=generator, requires_grad=True)
        parts = joined.split([heads * size, key_heads * size, key_heads * size], dim=1)
        query, key, value = (part.unflatten(1, (-1, size)) for part in parts)  # not contiguous, as in a layer
        scale = size**-0.5
        mask_arguments = ends.int(), positions.int(), block_lists(ends)
        found = packed_attention(query, key, value, *mask_arguments, scale, window)[0]
        expected = written_out(query, key, value, mask, scale)
        upstream = torch.randn(expected.shape, generator=generator)
        (gradient,) = torch.autograd.grad(found, joined, upstream)
        (expected_gradient,) = torch.autograd.grad(expected, joined, upstream)
        name = f"{heads} of {key_heads}" + (f", window {window}" if window else "")
        name += ", small" if launch is tree_kernel.SMALL else ""
        errors[f"{name}, attended"] = float((found - expected).detach().abs().max())
        errors[f"{name}, gradient"] = float((gradient - expected_gradient).abs().max())
        if window:
            without = packed_attention(query, key, value, *mask_arguments, scale, 0)[0]
            errors[f"window {window} against none"] = float((found - without).detach().abs().max())
    x = torch.randn(7, 40, generator=generator)
    x[3] = 0
    small, scales = quantise_rows_on_gpu(x, torch.float32, 448.0)
    _, expected_scales = quantise_rows(x)
    errors["rows, scales"] = float((scales - expected_scales).abs().max())
    # The interpreter does not round to 8 bits as the hardware does, so the rows are compared before rounding.
    errors["rows, values"] = float((small * scales - x).abs().max())
    print(json.dumps(errors))


if __name__ == "__main__":
    main()
