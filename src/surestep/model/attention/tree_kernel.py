"""Attention over packed trees as three Triton kernels of our own: forward, gradient of queries, of keys and values.

The mask is `k <= q < subtree_end[k]`, and nothing else has to be stored of it. Made for what general kernels spend
their time on here:

- Steps are short and branch often, so tiles of 128 queries are mostly masked out. Here the query heads that share a
  key head lie in one tile: 16 tokens by 4 heads are 64 rows, as many as one product takes.
- A tile goes through 32 keys at a time, so that three blocks of threads lie beside each other where 64 leave room for
  two: what they wait for most is memory.
- Gradients of keys and values of all those heads are summed in the tile, and every gradient has one writer: the same
  numbers in every run.
- Queries, keys and values are read where the projections left them.
- A path of a few hundred tokens is a handful of blocks of keys. They are gone through in one loop, those that are seen
  in full and those that are masked, and the next one's number is read ahead: two loops fill and drain what is on
  its way twice, which took a quarter of the time.

Online softmax after Milakov and Gimelshein (2018), recomputation in the backward pass after Dao et al.,
FlashAttention (2022).

Shapes: `P` tokens of the pack, `H` query heads, `K` key heads, `G` = H / K, `E` head dimension (16 to 128, a power
of two).
"""

# Triton evaluates annotations itself, and its kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, misc, no-any-return, untyped-decorator"

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from surestep.errors import DeviceError
from surestep.model.attention.block_lists import KEY_BLOCK, QUERY_BLOCK, SEEN_BLOCK
from surestep.model.attention.head_rotation import Rotation, rotated_rows
from surestep.model.attention.tree_gradient_kernel import key_gradient_kernel, query_gradient_kernel, visible

LOG2_E = 1.4426950408889634


@triton.jit
def _attend_block(
    q, peak, total, acc, block, masked, k_ptr, v_ptr, end_ptr, position_ptr, slot_ptr, token,
    k_stride, v_stride, scale,
    E: tl.constexpr, BN: tl.constexpr, WINDOW: tl.constexpr, POOLED: tl.constexpr,
):  # fmt: skip
    keys = block * BN + tl.arange(0, BN)
    dim = tl.arange(0, E)
    rows = keys
    if POOLED:
        rows = tl.load(slot_ptr + keys)
    k = tl.load(k_ptr + rows[None, :] * k_stride + dim[:, None])
    scores = tl.dot(q, k) * scale
    if masked:
        seen = visible(end_ptr, position_ptr, token[:, None], keys[None, :], WINDOW)
        # Finite, so that a row whose first block holds nothing for it stays a number; what it sums up there is wiped
        # out by the first key that it sees, and it sees itself.
        scores = tl.where(seen, scores, -1.0e30)
    # A whole number: with another one a weight is scaled by a power of two, which changes no digit of it. So weights
    # are rounded to half precision alike, whatever the blocks are that keys are taken in.
    higher = tl.maximum(peak, tl.ceil(tl.max(scores, 1)))
    p = tl.exp2(scores - higher[:, None])
    shrink = tl.exp2(peak - higher)
    total = total * shrink + tl.sum(p, 1)
    v = tl.load(v_ptr + rows[:, None] * v_stride + dim[None, :])
    acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None])
    return higher, total, acc


@triton.jit
def _listed(lists_ptr, i, num_full, first_full, first):
    """The i-th block of keys: first those that are seen in full, then the others."""
    return tl.load(lists_ptr + tl.where(i < num_full, first_full + i, first + i - num_full))


@triton.jit
def forward_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, end_ptr, position_ptr, lists_ptr, index_ptr, slot_ptr,
    q_weight_ptr, cos_ptr, sin_ptr,
    q_stride, q_head, k_stride, k_head, v_stride, v_head, num_tokens, num_heads, scale, eps,
    G: tl.constexpr, GP: tl.constexpr, BQ: tl.constexpr, BN: tl.constexpr, E: tl.constexpr,
    LIST: tl.constexpr, WINDOW: tl.constexpr, POOLED: tl.constexpr, PARTS: tl.constexpr,
    ROTATE: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    # Of a pass over pooled keys, `index` says where a query stands among the keys, and `slot` where a key lies. With
    # several `PARTS`, each program sees a part of its queries' keys, and what it finds is one of as many answers.
    key_head = tl.program_id(0)
    block = tl.program_id(1)
    row = tl.arange(0, BQ * GP)
    token = block * BQ + row // GP
    head = key_head * G + row % GP
    real = (row % GP) < G
    dim = tl.arange(0, E)
    if ROTATE:
        # Rows that stand for no head repeat the last one.
        start = token * q_stride + tl.minimum(head, key_head * G + G - 1) * q_head
        q = rotated_rows(q_ptr, start, q_weight_ptr, cos_ptr, sin_ptr, token, eps, E, BQ * GP, NORM)
    else:
        q = tl.load(
            q_ptr + token[:, None] * q_stride + head[:, None] * q_head + dim[None, :], mask=real[:, None], other=0.0
        )
    k_ptr += key_head * k_head
    v_ptr += key_head * v_head
    peak = tl.full([BQ * GP], -1.0e30, tl.float32)
    total = tl.zeros([BQ * GP], tl.float32)
    acc = tl.zeros([BQ * GP, E], tl.float32)
    place = token
    if POOLED:
        place = tl.load(index_ptr + token)
    listed = block * BQ // LIST
    num_listed = num_tokens // LIST
    first_full, last_full = tl.load(lists_ptr + num_listed + 1 + listed), tl.load(lists_ptr + num_listed + 2 + listed)
    first, last = tl.load(lists_ptr + listed), tl.load(lists_ptr + listed + 1)
    num_full = last_full - first_full
    start, stop = 0, num_full + last - first
    final = stop - 1
    if PARTS > 1:
        size = tl.cdiv(stop, PARTS)
        start = tl.minimum(tl.program_id(2) * size, stop)
        stop = tl.minimum(start + size, stop)
        # A part without keys leaves the log of nothing, minus infinity, and no answer.
        real = real & (stop > start)
    following = _listed(lists_ptr, tl.minimum(start, final), num_full, first_full, first)
    for i in range(start, stop):
        block_of_keys = following
        following = _listed(lists_ptr, tl.minimum(i + 1, final), num_full, first_full, first)
        peak, total, acc = _attend_block(
            q, peak, total, acc, block_of_keys, (i >= num_full) | (WINDOW > 0), k_ptr, v_ptr, end_ptr, position_ptr,
            slot_ptr, place, k_stride, v_stride, scale, E, BN, WINDOW, POOLED,
        )  # fmt: skip
    out = (acc / total[:, None]).to(out_ptr.dtype.element_ty)
    place = (tl.program_id(2) * num_tokens + token) * num_heads + head
    tl.store(out_ptr + place[:, None] * E + dim[None, :], out, mask=real[:, None])
    tl.store(lse_ptr + place, peak + tl.log2(total), mask=(row % GP) < G)


class Launch(NamedTuple):
    """How a kernel is started.

    Attributes:
        rows: of a tile: tokens by the heads that share a key head.
        options: Triton's.
    """

    rows: int
    options: dict[str, int]


OPTIONS = {"num_warps": 4, "num_stages": 2}
FORWARD = Launch(64, OPTIONS | {"num_stages": 3})
# So few registers that a third block of threads lies beside two others: these kernels wait for memory.
QUERY_GRADIENT = Launch(64, OPTIONS | {"maxnreg": 168})
"""Both are the fastest of some fifteen over 32 keys at a time, and of some fifty over 64, on an H200 with the heads of
Qwen3's 0.6B and 4B and of SmolLM2's 135M (docs/experiments/2026-11-29-what-a-pass-is-made-of.md)."""


def key_gradient_launch(head_dim: int) -> Launch:
    """Of the gradient of keys and values (docs/experiments/2026-11-29-attention-over-short-chains.md).

    A block of any of the three shares at most 100 kB there and 82 kB elsewhere, which every GPU has whose bf16 products
    are fast.
    """
    return Launch(64 if head_dim > 64 else 128, OPTIONS)


def tiles(num_heads: int, num_key_heads: int, head_dim: int, rows: int, keys: int) -> dict[str, int]:
    """The sizes that the kernels are compiled for: tiles of `rows` by `keys`."""
    group = num_heads // num_key_heads
    padded = triton.next_power_of_2(group)
    tokens = max(1, min(QUERY_BLOCK, rows // padded))
    return {"G": group, "GP": padded, "BQ": tokens, "BN": keys, "E": head_dim, "LIST": QUERY_BLOCK}


@torch.library.custom_op("surestep::tree_attention", mutates_args=())
def packed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    subtree_end: Tensor,
    positions: Tensor,
    lists: Tensor,
    scale: float,
    window: int,
) -> tuple[Tensor, Tensor]:
    """[P, H, E] attended values of `query` [P, H, E], `key` and `value` [P, K, E], and [P, H] log2 of the sums.

    `subtree_end` and `positions` are int32 [P], `lists` is from `block_lists`; a `window` of 0 is none. The last
    dimension of the inputs must be contiguous.
    """
    return attended(query, key, value, subtree_end, positions, lists, scale, window)


def attended(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    subtree_end: Tensor,
    positions: Tensor,
    lists: Tensor,
    scale: float,
    window: int,
    rotation: Rotation | None = None,
) -> tuple[Tensor, Tensor]:
    """As `packed_attention`, without a gradient; with a `rotation`, of queries before their norm and rotation."""
    num_tokens, num_heads, head_dim = query.shape
    # Whatever lies between the tokens of one of them: values may be columns of a wider product.
    if max(query.numel(), *(num_tokens * part.stride(0) for part in (query, key, value))) >= 2**31:
        raise DeviceError(
            f"{num_tokens} tokens in a pass are more than the attention kernel can address; lower --token_budget or "
            "--eval_token_budget"
        )
    out = query.new_empty((num_tokens, num_heads, head_dim))
    lse = query.new_empty((num_tokens, num_heads), dtype=torch.float32)
    sizes = tiles(num_heads, key.shape[1], head_dim, FORWARD.rows, SEEN_BLOCK)
    weight, _, cos, sin = (query,) * 4 if rotation is None else rotation.read_by_kernel(query)
    forward_kernel[(key.shape[1], num_tokens // sizes["BQ"])](
        query, key, value, out, lse, subtree_end, positions, lists, positions, positions, weight, cos, sin,
        *query.stride()[:2], *key.stride()[:2], *value.stride()[:2], num_tokens, num_heads, scale * LOG2_E,
        0.0 if rotation is None else rotation.eps,
        **sizes, WINDOW=window, POOLED=False, PARTS=1, **_rotated(rotation), **FORWARD.options,
    )  # fmt: skip
    return out, lse


@packed_attention.register_fake
def _(query, key, value, subtree_end, positions, lists, scale, window):
    return query.new_empty(query.shape), query.new_empty(query.shape[:2], dtype=torch.float32)


def _rotated(rotation: Rotation | None) -> dict[str, bool]:
    return {"ROTATE": rotation is not None, "NORM": rotation is not None and rotation.q_weight is not None}


class Heads(NamedTuple):
    """Queries [P, H, E], keys and values [P, K, E], or gradients of them; the last dimension is contiguous."""

    query: Tensor
    key: Tensor
    value: Tensor


def gradients_into(
    to: Heads,
    gradient: Tensor,
    heads: Heads,
    out: Tensor,
    lse: Tensor,
    mask: tuple[Tensor, Tensor, Tensor],
    scale: float,
    window: int,
    rotation: Rotation | None = None,
    keys_before: Tensor | None = None,
    *,
    trained: bool = False,
) -> tuple[Tensor, Tensor]:
    """Write the gradients of `heads` into `to`, where `gradient` [P, H, E] is that of `out`.

    With a `rotation`, queries are those before it, and `keys_before` are the keys before it, which `heads` holds behind
    it; so are the gradients. If its weights are `trained`, theirs are returned, float32 [E] each; else no numbers.
    """
    query, key, value = heads
    num_tokens, num_heads, head_dim = query.shape
    num_key_heads = key.shape[1]
    gradient = gradient.contiguous()
    delta = torch.empty_like(lse)
    rotated = query if rotation is None else query.new_empty(query.shape)
    before = key if keys_before is None else keys_before
    q_weight, k_weight, cos, sin = (query,) * 4 if rotation is None else rotation.read_by_kernel(query)
    eps = 0.0 if rotation is None else rotation.eps
    options = {"WINDOW": window, "TRAINED": trained, **_rotated(rotation)}
    sizes = tiles(num_heads, num_key_heads, head_dim, QUERY_GRADIENT.rows, SEEN_BLOCK)

    def empty_shares(blocks: int) -> Tensor:
        """What each block of threads adds to the gradient of a norm's weight."""
        return lse.new_empty((blocks * num_key_heads if trained else 1, head_dim))

    of_weights = empty_shares(num_tokens // sizes["BQ"]), empty_shares(num_tokens // KEY_BLOCK)
    # The query's kernel goes first: it also computes `delta` and rotates queries, which the other one reads.
    query_gradient_kernel[(num_key_heads, num_tokens // sizes["BQ"])](
        query, key, value, out, gradient, lse, delta, to.query, *mask, rotated, q_weight, of_weights[0], cos, sin,
        *query.stride()[:2], *key.stride()[:2], *value.stride()[:2], *to.query.stride()[:2],
        num_tokens, num_heads, scale * LOG2_E, scale, eps, **sizes, **options, **QUERY_GRADIENT.options,
    )  # fmt: skip
    launch = key_gradient_launch(head_dim)
    sizes = tiles(num_heads, num_key_heads, head_dim, launch.rows, KEY_BLOCK)
    key_gradient_kernel[(num_key_heads, num_tokens // KEY_BLOCK)](
        rotated, key, value, gradient, lse, delta, to.key, to.value, *mask, before, k_weight, of_weights[1], cos, sin,
        *rotated.stride()[:2], *key.stride()[:2], *value.stride()[:2], *before.stride()[:2],
        *to.key.stride()[:2], *to.value.stride()[:2],
        num_tokens, num_heads, scale * LOG2_E, scale, eps, **sizes, **options, **launch.options,
    )  # fmt: skip
    of_query, of_key = (shares.sum(0) if trained else shares[0] for shares in of_weights)
    return of_query, of_key


@torch.library.custom_op("surestep::tree_attention_backward", mutates_args=())
def packed_attention_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    subtree_end: Tensor,
    positions: Tensor,
    lists: Tensor,
    scale: float,
    window: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `query`, `key` and `value`, each contiguous."""
    heads = Heads(query, key, value)
    found = Heads(*(part.new_empty(part.shape) for part in heads))
    gradients_into(found, gradient, heads, out, lse, (subtree_end, positions, lists), scale, window)
    return tuple(found)  # type: ignore[return-value]


@packed_attention_backward.register_fake
def _(gradient, query, key, value, out, lse, subtree_end, positions, lists, scale, window):
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:3], *output, *inputs[3:6])
    ctx.scale, ctx.window = inputs[6:]


def _backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    query, key, value, out, lse, subtree_end, positions, lists = ctx.saved_tensors
    gradients = packed_attention_backward(
        gradient, query, key, value, out, lse, subtree_end, positions, lists, ctx.scale, ctx.window
    )
    return (*gradients, None, None, None, None, None)


packed_attention.register_autograd(_backward, setup_context=_keep)
