"""Run by test_tree_kernel.py with TRITON_INTERPRET=1: prints the largest difference of each case as JSON."""

from __future__ import annotations

import json

import numpy as np
import torch
from torch import Tensor
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm, apply_rotary_pos_emb

from dense_mask import dense_mask
from surestep.model.attention import pooled_kernel
from surestep.model.attention.block_lists import block_lists
from surestep.model.attention.head_rotation import Rotation
from surestep.model.attention.interface import tree_attention
from surestep.model.attention.tree_kernel import packed_attention
from surestep.model.fast import norm_kernel
from surestep.model.fast.adapters.gated_kernels import gated_low_rank_gradient_on_gpu, gated_low_rank_on_gpu
from surestep.model.fast.adapters.hashed_dropout import Dropout
from surestep.model.fast.adapters.kernels import PieceTable, low_rank_gradient_on_gpu, low_rank_on_gpu
from surestep.model.fast.gated_kernel import gated_gradient_on_gpu, gated_on_gpu
from surestep.model.fast.heads.joined_attention import joined_attention
from surestep.model.fast.heads.split_heads_kernel import keys_of, split_heads
from surestep.model.fast.norm_kernel import sum_norm_gradient_on_gpu, sum_norm_on_gpu, sum_norm_quantised_on_gpu
from surestep.model.key_value_pool import KeyLayout, KeyValuePool
from surestep.model.precision.fp8 import quantise_rows
from surestep.model.precision.fp8_mlp import quantise_gated, quantise_gated_gradient
from surestep.model.precision.fp8_row_kernel import (
    quantise_gated_gradient_on_gpu,
    quantise_gated_on_gpu,
    quantise_rows_on_gpu,
)
from surestep.model.session_plan import plan_session_pass
from surestep.model.tree_batch import TreeBatch


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


@torch.no_grad()
def split_errors(
    heads: int, key_heads: int, size: int, has_norms: bool, generator: torch.Generator
) -> list[tuple[str, float]]:
    """Of heads, against transformers' norm and rotation; three blocks of tokens, of 16 each."""
    joined = torch.randn(48, (heads + 2 * key_heads) * size, generator=generator)
    norms = [Qwen3RMSNorm(size, eps=1e-3) for _ in range(2)] if has_norms else []
    for norm in norms:
        norm.weight.data = torch.randn(size, generator=generator)
    angle = torch.rand(48, size // 2, generator=generator).repeat(1, 2) * 6
    # Halves that differ, as no rotation has them: a mix-up would show.
    cos, sin = angle.cos() * torch.linspace(1, 2, size), angle.sin() * torch.linspace(2, 1, size)
    cos = cos.t().contiguous().t()  # a layout that the kernel does not read as it is
    query, key, value = joined.unflatten(1, (-1, size)).split([heads, key_heads, key_heads], dim=1)
    if has_norms:
        query, key = norms[0](query), norms[1](key)
    query, key = apply_rotary_pos_emb(query, key, cos, sin, unsqueeze_dim=1)
    weights = [norm.weight for norm in norms]
    found = split_heads(joined, *(weights or [None, None]), cos, sin, heads, key_heads, 1e-3)
    rotation = Rotation(*(weights or [None, None]), cos.contiguous(), sin.contiguous(), 1e-3)
    keys = keys_of(joined, rotation, heads, key_heads)
    parts = zip(found, (query, key, value), strict=True)
    return [
        ("values", float(torch.cat([(part - own).abs().flatten() for part, own in parts]).max())),
        ("keys alone", float((keys - found[1]).abs().max())),
    ]


def joined_errors(
    heads: int, key_heads: int, size: int, has_norms: bool, generator: torch.Generator
) -> list[tuple[str, float]]:
    """Of attention over a joined product and of gradients, against transformers' norm and rotation, written out."""
    ends = nested_ends(128, generator)
    positions = dense_mask(ends, torch.zeros_like(ends)).sum(1) - 1
    mask = ends.int(), positions.int(), block_lists(ends)
    joined = torch.randn(128, (heads + 2 * key_heads) * size, generator=generator, requires_grad=True)
    norms = [Qwen3RMSNorm(size, eps=1e-3) for _ in range(2)] if has_norms else []
    for norm in norms:
        norm.weight.data = torch.randn(size, generator=generator)
    weights = [norm.weight for norm in norms]
    # Halves that differ, and a layout that the kernel does not read as it is.
    cos, sin = (torch.randn(size, 128, generator=generator).t() for _ in range(2))
    found = joined_attention(joined, *(weights or [None, None]), cos, sin, heads, key_heads, 1e-3, *mask, 0.3, 50)[0]
    query, key, value = joined.unflatten(1, (-1, size)).split([heads, key_heads, key_heads], dim=1)
    if has_norms:
        query, key = norms[0](query), norms[1](key)
    query, key = apply_rotary_pos_emb(query, key, cos, sin, unsqueeze_dim=1)
    expected = written_out(query, key, value, dense_mask(ends, positions, 50), 0.3)
    upstream = torch.randn(expected.shape, generator=generator)
    gradients = torch.autograd.grad(found, [joined, *weights], upstream)
    expected_gradients = torch.autograd.grad(expected, [joined, *weights], upstream)
    frozen = [weight.detach() for weight in weights] or [None, None]
    of_frozen = joined_attention(joined, *frozen, cos, sin, heads, key_heads, 1e-3, *mask, 0.3, 50)[0]
    (alone,) = torch.autograd.grad(of_frozen, joined, upstream)
    pairs = [*zip(gradients, expected_gradients, strict=True), (alone, gradients[0])]
    for trained in range(len(weights)):  # one norm alone
        some = [weight if place == trained else frozen[place] for place, weight in enumerate(weights)]
        of_some = joined_attention(joined.detach(), *some, cos, sin, heads, key_heads, 1e-3, *mask, 0.3, 50)[0]
        pairs.append((torch.autograd.grad(of_some, weights[trained], upstream)[0], gradients[1 + trained]))
    return [
        ("attended", float((found - expected).detach().abs().max())),
        *(
            (f"gradient {place}", float((own - wanted).abs().max() / wanted.abs().max()))
            for place, (own, wanted) in enumerate(pairs)
        ),
    ]


def pooled_error(heads: int, key_heads: int, window: int, generator: torch.Generator) -> float:
    """Of new tokens below four prefixes (one empty), over keys and values in scattered slots of a pool."""
    size, prefixes, new_tokens = 16, (70, 0, 90, 33), (30, 25, 3, 60)
    layout = KeyLayout()
    layer = torch.nn.Identity()
    layout.exchange(layer, torch.zeros(1, key_heads, 1, size), torch.zeros(1, key_heads, 1, size))
    pool = KeyValuePool(layout, 700, torch.device("cpu"))
    scattered = torch.randperm(700, generator=generator).numpy() + 1
    num_new, num_keys = sum(new_tokens), sum(new_tokens) + sum(prefixes)
    ends, positions, starts, shift = [], [], [0], 0
    for before, new in zip(prefixes, new_tokens, strict=True):
        own = nested_ends(new, generator)
        ends.append(own + starts[-1])
        positions.append(dense_mask(own, torch.zeros_like(own)).sum(1) - 1 + before)
        starts.append(starts[-1] + new)
    batch = TreeBatch(
        torch.zeros(num_new, dtype=torch.long), torch.cat(positions), torch.cat(ends), tuple(starts), torch.tensor([0])
    )
    above = np.split(scattered[: sum(prefixes)], np.cumsum(prefixes)[:-1])
    plan = plan_session_pass(batch, above, scattered[sum(prefixes) : num_keys], pool, "triton")
    query = torch.randn(1, heads, len(plan.batch.tokens_P), size, generator=generator)
    key, value = (torch.randn(1, key_heads, len(plan.batch.tokens_P), size, generator=generator) for _ in range(2))
    for slots in above:
        old = [torch.randn(1, key_heads, len(slots), size, generator=generator) for _ in range(2)]
        pool.write(layer, torch.from_numpy(slots), *old)
    found, _ = tree_attention(layer, query, key, value, None, surestep_mask=plan, sliding_window=window or None)
    keys, values = (part[0].transpose(0, 1) for part in pool.gather(layer, plan.keys.slots_V[:num_keys]))
    index, end = plan.keys.index_P[:num_new].long(), plan.keys.axis.subtree_end_V
    mask = dense_mask(end, plan.keys.axis.positions_V, window or None)[index]
    for place, (start, before) in enumerate(zip(starts, prefixes, strict=False)):  # said once more, without an axis
        shift += before
        own = mask[start : start + new_tokens[place], : start + shift - before]
        assert not own.any(), "nobody sees another tree"
    expected = written_out(query[0, :, :num_new].transpose(0, 1), keys, values, mask, size**-0.5)
    assert found.isfinite().all(), "padding, too, stays a number"
    return float((found[0, :num_new] - expected).abs().max())


def norm_errors(rows: int, width: int, generator: torch.Generator) -> dict[str, float]:
    """Of a sum, its norm and their gradients, against transformers' norm."""
    x, y, of_sum, of_normed = (torch.randn(rows, width, generator=generator) for _ in range(4))
    norm = Qwen3RMSNorm(width, eps=1e-3)
    norm.weight.data = torch.randn(width, generator=generator)
    summed, normed = sum_norm_on_gpu(x, y, norm.weight, 1e-3)
    both = (x + y).requires_grad_()
    expected = torch.autograd.grad((both, norm(both)), (both, norm.weight), (of_sum, of_normed))
    found = sum_norm_gradient_on_gpu(of_sum, of_normed, summed, norm.weight, 1e-3)
    again, small, scale = sum_norm_quantised_on_gpu(x, y, norm.weight, 1e-3, torch.float32, 448.0)
    _, expected_scale = quantise_rows(norm(x + y))
    pairs = {
        "sum": (summed, x + y),
        "norm": (normed, norm(x + y)),
        "gradient": (found[0], expected[0]),
        "weight": (found[1], expected[1]),
        "sum before 8 bits": (again, x + y),
        "scales": (scale, expected_scale),
        # As with rows: the interpreter does not round to 8 bits as the hardware does.
        "rows": (small * scale, norm(x + y)),
    }
    return {name: float((one - other).detach().abs().max() / other.abs().max()) for name, (one, other) in pairs.items()}


def adapter_errors(rows: int, width: int, ranks: int, dropout: float, generator: torch.Generator) -> dict[str, float]:
    """Of adapters' thin products and their gradients, against the same written out."""
    made = [torch.randn(*size, generator=generator) for size in ((rows, width + 3), (ranks, width), (rows, ranks + 5))]
    x, a, of_low = made[0][:, :width], made[1], made[2][:, :ranks]  # rows that lie apart
    above = torch.randn(rows, width, generator=generator)
    mask = Dropout(torch.tensor(-12345, dtype=torch.int32), torch.tensor(2**31 - 5, dtype=torch.int32), dropout)
    scale = torch.rand(ranks, generator=generator)
    wide = torch.full((rows, width + ranks), torch.nan)
    low_rank_on_gpu(x, a, wide[:, :width], wide[:, width:], mask)
    low = torch.full((rows, ranks), torch.nan)
    low_rank_on_gpu(x, a, None, low, mask)
    of_x = torch.full((rows, width), torch.nan)
    of_a = low_rank_gradient_on_gpu(x, of_low, above, of_x, a, scale, mask)
    in_place = above.clone()
    low_rank_gradient_on_gpu(x, of_low, in_place, in_place, a, scale, mask)
    alone = low_rank_gradient_on_gpu(x, of_low, None, None, a, scale, mask)
    expected_low, expected_x = mask(x) @ a.t(), above + mask(of_low @ a)
    pairs = {
        "copy": (wide[:, :width], x),
        "product behind it": (wide[:, width:], expected_low),
        "product": (low, expected_low),
        "gradient of the input": (of_x, expected_x),
        "gradient in place": (in_place, expected_x),
        "gradient of A": (of_a, of_low.t() @ mask(x) * scale[:, None]),
        "gradient of A alone": (alone, of_a),
    }
    return {name: float((one - other).abs().max() / other.abs().max()) for name, (one, other) in pairs.items()}


def copy_errors(generator: torch.Generator) -> float:
    """Of tensors that one kernel copies to where they belong, scaled; other numbers there stay."""
    sizes = [(3, 40), (700, 5), (1, 1), (16, 129)]
    tensors = [torch.randn(*size, generator=generator) for size in sizes]
    held = [torch.full((rows, width + 7), 9.0) for rows, width in sizes]
    pieces = [
        (to[:, 2 : 2 + x.shape[1]], x, 1.0 + place) for place, (to, x) in enumerate(zip(held, tensors, strict=True))
    ]
    PieceTable(pieces).copy()
    errors = [float((to - x * factor).abs().max()) for to, x, factor in pieces]
    untouched = sum(int((to != 9.0).sum()) for to in held) - sum(x.numel() for x in tensors)
    return float(np.max([*errors, abs(untouched)]))  # unlike Python's, no number where one of them is none


def gated_errors(rows: int, width: int, generator: torch.Generator) -> dict[str, float]:
    """Of silu(gate) · up and its gradient, against autograd."""
    joined = (3 * torch.randn(rows, 2 * width, generator=generator)).requires_grad_()
    upstream = torch.randn(rows, width, generator=generator)
    expected = torch.nn.functional.silu(joined[:, :width]) * joined[:, width:]
    (expected_gradient,) = torch.autograd.grad(expected, joined, upstream)
    pairs = {
        "product": (gated_on_gpu(joined.detach()), expected),
        "gradient": (gated_gradient_on_gpu(joined.detach(), upstream), expected_gradient),
    }
    return {name: float((one - other).detach().abs().max() / other.abs().max()) for name, (one, other) in pairs.items()}


def adapted_gate_errors(
    rows: int, width: int, ranks: tuple[int, int, int], dropout: float, generator: torch.Generator
) -> dict[str, float]:
    """Of what lies between an MLP's products, adapters of gate, up and down included, against autograd."""
    of_gate, of_up, num_ranks = ranks
    joined = (2 * torch.randn(rows, 2 * width, generator=generator)).requires_grad_()
    a = torch.randn(num_ranks, width, generator=generator, requires_grad=True)
    scale = torch.rand(num_ranks, generator=generator) + 1
    of_wide = torch.randn(rows, width + num_ranks, generator=generator)
    mask = Dropout(torch.tensor(-5, dtype=torch.int32), torch.tensor(9, dtype=torch.int32), dropout)
    wide, low = torch.full((rows, width + num_ranks), torch.nan), torch.full((rows, num_ranks), torch.nan)
    gated_low_rank_on_gpu(joined.detach(), a.detach(), wide, low, mask)
    gated = torch.nn.functional.silu(joined[:, :width]) * joined[:, width:]
    # As a mask of its own, through which autograd sees.
    kept = mask(torch.ones(rows, width))
    expected = torch.cat([gated, (gated * kept) @ a.t()], 1)
    expected_of_joined, expected_of_a = torch.autograd.grad(expected, [joined, a], of_wide)
    before = torch.randn(rows, of_gate + of_up + 3, generator=generator)[:, : of_gate + of_up]  # rows that lie apart
    of_joined, of_a, of_b = gated_low_rank_gradient_on_gpu(
        joined.detach(), of_wide, a.detach(), scale, mask, before, (of_gate, of_up)
    )
    products = expected_of_joined.t() @ before
    not_there = of_b[0, :, of_gate:].abs().sum() + of_b[1, :, of_up:].abs().sum()
    pairs = {
        "product and behind it": (wide, expected),
        "behind it alone": (low, expected[:, width:]),
        "gradient": (of_joined, expected_of_joined),
        "gradient of A": (of_a, expected_of_a * scale[:, None]),
        "gradient of gate's B": (of_b[0, :, :of_gate], products[:width, :of_gate]),
        "gradient of up's B": (of_b[1, :, :of_up], products[width:, of_gate:]),
        "of ranks that are not there": (not_there + 1, torch.ones(1)),
    }
    return {name: float((one - other).detach().abs().max() / other.abs().max()) for name, (one, other) in pairs.items()}


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    errors: dict[str, float] = {}
    for heads, key_heads, size, num_tokens, window in (
        (4, 2, 32, 256, 0),
        (8, 1, 16, 128, 0),
        (3, 1, 16, 128, 0),
        (7, 1, 16, 128, 0),
        (16, 1, 16, 128, 0),
        (4, 1, 32, 256, 20),
    ):
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
        errors[f"{name}, attended"] = float((found - expected).detach().abs().max())
        errors[f"{name}, gradient"] = float((gradient - expected_gradient).abs().max())
        if window:
            without = packed_attention(query, key, value, *mask_arguments, scale, 0)[0]
            errors[f"window {window} against none"] = float((found - without).detach().abs().max())
    for heads, key_heads, window in ((4, 2, 0), (4, 1, 20), (7, 1, 0)):
        for programs in (1, 16, 256):
            pooled_kernel._PROGRAMS = {0: programs}
            name = f"pooled, {heads} of {key_heads}" + (f", window {window}" if window else "")
            errors[f"{name}, {programs} programs"] = pooled_error(heads, key_heads, window, generator)
    for heads, key_heads, size, has_norms in ((8, 2, 32, True), (3, 3, 16, True), (6, 2, 16, True), (4, 2, 16, False)):
        name = f"heads, {heads} of {key_heads}" + (", normed" if has_norms else "")
        errors |= {
            f"{name}, {what}": error for what, error in split_errors(heads, key_heads, size, has_norms, generator)
        }
    for heads, key_heads, size, has_norms in ((4, 2, 32, True), (3, 1, 16, True), (7, 1, 16, False)):
        name = f"joined, {heads} of {key_heads}" + (", normed" if has_norms else "")
        of_joined = joined_errors(heads, key_heads, size, has_norms, generator)
        errors |= {f"{name}, {what}": error for what, error in of_joined}
    x = torch.randn(7, 40, generator=generator)
    x[3] = 0
    small, scales = quantise_rows_on_gpu(x, torch.float32, 448.0)
    _, expected_scales = quantise_rows(x)
    errors["rows, scales"] = float((scales - expected_scales).abs().max())
    # The interpreter does not round to 8 bits as the hardware does, so the rows are compared before rounding.
    errors["rows, values"] = float((small * scales - x).abs().max())
    joined, of_product = torch.randn(7, 80, generator=generator) * 3, torch.randn(7, 40, generator=generator)
    joined[3] = 0
    gated = (quantise_gated, quantise_gated_on_gpu, (joined,))
    gradient = (quantise_gated_gradient, quantise_gated_gradient_on_gpu, (joined, of_product))
    for name, (here, on_gpu, inputs) in {"gated rows": gated, "their gradients": gradient}.items():
        small, scales = on_gpu(*inputs, torch.float32, 448.0)
        expected_small, expected_scales = here(*inputs)
        errors[f"{name}, scales"] = float((scales - expected_scales).abs().max())
        # As above; what is expected is rounded, by a half of the last of 4 bits.
        rounding = (small - expected_small.float()).abs() / (small.abs() + 2**-6)
        errors[f"{name}, values beyond rounding"] = float((rounding - 1 / 16).clamp(min=0).max())
    # Fewer programs than rows: the interpreter would need a minute for as many rows as a GPU has programs.
    norm_kernel._PROGRAMS = 4
    for rows, width in ((4, 40), (11, 24), (3, 64)):
        found_errors = norm_errors(rows, width, generator)
        errors |= {f"norm of {rows} rows, {name}": error for name, error in found_errors.items()}
    for rows, width, ranks, dropout in ((70, 40, 8, 0.0), (130, 200, 24, 0.3), (5, 64, 8, 0.5), (9, 64, 136, 0.3)):
        of_adapters = adapter_errors(rows, width, ranks, dropout, generator)
        errors |= {f"adapters of {rows} rows, {name}": error for name, error in of_adapters.items()}
    errors["pieces in their places"] = copy_errors(generator)
    for rows, width in ((7, 40), (3, 2100)):
        errors |= {f"gates of {width}, {name}": error for name, error in gated_errors(rows, width, generator).items()}
    cases = (70, 40, (8, 8, 8), 0.0), (130, 130, (5, 17, 24), 0.3), (5, 64, (3, 2, 8), 0.5)
    for rows, width, of_three, dropout in cases:
        of_gates = adapted_gate_errors(rows, width, of_three, dropout, generator)
        errors |= {f"adapted gates of {rows} rows, {name}": error for name, error in of_gates.items()}
    broken = joined.clone()
    broken[2, 5] = torch.inf
    small, scales = quantise_gated_on_gpu(broken, torch.float32, 448.0)
    errors["rows that hold no numbers, made finite"] = float(scales.isfinite().sum() - 6)
    print(json.dumps(errors))


if __name__ == "__main__":
    main()
