"""Baselines that read positions and words: what they learn, what they never see, and what is said about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surestep.config import Config, EvalConfig
from surestep.encoding.formatter import Formatter
from surestep.evaluation.baselines import fitted as fitted_baselines
from surestep.evaluation.baselines import scores as baseline_scores
from surestep.evaluation.baselines.fitted import FittedScores, cross_fitted, position_and_length, tfidf
from surestep.evaluation.baselines.scores import own_baselines, trained_baselines, training_sets, training_steps
from surestep.evaluation.baselines.step_texts import SeenSteps, seen_of_scored
from surestep.evaluation.evaluate import evaluate_checkpoint, evaluate_predictions
from surestep.metrics import auroc
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.checkpoint.load import LoadedCheckpoint, load_checkpoint
from surestep.scoring.checkpoint.save import save_checkpoint
from surestep.scoring.predictions_file import steps_of_rows
from surestep.scoring.protocol import TreeScores
from surestep.scoring.score_split import score_trees
from surestep.scoring.stored_split import silent
from surestep.training.training_sets import load_run_data
from surestep.types import Node, ReasoningTree


def rows(num_problems: int = 40, *, with_text: bool = True) -> list[dict[str, Any]]:
    """Steps whose word tells their label; the scorer knows nothing."""
    random = np.random.default_rng(0)
    found: list[dict[str, Any]] = []
    for problem in range(num_problems):
        for step in range(4):
            right = bool(random.random() < 0.5)
            row: dict[str, Any] = {
                "problem_id": f"p{problem}",
                "step": step,
                "parent": step - 1,
                "position": step + 1,
                "confidence": 0.5 + 0.01 * float(random.random()),
                "label": float(right),
            }
            if with_text:
                row |= {"problem": f"question {problem}", "text": "a proper step" if right else "a flawed step"}
            found.append(row)
    return found


def write(path: Path, values: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in values), encoding="utf-8")
    return path


def seen(values: list[dict[str, Any]]) -> SeenSteps | None:
    return seen_of_scored(steps_of_rows((row, None) for row in values))


def test_scored_steps_know_the_step_before_also_where_it_has_no_label() -> None:
    values = rows(1)
    values[0]["label"] = None
    texts = seen(values)
    assert texts is not None
    assert texts.previous == [values[0]["text"], values[1]["text"], values[2]["text"]]
    assert texts.position == [2, 3, 4]


def test_rows_without_text_have_no_texts() -> None:
    assert seen(rows(1, with_text=False)) is None


def test_a_step_follows_its_parent_not_its_sibling() -> None:
    tree = ReasoningTree("q", (Node("a", -1, 1.0), Node("b", 0, 0.0), Node("c", 0, 0.5)))
    texts = seen_of_scored(score_trees(Half(), [tree]))
    assert texts is not None
    assert (texts.previous, texts.position) == (["", "a", "a"], [1, 2, 2])


class Half:
    """Says 0.5 to everything."""

    def about(self) -> dict[str, Any]:
        return {}

    def score(self, trees: Any, **_: Any) -> Iterator[TreeScores]:
        for tree in trees:
            found = np.full(len(tree.nodes), 0.5)
            yield TreeScores(found, found)


def test_tfidf_learns_words_and_position_learns_position() -> None:
    texts = SeenSteps()
    label = []
    for number in range(60):
        texts.add("q", "", "plus" if number % 2 else "minus", 1 + number % 3)
        label.append(float(number % 2))
    problem = np.arange(60)
    assert auroc(tfidf(texts, np.array(label), problem, texts).confidence, label) == 1.0
    by_position = np.array([1.0 if position == 1 else 0.0 for position in texts.position])
    assert auroc(position_and_length(texts, by_position, problem, texts).confidence, by_position) == 1.0


def test_soft_labels_are_fitted_as_they_are() -> None:
    texts = SeenSteps()
    for _ in range(50):
        texts.add("q", "", "same words", 1)
    found = tfidf(texts, np.full(50, 0.25), np.arange(50), texts).confidence
    assert found == pytest.approx(np.full(50, 0.25), abs=1e-3)


def test_labels_of_one_class_give_their_mean() -> None:
    texts = SeenSteps()
    for _ in range(5):
        texts.add("q", "", "words", 1)
    assert tfidf(texts, np.ones(5), np.arange(5), texts).confidence.tolist() == [1.0] * 5


def test_cross_fitting_never_trains_on_the_problem_that_it_scores() -> None:
    texts = SeenSteps()
    problem = np.repeat(np.arange(9), 2)
    for number in problem:
        texts.add(f"p{number}", "", "s", 1)
    seen: list[tuple[set[str], set[str]]] = []

    def fit(train: SeenSteps, label: np.ndarray, groups: np.ndarray, wanted: SeenSteps) -> FittedScores:
        assert len(train) == len(label) == len(groups)
        seen.append((set(train.problem), set(wanted.problem)))
        return FittedScores(np.full(len(wanted), 0.25), "at once")

    found = cross_fitted(fit, texts, np.zeros(18), problem)
    assert (found.confidence.tolist(), found.how) == ([0.25] * 18, "at once")
    assert [train & wanted for train, wanted in seen] == [set()] * 3
    assert set().union(*(wanted for _, wanted in seen)) == {f"p{number}" for number in range(9)}


@pytest.mark.slow
def test_a_scorer_that_words_beat_is_told_so(tmp_path: Path) -> None:
    path = write(tmp_path / "scores.jsonl", rows())
    report = evaluate_predictions(path, output_dir=tmp_path, settings=EvalConfig(bootstrap_resamples=200)).report
    assert [row["name"] for row in report["baselines"]] == ["evaluated mean", "position, length", "TF-IDF"]
    words = report["baselines"][2]
    assert words["auroc"] == 1.0
    assert words["per_dataset"]["all"]["mse"] == words["mse"]
    assert report["overall"]["beats_baselines"]["TF-IDF"] == {"mse": False, "nll": False, "auroc": False}
    assert report["per_dataset"]["all"]["beats_baselines"] == report["overall"]["beats_baselines"]
    assert any(line.startswith("all: is worse than TF-IDF in AUROC: ") for line in report["verdict"])
    difference = words["model_difference"]["mse"]
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert "cross-fitted over the problems evaluated here (3 folds)" in words["about"]


@pytest.mark.slow
def test_a_perfect_scorer_beats_all_but_the_words(tmp_path: Path) -> None:
    values = [row | {"confidence": row["label"]} for row in rows()]
    path = write(tmp_path / "scores.jsonl", values)
    report = evaluate_predictions(path, output_dir=tmp_path, settings=EvalConfig(bootstrap_resamples=200)).report
    beaten = report["overall"]["beats_baselines"]
    assert beaten["evaluated mean"] == beaten["position, length"] == {"mse": True, "nll": True, "auroc": True}
    assert beaten["TF-IDF"]["auroc"] is False  # both are perfect


def test_without_texts_or_on_request_only_constants_remain_and_it_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "scores.jsonl", rows(with_text=False))
    settings = EvalConfig(bootstrap_resamples=20)
    report = evaluate_predictions(path, output_dir=tmp_path, settings=settings).report
    assert [row["name"] for row in report["baselines"]] == ["evaluated mean"]
    assert report["baselines_left_out"] == ["position, length and TF-IDF: not every labelled row has a `text`"]
    settings.baselines = False
    report = evaluate_predictions(path, output_dir=tmp_path, settings=settings).report
    assert report["baselines_left_out"] == []


@pytest.mark.slow
def test_a_step_counts_once_in_figures_constants_and_baselines_however_often_it_was_rated(tmp_path: Path) -> None:
    """All weigh alike, so no difference between a model and a baseline comes from how often steps were rated."""
    once = rows(12)
    often = [row | {"num_ratings": 1 + 6 * (number % 2)} for number, row in enumerate(once)]
    found = []
    for name, values in (("once", once), ("often", often)):
        path = write(tmp_path / f"{name}.jsonl", values)
        report = evaluate_predictions(
            path, output_dir=tmp_path / name, settings=EvalConfig(bootstrap_resamples=5)
        ).report
        assert [row["name"] for row in report["baselines"]] == ["evaluated mean", "position, length", "TF-IDF"]
        overall = {name: value for name, value in report["overall"].items() if isinstance(value, int | float)}
        found.append((overall, report["baselines"]))
    assert found[0] == found[1]
    assert found[0][0]["num_steps"] == len(once)


def test_too_few_problems_to_cross_fit_are_said() -> None:
    result = own_baselines(steps_of_rows((row, None) for row in rows(2)))
    assert result.baselines == []
    assert "fewer than 3 problems" in result.left_out[0]


@pytest.mark.parametrize("strength", [0.01, 10.0])
def test_the_fit_is_the_optimum_of_its_problem(strength: float) -> None:
    """Not a fit cut short: no gradient is left, of soft labels' cross-entropy plus the penalty of C."""
    random = np.random.default_rng(0)
    features, label = random.normal(size=(400, 5)), random.random(400)
    model = fitted_baselines._fit(features, label, strength, most_iterations=2000)
    weights = model.coef_[0]
    gradient = features.T @ (model.predict_proba(features)[:, 1] - label) + weights / strength
    assert np.abs(gradient).max() < 1e-2
    assert model.n_iter_.max() < 2000


def test_c_is_chosen_on_problems_that_were_not_fitted_and_said() -> None:
    """Words that name a problem tell its labels by heart; on other problems they are worth nothing."""
    random = np.random.default_rng(0)
    texts, label, problem = SeenSteps(), [], []
    for number in range(60):
        verdict = float(random.random() < 0.5)
        for _ in range(5):
            texts.add(f"name{number}", "", f"name{number}", 1)
            label.append(verdict)
            problem.append(number)
    found = tfidf(texts, np.array(label), np.array(problem), texts)
    assert found.how.startswith("C = 0.01 (chosen by 3-fold cross-validation over problems), converged after ")
    assert np.abs(found.confidence - 0.5).max() < 0.2


def test_a_fit_that_does_not_converge_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted_baselines, "MOST_ITERATIONS", 2)
    texts, random = SeenSteps(), np.random.default_rng(0)
    for number in range(60):
        texts.add(f"p{number}", "", " ".join(random.choice(["a", "b", "c", "d"], 8)), 1 + number % 4)
    found = tfidf(texts, random.random(60), np.arange(60), texts)
    assert "stopped after 2 iterations without having converged" in found.how


def checkpoint(config: Config, build_small: Callable[..., BuiltModel], **means: Any) -> LoadedCheckpoint:
    built = build_small(config=config)
    folder = config.experiment_dir / "checkpoint_step_1"
    save_checkpoint(folder, built, config, step=1, **({"label_means": {}} | means))
    return load_checkpoint(folder)


def coin_flips(path: Path, problems: range, seed: int) -> Path:
    """Steps of words that say nothing; what is right was thrown with a coin, anew in each file."""
    random = np.random.default_rng(seed)
    lines = []
    for number in problems:
        words = np.random.default_rng(number).choice(["add", "take", "so", "then", "thus", f"w{number}"], (4, 6))
        steps = [{"text": " ".join(step), "confidence": float(random.integers(2))} for step in words]
        lines.append(json.dumps({"problem": f"problem {number}", "steps": steps}) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.mark.slow
def test_baselines_are_fitted_on_the_labels_that_were_trained_on(
    run_config: Callable[..., Config], build_small: Callable[..., BuiltModel], tmp_path: Path
) -> None:
    """60 test problems stand in train too, with the same labels, and were removed from training."""
    train, test = tmp_path / "train.jsonl", coin_flips(tmp_path / "test.jsonl", range(60), 0)
    train.write_text(test.read_text() + coin_flips(tmp_path / "rest.jsonl", range(60, 160), 1).read_text())
    found = {}
    for remove in (True, False):
        config = run_config(own_train=train, own_test=test, remove_overlap=remove, cache_dir=tmp_path / "cache")
        config.experiment_name = f"remove-{remove}"
        loaded = checkpoint(config, build_small)
        report = evaluate_checkpoint(
            loaded, loaded.config, split="test", output_dir=tmp_path / str(remove), progress=silent
        ).report
        found[remove] = report["baselines"][-1]
        (examples,) = training_sets(loaded, config.data).values()
        assert f"fitted on {examples.num_labels} labelled training steps of own" in found[remove]["about"]
    assert 0.35 < found[True]["auroc"] < 0.65
    assert found[False]["auroc"] > 0.7, "where they were trained on, the baselines see them too"
    assert "fitted on 400 labelled" in found[True]["about"]
    assert "cross-validation over problems), converged after" in found[True]["about"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"max_train_samples": 7}, marks=pytest.mark.slow),
        pytest.param({"max_length": 60}, marks=pytest.mark.slow),
        pytest.param({"max_steps_per_example": 1}, marks=pytest.mark.slow),
        pytest.param({"seed": 3}, marks=pytest.mark.slow),
    ],
)
def test_baselines_see_what_training_reports(
    run_config: Callable[..., Config], build_small: Callable[..., BuiltModel], settings: dict[str, Any]
) -> None:
    config = run_config(use_prm800k=True, prm800k_phase=1, **settings)
    config.data.own_validation = None
    loaded = checkpoint(config, build_small)
    data = load_run_data(config, loaded.built.tokenizer, Formatter(), max_positions=None)
    found = training_sets(loaded, config.data)
    _, label, problem = training_steps(list(found.values()), seed=0)
    assert len(label) == sum(dataset.num_labels for dataset in data.training.values())
    assert label.mean() == pytest.approx(data.label_mean, rel=1e-12)
    assert len(set(problem.tolist())) <= sum(len(dataset) for dataset in data.training.values())
    for name, dataset in data.training.items():
        labelled = found[name].labelled_steps()
        for row in range(0, len(labelled.label), 7):
            tree = dataset.store.tree(int(labelled.tree[row]))
            node = tree.nodes[int(labelled.step[row])]
            assert (node.confidence, node.parent) == (labelled.label[row], labelled.parent[row])
            assert len(tree.path(int(labelled.step[row]))) == labelled.position[row]


def test_missing_training_data_leave_a_reason_and_no_error(
    run_config: Callable[..., Config], build_small: Callable[..., BuiltModel], tmp_path: Path
) -> None:
    config = run_config(own_train=tmp_path / "nowhere.jsonl", own_validation=tmp_path / "nowhere.jsonl")
    loaded = checkpoint(config, build_small)
    result = trained_baselines(steps_of_rows((row, None) for row in rows(3)), loaded, config.data, seed=0)
    assert result.baselines == []
    assert "baselines fitted on training data: " in result.left_out[0]


def test_training_data_that_has_changed_is_not_fitted_on(
    run_config: Callable[..., Config], build_small: Callable[..., BuiltModel]
) -> None:
    config = run_config()
    loaded = checkpoint(config, build_small, label_means={"own": 0.123})
    result = trained_baselines(steps_of_rows((row, None) for row in rows(3)), loaded, config.data, seed=0)
    assert result.baselines == []
    assert "the training data here is not what" in result.left_out[0]


@pytest.mark.slow
def test_flags_of_an_evaluation_do_not_change_what_was_trained_on(
    run_config: Callable[..., Config], build_small: Callable[..., BuiltModel]
) -> None:
    config = run_config()
    loaded = checkpoint(config, build_small)
    other = config.model_copy(deep=True)
    other.data.use_own, other.data.use_eqasc, other.data.max_train_samples, other.training.seed = False, True, 3, 9
    assert list(training_sets(loaded, other.data)) == ["own"]
    mine, theirs = training_sets(loaded, config.data)["own"], training_sets(loaded, other.data)["own"]
    assert mine.chosen.tolist() == theirs.chosen.tolist()


@pytest.mark.slow
def test_scores_are_cached_by_the_labels_trained_on_and_the_texts_scored(
    run_config: Callable[..., Config],
    build_small: Callable[..., BuiltModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = run_config(cache_dir=tmp_path / "cache")
    loaded = checkpoint(config, build_small)
    steps = steps_of_rows((row, None) for row in rows(5))
    first = trained_baselines(steps, loaded, config.data, seed=0)
    assert [found.name for found in first.baselines] == ["position, length", "TF-IDF"]
    assert "labelled training steps of own" in first.baselines[1].about

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(baseline_scores, "training_steps", refuse)
    again = trained_baselines(steps, loaded, config.data, seed=0)
    assert [found.about for found in again.baselines] == [found.about for found in first.baselines]
    for old, new in zip(first.baselines, again.baselines, strict=True):
        assert np.array_equal(old.confidence, new.confidence)
    with pytest.raises(AssertionError, match="fitted again"):
        trained_baselines(steps_of_rows((row, None) for row in rows(6)), loaded, config.data, seed=0)
    for name, value in (("max_train_samples", 9), ("max_length", 60), ("max_steps_per_example", 1)):
        changed = config.model_copy(deep=True)
        changed.experiment_name = name
        setattr(changed.data, name, value)
        with pytest.raises(AssertionError, match="fitted again"):
            trained_baselines(steps, checkpoint(changed, build_small), changed.data, seed=0)
    for file in (tmp_path / "cache" / "baselines").rglob("*.npz"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(AssertionError, match="fitted again"):
        trained_baselines(steps, loaded, config.data, seed=0)


@pytest.mark.parametrize("length", range(3, 40))
@pytest.mark.parametrize("count", [17, 51])
def test_training_texts_of_one_length_say_nothing_of_other_lengths(length: int, count: int) -> None:
    """Their spread is zero up to rounding, and dividing by rounding made every other length a sure yes or no."""
    train = SeenSteps(["p" * length] * count, [""] * count, ["s" * length] * count, [1] * count)
    label = np.array([float(number % 3 == 0) for number in range(count)])
    evaluated = SeenSteps(["p" * (length + 1)], [""], ["s" * (length + 2)], [1])
    found = position_and_length(train, label, np.arange(count), evaluated).confidence
    assert found[0] == pytest.approx(label.mean(), abs=0.1)
