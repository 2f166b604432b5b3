"""The mask is the ancestor relation, in every form in which it is executed."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dense_mask import dense_mask
from strategies import encoded_tree, encoded_trees
from surestep.encoding.encoded_tree import EncodedTree
from surestep.encoding.packing import pack_trees
from surestep.model.attention import interface as attention
from surestep.model.attention.dense_mask import DENSE_BLOCK
from surestep.model.attention.interface import tree_attention
from surestep.model.attention.prepared_mask import FLEX_BLOCK, prepare_mask, tree_block_mask
from surestep.model.tree_batch import TreeBatch
from surestep.scoring.model_scorer import to_batch

windows = st.one_of(st.none(), st.integers(1, 12))


def batch_of(trees: list[EncodedTree]) -> TreeBatch:
    return to_batch(pack_trees(trees, every_step=True))


def small_trees() -> list[EncodedTree]:
    """Fewer tokens than one block of FlexAttention."""
    rng = random.Random(0)
    return [encoded_tree([-1, 0, 1, 0], [3, 2, 4, 5], [1.0] * 4, rng), encoded_tree([-1, 0], [4, 3], [1.0] * 2, rng)]


def large_trees(seed: int, *, num_trees: int = 3, longest: int = 70) -> list[EncodedTree]:
    """Trees of hundreds of tokens, a chain among them, so that masks have blocks of every kind."""
    rng = random.Random(seed)
    trees = []
    for number in range(num_trees):
        parents = [-1]
        for index in range(1, rng.randint(4, 14)):
            ancestors = [index - 1]
            while parents[ancestors[-1]] != -1:
                ancestors.append(parents[ancestors[-1]])
            parents.append(index - 1 if number == 1 else rng.choice(ancestors))
        lengths = [rng.randint(1, longest) for _ in parents]
        trees.append(encoded_tree(parents, lengths, [1.0] * len(parents), rng))
    return trees


def sees_by_definition(trees: list[EncodedTree], window: int | None) -> Tensor:
    """bool [P, P], by walking from every token to the root of its tree."""
    blocks = []
    for tree in trees:
        nodes = [node for node in range(tree.num_nodes) for _ in range(tree.offsets[node], tree.offsets[node + 1])]
        seen = torch.zeros(len(nodes), len(nodes), dtype=torch.bool)
        for q, node in enumerate(nodes):
            path: list[int] = []
            while node != -1:
                path = [*range(tree.offsets[node], tree.offsets[node + 1]), *path]
                node = int(tree.parent_N[node])
            visible = [token for token in path if token <= q]
            seen[q, visible if window is None else visible[-window:]] = True
        blocks.append(seen)
    return torch.block_diag(*blocks).bool()


@given(st.lists(encoded_trees(), min_size=1, max_size=4), windows)
def test_the_dense_mask_is_the_ancestor_relation(trees: list[EncodedTree], window: int | None) -> None:
    batch = batch_of(trees)
    found = dense_mask(batch.subtree_end_P, batch.positions_P, window)
    assert torch.equal(found, sees_by_definition(trees, window))


def test_a_pack_of_chains_is_block_diagonal_and_causal() -> None:
    chains = [encoded_tree([-1, 0, 1], [3, 2, 2], [1.0] * 3, random.Random(0)) for _ in range(2)]
    batch = batch_of(chains)
    expected = torch.block_diag(torch.ones(7, 7).tril(), torch.ones(7, 7).tril()).bool()
    assert torch.equal(dense_mask(batch.subtree_end_P, batch.positions_P), expected)


def block_kinds(mask: torch.Tensor) -> tuple[Tensor, Tensor]:
    """bool [Q, Q] each: blocks of 128 in which something is seen, and in which all of it is."""
    size = len(mask)
    padding = -size % FLEX_BLOCK
    blocks = (size + padding) // FLEX_BLOCK

    def reduce(value: bool) -> Tensor:
        padded = torch.nn.functional.pad(mask, (0, padding, 0, padding), value=value)
        return padded.view(blocks, FLEX_BLOCK, blocks, FLEX_BLOCK)

    return reduce(False).any(3).any(1), reduce(True).all(3).all(1)


def marked(counts: Tensor, indices: Tensor) -> Tensor:
    """bool [Q, Q] from FlexAttention's lists of key blocks."""
    size = indices.shape[-1]
    result = torch.zeros(size, size, dtype=torch.bool)
    for row in range(size):
        columns = indices[0, 0, row, : int(counts[0, 0, row])].tolist()
        assert len(set(columns)) == len(columns)
        result[row, columns] = True
    return result


def edge_trees() -> list[EncodedTree]:
    """Subtrees and trees that end where blocks end, one token before and one after."""
    rng = random.Random(0)
    shapes = [[FLEX_BLOCK] * 4, [FLEX_BLOCK - 1, 1, 1, FLEX_BLOCK - 1, FLEX_BLOCK, 1], [FLEX_BLOCK // 2] * 5, [1] * 9]
    return [encoded_tree([-1, *[0] * (len(s) - 1)], s, [1.0] * len(s), rng) for s in shapes]


BLOCK_CASES = [large_trees(n, num_trees=1 + n % 4, longest=20 + 40 * (n % 3)) for n in range(8)] + [edge_trees()]


@pytest.mark.parametrize("trees", BLOCK_CASES)
def test_the_block_mask_is_the_dense_mask_in_blocks(trees: list[EncodedTree]) -> None:
    batch = batch_of(trees)
    ends = batch.subtree_end_P
    expected = sees_by_definition(trees, None)
    assert torch.equal(dense_mask(ends, batch.positions_P), expected)

    mask = tree_block_mask(ends, torch.device("cpu"))
    some, whole = block_kinds(expected)
    full = marked(mask.full_kv_num_blocks, mask.full_kv_indices)
    partial = marked(mask.kv_num_blocks, mask.kv_indices)
    assert not (full & partial).any(), "a block is computed once"
    assert torch.equal(full | partial, some), "exactly the blocks in which something is seen"
    assert torch.equal(mask.to_dense()[0, 0].bool(), some)
    assert (whole | ~full).all(), "only blocks seen as a whole skip the mask function"
    below = torch.ones_like(full).tril(-1)
    assert torch.equal(full, whole & some & below), "and all of those do, but on the diagonal"

    index = torch.arange(len(ends))
    seen = mask.mask_mod(torch.tensor(0), torch.tensor(0), index[:, None], index[None, :])
    assert torch.equal(seen, expected)


def reference(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention written out: [1, P, H, E]."""
    groups = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(groups, 1) for tensor in (key, value))
    weights = (query @ key.transpose(-1, -2) * scale).masked_fill(~mask, float("-inf")).softmax(-1)
    return (weights @ value).transpose(1, 2)


def run(batch: TreeBatch, execution: str, *, window: int | None = None, groups: int = 2) -> tuple[Tensor, Tensor]:
    """Attention of random queries as executed, and as written out."""
    generator = torch.Generator().manual_seed(0)
    plan = prepare_mask(batch, execution)  # type: ignore[arg-type]
    batch = plan.batch  # padded to whole blocks for flex
    size = len(batch.tokens_P)
    query = torch.randn(1, 4, size, 8, generator=generator, dtype=torch.float64)
    key, value = (torch.randn(1, 4 // groups, size, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    module = SimpleNamespace(training=False)
    found, _ = tree_attention(
        module,  # type: ignore[arg-type]
        query,
        key,
        value,
        None,
        surestep_mask=plan,
        scaling=0.3,
        sliding_window=window,
    )
    return found, reference(query, key, value, dense_mask(batch.subtree_end_P, batch.positions_P, window), 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("window", [None, 1, 8, 100, 100_000])
@pytest.mark.parametrize("longest", [6, 120])
@pytest.mark.parametrize("groups", [1, 2])
def test_dense_execution_equals_attention_written_out(window: int | None, longest: int, groups: int) -> None:
    for seed in range(2):
        found, expected = run(batch_of(large_trees(seed, longest=longest)), "dense", window=window, groups=groups)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("lengths", [[1, *[DENSE_BLOCK] * 4], [DENSE_BLOCK] * 5, [DENSE_BLOCK - 1, *[1] * 400]])
def test_steps_that_end_at_the_edge_of_a_block_are_seen_to_their_end(lengths: list[int]) -> None:
    siblings = encoded_tree([-1, *[0] * (len(lengths) - 1)], lengths, [1.0] * len(lengths), random.Random(0))
    found, expected = run(batch_of([siblings]), "dense")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("window", [None, 8])
def test_flex_execution_equals_attention_written_out(window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.nn.attention.flex_attention import flex_attention

    # The kernel needs a GPU; its uncompiled form shows that mask, scale and grouped heads reach it.
    monkeypatch.setattr(attention, "compiled_flex", lambda: flex_attention)
    whole_blocks = batch_of(large_trees(3)).padded(FLEX_BLOCK)  # as the model runs them
    found, expected = run(whole_blocks, "flex", window=window)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_varlen_is_for_chains_only() -> None:
    rng = random.Random(0)
    chain = encoded_tree([-1, 0, 1], [3, 2, 2], [1.0] * 3, rng)
    branching = encoded_tree([-1, 0, 0], [3, 2, 2], [1.0] * 3, rng)
    plan = prepare_mask(batch_of([chain, chain]), "varlen")
    assert plan.execution == "varlen"
    assert plan.max_seqlen == FLEX_BLOCK - 14, "the padding is one more chain"
    assert plan.cu_seqlens is not None
    assert plan.cu_seqlens.tolist() == [0, 7, 14, FLEX_BLOCK]
    assert prepare_mask(batch_of([chain, branching]), "varlen").execution == "flex"


def test_a_capped_attention_is_not_run_without_its_cap() -> None:
    batch = batch_of([encoded_tree([-1, 0], [3, 2], [None, 1.0], random.Random(0))])
    states = torch.zeros(1, 1, 5, 4)
    plan = prepare_mask(batch, "dense")
    with pytest.raises(NotImplementedError, match="cap"):
        tree_attention(torch.nn.Identity(), states, states, states, None, surestep_mask=plan, softcap=50.0)


def test_a_pack_padded_to_whole_blocks_scores_as_before() -> None:
    """FlexAttention runs padded packs; the padding must change no score (checked with the dense execution)."""
    torch.manual_seed(0)
    batch = batch_of(large_trees(0, num_trees=1, longest=8))
    padded = batch.padded(FLEX_BLOCK)
    assert len(padded.tokens_P) == FLEX_BLOCK
    assert padded.padded(FLEX_BLOCK) is padded
    num_tokens = len(batch.tokens_P)
    mask = dense_mask(padded.subtree_end_P, padded.positions_P)
    assert torch.equal(mask[:num_tokens, :num_tokens], dense_mask(batch.subtree_end_P, batch.positions_P))
    assert not mask[:num_tokens, num_tokens:].any()
    assert torch.equal(mask[num_tokens:].sum(1), torch.ones(FLEX_BLOCK - num_tokens, dtype=torch.long))
    query = torch.randn(1, 2, FLEX_BLOCK, 8)
    short = prepare_mask(batch, "dense")
    long = prepare_mask(padded, "dense")
    part = query[:, :, :num_tokens]
    alone, _ = tree_attention(torch.nn.Identity(), part, part, part, None, surestep_mask=short)
    whole, _ = tree_attention(torch.nn.Identity(), query, query, query, None, surestep_mask=long)
    torch.testing.assert_close(whole[:, :num_tokens], alone)


def test_a_flex_plan_holds_whole_blocks() -> None:
    plan = prepare_mask(batch_of(large_trees(0, num_trees=1, longest=8)), "flex")
    assert len(plan.batch.tokens_P) == FLEX_BLOCK
    assert len(plan.chain_B) == len(plan.batch.spans)
    assert plan.block_mask.shape[-2:] == (FLEX_BLOCK, FLEX_BLOCK)
