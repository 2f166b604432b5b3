"""The fitted baselines of an evaluation: on what a checkpoint was trained on, or cross-fitted on a file's own labels.

What cannot be fitted (no training data here, no text in the file) is left out, and a sentence says why. Scores of a
checkpoint's baselines are cached by what decides them: the labels it was trained on and the texts scored.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surestep.config import Config, DataConfig
from surestep.errors import ConfigError, DataError, StorageError
from surestep.evaluation.baselines.fitted import (
    MOST_STEPS,
    MOST_STEPS_TO_CHOOSE,
    NUM_FOLDS,
    STRENGTHS,
    Fit,
    FittedScores,
    FloatArray,
    ProblemArray,
    cross_fitted,
    draw_rows,
    position_and_length,
    tfidf,
)
from surestep.evaluation.baselines.step_texts import SeenSteps, seen_of_scored, seen_of_training
from surestep.files import write_whole
from surestep.metrics.report import Baseline
from surestep.scored import ScoredSteps
from surestep.scoring.examples_in_use import load_examples, longest_path
from surestep.scoring.stored_split import default_cache_dir
from surestep.scoring.training_set import TrainingSet, distinct_sets, label_means

if TYPE_CHECKING:
    from surestep.scoring.checkpoint.load import LoadedCheckpoint

FITS: Mapping[str, tuple[Fit, str]] = {
    "position, length": (position_and_length, "Position of the step and lengths of step and problem"),
    "TF-IDF": (tfidf, "Words of the step, the step before and the problem (TF-IDF)"),
}
_CACHE_VERSION = "2"
_FOLDERS = ("data_dir", "cache_dir", "prm800k_dir", "eqasc_dir", "reveal_dir")
_FILES = ("own_train", "own_validation", "own_test")


@dataclass(slots=True)
class Baselines:
    """What could be fitted, and why the rest could not."""

    baselines: list[Baseline] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FitTask:
    """One baseline that is to be fitted, or was fitted before.

    Attributes:
        name: short, for a table.
        about: what it knows and what it is fitted on, without a stop; how it was fitted follows.
        function: makes the scores; of a module, so that another process can call it.
        arguments: of `function`, made when they are needed.
        num_steps: how many scores there will be.
        path: where scores are kept; None: nowhere.
    """

    name: str
    about: str
    function: Callable[..., FittedScores]
    arguments: Callable[[], tuple[Any, ...]]
    num_steps: int
    path: Path | None = None

    def kept(self) -> FittedScores | None:
        """What was fitted before."""
        return None if self.path is None else _cached(self.path, self.num_steps)

    def keep(self, fitted: FittedScores) -> FittedScores:
        """What was fitted now, kept for the next evaluation."""
        if self.path is not None:
            _keep(self.path, fitted)
        return fitted

    def baseline(self, fitted: FittedScores) -> Baseline:
        """As a report has it."""
        return Baseline(self.name, f"{self.about}; {fitted.how}.", np.clip(fitted.confidence, 0.0, 1.0))


@dataclass(slots=True)
class FitPlan:
    """What can be fitted to compare some steps with, and why the rest cannot."""

    tasks: list[FitTask] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def fitted(self) -> Baselines:
        """All of it, fitted here and now."""
        found = [(task, task.kept() or task.keep(task.function(*task.arguments()))) for task in self.tasks]
        return Baselines([task.baseline(fitted) for task, fitted in found], self.left_out)


def trained_baselines(steps: ScoredSteps, loaded: LoadedCheckpoint, data: DataConfig, *, seed: int) -> Baselines:
    """Baselines fitted on the very labels that a checkpoint was trained on; see `trained_plan`."""
    return trained_plan(steps, loaded, data, seed=seed).fitted()


def trained_plan(steps: ScoredSteps, loaded: LoadedCheckpoint, data: DataConfig, *, seed: int) -> FitPlan:
    """Baselines fitted on the very labels that a checkpoint was trained on.

    Those are what is left of its training splits after held-out problems, `remove_overlap`, `max_train_samples` and
    the limits `max_length` and `max_steps_per_example`.

    Args:
        steps: what was scored.
        loaded: the checkpoint.
        data: where the training data lies now.
        seed: draws the training steps, where there are more than a fit takes.
    """
    texts = seen_of_scored(steps)
    if texts is None:
        return FitPlan(left_out=["the steps scored have no text"])
    try:
        training = list(training_sets(loaded, data).values())
    except (DataError, ConfigError) as error:
        return FitPlan(left_out=[f"baselines fitted on training data: {error}"])
    folder = (data.cache_dir or default_cache_dir()) / "baselines" / _cache_key(training, texts)
    size = sum(dataset.num_labels for dataset in training)
    used = f"{MOST_STEPS:,} of {size:,}" if size > MOST_STEPS else f"{size:,}"
    names = ", ".join(dict.fromkeys(dataset.name for dataset in training))
    said = f"fitted on {used} labelled training steps of {names}"
    fitted_on = cache(lambda: training_steps(training, seed=seed))

    def arguments() -> tuple[Any, ...]:
        return (*fitted_on(), texts)

    return FitPlan(
        [
            FitTask(name, f"{about}; {said}", fit, arguments, len(texts), folder / f"{fit.__name__}.npz")
            for name, (fit, about) in FITS.items()
        ]
    )


def own_baselines(steps: ScoredSteps) -> Baselines:
    """Baselines fitted on the evaluated labels themselves, each step by a fit on other problems.

    They know data of this very kind, which the scorer may not: to beat them is harder than to beat baselines from
    elsewhere, and to fall short of them is no proof of a bad scorer.
    """
    texts = seen_of_scored(steps)
    if texts is None:
        return Baselines(left_out=["position, length and TF-IDF: not every labelled row has a `text`"])
    measured = steps.measured()
    if measured.num_problems < NUM_FOLDS:
        few = f"position, length and TF-IDF: fewer than {NUM_FOLDS} problems to cross-fit over"
        return Baselines(left_out=[few])
    capped = f", at most {MOST_STEPS:,} steps a fit" if len(texts) > MOST_STEPS else ""
    how = f"cross-fitted over the problems evaluated here ({NUM_FOLDS} folds{capped}), no training data"
    tasks = [
        FitTask(
            name,
            f"{about}; {how}",
            cross_fitted,
            partial(tuple, (fit, texts, measured.label, measured.problem)),
            len(texts),
        )
        for name, (fit, about) in FITS.items()
    ]
    return FitPlan(tasks).fitted()


def _training_config(folder: Path, data: DataConfig) -> Config:
    """The checkpoint in `folder` says what it was trained on; `data` says where that lies now."""
    from surestep.scoring.checkpoint.load import read_config

    trained = read_config(folder)
    for name in _FOLDERS:
        setattr(trained.data, name, getattr(data, name))
    for name in _FILES:
        path = getattr(trained.data, name)
        if path is not None and not path.exists():
            setattr(trained.data, name, getattr(data, name))
    return trained


def training_steps(training: Sequence[TrainingSet], *, seed: int) -> tuple[SeenSteps, FloatArray, ProblemArray]:
    """At most `MOST_STEPS` of the labelled steps: what is seen of them, their labels [L] and their problems [L]."""
    labelled = [dataset.labelled_steps() for dataset in training]
    ends = np.cumsum([len(steps.label) for steps in labelled])
    rows = draw_rows(int(ends[-1]), most=MOST_STEPS, seed=seed)
    seen = SeenSteps()
    for dataset, steps, end in zip(training, labelled, ends.tolist(), strict=True):
        first = end - len(steps.label)
        part = seen_of_training(dataset, steps, (rows[(rows >= first) & (rows < end)] - first).tolist())
        seen = SeenSteps(
            seen.problem + part.problem,
            seen.previous + part.previous,
            seen.step + part.step,
            seen.position + part.position,
        )
    label = np.concatenate([steps.label for steps in labelled])[rows]
    keys = np.concatenate([steps.problem_key for steps in labelled])[rows]
    return seen, label, np.unique(keys, return_inverse=True)[1].astype(np.int64)


def training_sets(loaded: LoadedCheckpoint, data: DataConfig) -> dict[str, TrainingSet]:
    """What the checkpoint was trained on, by dataset; of a run in phases, what its phases drew together.

    Raises:
        DataError, ConfigError: the training data is not where `data` says, or it is not what the checkpoint was
            trained on.
    """
    built, trained = loaded.built, _training_config(loaded.folder, data)
    limit = loaded.manifest.backbone.get("max_positions")
    found: list[TrainingSet] = []
    for phase in trained.of_phases():
        max_length, _ = longest_path(phase.data.max_length, limit, backbone=trained.model.backbone)
        examples = load_examples(
            phase.data,
            built.tokenizer,
            built.formatter,
            seed=trained.training.seed,
            max_length=max_length,
            run_data=trained.data if trained.phases else None,
        )
        found += examples.training.values()
    sets = distinct_sets(found) if trained.phases else found
    for name, now in label_means(sets).items():
        then = loaded.manifest.label_means.get(name)
        if then is not None and not math.isclose(then, now, rel_tol=1e-6):
            raise DataError(
                f"{name}: the training data here is not what {loaded.folder} was trained on (mean label "
                f"{now:.6f}, then {then:.6f}); name the data of that time with --data_dir or --own_train"
            )
    names = [dataset.name for dataset in sets]
    return {
        name if names.count(name) == 1 else f"{name} ({names[: index + 1].count(name)} of {names.count(name)})": dataset
        for index, (name, dataset) in enumerate(zip(names, sets, strict=True))
    }


def _cache_key(training: Sequence[TrainingSet], texts: SeenSteps) -> str:
    """Changes with everything that the scores depend on."""
    key = hashlib.sha256()
    for part in (_CACHE_VERSION, MOST_STEPS, MOST_STEPS_TO_CHOOSE, STRENGTHS, texts.digest()):
        key.update(f"{part}\0".encode())
    for dataset in training:
        # A store's folder is named by all that decides its content.
        key.update(f"{dataset.store.folder.name}\0{dataset.max_length}\0{dataset.max_steps}\0".encode())
        key.update(np.ascontiguousarray(dataset.chosen, np.int64).tobytes())
    return key.hexdigest()[:24]


def _cached(path: Path, num_steps: int) -> FittedScores | None:
    """Scores kept earlier; None where there are none, or where they cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as baselines:
            scores = FittedScores(
                np.asarray(baselines["confidence"], np.float64), str(json.loads(str(baselines["how"])))
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return scores if scores.confidence.shape == (num_steps,) else None


def _keep(path: Path, fitted: FittedScores) -> None:
    try:
        with write_whole(path, "wb") as file:
            np.savez(file, confidence=fitted.confidence, how=np.array(json.dumps(fitted.how)))
    except StorageError:
        return  # a folder that cannot be written costs only time
