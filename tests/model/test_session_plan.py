"""New tokens below cached ones are scored as in the whole tree, in every family that scores packed trees."""

from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backbones import PACKED, random_model
from strategies import encoded_tree, encoded_trees
from surestep.encoding.encoded_tree import EncodedTree
from surestep.encoding.packing import pack_trees
from surestep.errors import BackboneError, InputError
from surestep.model.attention import interface
from surestep.model.attention.dense_mask import DenseBlock
from surestep.model.attention.prepared_mask import prepare_mask
from surestep.model.confidence_model import ConfidenceModel
from surestep.model.key_value_pool import KeyLayout, KeyValuePool
from surestep.model.session_plan import no_slots, plan_session_pass
from surestep.model.session_probe import find_layout
from surestep.scoring.model_scorer import to_batch

SUPPORTED = [family for family in PACKED if family != "phi3_longrope"]


@pytest.fixture(scope="module")
def small() -> ConfidenceModel:
    return settled("mistral")


@pytest.fixture(scope="module")
def layout(small: ConfidenceModel) -> KeyLayout:
    return find_layout(small, torch.float32)


class Place(NamedTuple):
    """A node of one of several trees: which tree, which node."""

    tree: int
    node: int


def settled(family: str) -> ConfidenceModel:
    return random_model(family).requires_grad_(False)


def segment(tree: EncodedTree, node: int) -> np.ndarray:
    return tree.tokens_T[tree.offsets[node] : tree.offsets[node + 1]]


def in_passes(
    model: ConfidenceModel, trees: list[EncodedTree], rounds: list[list[Place]], layout: KeyLayout
) -> dict[Place, Tensor]:
    """The hidden state at the end of every node; each round is one pass of nodes whose parents came before."""
    pool = KeyValuePool(layout, sum(tree.num_tokens for tree in trees), torch.device("cpu"))
    slots: dict[Place, np.ndarray] = {}
    found: dict[Place, Tensor] = {}
    for places in rounds:
        forests, above = [], []
        for place in places:
            tree, path, parent = trees[place.tree], [], int(trees[place.tree].parent_N[place.node])
            while parent >= 0:
                path.insert(0, slots[Place(place.tree, parent)])
                parent = int(tree.parent_N[parent])
            above.append(np.concatenate(path) if path else no_slots())
            tokens = segment(tree, place.node)
            forests.append(
                EncodedTree(
                    tokens, np.array([0, len(tokens)]), np.array([-1]), np.array([np.nan]), np.array([0], np.int32)
                )
            )
        pack = pack_trees(forests, every_step=True, first_positions=[len(prefix) for prefix in above])
        new = pool.allocate(pack.num_tokens)
        assert new is not None
        with torch.inference_mode():
            hidden = model._packed(plan_session_pass(to_batch(pack), above, new, pool, "dense"))
        for place, state, own in zip(places, hidden, np.split(new, pack.tree_starts[1:-1]), strict=True):
            found[place], slots[place] = state, own
    return found


def whole(model: ConfidenceModel, trees: list[EncodedTree]) -> dict[Place, Tensor]:
    """The hidden state at the end of every step, from one pass of all trees."""
    pack = pack_trees(trees, every_step=True)
    with torch.inference_mode():
        hidden = model._packed(prepare_mask(to_batch(pack), "dense"))
    return {
        Place(int(tree), int(source) + 1): state
        for tree, source, state in zip(pack.tree_S, pack.source_S, hidden, strict=True)
    }


def by_depth(trees: list[EncodedTree]) -> list[list[Place]]:
    depths = [tree.depths() for tree in trees]
    return [
        [Place(number, int(node)) for number, depth in enumerate(depths) for node in np.flatnonzero(depth == level)]
        for level in range(max(int(depth.max()) for depth in depths) + 1)
    ]


def largest_error(found: dict[Place, Tensor], expected: dict[Place, Tensor]) -> float:
    assert expected.keys() <= found.keys()
    return max(float((found[place] - state).norm() / state.norm()) for place, state in expected.items())


TREES = [
    encoded_tree([-1, 0, 1, 2, 1, 0, 5], [6, 9, 7, 12, 5, 8, 3], [1.0] * 7, random.Random(0)),
    encoded_tree([-1, 0, 1], [15, 2, 3], [1.0] * 3, random.Random(1)),
    encoded_tree([-1, 0], [1, 1], [1.0] * 2, random.Random(2)),
]
"""Paths within a window of 8 and beyond it."""


@pytest.mark.parametrize("family", SUPPORTED)
def test_every_family_scores_step_by_step_as_it_scores_whole_trees(family: str) -> None:
    model = settled(family)
    found = in_passes(model, TREES, by_depth(TREES), find_layout(model, torch.float32))
    assert largest_error(found, whole(model, TREES)) < 1e-5


@settings(max_examples=15)
@given(trees=st.lists(encoded_trees(), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_any_trees_in_any_order_and_any_passes(
    small: ConfidenceModel, layout: KeyLayout, trees: list[EncodedTree], seed: int
) -> None:
    rng = random.Random(seed)
    open_places = [Place(number, 0) for number in range(len(trees))]
    rounds = []
    while open_places:
        rng.shuffle(open_places)
        cut = rng.randint(1, len(open_places))
        now, open_places = open_places[:cut], open_places[cut:]
        rounds.append(now)
        for place in now:
            below = np.flatnonzero(trees[place.tree].parent_N == place.node)
            open_places += [Place(place.tree, int(node)) for node in below]
    found, expected = in_passes(small, trees, rounds, layout), whole(small, trees)
    assert not expected or largest_error(found, expected) < 1e-5


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_many_candidates_run_in_blocks_over_the_keys_that_they_see(family: str) -> None:
    """One large tree below a prefix: 30 branches of 20 tokens, cut into blocks of queries."""
    model, num_branches = settled(family), 30
    tree = encoded_tree([-1, 0] + [1] * num_branches, [9, 30] + [20] * num_branches, [1.0] * 32, random.Random(3))
    layout = find_layout(model, torch.float32)
    pool = KeyValuePool(layout, tree.num_tokens, torch.device("cpu"))
    above, new = pool.allocate(39), pool.allocate(20 * num_branches)
    assert above is not None
    assert new is not None
    path = tree.select(np.arange(32) < 2)
    below = EncodedTree(
        tree.tokens_T[39:], tree.offsets[2:] - 39, np.full(30, -1), tree.label_N[2:], np.arange(30, dtype=np.int32)
    )
    with torch.inference_mode():
        model._packed(plan_session_pass(to_batch(pack_trees([path])), [no_slots()], above, pool, "dense"))
        plan = plan_session_pass(to_batch(pack_trees([below], first_positions=[39])), [above], new, pool, "dense")
        found = model._packed(plan)
    blocks: list[DenseBlock] = plan.dense_blocks(None)
    assert len(blocks) == 4
    assert all(block.mask is not None and block.mask.shape[1] < 39 + 240 for block in blocks), "not all keys"
    expected = whole(model, [tree])
    for number, state in enumerate(found):
        own = expected[Place(0, number + 2)]
        assert float((state - own).norm() / own.norm()) < 1e-5


def test_a_plan_moves_to_its_device_with_its_keys(small: ConfidenceModel, layout: KeyLayout) -> None:
    pool = KeyValuePool(layout, 8, torch.device("cpu"))
    slots = pool.allocate(8)
    assert slots is not None
    batch = to_batch(pack_trees([encoded_tree([-1, 0], [2, 3], [1.0] * 2, random.Random(0))], first_positions=[3]))
    plan = plan_session_pass(batch, [slots[:3]], slots[3:], pool, "dense").to(torch.device("cpu"))
    with torch.inference_mode():
        assert small._packed(plan).shape == (1, 32)


@pytest.mark.parametrize(
    ("family", "named"),
    [
        ("phi3_longrope", "longrope"),
        ("llama4", "attention_chunk_size"),
        ("jamba", "from token to token"),
        ("gemma2", "soft cap"),
        ("stablelm", "do not hand the mask"),
    ],
)
def test_what_does_not_suit_sessions_is_refused_by_name(family: str, named: str) -> None:
    with pytest.raises(BackboneError, match=named) as caught:
        find_layout(settled(family), torch.float32)
    assert "score whole solutions instead" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_path_per_row_is_refused() -> None:
    model = settled("llama")
    model.set_route("paths")
    with pytest.raises(BackboneError, match="one path per row"):
        find_layout(model, torch.float32)


def test_training_mode_and_trained_weights_are_refused() -> None:
    with pytest.raises(InputError, match="weights that are not trained"):
        find_layout(random_model("llama"), torch.float32)
    model = settled("llama")
    model.transformer.layers[0].train()  # a part of it is enough
    with pytest.raises(InputError, match="training mode"):
        find_layout(model, torch.float32)


def test_an_attention_layer_that_runs_twice_in_a_pass_is_refused() -> None:
    model = settled("llama")
    first, second = model.transformer.layers
    second.self_attn = first.self_attn
    with pytest.raises(BackboneError, match="same attention layer twice"):
        find_layout(model, torch.float32)


def test_keys_that_are_not_read_back_right_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an unknown backbone does besides: what differs is refused."""
    right = interface.PooledKeys.exchange

    def wrong(self, module, key, value):  # type: ignore[no-untyped-def]
        key, value = right(self, module, key, value)
        return key.roll(1, 2), value

    monkeypatch.setattr(interface.PooledKeys, "exchange", wrong)
    with pytest.raises(BackboneError, match="scores steps differently"):
        find_layout(settled("llama"), torch.float32)
