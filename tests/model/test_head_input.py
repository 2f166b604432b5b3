"""What the head reads: against its formula written out, and what it costs nothing where it is off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import encoded_trees
from surestep.config.model import HeadPooling
from surestep.encoding.packing import pack_trees
from surestep.errors import BackboneError, CheckpointError, ConfigError, DeviceError
from surestep.model.head import ConfidenceHead
from surestep.model.head_input import HeadInput
from surestep.scoring.build_model import BuiltModel, use_fp8
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.checkpoint.save import save_checkpoint
from surestep.scoring.hardware import choose_hardware
from surestep.scoring.recorded_passes import reason_model_is_not_recorded
from surestep.scoring.vllm.export import export_for_vllm
from surestep.training.optimizer.parameter_groups import is_of_head


def written_out(
    states: list[torch.Tensor], weights: list[float], gamma: float, pooling: HeadPooling, start: int, end: int
) -> torch.Tensor:
    """What is read of the step with the tokens `start` to `end`, in float64 and without our code."""
    shares = torch.tensor(weights, dtype=torch.float64).exp()
    shares = shares / shares.sum()
    mixed = []
    for token in range(start, end):
        rows = [state[token].double() for state in states]
        rows = [row / torch.sqrt((row**2).mean() + 1e-6) for row in rows]
        mixed.append(gamma * sum(float(share) * row for share, row in zip(shares, rows, strict=True)))
    return mixed[-1] if pooling == "confidence" else torch.cat([mixed[-1], torch.stack(mixed).mean(0)])


@given(
    trees=st.lists(encoded_trees(max_nodes=6), min_size=1, max_size=3),
    pooling=st.sampled_from(["confidence", "mean"]),
    weights=st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    seed=st.integers(0, 99),
)
def test_a_mix_and_a_mean_are_their_formulas_step_by_step(trees: Any, pooling: Any, weights: Any, seed: int) -> None:
    pack = pack_trees(trees, every_step=True)
    states = [
        torch.randn(pack.num_tokens, 5, generator=torch.Generator().manual_seed(seed + i)) * 10**i for i in range(3)
    ]
    read = HeadInput("mix", pooling, num_states=3)
    with torch.no_grad():
        read.weights.copy_(torch.tensor(weights))
        read.gamma.fill_(1.5)
    last, length = torch.tensor(pack.label_index_S).long(), torch.tensor(pack.length_S).long()
    found = read(states, last, length)
    for row, end, count in zip(found, last.tolist(), length.tolist(), strict=True):
        expected = written_out(states, read.weights.tolist(), 1.5, pooling, end - count + 1, end + 1)
        torch.testing.assert_close(row.double(), expected, rtol=1e-5, atol=1e-5)
    starts = [tree.offsets[:-1][tree.source_N >= 0] for tree in trees]
    assert (last - length + 1).tolist() == [
        int(start) + int(offset) for own, offset in zip(starts, pack.tree_starts, strict=False) for start in own
    ]


@pytest.mark.parametrize("pooling", ["confidence", "mean"])
def test_gradients_of_a_mix_are_right(pooling: HeadPooling) -> None:
    read = HeadInput("mix", pooling, num_states=2).double()
    states = [torch.randn(6, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    last, length = torch.tensor([2, 5]), torch.tensor([3, 2])

    def run(weights: torch.Tensor, gamma: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
        replaced = {"weights": weights, "gamma": gamma}
        found: torch.Tensor = torch.func.functional_call(read, replaced, (list(given), last, length))
        return found

    # float32 inside: steps of the numerical gradient are as large as that allows.
    weights, gamma = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True), read.gamma
    assert torch.autograd.gradcheck(run, (weights, gamma, *states), eps=1e-2, atol=5e-3, rtol=5e-2)


def test_a_plain_head_has_no_weight_more_and_reads_as_before() -> None:
    torch.manual_seed(0)
    head = ConfidenceHead(8, [4], dropout=0.0)
    assert sorted(head.state_dict()) == ["hidden.0.bias", "hidden.0.weight", "output.bias", "output.weight"]
    assert head.input.is_plain
    assert is_of_head("head.input.weights")


def test_another_number_of_layers_is_refused_by_name() -> None:
    with pytest.raises(BackboneError, match="--head_layers last"):
        HeadInput("mix", num_states=3)([torch.ones(2, 2)] * 2, torch.tensor([1]), None)


@pytest.fixture(scope="module")
def mixed(build_small: Callable[..., BuiltModel]) -> BuiltModel:
    return build_small("llama, mix, pooled")


def test_what_does_not_work_with_it_is_refused_or_left_off_by_name(
    mixed: BuiltModel, small_config: Any, tmp_path: Path
) -> None:
    assert "head_layers mix" in str(reason_model_is_not_recorded(mixed.model))
    assert "head_layers mix" in str(mixed.compile_if_worth(True, 1e12))
    assert any("layers not fused" in reason for reason in mixed.reasons)
    with pytest.raises(DeviceError, match="head_layers mix"):
        use_fp8(mixed.model, mixed.hardware, setting="eval.scoring_weights", otherwise="merged")
    config = small_config("llama, mix, pooled", lora=True)
    config.lora.base_precision = "fp8"
    with pytest.raises(ConfigError, match="head_layers"):
        config.check()
    config = small_config("llama, mix, pooled")
    folder = tmp_path / "checkpoint_step_1"
    save_checkpoint(folder, mixed, config, step=1, label_means={"a": 0.5})
    with pytest.raises(CheckpointError, match="vLLM"):
        export_for_vllm(folder, tmp_path / "vllm")
    loaded = load_checkpoint(folder)
    assert loaded.built.model.head.input.described() == "model.head_layers mix, model.head_pooling mean"
    for name, value in (("head_layers", "last"), ("head_pooling", "confidence")):
        other = small_config("llama, mix, pooled")
        setattr(other.model, name, value)
        with pytest.raises(CheckpointError, match=f"use --{name}"):
            load_checkpoint(folder, config=other, hardware=choose_hardware("cpu", "no"))
