"""Phases of one run: each on its own data, at its own rate, resumable anywhere to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runs import Watcher, assert_same_bits, logged, read_lines, tensors, write_own
from surestep.config import Config, DataConfig
from surestep.config.phases import RUN_DATA_FIELDS
from surestep.errors import CheckpointError, ConfigError
from surestep.training.run import train
from surestep.training.training_sets import RunData, load_run_data

PHASES: list[dict[str, Any]] = [
    {
        "name": "easy",
        "data": {"easiest_share": 0.5, "order": "easy_first"},
        "training": {"max_steps": 5, "learning_rate": 3e-3, "lr_scheduler_type": "constant", "warmup_steps": 0},
    },
    {
        "name": "all",
        "training": {"max_steps": 4, "per_device_train_batch_size": 1, "head_learning_rate": 2e-3, "weight_decay": 0.1},
    },
]
RHYTHM = {"eval_steps": 3, "save_steps": 2, "logging_steps": 3, "mlp_dropout": 0.2, "validation_samples": 3}


class CrashError(Exception):
    """Stands for a power cut."""


def crash() -> None:
    raise CrashError


def run_data(config: Config) -> RunData:
    from surestep.encoding.formatter import Formatter
    from surestep.training.run_tokenizer import run_tokenizer

    tokenizer, limit = run_tokenizer(config.model, None)
    return load_run_data(config, tokenizer, Formatter(), max_positions=limit)


@pytest.fixture
def phased(run_config: Callable[..., Config]) -> Callable[..., Config]:
    def make(name: str, **settings: Any) -> Config:
        # The length of a run with phases is theirs.
        settings = {"max_steps": 10_000, "lora": False, "phases": PHASES, **RHYTHM, **settings}
        return run_config(experiment_name=name, **settings)

    return make


@pytest.fixture(scope="module")
def finished() -> dict[str, Config]:
    return {}


@pytest.fixture
def whole(
    phased: Callable[..., Config], finished: dict[str, Config], tmp_path_factory: pytest.TempPathFactory
) -> Config:
    """An uninterrupted run of two phases, trained once."""
    if "whole" not in finished:
        config = phased("whole")
        config.output_dir = tmp_path_factory.mktemp("whole")
        train(config, Watcher())
        finished["whole"] = config
    return finished["whole"]


def test_a_run_goes_through_its_phases_in_one_folder_and_one_log(whole: Config) -> None:
    lines = read_lines(whole.experiment_dir / "metrics.jsonl")
    told = {line["step"]: line["phase"] for line in lines if line["kind"] != "note"}
    assert told == {2: "easy", 3: "easy", 4: "easy", 5: "easy", 6: "all", 8: "all", 9: "all"}
    rates = {line["step"]: line["learning_rate"] for line in lines if line["kind"] == "step"}
    assert rates[3] == rates[5] == pytest.approx(3e-3), "the first phase is constant"
    assert rates[6] == pytest.approx(0.5e-3), "the second begins with a warmup of its own"
    last = [line for line in lines if line["kind"] == "step"][-1]
    assert last["learning_rates"]["head"] == pytest.approx(2 * last["learning_rates"]["backbone"])
    assert {path.name for path in whole.experiment_dir.glob("checkpoint_step_*")} == {
        f"checkpoint_step_{step}" for step in (2, 4, 5, 6, 8, 9)
    }, "each phase ends with a checkpoint"
    said = [line["text"] for line in lines if line["kind"] == "note"]
    assert any(line.startswith("phase 2 of 2, all: steps 6 to 9; learning rate 0.001") for line in said)
    saved = Config.from_json(whole.experiment_dir / "config.json")
    assert saved.training.max_steps == 9
    assert [phase.name for phase in saved.phases] == ["easy", "all"]
    report = json.loads((whole.experiment_dir / "data_report.json").read_text())
    assert report["datasets"]["easy: own"]["trees"] < report["datasets"]["all: own"]["trees"] == 40
    assert [(part["first_step"], part["last_step"]) for part in report["phases"]] == [(0, 5), (5, 9)]


def test_what_a_line_says_to_change_is_the_phases_own_setting(
    phased: Callable[..., Config], run_config: Callable[..., Config]
) -> None:
    long = [
        {**phase, "training": {**phase["training"], "max_steps": 900 + number}} for number, phase in enumerate(PHASES)
    ]
    data = run_data(phased("long", phases=long))
    said = [line for line in data.lines if "watch validation for overfitting" in line]
    assert [line.partition(" (fewer ")[2].partition(", or")[0] for line in said] == [
        "training.max_steps of phase 'easy'",
        "training.max_steps of phase 'all'",
    ]
    assert not any("--max_steps" in line for line in data.lines)
    first, second = data.phases
    assert first.calmer() == (
        "lower training.learning_rate of phase 'easy' (now 0.003) or training.max_grad_norm of phase 'easy'"
    )
    assert second.calmer().startswith("lower training.learning_rate of phase 'all' (now 0.001) or ")
    (plain,) = run_data(run_config(experiment_name="plain", max_steps=900, lora=False)).phases
    assert plain.calmer() == f"lower --learning_rate (now {plain.settings.learning_rate:g}) or --max_grad_norm"


def test_a_run_of_phases_that_is_done_names_what_would_lengthen_it(whole: Config) -> None:
    watcher = Watcher()
    train(whole, watcher, resume=True)
    (line,) = [line for line in watcher.of("say") if line.startswith("nothing is left to train")]
    assert "at step 9 of 9" in line
    assert "(a higher training.max_steps of phase 'all' goes on)" in line


@pytest.mark.parametrize(
    "stopped_at", [5, pytest.param(3, marks=pytest.mark.slow), pytest.param(7, marks=pytest.mark.slow)]
)
def test_a_run_cut_short_in_any_phase_or_between_two_resumes_to_the_bit(
    whole: Config, phased: Callable[..., Config], stopped_at: int
) -> None:
    cut = phased("cut")
    with pytest.raises(CrashError):
        train(cut, Watcher({stopped_at + 1: crash}))
    watcher = Watcher()
    train(cut, watcher, resume=True)
    assert watcher.of("started") == [({3: 2, 5: 5, 7: 6}[stopped_at], 9)]
    assert logged(cut.experiment_dir) == logged(whole.experiment_dir)
    assert_same_bits(cut.experiment_dir / "checkpoint_step_9", whole.experiment_dir / "checkpoint_step_9")


@pytest.mark.slow
def test_phases_go_with_averages_layer_rates_and_other_losses(phased: Callable[..., Config]) -> None:
    options = {
        "ema_decay": 0.5,
        "layer_learning_rate_decay": 0.8,
        "balance_positions": True,
        "pairwise_weight": 0.5,
        "after_first_error": "wrong",
    }
    straight, cut, plain = (phased(name, **options) for name in ("straight", "cut", "plain"))
    train(straight, Watcher())
    with pytest.raises(CrashError):
        train(cut, Watcher({8: crash}))
    train(cut, Watcher(), resume=True)
    assert logged(cut.experiment_dir) == logged(straight.experiment_dir)
    assert_same_bits(cut.experiment_dir / "checkpoint_step_9", straight.experiment_dir / "checkpoint_step_9")
    # Balanced labels are another loss, so the comparison above was not of runs that ignore the option.
    plain.training.balance_positions = False
    train(plain, Watcher())
    mine, theirs = (tensors(config.experiment_dir / "checkpoint_step_5") for config in (straight, plain))
    assert any(not torch.equal(value, theirs[name]) for name, value in mine.items())


@pytest.mark.slow
def test_a_single_phase_is_the_plain_run_to_the_bit(run_config: Callable[..., Config]) -> None:
    plain = run_config(experiment_name="plain", lora=False, max_steps=3, mlp_dropout=0.2)
    train(plain, Watcher())
    one = run_config(experiment_name="one", lora=False, max_steps=10_000, mlp_dropout=0.2)
    one.phases = [{"name": "only", "training": {"max_steps": 3}}]  # type: ignore[list-item]
    train(one, Watcher())
    mine, theirs = (tensors(config.experiment_dir / "checkpoint_step_3") for config in (one, plain))
    assert set(mine) == set(theirs)
    assert [name for name, value in mine.items() if not torch.equal(value, theirs[name])] == []


@pytest.mark.parametrize(
    ("phases", "ok"),
    [
        ([PHASES[0], {**PHASES[1], "training": {"max_steps": 6}}], True),
        ([{**PHASES[0], "name": "other"}, PHASES[1]], False),
        ([{**PHASES[0], "training": {**PHASES[0]["training"], "max_steps": 4}}, PHASES[1]], False),
        ([], False),
    ],
)
def test_phases_gone_through_are_not_changed_by_a_resume(whole: Config, phases: list[dict[str, Any]], ok: bool) -> None:
    from surestep.training.phases.same_phases import check_same_phases

    changed = whole.model_copy(deep=True)
    changed.phases = phases  # type: ignore[assignment]
    if ok:
        check_same_phases(whole.phases, changed.phases, step=7)
        return
    with pytest.raises(CheckpointError, match="at step 7 the run had gone through 'easy'"):
        check_same_phases(whole.phases, changed.phases, step=7)


def test_problems_that_are_validated_are_trained_on_in_no_phase(
    phased: Callable[..., Config], tmp_path: Path, run_files: Path
) -> None:
    both = tmp_path / "both.jsonl"
    both.write_text((run_files / "train.jsonl").read_text() + (run_files / "validation.jsonl").read_text())
    other = write_own(tmp_path / "other.jsonl", 10, seed=9, offset=5000)
    config = phased("crossed")
    config.phases = [
        {"name": "both", "data": {"own_train": str(both)}, "training": {"max_steps": 2}},
        {"name": "other", "data": {"own_train": str(other)}, "training": {"num_train_epochs": 2}},
        {"name": "again", "training": {"max_steps": 2}},
        {"name": "less", "data": {"max_train_samples": 7}, "training": {"max_steps": 2}},
    ]  # type: ignore[assignment]
    found = run_data(config)
    validated = found.validation["own"].text_hashes()
    for phase in found.phases:
        for dataset in phase.data.values():
            assert not np.isin(dataset.store.text_hashes[dataset.chosen], validated).any(), phase.name
    assert any("12 training problems of own also occur in own validation (removed)" in line for line in found.lines)
    # Passes become steps once the data are known: 10 trees twice, four a step.
    assert config.training.max_steps == 2 + 5 + 2 + 2
    assert "phase other: none of its 10 problems was in a phase before it" in found.lines
    assert "phase again: 40 of its 40 problems were in a phase before it" in found.lines
    # What a later phase draws again of one file counts once.
    assert sum(dataset.num_labels for dataset in found.distinct) == sum(
        dataset.num_labels for phase in found.phases[:3] for dataset in phase.data.values()
    )


def test_a_phase_whose_data_validation_does_not_measure_is_warned_of(phased: Callable[..., Config]) -> None:
    config = phased("apart")
    config.phases = [
        {"name": "chains", "data": {"use_own": False, "use_eqasc": True}, "training": {"max_steps": 2}},
        {"name": "mine", "training": {"max_steps": 2}},
    ]  # type: ignore[assignment]
    warnings = [line for line in run_data(config).lines if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "phase chains trains on eqasc, and validation holds only own, nor share any" in warnings[0]


@pytest.mark.parametrize("measure", ["steps", "tokens", "wrong_steps"])
@pytest.mark.parametrize("order", ["easy_first", "hard_first"])
def test_a_pass_goes_through_every_tree_once_in_the_order_of_difficulty(
    run_config: Callable[..., Config], measure: str, order: str
) -> None:
    config = run_config(order=order, difficulty=measure)
    (phase,) = run_data(config).phases
    dataset, mixture = phase.data["own"], phase.mixture()
    passes = [[mixture.draw(step, 1)[0].example for step in range(40)] for _ in range(2)]
    assert passes[0] != passes[1], "equally difficult trees are shuffled anew in each pass"
    for drawn in passes:
        assert sorted(drawn) == list(range(40))
        found = [difficulty_of(dataset[index], measure) for index in drawn]
        assert found == pytest.approx(sorted(found, reverse=order == "hard_first"))


def difficulty_of(tree: Any, measure: str) -> float:
    labelled = ~np.isnan(tree.label_N)
    if measure == "wrong_steps":
        return 1.0 - float(tree.label_N[labelled].mean())
    along = tree.depths() if measure == "steps" else tree.path_ends()
    return float(along[labelled].max())


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ("hard", "'progressive' or 'curriculum'"),
        ([{"name": "a", "training": {"max_step": 1}}], "phases.0.training.max_step: no such field"),
        ([{"training": {"max_steps": 1}}], "phases.0.name is missing"),
        ([{"name": "a"}], "phase 'a': it has no length"),
        ([{"name": "a", "training": {"max_steps": 1, "seed": 3}}], "training.seed holds for the whole run"),
        ([{"name": "a", "training": {"max_steps": 1}, "data": {"own_test": "x"}}], "data.own_test holds for the whole"),
        ([{"name": "a", "training": {"max_steps": 1}}] * 2, "the name 'a' is there 2 times"),
        ([{"name": "a", "training": {"max_steps": 1}, "data": {"use_prm800k": False}}], "every dataset is disabled"),
    ],
)
def test_phases_that_contradict_are_refused_in_one_line(phases: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_dict({"phases": phases, "data": {"use_eqasc": False, "use_reveal": False}}).check()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_phase_decides_what_is_held_out() -> None:
    names = {name for name in DataConfig.model_fields if name.startswith("validation_") or name.endswith("_validation")}
    assert names <= RUN_DATA_FIELDS


def test_a_length_beside_that_of_the_phases_is_refused() -> None:
    config = Config.from_dict({"phases": "curriculum", "training": {"max_steps": 100}})
    assert config.problems() == [
        "training.max_steps is 100, but the phases take 10,000 together: set training.max_steps in each phase, and "
        "leave it out of the run"
    ]


def test_the_presets_are_the_phases_of_the_users_document() -> None:
    found = [
        (phase.data.prm800k_phase, phase.training.max_steps)
        for phase in Config.from_dict({"phases": "curriculum"}).of_phases()
    ]
    assert found == [(1, 3000), (2, 7000)]
    progressive = Config.from_dict({"phases": "progressive"}).of_phases()
    assert [(phase.data.max_train_samples, phase.training.max_steps) for phase in progressive] == [
        (5000, 1000),
        (None, 5000),
        (None, 10_000),
    ]


def test_a_file_and_its_saved_form_mean_the_same(tmp_path: Path) -> None:
    config = Config.from_dict({"phases": PHASES})
    for name in ("run.yaml", "run.json"):
        config.save(tmp_path / name)
        assert Config.from_file(tmp_path / name).to_dict() == config.to_dict()
    assert config.to_dict()["phases"][1] == {"data": {}, **PHASES[1]}
