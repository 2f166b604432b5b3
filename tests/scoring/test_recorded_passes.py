"""Plans of a fixed shape, and which passes are recorded; the graphs themselves are in tests/gpu."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surestep.model.attention.block_lists import block_lists
from surestep.model.attention.prepared_mask import PassShape, PreparedMask, prepare_mask
from surestep.model.key_value_pool import KeyLayout, KeyValuePool
from surestep.model.one_copy import plan_tensors
from surestep.model.session_plan import plan_session_pass
from surestep.model.tree_batch import TreeBatch
from surestep.scoring import model_scorer, recorded_passes
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.recorded_passes import LONG_SIZES, SHORT_SIZES, RecordedPasses, session_shape, size_for

LAYOUT = KeyLayout({}, [(1, 2, 2)])


def chains(lengths: list[int], first: list[int] | None = None) -> TreeBatch:
    """Chains one after another; every fifth token ends a step."""
    ends = np.cumsum(lengths)
    above = first or [0] * len(lengths)
    return TreeBatch(
        tokens_P=torch.arange(1, int(ends[-1]) + 1),
        positions_P=torch.cat([torch.arange(b, b + n) for n, b in zip(lengths, above, strict=True)]),
        subtree_end_P=torch.cat([torch.full((n,), int(e)) for n, e in zip(lengths, ends, strict=True)]),
        tree_starts=(0, *ends.tolist()),
        label_index_S=torch.arange(int(ends[-1]))[4::5],
    )


@given(st.lists(st.integers(1, 400), min_size=1, max_size=8))
def test_a_plan_of_a_shape_is_that_of_the_batch_and_padding(lengths: list[int]) -> None:
    batch = chains(lengths)
    size = size_for(len(batch.tokens_P), len(batch.label_index_S))
    assert size is not None
    plan = prepare_mask(batch, "triton", PassShape(size))
    assert plan.kernel_mask is not None
    assert len(plan.batch.tokens_P) == size
    assert len(plan.batch.label_index_S) == size // 4
    assert len(plan.kernel_mask.lists) == PassShape(size).num_listed
    own = block_lists(batch.padded(size).subtree_end_P)
    assert torch.equal(plan.kernel_mask.lists[: len(own)], own)
    assert not plan.kernel_mask.lists[len(own) :].any()
    assert plan.batch.tokens_P[: len(batch.tokens_P)].equal(batch.tokens_P)


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(1, 90)), min_size=1, max_size=6), st.integers(0, 99))
def test_a_session_plan_of_a_shape_is_the_usual_one_and_padding(trees: list[tuple[int, int]], seed: int) -> None:
    above, lengths = [b for b, _ in trees], [n for _, n in trees]
    batch = chains(lengths, above)
    pool = KeyValuePool(LAYOUT, 8000, torch.device("cpu"))
    slots = np.array(random.Random(seed).sample(range(1, 8000), sum(above) + sum(lengths)))
    prefixes = np.split(slots[: sum(above)], np.cumsum(above)[:-1])
    new = slots[sum(above) :]
    shape = session_shape(len(batch.tokens_P), len(batch.label_index_S), sum(above))
    assert shape is not None
    usual, plan = (plan_session_pass(batch, prefixes, new, pool, "triton", made) for made in (None, shape))
    tensors = plan_tensors(plan)
    assert [len(tensor) for tensor in tensors] == [
        *(shape.num_tokens,) * 3, shape.num_tokens // 4, shape.num_keys, shape.num_tokens,
        shape.num_keys, shape.num_keys, shape.num_listed, shape.num_tokens,
    ]  # fmt: skip
    # Where each starts is what a kernel was compiled for.
    assert all(tensor.nbytes % 16 == 0 for tensor in tensors)
    written = plan.keys.slots_W.numpy()  # type: ignore[union-attr]
    assert (written[: len(new)] == new).all()
    assert (written[len(new) :] == pool.scratch_slot).all()
    num_keys = sum(above) + sum(lengths)
    assert plan.keys.slots_V[:num_keys].equal(usual.keys.slots_V[:num_keys])  # type: ignore[union-attr]
    assert not plan.keys.slots_V[num_keys:].any()  # type: ignore[union-attr]
    assert _seen(plan, sum(lengths)) == _seen(usual, sum(lengths))


def _seen(plan: PreparedMask, num_queries: int) -> list[list[int]]:
    """For each block of queries that is no padding, the blocks of keys that it looks at, in part and in full."""
    assert plan.kernel_mask is not None
    lists, blocks = plan.kernel_mask.lists.tolist(), len(plan.batch.tokens_P) // 32
    starts_a, starts_b = lists[: blocks + 1], lists[blocks + 1 : 2 * blocks + 2]
    return [
        lists[starts[number] : starts[number + 1]]
        for starts in (starts_a, starts_b)
        for number in range(num_queries // 32)
    ]


class Graph:
    """Stands for a CUDA graph: does again what was recorded."""

    def __init__(self, run: Callable[[], torch.Tensor]) -> None:
        self._run, self.values = run, run()

    def replay(self) -> None:
        self.values.copy_(self._run())


class Model:
    """Its logit of a step is the id of its token, over 1000."""

    weights_version = 0

    def __call__(self, plan: PreparedMask) -> torch.Tensor:
        return plan.batch.tokens_P[plan.batch.label_index_S][: plan.num_needed].float() / 1000


def with_stand_ins(monkeypatch: pytest.MonkeyPatch) -> RecordedPasses:
    """Recordings without a GPU."""

    def capture(run: Callable[[], torch.Tensor], pool: Any) -> tuple[Graph, torch.Tensor]:
        graph = Graph(run)
        return graph, graph.values

    monkeypatch.setattr(recorded_passes, "capture", capture)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    said: list[str] = []
    made = RecordedPasses(Model(), torch.device("cpu"), torch.float32, said.append)  # type: ignore[arg-type]
    made.said = said  # type: ignore[attr-defined]
    return made


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> RecordedPasses:
    return with_stand_ins(monkeypatch)


def expected(batch: TreeBatch) -> torch.Tensor:
    return (batch.tokens_P[batch.label_index_S].float() / 1000).double().sigmoid()


@given(lengths=st.lists(st.lists(st.integers(1, 90), min_size=1, max_size=6), min_size=1, max_size=6))
def test_replays_read_the_batch_at_hand(lengths: list[list[int]]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        made = with_stand_ins(monkeypatch)
        for batch in map(chains, lengths):
            found = made.confidences(batch)
            assert found is not None
            assert found.equal(expected(batch))
        assert len(made._recorded) <= len({size_for(sum(one), sum(one) // 5) for one in lengths})


def test_what_is_not_recorded_is_left_to_the_usual_pass(recorded: RecordedPasses) -> None:
    assert recorded.confidences(chains([SHORT_SIZES[-1] + 1])) is None
    assert session_shape(40, 2, 200_000) is None
    many = chains([120])
    every = TreeBatch(many.tokens_P, many.positions_P, many.subtree_end_P, many.tree_starts, torch.arange(120))
    found = recorded.confidences(every)
    assert found is not None, "a larger size has room for so many steps"
    assert found.equal(expected(every))


def test_a_recording_that_fails_is_said_once_and_not_tried_again(
    recorded: RecordedPasses, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(run: Callable[[], torch.Tensor], pool: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(recorded_passes, "capture", fails)
    assert recorded.confidences(chains([50])) is None
    assert recorded.confidences(chains([50])) is None
    (line,) = recorded.said  # type: ignore[attr-defined]
    assert "operation not permitted" in line
    assert "\n" not in line


def test_recordings_of_other_weights_are_made_anew(recorded: RecordedPasses) -> None:
    recorded.confidences(chains([50]))
    before = list(recorded._recorded.values())
    recorded._model.weights_version += 1
    recorded.confidences(chains([50]))
    assert list(recorded._recorded.values()) != before


def test_on_a_cpu_nothing_is_recorded(build_small: Callable[..., Any], small_config: Callable[..., Any]) -> None:
    scorer: ModelScorer = build_small("llama").scorer(small_config("llama"))
    assert scorer.record_passes() is None
    assert scorer.recorded is None


def test_what_cannot_be_recorded_is_said(build_small: Callable[..., Any], small_config: Callable[..., Any]) -> None:
    scorer: ModelScorer = build_small("llama").scorer(small_config("llama"))
    object.__setattr__(scorer.hardware, "device", torch.device("cuda"))
    assert scorer.record_passes(False) is None
    assert scorer.record_passes() == "passes: not recorded (the attention is dense, not triton)"
    scorer.model.route, scorer.model.is_fused = "triton", True
    scorer.model.requires_grad_(True)
    assert scorer.record_passes() == "passes: not recorded (the weights are trained)"
    scorer.model.requires_grad_(False)
    assert "--cuda_graphs false" in (scorer.record_passes() or "")
    assert scorer.recorded is not None


@pytest.fixture
def on_a_gpu(
    build_small: Callable[..., Any], small_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> ModelScorer:
    """A scorer of frozen weights that takes itself to be on a GPU; its recordings are stand-ins."""
    built = build_small("llama")
    built.model.requires_grad_(False)
    scorer: ModelScorer = built.scorer(small_config("llama"))
    scorer.said = []  # type: ignore[attr-defined]
    scorer.say = scorer.said.append  # type: ignore[attr-defined]
    object.__setattr__(scorer.hardware, "device", torch.device("cuda"))
    monkeypatch.setattr(model_scorer, "reason_model_is_not_recorded", lambda model: None)
    return scorer


def test_long_work_is_recorded_where_its_passes_are_many_and_short(on_a_gpu: ModelScorer) -> None:
    on_a_gpu.recorded_up_to = 5000
    on_a_gpu._record_if_many([4000, 4000, 4000])
    assert on_a_gpu.recorded is None, "three passes do not repay it"
    on_a_gpu._record_if_many([4000, 4000, 4000, 5001])
    assert on_a_gpu.recorded is None, "a GPU takes longer for these than Python does"
    on_a_gpu._record_if_many([4000] * 4)
    assert on_a_gpu.recorded is not None
    assert tuple(on_a_gpu.recorded.sizes) == LONG_SIZES
    assert on_a_gpu.said == ["scoring passes: recorded once for each size (CUDA graphs); --cuda_graphs false"]  # type: ignore[attr-defined]
    made = on_a_gpu.recorded
    on_a_gpu._record_if_many([4000] * 9)
    assert on_a_gpu.recorded is made


def test_weights_in_training_and_a_server_keep_their_passes(on_a_gpu: ModelScorer) -> None:
    on_a_gpu.recorded_up_to = 5000
    on_a_gpu.model.requires_grad_(True)
    on_a_gpu._record_if_many([4000] * 9)
    assert on_a_gpu.recorded is None
    assert on_a_gpu.said == []  # type: ignore[attr-defined]
    on_a_gpu.model.requires_grad_(False)
    assert on_a_gpu.record_passes() is not None
    on_a_gpu.recorded_up_to = 5000
    on_a_gpu._record_if_many([4000] * 9)
    assert on_a_gpu.recorded is not None
    assert tuple(on_a_gpu.recorded.sizes) == SHORT_SIZES


@pytest.mark.parametrize(("wanted", "longest"), [("auto", 32768), (True, 32768), (False, 0)])
def test_what_was_set_decides_how_long_recorded_passes_are(
    build_small: Callable[..., Any], small_config: Callable[..., Any], wanted: Any, longest: int
) -> None:
    config = small_config("llama")
    config.training.cuda_graphs = wanted
    assert build_small("llama").scorer(config).recorded_up_to == longest


@given(st.integers(1, 40_000), st.integers(1, 6000))
def test_a_recorded_pass_holds_what_is_asked_of_it(num_tokens: int, num_needed: int) -> None:
    for sizes in (SHORT_SIZES, LONG_SIZES):
        size = size_for(num_tokens, num_needed, sizes)
        fitting = [n for n in sizes if n >= num_tokens and PassShape(n).num_needed >= num_needed]
        assert size == (fitting[0] if fitting else None)
        if size is not None:
            assert size % 128 == 0, "whole blocks of the kernel"
            assert PassShape(size).num_needed % 16 == 0, "whole blocks of steps"
