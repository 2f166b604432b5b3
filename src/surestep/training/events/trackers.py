"""The same figures for experiment trackers: TensorBoard, W&B, MLflow and Aim, by Accelerate's trackers.

What a run tells goes to each of them; `metrics.jsonl` holds it all besides, so a tracker that fails is said once and
left alone. A resumed run goes on in the tracker's run of before, found by the name that `trackers.json` keeps.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

from pydantic import TypeAdapter

from surestep.config.trackers import TrackerName, wanted_trackers
from surestep.errors import CheckpointError, ConfigError
from surestep.files import TRACKER_RUNS, write_json
from surestep.terminal_text import in_one_line
from surestep.training.events import TrainingEvents
from surestep.training.events.records import StepRecord, ValidationRecord
from surestep.untrusted import Matching, checked, read_json

PROJECT = "surestep"
"""W&B's project and MLflow's and Aim's experiment, unless WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME name another."""
FINAL_FIGURES = ("mse", "mae", "r2", "ece", "nll", "brier", "auroc", "accuracy", "skill")
"""What is told of the final report, where it has a value."""

_RUN_NAME = Matching(
    r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", "at most 128 letters, digits and _ . -, a letter or digit first"
)
_RUN_NAMES: TypeAdapter[dict[TrackerName, str]] = TypeAdapter(dict[TrackerName, Annotated[str, _RUN_NAME]])


@dataclass(frozen=True)
class Run:
    """What a tracker is opened for.

    Attributes:
        folder: of the run.
        name: of the run.
        resumed_step: after which it goes on; 0: it is new.
        known_as: the tracker's own name of it; None: it knows none.
    """

    folder: Path
    name: str
    resumed_step: int
    known_as: str | None


@dataclass(frozen=True)
class Tracker:
    """A tracker as it is used here.

    Attributes:
        module: what must be importable.
        install: the command that brings it.
        open: makes Accelerate's tracker; `start` is still to be called.
        known_as: the run's name in a started tracker; "" where resuming needs none.
        takes_settings_again: whether a resumed run may store its settings once more.
    """

    module: str
    install: str
    open: Callable[[Run], Any]
    known_as: Callable[[Any], str]
    takes_settings_again: bool

    @property
    def is_installed(self) -> bool:
        """Whether the package is there; a folder of the same name, which W&B and MLflow leave, is none."""
        spec = find_spec(self.module)
        return spec is not None and spec.origin is not None


def _tensorboard(run: Run) -> Any:
    from accelerate.tracking import TensorBoardTracker

    # purge_step hides what an interrupted run logged beyond the checkpoint it resumes from.
    purge = run.resumed_step + 1 if run.resumed_step else None
    return TensorBoardTracker("tensorboard", logging_dir=str(run.folder), purge_step=purge)


def _wandb(run: Run) -> Any:
    from accelerate.tracking import WandBTracker

    return WandBTracker(os.environ.get("WANDB_PROJECT", PROJECT), name=run.name, id=run.known_as, resume="allow")


def _mlflow(run: Run) -> Any:
    from accelerate.tracking import MLflowTracker

    # At its end it would write an address to standard output, which a program may read.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    return MLflowTracker(experiment_name=PROJECT, run_name=run.name, run_id=run.known_as)


def _aim(run: Run) -> Any:
    from accelerate.tracking import AimTracker

    return AimTracker(run.name, run_hash=run.known_as, experiment=PROJECT)


TRACKERS: dict[TrackerName, Tracker] = {
    "tensorboard": Tracker("tensorboard", "pip install 'surestep[tensorboard]'", _tensorboard, lambda _run: "", False),
    "wandb": Tracker("wandb", "pip install wandb", _wandb, lambda run: str(run.id), True),
    "mlflow": Tracker("mlflow", "pip install mlflow", _mlflow, lambda run: str(run.info.run_id), False),
    "aim": Tracker("aim", "pip install aim", _aim, lambda run: str(run.hash), True),
}


def trackers_to_use(report_to: str | list[TrackerName], *, tensorboard: bool) -> tuple[list[TrackerName], list[str]]:
    """The trackers of a run, and a line where one that would be used is not installed.

    Raises:
        ConfigError: one that was asked for by name is not installed.
    """
    names, may_lack = wanted_trackers(report_to, tensorboard=tensorboard)
    missing = [name for name in names if not TRACKERS[name].is_installed]
    if missing and not may_lack:
        raise ConfigError(
            [
                f"training.report_to names {name}, which is not installed: {TRACKERS[name].install}, or leave it out"
                for name in missing
            ]
        )
    used = [name for name in names if name not in missing]
    if report_to == "auto" and missing:
        return used, [f"TensorBoard logs are off: install it with `{TRACKERS['tensorboard'].install}`"]
    if report_to == "all" and not used:
        return used, [f"no tracker is installed (looked for {', '.join(names)}): figures go to metrics.jsonl alone"]
    return used, []


class Trackers(TrainingEvents):
    """Everything that is logged, to each tracker; a context, at whose end they are closed.

    Args:
        names: as `trackers_to_use` gives them.
        folder: of the run, which is there.
        name: of the run.
        settings: the configuration, nested; told once.
        paths: places that a reader of the tracker looks for, by name; told with the settings.
        resumed_step: after which the run goes on; 0: it is new.
        say: is told, in a line, where each run is found, and of each tracker that fails.

    Raises:
        CheckpointError: `trackers.json` of a resumed run cannot be read.
    """

    def __init__(
        self,
        names: list[TrackerName],
        folder: Path,
        name: str,
        *,
        settings: Mapping[str, Any],
        paths: Mapping[str, Path],
        resumed_step: int,
        say: Callable[[str], None],
    ) -> None:
        self._say = say
        self._open: dict[TrackerName, Any] = {}
        self._failed: dict[TrackerName, Any] = {}
        known_as: dict[str, str] = _read_run_names(folder) if resumed_step and names else {}
        told = {**dict(_flat(settings)), **{f"paths.{key}": str(path.absolute()) for key, path in paths.items()}}
        for tracker in names:
            self._start(tracker, Run(folder, name, resumed_step, known_as.get(tracker)), told)
        for tracker, made in self._open.items():
            if said := TRACKERS[tracker].known_as(made.tracker):
                known_as[tracker] = said
        if known_as:
            write_json(folder / TRACKER_RUNS, known_as)

    def _start(self, name: TrackerName, run: Run, told: dict[str, Any]) -> None:
        kind = TRACKERS[name]

        def start() -> None:
            made = self._open[name] = kind.open(run)
            made.start()
            said = kind.known_as(made.tracker)
            knows_settings = run.known_as is not None if said else run.resumed_step > 0
            if not knows_settings or kind.takes_settings_again:
                made.store_init_configuration(told)
            if said:
                begins = "" if run.known_as or not run.resumed_step else f", which begins after step {run.resumed_step}"
                self._say(f"tracked by {name}: run {said}{begins}")

        self._try(name, start)

    def _try(self, name: TrackerName, act: Callable[[], None]) -> None:
        """`act`; where it fails, the tracker is left alone from now on, and the user is told why."""
        try:
            act()
        except Exception as error:  # whatever a tracker or its network raises must not end the run
            self._failed[name] = self._open.pop(name, None)
            reason = in_one_line(f"{type(error).__name__}: {error}", longest=300)
            self._say(f"{name} failed and gets no more of this run ({reason}); metrics.jsonl holds everything")

    def _log(self, values: Mapping[str, float], step: int) -> None:
        for name, tracker in list(self._open.items()):
            with redirect_stdout(sys.stderr):  # the command's own output may be read by a program
                self._try(name, partial(tracker.log, dict(values), step=step))

    def logged(self, record: StepRecord) -> None:
        figures = ("loss", "loss_per_label", "learning_rate", "grad_norm", "tokens_per_s", "labels_per_s", "memory_gb")
        values = {f"train/{name}": getattr(record, name) for name in figures}
        values |= {f"train/learning_rate/{role}": rate for role, rate in record.learning_rates.items()}
        self._log({name: value for name, value in values.items() if value is not None}, record.step)

    def validated(self, record: ValidationRecord) -> None:
        sections = {"mean": record.mean, **record.per_dataset}
        self._log(dict(_figures("validation", sections, tuple(record.mean))), record.step)

    def reported(self, report: Mapping[str, Any], *, step: int, best_step: int) -> None:
        sections = {"all": report["overall"], **report["per_dataset"]}
        sections = {name: {**figures, "skill": _skill(figures)} for name, figures in sections.items()}
        self._log({**dict(_figures("final", sections, FINAL_FIGURES)), "final/best_step": best_step}, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Close them; not where the program is told to quit at once, for closing may wait for a network."""
        if kind is not None and not issubclass(kind, Exception):
            return
        # Not with another standard output: W&B and Aim watch the one they began with, and let go of it here.
        for name, tracker in list(self._open.items()):
            self._try(name, tracker.finish)
        for tracker in self._failed.values():
            with suppress(Exception):  # it was said; what it holds open is let go
                if tracker is not None:
                    tracker.finish()
        self._open.clear()
        self._failed.clear()


def _figures(
    kind: str, sections: Mapping[str, Mapping[str, Any]], names: tuple[str, ...]
) -> Iterator[tuple[str, float]]:
    """`kind/figure/section` and value of each figure that has one."""
    for section, figures in sections.items():
        for name in names:
            if isinstance(value := figures.get(name), float):
                yield f"{kind}/{name}/{section}", value


def _skill(section: Mapping[str, Any]) -> float | None:
    """By squared error, against each dataset's own constant; None where that is not known."""
    value = (section.get("skill") or {}).get("mse")
    return value if isinstance(value, float) else None


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of each setting; a list or an object that is no section, as JSON.

    >>> dict(_flat({"training": {"max_steps": 5, "report_to": ["wandb"], "token_budget": None}}))
    {'training.max_steps': 5, 'training.report_to': '["wandb"]', 'training.token_budget': None}
    """
    for name, value in values.items():
        if isinstance(value, Mapping) and not prefix:
            yield from _flat(value, f"{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value) if isinstance(value, Mapping | list) else value


def _read_run_names(folder: Path) -> dict[str, str]:
    path = folder / TRACKER_RUNS
    try:
        known = checked(read_json(path), _RUN_NAMES) if path.exists() else {}
        return {str(name): said for name, said in known.items()}
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path} cannot be read ({reason}); move it away and resume again") from None
