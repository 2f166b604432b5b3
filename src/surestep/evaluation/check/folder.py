"""The points of the checklist that are about files: the checkpoint, its configuration, its evaluation, its documents.

Knows what a checkpoint and an evaluation leave on disk; measures nothing. What a machine cannot see (that somebody
read the errors, that a copy lies elsewhere) a person signs for: `surestep.evaluation.check.sign_off`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from surestep.config import DataConfig
from surestep.counted import counted
from surestep.disk import real_path
from surestep.errors import CheckpointError, SurestepError
from surestep.evaluation.check.finding import Finding
from surestep.evaluation.results.find import FoundEvaluation, is_about
from surestep.evaluation.results.predictions import read_predictions_of
from surestep.files import CARD, CONFIG, REPORT
from surestep.metrics.error_analysis.wording import error_lines
from surestep.metrics.report.wording import figure
from surestep.scoring.checkpoint.calibration_file import read_calibration
from surestep.scoring.checkpoint.manifest import Manifest, read_manifest

CONFIDENTLY_WRONG = 0.8
"""A confidence this far from its label is a mistake worth reading."""


def check_intact(folder: Path) -> tuple[Manifest | None, Finding]:
    """Whether every file is there and unchanged; the manifest, where it is."""
    what = "every file as its manifest says"
    try:
        manifest = read_manifest(folder, with_state=False)
    except CheckpointError as error:
        return None, Finding(
            "intact", what, "fail", value="damaged", target="intact", detail=str(error), mend="restore it from a backup"
        )
    files = len(manifest.files)
    return manifest, Finding("intact", what, "pass", value=f"{counted(files, 'file')}", target="intact")


def check_steps(folder: Path, manifest: Manifest | None, least: int) -> Finding:
    """Whether it was trained for as many steps as demanded."""
    said = real_path(folder).name.removeprefix("checkpoint_step_")
    step = manifest.step if manifest is not None else int(said) if said.isdecimal() else None
    enough = step is not None and step >= least
    return Finding(
        "steps",
        "optimiser steps",
        "pass" if enough else "fail",
        value="unknown" if step is None else f"{step:,}",
        target=f"≥ {least:,}",
        detail="" if manifest is not None else "by the folder's name, since the manifest cannot be trusted",
        mend="" if enough else "train on with --resume and a larger --max_steps, or check a smaller --tier",
        numbers={"value": step, "target": least},
    )


def check_config(folder: Path, seed: int | None, error: str) -> Finding:
    """Whether its configuration is saved with it: `seed` is the one it names, None where it cannot be read."""
    path = folder / CONFIG
    if seed is None:
        return Finding(
            "config", "configuration saved", "fail", detail=error, mend="restore the checkpoint from a backup"
        )
    value = f"{path.name}, seed {seed}"
    return Finding("config", "configuration saved", "pass", value=value, target="readable")


def names_of_tests(data: DataConfig) -> list[str]:
    """Names of the datasets in the mixture that have a test split."""
    names = data.used()
    if data.own_test is None:
        names = [name for name in names if name != "own"]
    return [data.own_name if name == "own" else name for name in names]


def check_evaluated(folder: Path, found: FoundEvaluation | None, error: str, data: DataConfig | None) -> list[Finding]:
    """Whether every test set of the mixture was scored by this very checkpoint."""
    command = f"surestep evaluate --checkpoint {folder} --save_predictions true"
    if found is None:
        return [Finding("evaluated", "test splits", "fail", value="not evaluated", detail=error, mend=command)]
    findings = []
    if not is_about(found.report, folder):
        about = found.report.get("checkpoint", "something that it does not name")
        detail = f"{found.path} is about {about}"
        findings.append(
            Finding("evaluated", "of this checkpoint", "fail", value="of another", detail=detail, mend=command)
        )
    if found.split != "test":
        value = f"the {found.split} split"
        findings.append(Finding("evaluated", "on the test split", "fail", value=value, target="test", mend=command))
    for name in [] if data is None else names_of_tests(data):
        section: dict[str, Any] = found.report["per_dataset"].get(name, {})
        steps = section.get("num_steps") or 0
        findings.append(
            Finding(
                "evaluated",
                f"{name} test",
                "pass" if steps else "fail",
                value=f"{counted(steps, 'labelled step')} in {counted(section.get('num_problems') or 0, 'problem')}",
                target="scored",
                mend="" if steps else command,
                numbers={"dataset": name, "num_steps": steps},
            )
        )
    return findings


def check_calibration(folder: Path, found: FoundEvaluation | None) -> list[Finding]:
    """Whether ECE was measured on each dataset, and which calibration map the checkpoint holds."""
    findings = []
    for name, section in [] if found is None else found.report["per_dataset"].items():
        ece = section.get("ece")
        findings.append(
            Finding(
                "calibration",
                f"{name} ECE measured",
                "fail" if ece is None else "pass",
                value="undefined" if ece is None else figure(ece),
                detail="its target is among the figures; read it together with the reliability table and skill",
                mend="evaluate again" if ece is None else "",
            )
        )
    return [*findings, _check_map(folder, found)]


def _check_map(folder: Path, found: FoundEvaluation | None) -> Finding:
    what = "map in the checkpoint"
    try:
        stored = read_calibration(folder)
    except CheckpointError as error:
        return Finding("calibration", what, "fail", value="unreadable", detail=str(error), mend="fit it anew")
    if stored is None:
        return Finding("calibration", what, "info", value="none: scores are as trained")
    maps = {"pooled": stored.pooled, **stored.datasets}
    value = ", ".join(f"{name} {made.kind}" for name, made in maps.items())
    now = {name: stored.to_json()[name] for name in ("pooled", "datasets")}
    evaluated = {} if found is None else found.report.get("calibration") or {}
    if found is not None and (evaluated.get("maps") != now or evaluated.get("applied") == "none"):
        return Finding(
            "calibration",
            what,
            "fail",
            value=value,
            target="the one evaluated",
            detail="the evaluation used no map, or another one",
            mend=f"surestep evaluate --checkpoint {folder} --save_predictions true",
        )
    return Finding("calibration", what, "info", value=value)


def check_error_analysis(found: FoundEvaluation | None) -> Finding:
    """Whether the errors can be read: the report or the predictions are there. That somebody did, no file shows."""
    what, detail = "errors can be read", "a file shows that they can be read, not that somebody did"
    if found is None:
        return Finding(
            "error_analysis", what, "fail", value="not evaluated", mend="evaluate with --save_predictions true"
        )
    names = [name for name in (REPORT,) if (found.folder / name).is_file()]
    if found.predictions is not None:
        try:
            steps = read_predictions_of(found.report, found.folder)
        except SurestepError as error:
            return Finding("error_analysis", what, "fail", value="unreadable", detail=str(error), mend="evaluate again")
        assert steps is not None, "a place of predictions was found"
        scored = steps.measured()
        far = int((np.abs(scored.confidence - scored.label) >= CONFIDENTLY_WRONG).sum())
        names.append(
            f"{found.predictions.name} ({far:,} of {counted(len(scored), 'step')} off by {CONFIDENTLY_WRONG} or more)"
        )
    if not names:
        mend = "evaluate with --save_predictions true, then read the worst fifty"
        return Finding("error_analysis", what, "fail", value="no report, no predictions", detail=detail, mend=mend)
    said = error_lines((found.report.get("error_analysis") or {}).get("per_dataset") or {})
    detail = "; ".join([*(sentence.rstrip(".") for sentence in said), detail])
    return Finding(
        "error_analysis", what, "pass", value=", ".join(names), target="report or predictions", detail=detail
    )


def check_documented(found: FoundEvaluation | None) -> Finding:
    """Whether a model card lies beside the results."""
    what, target = "results documented", CARD
    if found is not None and (found.folder / CARD).is_file():
        return Finding("documented", what, "pass", value=str(found.folder / CARD), target=target)
    mend = "evaluate first" if found is None else f"surestep report {found.folder}"
    return Finding("documented", what, "fail", value=f"no {CARD}", target=target, mend=mend)
