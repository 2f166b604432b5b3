"""`auto` adapts every attention projection, whatever a family calls them; what is adapted is said."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from backbones import FAMILIES
from scores import scores_of
from strategies import random_tree
from surestep.config import Config, LoraConfig
from surestep.errors import BackboneError, ConfigError
from surestep.model.backbones.lora import add_adapters, describe_adapters, saved_targets, target_modules
from surestep.model.saved_weights import save_weights
from surestep.scoring.build_model import BuiltModel, build_model
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.checkpoint.save import save_checkpoint
from surestep.scoring.hardware import choose_hardware

Build = Callable[..., BuiltModel]
Make = Callable[..., Config]

QKVO = {"q_proj", "k_proj", "v_proj", "o_proj"}
WITHOUT_ATTENTION = {
    "qwen3_next": {"in_proj_qkvz", "in_proj_ba", "out_proj"},
    "recurrent_gemma": {"linear_y", "linear_x", "linear_out", "gate_proj", "up_proj", "down_proj"},
    "jamba": {"in_proj", "x_proj", "dt_proj", "out_proj", "gate_proj", "up_proj", "down_proj"},
    "mamba": {"in_proj", "x_proj", "dt_proj"},
}
OTHER_NAMES = {
    "phi3": {"qkv_proj", "o_proj"},
    "phi3_longrope": {"qkv_proj", "o_proj"},
    "deepseek_v3": {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"},
    "longcat": {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"},
    "gpt2": {"c_attn", "c_proj"},
    "falcon": {"query_key_value", "dense"},
    "bloom": {"query_key_value", "dense"},
    "gpt_neox": {"query_key_value", "dense"},
    "opt": {"q_proj", "k_proj", "v_proj", "out_proj"},
    "gpt_neo": {"q_proj", "k_proj", "v_proj", "out_proj"},
    "mamba": set(),
}
DECODERS = sorted(set(FAMILIES) - {"bert"})


def adapted(family: str, targets: list[str] | str = "auto") -> tuple[dict[int, Counter[str]], str]:
    """Names of the adapted layers by the number of their decoder layer, and the line about them."""
    model = add_adapters(FAMILIES[family](), LoraConfig(use_lora=True, lora_r=2, lora_target_modules=targets))
    found: dict[int, Counter[str]] = {}
    for name, module in model.get_base_model().named_modules():
        if hasattr(module, "lora_A"):
            number = re.search(r"\.?(?:layers|h)\.(\d+)\.", name)
            assert number is not None, f"{name} is outside the decoder layers"
            found.setdefault(int(number[1]), Counter())[name.rpartition(".")[2]] += 1
    return found, describe_adapters(model)


@pytest.mark.parametrize("family", DECODERS)
def test_auto_adapts_the_attention_of_every_layer_and_else_what_peft_can(family: str) -> None:
    found, line = adapted(family)
    num_layers = 4 if family in {"qwen3_next", "jamba"} else 3 if family == "recurrent_gemma" else 2
    assert sorted(found) == list(range(num_layers)), "no layer is left out"
    attention, others = OTHER_NAMES.get(family, QKVO), WITHOUT_ATTENTION.get(family, set())
    kinds = {frozenset(names) for names in found.values()}
    assert kinds == {frozenset(kind) for kind in (attention, others) if kind}
    num_attentions = 2 if family == "longcat" else 1
    assert all(count == num_attentions for names in found.values() for count in names.values()), "one of each"
    assert line.startswith("adapters: ")
    assert all(name in line for kind in kinds for name in kind)
    assert "nothing in" not in line
    assert ("without attention" in line) == bool(others)


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "qwen2_window", "qwen3_moe"])
def test_the_usual_families_keep_the_names_that_their_adapters_were_saved_with(family: str) -> None:
    assert target_modules(FAMILIES[family](), "auto") == ["q_proj", "k_proj", "v_proj", "o_proj"]


def test_a_name_that_an_mlp_has_too_is_made_longer() -> None:
    assert target_modules(FAMILIES["gpt2"](), "auto") == ["c_attn", "attn.c_proj"]


def test_the_share_of_layers_is_said_where_a_list_adapts_some_only() -> None:
    _, line = adapted("qwen3_next", ["q_proj"])
    assert line == "adapters: q_proj in 1 of 4 layers; nothing in 3 layers"
    assert adapted("llama")[1] == "adapters: q_proj, k_proj, v_proj, o_proj in 2 of 2 layers"


def test_all_linear_is_every_layer_that_peft_can_adapt() -> None:
    assert target_modules(FAMILIES["llama"](), "all-linear") == "all-linear"
    found, _ = adapted("mamba", "all-linear")
    assert set(found[0]) == {"in_proj", "x_proj", "dt_proj"}


def test_what_peft_refuses_is_one_line() -> None:
    with pytest.raises(BackboneError, match="out_proj") as caught:
        adapted("mamba", ["in_proj", "out_proj"])
    assert "\n" not in str(caught.value)
    assert "--lora_target_modules auto" in str(caught.value)


def test_a_backbone_in_which_nothing_can_be_adapted_is_one_line() -> None:
    class Nothing(torch.nn.Module):
        config = FAMILIES["llama"]().config

    with pytest.raises(BackboneError, match="--use_lora false"):
        target_modules(Nothing(), "auto")


def test_a_layer_that_is_not_there_is_named_with_those_that_are(build_small: Build) -> None:
    with pytest.raises(ConfigError, match=r"qproj; this backbone's linear layers: .*q_proj"):
        target_modules(build_small("llama").model.transformer, ["q_proj", "qproj"])
    assert target_modules(build_small("gpt2").model.transformer, ["c_attn"]) == ["c_attn"]


def test_building_says_what_is_adapted(small_config: Make) -> None:
    built = build_model(small_config("deepseek_v3", lora=True), choose_hardware("cpu", "no"))
    (line,) = [reason for reason in built.reasons if reason.startswith("adapters:")]
    assert line.endswith("kv_a_proj_with_mqa, kv_b_proj, o_proj in 2 of 2 layers")


def test_a_saved_adapter_says_which_layers_it_adapts(build_small: Build, tmp_path: Path) -> None:
    save_weights(build_small("llama", lora=True).model, tmp_path)
    assert saved_targets(tmp_path / "adapter") == ["k_proj", "o_proj", "q_proj", "v_proj"]
    assert saved_targets(tmp_path) is None
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"target_modules": None}))
    assert saved_targets(tmp_path / "adapter") is None


def test_a_checkpoint_keeps_its_adapters_whatever_auto_means_now(
    build_small: Build, small_config: Make, tmp_path: Path
) -> None:
    """Phi-3 was once adapted in `o_proj` alone, and `auto` stood in the configuration all the same."""
    config = small_config("phi3", lora=True).model_copy(deep=True)
    config.lora.lora_target_modules = ["o_proj"]
    built = build_small("phi3", config=config)
    (expected,) = scores_of(built.scorer(config), [random_tree(0)])
    config.lora.lora_target_modules = "auto"
    save_checkpoint(tmp_path / "checkpoint_step_1", built, config, step=1, label_means={})
    loaded = load_checkpoint(tmp_path / "checkpoint_step_1")
    (found,) = scores_of(loaded.scorer(loaded.config), [random_tree(0)])
    assert found == pytest.approx(expected, abs=1e-6)
