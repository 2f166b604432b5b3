"""A merged export scores as the checkpoint that it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from scores import scores_of
from surestep.cli.main import main
from surestep.config import Config, get_default_config, get_lora_config
from surestep.errors import StorageError
from surestep.scoring.build_model import build_model
from surestep.scoring.checkpoint.export import export_merged
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.checkpoint.save import save_checkpoint
from surestep.scoring.hardware import choose_hardware
from surestep.types import Node, ReasoningTree

TREE = ReasoningTree(
    "what is 2 + 2?", (Node("two and two"), Node("is 4", 0), Node("is 5", 0), Node("so it is 4", 1), Node("hm"))
)


def _checkpoint(config: Config, folder: Path) -> Path:
    """A checkpoint whose every trained weight differs from its start, adapters included."""
    built = build_model(config, choose_hardware("cpu", "no"))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in built.model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    path = folder / "checkpoint_step_1"
    save_checkpoint(path, built, config, step=1, label_means={"a": 0.5})
    return path


@pytest.mark.slow
@pytest.mark.parametrize("head", [{}, {"head_layers": "mix", "head_pooling": "mean"}], ids=["plain", "mix"])
@pytest.mark.parametrize("preset", [get_lora_config, get_default_config], ids=["lora", "full"])
def test_a_merged_export_agrees(preset: Any, head: dict[str, Any], tmp_path: Path) -> None:
    config = preset()
    for name, value in head.items():
        setattr(config.model, name, value)
    config.model.backbone = "builtin:tiny"
    config.training.device = "cpu"
    checkpoint = _checkpoint(config, tmp_path)
    loaded = load_checkpoint(checkpoint)
    before = scores_of(loaded.built.scorer(config), [TREE])[0]
    exported = tmp_path / "exported"
    assert main(["export", "--checkpoint", str(checkpoint), "--output_dir", str(exported)]) == 0
    again = load_checkpoint(exported)
    assert again.manifest.kind == "full"
    after = scores_of(again.built.scorer(again.config), [TREE])[0]
    assert before == pytest.approx(after, abs=1e-5)
    # The row stands in the plain backbone too, so programs that know no Surestep read the token right.
    row = again.built.model.embedding.weight[again.manifest.confidence_id]
    torch.testing.assert_close(row, loaded.built.model.confidence_row)


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    config = get_lora_config()
    config.model.backbone = "builtin:tiny"
    config.training.device = "cpu"
    checkpoint = _checkpoint(config, tmp_path)
    with pytest.raises(StorageError, match="exists"):
        export_merged(checkpoint, checkpoint)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "gpt2"])
def test_the_backbone_of_an_export_needs_nothing_else(family: str, build_small: Any, tmp_path: Path) -> None:
    """`AutoModel` and `AutoTokenizer` give the hidden states from which the head makes the checkpoint's confidences."""
    from transformers import AutoModel, AutoTokenizer

    built = build_small(family, lora=family == "llama")
    config = get_lora_config() if family == "llama" else get_default_config()
    config.model.backbone, config.training.device = built.backbone.name, "cpu"
    config.model.mlp_hidden_dims, config.lora.lora_r = [16], 4
    with torch.no_grad():
        built.model.confidence_row.normal_()
    save_checkpoint(tmp_path / "checkpoint_step_1", built, config, step=1, label_means={})
    export_merged(tmp_path / "checkpoint_step_1", tmp_path / "exported")

    folder = tmp_path / "exported" / "backbone"
    tokenizer, backbone = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    text = "2 + 2?\n\ntwo and two\n<CONFIDENCE>is 4\n<CONFIDENCE>"
    tokens = tokenizer(text, return_tensors="pt")["input_ids"]
    tree = ReasoningTree("2 + 2?", (Node("two and two"), Node("is 4", 0)))
    loaded = load_checkpoint(tmp_path / "exported")
    with torch.no_grad():
        hidden = backbone.eval()(tokens).last_hidden_state[tokens == loaded.manifest.confidence_id]
        confidences = torch.sigmoid(loaded.built.model.head(hidden))
    assert confidences.tolist() == pytest.approx(scores_of(loaded.built.scorer(loaded.config), [tree])[0], abs=1e-5)
