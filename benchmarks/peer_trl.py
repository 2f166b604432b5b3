"""The peer in training speed: TRL 1.13's `PRMTrainer` (removed in later versions) on the lengths of `surestep bench`.

    pip install trl==1.13.0 datasets
    python benchmarks/peer_trl.py --shape qwen3-4b --batch 8 16 32 --examples 192

Rows of token ids of the same lengths, the same backbone shape, the same LoRA (q, k, v, o; r 16, alpha 32, dropout
0.1), bf16. Prints one JSON line a batch size: real tokens/s of the second epoch over the same rows.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time

import numpy as np
import torch
from peft import LoraConfig
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerFast, TrainerCallback
from trl.experimental.prm import PRMConfig, PRMTrainer

from surestep.bench.backbone_shapes import SHAPES, shape_config
from surestep.bench.example_work import bushy, chain_lengths, paths_of


class Clock(TrainerCallback):
    """When each optimiser step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


class Rows(torch.utils.data.Dataset[dict[str, list[int]]]):
    """Tokenised rows, which the trainer takes as they are."""

    column_names = ("input_ids", "labels")

    def __init__(self, ids: list[list[int]], labels: list[list[int]]) -> None:
        self.ids, self.labels = ids, labels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> dict[str, list[int]]:
        return {"input_ids": self.ids[row], "labels": self.labels[row]}


def tokenizer() -> PreTrainedTokenizerFast:
    """Something that pads: the ids are given."""
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({"<pad>": 0, "a": 1}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="small")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--batch", type=int, nargs="+", default=[8])
    parser.add_argument("--examples", type=int, default=192, help="rows to train on, whatever the batch")
    parser.add_argument("--checkpointing", action="store_true", help="as TRL does by default")
    parser.add_argument("--sorted", action="store_true", help="batches of rows of similar length")
    parser.add_argument("--trees", action="store_true", help="every path of PRM800K-like trees, one label a row")
    arguments = parser.parse_args()
    for batch in arguments.batch:
        print(json.dumps(measure(arguments, batch)), flush=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def measure(arguments: argparse.Namespace, batch: int) -> dict[str, object]:
    """Two epochs over the examples in batches of `batch`; the second is timed."""
    random = np.random.default_rng(0)
    vocabulary = SHAPES[arguments.shape]["vocab_size"]
    count = arguments.examples // batch * batch  # whole batches, so that an epoch is every row once
    if arguments.trees:
        # A path of a tree is one row, and carries the labels of its last step only: each label is learned once.
        rows = [
            path for _ in range(count // 8 + 1) for path in paths_of(bushy(random, num_ids=vocabulary, confidence_id=1))
        ]
        random.shuffle(rows)
        lengths = [row.num_tokens for row in rows[:count]]
        labels = [[-100] * (length - 1) + [int(random.integers(2))] for length in lengths]
    else:
        lengths = chain_lengths(count)
        labels = [
            [int(random.integers(2)) if place % 30 == 29 else -100 for place in range(length)] for length in lengths
        ]
    data = Rows([random.integers(2, vocabulary, n).tolist() for n in lengths], labels)
    on_gpu = arguments.device == "cuda" or (arguments.device == "auto" and torch.cuda.is_available())
    with torch.device("cuda" if on_gpu else "cpu"):
        config = shape_config(arguments.shape, num_labels=2, pad_token_id=0)
        model = AutoModelForTokenClassification.from_config(config, dtype=torch.bfloat16 if on_gpu else torch.float32)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = PRMTrainer(
            model=model,
            args=PRMConfig(
                output_dir=folder,
                per_device_train_batch_size=batch,
                max_steps=2 * (arguments.examples // batch),
                gradient_checkpointing=arguments.checkpointing,
                bf16=on_gpu,
                use_cpu=not on_gpu,
                learning_rate=1e-4,
                report_to=[],
                save_strategy="no",
                logging_steps=1000,
                disable_tqdm=True,
                max_length=2048,
                disable_dropout=False,
                train_sampling_strategy="group_by_length" if arguments.sorted else "random",
            ),
            processing_class=tokenizer(),
            train_dataset=data,
            callbacks=[clock],
            peft_config=LoraConfig(
                task_type="TOKEN_CLS",
                r=16,
                lora_alpha=32,
                lora_dropout=0.1,
                target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
            ),
        )
        trainer.train()
    half = len(clock.ends) // 2
    elapsed = clock.ends[-1] - clock.ends[half - 1]
    return {
        "peer": "trl 1.13 PRMTrainer" + (", trees as rows" if arguments.trees else ""),
        "batch": batch,
        "checkpointing": arguments.checkpointing,
        "sorted": arguments.sorted,
        "tokens_per_s": sum(lengths) / elapsed,
        "labels_per_s": count / elapsed if arguments.trees else None,
        "median_step_s": float(np.median(np.diff(clock.ends[half - 1 :]))),
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if on_gpu else None,
        "mean_length": float(np.mean(lengths)),
    }


if __name__ == "__main__":
    main()
