"""Compiling a model changes nothing but that model: no setting of the process, no registration, no other model."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch._dynamo.config
import torch._inductor.config
import torch.fx.experimental._config
from torch import Tensor
from transformers import AttentionInterface, GPT2Config, Qwen3Config

from model.test_fused import SHAPE, batch, make_model
from surestep.model.attention.interface import TREE_ATTENTION
from surestep.model.fast import compile_layers as compiling
from surestep.model.fast.compile_layers import compile_layers


def settings() -> dict[str, Any]:
    """Every setting of the compiler, and what transformers knows of attention."""
    found: dict[str, Any] = {}
    for module in (torch._dynamo.config, torch._inductor.config, torch.fx.experimental._config):
        found |= {f"{module.__name__}.{name}": value for name, value in module.get_config_copy().items()}
    found |= {f"attention.{name}": function for name, function in AttentionInterface._global_mapping.items()}
    return found


def record(graphs: list[torch.fx.GraphModule]) -> Any:
    def backend(graph: torch.fx.GraphModule, _: Any) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    return backend


@pytest.mark.slow
def test_compiling_and_running_changes_no_setting_and_registers_nothing() -> None:
    model = make_model(Qwen3Config(**SHAPE, head_dim=16), "all-linear")
    model.fuse_layers()
    before = settings()
    graphs: list[torch.fx.GraphModule] = []
    assert compile_layers(model.transformer, backend=record(graphs))
    assert settings() == before
    model(batch()).sum().backward()
    assert graphs, "it was compiled"
    assert settings() == before


def test_the_settings_hold_in_the_call_and_are_given_back_when_it_fails() -> None:
    seen: list[tuple[bool, bool]] = []

    def layer() -> None:
        seen.append((torch._dynamo.config.specialize_float, torch.fx.experimental._config.use_duck_shape))
        raise RuntimeError("out of memory")

    before = settings()
    with pytest.raises(RuntimeError, match="out of memory"):
        compiling._with_settings(layer)()
    assert seen == [(True, False)]
    assert settings() == before


@pytest.mark.slow
def test_a_compiled_model_and_another_do_not_disturb_each_other() -> None:
    config = Qwen3Config(**SHAPE, head_dim=16)
    first, second = make_model(config, "all-linear"), make_model(config, None)
    expected_first, expected_second = first(batch()).detach(), second(batch()).detach()
    registered = AttentionInterface._global_mapping[TREE_ATTENTION]
    compiled = copy.deepcopy(first)
    compiled.fuse_layers()
    graphs: list[torch.fx.GraphModule] = []
    compile_layers(compiled.transformer, backend=record(graphs))
    torch.testing.assert_close(compiled(batch()), expected_first, rtol=1e-5, atol=1e-5)
    number = len(graphs)
    assert torch.equal(second(batch()).detach(), expected_second)
    assert len(graphs) == number, "the other one is not compiled"
    assert AttentionInterface._global_mapping[TREE_ATTENTION] is registered
    torch.testing.assert_close(compiled(batch()), expected_first, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_attention_stays_outside_whatever_a_family_calls_it_through() -> None:
    """Layers that keep their own class reach `tree_attention` through transformers; a plan is nothing to compile."""
    model = make_model(Qwen3Config(**SHAPE, head_dim=16), None)
    expected = model(batch()).detach()
    graphs: list[torch.fx.GraphModule] = []
    assert compile_layers(model.transformer, backend=record(graphs))
    found: Tensor = model(batch())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert graphs
    assert not any("scaled_dot_product_attention" in graph.code for graph in graphs)


def test_a_transformer_of_another_layout_is_left_alone() -> None:
    model = make_model(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=200), None)
    assert not compile_layers(model.transformer)
    assert torch.isfinite(model(batch())).all()
