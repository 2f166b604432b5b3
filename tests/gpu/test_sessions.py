"""Sessions on a GPU: the kernel over slots against the dense reference, and session against full scoring.

bf16 rounds a confidence by an amount that depends on the shapes of the products, so a session is not equal to full
scoring to the bit; it must be no farther from it than bf16 is from float32.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

from strategies import random_tree
from surestep.bench.backbone_shapes import build_shape
from surestep.config import get_default_config
from surestep.model.attention.interface import tree_attention
from surestep.model.fast.weights_for_scoring import freeze
from surestep.model.key_value_pool import KeyLayout, KeyValuePool
from surestep.model.precision.fp8 import runs_fp8
from surestep.model.session_plan import plan_session_pass
from surestep.model.tree_batch import TreeBatch
from surestep.scoring.build_model import BuiltModel, prepare_for_scoring
from surestep.scoring.hardware import Precision, choose_hardware
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.sessions import SessionScorer
from surestep.types import ROOT, ReasoningTree, chain

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

CUDA = torch.device("cuda")


def built_model(precision: Precision, weights: Literal["as_trained", "merged", "fp8"] = "as_trained") -> BuiltModel:
    """The same random weights on every call, with a head whose scores differ."""
    config = get_default_config()
    config.eval.scoring_weights = weights
    built = build_shape(config, choose_hardware("cuda", precision), "small")
    with torch.no_grad():
        generator = torch.Generator("cuda").manual_seed(1)
        built.model.head.output.weight.normal_(generator=generator)
    freeze(built.model)
    if weights != "as_trained":
        prepare_for_scoring(built, config.eval.scoring_weights)
    return built


def scorer_of(built: BuiltModel) -> ModelScorer:
    return built.scorer(get_default_config())


def by_sessions(sessions: SessionScorer, tree: ReasoningTree) -> np.ndarray:
    """Every step of a tree, level by level, each level in one pass."""
    opened = {ROOT: sessions.open(tree.problem)}
    found = np.full(len(tree.nodes), np.nan)
    level = [index for index, node in enumerate(tree.nodes) if node.parent == ROOT]
    while level:
        for index in level:
            opened[index] = opened[tree.nodes[index].parent].fork()
        steps = [(opened[index], tree.nodes[index].text, tree.nodes[index].context) for index in level]
        found[level] = sessions.add_many(steps)
        level = [index for index, node in enumerate(tree.nodes) if node.parent in level]
    for session in opened.values():
        session.close()
    assert sessions.usage().tokens_held == 0
    return found


def whole(scorer: ModelScorer, tree: ReasoningTree) -> np.ndarray:
    (found,) = scorer.score([tree])
    return found.raw_N


TREES = [random_tree(seed, num_nodes=12) for seed in range(6)]


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_a_session_in_bf16_is_no_farther_from_full_scoring_than_bf16_from_float32(compiled: bool) -> None:
    half, exact = built_model("bf16"), scorer_of(built_model("no"))
    assert half.model.route == "triton"
    if compiled:
        torch._dynamo.reset()
        config = get_default_config()
        config.model.compile = True
        half.compile_if_worth(config.model.compile, 1e9)
    scorer = scorer_of(half)
    sessions = SessionScorer(scorer)
    to_full, to_exact = [], []
    for tree in TREES:
        full = whole(scorer, tree)
        to_full.append(np.abs(by_sessions(sessions, tree) - full))
        to_exact.append(np.abs(full - whole(exact, tree)))
    assert np.concatenate(to_full).max() <= np.concatenate(to_exact).max()
    assert np.concatenate(to_full).mean() <= np.concatenate(to_exact).mean()


def test_a_session_in_float32_is_full_scoring() -> None:
    scorer = scorer_of(built_model("no"))
    sessions = SessionScorer(scorer)
    for tree in TREES:
        np.testing.assert_allclose(by_sessions(sessions, tree), whole(scorer, tree), rtol=0, atol=1e-4)


def test_kernel_and_dense_execution_agree_in_sessions() -> None:
    built = built_model("bf16")
    with_kernel = scorer_of(built)
    found = [by_sessions(SessionScorer(with_kernel), tree) for tree in TREES]
    built.model.set_route("dense")
    dense = [by_sessions(SessionScorer(with_kernel), tree) for tree in TREES]
    exact = scorer_of(built_model("no"))
    bound = max(float(np.abs(one - whole(exact, tree)).max()) for one, tree in zip(dense, TREES, strict=True))
    assert max(float(np.abs(one - other).max()) for one, other in zip(found, dense, strict=True)) <= 2 * bound


def test_a_session_with_weights_in_fp8_stays_near_full_scoring() -> None:
    if not runs_fp8(CUDA):
        pytest.skip("needs a GPU that multiplies 8-bit floats")
    scorer = scorer_of(built_model("bf16", "fp8"))
    sessions = SessionScorer(scorer)
    for tree in TREES:
        full = whole(scorer, tree)
        assert float(np.abs(by_sessions(sessions, tree) - full).max()) < 0.05


@pytest.mark.parametrize("window", [None, 50])
@pytest.mark.parametrize(("heads", "key_heads", "size"), [(8, 2, 64), (32, 8, 128), (7, 1, 16)])
def test_the_kernel_over_slots_is_the_dense_attention(
    heads: int, key_heads: int, size: int, window: int | None
) -> None:
    """Ragged prefixes in scattered slots, one of them empty; trees, not chains, below them."""
    draw, generator = np.random.default_rng(0), torch.Generator("cuda").manual_seed(0)
    prefixes, new_tokens = (700, 0, 150, 2000, 33), (40, 25, 3, 300, 90)
    layout, layer = KeyLayout(), torch.nn.Identity()
    states = [torch.zeros(1, key_heads, 1, size, dtype=torch.bfloat16) for _ in range(2)]
    layout.exchange(layer, *states)
    pool = KeyValuePool(layout, 5000, CUDA)
    pool.slots[:, :, 1:] = torch.randn(pool.slots[:, :, 1:].shape, generator=generator, device=CUDA).bfloat16()
    scattered = draw.permutation(5000) + 1
    ends, positions, starts = [], [], [0]
    for before, new in zip(prefixes, new_tokens, strict=True):
        half = new // 2  # two branches
        ends.append(torch.tensor([half] * half + [new] * (new - half)) + starts[-1])
        positions.append(torch.cat([torch.arange(half), torch.arange(new - half)]) + before)
        starts.append(starts[-1] + new)
    num_new, num_above = starts[-1], sum(prefixes)
    batch = TreeBatch(
        torch.zeros(num_new, dtype=torch.long), torch.cat(positions), torch.cat(ends), tuple(starts), torch.tensor([0])
    )
    above = np.split(scattered[:num_above], np.cumsum(prefixes)[:-1])
    new_slots = scattered[num_above : num_above + num_new]
    found = {}
    padded = num_new + -num_new % 128
    query, key, value = (
        torch.randn(1, number, padded, size, generator=generator, device=CUDA).bfloat16()
        for number in (heads, key_heads, key_heads)
    )
    for execution in ("triton", "dense"):
        plan = plan_session_pass(batch, above, new_slots, pool, execution).pinned().to(CUDA)  # type: ignore[arg-type]
        parts = query, key, value
        if execution == "dense":  # in float32, so that it is the reference; it has no padding
            exact = KeyLayout(layout.layer_of, layout.shapes, torch.float32)
            pool_32 = KeyValuePool(exact, 5000, CUDA)
            pool_32.slots.copy_(pool.slots)
            plan = plan_session_pass(batch, above, new_slots, pool_32, "dense").to(CUDA)
            parts = tuple(part[:, :, :num_new].float() for part in parts)
        with torch.inference_mode():
            found[execution] = tree_attention(layer, *parts, None, surestep_mask=plan, sliding_window=window)[0]
    got, expected = found["triton"][0, :num_new].float(), found["dense"][0]
    assert found["triton"].isfinite().all(), "padding, too, stays a number"
    assert (got - expected).norm() / expected.norm() < 0.01


def test_memory_stays_flat_and_slots_come_back() -> None:
    """A thousand sessions through a pool that holds a few: nothing is lost, and the GPU's memory does not grow."""
    scorer = scorer_of(built_model("bf16"))
    sessions = SessionScorer(scorer, max_tokens=2000)
    expected = {number: whole(scorer, chain(f"problem {number}", ["one", "two"])) for number in range(10)}
    draw, used = random.Random(0), []
    for turn in range(100):
        numbers = [draw.randrange(10) for _ in range(10)]
        opened = [sessions.open(f"problem {number}", namespace=str(turn)) for number in numbers]
        for step in ("one", "two"):
            sessions.add_many([(session, step) for session in opened])
        for session, number in zip(opened, numbers, strict=True):
            np.testing.assert_allclose(session.raw, expected[number], atol=0.05)
            session.close()
        used.append(torch.cuda.memory_allocated())
    assert sessions.usage().tokens_held == 0
    assert used[-1] <= used[9]


def test_two_models_on_one_gpu_share_nothing() -> None:
    first, second = (SessionScorer(scorer_of(built_model("bf16")), max_tokens=3000) for _ in range(2))
    one, other = first.open("problem"), second.open("problem")
    assert one.add("a step") == pytest.approx(other.add("a step"), abs=1e-2)
    one.close()
    assert first.usage().tokens_held == 0
    assert second.usage().tokens_held == other.num_tokens


def test_the_pool_takes_no_more_than_a_quarter_of_the_free_memory() -> None:
    scorer = scorer_of(built_model("bf16"))
    free = torch.cuda.mem_get_info()[0]
    sessions = SessionScorer(replace(scorer))
    usage = sessions.usage()
    assert usage.most_tokens_held * sessions._passes.layout.bytes_per_slot <= free / 4 * 1.01
