"""The gradients of attention over packed trees: two Triton kernels, one for queries, one for keys and values.

See `tree_kernel`, which starts them. Where heads were normed and rotated as they were read (`ROTATE`), the gradients go
on to what they were read of, in the same kernels: nothing is written between, and a kernel less reads it again.

Shapes: `P` tokens of the pack, `H` query heads, `K` key heads, `G` = H / K, `E` head dimension.
"""

# Triton evaluates annotations itself, and its kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"

import triton
import triton.language as tl

from surestep.model.attention.head_rotation import rotated_rows, store_gradient_before_rotation


@triton.jit
def visible(end_ptr, position_ptr, token, keys, WINDOW: tl.constexpr):
    # `token` and `keys` lie along different axes of the tile.
    seen = (keys <= token) & (token < tl.load(end_ptr + keys))
    if WINDOW > 0:
        seen = seen & (tl.load(position_ptr + token) - tl.load(position_ptr + keys) < WINDOW)
    return seen


@triton.jit
def _query_block(
    q, do, lse, delta, dq, block, k_ptr, v_ptr, end_ptr, position_ptr, token,
    k_stride, v_stride, scale,
    E: tl.constexpr, BN: tl.constexpr, MASKED: tl.constexpr, WINDOW: tl.constexpr,
):  # fmt: skip
    keys = block * BN + tl.arange(0, BN)
    dim = tl.arange(0, E)
    k = tl.load(k_ptr + keys[:, None] * k_stride + dim[None, :])
    v = tl.load(v_ptr + keys[:, None] * v_stride + dim[None, :])
    p = tl.exp2(tl.dot(q, tl.trans(k)) * scale - lse[:, None])
    if MASKED:
        p = tl.where(visible(end_ptr, position_ptr, token[:, None], keys[None, :], WINDOW), p, 0.0)
    ds = p * (tl.dot(do, tl.trans(v)) - delta[:, None])
    return tl.dot(ds.to(k.dtype), k, dq)


@triton.jit
def query_gradient_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, do_ptr, lse_ptr, delta_ptr, dq_ptr, end_ptr, position_ptr, lists_ptr,
    rotated_ptr, q_weight_ptr, of_weight_ptr, cos_ptr, sin_ptr,
    q_stride, q_head, k_stride, k_head, v_stride, v_head, dq_stride, dq_head,
    num_tokens, num_heads, scale, back_scale, eps,
    G: tl.constexpr, GP: tl.constexpr, BQ: tl.constexpr, BN: tl.constexpr, E: tl.constexpr,
    LIST: tl.constexpr, WINDOW: tl.constexpr, ROTATE: tl.constexpr, NORM: tl.constexpr, TRAINED: tl.constexpr,
):  # fmt: skip
    # With `ROTATE`, `q` and `dq` are before norm and rotation; what is behind them goes to `rotated`, for the keys.
    key_head = tl.program_id(0)
    block = tl.program_id(1)
    row = tl.arange(0, BQ * GP)
    token = block * BQ + row // GP
    head = key_head * G + row % GP
    real = (row % GP) < G
    dim = tl.arange(0, E)
    place = (token[:, None] * num_heads + head[:, None]) * E + dim[None, :]
    # Rows that stand for no head repeat the last one where queries are rotated; nothing of them is written.
    clamped_head = tl.minimum(head, key_head * G + G - 1)
    start = token * q_stride + clamped_head * q_head
    if ROTATE:
        q = rotated_rows(q_ptr, start, q_weight_ptr, cos_ptr, sin_ptr, token, eps, E, BQ * GP, NORM)
        tl.store(rotated_ptr + place, q, mask=real[:, None])
    else:
        q = tl.load(q_ptr + start[:, None] + dim[None, :], mask=real[:, None], other=0.0)
    do = tl.load(do_ptr + place, mask=real[:, None], other=0.0)
    out = tl.load(out_ptr + place, mask=real[:, None], other=0.0)
    delta = tl.sum(do.to(tl.float32) * out.to(tl.float32), 1)
    tl.store(delta_ptr + token * num_heads + head, delta, mask=real)
    lse = tl.load(lse_ptr + token * num_heads + head, mask=real, other=0.0)
    k_ptr += key_head * k_head
    v_ptr += key_head * v_head
    dq = tl.zeros([BQ * GP, E], tl.float32)
    listed = block * BQ // LIST
    num_listed = num_tokens // LIST
    for i in range(tl.load(lists_ptr + num_listed + 1 + listed), tl.load(lists_ptr + num_listed + 2 + listed)):
        dq = _query_block(
            q, do, lse, delta, dq, tl.load(lists_ptr + i), k_ptr, v_ptr, end_ptr, position_ptr, token,
            k_stride, v_stride, scale, E, BN, WINDOW > 0, WINDOW,
        )  # fmt: skip
    for i in range(tl.load(lists_ptr + listed), tl.load(lists_ptr + listed + 1)):
        dq = _query_block(
            q, do, lse, delta, dq, tl.load(lists_ptr + i), k_ptr, v_ptr, end_ptr, position_ptr, token,
            k_stride, v_stride, scale, E, BN, True, WINDOW,
        )  # fmt: skip
    dq *= back_scale
    to = token * dq_stride + clamped_head * dq_head
    if ROTATE:
        of_weight_ptr += (block * tl.num_programs(0) + key_head) * E
        store_gradient_before_rotation(
            dq_ptr, to, q_ptr, start, dq, real, q_weight_ptr, of_weight_ptr, cos_ptr, sin_ptr, token, eps,
            E, BQ * GP, NORM, TRAINED,
        )  # fmt: skip
    else:
        tl.store(dq_ptr + to[:, None] + dim[None, :], dq.to(dq_ptr.dtype.element_ty), mask=real[:, None])


@triton.jit
def _key_block(
    k, v, dk, dv, start, row, keys, key_head, q_ptr, do_ptr, lse_ptr, delta_ptr, end_ptr, position_ptr,
    q_stride, q_head, num_heads, scale,
    G: tl.constexpr, GP: tl.constexpr, E: tl.constexpr, MASKED: tl.constexpr, WINDOW: tl.constexpr,
):  # fmt: skip
    token = start + row // GP
    head = key_head * G + row % GP
    real = (row % GP) < G
    dim = tl.arange(0, E)
    q = tl.load(
        q_ptr + token[:, None] * q_stride + head[:, None] * q_head + dim[None, :], mask=real[:, None], other=0.0
    )
    lse = tl.load(lse_ptr + token * num_heads + head, mask=real, other=0.0)
    p = tl.exp2(tl.dot(k, tl.trans(q)) * scale - lse[None, :])
    if MASKED:
        p = tl.where(visible(end_ptr, position_ptr, token[None, :], keys[:, None], WINDOW), p, 0.0)
    # Rows that stand for no head read zeros of `do`, so they add nothing to either sum.
    do = tl.load(
        do_ptr + (token[:, None] * num_heads + head[:, None]) * E + dim[None, :], mask=real[:, None], other=0.0
    )
    delta = tl.load(delta_ptr + token * num_heads + head, mask=real, other=0.0)
    dv = tl.dot(p.to(do.dtype), do, dv)
    ds = p * (tl.dot(v, tl.trans(do)) - delta[None, :])
    dk = tl.dot(ds.to(q.dtype), q, dk)
    return dk, dv


@triton.jit
def key_gradient_kernel(
    q_ptr, k_ptr, v_ptr, do_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr, end_ptr, position_ptr, lists_ptr,
    x_ptr, k_weight_ptr, of_weight_ptr, cos_ptr, sin_ptr,
    q_stride, q_head, k_stride, k_head, v_stride, v_head, x_stride, x_head, dk_stride, dk_head, dv_stride, dv_head,
    num_tokens, num_heads, scale, back_scale, eps,
    G: tl.constexpr, GP: tl.constexpr, BQ: tl.constexpr, BN: tl.constexpr, E: tl.constexpr,
    LIST: tl.constexpr, WINDOW: tl.constexpr, ROTATE: tl.constexpr, NORM: tl.constexpr, TRAINED: tl.constexpr,
):  # fmt: skip
    # With `ROTATE`, `x` are keys before their norm and rotation, and so is `dk`.
    key_head = tl.program_id(0)
    block = tl.program_id(1)
    keys = block * BN + tl.arange(0, BN)
    dim = tl.arange(0, E)
    k = tl.load(k_ptr + key_head * k_head + keys[:, None] * k_stride + dim[None, :])
    v = tl.load(v_ptr + key_head * v_head + keys[:, None] * v_stride + dim[None, :])
    dk = tl.zeros([BN, E], tl.float32)
    dv = tl.zeros([BN, E], tl.float32)
    row = tl.arange(0, BQ * GP)
    starts = lists_ptr + 2 * (num_tokens // LIST + 1)
    num_blocks = num_tokens // BN
    # A listed block of queries may be several tiles of them.
    TILES: tl.constexpr = LIST // BQ
    first, last = tl.load(starts + num_blocks + 1 + block), tl.load(starts + num_blocks + 2 + block)
    for i in range(first * TILES, last * TILES):
        start = tl.load(lists_ptr + i // TILES) * LIST + i % TILES * BQ
        dk, dv = _key_block(
            k, v, dk, dv, start, row, keys, key_head, q_ptr, do_ptr, lse_ptr, delta_ptr, end_ptr, position_ptr,
            q_stride, q_head, num_heads, scale, G, GP, E, WINDOW > 0, WINDOW,
        )  # fmt: skip
    first, last = tl.load(starts + block), tl.load(starts + block + 1)
    for i in range(first * TILES, last * TILES):
        start = tl.load(lists_ptr + i // TILES) * LIST + i % TILES * BQ
        dk, dv = _key_block(
            k, v, dk, dv, start, row, keys, key_head, q_ptr, do_ptr, lse_ptr, delta_ptr, end_ptr, position_ptr,
            q_stride, q_head, num_heads, scale, G, GP, E, True, WINDOW,
        )  # fmt: skip
    dk *= back_scale
    to = keys * dk_stride + key_head * dk_head
    if ROTATE:
        of_weight_ptr += (block * tl.num_programs(0) + key_head) * E
        start = keys * x_stride + key_head * x_head
        store_gradient_before_rotation(
            dk_ptr, to, x_ptr, start, dk, keys >= 0, k_weight_ptr, of_weight_ptr, cos_ptr, sin_ptr, keys, eps,
            E, BN, NORM, TRAINED,
        )  # fmt: skip
    else:
        tl.store(dk_ptr + to[:, None] + dim[None, :], dk.to(dk_ptr.dtype.element_ty))
    place = keys[:, None] * dv_stride + key_head * dv_head + dim[None, :]
    tl.store(dv_ptr + place, dv.to(dv_ptr.dtype.element_ty))
