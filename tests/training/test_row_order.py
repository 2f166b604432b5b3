"""Rows in another order train to the same weights."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runs import Watcher
from surestep.config import Config
from surestep.encoding.formatter import Formatter
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.files import sha256_of
from surestep.scoring.examples_in_use import load_examples
from surestep.training.run import train


def shuffled(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    before = list(lines)
    random.Random(0).shuffle(lines)
    assert lines != before
    path.write_text("".join(lines))


@pytest.mark.slow
def test_shuffled_files_give_the_same_store_losses_and_weights(
    run_config: Callable[..., Config], run_files: Path, tmp_path: Path
) -> None:
    for name in ("train", "validation"):
        shutil.copy(run_files / f"{name}.jsonl", tmp_path / f"{name}.jsonl")
    found = []
    for name in ("before", "after"):
        config = run_config(experiment_name=name)
        config.data.own_train, config.data.own_validation = tmp_path / "train.jsonl", tmp_path / "validation.jsonl"
        config.data.max_train_samples = 5
        watcher = Watcher()
        result = train(config, watcher).result
        examples = load_examples(
            config.data,
            load_tokenizer("builtin:tiny"),
            Formatter(),
            seed=config.training.seed,
            max_length=config.data.max_length,
        )
        (chosen,) = examples.training.values()
        names = ("tokens", "node_length", "parent", "label", "problem_key", "text_hash", "step", "num_ratings")
        stored = {
            (key, part): (split.store.folder / f"{part}.bin").read_bytes()
            for key, split in [*examples.splits.items(), *examples.validation.items()]
            for part in names
        }
        weights = {
            path.name: sha256_of(path) for path in result.last.rglob("*.safetensors") if path.parent == result.last
        }
        found.append((stored, np.asarray(chosen.chosen).tolist(), weights, result.best_record["value"]))
        for split in ("train", "validation"):
            shuffled(tmp_path / f"{split}.jsonl")
    assert weights
    assert found[0] == found[1]
