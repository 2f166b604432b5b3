"""The reference run: its settings are allowed, and its reduced data are few, short and always the same."""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from surestep.cli.commands.train import configure, run_config
from surestep.data.datasets.prm800k import read_prm800k
from surestep.data.records.reading_report import ReadReport
from surestep.data.sources.choose import enabled_sources

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "prm800k_smollm2.py"


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prm800k_smollm2", RECIPE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("setting", ["full", "lora"])
@pytest.mark.parametrize("reduced", [False, True])
def test_the_settings_of_every_form_are_a_run(recipe: ModuleType, setting: str, reduced: bool) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    configure(parser)
    flags = {**(recipe.LORA if setting == "lora" else {}), **(recipe.REDUCED if reduced else {}), "seed": 7}
    config = run_config(parser.parse_args(["--config", str(recipe.CONFIG), *recipe.as_flags(flags)]))
    assert config.problems() == []
    assert config.warnings() == []
    assert config.lora.use_lora is (setting == "lora")
    assert config.training.seed == 7
    assert config.data.used() == ["prm800k"]


def record(number: int, length: int) -> dict[str, Any]:
    completions = [{"text": "x" * length, "rating": rating, "flagged": False} for rating in (1, -1)]
    step = {"completions": completions, "human_completion": None, "chosen_completion": 0}
    return {
        "question": {"problem": f"problem {number}?"},
        "label": {"steps": [step], "finish_reason": "solution"},
        "is_quality_control_question": False,
        "is_initial_screening_question": False,
    }


def test_the_reduced_form_takes_the_same_few_short_problems_every_time(recipe: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "data" / "prm800k"
    source.mkdir(parents=True)
    for split in ("train", "test"):
        rows = [record(number, 10 + number) for number in range(500)]
        rows.append(record(0, 5))  # a second record of a problem goes with it
        (source / f"phase1_{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folders = [recipe.reduced_data(tmp_path / "data", tmp_path / name) for name in ("one", "two")]
    for split, count in recipe.REDUCED_PROBLEMS.items():
        one, two = (folder / "PRM800K" / f"phase1_{split}.jsonl" for folder in folders)
        assert one.read_bytes() == two.read_bytes()
        problems = [tree.problem for tree in read_prm800k([one], report=ReadReport())]
        assert len(problems) == count
        assert all(int(problem.split()[1].rstrip("?")) < 100 for problem in problems), "the shortest fifth"


def test_the_table_has_each_seed_and_their_mean(recipe: ModuleType) -> None:
    run = {
        "test": {**dict.fromkeys(recipe.FIGURES, 0.25), "intervals": {"auroc": {"low": 0.1, "high": 0.4}}},
        "seconds": {"train": {"clock": 90.0, "cpu": 45.0}, "evaluate": {"clock": 30.0, "cpu": 15.0}},
    }
    summary = {"seeds": {"1": run, "2": run}, "mean": dict.fromkeys(recipe.FIGURES, 0.25)}
    lines = recipe.table_of(summary).splitlines()
    assert lines[2].startswith("| 1 | 0.250 [0.100, 0.400] | 0.250 |")
    assert lines[2].endswith("| 2.0 | 1.0 |")
    assert lines[-1].startswith("| mean | 0.250")


def test_the_file_for_the_threshold_holds_the_problems_that_training_holds_out(
    recipe: ModuleType, tmp_path: Path
) -> None:
    source = tmp_path / "data" / "PRM800K"
    source.mkdir(parents=True)
    rows = [record(number, 10) for number in range(400)]
    (source / "phase1_train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = recipe.validation_file(tmp_path / "data", tmp_path / "out", {})
    found = {tree.problem for tree in read_prm800k([file], report=ReadReport())}
    parser = argparse.ArgumentParser(allow_abbrev=False)
    configure(parser)
    flags = {"data_dir": tmp_path / "data", "cache_dir": tmp_path / "cache"}
    config = run_config(parser.parse_args(["--config", str(recipe.CONFIG), *recipe.as_flags(flags)]))
    [source_of_validation] = enabled_sources(config.data, "validation", seed=7)
    held_out = {tree.problem for tree in source_of_validation.read(ReadReport())}
    assert found == held_out
    assert 5 < len(found) < 50
