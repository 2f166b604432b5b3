"""Which problems are scored during training, and which validation is the best."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scores import scores_of
from strategies import random_tree
from surestep.config import TrainingConfig, get_default_config
from surestep.encoding.token_store import write_store
from surestep.scoring.stored_split import StoredSplit
from surestep.training.events.validate import choose_subsets, is_better, validate


@pytest.fixture(scope="module")
def built(build_small: Callable[..., Any]) -> Any:
    return build_small("llama")


@pytest.fixture(scope="module")
def stores(built: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, StoredSplit]:
    folder: Path = tmp_path_factory.mktemp("stores")
    found = {}
    for name, count in (("large", 60), ("small", 6)):
        trees = [tree for seed in range(200) if (tree := random_tree(seed, num_nodes=5)).num_labels][:count]
        store = write_store(folder / name, trees, built.tokenizer, built.formatter, notes={})
        found[name] = StoredSplit(name, "validation", store)
    return found


def chosen(stores: dict[str, StoredSplit], *, tokens_per_step: float = 100.0, **settings: Any) -> dict[str, list[int]]:
    config = get_default_config()
    config.training = TrainingConfig(**settings)
    return {
        name: [] if subset.chosen is None else subset.chosen.tolist()
        for name, subset in choose_subsets(stores, config, tokens_per_step=tokens_per_step).items()
    }


def test_the_subset_is_the_same_every_time_and_another_for_another_seed(stores: dict[str, StoredSplit]) -> None:
    first = chosen(stores, validation_samples=10)
    assert first == chosen(stores, validation_samples=10, max_steps=5, learning_rate=0.1)
    assert first["large"] != chosen(stores, validation_samples=10, seed=1)["large"]
    assert len(set(first["large"])) == 10
    assert first["small"] == list(range(6))


def test_unset_the_subset_takes_about_a_tenth_of_the_work(stores: dict[str, StoredSplit]) -> None:
    mean_tokens = stores["large"].num_tokens / 60
    # 100 steps of t tokens, a tenth, three forward passes for one training pass, two datasets: 15 t tokens each.
    tokens_per_step = 40 * mean_tokens / 15
    assert len(chosen(stores, tokens_per_step=tokens_per_step)["large"]) in {39, 40}
    assert len(chosen(stores, tokens_per_step=1.0)["large"]) == 16  # never fewer than tell something
    assert len(chosen(stores, tokens_per_step=1e9)["large"]) == 60


def test_the_value_is_the_plain_mean_over_datasets_whatever_their_size(
    built: Any, stores: dict[str, StoredSplit]
) -> None:
    scorer = built.scorer(get_default_config())
    record = validate(scorer, stores, step=3, metric="nll", best=None)
    nll = {}
    for name, store in stores.items():
        losses = []
        for tree, confidences in zip(store, scores_of(scorer, store), strict=True):
            for node, p in zip(tree.nodes, confidences, strict=True):
                if (y := node.confidence) is not None:
                    losses.append(-(y * math.log(p) + (1 - y) * math.log(1 - p)))
        nll[name] = float(np.mean(losses))
        assert len(losses) == store.num_labels
        assert record.per_dataset[name]["nll"] == pytest.approx(nll[name], rel=1e-6)
    assert record.value == record.mean["nll"] == pytest.approx((nll["large"] + nll["small"]) / 2, rel=1e-6)
    assert record.is_best
    assert not validate(scorer, stores, step=4, metric="nll", best=record.value).is_best


def test_a_metric_that_is_undefined_gives_way_to_the_likelihood(built: Any, tmp_path: Path) -> None:
    """All labels on one side: there is no AUROC."""
    tree = random_tree(0, num_nodes=3)
    nodes = tuple(type(node)(node.text, node.parent, 1.0, 1) for node in tree.nodes)
    trees = [type(tree)(tree.problem, nodes)]
    store = write_store(tmp_path / "store", trees, built.tokenizer, built.formatter, notes={})
    subsets = {"all right": StoredSplit("all right", "validation", store)}
    record = validate(built.scorer(get_default_config()), subsets, step=1, metric="auroc", best=None)
    assert record.mean["auroc"] is None
    assert (record.metric, record.value) == ("nll", record.mean["nll"])


@pytest.mark.parametrize(
    ("value", "best", "metric", "expected"),
    [
        (0.5, None, "nll", True),
        (0.4, 0.5, "nll", True),
        (0.5, 0.5, "nll", False),
        (0.6, 0.5, "mse", False),
        (0.6, 0.5, "auroc", True),
        (-0.1, -0.2, "r2", True),
        (0.4, 0.5, "auroc", False),
    ],
)
def test_the_better_of_two_values_depends_on_the_metric(value, best, metric, expected) -> None:
    assert is_better(value, best, metric) is expected
