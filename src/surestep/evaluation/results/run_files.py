"""What lies around an evaluation: the checkpoint that was scored and the run that made it.

Finds and reads; a file that is not there is a sentence in `missing`, never an error, because a report without it is
still a report. Knows no chart and no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surestep.disk import real_path
from surestep.errors import CheckpointError
from surestep.files import CALIBRATION, CONFIG, DATA_REPORT, MANIFEST, RUN_LOG
from surestep.untrusted import read_json, read_json_lines


@dataclass(frozen=True)
class RunFiles:
    """What was found.

    Attributes:
        checkpoint: the checkpoint's folder, or None.
        manifest: its manifest as written (not verified here), or empty.
        settings: the run's configuration, or empty.
        calibration: its calibration map, or empty.
        data_report: what the run was trained on, or empty.
        log: the lines of the run's `metrics.jsonl`.
        missing: a sentence for each thing that a report could have shown.
    """

    checkpoint: Path | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    data_report: Mapping[str, Any] = field(default_factory=dict)
    log: tuple[Mapping[str, Any], ...] = ()
    missing: tuple[str, ...] = ()


def find_run(report: Mapping[str, Any], folder: Path, *, checkpoint: Path | None = None) -> RunFiles:
    """Find the checkpoint that `report` speaks of, and its run's files beside it.

    Args:
        report: the content of `eval_metrics.json`.
        folder: where that lies; results stand beside runs, so it also says where to look.
        checkpoint: where the checkpoint lies now; unset: as the report says, or at its usual place.

    Raises:
        CheckpointError: `checkpoint` is given and is none, or is of another step.
    """
    said = report.get("checkpoint")
    settings = report.get("settings") or {}
    if not isinstance(said, str) and checkpoint is None:
        return RunFiles(
            settings=settings,
            missing=("Training curve, mixture and model card: these figures name no checkpoint.",),
        )
    found = checkpoint or next((path for path in _places(Path(str(said)), folder) if _is_checkpoint(path)), None)
    if found is None:
        return RunFiles(
            settings=settings,
            missing=(
                f"Training curve, mixture and the model's origin: the checkpoint {said} is not there any more "
                "(surestep report --checkpoint FOLDER names its new place).",
            ),
        )
    manifest = _read_object(found / MANIFEST)
    if checkpoint is not None:
        _check_is_the_one(checkpoint, manifest, report)
    run, missing = found.parent, []
    data_report = _read_object(run / DATA_REPORT)
    if not data_report:
        missing.append(f"Mixture: {run / DATA_REPORT} is not there.")
    log = tuple(_read_lines(run / RUN_LOG))
    if not log:
        missing.append(f"Training curve: {run / RUN_LOG} is not there.")
    return RunFiles(
        checkpoint=found,
        manifest=manifest,
        settings=settings or _read_object(found / CONFIG),
        calibration=_read_object(found / CALIBRATION),
        data_report=data_report,
        log=log,
        missing=tuple(missing),
    )


def _places(said: Path, folder: Path) -> Iterator[Path]:
    """Where the report says; else `<experiment>/<checkpoint>` beside the folder or above it."""
    yield said
    for parent in list(real_path(folder).parents)[:3]:
        yield parent / said.parent.name / said.name


def _is_checkpoint(path: Path) -> bool:
    try:
        return (path / MANIFEST).is_file()
    except OSError:  # a name that no file can have
        return False


def _check_is_the_one(checkpoint: Path, manifest: Mapping[str, Any], report: Mapping[str, Any]) -> None:
    if not manifest:
        raise CheckpointError(
            f"{checkpoint} holds no readable {MANIFEST}: name a checkpoint_step_<N> with --checkpoint"
        )
    if report.get("step") is not None and manifest.get("step") != report["step"]:
        raise CheckpointError(
            f"{checkpoint} is of step {manifest.get('step')}, the evaluation of step {report['step']}; name the "
            "checkpoint that was evaluated with --checkpoint"
        )


def _read_object(path: Path) -> dict[str, Any]:
    try:
        values = read_json(path, allow_nan=True)
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from read_json_lines(path)
    except (OSError, ValueError):
        return
