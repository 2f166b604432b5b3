"""From the joined product of queries, keys and values to heads: split, norm of each head and rotation in one kernel.

Each number is read once and written once; a compiler's kernels for the same arithmetic read rows twice. Everything
between is float32 and is rounded once. Nothing here has a gradient: what is trained goes through `joined_attention`.

Shapes: `P` tokens of the pack (a multiple of 128), `H` query heads, `K` key heads, `E` head dimension (a power of two),
`N` = (H + 2 K) E.
"""

# Triton evaluates annotations itself, and its kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, misc, no-any-return, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

from surestep.model.attention.head_rotation import Rotation, halves, normed_and_rotated

_TOKENS = 16
"""Tokens that a block of threads works on, of one key head and its query heads."""


@triton.jit
def _store_halves(start_ptr, token, stride, first, second, E: tl.constexpr):
    place = start_ptr + token[:, None] * stride + tl.arange(0, E // 2)[None, :]
    tl.store(place, first.to(start_ptr.dtype.element_ty))
    tl.store(place + E // 2, second.to(start_ptr.dtype.element_ty))


@triton.jit
def _head_forward(
    x_ptr, out_ptr, weight_ptr, token, x_stride, out_stride, cos1, cos2, sin1, sin2, eps,
    E: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    x1, x2 = halves(x_ptr, token * x_stride, E)
    x1, x2 = normed_and_rotated(x1, x2, weight_ptr, cos1, cos2, sin1, sin2, eps, E, NORM)
    _store_halves(out_ptr, token, out_stride, x1, x2, E)


@triton.jit
def _forward_kernel(
    x_ptr, q_ptr, k_ptr, v_ptr, q_weight_ptr, k_weight_ptr, cos_ptr, sin_ptr, eps,
    K: tl.constexpr, G: tl.constexpr, E: tl.constexpr, BT: tl.constexpr, NORM: tl.constexpr, ONLY_KEYS: tl.constexpr,
):  # fmt: skip
    key_head = tl.program_id(0)
    token = tl.program_id(1).to(tl.int64) * BT + tl.arange(0, BT)
    cos1, cos2 = halves(cos_ptr, token * E, E)
    sin1, sin2 = halves(sin_ptr, token * E, E)
    N: tl.constexpr = (G + 2) * K * E
    if not ONLY_KEYS:
        for member in tl.static_range(G):
            head = key_head * G + member
            _head_forward(
                x_ptr + head * E, q_ptr + head * E, q_weight_ptr, token, N, G * K * E,
                cos1, cos2, sin1, sin2, eps, E, NORM,
            )  # fmt: skip
    x_ptr += (G * K + key_head) * E
    _head_forward(
        x_ptr, k_ptr + key_head * E, k_weight_ptr, token, N, K * E, cos1, cos2, sin1, sin2, eps, E, NORM
    )  # fmt: skip
    if not ONLY_KEYS:
        v1, v2 = halves(x_ptr + K * E, token * N, E)
        _store_halves(v_ptr + key_head * E, token, K * E, v1, v2, E)


@torch.library.custom_op("surestep::split_heads", mutates_args=())
def split_heads(
    joined: Tensor,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    num_heads: int,
    num_key_heads: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [P, H, E], keys and values [P, K, E], contiguous, of `joined` [P, N] in its dtype.

    Queries and keys are normed by `q_weight` and `k_weight` [E] (or not: both None) and then rotated by `cos` and
    `sin` [P, E]. `joined` must be contiguous.
    """
    query, key, value = _empty(joined, cos.shape[1], num_heads, num_key_heads)
    rotation = Rotation(q_weight, k_weight, cos.contiguous(), sin.contiguous(), eps)
    _split(joined, query, key, value, rotation, only_keys=False)
    return query, key, value


def keys_of(joined: Tensor, rotation: Rotation, num_heads: int, num_key_heads: int) -> Tensor:
    """The keys of `split_heads` alone. Has no gradient."""
    dim = rotation.cos.shape[1]
    key = joined.new_empty((joined.shape[0], num_key_heads, dim))
    _split(joined, joined.new_empty((0, num_heads, dim)), key, key, rotation, only_keys=True)
    return key


def _split(joined: Tensor, query: Tensor, key: Tensor, value: Tensor, rotation: Rotation, *, only_keys: bool) -> None:
    num_tokens, dim = rotation.cos.shape
    if num_tokens % _TOKENS:
        raise ValueError(f"{num_tokens} tokens are no multiple of {_TOKENS}; pad the batch first")
    num_key_heads = key.shape[1]
    _forward_kernel[(num_key_heads, num_tokens // _TOKENS)](
        joined, query, key, value, *rotation.read_by_kernel(joined), rotation.eps, K=num_key_heads,
        G=query.shape[1] // num_key_heads, E=dim, BT=_TOKENS, NORM=rotation.q_weight is not None, ONLY_KEYS=only_keys,
    )  # fmt: skip


@split_heads.register_fake
def _(joined, q_weight, k_weight, cos, sin, num_heads, num_key_heads, eps):
    return _empty(joined, cos.shape[1], num_heads, num_key_heads)


def _empty(joined: Tensor, dim: int, num_heads: int, num_key_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = (
        joined.new_empty((joined.shape[0], count, dim)) for count in (num_heads, num_key_heads, num_key_heads)
    )
    return query, key, value
