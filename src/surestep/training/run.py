"""A whole run: configuration to checkpoints and the validation report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surestep.config import Config
from surestep.encoding.formatter import Formatter
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.tokenizer import StepTokenizer
from surestep.files import CONFIG
from surestep.model.backbones.load import read_max_positions
from surestep.scoring.build_model import BuiltModel, build_model
from surestep.scoring.checkpoint.load import load_checkpoint, load_weights, read_config
from surestep.scoring.checkpoint.manifest import read_manifest
from surestep.scoring.hardware import Hardware, choose_hardware, nf4_device
from surestep.scoring.stored_split import ProgressFactory, silent
from surestep.scoring.token_budget import ENOUGH_CUDA, training_token_budget
from surestep.training.events.records import Observers, TrainingObserver
from surestep.training.events.run_log import MetricsFile, TensorBoardLog
from surestep.training.events.validate import REPORT_FILE, choose_subsets, write_validation_report
from surestep.training.experiment_folder import check_space, latest_with_state, refuse_existing, start_folder
from surestep.training.optimizer.adamw_8bit import SMALLEST, check_8bit_optimizer
from surestep.training.optimizer.build import moment_bytes
from surestep.training.passes.recorded import replays, why_not_recorded
from surestep.training.processes import make_accelerator
from surestep.training.trainer import RunResult, Trainer
from surestep.training.training_sets import RunData, load_run_data


@dataclass(frozen=True)
class TrainedRun:
    """A run and the best checkpoint's validation report; a stopped run and processes behind the main one lack it."""

    result: RunResult
    validation: dict[str, Any] | None
    report_path: Path


def train(
    config: Config,
    observer: TrainingObserver,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: ProgressFactory = silent,
) -> TrainedRun:
    """Train as `config` says.

    Everything that can be refused is refused before the first file is written.

    Raises:
        SurestepError: settings, data, backbone, checkpoint, device or disk do not allow it.
    """
    config.check()
    resume_from = latest_with_state(config) if resume else None
    if resume_from is None:
        refuse_existing(config, overwrite=overwrite)
    hardware = choose_hardware(config.training.device, config.training.mixed_precision)
    _check_memory_settings(config, hardware)
    start = resume_from or config.training.init_from
    accelerator = make_accelerator(hardware)
    tokenizer, max_positions = _tokenizer(config, start)
    with accelerator.main_process_first():  # which tokenises; the others find its work in the cache
        data = load_run_data(config, tokenizer, Formatter(), max_positions=max_positions, progress=progress)
    built = _model(config, hardware, start, resume_from is not None, data)
    stale = _drop_calibration(built, start)
    warning = check_space(config, built.model)
    resumed_step = read_manifest(resume_from, with_state=False).step if resume_from else 0
    budget, reason = _token_budget(config, built)
    compiling = built.compile_if_worth(config, _tokens_per_step(config, data) * config.training.max_steps)
    lines = [*built.reasons, *([compiling] if compiling else []), *data.lines, *([warning] if warning else []), reason]
    if config.training.optimizer == "adamw_8bit":
        lines.append(
            f"optimiser: AdamW with moments in 8 bits (as set); 32 for head, row, embedding and tensors below "
            f"{SMALLEST:,} numbers"
        )
    if replays(config, built, accelerator, budget):
        lines.append("passes: recorded once for each shape and replayed (CUDA graphs); --cuda_graphs false")
    elif config.training.cuda_graphs is True:
        lines.append(
            f"passes: not recorded, though --cuda_graphs is true: {why_not_recorded(config, built, accelerator)}"
        )
    if resume_from is not None:
        lines.append(f"resuming from {resume_from} at step {resumed_step}")
    if stale is not None:
        lines.append(stale)
    accelerator.wait_for_everyone()  # all have looked at the folder before it is made
    observers = Observers()
    if accelerator.is_main_process:
        if resume_from is None:
            start_folder(config, overwrite=overwrite)
        observers = _observers(config, observer, resumed_step)
        config.save(config.experiment_dir / CONFIG)
        _write_json(config.experiment_dir / "data_report.json", data.report)
        for line in lines:
            observers.say(line)
    trainer = Trainer(
        config,
        built,
        data,
        choose_subsets(data.validation, config, tokens_per_step=_tokens_per_step(config, data)),
        observers,
        accelerator=accelerator,
        token_budget=budget,
        may_shrink=config.training.token_budget is None,
        resume_from=resume_from,
    )
    result = trainer.run()
    path = config.validation_dir / REPORT_FILE
    if result.stopped_by is not None or not accelerator.is_main_process:
        return TrainedRun(result, None, path)  # whoever stops a run waits for its checkpoint, not for a report
    return TrainedRun(result, _report(config, built, data, result), path)


def _check_memory_settings(config: Config, hardware: Hardware) -> None:
    """Refuse, before any data is read, what needs a GPU or a library that is not here."""
    nf4_device(config, hardware)
    if config.training.optimizer == "adamw_8bit":
        check_8bit_optimizer()


def _tokenizer(config: Config, start: Path | None) -> tuple[StepTokenizer, int | None]:
    if start is not None:
        manifest = read_manifest(start, with_state=False)
        return load_tokenizer(str(start / "tokenizer")), manifest.backbone["max_positions"]
    name, revision = config.model.backbone, config.model.revision
    return load_tokenizer(name, revision=revision), read_max_positions(name, revision=revision)


def _model(config: Config, hardware: Hardware, start: Path | None, is_resume: bool, data: RunData) -> BuiltModel:
    if start is None:
        return build_model(config, hardware, initial_confidence=data.initial_confidence)
    return load_checkpoint(start, hardware=hardware, config=config, trainable=True, with_state=is_resume).built


def _drop_calibration(built: BuiltModel, start: Path | None) -> str | None:
    """Take out the calibration of the weights that training starts from, for it will not fit those it ends with."""
    if built.calibration is None:
        return None
    built.calibration = None
    return (
        f"the calibration of {start} is not carried on: it fits those weights only; run `surestep calibrate` on the "
        "new checkpoint"
    )


def _observers(config: Config, observer: TrainingObserver, resumed_step: int) -> Observers:
    folder = config.experiment_dir
    observers: list[TrainingObserver] = [observer, MetricsFile(folder, resumed_step=resumed_step)]
    if config.training.tensorboard:
        if TensorBoardLog.is_installed():
            observers.append(TensorBoardLog(folder, resumed_step=resumed_step))
        else:
            observer.say("TensorBoard logs are off: install it with `pip install 'surestep[tensorboard]'`")
    return Observers(*observers)


def _token_budget(config: Config, built: BuiltModel) -> tuple[int, str]:
    training = config.training
    if training.token_budget is not None:
        return training.token_budget, f"token budget: {training.token_budget} (as set)"
    wanted = training.per_device_train_batch_size * config.data.max_length
    budget = training_token_budget(
        built.model,
        built.hardware,
        checkpointing=training.gradient_checkpointing,
        wanted=wanted,
        moment_bytes=moment_bytes(built.model, training),
    )
    if budget == wanted:
        cause = "batch size x max_length"
    elif budget == ENOUGH_CUDA:
        cause = "keeps the GPU busy in moderate memory; three times as many are about a tenth faster"
    else:
        cause = f"free memory; batch size x max_length is {wanted}"
    return budget, f"token budget: {budget} in one pass ({cause}); --token_budget overrides"


def _tokens_per_step(config: Config, data: RunData) -> float:
    training = config.training
    examples = training.per_device_train_batch_size * training.gradient_accumulation_steps
    return examples * sum(dataset.share * dataset.mean_tokens() for dataset in data.training.values())


def _report(config: Config, built: BuiltModel, data: RunData, result: RunResult) -> dict[str, Any]:
    """The best checkpoint on the whole validation set, where the comparison of runs reads it."""
    if result.best != result.last:
        load_weights(built.model, result.best) if config.lora.use_lora else _reload_full(config, built, result.best)
    return write_validation_report(
        config.validation_dir,
        built.scorer(config),
        data.validation,
        checkpoint=result.best,
        label_means=data.label_means,
        label_mean=data.label_mean,
        settings=config.eval,
    )


def _reload_full(config: Config, built: BuiltModel, folder: Path) -> None:
    loaded = load_checkpoint(folder, hardware=built.hardware, config=config, trainable=True)
    built.model.load_state_dict(loaded.built.model.state_dict())


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def resumed_config(config: Config) -> Config:
    """The configuration that a resumed run was started with.

    Raises:
        CheckpointError: there is nothing to resume from.
    """
    return read_config(latest_with_state(config))
