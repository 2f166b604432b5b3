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
def visible(end_ptr, position_ptr, token, keys, last, WINDOW: tl.constexpr):
    # `token` and `keys` lie along different axes of the tile. Behind the `last` token nothing is read: such a key sees
    # no token, and such a token, at or behind every end, no key.
    seen = (keys <= token) & (token < tl.load(end_ptr + tl.minimum(keys, last)))
    if WINDOW > 0:
        before = tl.load(position_ptr + tl.minimum(keys, last))
        seen = seen & (tl.load(position_ptr + tl.minimum(token, last)) - before < WINDOW)
    return seen


@triton.jit
def tokens_of_tile(lists_ptr, tile, offset, BQ: tl.constexpr, LIST: tl.constexpr):
    """A tile's block of queries, its tokens (`offset` counts from its first), and which of them are its own.

    A listed block may be several tiles, and may have fewer tokens than they have room for. Tokens behind its last one
    are that one again.
    """
    block = tile * BQ // LIST
    stop = tl.load(lists_ptr + block + 1)
    token = tl.load(lists_ptr + block) + tile * BQ % LIST + offset
    return block, tl.minimum(token, stop - 1), token < stop


@triton.jit
def _query_block(
    q, do, lse, delta, dq, first_key, k_ptr, v_ptr, end_ptr, position_ptr, token, last,
    k_stride, v_stride, scale,
    E: tl.constexpr, BN: tl.constexpr, MASKED: tl.constexpr, WINDOW: tl.constexpr,
):  # fmt: skip
    keys = first_key + tl.arange(0, BN)
    rows = tl.minimum(keys, last)
    dim = tl.arange(0, E)
    k = tl.load(k_ptr + rows[:, None] * k_stride + dim[None, :])
    v = tl.load(v_ptr + rows[:, None] * v_stride + dim[None, :])
    p = tl.exp2(tl.dot(q, tl.trans(k)) * scale - lse[:, None])
    if MASKED:
        p = tl.where(visible(end_ptr, position_ptr, token[:, None], keys[None, :], last, WINDOW), p, 0.0)
    ds = p * (tl.dot(do, tl.trans(v)) - delta[:, None])
    return tl.dot(ds.to(k.dtype), k, dq)


@triton.jit
def query_gradient_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, do_ptr, lse_ptr, delta_ptr, dq_ptr, end_ptr, position_ptr, lists_ptr,
    rotated_ptr, q_weight_ptr, of_weight_ptr, cos_ptr, sin_ptr,
    q_stride, q_head, k_stride, k_head, v_stride, v_head, dq_stride, dq_head,
    num_tokens, num_blocks, num_heads, scale, back_scale, eps,
    G: tl.constexpr, GP: tl.constexpr, BQ: tl.constexpr, BN: tl.constexpr, E: tl.constexpr,
    LIST: tl.constexpr, WINDOW: tl.constexpr, ROTATE: tl.constexpr, NORM: tl.constexpr, TRAINED: tl.constexpr,
):  # fmt: skip
    # With `ROTATE`, `q` and `dq` are before norm and rotation; what is behind them goes to `rotated`, for the keys.
    key_head = tl.program_id(0)
    row = tl.arange(0, BQ * GP)
    block, token, own = tokens_of_tile(lists_ptr, tl.program_id(1), row // GP, BQ, LIST)
    if tl.sum(own.to(tl.int32)) == 0:
        return
    head = key_head * G + row % GP
    real = ((row % GP) < G) & own
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
    last = num_tokens - 1
    starts = lists_ptr + num_blocks + 1 + block
    for i in range(tl.load(starts + num_blocks + 1), tl.load(starts + num_blocks + 2)):
        dq = _query_block(
            q, do, lse, delta, dq, tl.load(lists_ptr + i), k_ptr, v_ptr, end_ptr, position_ptr, token, last,
            k_stride, v_stride, scale, E, BN, WINDOW > 0, WINDOW,
        )  # fmt: skip
    for i in range(tl.load(starts), tl.load(starts + 1)):
        dq = _query_block(
            q, do, lse, delta, dq, tl.load(lists_ptr + i), k_ptr, v_ptr, end_ptr, position_ptr, token, last,
            k_stride, v_stride, scale, E, BN, True, WINDOW,
        )  # fmt: skip
    dq *= back_scale
    to = token * dq_stride + clamped_head * dq_head
    if ROTATE:
        of_weight_ptr += (tl.program_id(1) * tl.num_programs(0) + key_head) * E
        store_gradient_before_rotation(
            dq_ptr, to, q_ptr, start, dq, real, q_weight_ptr, of_weight_ptr, cos_ptr, sin_ptr, token, eps,
            E, BQ * GP, NORM, TRAINED,
        )  # fmt: skip
    else:
        tl.store(dq_ptr + to[:, None] + dim[None, :], dq.to(dq_ptr.dtype.element_ty), mask=real[:, None])


@triton.jit
def _key_block(
    k, v, dk, dv, start, row, keys, key_head, q_ptr, do_ptr, lse_ptr, delta_ptr, end_ptr, position_ptr, last,
    q_stride, q_head, num_heads, scale,
    G: tl.constexpr, GP: tl.constexpr, E: tl.constexpr, MASKED: tl.constexpr, WINDOW: tl.constexpr,
):  # fmt: skip
    later = start + row // GP
    token = tl.minimum(later, last)
    head = key_head * G + row % GP
    real = (row % GP) < G
    dim = tl.arange(0, E)
    q = tl.load(
        q_ptr + token[:, None] * q_stride + head[:, None] * q_head + dim[None, :], mask=real[:, None], other=0.0
    )
    lse = tl.load(lse_ptr + token * num_heads + head, mask=real, other=0.0)
    p = tl.exp2(tl.dot(k, tl.trans(q)) * scale - lse[None, :])
    if MASKED:
        p = tl.where(visible(end_ptr, position_ptr, later[None, :], keys[:, None], last, WINDOW), p, 0.0)
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
    num_tokens, num_blocks, num_heads, scale, back_scale, eps,
    G: tl.constexpr, GP: tl.constexpr, BQ: tl.constexpr, BN: tl.constexpr, E: tl.constexpr,
    LIST: tl.constexpr, WINDOW: tl.constexpr, ROTATE: tl.constexpr, NORM: tl.constexpr, TRAINED: tl.constexpr,
):  # fmt: skip
    # With `ROTATE`, `x` are keys before their norm and rotation, and so is `dk`.
    key_head = tl.program_id(0)
    block = tl.program_id(1)
    blocks = lists_ptr + 3 * (num_blocks + 1) + block
    first_key, stop = tl.load(blocks), tl.load(blocks + 1)
    if first_key == stop:
        return
    last = num_tokens - 1
    keys = first_key + tl.arange(0, BN)
    own = keys < stop
    keys = tl.minimum(keys, last)
    dim = tl.arange(0, E)
    k = tl.load(k_ptr + key_head * k_head + keys[:, None] * k_stride + dim[None, :])
    v = tl.load(v_ptr + key_head * v_head + keys[:, None] * v_stride + dim[None, :])
    dk = tl.zeros([BN, E], tl.float32)
    dv = tl.zeros([BN, E], tl.float32)
    row = tl.arange(0, BQ * GP)
    starts = blocks + tl.num_programs(1) + 1
    # A listed block of queries may be several tiles of them.
    TILES: tl.constexpr = LIST // BQ
    begin, end = tl.load(starts + tl.num_programs(1) + 1), tl.load(starts + tl.num_programs(1) + 2)
    for i in range(begin * TILES, end * TILES):
        start = tl.load(lists_ptr + i // TILES) + i % TILES * BQ
        dk, dv = _key_block(
            k, v, dk, dv, start, row, keys, key_head, q_ptr, do_ptr, lse_ptr, delta_ptr, end_ptr, position_ptr, last,
            q_stride, q_head, num_heads, scale, G, GP, E, WINDOW > 0, WINDOW,
        )  # fmt: skip
    begin, end = tl.load(starts), tl.load(starts + 1)
    for i in range(begin * TILES, end * TILES):
        start = tl.load(lists_ptr + i // TILES) + i % TILES * BQ
        dk, dv = _key_block(
            k, v, dk, dv, start, row, keys, key_head, q_ptr, do_ptr, lse_ptr, delta_ptr, end_ptr, position_ptr, last,
            q_stride, q_head, num_heads, scale, G, GP, E, True, WINDOW,
        )  # fmt: skip
    dk *= back_scale
    to = keys * dk_stride + key_head * dk_head
    if ROTATE:
        of_weight_ptr += (block * tl.num_programs(0) + key_head) * E
        start = keys * x_stride + key_head * x_head
        store_gradient_before_rotation(
            dk_ptr, to, x_ptr, start, dk, own, k_weight_ptr, of_weight_ptr, cos_ptr, sin_ptr, keys, eps,
            E, BN, NORM, TRAINED,
        )  # fmt: skip
    else:
        tl.store(dk_ptr + to[:, None] + dim[None, :], dk.to(dk_ptr.dtype.element_ty), mask=own[:, None])
    place = keys[:, None] * dv_stride + key_head * dv_head + dim[None, :]
    tl.store(dv_ptr + place, dv.to(dv_ptr.dtype.element_ty), mask=own[:, None])
