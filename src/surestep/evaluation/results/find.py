"""From what a person names (a result, its folder, a checkpoint, an experiment) to the evaluation that is meant.

Knows where `surestep train` and `surestep evaluate` leave their results; measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surestep.disk import real_path
from surestep.errors import CheckpointError, ConfigError, DataError
from surestep.evaluation.results.figures_schema import check_figures
from surestep.evaluation.results.predictions import predictions_places
from surestep.files import CONFIG, MANIFEST, METRICS
from surestep.scoring.checkpoint.find import best_checkpoint, list_checkpoints
from surestep.untrusted import read_json


@dataclass(frozen=True)
class FoundEvaluation:
    """One evaluation on disk.

    Attributes:
        name: what the person wrote.
        path: its `eval_metrics.json`.
        report: the content of that file.
        predictions: the likeliest of `predictions_places`: beside it, or the file that it reports on.
    """

    name: str
    path: Path
    report: dict[str, Any]
    predictions: Path | None

    @property
    def split(self) -> str:
        """What was scored: test, validation, or what the file says."""
        return str(self.report.get("split", "unknown"))

    def part(self, name: str) -> dict[str, Any]:
        """What the report says under a name; empty where it says nothing, or is older than that."""
        found = self.report.get(name)
        return found if isinstance(found, dict) else {}

    @property
    def step(self) -> int | None:
        """The checkpoint's step, where the report or the checkpoint's name says it."""
        step = self.report.get("step")
        name = Path(str(self.report.get("checkpoint", ""))).name.removeprefix("checkpoint_step_")
        return step if isinstance(step, int) else int(name) if name.isdecimal() else None

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.path.parent


def find_evaluation(run: Path, *, split: str | None = None) -> FoundEvaluation:
    """The evaluation that `run` names.

    Args:
        run: an `eval_metrics.json`, its folder, a `checkpoint_step_<N>`, or an experiment's folder.
        split: take a result of this split only. Unset: for a checkpoint its own evaluation wherever one is, for an
            experiment the validation result of its best checkpoint.

    Raises:
        CheckpointError: a checkpoint or experiment that was not evaluated; the message has the command.
        ConfigError: `run` is none of these, or its result is of another split.
        DataError: the result cannot be read.
    """
    if run.is_file():
        found = read_evaluation(run, name=str(run))
    elif (run / METRICS).is_file():
        found = read_evaluation(run / METRICS, name=str(run))
    elif (run / MANIFEST).is_file():
        return _of_checkpoint(run, split, name=str(run))
    elif (run / CONFIG).is_file() or list_checkpoints(run):
        return _of_experiment(run, split)
    else:
        what = "holds none of these" if run.is_dir() else "is not there"
        raise ConfigError(
            f"{run} {what}; allowed: an {METRICS}, its folder, a checkpoint_step_<N>, or an experiment's folder"
        )
    if split is not None and found.split != split:
        raise ConfigError(f"{run} is a result of the {found.split} split; asked for: {split} (--split)")
    return found


def find_scorer_evaluation(spec: str, outputs: Path, *, split: str | None = None) -> FoundEvaluation:
    """The latest evaluation that `surestep evaluate --scorer SPEC` left in `outputs`.

    Raises:
        ConfigError: there is none; the message has the command.
        DataError: the result cannot be read.
    """
    found: list[tuple[str, int, FoundEvaluation]] = []
    for path in sorted(outputs.glob(f"eval_*/{METRICS}")):
        try:
            scorer = read_json(path, allow_nan=True).get("scorer")
        except (OSError, ValueError, AttributeError):
            continue  # somebody else's result, which nobody asked for
        if isinstance(scorer, dict) and scorer.get("spec") == spec:
            one = read_evaluation(path, name=spec)
            if split in {None, one.split}:
                # Two may be of one second; a copy of a folder has times of its own, so the report's comes first.
                found.append((str(one.report.get("made", "")), path.stat().st_mtime_ns, one))
    if not found:
        raise ConfigError(
            f"{outputs} holds no evaluation of the scorer {spec}{f' on its {split} split' if split else ''}; make one "
            f"with `surestep evaluate --scorer {spec}{f' --split {split}' if split else ''} --save_predictions true`, "
            "or name its folder"
        )
    return max(found, key=lambda one: one[:2])[2]


def read_evaluation(path: Path, *, name: str) -> FoundEvaluation:
    """Read one `eval_metrics.json`.

    Raises:
        DataError: it cannot be read, or holds no report, or the predictions beside it are of another evaluation.
    """
    try:
        report = read_json(path, allow_nan=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"not valid JSON: {error}"
        raise DataError(f"cannot be read ({reason}); write it again with `surestep evaluate`", path=path) from None
    if not isinstance(report, dict) or not all(isinstance(report.get(k), dict) for k in ("overall", "per_dataset")):
        raise DataError("holds no 'overall' and 'per_dataset'; name what `surestep evaluate` wrote", path=path)
    try:
        check_figures(report)
    except ValueError as error:
        raise DataError(f"holds no figures ({error}); write it again with `surestep evaluate`", path=path) from None
    places = predictions_places(report, path.parent)
    return FoundEvaluation(name, path, report, places[0] if places else None)


def _of_checkpoint(folder: Path, split: str | None, *, name: str) -> FoundEvaluation:
    for path in _places(folder):
        found = read_evaluation(path, name=name)
        if is_about(found.report, folder) and split in {None, found.split}:
            return found
    raise CheckpointError(
        f"{folder} has no evaluation{f' of its {split} split' if split else ''}; make one with "
        f"`surestep evaluate --checkpoint {folder}{f' --split {split}' if split else ''} --save_predictions true`"
    )


def _of_experiment(folder: Path, split: str | None) -> FoundEvaluation:
    path = real_path(folder).parent / f"eval_{real_path(folder).name}" / METRICS
    if path.is_file() and split in {None, "validation"}:
        return read_evaluation(path, name=str(folder))
    checkpoints = list_checkpoints(folder)
    if not checkpoints:
        raise CheckpointError(f"{folder} holds no checkpoint and no result; finish its training with --resume")
    return _of_checkpoint(best_checkpoint(folder) or checkpoints[-1][1], split, name=str(folder))


def _places(checkpoint: Path) -> Iterator[Path]:
    """Results that may be about a checkpoint: its own place first, then all evaluations beside its experiment."""
    from surestep.scoring.checkpoint.load import read_config

    here = real_path(checkpoint)
    config = read_config(checkpoint)
    seen = set()
    # Beside the experiment as it lies now, and where the configuration once put it.
    for outputs in dict.fromkeys((here.parent.parent, real_path(config.output_dir))):
        own = outputs / f"eval_{here.parent.name}" / here.name / METRICS
        others = [*sorted(outputs.glob(f"eval_*/{METRICS}")), *sorted(outputs.glob(f"eval_*/*/{METRICS}"))]
        for path in (own, *others):
            if path not in seen and path.is_file():
                seen.add(path)
                yield path


def is_about(report: dict[str, Any], checkpoint: Path) -> bool:
    """Whether a report says that it is about this checkpoint.

    Compared by the names of experiment and step, since outputs are moved and named relative to many folders.
    """
    said = Path(str(report.get("checkpoint", "")))
    here = real_path(checkpoint)
    if not said.is_absolute() and len(said.parts) < 2:  # written from within the experiment's folder
        return said.name == here.name
    return (said.parent.name, said.name) == (here.parent.name, here.name)
