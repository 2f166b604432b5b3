"""Which problems are scored during training, and which validation is the best."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runs import Watcher
from scores import scores_of
from strategies import random_tree
from surestep.config import Config, TrainingConfig, get_default_config
from surestep.encoding.token_store import write_store
from surestep.errors import SurestepError
from surestep.metrics.report import build_report
from surestep.scoring.score_split import score_split
from surestep.scoring.stored_split import StoredSplit
from surestep.training.events import validate as validation
from surestep.training.events.records import ValidationRecord
from surestep.training.events.validate import SHOWN, choose_subsets, is_better, validate
from surestep.training.run import train


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
        for name, subset in choose_subsets(stores, config.training, tokens_per_step=tokens_per_step).items()
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


@pytest.mark.slow
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


@pytest.mark.parametrize("metric", ["smooth_ece", "rms_calibration_error"])
def test_its_figures_are_those_of_a_report_on_the_same_scores_to_the_bit(
    built: Any, stores: dict[str, StoredSplit], metric: str
) -> None:
    scorer = built.scorer(get_default_config())
    subsets = {name: store.take(np.arange(5)) for name, store in stores.items()}
    record = validate(scorer, subsets, step=1, metric=metric, best=None)
    report: Any = build_report(score_split(scorer, list(subsets.values()), wanted="labelled"))
    sections = report["per_dataset"]
    assert record.per_dataset == {n: {figure: sections[n][figure] for figure in (*SHOWN, metric)} for n in subsets}


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


def test_a_validation_is_compared_with_the_constant_on_the_same_labels(
    built: Any, stores: dict[str, StoredSplit]
) -> None:
    scorer = built.scorer(get_default_config())
    constants = {"large": 0.4, "small": 0.9}
    record = validate(scorer, stores, step=1, metric="nll", best=None, constants=constants)
    expected = []
    for name, store in stores.items():
        labels = np.array(
            [np.nan if node.confidence is None else node.confidence for tree in store for node in tree.nodes]
        )
        y, m = labels[~np.isnan(labels)], constants[name]
        expected.append(float(np.mean(-(y * math.log(m) + (1 - y) * math.log(1 - m)))))
    assert record.constant_nll == pytest.approx(np.mean(expected), rel=1e-6)
    assert record.mean["nll"] is not None
    assert record.is_worse_than_constant == (record.mean["nll"] > record.constant_nll)
    assert validate(scorer, stores, step=1, metric="nll", best=None, constants={}).constant_nll is None


@pytest.mark.parametrize(
    ("nll", "constant", "bound", "expected"),
    [
        (7.4, 0.70, 3.0, True),
        (2.0, 0.70, 3.0, False),
        (2.2, 0.70, 3.0, True),
        (0.5, 0.05, 3.0, False),  # ten times a constant's, and better than a coin's
        (2.2, 0.05, 3.0, True),
        (2.2, 0.70, 4.0, False),
        (None, 0.70, 3.0, False),
        (7.4, None, 3.0, False),
    ],
)
def test_what_is_far_worse_than_a_constant_and_a_coin(nll, constant, bound, expected) -> None:
    record = ValidationRecord(1, "nll", 0.0, {"nll": nll}, {}, False, constant)
    assert record.is_beyond(bound) is expected


DIVERGING = {"learning_rate": 1.0, "max_steps": 30, "eval_steps": 3, "save_steps": 9, "warmup_steps": 0}


def diverging(run_config: Callable[..., Config], **settings: Any) -> Config:
    config = run_config(lora=False, **{**DIVERGING, **settings})
    config.model.backbone = "builtin:tiny"
    return config


@pytest.mark.slow
def test_a_run_of_learning_rate_1_stops_with_advice(run_config: Callable[..., Config]) -> None:
    config = diverging(run_config)
    watcher = Watcher()
    with pytest.raises(SurestepError) as caught:
        train(config, watcher)
    message = str(caught.value)
    for words in ("diverged", "--learning_rate (now 1)", "warmup", "--divergence_bound", "the best checkpoint is"):
        assert words in message
    assert "\n" not in message
    records = watcher.of("validated")
    assert 2 <= len(records) < 10
    assert all(record.is_beyond(3.0) for record in records[-2:])
    best = json.loads((config.experiment_dir / "best_checkpoint.json").read_text())
    assert (config.experiment_dir / best["checkpoint"]).is_dir()
    assert watcher.events[-1][0] == "finished"


@pytest.mark.slow
def test_the_best_checkpoint_of_before_it_diverged_is_kept(run_config, monkeypatch) -> None:
    """Good at 1 and 2, far worse than a constant from 3 on: stopped at 4, nothing more saved."""
    nlls = [0.5, 0.4, 9.0, 9.0, 9.0]
    measured = validation.validate

    def scripted(*arguments: Any, step: int, **others: Any) -> ValidationRecord:
        record = measured(*arguments, step=step, **others)
        value = nlls[step - 1]
        return replace(record, value=value, mean=record.mean | {"nll": value}, is_best=step <= 2)

    monkeypatch.setattr(validation, "validate", scripted)
    config = run_config(max_steps=5, eval_steps=1, save_steps=2)
    with pytest.raises(SurestepError, match=r"at step 4 .* the best checkpoint is checkpoint_step_2 \(nll 0\.4000\)"):
        train(config, Watcher())
    assert json.loads((config.experiment_dir / "best_checkpoint.json").read_text())["step"] == 2
    # Whoever resumes has changed something, and gets two more validations.
    nlls[4] = 0.3
    assert train(config, Watcher(), resume=True).result.best.name == "checkpoint_step_5"


def test_the_only_validation_of_a_run_is_enough(run_config, monkeypatch) -> None:
    """It has no neighbours to be a passing swing between; its checkpoint is due, so it is kept and named."""
    measured = validation.validate

    def scripted(*arguments: Any, **others: Any) -> ValidationRecord:
        record = measured(*arguments, **others)
        return replace(record, mean=record.mean | {"nll": 9.0})

    monkeypatch.setattr(validation, "validate", scripted)
    config = run_config(max_steps=3, eval_steps=100, save_steps=100)
    with pytest.raises(SurestepError, match=r"at step 3 .*in the only one.* the best checkpoint is checkpoint_step_3"):
        train(config, Watcher())
    assert (config.experiment_dir / "checkpoint_step_3").is_dir()


@pytest.mark.slow
def test_one_bad_validation_or_a_bound_that_is_off_stops_nothing(run_config, monkeypatch) -> None:
    measured = validation.validate

    def scripted(*arguments: Any, step: int, **others: Any) -> ValidationRecord:
        record = measured(*arguments, step=step, **others)
        return replace(record, mean=record.mean | {"nll": 9.0 if step in bad else 0.5})

    monkeypatch.setattr(validation, "validate", scripted)
    bad = {1, 3, 5}
    assert train(run_config(experiment_name="swings", max_steps=5, eval_steps=1), Watcher()).result.steps == 5
    bad = {1, 2, 3, 4, 5}
    off = run_config(experiment_name="off", max_steps=5, eval_steps=1, divergence_bound=None)
    assert train(off, Watcher()).result.steps == 5
