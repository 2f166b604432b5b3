"""When passes are recorded, decided on any machine, and what replays read; their numbers are shown in tests/gpu."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from runs import Watcher, read_lines
from surestep.bench.example_work import bushy, chain, run_data
from surestep.config import Config
from surestep.config.loss import LossOptions
from surestep.model.confidence_model import Route
from surestep.training import step_data
from surestep.training.mixture import Draw
from surestep.training.passes import recorded
from surestep.training.passes.recorded import (
    _SHORT_FULL_PASS,
    _SHORT_PASS,
    _WARM_PASSES,
    RecordedPasses,
    reason_not_to_record,
    records_passes,
)
from surestep.training.processes import make_accelerator
from surestep.training.run import train
from surestep.training.step_data import TrainingPack, build_step

CPU = torch.device("cpu")


def as_on_a_gpu(built: Any) -> Any:
    """The choices a GPU would have led to; nothing is run."""
    built.model.route, built.model.is_fused = "triton", True
    return built


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What was page-locked, where there is no GPU to lock pages for."""
    found: list[Tensor] = []

    def pin_memory(tensor: Tensor) -> Tensor:
        found.append(tensor.clone())
        return found[-1]

    monkeypatch.setattr(Tensor, "pin_memory", pin_memory)
    return found


def packs_of(count: int, **options: Any) -> list[TrainingPack]:
    """Of chains and trees of random tokens, about two to a pack."""
    random = np.random.default_rng(0)
    ids = {"num_ids": 900, "confidence_id": 999}
    trees = [chain(int(n), random, **ids) for n in random.integers(100, 400, count)]
    trees += [bushy(random, **ids) for _ in range(3)]
    draws = [Draw("bench", number) for number in range(len(trees))]
    data, budget = run_data(trees).training, {"token_budget": 700, "num_examples": 9, "drawn": {}}
    return build_step(0, draws, data, {"bench": 1.0}, **budget, **options).packs


def test_short_passes_are_recorded_and_long_ones_are_not(
    build_small: Callable[..., Any], small_config: Callable[..., Config]
) -> None:
    config, built = small_config("llama", lora=True), as_on_a_gpu(build_small("llama", lora=True))
    accelerator = make_accelerator(built.hardware)
    assert _SHORT_PASS > 4 * 3.63e9 * 5120, "the documented default of a 4B model is a short pass"
    limit = int(_SHORT_PASS / (4 * built.weights_in_products))
    assert records_passes(config.training, config.lora, built, accelerator, 5120)
    assert records_passes(config.training, config.lora, built, accelerator, limit - 1)
    assert not records_passes(config.training, config.lora, built, accelerator, limit + 1)
    config.lora.base_precision = "fp8"
    assert records_passes(config.training, config.lora, built, accelerator, 2 * limit - 2), (
        "in 8 bits a pass takes half the time"
    )
    config.training.cuda_graphs = True
    assert records_passes(config.training, config.lora, built, accelerator, 100 * limit)
    config.training.cuda_graphs = False
    assert not records_passes(config.training, config.lora, built, accelerator, 5120)


def test_full_fine_tuning_is_recorded_by_the_time_of_its_longer_passes(
    build_small: Callable[..., Any], small_config: Callable[..., Config]
) -> None:
    config, built = small_config("llama"), as_on_a_gpu(build_small("llama"))
    assert not config.lora.use_lora
    accelerator = make_accelerator(built.hardware)
    limit = int(_SHORT_FULL_PASS / (6 * built.weights_in_products))
    for wanted, budget, expected in (
        ("auto", limit - 1, True),
        ("auto", limit + 1, False),
        (True, limit + 1, True),
        (False, 5120, False),
    ):
        config.training.cuda_graphs = wanted
        assert records_passes(config.training, config.lora, built, accelerator, budget) is expected


@pytest.mark.parametrize(
    ("section", "field", "value", "words"),
    [
        ("training", "gradient_checkpointing", True, "recomputed"),
        ("model", "route", "varlen", "varlen"),
        ("model", "is_fused", False, "not fused"),
        ("rope", "rope_type", "dynamic", "dynamic"),
        ("sharded", "", True, "shared out"),
    ],
)
def test_what_cannot_be_recorded_has_a_reason(
    build_small: Callable[..., Any],
    small_config: Callable[..., Config],
    section: str,
    field: str,
    value: Any,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, built = small_config("llama", lora=True), as_on_a_gpu(build_small("llama", lora=True))
    config.training.cuda_graphs = True
    accelerator = make_accelerator(built.hardware)
    assert reason_not_to_record(config.training, config.lora, built, accelerator) is None
    if section == "model":
        setattr(built.model, field, value)
    elif section == "sharded":
        monkeypatch.setattr(recorded, "is_sharded", lambda model: value)
    elif section == "rope":
        built.model.transformer.config.rope_parameters = {"rope_type": value}
    else:
        setattr(getattr(config, section), field, value)
    reason = reason_not_to_record(config.training, config.lora, built, accelerator)
    assert reason is not None
    assert words in reason
    assert not records_passes(config.training, config.lora, built, accelerator, 5120)


def test_a_pack_to_be_recorded_is_copied_at_once_and_is_the_same(
    locked: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[Tensor] = []
    monkeypatch.setattr(step_data, "to_device", lambda tensor, device: copied.append(tensor) or tensor.clone())
    plain = packs_of(8, route="triton", rounded=True)
    assert locked == []
    pieces = packs_of(8, route="triton", rounded=True, pin=True)
    assert len(plain) == len(pieces) == len(locked) > 3
    for expected, pack in zip(plain, pieces, strict=True):
        moved = pack.to(CPU)
        assert copied[-1] is pack.piece
        assert any(pack.piece is piece for piece in locked)
        for found in (pack, moved):
            assert found.num_tokens == expected.num_tokens
            assert found.piece is not None
            for mine, theirs in zip(found.tensors(), expected.tensors(), strict=True):
                assert mine.dtype == theirs.dtype
                assert torch.equal(mine, theirs)
                # Its own place in the piece, where kernels read 16 bytes at once.
                start = mine.data_ptr() - found.piece.data_ptr()
                assert 0 <= start <= len(found.piece) - mine.nbytes
                assert start % 16 == 0
        assert moved.piece is not pack.piece
    assert len(copied) == len(pieces)


@pytest.mark.parametrize(("route", "rounded", "compares"), [("triton", False, False), ("dense", False, True)])
def test_other_packs_are_page_locked_in_all_their_parts(
    locked: list[Tensor], route: Route, rounded: bool, compares: bool
) -> None:
    options = LossOptions(pairwise_weight=1.0 if compares else 0.0)
    for pack in packs_of(8, route=route, rounded=rounded, pin=True, options=options):
        assert pack.piece is None
        batch = pack.batch.batch  # type: ignore[union-attr]
        parts = [getattr(batch, part.name) for part in fields(batch)]
        parts += [pack.labels_S, pack.weights_S, *(pack.batch.kernel_mask or ())]  # type: ignore[union-attr]
        if compares:
            assert pack.comparisons is not None
            parts += [getattr(pack.comparisons, part.name) for part in fields(pack.comparisons)]
        tensors = [part for part in parts if isinstance(part, Tensor)]
        assert len(tensors) >= 7
        assert all(any(tensor is one for one in locked) for tensor in tensors)


def test_replays_read_the_pack_at_hand(locked: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the graph, which does again what was recorded."""

    class Graph:
        def __init__(self, run: Callable[[], Tensor]) -> None:
            self._run, self.loss = run, torch.zeros(())

        def replay(self) -> None:
            self.loss.copy_(self._run())

    def capture(run: Callable[[], Tensor], pool: Any) -> tuple[Graph, Tensor]:
        graph = Graph(run)
        return graph, graph.loss

    def loss(pack: TrainingPack) -> Tensor:
        """Of everything in the pack."""
        return torch.stack([(i + 1) * t.double().cos().sum() for i, t in enumerate(pack.tensors())]).sum().float()

    monkeypatch.setattr(recorded, "capture", capture)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    passes = RecordedPasses(loss, [], pytest.fail)
    packs = packs_of(20, route="triton", rounded=True, pin=True)
    for pack in packs + packs:
        on_device = pack._over(pack.piece.clone())  # type: ignore[union-attr]
        assert float(passes(on_device)) == float(loss(pack))
    assert 1 < passes.num_shapes < len(packs) - _WARM_PASSES, "some were recorded, and others replayed"


@pytest.mark.slow
def test_asked_for_and_not_to_be_had_is_said(run_config: Callable[..., Config]) -> None:
    config = run_config()
    config.training.cuda_graphs = True
    train(config, Watcher())
    notes = [line["text"] for line in read_lines(config.experiment_dir / "metrics.jsonl") if line["kind"] == "note"]
    assert any("not recorded, though --cuda_graphs is true" in note for note in notes)
