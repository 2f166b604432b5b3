"""Write a backbone of a known shape with random weights, for measuring speed and memory where no weights are.

    python benchmarks/random_backbone.py OUT --shape qwen3-4b --tokenizer FOLDER

Such a backbone knows nothing: a number of quality measured on it says nothing of the real one.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from transformers import AutoModel

from surestep.bench.backbone_shapes import SHAPES, shape_config


def write_backbone(folder: Path, shape: str, tokenizer: Path) -> None:
    """Random bf16 weights of `shape` and a copy of `tokenizer`."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = AutoModel.from_config(shape_config(shape), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    for file in tokenizer.iterdir():
        if file.name != "config.json":
            shutil.copyfile(file, folder / file.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="qwen3-4b")
    parser.add_argument("--tokenizer", type=Path, required=True)
    arguments = parser.parse_args()
    write_backbone(arguments.folder, arguments.shape, arguments.tokenizer)
