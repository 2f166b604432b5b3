"""Queries and keys of a joined product, normed and rotated, and the way back for their gradients: one kernel each.

The norm is that of Qwen3 (RMS of a head, Zhang and Sennrich, 2019), the rotation that of all families in
`surestep.model.backbones.families` (RoPE, Su et al., 2021, halves of a head as pairs). Each number is read once and
written once; a compiler's kernels for the same arithmetic read rows twice. Everything between is float32 and is
rounded once. Values are left where the product put them.

Shapes: `P` tokens of the pack (a multiple of 128), `H` query heads, `K` key heads, `E` head dimension (a power of two),
`N` = (H + 2 K) E.
"""

# Triton evaluates annotations itself, and its kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, misc, no-any-return, untyped-decorator"

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

_TOKENS = 16
"""Tokens that a block of threads works on, of one key head and its query heads."""


@triton.jit
def _halves(start_ptr, token, stride, E: tl.constexpr):
    """Both halves of a head of E numbers, of each token."""
    at = start_ptr + token[:, None] * stride + tl.arange(0, E // 2)[None, :]
    return tl.load(at).to(tl.float32), tl.load(at + E // 2).to(tl.float32)


@triton.jit
def _store_halves(start_ptr, token, stride, first, second, E: tl.constexpr):
    at = start_ptr + token[:, None] * stride + tl.arange(0, E // 2)[None, :]
    tl.store(at, first.to(start_ptr.dtype.element_ty))
    tl.store(at + E // 2, second.to(start_ptr.dtype.element_ty))


@triton.jit
def _weight_halves(weight_ptr, E: tl.constexpr):
    half = tl.arange(0, E // 2)
    first = tl.load(weight_ptr + half).to(tl.float32)[None, :]
    return first, tl.load(weight_ptr + E // 2 + half).to(tl.float32)[None, :]


@triton.jit
def _rotate_head(
    x_ptr, out_ptr, weight_ptr, token, x_stride, out_stride, cos1, cos2, sin1, sin2, eps,
    E: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    x1, x2 = _halves(x_ptr, token, x_stride, E)
    if NORM:
        w1, w2 = _weight_halves(weight_ptr, E)
        scale = tl.rsqrt((tl.sum(x1 * x1, 1) + tl.sum(x2 * x2, 1)) / E + eps)[:, None]
        x1, x2 = x1 * scale * w1, x2 * scale * w2
    _store_halves(out_ptr, token, out_stride, x1 * cos1 - x2 * sin1, x2 * cos2 + x1 * sin2, E)


@triton.jit
def _rotate_kernel(
    x_ptr, q_ptr, k_ptr, q_weight_ptr, k_weight_ptr, cos_ptr, sin_ptr, eps,
    K: tl.constexpr, G: tl.constexpr, E: tl.constexpr, BT: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    key_head = tl.program_id(0)
    token = tl.program_id(1).to(tl.int64) * BT + tl.arange(0, BT)
    cos1, cos2 = _halves(cos_ptr, token, E, E)
    sin1, sin2 = _halves(sin_ptr, token, E, E)
    N: tl.constexpr = (G + 2) * K * E
    for member in tl.static_range(G):
        head = key_head * G + member
        _rotate_head(
            x_ptr + head * E, q_ptr + head * E, q_weight_ptr, token, N, G * K * E, cos1, cos2, sin1, sin2, eps, E, NORM
        )  # fmt: skip
    x_ptr += (G * K + key_head) * E
    _rotate_head(x_ptr, k_ptr + key_head * E, k_weight_ptr, token, N, K * E, cos1, cos2, sin1, sin2, eps, E, NORM)


@triton.jit
def _rotate_back(
    x_ptr, d_ptr, weight_ptr, token, stride, cos1, cos2, sin1, sin2, eps, dw1, dw2,
    E: tl.constexpr, NORM: tl.constexpr, TRAINED: tl.constexpr,
):  # fmt: skip
    g1, g2 = _halves(d_ptr, token, stride, E)
    d1, d2 = g1 * cos1 + g2 * sin2, g2 * cos2 - g1 * sin1
    if NORM:
        x1, x2 = _halves(x_ptr, token, stride, E)
        w1, w2 = _weight_halves(weight_ptr, E)
        scale = tl.rsqrt((tl.sum(x1 * x1, 1) + tl.sum(x2 * x2, 1)) / E + eps)[:, None]
        x1, x2 = x1 * scale, x2 * scale
        if TRAINED:
            dw1 += d1 * x1
            dw2 += d2 * x2
        d1, d2 = d1 * w1, d2 * w2
        along = ((tl.sum(d1 * x1, 1) + tl.sum(d2 * x2, 1)) / E)[:, None]
        d1, d2 = (d1 - x1 * along) * scale, (d2 - x2 * along) * scale
    _store_halves(d_ptr, token, stride, d1, d2, E)
    return dw1, dw2


@triton.jit
def _rotate_back_kernel(
    x_ptr, d_ptr, dw_ptr, q_weight_ptr, k_weight_ptr, cos_ptr, sin_ptr, eps,
    K: tl.constexpr, G: tl.constexpr, E: tl.constexpr, BT: tl.constexpr, NORM: tl.constexpr, TRAINED: tl.constexpr,
):  # fmt: skip
    key_head = tl.program_id(0)
    tile = tl.program_id(1).to(tl.int64)
    token = tile * BT + tl.arange(0, BT)
    cos1, cos2 = _halves(cos_ptr, token, E, E)
    sin1, sin2 = _halves(sin_ptr, token, E, E)
    N: tl.constexpr = (G + 2) * K * E
    # Summed over tokens once, at the end: a sum across threads for every head took longer than all the rest.
    dw1 = tl.zeros([BT, E // 2], tl.float32)
    dw2 = tl.zeros([BT, E // 2], tl.float32)
    for member in tl.static_range(G):
        head = key_head * G + member
        dw1, dw2 = _rotate_back(
            x_ptr + head * E, d_ptr + head * E, q_weight_ptr, token, N, cos1, cos2, sin1, sin2, eps, dw1, dw2,
            E, NORM, TRAINED,
        )  # fmt: skip
    half = tl.arange(0, E // 2)
    dw_ptr += (tile * K + key_head) * 2 * E
    if TRAINED:
        tl.store(dw_ptr + half, tl.sum(dw1, 0))
        tl.store(dw_ptr + E // 2 + half, tl.sum(dw2, 0))
    of_key = (G * K + key_head) * E
    dw1, dw2 = _rotate_back(
        x_ptr + of_key, d_ptr + of_key, k_weight_ptr, token, N, cos1, cos2, sin1, sin2, eps,
        tl.zeros([BT, E // 2], tl.float32), tl.zeros([BT, E // 2], tl.float32), E, NORM, TRAINED,
    )  # fmt: skip
    if TRAINED:
        tl.store(dw_ptr + E + half, tl.sum(dw1, 0))
        tl.store(dw_ptr + E + E // 2 + half, tl.sum(dw2, 0))


class Rotation(NamedTuple):
    """How queries and keys are normed and then rotated.

    Attributes:
        q_weight, k_weight: of the norms, [E]; both None without them.
        cos, sin: [P, E].
        eps: of the norms.
    """

    q_weight: Tensor | None
    k_weight: Tensor | None
    cos: Tensor
    sin: Tensor
    eps: float


@torch.library.custom_op("surestep::rotated_heads", mutates_args=())
def rotated_heads(
    joined: Tensor,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    eps: float,
    num_heads: int,
    num_key_heads: int,
) -> tuple[Tensor, Tensor]:
    """Queries [P, H, E] and keys [P, K, E], contiguous, of `joined` [P, N] in its dtype; it must be contiguous.

    The arguments behind it are those of a `Rotation`. Has no gradient: what is trained goes through `joined_attention`.
    """
    return rotate_heads(joined, Rotation(q_weight, k_weight, cos, sin, eps), num_heads, num_key_heads)


@rotated_heads.register_fake
def _(joined, q_weight, k_weight, cos, sin, eps, num_heads, num_key_heads):
    return _empty(joined, cos.shape[1], num_heads), _empty(joined, cos.shape[1], num_key_heads)


def rotate_heads(joined: Tensor, rotation: Rotation, num_heads: int, num_key_heads: int) -> tuple[Tensor, Tensor]:
    """As `rotated_heads`, not as an operation of its own."""
    dim = rotation.cos.shape[1]
    query, key = _empty(joined, dim, num_heads), _empty(joined, dim, num_key_heads)
    _rotate_kernel[_grid(joined, num_key_heads)](
        joined, query, key, *_read(joined, rotation), **_sizes(rotation, num_heads, num_key_heads)
    )
    return query, key


def rotate_gradients_back(
    of_joined: Tensor, joined: Tensor, rotation: Rotation, num_heads: int, num_key_heads: int, *, trained: bool
) -> Tensor:
    """In `of_joined` [P, N], from gradients of queries and keys behind the rotation to those before their norm.

    Both are contiguous. Returns the gradients of both weights, float32 [2, E]; without `trained` they are no numbers.
    """
    grid = _grid(joined, num_key_heads)
    shares = grid[0] * grid[1] if trained else 1
    parts = joined.new_empty((shares, 2, rotation.cos.shape[1]), dtype=torch.float32)
    _rotate_back_kernel[grid](
        joined, of_joined, parts, *_read(joined, rotation), **_sizes(rotation, num_heads, num_key_heads),
        TRAINED=trained,
    )  # fmt: skip
    return parts.sum(0)


def _empty(joined: Tensor, dim: int, count: int) -> Tensor:
    return joined.new_empty((joined.shape[0], count, dim))


def _grid(joined: Tensor, num_key_heads: int) -> tuple[int, int]:
    if len(joined) % _TOKENS:
        raise ValueError(f"{len(joined)} tokens are no multiple of {_TOKENS}; pad the batch first")
    return num_key_heads, len(joined) // _TOKENS


def _read(joined: Tensor, rotation: Rotation) -> tuple[Any, ...]:
    # Without a norm nothing is read there; a kernel wants a place all the same.
    weights = (joined if weight is None else weight for weight in (rotation.q_weight, rotation.k_weight))
    return *weights, rotation.cos.contiguous(), rotation.sin.contiguous(), rotation.eps


def _sizes(rotation: Rotation, num_heads: int, num_key_heads: int) -> dict[str, Any]:
    group = num_heads // num_key_heads
    has_norm = rotation.q_weight is not None
    return {"K": num_key_heads, "G": group, "E": rotation.cos.shape[1], "BT": _TOKENS, "NORM": has_norm}
