"""The same checkpoint on the same steps has the same figures, whoever measures them: training, evaluate, a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runs import Watcher
from surestep.config import Config, EvalConfig
from surestep.evaluation.evaluate import evaluate_checkpoint, evaluate_predictions
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.predictions_file import read_predictions
from surestep.scoring.stored_split import silent
from surestep.training.run import train

NUM_PROBLEMS, SOLUTIONS = 9, 4
SOFT = (0.1, 1 / 3, 0.7, 1.0, 0.0, None)


def write_solutions(path: Path, *, first: int) -> Path:
    """Several solutions of each problem, each with an id of its own and alternatives, no group, and soft labels."""
    random = np.random.default_rng(first)

    def step(text: str) -> dict[str, Any]:
        return {"text": text, "confidence": SOFT[int(random.integers(len(SOFT)))]}

    rows = []
    for number in range(NUM_PROBLEMS):
        for solution in range(SOLUTIONS):
            steps = [step(f"way {solution}, step {k} of {number}") for k in range(3)]
            steps[1]["alternatives"] = [step(f"way {solution}, aside {k}") for k in range(2)]
            steps[0]["confidence"] = 1 / 3
            spaces = " " * (1 + solution % 2)  # copies of one problem need not be the same to the letter
            rows.append(
                {"id": f"{first + number}-{solution}", "problem": f"Add{spaces}{first + number}.", "steps": steps}
            )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=["full", "lora"])
def trained(
    request: pytest.FixtureRequest,
    small_config: Callable[..., Config],
    run_files: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Config:
    """A run over own rows and eQASC, whose questions have a tree for each of their choices."""
    folder = tmp_path_factory.mktemp("road")
    config = small_config(lora=request.param == "lora").model_copy(deep=True)
    config.output_dir = folder / "outputs"
    config.data.data_dir, config.data.cache_dir = run_files, folder / "cache"
    config.data.use_prm800k, config.data.use_eqasc, config.data.use_own = False, True, True
    config.data.validation_fraction = 0.4
    config.data.own_train = write_solutions(folder / "train.jsonl", first=0)
    config.data.own_validation = write_solutions(folder / "validation.jsonl", first=100)
    config.data.max_length, config.data.max_steps_per_example = 400, 3
    config.training.max_steps, config.training.warmup_steps, config.training.learning_rate = 3, 0, 1e-2
    config.training.tensorboard = False
    config.eval.bootstrap_resamples = 200
    train(config, Watcher())
    return config


def figures(report: dict[str, Any]) -> dict[str, Any]:
    """Every figure and interval of a report; whether baselines are beaten is asked where they are fitted."""
    sections = {"overall": report["overall"], **report["per_dataset"]}
    return {
        name: {key: value for key, value in section.items() if key != "beats_baselines"}
        for name, section in sections.items()
    }


@pytest.mark.slow
def test_trainings_report_is_that_of_evaluate(trained: Config, tmp_path: Path) -> None:
    left = json.loads((trained.validation_dir / "eval_metrics.json").read_text())
    loaded = load_checkpoint(Path(left["checkpoint"]))
    found = evaluate_checkpoint(loaded, loaded.config, split="validation", output_dir=tmp_path, progress=silent)
    mine, theirs = figures(left), figures(json.loads(found.path.read_text()))
    assert mine["own"]["intervals"]
    assert mine == theirs
    for key in ("bootstrap", "notes", "steps_without_label", "num_steps_without_label", "datasets"):
        assert left[key] == found.report[key], key
    kept = [read_predictions(folder / "predictions.jsonl.gz") for folder in (trained.validation_dir, tmp_path)]
    for name in ("confidence", "label", "problem", "tree", "step", "parent"):
        np.testing.assert_array_equal(getattr(kept[0], name), getattr(kept[1], name), name)


@pytest.mark.slow
def test_problems_are_counted_not_trees(trained: Config) -> None:
    left = json.loads((trained.validation_dir / "eval_metrics.json").read_text())
    assert left["datasets"]["own"]["trees"] == NUM_PROBLEMS * SOLUTIONS, "one a solution"
    data = json.loads((trained.experiment_dir / "data_report.json").read_text())
    for name, facts in left["datasets"].items():
        assert facts["problems"] == left["per_dataset"][name]["num_problems"] == data["validation"][name]["problems"]
    assert left["per_dataset"]["own"]["num_problems"] == data["datasets"]["own"]["problems"] == NUM_PROBLEMS
    assert data["selection"]["own"]["problems_read"] * SOLUTIONS == data["selection"]["own"]["trees_read"]
    questions, trees = left["per_dataset"]["eqasc"]["num_problems"], left["datasets"]["eqasc"]["trees"]
    assert 2 <= questions == trees / 2, "two choices a question"
    assert left["overall"]["num_problems"] == NUM_PROBLEMS + questions


@pytest.mark.slow
def test_the_kept_predictions_have_the_same_figures_again(trained: Config, tmp_path: Path) -> None:
    left = json.loads((trained.validation_dir / "eval_metrics.json").read_text())
    settings = EvalConfig(bootstrap_resamples=200)
    found = evaluate_predictions(
        trained.validation_dir / "predictions.jsonl.gz", output_dir=tmp_path, settings=settings
    ).report
    # The training means stand in no predictions file: what is measured against them is left out.
    against_means = ("constant_baseline", "dataset_mean_baseline", "skill", "skill_intervals", "assessment")
    for name, section in figures(left).items():
        again = figures(found)[name]
        assert section.keys() == again.keys()
        for key in section.keys() - set(against_means):
            assert section[key] == again[key], (name, key)
