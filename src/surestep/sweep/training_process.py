"""One run of a trial: `surestep train` as a process of its own, watched through what it writes.

A process gives all its memory back when it ends, a signal or a crash in it is its own, and there is no second way to
train: the run can be resumed, evaluated and compared like any other. Its validations are read from its log.
Knows the files of a run; knows no search.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from surestep.config import Config
from surestep.errors import LockedError
from surestep.files import BEST, METRICS, RUN_LOG, storage_errors
from surestep.lock import locked
from surestep.metrics.report.wording import ends_of
from surestep.scoring.checkpoint.find import list_checkpoints
from surestep.sweep.plan import CONFIGS, LOGS
from surestep.sweep.stop import StopRequest
from surestep.terminal_text import in_one_line
from surestep.untrusted import read_json, read_json_lines

POLL_S = 0.5
_ENDED_BY_SIGTERM = {-signal.SIGTERM, 128 + signal.SIGTERM}
_TAIL_BYTES = 2**16

Validated = Callable[[int, float], bool]
"""Is told step and value of each validation; whether the run should end because others do better."""


@dataclass(frozen=True)
class RunEnd:
    """How a run ended.

    Attributes:
        how: `finished`; `pruned` or `stopped` on request, with a checkpoint; `failed` by itself.
        result: of a finished run, JSON-ready: `value` and `step` of its best checkpoint, and `held_out`, the same
            figure on the whole validation set with its interval.
        reason: why it failed, in a line.
    """

    how: Literal["finished", "pruned", "stopped", "failed"]
    result: dict[str, Any] | None = None
    reason: str | None = None


class RunTraining(Protocol):
    """Trains one run to its end, or until it should not go on."""

    def __call__(self, config: Config, *, validated: Validated, stop: StopRequest) -> RunEnd:
        """Train as `config` says, in its folder; go on where a run was begun there."""


@dataclass(frozen=True)
class TrainingProcess:
    """Runs `surestep train` as a process.

    Attributes:
        command: the words that start it, before its flags.
        folder: the sweep's, for what runs print and are started with.
        environment: what is added to this process's, such as its GPU.
        say: is told what the user should know.
    """

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    say: Callable[[str], None]

    def __call__(self, config: Config, *, validated: Validated, stop: StopRequest) -> RunEnd:
        """Train; a run that was begun in the same folder is resumed from its last checkpoint."""
        name, run = config.experiment_name, config.experiment_dir
        if not self._wait_until_free(run, stop):
            return RunEnd("stopped")
        started_with = self.folder / CONFIGS / f"{name}.json"
        config.save(started_with)
        begun = ["--resume"] if list_checkpoints(run) else ["--overwrite"] if run.exists() else []
        log = self.folder / LOGS / f"{name}.log"
        with storage_errors(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            output = log.open("ab")
        with output:
            process = subprocess.Popen(
                [*self.command, "--config", str(started_with), *begun],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
                start_new_session=True,  # Ctrl-C is for the sweep, which tells its runs
            )
            try:
                is_pruned = _watch(process, config, validated, stop)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        return _end_of(process.returncode, config, log, is_pruned=is_pruned, stop=stop)

    def _wait_until_free(self, run: Path, stop: StopRequest) -> bool:
        """Wait for a process that a killed worker left training there; False where the sweep is stopped meanwhile."""
        said = False
        while not stop.is_asked:
            try:
                with locked(run, command="surestep sweep"):
                    return True
            except LockedError as error:
                if not said:
                    self.say(f"waiting: {error}")
                said = True
                stop.wait(POLL_S)
        return False


def _watch(process: subprocess.Popen[bytes], config: Config, validated: Validated, stop: StopRequest) -> bool:
    """Wait until it ends, hand its validations on, and tell it to end where it should; whether it was pruned."""
    validations = _Validations(config.experiment_dir / RUN_LOG, config.training.best_metric)
    is_pruned = is_told = False
    while process.poll() is None:
        for step, value in validations.new():
            is_pruned = validated(step, value) or is_pruned
        if (is_pruned or stop.is_asked) and not is_told:
            process.terminate()  # it finishes its step and saves
            is_told = True
        if stop.is_at_once:
            process.kill()
        time.sleep(POLL_S) if stop.is_asked else stop.wait(POLL_S)
    for step, value in validations.new():
        validated(step, value)
    return is_pruned


class _Validations:
    """The validations in the log of a run, each once."""

    def __init__(self, path: Path, metric: str) -> None:
        self._path, self._metric = path, metric
        self._size, self._step = -1, 0

    def new(self) -> Iterator[tuple[int, float]]:
        """Step and value of those that have come since."""
        try:
            size = self._path.stat().st_size
            if size == self._size:
                return
            lines = list(read_json_lines(self._path))
        except (OSError, ValueError):  # not there yet, or just being replaced
            return
        self._size = size
        for line in lines:
            step, value = line.get("step"), line.get("value")
            of_metric = line.get("kind") == "validation" and line.get("metric") == self._metric
            if of_metric and isinstance(step, int) and step > self._step and isinstance(value, int | float):
                self._step = step
                yield step, float(value)


def _end_of(code: int, config: Config, log: Path, *, is_pruned: bool, stop: StopRequest) -> RunEnd:
    if code == 0:
        return _result_of(config)
    if is_pruned and code in _ENDED_BY_SIGTERM:
        return RunEnd("pruned")
    if stop.is_asked:
        return RunEnd("stopped")
    return RunEnd("failed", reason=_reason(code, log))


def _result_of(config: Config) -> RunEnd:
    """The best checkpoint's figure, and the same on the whole validation set."""
    metric, mark = config.training.best_metric, config.experiment_dir / BEST
    try:
        best = read_json(mark, allow_nan=True)
        if best["metric"] != metric:
            return RunEnd("failed", reason=f"{metric} has no value on its validation problems (one class only, say)")
        result: dict[str, Any] = {"value": float(best["value"]), "step": int(best["step"]), "held_out": None}
        overall = read_json(config.validation_dir / METRICS)["overall"]
        if overall.get(metric) is not None:
            low, high = ends_of(overall, metric) or (None, None)
            result["held_out"] = {"value": float(overall[metric]), "low": low, "high": high}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return RunEnd("failed", reason=f"what it left cannot be read: {mark.parent} ({in_one_line(str(error))})")
    return RunEnd("finished", result=result)


def _reason(code: int, log: Path) -> str:
    """Why a run failed: what it said last, and where the rest stands."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    own = [line.removeprefix("surestep: ") for line in lines if line.startswith("surestep: ")]
    said = in_one_line((own or lines or ["it said nothing"])[-1], longest=300)
    if code < 0:
        memory = " (the machine's memory ran out, perhaps)" if code == -signal.SIGKILL else ""
        return f"killed by {signal.Signals(-code).name}{memory}; {log}"
    return f"{said} (exit code {code}; {log})"
