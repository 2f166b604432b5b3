"""What a run reads: held out, limited, sampled, compared with what it is tested on, and all of it counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runs import count_labels, write_own
from surestep.config import Config
from surestep.encoding.formatter import Formatter
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.tokenizer import StepTokenizer
from surestep.errors import ConfigError, DataError
from surestep.scoring import stored_split as prepare
from surestep.training.training_sets import RunData, load_run_data


@pytest.fixture(scope="module")
def tokenizer() -> StepTokenizer:
    return load_tokenizer("builtin:tiny")


@pytest.fixture
def load(tokenizer: StepTokenizer) -> Callable[..., RunData]:
    def run(config: Config, *, max_positions: int | None = None) -> RunData:
        return load_run_data(config, tokenizer, Formatter(), max_positions=max_positions)

    return run


@pytest.fixture
def roomy(run_config: Callable[..., Config]) -> Callable[..., Config]:
    """Limits that nothing reaches, unless set."""

    def make(**settings: Any) -> Config:
        return run_config(**{"max_length": 2048, "max_steps_per_example": None, **settings})

    return make


def problems(data: RunData, name: str = "own") -> set[str]:
    used = data.training[name]
    return {used.store.text_hashes[index] for index in used.chosen}


def test_without_limits_every_label_of_the_file_is_trained_on(roomy, load, run_files: Path) -> None:
    config = roomy()
    data = load(config)
    assert data.training["own"].num_labels == count_labels(config.data.own_train)
    assert data.validation["own"].num_labels == count_labels(config.data.own_validation)
    report = data.report["datasets"]["own"]
    assert report["labels"] == report["labels_before_limits"] == data.training["own"].num_labels
    assert report["label_mean"] == pytest.approx(data.training["own"].label_mean)


@pytest.mark.parametrize(
    "limits", [{"max_length": 60}, {"max_steps_per_example": 3}, {"max_length": 60, "max_steps_per_example": 4}]
)
def test_what_the_limits_cost_is_reported_and_adds_up(roomy, load, limits: dict[str, int]) -> None:
    config = roomy(**limits)
    data = load(config)
    report = data.report["datasets"]["own"]
    assert report["labels_before_limits"] == count_labels(config.data.own_train)
    lost = report["labels_beyond_max_length"] + report["labels_beyond_max_steps_per_example"]
    assert 0 < lost < report["labels_before_limits"]
    assert report["labels"] + lost == report["labels_before_limits"]
    assert report["labels"] == sum(tree.num_labels for tree in data.training["own"])
    assert report["trees"] + report["trees_left_without_label"] == 40
    assert any(f"the limits drop {lost} of {report['labels_before_limits']} " in line for line in data.lines)
    # The limits are for training only.
    assert data.validation["own"].num_labels == count_labels(config.data.own_validation)


def test_limits_that_leave_nothing_are_refused_with_the_figures(roomy, load) -> None:
    with pytest.raises(DataError) as caught:
        load(roomy(max_length=8))
    for words in ("own", "40 read", "max_length 8", "--use_own false"):
        assert words in str(caught.value)


def test_max_length_is_lowered_to_what_the_backbone_takes(roomy, load) -> None:
    data = load(roomy(), max_positions=70)
    assert data.training["own"].max_length == 70
    assert any("max_length is lowered from 2048 to 70" in line for line in data.lines)


def test_samples_are_drawn_from_each_dataset_by_seed(roomy, load) -> None:
    first, again, other = (
        load(roomy(max_train_samples=7, use_prm800k=True, prm800k_phase=1, seed=seed)) for seed in (1, 1, 2)
    )
    for name in ("own", "prm800k"):
        assert len(first.training[name]) == first.report["datasets"][name]["trees"] == 7
        assert problems(first, name) == problems(again, name)
    assert problems(first) != problems(other)
    assert len(first.validation["own"]) == 12  # validation is not cut


def test_more_samples_than_there_are_means_all(roomy, load) -> None:
    assert len(load(roomy(max_train_samples=1000)).training["own"]) == 40


@pytest.mark.parametrize("seed", [0, 1])
def test_held_out_problems_are_never_trained_on(roomy, load, seed: int) -> None:
    config = roomy(validation_fraction=0.3, seed=seed, use_prm800k=True, use_eqasc=True)
    config.data.own_validation = None
    data = load(config)
    for name, split in data.validation.items():
        held_out = set(split.store.text_hashes)
        assert held_out
        assert held_out.isdisjoint(problems(data, name))
    assert len(data.validation["own"]) + len(data.training["own"]) == 40


@pytest.mark.parametrize("remove", [False, True])
def test_problems_that_are_also_tested_are_reported_and_removed_on_request(
    roomy, load, tmp_path: Path, remove: bool
) -> None:
    config = roomy(remove_overlap=remove)
    rows = config.data.own_train.read_text().splitlines()
    shared = [json.loads(row) for row in rows[:5]]
    for row in shared[:2]:
        row["problem"] = "  " + row["problem"].upper()  # a copy all the same
    test = tmp_path / "test.jsonl"
    test.write_text("".join(json.dumps(row) + "\n" for row in shared), encoding="utf-8")
    config.data.own_test = test
    data = load(config)
    assert data.report["overlaps"] == [{"train": "own", "evaluated": "own test", "problems": 5, "trees": 5}]
    assert len(data.training["own"]) == (35 if remove else 40)
    line = next(line for line in data.lines if "also occur in own test" in line)
    assert line.startswith("5 training problems of own")
    assert ("removed" if remove else "--remove_overlap") in line


def test_a_test_split_that_is_not_there_is_said_and_not_demanded(roomy, load, tmp_path: Path) -> None:
    config = roomy()
    config.data.own_test = tmp_path / "not-yet.jsonl"
    data = load(config)
    assert any("overlap with the test splits was not checked" in line and "not-yet" in line for line in data.lines)


def test_a_missing_training_file_is_demanded(roomy, load, tmp_path: Path) -> None:
    config = roomy()
    config.data.own_train = tmp_path / "gone.jsonl"
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        load(config)


def test_shares_are_the_normalised_weights_and_a_weight_of_0_leaves_a_dataset_out(roomy, load) -> None:
    config = roomy(use_prm800k=True, use_eqasc=True, own_weight=3.0, eqasc_weight=1.0, prm800k_weight=0.0)
    data = load(config)
    assert {name: found.share for name, found in data.training.items()} == {"eqasc": 0.25, "own": 0.75}
    assert set(data.validation) == {"eqasc", "own"}
    mean = 0.25 * data.training["eqasc"].label_mean + 0.75 * data.training["own"].label_mean
    assert data.initial_confidence == pytest.approx(mean)


def test_many_passes_over_few_problems_are_said(roomy, load) -> None:
    data = load(roomy(max_train_samples=4, max_steps=30))
    assert data.report["datasets"]["own"]["expected_passes"] == pytest.approx(30.0)
    assert any("about 30.0 passes over its 4 trees" in line for line in data.lines)
    assert not any("passes" in line for line in load(roomy(max_steps=20)).lines)


def test_passes_count_the_examples_of_every_process(roomy, tokenizer: StepTokenizer) -> None:
    config = roomy(max_train_samples=4, max_steps=30)
    for processes in (1, 2, 8):
        data = load_run_data(config, tokenizer, Formatter(), max_positions=None, num_processes=processes)
        assert data.report["datasets"]["own"]["expected_passes"] == pytest.approx(30.0 * processes)


def test_own_data_is_reported_under_its_own_name(roomy, load) -> None:
    data = load(roomy(own_name="chemistry"))
    assert list(data.training) == list(data.validation) == ["chemistry"]


def test_every_dataset_disabled_is_refused(roomy, load) -> None:
    config = roomy(use_own=False)
    with pytest.raises(ConfigError):
        load(config)


@pytest.fixture
def tokenised(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stores that were written, in order."""
    written: list[str] = []
    original = prepare.write_store

    def noted(folder: Path, *arguments: Any, **options: Any) -> Any:
        written.append(folder.name)
        return original(folder, *arguments, **options)

    monkeypatch.setattr(prepare, "write_store", noted)
    return written


def test_the_same_data_is_tokenised_once(roomy, load, tmp_path: Path, tokenised: list[str]) -> None:
    config = roomy(cache_dir=tmp_path / "cache")
    first = load(config)
    assert sorted(name.rsplit("-", 1)[0] for name in tokenised) == ["own-test", "own-train", "own-validation"]
    tokenised.clear()
    config.data.max_length, config.training.learning_rate = 100, 0.1  # neither decides the tokens
    second = load(config)
    assert tokenised == []
    pairs = zip(first.training["own"].store, second.training["own"].store, strict=True)
    assert all(np.array_equal(mine.tokens_T, theirs.tokens_T) for mine, theirs in pairs)
    assert second.report["datasets"]["own"]["reading"] == first.report["datasets"]["own"]["reading"]


def test_a_changed_file_option_or_division_is_tokenised_anew(roomy, load, tmp_path: Path, tokenised: list[str]) -> None:
    config = roomy(cache_dir=tmp_path / "cache", use_own=False, use_prm800k=True, prm800k_phase=1)
    load(config)
    tokenised.clear()
    config.data.prm800k_neutral = 1.0
    load(config)
    assert len(tokenised) == 3
    tokenised.clear()
    config.data.validation_fraction = 0.2
    load(config)
    assert len(tokenised) == 2  # the test split is not divided

    own = roomy(cache_dir=tmp_path / "cache")
    own.data.own_train = write_own(tmp_path / "train.jsonl", 30, seed=1)
    load(own)
    tokenised.clear()
    write_own(tmp_path / "train.jsonl", 31, seed=1)
    assert len(load(own).training["own"]) == 31
    assert len(tokenised) == 1


def test_another_tokenizer_is_another_store(roomy, load, tmp_path: Path, tokenised: list[str], stories260k) -> None:
    config = roomy(cache_dir=tmp_path / "cache")
    load(config)
    tokenised.clear()
    load_run_data(config, load_tokenizer(str(stories260k)), Formatter(), max_positions=None)
    assert len(tokenised) == 3


@pytest.mark.parametrize(("sizes", "is_said"), [([200] + [3] * 50, True), ([4] * 30, False), ([8, 1, 1], True)])
def test_a_problem_that_holds_a_tenth_of_the_labels_is_named(
    roomy: Callable[..., Config], load: Callable[..., RunData], tmp_path: Path, sizes: list[int], is_said: bool
) -> None:
    rows = [
        {
            "id": f"problem-{number}",
            "problem": f"{number}: which numbers are even?",
            "steps": [
                {
                    "text": "try 0",
                    "confidence": 1.0,
                    "alternatives": [{"text": f"try {n}", "confidence": float(n % 2 == 0)} for n in range(1, size)],
                }
            ],
        }
        for number, size in enumerate(sizes)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = roomy()
    config.data.own_train, config.data.max_train_samples = path, None
    data = load(config)
    lines = [line for line in data.lines if "one problem (" in line]
    assert data.report["datasets"]["own"]["most_labels_of_a_problem"] == max(sizes)
    assert bool(lines) is is_said
    if is_said:
        assert f"(problem-0) holds {sizes[0]:,} of {sum(sizes):,} training labels" in lines[0]
        assert "keep a sample of its steps and alternatives" in lines[0]


def test_rows_of_one_problem_count_together(
    roomy: Callable[..., Config], load: Callable[..., RunData], tmp_path: Path
) -> None:
    """Forty solutions of one problem among twenty others, a row each and an id each."""
    names = ["the same"] * 40 + [f"another {number}" for number in range(20)]
    rows = [
        {"id": f"r{n}", "problem": name, "steps": [{"text": f"s{n}", "confidence": 1.0}]}
        for n, name in enumerate(names)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = roomy()
    config.data.own_train, config.data.max_train_samples = path, None
    assert any("holds 40 of 60 training labels (67%)" in line for line in load(config).lines)
