"""The training loop: packs in, checkpoints and logs out.

One optimiser step takes the effective batch, packs it, and sums the loss over the packs; when and how many passes
that takes never changes the step. Stops cleanly at a step boundary on Ctrl-C and SIGTERM, with a checkpoint.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from surestep.config import Config
from surestep.errors import DeviceError, SurestepError
from surestep.scoring.build import BuiltModel
from surestep.scoring.checkpoint import checkpoint_path, save_checkpoint
from surestep.scoring.hardware import memory_used_gb
from surestep.training.examples import RunData
from surestep.training.folder import prune, write_best
from surestep.training.loss import label_weights, step_losses
from surestep.training.mixture import Mixture
from surestep.training.observer import StepRecord, TrainingObserver, ValidationRecord
from surestep.training.optimizer import build_optimizer, parameter_names, set_learning_rate
from surestep.training.packs import StepPacks, TrainingPack, build_step, prefetch_steps
from surestep.training.schedule import learning_rate_factor
from surestep.training.state import RunState, load_state, save_state, seed_step
from surestep.training.validation import ValidationSubset, is_better, validate


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        steps: optimiser steps done in all.
        last: the last checkpoint.
        best: the best checkpoint by validation, and its record.
        stopped_by: the signal that stopped it, or None; `early` says whether patience ran out.
    """

    steps: int
    last: Path
    best: Path
    best_record: dict[str, Any]
    stopped_by: signal.Signals | None
    early: bool


@dataclass
class _Interval:
    """Sums since the last log line; losses stay on the device until they are read together."""

    losses: list[Tensor] = field(default_factory=list)
    tokens: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)


class Trainer:
    """Runs optimiser steps from `state.step` to `max_steps`.

    Args:
        built: the model to train, on its device.
        data: training sets; `subsets` are the problems of each validation.
        token_budget: tokens in one pass; halved when memory runs out, where `may_shrink`.
        resume_from: a checkpoint whose optimiser and position are taken over.
    """

    def __init__(
        self,
        config: Config,
        built: BuiltModel,
        data: RunData,
        subsets: dict[str, ValidationSubset],
        observer: TrainingObserver,
        *,
        token_budget: int,
        may_shrink: bool,
        resume_from: Path | None = None,
    ) -> None:
        self.config = config
        self.built = built
        self.data = data
        self.subsets = subsets
        self.observer = observer
        self.token_budget = token_budget
        self.may_shrink = may_shrink
        training = config.training
        self.accelerator = make_accelerator(built)
        optimizer = build_optimizer(built.model, training)
        self.names = parameter_names(built.model)
        self.model, self.optimizer = self.accelerator.prepare(built.model, optimizer)
        shares = {name: dataset.share for name, dataset in data.training.items()}
        self.mixture = Mixture(
            shares, {name: len(dataset) for name, dataset in data.training.items()}, seed=training.seed
        )
        self.weights = label_weights(
            shares,
            {name: dataset.labels_per_example for name, dataset in data.training.items()},
            training.loss_weighting,
        )
        self.state = RunState()
        if resume_from is not None:
            self.state = load_state(resume_from / "training_state", self.optimizer.optimizer, self.names)
            self.mixture.drawn |= self.state.drawn
            if self.accelerator.scaler is not None and self.state.scaler:
                self.accelerator.scaler.load_state_dict(self.state.scaler)
        self._signal: signal.Signals | None = None
        self._last_saved: Path | None = resume_from
        self._last_validation: ValidationRecord | None = None

    @property
    def num_examples(self) -> int:
        """The effective batch: examples in one optimiser step, over all processes."""
        training = self.config.training
        processes: int = self.accelerator.num_processes
        return training.per_device_train_batch_size * training.gradient_accumulation_steps * processes

    def run(self) -> RunResult:
        """Train to the end, to a signal, or until patience runs out.

        Raises:
            SurestepError: the loss is no longer finite, memory or disk ran out.
        """
        training = self.config.training
        self.model.train()
        self.observer.started(first_step=self.state.step, max_steps=training.max_steps)
        early = False
        interval = _Interval()
        with self._catching_signals():
            for packs in self._steps():
                grad_norm = self._optimizer_step(packs, interval)
                self.observer.stepped(self.state.step)
                step = self.state.step
                is_last = step == training.max_steps or self._signal is not None
                if step % training.logging_steps == 0 or is_last:
                    self._log(interval, grad_norm)
                    interval = _Interval()
                is_saving = step % training.save_steps == 0 or is_last
                if step % training.eval_steps == 0 or is_saving:
                    self._validate()
                    early = self._patience_is_out()
                    interval.started = time.perf_counter()
                if is_saving or early:
                    self._save()
                    interval.started = time.perf_counter()
                if early or self._signal is not None:
                    break
        self.observer.finished()
        return self._result(early)

    def _steps(self) -> Iterator[StepPacks]:
        """Packed steps; built anew from where the run stands whenever the token budget shrinks."""
        while self.state.step < self.config.training.max_steps:
            budget = self.token_budget
            self.mixture.drawn |= self.state.drawn
            steps = prefetch_steps(
                self.mixture,
                self.data.training,
                self.weights,
                first_step=self.state.step,
                last_step=self.config.training.max_steps,
                num_examples=self.num_examples,
                token_budget=budget,
                rank=self.accelerator.process_index,
                num_processes=self.accelerator.num_processes,
                pin=self.built.hardware.device.type == "cuda",
            )
            with closing(steps):  # its thread has ended before the mixture is set back
                for packs in steps:
                    yield packs
                    if self.token_budget != budget:
                        break

    def _optimizer_step(self, packs: StepPacks, interval: _Interval) -> Tensor:
        """Forward and backward over all packs, one update; on exhausted memory, once more in smaller packs."""
        while True:
            try:
                loss, grad_norm = self._attempt(packs)
                break
            except torch.OutOfMemoryError:
                packs = self._shrink(packs)
        interval.losses.append(loss)
        interval.tokens += packs.num_tokens
        for name, count in packs.labels.items():
            interval.labels[name] = interval.labels.get(name, 0) + count
        self.state.step = packs.step + 1
        self.state.drawn = packs.drawn
        self.state.tokens += packs.num_tokens * self.accelerator.num_processes
        self.state.labels += sum(packs.labels.values()) * self.accelerator.num_processes
        return grad_norm

    def _attempt(self, packs: StepPacks) -> tuple[Tensor, Tensor]:
        training = self.config.training
        seed_step(training.seed, packs.step, self.accelerator.process_index)
        factor = learning_rate_factor(packs.step, training)
        set_learning_rate(self.optimizer.optimizer, factor)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.built.hardware.device)
        for number, pack in enumerate(packs.packs, start=1):
            is_last = number == len(packs.packs)
            # Processes exchange gradients once a step, with the last pack.
            with nullcontext() if is_last else self.accelerator.no_sync(self.model):
                loss = self._pack_loss(pack.to(self.built.hardware.device))
                # Averaging over processes is undone: the weights already divide by the whole batch.
                self.accelerator.backward(loss * self.accelerator.num_processes)
            total += loss.detach()
        grad_norm = self.accelerator.clip_grad_norm_(self.model.parameters(), training.max_grad_norm)
        self.optimizer.step()
        return total, torch.as_tensor(0.0 if grad_norm is None else grad_norm)

    def _pack_loss(self, pack: TrainingPack) -> Tensor:
        logits_S = self.model(pack.batch).float()
        return (pack.weights_S * step_losses(logits_S, pack.labels_S, self.config.training.loss)).sum()

    def _shrink(self, packs: StepPacks) -> StepPacks:
        """Halve the token budget and pack the same step again.

        Raises:
            DeviceError: the budget was set by hand, or cannot shrink.
        """
        if not self.may_shrink or self.accelerator.num_processes > 1 or self.token_budget < 64:
            raise DeviceError(
                f"out of memory with {self.token_budget} tokens in a pass; lower --token_budget, --max_length or "
                "--batch_size, or set --gradient_checkpointing true"
            ) from None
        self.optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        self.token_budget //= 2
        self.observer.say(f"out of memory: going on with {self.token_budget} tokens in a pass")
        return build_step(
            packs.step,
            packs.draws,
            self.data.training,
            self.weights,
            token_budget=self.token_budget,
            num_examples=self.num_examples,
            drawn=packs.drawn,
            pin=True,
        )

    def _log(self, interval: _Interval, grad_norm: Tensor) -> None:
        losses = torch.stack(interval.losses)
        summed = self.accelerator.reduce(losses, "sum") if self.accelerator.num_processes > 1 else losses
        loss = float(summed.mean())
        seconds = time.perf_counter() - interval.started
        self.state.seconds += seconds
        self._check_finite(loss)
        processes = self.accelerator.num_processes
        if self.accelerator.is_main_process:
            self.observer.logged(
                StepRecord(
                    step=self.state.step,
                    loss=loss,
                    learning_rate=float(self.optimizer.param_groups[0]["lr"]),
                    grad_norm=float(grad_norm),
                    tokens_per_s=interval.tokens * processes / seconds,
                    labels_per_s=sum(interval.labels.values()) * processes / seconds,
                    memory_gb=memory_used_gb(self.built.hardware.device),
                    labels=interval.labels,
                )
            )

    def _check_finite(self, loss: float) -> None:
        if math.isfinite(loss):
            return
        kept = f"; the last good checkpoint is {self._last_saved}" if self._last_saved else ""
        raise SurestepError(
            f"the loss is {loss} at step {self.state.step}: training diverged; lower --learning_rate "
            f"(now {self.config.training.learning_rate:g}) or --max_grad_norm, or lengthen the warmup{kept}"
        )

    def _validate(self) -> None:
        if self.accelerator.is_main_process:
            scorer = self.built.scorer(self.config)
            record = validate(
                scorer,
                self.subsets,
                step=self.state.step,
                metric=self.config.training.best_metric,
                best=self.state.best_seen,
            )
            self.model.train()
            self._last_validation = record
            self.state.validations_without_better += 1
            if record.is_best:
                self.state.best_seen = record.value
                self.state.validations_without_better = 0
            self.observer.validated(record)
        self.accelerator.wait_for_everyone()

    def _patience_is_out(self) -> bool:
        patience = self.config.training.early_stopping_patience
        return patience is not None and self.state.validations_without_better >= patience

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            self._write_checkpoint()
        self.accelerator.wait_for_everyone()

    def _write_checkpoint(self) -> None:
        record = self._last_validation
        assert record is not None, "a checkpoint follows a validation of its step"
        best = self.state.best
        if is_better(record.value, best.get("value"), record.metric):
            folder_name = f"checkpoint_step_{self.state.step}"
            self.state.best = {
                "step": self.state.step,
                "checkpoint": folder_name,
                "metric": record.metric,
                "value": record.value,
                "mean": record.mean,
            }
        if self.accelerator.scaler is not None:
            self.state.scaler = self.accelerator.scaler.state_dict()
        folder = checkpoint_path(self.config.experiment_dir, self.state.step)
        save_checkpoint(
            folder,
            self.built,
            self.config,
            step=self.state.step,
            label_means=self.data.label_means,
            label_mean=self.data.label_mean,
            write_state=lambda path: save_state(path, self.state, self.optimizer.optimizer, self.names),
        )
        write_best(self.config.experiment_dir, self.state.best)
        self._last_saved = folder
        self.observer.saved(folder)
        for line in prune(
            self.config.experiment_dir,
            keep=self.config.training.save_total_limit,
            best_step=self.state.best["step"],
        ):
            self.observer.say(line)

    def _result(self, early: bool) -> RunResult:
        assert self._last_saved is not None, "a run ends with a checkpoint"
        return RunResult(
            steps=self.state.step,
            last=self._last_saved,
            best=checkpoint_path(self.config.experiment_dir, self.state.best["step"]),
            best_record=self.state.best,
            stopped_by=self._signal,
            early=early,
        )

    @contextmanager
    def _catching_signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM ends the current step; a second Ctrl-C ends the program."""

        def stop(number: int, _frame: FrameType | None) -> None:
            if self._signal is not None:
                raise KeyboardInterrupt
            self._signal = signal.Signals(number)
            self.observer.say(f"{self._signal.name}: finishing this step and saving; once more to quit at once")

        try:
            previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: whoever started it there handles signals
            previous = {}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def make_accelerator(built: BuiltModel) -> Accelerator:
    """An Accelerator for the device and arithmetic that were chosen."""
    from accelerate.state import AcceleratorState

    hardware = built.hardware
    # Accelerate keeps one state a process; a second run in the same one may differ in its arithmetic.
    AcceleratorState._reset_state()
    return Accelerator(mixed_precision=hardware.precision, cpu=hardware.device.type == "cpu")
