"""Write a backbone of a known shape with random weights, for measuring speed and memory where no weights are.

    python benchmarks/random_backbone.py OUT --shape qwen3-4b --tokenizer FOLDER

Such a backbone knows nothing: a number of quality measured on it says nothing of the real one.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from transformers import AutoModel, Qwen3Config

SHAPES = {
    # Qwen/Qwen3-4B-Instruct-2507's config.json
    "qwen3-4b": {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "max_position_embeddings": 262144,
        "rope_theta": 5000000.0,
        "tie_word_embeddings": True,
    },
    "small": {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "vocab_size": 151936,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
    },
}


def write_backbone(folder: Path, shape: str, tokenizer: Path) -> None:
    """Random bf16 weights of `shape` and a copy of `tokenizer`."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = AutoModel.from_config(Qwen3Config(**SHAPES[shape]), dtype=torch.bfloat16)
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
