"""The fitted baselines of an evaluation: on the training split of a checkpoint, or cross-fitted on a file's own labels.

What cannot be fitted (no training data here, no text in the file) is left out, and a sentence says why. Scores of a
checkpoint's baselines are cached by what decides them: the training data and the texts scored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surestep.config import Config
from surestep.data.records.read_report import ReadReport
from surestep.data.sources.choose import Source, enabled_sources
from surestep.errors import ConfigError, DataError
from surestep.evaluation.baselines.fitted import (
    MOST_STEPS,
    NUM_FOLDS,
    Fit,
    cross_fitted,
    position_and_length,
    sample,
    tfidf,
)
from surestep.evaluation.baselines.step_texts import StepTexts, add_tree
from surestep.metrics.report import Baseline
from surestep.scored import ScoredSteps

FITS: Mapping[str, tuple[Fit, str]] = {
    "position, length": (position_and_length, "Position of the step and lengths of step and problem"),
    "TF-IDF": (tfidf, "Words of the step, the step before and the problem (TF-IDF)"),
}
_CACHE_VERSION = "1"


@dataclass(slots=True)
class Baselines:
    """What could be fitted, and why the rest could not."""

    found: list[Baseline] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def trained_baselines(texts: StepTexts | None, config: Config, *, cache_dir: Path) -> Baselines:
    """Baselines fitted on the training split of the enabled datasets.

    Args:
        texts: the steps that were scored, in the order of the predictions; None where they are not known.
        config: names the training data; that of the checkpoint, with flags over it.
        cache_dir: where scores are kept; a folder that cannot be written costs only time.
    """
    result = Baselines()
    if texts is None:
        result.left_out.append("the steps scored have no text")
        return result
    try:
        sources = enabled_sources(config.data, "train", seed=config.training.seed)
        fingerprints = [source.fingerprint() for source in sources]
    except (DataError, ConfigError) as error:
        result.left_out.append(f"baselines fitted on training data: {error}")
        return result
    key = hashlib.sha256("\0".join((_CACHE_VERSION, str(MOST_STEPS), *fingerprints, texts.digest())).encode())
    folder = cache_dir / "baselines" / key.hexdigest()[:24]
    training: tuple[StepTexts, npt.NDArray[np.float64], int] | None = None
    for name, (fit, about) in FITS.items():
        path = folder / f"{fit.__name__}.npy"
        scores, size = _cached(path, len(texts))
        if scores is None:
            try:
                training = training or _training_steps(sources, config.training.seed)
            except DataError as error:
                result.left_out.append(f"baselines fitted on training data: {error}")
                return result
            train, label, size = training
            scores = np.clip(fit(train, label, texts), 0.0, 1.0)
            _keep(path, scores, size)
        used = f"{min(size, MOST_STEPS):,} of {size:,}" if size > MOST_STEPS else f"{size:,}"
        names = ", ".join(source.name for source in sources)
        result.found.append(Baseline(name, f"{about}; fitted on {used} labelled training steps of {names}.", scores))
    return result


def own_baselines(texts: StepTexts | None, predictions: ScoredSteps) -> Baselines:
    """Baselines fitted on the evaluated labels themselves, each step by a fit on other problems.

    They know data of this very kind, which the scorer may not: to beat them is harder than to beat baselines from
    elsewhere, and to fall short of them is no proof of a bad scorer.
    """
    result = Baselines()
    if texts is None:
        result.left_out.append("position, length and TF-IDF: not every labelled row has a `text`")
        return result
    if predictions.num_problems < NUM_FOLDS:
        result.left_out.append(f"position, length and TF-IDF: fewer than {NUM_FOLDS} problems to cross-fit over")
        return result
    capped = f", at most {MOST_STEPS:,} steps a fit" if len(texts) > MOST_STEPS else ""
    for name, (fit, about) in FITS.items():
        scores = np.clip(cross_fitted(fit, texts, predictions.label, predictions.problem), 0.0, 1.0)
        about = f"{about}; cross-fitted over the problems evaluated here ({NUM_FOLDS} folds{capped}), no training data."
        result.found.append(Baseline(name, about, scores))
    return result


def _training_steps(sources: Sequence[Source], seed: int) -> tuple[StepTexts, npt.NDArray[np.float64], int]:
    """At most `MOST_STEPS` labelled training steps, and how many there are."""
    texts, labels = StepTexts(), list[float]()
    for source in sources:
        for tree in source.read(ReadReport()):
            add_tree(texts, labels, tree)
    return *sample(texts, np.array(labels), seed=seed), len(labels)


def _cached(path: Path, num_steps: int) -> tuple[npt.NDArray[np.float64] | None, int]:
    """Scores kept earlier, and how many training steps there were; the number stands behind the scores."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        return None, 0
    if found.shape != (num_steps + 1,):
        return None, 0
    return np.asarray(found[:-1], dtype=np.float64), int(found[-1])


def _keep(path: Path, scores: npt.NDArray[np.float64], size: int) -> None:
    beside = path.with_suffix(".part.npy")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(beside, np.append(scores, float(size)), allow_pickle=False)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
