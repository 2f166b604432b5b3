"""Every family scores packed trees as their paths alone, or says why not: within its window and beyond, alone and not.

A table of tiny random backbones (`backbones.FAMILIES`); a family that is added there is tested here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from backbones import FAMILIES, PACKED, random_model
from scores import scores_of
from strategies import encoded_tree
from surestep.config import Config
from surestep.encoding.packing import pack_trees
from surestep.errors import BackboneError
from surestep.model import confidence_model
from surestep.model.attention import interface
from surestep.model.attention.interface import register_tree_attention, window_of_layer
from surestep.model.attention.parity_probe import narrow_windows, probe_parity
from surestep.model.attention.prepared_mask import prepare_mask
from surestep.model.backbones.load import read_max_positions
from surestep.model.backbones.rotary import describe_limit, longest_path
from surestep.model.confidence_model import ConfidenceModel, Route
from surestep.scoring.build_model import BuiltModel, build_model
from surestep.scoring.hardware import choose_hardware
from surestep.scoring.model_scorer import to_batch
from surestep.types import Node, ReasoningTree

REFUSED = ["bert"]
BY_PATHS = sorted(set(FAMILIES) - set(PACKED) - set(REFUSED))
WITH_WINDOW = [
    "mistral", "gemma3", "qwen2_window", "phi3", "starcoder2", "cohere2", "olmo3", "mixtral", "phimoe", "qwen2_moe",
    "qwen3_moe",
]  # fmt: skip
Make = Callable[..., Config]


def hidden(model: ConfidenceModel, lengths: list[int], parents: list[int], route: Route) -> torch.Tensor:
    """[S, D] of two copies of a tree beside a small one."""
    trees = [encoded_tree(parents, lengths, [1.0] * len(parents), random.Random(n)) for n in range(2)]
    trees.append(encoded_tree([-1, 0], [3, 2], [1.0] * 2, random.Random(9)))
    batch = to_batch(pack_trees(trees))
    model.set_route(route)
    with torch.no_grad():
        return model._paths(batch) if route == "paths" else model._packed(prepare_mask(batch, route))


@pytest.mark.parametrize("lengths", [[2, 2, 1, 2], [6, 9, 7, 12]], ids=["within", "beyond"])
@pytest.mark.parametrize("family", PACKED)
def test_packed_is_path_by_path_within_a_window_of_8_and_beyond(family: str, lengths: list[int]) -> None:
    model = random_model(family)
    packed, alone = (hidden(model, lengths, [-1, 0, 1, 0], route) for route in ("dense", "paths"))
    assert float((packed - alone).norm() / alone.norm()) < 1e-4


@pytest.mark.parametrize("family", PACKED)
def test_the_probe_lets_a_family_through_that_follows_the_mask(family: str) -> None:
    result = probe_parity(random_model(family), dtype=torch.float32)
    assert result.agrees, result.cause


@pytest.mark.parametrize("family", BY_PATHS)
def test_the_probe_says_why_a_family_runs_one_path_per_row(family: str) -> None:
    result = probe_parity(random_model(family), dtype=torch.float32)
    assert not result.agrees
    assert result.cause
    assert "\n" not in result.cause


def test_a_family_that_hands_no_mask_on_is_named_so() -> None:
    assert "do not hand the mask" in probe_parity(random_model("stablelm"), dtype=torch.float32).cause


@pytest.mark.parametrize("family", WITH_WINDOW)
def test_a_window_that_is_not_followed_is_noticed_though_the_probe_is_shorter(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(family)
    for holder in (model.transformer.config, *model.transformer.modules()):
        if isinstance(vars(holder).get("sliding_window"), int):
            object.__setattr__(holder, "sliding_window", 100)  # wider than any path of the probe is long
    assert probe_parity(model, dtype=torch.float32).agrees
    right = interface.dense_attention
    monkeypatch.setattr(interface, "dense_attention", lambda *arguments: right(*arguments[:-1], None))
    result = probe_parity(model, dtype=torch.float32)
    assert not result.agrees
    assert "longer than its window" in result.cause


def test_chunks_of_attention_are_noticed_though_the_probe_is_shorter() -> None:
    """A chunk longer than the probe's paths: packed and alone agree on those, and differ by all of it beyond."""
    model = random_model("llama4")
    lengths = [40, 60, 30, 50]
    packed, alone = (hidden(model, lengths, [-1, 0, 1, 0], route) for route in ("dense", "paths"))
    assert float((packed - alone).norm() / alone.norm()) > 0.1
    model.set_route("dense")
    result = probe_parity(model, dtype=torch.float32)
    assert not result.agrees
    assert "longer than its window" in result.cause
    assert model.transformer.config.attention_chunk_size == 40


def test_probing_leaves_windows_as_they_were() -> None:
    model = random_model("gemma3")
    before = [getattr(layer.self_attn, "sliding_window", None) for layer in model.transformer.layers]
    probe_parity(model, dtype=torch.float32)
    assert model.transformer.config.sliding_window == 8
    assert [getattr(layer.self_attn, "sliding_window", None) for layer in model.transformer.layers] == before
    with narrow_windows(model.transformer, 4) as num_narrowed:
        assert num_narrowed == 2, "the configuration's and one layer's"
        assert model.transformer.config.sliding_window == 4
    assert model.transformer.config.sliding_window == 8


@pytest.mark.parametrize(
    ("layer", "window"),
    [
        (SimpleNamespace(sliding_window=5), 5),
        (SimpleNamespace(sliding_window=None, config=SimpleNamespace(sliding_window=7)), None),
        (SimpleNamespace(config=SimpleNamespace(sliding_window=7)), 7),
        (SimpleNamespace(config=SimpleNamespace(sliding_window=7, use_sliding_window=False)), None),
        (SimpleNamespace(layer_idx=0, config=SimpleNamespace(sliding_window=7, layer_types=["sliding_attention"])), 7),
        (SimpleNamespace(layer_idx=0, config=SimpleNamespace(sliding_window=7, layer_types=["full_attention"])), None),
        (SimpleNamespace(config=SimpleNamespace()), None),
        (SimpleNamespace(), None),
    ],
)
def test_a_window_that_is_not_passed_is_that_of_the_layer(layer: Any, window: int | None) -> None:
    assert window_of_layer(layer) == window


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"softcap": 50.0}, "softcap"),
        ({"s_aux": torch.ones(4)}, "s_aux"),
        ({"position_bias": torch.ones(1)}, "position_bias"),
        ({"never_heard_of": 1, "nor_of_this": 2}, "never_heard_of, nor_of_this"),
        ({"is_causal": False}, "is_causal=False"),
    ],
)
def test_an_argument_that_changes_attention_is_refused_by_name(arguments: dict[str, Any], named: str) -> None:
    batch = to_batch(pack_trees([encoded_tree([-1, 0], [3, 2], [1.0] * 2, random.Random(0))]))
    states = torch.randn(1, 2, 5, 4)
    call = {"surestep_mask": prepare_mask(batch, "dense"), "sliding_window": None}
    harmless = {"position_ids": batch.positions_P, "use_cache": False, "is_causal": True, "never_heard_of": None}
    expected, _ = interface.tree_attention(torch.nn.Identity(), states, states, states, None, **call)
    found, _ = interface.tree_attention(torch.nn.Identity(), states, states, states, None, **call, **harmless)
    assert torch.equal(found, expected)
    with pytest.raises(NotImplementedError, match=named.split(",")[0]) as caught:
        interface.tree_attention(torch.nn.Identity(), states, states, states, None, **call, **arguments)
    assert all(name in str(caught.value) for name in named.split(", "))


def long_tree(num_words: int) -> ReasoningTree:
    return ReasoningTree("What is one and one?", (Node("so it is " + "one and " * num_words + "so on"),))


@pytest.mark.parametrize("route", ["dense", "paths"])
@pytest.mark.parametrize("family", ["phi3_longrope", "llama_dynamic", "llama", "mistral"])
def test_a_tree_alone_and_beside_a_long_one_gets_the_same_confidences(
    family: str, route: Route, small_config: Make, build_small: Callable[..., BuiltModel]
) -> None:
    config = small_config(family).model_copy(deep=True)
    config.model.attention = route
    built = build_small(family, config=config)
    scorer = built.scorer(config)
    small = ReasoningTree("2 + 2", (Node("it is 4"), Node("it is 5")))
    (alone,) = scores_of(scorer, [small])
    together, _ = scores_of(scorer, [small, long_tree(40)])
    assert None not in alone
    assert together == pytest.approx(alone, abs=1e-6)
    (again,) = scores_of(scorer, [small])
    assert again == pytest.approx(alone, abs=1e-6), "nor does it matter what was scored before"


@pytest.mark.parametrize("family", ["phi3_longrope", "llama_dynamic"])
def test_paths_beyond_the_original_limit_are_refused_and_a_line_says_so(
    family: str, small_config: Make, backbone_folder: Callable[[str], Any]
) -> None:
    built = build_model(small_config(family), choose_hardware("cpu", "no"))
    assert built.backbone.max_positions == 64
    assert read_max_positions(str(backbone_folder(family)), revision=None) == 64
    (line,) = [reason for reason in built.reasons if reason.startswith("positions:")]
    assert "64 tokens" in line
    (scores,) = scores_of(built.scorer(small_config(family)), [long_tree(40)])
    assert scores == [None]


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3", "gpt2"])
def test_other_backbones_keep_the_limit_that_they_state(family: str) -> None:
    config = FAMILIES[family]().config.get_text_config()
    assert longest_path(config) == config.max_position_embeddings
    assert describe_limit(config) is None


def test_the_probe_refuses_scores_that_change_beside_a_long_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confidence_model, "fix_rotary_factors", lambda _: None)
    with pytest.raises(BackboneError, match="beside a long one"):
        probe_parity(random_model("phi3_longrope"), dtype=torch.float32)


def test_nothing_is_registered_twice() -> None:
    from transformers import AttentionInterface

    register_tree_attention()
    before = dict(AttentionInterface._global_mapping)
    random_model("llama")
    register_tree_attention()
    after = dict(AttentionInterface._global_mapping)
    assert after.keys() == before.keys()
    assert all(after[name] is value for name, value in before.items())
