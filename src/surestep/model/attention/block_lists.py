"""Which blocks of keys each block of queries looks at, as one flat array of integers: made in the loader, read by
the attention kernel of `surestep.model.attention.tree_kernel`.

Shapes: `P` tokens of the pack (a multiple of 128), `Q` blocks of 32 queries, `K` blocks of 64 keys.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IntArray = NDArray[np.int64]

QUERY_BLOCK = 32
KEY_BLOCK = 64
SEEN_BLOCK = 32
"""Keys that a block of queries goes through at a time: fewer of them leave room for more blocks of threads."""


def block_lists(subtree_end_P: Tensor) -> Tensor:
    """int32: four CSR lists that lie in one tensor, and whose starts count from its beginning.

    `[starts a: Q + 1][starts b: Q + 1][starts c: K + 1][starts d: K + 1][a][b][c][d]` with, in ascending order,

        a   for each block of queries, the blocks of 32 keys that some of them see, though not all see all;
        b   for each block of queries, the blocks of 32 keys that all of them see in full;
        c, d   the same the other way round: for each block of 64 keys, the blocks of queries.

    >>> lists = block_lists(torch.tensor([128] * 128))  # a chain: 4 blocks of queries, 2 of keys
    >>> [part.tolist() for part in (lists[:5], lists[5:10], lists[16:20], lists[20:26])]
    [[16, 17, 18, 19, 20], [20, 20, 21, 23, 26], [0, 1, 2, 3], [0, 0, 1, 0, 1, 2]]
    """
    num_tokens = len(subtree_end_P)
    if num_tokens % 128:
        raise ValueError(f"{num_tokens} tokens are no multiple of 128; pad the batch first")
    ends = subtree_end_P.cpu().numpy()
    num_queries, num_keys = num_tokens // QUERY_BLOCK, num_tokens // KEY_BLOCK
    by_query = [_in_order_of(query, of, num_queries) for of, query in _who_looks_at(ends, SEEN_BLOCK)]
    by_key = [(query, np.bincount(of, minlength=num_keys)) for of, query in _who_looks_at(ends, KEY_BLOCK)]
    return _in_one_tensor([*by_query, *by_key])


def _who_looks_at(ends: IntArray, size: int) -> list[tuple[IntArray, IntArray]]:
    """Blocks of `size` keys and the blocks of queries that see them: in part, and in full.

    The queries that see some key of a block, and those that see all of them, follow one another without a gap; so the
    pairs are written down range by range, without a comparison of every block with every other.
    """
    ends = ends.reshape(-1, size)
    key = np.arange(len(ends))
    diagonal = key * size // QUERY_BLOCK
    below = diagonal + size // QUERY_BLOCK  # the first block of queries after all keys of a block
    # Seen as long as some key's subtree reaches the block of queries, in full as long as all of them span it.
    first_unseen = -(-ends.max(1, initial=0) // QUERY_BLOCK)
    first_partial = np.maximum(below, ends.min(1, initial=ends.size) // QUERY_BLOCK)
    # On the diagonal the causal edge runs through, and every query sees itself.
    starts_of_partial = np.stack([diagonal, first_partial], 1).ravel()
    stops_of_partial = np.stack([below, first_unseen], 1).ravel()
    return [
        _expanded(np.repeat(key, 2), starts_of_partial, stops_of_partial),
        _expanded(key, below, np.minimum(first_partial, first_unseen)),
    ]


def _in_one_tensor(lists: Sequence[tuple[IntArray, IntArray]]) -> Tensor:
    """int32: lists of numbers, and how many of them each block has, as starts and then numbers of all the lists.

    >>> _in_one_tensor([(np.array([7, 8, 9]), np.array([1, 2]))]).tolist()
    [3, 4, 6, 7, 8, 9]
    """
    before = sum(len(counts) + 1 for _, counts in lists)
    starts = []
    for numbers, counts in lists:
        starts.append(np.concatenate([[0], np.cumsum(counts)]) + before)
        before += len(numbers)
    return torch.from_numpy(np.concatenate([*starts, *(numbers for numbers, _ in lists)]).astype(np.int32))


def _expanded(of: IntArray, starts: IntArray, stops: IntArray) -> tuple[IntArray, IntArray]:
    """The numbers from each start up to its stop, in order, and before them what each of them belongs to.

    >>> [part.tolist() for part in _expanded(np.array([7, 8]), np.array([2, 5]), np.array([4, 6]))]
    [[7, 7, 8], [2, 3, 5]]
    """
    counts = np.maximum(stops - starts, 0)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(of, counts), np.repeat(starts, counts) + within


def _in_order_of(by: IntArray, values: IntArray, count: int) -> tuple[IntArray, IntArray]:
    """`values` in the order of `by`, those of one number in the order they have; and how many each number has."""
    narrow = by.astype(np.uint16) if count <= 1 << 16 else by  # sorted by digits, in one go
    return values[np.argsort(narrow, kind="stable")], np.bincount(by, minlength=count)


def pooled_block_lists(subtree_end_V: Tensor, index_P: Tensor) -> Tensor:
    """int32: the first two lists of `block_lists`, for queries that stand at `index_P` on an axis of V keys.

    They are of blocks of 64 keys here: `[starts a: Q + 1][starts b: Q + 1][a][b]`. Both lengths are whole blocks, and
    `index_P` rises. On the CPU, range by range as there.

    >>> chain, whole = torch.tensor([128] * 128), torch.arange(128)
    >>> pooled_block_lists(chain, whole)[:5].tolist()  # as above, without the lists of keys
    [10, 11, 12, 13, 14]
    >>> pooled_block_lists(chain, whole[96:]).tolist()  # the last 32 tokens, over the keys of all 128
    [4, 5, 5, 6, 1, 0]
    """
    if len(index_P) % QUERY_BLOCK or len(subtree_end_V) % KEY_BLOCK:
        raise ValueError(
            f"queries ({len(index_P)}) and keys ({len(subtree_end_V)}) are no whole blocks; pad the plan first"
        )
    num_queries, num_keys = len(index_P) // QUERY_BLOCK, len(subtree_end_V) // KEY_BLOCK
    place, key = index_P.cpu().numpy(), np.arange(num_keys)
    ends = subtree_end_V.cpu().numpy().reshape(num_keys, KEY_BLOCK)
    # Queries rise along the axis: those that see a block of keys, and those that see it in full, follow one another.
    own = np.searchsorted(place, key * KEY_BLOCK)
    below = np.searchsorted(place, (key + 1) * KEY_BLOCK)
    seen_to = np.maximum(below, np.searchsorted(place, ends.max(1, initial=0)))
    full_to = np.searchsorted(place, ends.min(1, initial=np.iinfo(np.int64).max))
    first_seen, first_unseen = own // QUERY_BLOCK, np.where(seen_to > own, -(-seen_to // QUERY_BLOCK), 0)
    first_full = -(-below // QUERY_BLOCK)
    first_partial = np.maximum(first_full, full_to // QUERY_BLOCK)
    starts_of_partial = np.stack([first_seen, first_partial], 1).ravel()
    stops_of_partial = np.stack([np.minimum(first_full, first_unseen), first_unseen], 1).ravel()
    found = [
        _expanded(np.repeat(key, 2), starts_of_partial, stops_of_partial),
        _expanded(key, first_full, first_partial),
    ]
    return _in_one_tensor([_in_order_of(query, of, num_queries) for of, query in found])
