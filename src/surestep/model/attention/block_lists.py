"""Which blocks of keys each block of queries looks at, as one flat array of integers: made in the loader, read by
the attention kernel of `surestep.model.attention.tree_kernel`.

Blocks begin where a tree begins. A tree of 240 tokens that began in the middle of a block would share its first and
last one with its neighbours, and every query of a shared block goes through the keys of both.

Shapes: `P` tokens of the pack (a multiple of 128), `Q` places for blocks of up to 32 queries, `K` for blocks of up to 64
keys.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IntArray = NDArray[np.int64]

QUERY_BLOCK = 32
KEY_BLOCK = 64


def num_blocks(num_tokens: int) -> tuple[int, int]:
    """Q and K: places for blocks in the lists of a pack, a fifth of them to spare.

    >>> num_blocks(128), num_blocks(16384)
    ((6, 3), (640, 320))
    """
    keys = num_tokens // KEY_BLOCK + -(-num_tokens // (4 * KEY_BLOCK))
    return keys * (KEY_BLOCK // QUERY_BLOCK), keys


def most_listed(num_tokens: int) -> int:
    """Numbers in the tensor of `block_lists`, at most."""
    queries, keys = num_blocks(num_tokens)
    whole = num_tokens // KEY_BLOCK
    # A tree of n blocks of keys is two of queries for each, and a sum of n (n + 1) is the largest where one tree has
    # all that a tree can have. Everything is listed once by query and once by key.
    pairs = whole * (whole + 1) + (keys - whole) * (keys - whole + 1)
    return 3 * (queries + 1) + 3 * (keys + 1) + 2 * pairs


def block_lists(subtree_end_P: Tensor) -> Tensor:
    """int32: where blocks begin, and four CSR lists, in one tensor from whose beginning their starts count.

    `[queries: Q + 1][starts a: Q + 1][starts b: Q + 1][keys: K + 1][starts c: K + 1][starts d: K + 1][a][b][c][d]`.
    `queries` and `keys` say at which token each block begins; it ends where the next begins, and places that are not
    needed are blocks of no tokens, at the end of the pack. With, in ascending order,

        a   for each block of queries, the blocks of keys that some of them see, though not all see all;
        b   for each block of queries, the blocks of keys that all of them see in full;
        c, d   the same the other way round: for each block of keys, the blocks of queries.

    A block is named by the token that it begins at. One of queries lies within one of keys; what follows a block that
    is not full belongs to another tree, so that reading on does no harm where the mask is looked at. A block of queries
    that is not full is therefore never in `b` or `d`.

    The queries that see some key of a block, and those that see all of them, follow one another without a gap; so the
    lists are written down range by range, on the CPU, without a comparison of every block with every other.

    >>> lists = block_lists(torch.tensor([128] * 128))  # a chain: 4 blocks of queries, 2 of keys
    >>> lists[:7].tolist(), lists[21:25].tolist()
    ([0, 32, 64, 96, 128, 128, 128], [0, 64, 128, 128])
    >>> lists[lists[7] : lists[11]].tolist(), lists[lists[14] : lists[18]].tolist()  # a and b
    ([0, 0, 64, 64], [0, 0])
    """
    num_tokens = len(subtree_end_P)
    if num_tokens % 128:
        raise ValueError(f"{num_tokens} tokens are no multiple of 128; pad the batch first")
    num_queries, num_keys = num_blocks(num_tokens)
    ends = subtree_end_P.cpu().numpy()
    keys = _key_blocks(ends, num_keys)
    queries = _halved(keys)
    # Blocks of queries as a search finds them: the first after all keys of a block, ...
    diagonal, below = np.searchsorted(queries, keys[:-1]), np.searchsorted(queries, keys[1:])
    # ... the first that no key's subtree reaches, and the first that not all of them span.
    first_unseen = np.searchsorted(queries[:-1], np.maximum.reduceat(ends, keys[:-1]))
    spanned = np.searchsorted(queries[1:], np.minimum.reduceat(ends, keys[:-1]), side="right")
    spanned -= (np.diff(queries) < QUERY_BLOCK)[spanned - 1]
    first_partial = np.maximum(below, spanned)
    # On the diagonal the causal edge runs through, and every query sees itself.
    starts_of_partial = np.stack([diagonal, first_partial], 1).ravel()
    stops_of_partial = np.stack([below, first_unseen], 1).ravel()
    key = np.arange(len(keys) - 1)
    found = [
        _expanded(np.repeat(key, 2), starts_of_partial, stops_of_partial),
        _expanded(key, below, np.minimum(first_partial, first_unseen)),
    ]
    by_query = [_in_order_of(query, keys[of], num_queries) for of, query in found]
    by_key = [(queries[query], np.bincount(of, minlength=num_keys)) for of, query in found]
    return _in_one_tensor([(_filled_up(queries, num_queries), by_query), (_filled_up(keys, num_keys), by_key)])


def _key_blocks(ends: IntArray, most: int) -> IntArray:
    """Where blocks of keys begin, and the end of the last: with trees, or at whole blocks if these were too many.

    A block holds a part of one tree, or the rest of one and as many whole ones as there is room for.

    >>> _key_blocks(np.repeat([40, 128], [40, 88]), 3).tolist(), _key_blocks(np.repeat([40, 128], [40, 88]), 2).tolist()
    ([0, 40, 104, 128], [0, 64, 128])
    >>> _key_blocks(np.repeat([70, 90, 128], [70, 20, 38]), 3).tolist()
    [0, 64, 128]
    """
    num_tokens = len(ends)
    begins = np.flatnonzero(np.maximum.accumulate(ends)[:-1] <= np.arange(1, num_tokens)) + 1
    edges = [0, *begins.tolist(), num_tokens]
    blocks = [0]
    while blocks[-1] < num_tokens and len(blocks) <= most:
        limit = blocks[-1] + KEY_BLOCK
        edge = edges[bisect_right(edges, limit) - 1]
        blocks.append(edge if edge > blocks[-1] else limit)
    return np.array(blocks) if blocks[-1] == num_tokens else np.arange(0, num_tokens + 1, KEY_BLOCK)


def _halved(keys: IntArray) -> IntArray:
    """Where blocks of queries begin that lie within those of keys, and the end of the last.

    >>> _halved(np.array([0, 64, 90, 122, 128])).tolist()
    [0, 32, 64, 90, 122, 128]
    """
    both = np.stack([keys[:-1], np.minimum(keys[:-1] + QUERY_BLOCK, keys[1:])], 1).ravel()
    return np.unique(np.append(both, keys[-1]))


def _filled_up(begins: IntArray, count: int) -> IntArray:
    return np.pad(begins, (0, count + 1 - len(begins)), mode="edge")


def _in_one_tensor(parts: Sequence[tuple[IntArray, Sequence[tuple[IntArray, IntArray]]]]) -> Tensor:
    """int32: where the blocks of each part begin, and the starts of its lists; then the numbers of all lists.

    A list is its numbers, and how many of them each block has.

    >>> _in_one_tensor([(np.array([0, 32, 64]), [(np.array([7, 8, 9]), np.array([1, 2]))])]).tolist()
    [0, 32, 64, 6, 7, 9, 7, 8, 9]
    """
    lists = [one for _, of_part in parts for one in of_part]
    before = sum(len(begins) * (1 + len(of_part)) for begins, of_part in parts)
    heads = []
    for begins, of_part in parts:
        heads.append(begins)
        for numbers, counts in of_part:
            heads.append(np.concatenate([[0], np.cumsum(counts)]) + before)
            before += len(numbers)
    return torch.from_numpy(np.concatenate([*heads, *(numbers for numbers, _ in lists)]).astype(np.int32))


def _expanded(of: IntArray, starts: IntArray, stops: IntArray) -> tuple[IntArray, IntArray]:
    """The numbers from each start up to its stop, in order, and before them what each of them belongs to.

    >>> [part.tolist() for part in _expanded(np.array([7, 8]), np.array([2, 5]), np.array([4, 6]))]
    [[7, 7, 8], [2, 3, 5]]
    """
    counts = np.maximum(stops - starts, 0)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(of, counts), np.repeat(starts, counts) + within


def _in_order_of(by: IntArray, values: IntArray, count: int) -> tuple[IntArray, IntArray]:
    """`values` in the order of `by`, those of one number in the order they have; and how many each of `count` has."""
    narrow = by.astype(np.uint16) if count <= 1 << 16 else by  # sorted by digits, in one go
    return values[np.argsort(narrow, kind="stable")], np.bincount(by, minlength=count)


def pooled_block_lists(subtree_end_V: Tensor, index_P: Tensor) -> Tensor:
    """int32: the first two lists of `block_lists`, for queries that stand at `index_P` on an axis of V keys.

    `[queries: Q + 1][starts a: Q + 1][starts b: Q + 1][a][b]`. Both lengths are whole blocks, here full ones, and
    `index_P` rises. On the CPU, range by range as there.

    >>> chain, whole = torch.tensor([128] * 128), torch.arange(128)
    >>> pooled_block_lists(chain, whole)[:5].tolist()  # a place among all the pass's queries, whatever index it has
    [0, 32, 64, 96, 128]
    >>> pooled_block_lists(chain, whole[96:]).tolist()  # the last 32 tokens, over the keys of all 128
    [0, 32, 6, 7, 7, 8, 64, 0]
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
    lists = [_in_order_of(query, of * KEY_BLOCK, num_queries) for of, query in found]
    return _in_one_tensor([(np.arange(num_queries + 1) * QUERY_BLOCK, lists)])
