"""The gradients of attention over packed trees: two Triton kernels, one for queries, one for keys and values.

See `tree_kernel`, which starts them.

Shapes: `P` tokens of the pack, `H` query heads, `K` key heads, `G` = H / K, `E` head dimension.
"""

# Triton evaluates annotations itself, and its kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"

import triton
import triton.language as tl


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
    q_stride, q_head, k_stride, k_head, v_stride, v_head, dq_stride, dq_head,
    num_tokens, num_heads, scale, back_scale,
    G: tl.constexpr, GP: tl.constexpr, BQ: tl.constexpr, BN: tl.constexpr, E: tl.constexpr,
    LIST: tl.constexpr, WINDOW: tl.constexpr,
):  # fmt: skip
    key_head = tl.program_id(0)
    block = tl.program_id(1)
    row = tl.arange(0, BQ * GP)
    token = block * BQ + row // GP
    head = key_head * G + row % GP
    real = (row % GP) < G
    dim = tl.arange(0, E)
    q = tl.load(
        q_ptr + token[:, None] * q_stride + head[:, None] * q_head + dim[None, :], mask=real[:, None], other=0.0
    )
    place = (token[:, None] * num_heads + head[:, None]) * E + dim[None, :]
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
    place = token[:, None] * dq_stride + head[:, None] * dq_head + dim[None, :]
    tl.store(dq_ptr + place, (dq * back_scale).to(dq_ptr.dtype.element_ty), mask=real[:, None])


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
    q_stride, q_head, k_stride, k_head, v_stride, v_head, dk_stride, dk_head, dv_stride, dv_head,
    num_tokens, num_heads, scale, back_scale,
    G: tl.constexpr, GP: tl.constexpr, BQ: tl.constexpr, BN: tl.constexpr, E: tl.constexpr,
    LIST: tl.constexpr, WINDOW: tl.constexpr,
):  # fmt: skip
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
    place = keys[:, None] * dk_stride + key_head * dk_head + dim[None, :]
    tl.store(dk_ptr + place, (dk * back_scale).to(dk_ptr.dtype.element_ty))
    place = keys[:, None] * dv_stride + key_head * dv_head + dim[None, :]
    tl.store(dv_ptr + place, dv.to(dv_ptr.dtype.element_ty))
