"""A whole run: configuration to checkpoints and the validation report."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from surestep.config import Config, TrainingConfig
from surestep.config.trackers import TrackerName
from surestep.data.sources.settle import settle_own_data
from surestep.encoding.text_frame import formatter_of
from surestep.errors import SurestepError
from surestep.files import CONFIG, DATA_REPORT, METRICS, REPORT, write_json
from surestep.model.sharding import is_sharded
from surestep.scoring.build_model import BuiltModel, build_model
from surestep.scoring.checkpoint.find import checkpoint_path
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.checkpoint.save import save_checkpoint
from surestep.scoring.hardware import Hardware, choose_hardware
from surestep.scoring.stored_split import ProgressFactory, silent
from surestep.scoring.token_budget import ENOUGH_AT_LENGTH, ENOUGH_CUDA, training_token_budget
from surestep.stop_signals import interrupted_by_signals
from surestep.training.events import RunView, TrainingEvents
from surestep.training.events.final_report import final_report
from surestep.training.events.idle_gpu import IdleGpu
from surestep.training.events.log import Log
from surestep.training.events.run_log import RunLog
from surestep.training.events.save import Save
from surestep.training.events.stop import VALIDATIONS_DIVERGED, Stop
from surestep.training.events.trackers import Trackers, trackers_to_use
from surestep.training.events.validate import Validate, choose_subsets
from surestep.training.experiment_folder import (
    check_space,
    clean_folder,
    start_folder,
)
from surestep.training.loss.describe import loss_lines, uncalibrated
from surestep.training.optimizer.averaged_weights import average_bytes
from surestep.training.optimizer.parameter_groups import moment_bytes
from surestep.training.optimizer.rate_by_size import rate_line
from surestep.training.passes.recorded import reason_not_to_record, records_passes
from surestep.training.phases.plan import TrainingPhase, phase_at
from surestep.training.phases.plan import tokens_per_step as mean_tokens_per_step
from surestep.training.processes import (
    group_closed,
    main_process_alone,
    main_process_first,
    make_accelerator,
    together_with,
)
from surestep.training.run_tokenizer import run_tokenizer
from surestep.training.schedule import check_schedule
from surestep.training.sharding.checkpoint import write_checkpoint
from surestep.training.sharding.passes import for_validation, in_step_of
from surestep.training.sharding.start import may_fuse_layers, shard_if_asked
from surestep.training.start.origin import Origin, find_origin, locked_folder, said_of
from surestep.training.start.resume_point import set_aside_damaged
from surestep.training.start.settings_lines import settings_lines
from surestep.training.trainer import Trainer
from surestep.training.training_sets import RunData, load_run_data


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        steps: optimiser steps done in all.
        last: the last checkpoint.
        best: the best checkpoint by validation; the last one where a signal came before any was validated.
        best_record: the best one's validation; empty in that case.
        stopped_by: the signal that stopped it, or None; `early` says whether patience ran out.
    """

    steps: int
    last: Path
    best: Path
    best_record: dict[str, Any]
    stopped_by: signal.Signals | None
    early: bool


@dataclass(frozen=True)
class TrainedRun:
    """A run and the best checkpoint's validation report; a stopped run and processes behind the main one lack it."""

    result: RunResult
    validation: dict[str, Any] | None
    report_path: Path


def train(
    config: Config,
    observer: TrainingEvents,
    *,
    resume: bool = False,
    overwrite: bool = False,
    accept_changed_data: bool = False,
    progress: ProgressFactory = silent,
) -> TrainedRun:
    """Train as `config` says.

    Everything that can be refused is refused before the first file is written.

    `resume` goes on from the last checkpoint, with `accept_changed_data` also on other data than those that the run was
    started with; `overwrite` replaces a run of the same name.

    Raises:
        SurestepError: settings, data, backbone, checkpoint, device or disk do not allow it.
    """
    config.check()
    config = config.model_copy(deep=True)
    settle_own_data(config.data)
    trackers_to_use(config.training.report_to, tensorboard=config.training.tensorboard)  # refused here where one lacks
    hardware = choose_hardware(config.training.device, config.training.mixed_precision)
    accelerator = make_accelerator(hardware)
    hardware = replace(hardware, fuses_layers=may_fuse_layers(config.training, config.lora, accelerator.num_processes))
    nothing: tuple[str, ...] = ()
    with interrupted_by_signals(), group_closed(accelerator), ExitStack() as stack:
        found = main_process_alone(
            accelerator, lambda: stack.enter_context(locked_folder(config.experiment_dir)), otherwise=nothing
        )
        origin = find_origin(
            config, hardware, resume=resume, overwrite=overwrite, accept_changed_data=accept_changed_data
        )
        origin = replace(origin, found=(*found, *origin.found))
        return _train(config, observer, hardware, accelerator, origin, overwrite=overwrite, progress=progress)


def _train(
    config: Config,
    observer: TrainingEvents,
    hardware: Hardware,
    accelerator: Accelerator,
    origin: Origin,
    *,
    overwrite: bool,
    progress: ProgressFactory,
) -> TrainedRun:
    """Train from `origin`, holding the lock of the run's folder."""
    training, folder = config.training, config.experiment_dir
    tokenizer, max_positions = run_tokenizer(config.model, origin.start, origin.manifest)
    with main_process_first(accelerator):  # which tokenises; the others find its work in the cache
        data = load_run_data(
            config,
            tokenizer,
            formatter_of(config.model.text_frame),
            max_positions=max_positions,
            num_processes=accelerator.num_processes,
            progress=progress,
        )
    for phase in data.phases:
        check_schedule(phase.settings)  # the run's length is known now
    if origin.start is None:
        built = build_model(config, hardware, initial_confidence=data.initial_confidence)
    else:
        with_state = origin.resume_from is not None
        start = load_checkpoint(origin.start, hardware=hardware, config=config, trainable=True, with_state=with_state)
        built = start.built
    stale = _drop_calibration(built, origin.start)
    processes = shard_if_asked(built, training, accelerator)
    warning = check_space(folder, training, built.model)
    largest, max_length = _largest_pass(data.phases, [phase.data.max_length for phase in config.of_phases()])
    together = together_with(accelerator)
    budget, reason = choose_token_budget(largest, built, max_length=max_length)
    budget = together.smallest(budget)  # of processes with different free memory
    tokens_per_step = mean_tokens_per_step(data.phases)
    wanted = False if is_sharded(built.model) else config.model.compile
    compiling = built.compile_if_worth(wanted, tokens_per_step * training.max_steps)
    recorded = records_passes(training, config.lora, built, accelerator, budget)
    unrecordable = reason_not_to_record(training, config.lora, built, accelerator)
    lines = [
        *config.warnings(),
        *built.reasons,
        *said_of(processes),
        *said_of(compiling),
        *data.lines,
        *said_of(warning),
        reason,
    ]
    lines += loss_lines(training.loss_options(), data.training, token_budget=budget)
    lines += settings_lines(training, built, recorded=recorded, unrecordable=unrecordable)
    lines += said_of(None if config.phases else rate_line(training, config.lora, built.weights_in_products))
    is_done = origin.resume_from is not None and origin.step >= training.max_steps
    lines += [*origin.lines(), *said_of(_done_line(origin.step, data.phases[-1]) if is_done else None)]
    lines += said_of(stale)
    accelerator.wait_for_everyone()  # all have looked at the folder before it is made
    listeners: list[TrainingEvents] = []
    if accelerator.is_main_process:
        tidied = _open_folder(folder, config.validation_dir, origin, overwrite=overwrite)
        listeners = [observer, RunLog(folder, resumed_step=origin.step)]
        if not is_done or not (folder / CONFIG).is_file():  # what trains nothing leaves the record of what did
            config.save(folder / CONFIG)
            write_json(folder / DATA_REPORT, data.report)
        for listener in listeners:
            for line in [*tidied, *lines]:
                listener.say(line)
    trainer = Trainer(
        training,
        built,
        data.training,
        accelerator=accelerator,
        token_budget=budget,
        may_shrink=training.token_budget is None,
        recorded=recorded,
        resume_from=origin.resume_from,
        phases=data.phases if config.phases else (),
        together=together,
    )
    trainer.view.state.sources = origin.sources
    path = config.validation_dir / METRICS
    with _trackers(config, listeners, step=origin.step) as trackers:
        result = _run(trainer, config, data, [*listeners, trackers], tokens_per_step=tokens_per_step)
        if result.stopped_by is not None:
            return TrainedRun(result, None, path)  # whoever stops a run waits for its checkpoint, not for a report
        report = final_report(
            trainer,
            data,
            best=result.best,
            last=result.last,
            scorer=partial(built.scorer, config),
            folder=path.parent,
            settings=config.eval,
        )
        if report is None:
            return TrainedRun(result, None, path)
        for line in uncalibrated(training.loss_options()):
            trainer.view.say(line)
        trackers.reported(report, step=result.steps, best_step=result.best_record.get("step", result.steps))
    return TrainedRun(result, report, path)


def _run(
    trainer: Trainer,
    config: Config,
    data: RunData,
    listeners: Sequence[TrainingEvents],
    *,
    tokens_per_step: float,
) -> RunResult:
    """Train, with the events of a run in the order that `surestep.training.events` promises."""
    training, folder, built = config.training, config.experiment_dir, trainer.built
    rhythm, accelerator, device = trainer.rhythm, trainer.accelerator, built.hardware.device
    if accelerator.is_main_process:
        # Recorded passes do not wait for Python, however short.
        on_gpu = device.type == "cuda" and not trainer.optimizer_step.is_recorded
        listeners = [*listeners, IdleGpu(rhythm, on_gpu=on_gpu, token_budget=trainer.budget.num_tokens)]
    stop = Stop(
        trainer.together,
        patience=training.early_stopping_patience,
        # No other one can say that it was a passing swing.
        validations_diverged=1 if rhythm.is_validated_once else VALIDATIONS_DIVERGED,
    )

    save = partial(
        save_checkpoint, built=built, config=config, label_means=data.label_means, label_mean=data.label_mean
    )

    trainer.run(
        [
            *listeners,
            Log(rhythm, accelerator, device=device, phases=data.phases),
            Validate(
                rhythm,
                trainer.together,
                make_scorer=lambda: for_validation(built.scorer(config)),
                subsets=choose_subsets(data.validation, training, tokens_per_step=tokens_per_step),
                metric=training.best_metric,
                constants=data.label_means,
                bound=training.divergence_bound,
                attention=built.attention_per_token,
                in_step=in_step_of(built, trainer.together),
                averaged_weights=trainer.optimizer_step.averaged_weights,
            ),
            stop,
            Save(
                rhythm,
                accelerator,
                folder=folder,
                write=partial(write_checkpoint, trainer.optimizer_step, built, trainer.together, save),
                keep=training.save_total_limit,
                all_write=is_sharded(built.model),
            ),
        ]
    )
    view = trainer.view
    if view.stop_reason == "diverged":
        raise SurestepError(_diverged(view, phase_at(data.phases, view.state.step - 1)))
    assert view.last_saved is not None, "a run ends with a checkpoint"
    return RunResult(
        steps=view.state.step,
        last=view.last_saved,
        best=checkpoint_path(folder, view.state.best.get("step", view.state.step)),
        best_record=view.state.best,
        stopped_by=stop.signal.received,
        early=view.stop_reason == "patience",
    )


def _diverged(view: RunView, phase: TrainingPhase) -> str:
    best = view.state.best
    kept = f"; the best checkpoint is {best['checkpoint']} ({best['metric']} {best['value']:.4f})" if best else ""
    how_often = "twice in a row" if view.state.validations_diverged > 1 else "in the only one"
    return (
        f"training diverged: at step {view.state.step} the NLL on validation was, {how_often}, more than "
        f"{phase.settings.divergence_bound:g} times a constant's; {phase.calmer()}, or lengthen the warmup "
        f"(--divergence_bound null continues nevertheless){kept}"
    )


def _drop_calibration(built: BuiltModel, start: Path | None) -> str | None:
    """Take out the calibration of the weights that training starts from, for it will not fit those it ends with."""
    if built.calibration is None:
        return None
    built.calibration = None
    return (
        f"the calibration of {start} is not carried on: it fits those weights only; run `surestep calibrate` on the "
        "new checkpoint"
    )


def _done_line(step: int, last: TrainingPhase) -> str:
    return (
        f"nothing is left to train: the run is at step {step} of {last.last_step}; settings given now change nothing "
        f"(a higher {last.setting('max_steps')} goes on)"
    )


def _open_folder(folder: Path, validation_dir: Path, origin: Origin, *, overwrite: bool) -> list[str]:
    """Make the run's folder, or put the resumed one in order; returns a line for what was found and done."""
    if origin.resume_from is None:
        start_folder(folder, overwrite=overwrite)
    tidied = clean_folder(folder, validation_dir)
    return tidied if origin.point is None else [*tidied, *set_aside_damaged(origin.point)]


def _trackers(config: Config, listeners: Sequence[TrainingEvents], *, step: int) -> Trackers:
    """The trackers of the run from `step` on; none where nobody listens, on processes behind the main one."""

    def say(line: str) -> None:
        for listener in listeners:
            listener.say(line)

    training = config.training
    names: list[TrackerName] = []
    if listeners:
        names, lines = trackers_to_use(training.report_to, tensorboard=training.tensorboard)
        for line in lines:
            say(line)
    validation = config.validation_dir
    paths = {"run": config.experiment_dir, "validation_report": validation / METRICS, "page": validation / REPORT}
    return Trackers(
        names,
        config.experiment_dir,
        config.experiment_name,
        settings=config.to_dict(),
        paths=paths,
        resumed_step=step,
        say=say,
    )


def choose_token_budget(training: TrainingConfig, built: BuiltModel, *, max_length: int) -> tuple[int, str]:
    """Tokens in one training pass, as set or as memory allows, and why, in a line."""
    if training.token_budget is not None:
        return training.token_budget, f"token budget: {training.token_budget} (as set)"
    wanted = training.per_device_train_batch_size * max_length
    budget = training_token_budget(
        built.model,
        built.hardware,
        checkpointing=training.gradient_checkpointing,
        wanted=wanted,
        moment_bytes=moment_bytes(built.model, training) + average_bytes(built.model, training.ema_decay),
        max_length=max_length,
    )
    if budget == wanted:
        cause = "batch size x max_length"
    elif budget == ENOUGH_CUDA:
        cause = "keeps the GPU busy in moderate memory; three times as many are about a tenth faster"
    elif built.hardware.device.type == "cuda" and budget >= max_length != ENOUGH_AT_LENGTH:
        cause = f"follows max_length in memory; {ENOUGH_CUDA} at {ENOUGH_AT_LENGTH}, or what free memory allows"
    else:
        cause = f"free memory; batch size x max_length is {wanted}"
    return budget, f"token budget: {budget} in one pass ({cause}); --token_budget overrides"


def _largest_pass(phases: Sequence[TrainingPhase], max_lengths: Sequence[int]) -> tuple[TrainingConfig, int]:
    """The settings and `max_length` of the phase whose passes may hold the most tokens."""
    parts = [(phase.settings, max_length) for phase, max_length in zip(phases, max_lengths, strict=True)]
    return max(parts, key=lambda part: part[0].per_device_train_batch_size * part[1])
