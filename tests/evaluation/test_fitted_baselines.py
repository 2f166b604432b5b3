"""Baselines that read positions and words: what they learn, what they never see, and what is said about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surestep.config import EvalConfig, get_default_config
from surestep.evaluation.baselines import scores as baseline_scores
from surestep.evaluation.baselines.fitted import cross_fitted, position_and_length, tfidf
from surestep.evaluation.baselines.scores import own_baselines, trained_baselines
from surestep.evaluation.baselines.step_texts import StepTexts, add_tree, texts_of_rows
from surestep.evaluation.evaluate import evaluate_predictions
from surestep.metrics import auroc
from surestep.scoring.predictions_file import predictions_of_rows
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


def test_texts_of_rows_know_the_step_before_also_where_it_has_no_label() -> None:
    values = rows(1)
    values[0]["label"] = None
    texts = texts_of_rows(values)
    assert texts is not None
    assert texts.previous == [values[0]["text"], values[1]["text"], values[2]["text"]]
    assert texts.position == [2, 3, 4]


def test_rows_without_text_have_no_texts() -> None:
    assert texts_of_rows(rows(1, with_text=False)) is None


def test_trees_give_the_text_of_the_parent_not_of_the_sibling() -> None:
    texts, labels = StepTexts(), list[float]()
    add_tree(texts, labels, ReasoningTree("q", (Node("a", -1, 1.0), Node("b", 0, 0.0), Node("c", 0, 0.5))))
    assert (texts.previous, texts.position, labels) == (["", "a", "a"], [1, 2, 2], [1.0, 0.0, 0.5])


def test_tfidf_learns_words_and_position_learns_position() -> None:
    texts = StepTexts()
    label = []
    for number in range(60):
        texts.add("q", "", "plus" if number % 2 else "minus", 1 + number % 3)
        label.append(float(number % 2))
    assert auroc(tfidf(texts, np.array(label), texts), label) == 1.0
    by_position = np.array([1.0 if position == 1 else 0.0 for position in texts.position])
    assert auroc(position_and_length(texts, by_position, texts), by_position) == 1.0


def test_soft_labels_are_fitted_as_they_are() -> None:
    texts = StepTexts()
    for _ in range(50):
        texts.add("q", "", "same words", 1)
    assert tfidf(texts, np.full(50, 0.25), texts) == pytest.approx(np.full(50, 0.25), abs=1e-3)


def test_labels_of_one_class_give_their_mean() -> None:
    texts = StepTexts()
    for _ in range(5):
        texts.add("q", "", "words", 1)
    assert tfidf(texts, np.ones(5), texts).tolist() == [1.0] * 5


def test_cross_fitting_never_trains_on_the_problem_that_it_scores() -> None:
    texts = StepTexts()
    problem = np.repeat(np.arange(9), 2)
    for number in problem:
        texts.add(f"p{number}", "", "s", 1)
    seen: list[tuple[set[str], set[str]]] = []

    def fit(train: StepTexts, label: np.ndarray, wanted: StepTexts) -> np.ndarray:
        assert len(train) == len(label)
        seen.append((set(train.problem), set(wanted.problem)))
        return np.full(len(wanted), 0.25)

    assert cross_fitted(fit, texts, np.zeros(18), problem).tolist() == [0.25] * 18
    assert [train & wanted for train, wanted in seen] == [set()] * 3
    assert set().union(*(wanted for _, wanted in seen)) == {f"p{number}" for number in range(9)}


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


def test_too_few_problems_to_cross_fit_are_said() -> None:
    values = rows(2)
    result = own_baselines(texts_of_rows(values), predictions_of_rows((row, None) for row in values).predictions)
    assert result.found == []
    assert "fewer than 3 problems" in result.left_out[0]


def test_missing_training_data_leave_a_reason_and_no_error(tmp_path: Path) -> None:
    config = get_default_config()
    config.data.data_dir = tmp_path / "nowhere"
    result = trained_baselines(texts_of_rows(rows(3)), config, cache_dir=tmp_path)
    assert result.found == []
    assert "baselines fitted on training data: " in result.left_out[0]


def test_scores_are_cached_by_training_data_and_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = tmp_path / "train.jsonl"
    steps = [{"text": f"step {number % 5}", "confidence": float(number % 2)} for number in range(6)]
    write(training, [{"problem": f"q {number}", "steps": steps} for number in range(20)])
    config = get_default_config()
    for name in ("prm800k", "eqasc", "reveal", "arithmetic"):
        setattr(config.data, f"use_{name}", False)
    config.data.use_own, config.data.own_train = True, training
    texts = texts_of_rows(rows(5))
    first = trained_baselines(texts, config, cache_dir=tmp_path / "cache")
    assert [found.name for found in first.found] == ["position, length", "TF-IDF"]
    assert "labelled training steps of own" in first.found[1].about

    def refuse(*_: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(baseline_scores, "_training_steps", refuse)
    again = trained_baselines(texts, config, cache_dir=tmp_path / "cache")
    assert [found.about for found in again.found] == [found.about for found in first.found]
    for old, new in zip(first.found, again.found, strict=True):
        assert np.array_equal(old.confidence, new.confidence)
    with pytest.raises(AssertionError, match="fitted again"):
        trained_baselines(texts_of_rows(rows(6)), config, cache_dir=tmp_path / "cache")
