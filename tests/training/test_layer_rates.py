"""Learning rates layer by layer: each weight's own, as a plain loop of one optimiser a weight has it."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from runs import Watcher, hashes, read_lines
from surestep.config import Config, TrainingConfig
from surestep.errors import BackboneError
from surestep.training.optimizer.parameter_groups import build_optimizer, parameter_groups, set_learning_rate
from surestep.training.run import train

LAYER = re.compile(r"\.(?:layers|h)\.(\d+)\.")


def expected_peak(name: str, num_layers: int, config: TrainingConfig) -> float:
    """From the name alone, as a reader of the configuration would say it."""
    if name.startswith(("head.", "confidence_row")):
        return config.head_learning_rate or config.learning_rate
    if found := LAYER.search(name):
        return config.learning_rate * config.layer_learning_rate_decay ** (num_layers - 1 - int(found[1]))
    is_embedding = "embed" in name or ".wte." in name or ".wpe." in name
    return config.learning_rate * config.layer_learning_rate_decay ** (num_layers if is_embedding else 0)


@given(
    family=st.sampled_from(["llama", "gpt2"]),
    lora=st.booleans(),
    decay=st.floats(0.05, 1.0, exclude_min=True),
    head=st.none() | st.floats(1e-6, 1e-2),
)
def test_every_trained_weight_has_the_rate_of_its_layer(build_small, family, lora, decay, head) -> None:
    if (family, lora) not in MODELS:
        MODELS[family, lora] = build_small(family, lora=lora).model
    model = MODELS[family, lora]
    config = TrainingConfig(learning_rate=1e-3, head_learning_rate=head, layer_learning_rate_decay=decay)
    num_layers = model.transformer.config.num_hidden_layers
    rate_of = {id(p): group.peak for group, found in parameter_groups(model, config).items() for p in found}
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert rate_of.keys() == {id(p) for p in trained.values()}
    for name, parameter in trained.items():
        assert rate_of[id(parameter)] == pytest.approx(expected_peak(name, num_layers, config), rel=1e-12), name


MODELS: dict[tuple[str, bool], Any] = {}


def test_steps_are_those_of_a_plain_optimiser_for_each_weight(build_small: Callable[..., Any]) -> None:
    """In float64, with gradients of any size: the formula of AdamW written out, a weight at a time."""
    config = TrainingConfig(
        learning_rate=1e-3, head_learning_rate=3e-3, layer_learning_rate_decay=0.5, weight_decay=0.1
    )
    model = build_small("llama").model.double()
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    num_layers = model.transformer.config.num_hidden_layers
    plain = {name: [p.detach().clone(), torch.zeros_like(p), torch.zeros_like(p)] for name, p in weights.items()}
    optimizer = build_optimizer(model, config)
    generator = torch.Generator().manual_seed(1)
    for step in range(1, 4):
        factor = step / 3
        set_learning_rate(optimizer, factor)
        for name, parameter in weights.items():
            gradient = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.grad = gradient
            weight, first, second = plain[name]
            rate = expected_peak(name, num_layers, config) * factor
            weight.mul_(1 - rate * (0.1 if parameter.ndim > 1 else 0.0))
            first.mul_(0.9).add_(0.1 * gradient)
            second.mul_(0.999).add_(0.001 * gradient**2)
            weight.sub_(rate * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8))
        optimizer.step()
        for name, parameter in weights.items():
            torch.testing.assert_close(parameter.detach(), plain[name][0], rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.slow
def test_a_decay_of_one_is_no_decay_and_every_group_is_logged(run_config: Callable[..., Config]) -> None:
    found = {}
    for name, decay in (("off", None), ("one", 1.0), ("half", 0.5)):
        config = run_config(
            experiment_name=name, lora=False, max_steps=3, warmup_steps=2, layer_learning_rate_decay=decay
        )
        train(config, Watcher())
        checkpoint = config.experiment_dir / "checkpoint_step_3"
        weights = {key: value for key, value in hashes(checkpoint).items() if key.endswith("model.safetensors")}
        lines = [line for line in read_lines(config.experiment_dir / "metrics.jsonl") if line["kind"] == "step"]
        found[name] = weights, lines[0]["learning_rates"]
    assert found["off"][0] == found["one"][0] != found["half"][0]
    assert found["off"][1] == {"backbone": 5e-4, "head": 5e-4}
    assert found["half"][1] == pytest.approx(
        {"backbone": 5e-4, "backbone_layer_1": 2.5e-4, "backbone_embeddings": 1.25e-4, "head": 5e-4}
    )


def test_a_backbone_without_a_stack_of_layers_is_refused() -> None:
    backbone = nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 4))
    model: Any = SimpleNamespace(transformer=backbone, named_parameters=backbone.named_parameters)
    with pytest.raises(BackboneError, match="cannot be told apart: leave it out"):
        parameter_groups(
            SimpleNamespace(**vars(model), embedding=backbone[0]), TrainingConfig(layer_learning_rate_decay=0.9)
        )
