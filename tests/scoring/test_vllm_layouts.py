"""Exports for vLLM: the tensors of each layout, put together in plain torch, give the checkpoint's confidences."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from surestep.calibration.calibration import Calibration
from surestep.calibration.maps import Beta, ConfidenceMap, Identity, Platt, Temperature
from surestep.cli.main import main
from surestep.config import Config
from surestep.errors import CheckpointError, StorageError
from surestep.model.head import ConfidenceHead
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.checkpoint.save import save_checkpoint
from surestep.scoring.vllm.export import export_for_vllm
from surestep.scoring.vllm.layouts import Line, classification_head, line_of, process_reward_head
from surestep.types import Node, ReasoningTree

Saved = Callable[..., Path]
TREE = ReasoningTree("2 + 2?", (Node("two and two"), Node("is 4", 0), Node("so 4", 1)))
TEXT = "2 + 2?\n\ntwo and two\n<CONFIDENCE>is 4\n<CONFIDENCE>so 4\n<CONFIDENCE>"


@pytest.fixture
def saved(build_small: Any, small_config: Callable[..., Config], tmp_path: Path) -> Saved:
    """A checkpoint of a family with the head and the calibration that a test asks for."""

    def make(
        family: str, dims: list[int], *, activation: str = "gelu", calibration: ConfidenceMap | None = None
    ) -> Path:
        config = small_config(family, lora=family != "gpt2").model_copy(deep=True)
        config.model.mlp_hidden_dims = dims
        config.model.mlp_activation = activation  # type: ignore[assignment]
        built = build_small(family, config=config)
        with torch.no_grad():
            built.model.confidence_row.normal_()
            built.model.head.output.bias.fill_(0.3)
        built.calibration = None if calibration is None else Calibration(calibration, {"own": Platt(1.5, 0.0)})
        save_checkpoint(tmp_path / "checkpoint_step_1", built, config, step=1, label_means={})
        return tmp_path / "checkpoint_step_1"

    return make


def confidences(checkpoint: Path) -> list[float]:
    loaded = load_checkpoint(checkpoint)
    (scores,) = loaded.scorer(loaded.config).score([TREE])
    return [float(value) for value in scores.confidence_N]


def hidden_at_steps(folder: Path, prefix: str) -> Tensor:
    """[S, D]: what the exported backbone gives at the `<CONFIDENCE>` tokens, read through transformers alone."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    tensors = {name.removeprefix(prefix): value for name, value in load_file(folder / "model.safetensors").items()}
    backbone = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    backbone.load_state_dict({name: value for name, value in tensors.items() if not name.startswith("score.")})
    tokens = AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt")["input_ids"]
    pooler = json.loads((folder / "pooler_config.json").read_text())
    with torch.no_grad():
        found: Tensor = backbone.eval()(tokens).last_hidden_state[tokens == pooler["step_tag_id"]]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dims", "activation", "calibration"),
    [([], "gelu", Platt(0.5, 0.25)), ([16], "relu", Temperature(2.0)), ([32], "relu", None)],
    ids=["linear", "narrower", "as-wide"],
)
def test_a_process_reward_model_of_qwen2(
    dims: list[int], activation: str, calibration: ConfidenceMap | None, saved: Saved, tmp_path: Path
) -> None:
    checkpoint = saved("qwen2_window", dims, activation=activation, calibration=calibration)
    folder = tmp_path / "vllm"
    assert main(["export", "--checkpoint", str(checkpoint), "--output_dir", str(folder), "--for", "vllm"]) == 0
    values = json.loads((folder / "config.json").read_text())
    assert (values["architectures"], values["model_type"]) == (["Qwen2ForProcessRewardModel"], "qwen2")
    tensors = load_file(folder / "model.safetensors")
    assert {name for name in tensors if not name.startswith("model.")} == {
        *("score.0.weight", "score.0.bias", "score.2.weight", "score.2.bias")
    }
    assert tensors["score.0.weight"].shape == (32, 32)
    assert tensors["score.2.weight"].shape == (2, 32)
    hidden = functional.relu(
        functional.linear(hidden_at_steps(folder, "model."), tensors["score.0.weight"], tensors["score.0.bias"])
    )
    logits = functional.linear(hidden, tensors["score.2.weight"], tensors["score.2.bias"])
    assert logits[:, 0].tolist() == [0.0, 0.0, 0.0]
    assert torch.softmax(logits, -1)[:, 1].tolist() == pytest.approx(confidences(checkpoint), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_classification_model_with_mean_and_sigma(family: str, saved: Saved, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    checkpoint = saved(family, [], calibration=Platt(0.5, 0.25))
    folder = tmp_path / "vllm"
    made = export_for_vllm(checkpoint, folder)
    assert made.layout == "classification"
    assert "process-reward needs a Qwen2 backbone" in made.lines[0]
    assert "the datasets' own calibration maps (own) are not used" in made.lines[1]
    pooler = json.loads((folder / "pooler_config.json").read_text())
    assert (pooler["tok_pooling_type"], pooler["seq_pooling_type"]) == ("STEP", "LAST")
    weight = load_file(folder / "model.safetensors")["score.weight"]
    logits = hidden_at_steps(folder, "model.") @ weight[0]
    found = torch.sigmoid((logits - pooler["logit_mean"]) / pooler["logit_sigma"])
    # Two float32 passes in other shapes; the division by sigma widens their difference (1.1e-6 was seen).
    assert found.tolist() == pytest.approx(confidences(checkpoint), abs=3e-6)
    # transformers itself loads it with every weight in its place.
    whole, said = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    torch.testing.assert_close(whole.score.weight, weight)


@pytest.mark.slow
def test_of_any_other_head_the_hidden_states_are_served_and_a_line_says_which_head_would_do(
    saved: Saved, tmp_path: Path
) -> None:
    checkpoint = saved("qwen2_window", [16, 8], calibration=Beta(1.0, 1.0, 0.1))
    folder = tmp_path / "vllm"
    made = export_for_vllm(checkpoint, folder)
    assert made.layout == "plugin"
    assert "--convert embed" in made.command
    assert json.loads((folder / "config.json").read_text())["io_processor_plugin"] == "surestep"
    assert sorted(path.name for path in (folder / "surestep").iterdir()) == [
        *("about.json", "calibration.json", "head.safetensors")
    ]
    assert [path.name for path in folder.glob("*.safetensors")] == ["model.safetensors"], "vLLM loads all of them"
    with pytest.raises(CheckpointError, match="its calibration map \\(beta\\) is no line in the logit"):
        export_for_vllm(checkpoint, tmp_path / "other", layout="process-reward")
    with pytest.raises(CheckpointError) as caught:
        export_for_vllm(checkpoint, tmp_path / "other", layout="process-reward", calibrated=False)
    assert "at most 32 ReLU units (--mlp_hidden_dims [32] --mlp_activation relu)" in str(caught.value)
    assert "this one has 2 hidden layers (16, 8 GELU units)" in str(caught.value)
    with pytest.raises(CheckpointError, match="classification needs a linear head"):
        export_for_vllm(checkpoint, tmp_path / "other", layout="classification", calibrated=False)
    assert not (tmp_path / "other").exists()
    with pytest.raises(StorageError, match="exists"):
        export_for_vllm(checkpoint, folder)


def test_a_linear_head_without_a_class_of_its_family_becomes_a_plugin(saved: Saved, tmp_path: Path) -> None:
    made = export_for_vllm(saved("gpt2", []), tmp_path / "vllm")
    assert made.layout == "plugin"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("width", [0, 1, 7, 24])
def test_every_head_that_fits_is_the_same_function(width: int, seed: int) -> None:
    """Random heads, random hidden states, random lines: logits in the layout equal slope · z + intercept."""
    torch.manual_seed(seed)
    head = ConfidenceHead(24, [width] if width else [], dropout=0.5, activation="relu").eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    line = Line(float(torch.rand(())) * 3, float(torch.randn(())))
    hidden = torch.randn(50, 24) * 3
    with torch.no_grad():
        expected = line.slope * head(hidden) + line.intercept
        logits = process_reward_head(head, line)(hidden)
        torch.testing.assert_close(logits[:, 1] - logits[:, 0], expected, rtol=1e-5, atol=1e-4)
        if not width:
            made = classification_head(head, line)
            shifted = (hidden @ made.weight_1D[0] - made.logit_mean) / made.logit_sigma
            torch.testing.assert_close(shifted, expected, rtol=1e-4, atol=1e-4)


def test_the_line_of_a_map_is_the_map() -> None:
    for made in (Identity(), Temperature(0.7), Platt(1.7, -0.4)):
        line = line_of(made)
        assert line is not None
        for confidence in (0.01, 0.3, 0.5, 0.99):
            logit = line.slope * math.log(confidence / (1 - confidence)) + line.intercept
            assert 1 / (1 + math.exp(-logit)) == pytest.approx(float(made.apply(confidence)), abs=1e-12)
    assert line_of(Beta(1.0, 1.0, 0.0)) is None


def test_another_activation_is_refused_where_a_checkpoint_is_loaded(saved: Saved) -> None:
    checkpoint = saved("llama", [16], activation="relu")
    config = load_checkpoint(checkpoint).config.model_copy(deep=True)
    config.model.mlp_activation = "gelu"
    with pytest.raises(CheckpointError, match=r"was trained with model\.mlp_activation relu, not gelu"):
        load_checkpoint(checkpoint, config=config)


def test_flags_of_vllm_need_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flag in (["--layout", "plugin"], ["--uncalibrated"]):
        assert main(["export", "--checkpoint", str(tmp_path), "--output_dir", str(tmp_path / "out"), *flag]) == 2
        assert "--layout and --uncalibrated belong to --for vllm" in capsys.readouterr().err


def test_the_command_says_layout_what_would_be_plainer_and_how_to_serve(
    saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = saved("llama", [16], calibration=Platt(0.5, 0.25))
    arguments = ["export", "--checkpoint", str(checkpoint), "--output_dir", str(tmp_path / "vllm"), "--for", "vllm"]
    assert main([*arguments, "--uncalibrated"]) == 0
    said = capsys.readouterr().out
    assert "for vLLM (float32), layout plugin" in said
    assert "its calibration is left out (--uncalibrated)" in said
    assert "process-reward needs a Qwen2 backbone (this one: llama)" in said
    assert f"next: vllm serve {tmp_path / 'vllm'} --runner pooling --convert embed --pooler-config" in said
    assert not (tmp_path / "vllm" / "surestep" / "calibration.json").exists()
