"""Plans passes over new tokens below tokens that earlier passes have computed.

A pass runs the new tokens only. Their keys and values go to a pool, and what they see of earlier tokens is read from
there (`surestep.model.attention.pooled_keys`).

Shapes: `P` new tokens, `V` tokens on the axis of keys, `B` trees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from surestep.model.attention.block_lists import KEY_BLOCK, pooled_block_lists
from surestep.model.attention.pooled_keys import KeyAxis, PooledKeys
from surestep.model.attention.prepared_mask import (
    FLEX_BLOCK,
    LABEL_BLOCK,
    Execution,
    KernelMask,
    PassShape,
    PreparedMask,
    chains,
    padded_lists,
    prepare_mask,
)
from surestep.model.key_value_pool import PADDING_SLOT, KeyLayout, KeyValuePool, SlotArray
from surestep.model.tree_batch import TreeBatch


def plan_session_pass(
    batch: TreeBatch,
    prefixes: Sequence[SlotArray],
    new_slots: SlotArray,
    pool: KeyValuePool,
    execution: Execution,
    shape: PassShape | None = None,
) -> PreparedMask:
    """The plan of `batch`, whose trees stand below prefixes; made on the CPU.

    Args:
        batch: the new tokens; their positions begin where their tree's prefix ends.
        prefixes: for each tree, the slots of the tokens above it, in the order of the path; may be empty.
        new_slots: the slot of each new token, for its keys and values.
        pool: what the slots belong to.
        execution: `triton` where its kernel runs; everything else is executed as `dense`.
        shape: what a plan for the kernel is filled up to; unset, whole blocks.
    """
    # In NumPy, and all trees at once: a step of many sessions is planned while the GPU waits for it.
    ends_P, edges = batch.subtree_end_P.numpy(), np.asarray(batch.tree_starts)
    sizes_B, prefix_B = np.diff(edges), np.array([len(prefix) for prefix in prefixes])
    shift_B = np.cumsum(prefix_B)  # tokens of prefixes before the new ones of each tree
    index_P = np.arange(edges[-1]) + np.repeat(shift_B, sizes_B)
    prefix_index = np.arange(shift_B[-1]) + np.repeat(edges[:-1], prefix_B)
    num_keys = int(edges[-1] + shift_B[-1])
    subtree_end_V, positions_V, slots_V = (np.empty(num_keys, np.int64) for _ in range(3))
    # A token of the prefix is above the whole tree.
    subtree_end_V[prefix_index] = np.repeat(edges[1:] + shift_B, prefix_B)
    subtree_end_V[index_P] = ends_P[: edges[-1]] + np.repeat(shift_B, sizes_B)
    positions_V[prefix_index] = np.arange(shift_B[-1]) - np.repeat(shift_B - prefix_B, prefix_B)
    positions_V[index_P] = batch.positions_P.numpy()[: edges[-1]]
    slots_V[prefix_index] = np.concatenate(prefixes)
    slots_V[index_P] = new_slots
    axis = KeyAxis(torch.from_numpy(subtree_end_V), torch.from_numpy(positions_V), tuple(prefix_B.tolist()))
    keys = PooledKeys(pool, axis, torch.from_numpy(slots_V), torch.from_numpy(new_slots))
    is_chain = chains(batch)
    max_position, num_needed = int(batch.positions_P.max()), len(batch.label_index_S)
    batch = batch.padded_labels(LABEL_BLOCK if shape is None else shape.num_needed)
    if execution != "triton":
        return PreparedMask("dense", batch, max_position, is_chain, num_needed, keys=keys)
    batch = batch.padded(FLEX_BLOCK if shape is None else shape.num_tokens)
    plan = PreparedMask("triton", batch, max_position, is_chain, num_needed)
    return _with_kernel(plan, keys, torch.from_numpy(index_P), shape)


def _with_kernel(plan: PreparedMask, keys: PooledKeys, index: torch.Tensor, shape: PassShape | None) -> PreparedMask:
    """The plan with what the kernel reads: whole blocks of queries and of keys."""
    num_keys, padding = len(keys.slots_V), len(plan.batch.tokens_P) - len(index)
    # A query that is padding sees one key, itself, which is padding as well; what fills up the keys is seen by none.
    own = torch.arange(num_keys, num_keys + padding)
    rest = -(num_keys + padding) % KEY_BLOCK
    subtree_end = F.pad(torch.cat([keys.axis.subtree_end_V, own + 1]), (0, rest))
    positions = F.pad(keys.axis.positions_V, (0, padding + rest))
    index_P = torch.cat([index, own])
    lists = padded_lists(pooled_block_lists(subtree_end, index_P), shape)
    unlisted = 0 if shape is None else shape.num_keys - len(subtree_end)
    plan.kernel_mask = KernelMask(
        F.pad(subtree_end.to(torch.int32), (0, unlisted)), F.pad(positions.to(torch.int32), (0, unlisted)), lists
    )
    plan.keys = PooledKeys(
        keys.pool,
        keys.axis,
        F.pad(keys.slots_V, (0, padding + rest + unlisted), value=PADDING_SLOT),
        # In a plan of a fixed shape padding is written as well, to a place of its own.
        keys.slots_W if shape is None else F.pad(keys.slots_W, (0, padding), value=keys.pool.scratch_slot),
        index_P.to(torch.int32),
    )
    return plan


def plan_watched_pass(batch: TreeBatch) -> tuple[PreparedMask, KeyLayout]:
    """A plan of whole trees, and what holds the shapes of all layers' keys and values after a pass with it."""

    plan, layout = prepare_mask(batch, "dense"), KeyLayout()
    plan.keys = layout
    return plan, layout


def no_slots() -> SlotArray:
    """The prefix of a tree that begins with its problem."""
    return np.zeros(0, np.int64)
