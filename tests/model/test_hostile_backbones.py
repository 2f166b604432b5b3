"""A backbone's folder that somebody made to harm: one line, soon, before anything of what it asks for is built."""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hostile import many_tensors
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.errors import BackboneError, SurestepError
from surestep.model.backbones.load import load_backbone, read_max_positions


def folder_with(original: Path, to: Path, change: Callable[[Path], object]) -> Path:
    folder = Path(shutil.copytree(original, to))
    change(folder)
    return folder


def asks_for(**fields: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change


def refusal(folder: Path) -> str:
    begun = time.monotonic()
    with pytest.raises(BackboneError) as caught:
        load_backbone(str(folder), revision=None, dtype=torch.float32)
    assert time.monotonic() - begun < 10
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"num_hidden_layers": 1_000_000},
        {"hidden_size": 1_000_000},
        {"intermediate_size": 10**9},
        {"vocab_size": 10**9},
        {"num_attention_heads": 10**6},
        {"head_dim": -1},
        {"num_hidden_layers": "<script>"},
        {"text_config": {"num_hidden_layers": 10**6}},
    ],
    ids=str,
)
def test_what_the_weights_do_not_hold_is_not_built(
    fields: dict[str, Any], backbone_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = folder_with(backbone_folder("llama"), tmp_path / "b", asks_for(**fields))
    assert "its weights allow at most" in refusal(folder)


def test_a_header_of_600_000_tensors_is_not_read(backbone_folder: Callable[[str], Path], tmp_path: Path) -> None:
    header = many_tensors(600_000)
    folder = folder_with(
        backbone_folder("llama"),
        tmp_path / "b",
        lambda folder: (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header),
    )
    assert "SURESTEP_MAX_TENSOR" in refusal(folder)


@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "extra.safetensors", "vocab.json"],
)
def test_a_pipe_in_its_folder_makes_nobody_wait(
    name: str, backbone_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = folder_with(backbone_folder("llama"), tmp_path / "b", lambda folder: (folder / name).unlink(True))
    os.mkfifo(folder / name)
    begun = time.monotonic()
    for use in (
        lambda: load_tokenizer(str(folder)),
        lambda: read_max_positions(str(folder), revision=None),
        lambda: load_backbone(str(folder), revision=None, dtype=torch.float32),
    ):
        try:
            use()
        except SurestepError:
            continue
    assert time.monotonic() - begun < 10
