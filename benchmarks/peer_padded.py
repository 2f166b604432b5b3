"""The peer in scoring speed, and in training on a CPU: batches of rows padded to their longest, plain transformers.

    python benchmarks/peer_padded.py score --shape qwen3-4b --batch 8
    python benchmarks/peer_padded.py train --shape small --batch 8

The lengths are those of `surestep bench`. Scoring runs the transformer once over each batch and reads one value at
the end of every step; training is LoRA as in `surestep bench train`, eager, with the same AdamW. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModel

from surestep.bench.backbone_shapes import SHAPES, shape_config
from surestep.bench.example_work import chain_lengths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=("train", "score"))
    parser.add_argument("--shape", choices=sorted(SHAPES), default="small")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    on_gpu = arguments.device == "cuda" or (arguments.device == "auto" and torch.cuda.is_available())
    device = torch.device("cuda" if on_gpu else "cpu")
    dtype = torch.bfloat16 if on_gpu else torch.float32
    with device:
        model = AutoModel.from_config(shape_config(arguments.shape), dtype=dtype)
    head = torch.nn.Linear(SHAPES[arguments.shape]["hidden_size"], 1, device=device)
    if arguments.work == "train":
        targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, lora_dropout=0.1, target_modules=targets))
    trained = [p for p in [*model.parameters(), *head.parameters()] if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=on_gpu)
    lengths = chain_lengths(arguments.examples)
    batches = [lengths[i : i + arguments.batch] for i in range(0, len(lengths), arguments.batch)]

    def values(batch: list[int]) -> torch.Tensor:
        longest = max(batch)
        tokens = torch.randint(0, SHAPES[arguments.shape]["vocab_size"], (len(batch), longest), device=device)
        mask = (torch.arange(longest)[None] < torch.tensor(batch)[:, None]).to(device)
        with torch.autocast(device.type, dtype=dtype, enabled=on_gpu):
            hidden = model(input_ids=tokens, attention_mask=mask.long(), use_cache=False).last_hidden_state
        steps = mask & (torch.arange(longest, device=device)[None] % 30 == 29)
        return head(hidden[steps].float()).squeeze(-1)

    def score() -> None:
        with torch.inference_mode():
            for batch in batches:
                torch.sigmoid(values(batch)).cpu()

    def train() -> None:
        for batch in batches:
            logits = values(batch)
            torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits)).backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()

    work: Callable[[], None] = train if arguments.work == "train" else score
    times = []
    for _ in range(arguments.repeats + 1):
        start = time.perf_counter()
        work()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    median = float(np.median(times[1:]))
    print(
        json.dumps(
            {
                "peer": f"padded loop, {arguments.work}",
                "batch": arguments.batch,
                "tokens_per_s": sum(lengths) / median,
                "padding": 1 - sum(lengths) / sum(max(batch) * len(batch) for batch in batches),
                "times_s": times[1:],
                "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if on_gpu else None,
            }
        )
    )


if __name__ == "__main__":
    main()
