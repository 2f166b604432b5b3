"""The training loop: packs in, checkpoints and logs out.

One optimiser step takes the effective batch, packs it, and sums the loss over the packs; when and how many passes
that takes never changes the step. Stops cleanly at a step boundary on Ctrl-C and SIGTERM, with a checkpoint.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from surestep.config import Config
from surestep.errors import DeviceError, SurestepError
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.checkpoint.find import checkpoint_path
from surestep.scoring.checkpoint.save import save_checkpoint
from surestep.scoring.hardware import memory_used_gb
from surestep.scoring.stored_split import StoredSplit
from surestep.training.events.idle_gpu import UnusedSpeed
from surestep.training.events.log import Interval
from surestep.training.events.records import StepRecord, TrainingObserver, ValidationRecord
from surestep.training.events.stop import StopSignal
from surestep.training.events.validate import is_better, validate
from surestep.training.experiment_folder import prune, write_best
from surestep.training.loss import label_weights, step_losses
from surestep.training.mixture import Mixture
from surestep.training.optimizer.build import build_optimizer, parameter_names, set_learning_rate
from surestep.training.passes.recorded import ReplayedPasses, replays
from surestep.training.processes import share
from surestep.training.run_state import RunState, load_state, save_state, seed_step
from surestep.training.schedule import learning_rate_factor
from surestep.training.step_data import StepPacks, TrainingPack, build_step, prefetch_steps
from surestep.training.training_sets import RunData


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


class Trainer:
    """Runs optimiser steps from `state.step` to `max_steps`.

    Args:
        built: the model to train, on its device.
        data: training sets; `subsets` are the problems of each validation.
        accelerator: from `processes.make_accelerator`; the observer is told of things on its main process only.
        token_budget: tokens in one pass; halved when memory runs out, where `may_shrink`.
        resume_from: a checkpoint whose optimiser and position are taken over.
    """

    def __init__(
        self,
        config: Config,
        built: BuiltModel,
        data: RunData,
        subsets: dict[str, StoredSplit],
        observer: TrainingObserver,
        *,
        accelerator: Accelerator,
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
        self.accelerator = accelerator
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
            if self.accelerator.scaler is not None and self.state.scaler:
                self.accelerator.scaler.load_state_dict(self.state.scaler)
        self._replayed = self._replay() if replays(config, built, accelerator, token_budget) else None
        self._interval = Interval.from_dict(
            self.state.interval, device=built.hardware.device, is_main=self.accelerator.is_main_process
        )
        self._watch = UnusedSpeed(
            # Recorded passes do not wait for Python, however short.
            on_gpu=built.hardware.device.type == "cuda" and self._replayed is None,
            token_budget=token_budget,
        )
        self._stop = StopSignal(observer.say)
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
        if self.state.best and self.accelerator.is_main_process:
            # A run killed right behind its checkpoint has not marked it yet.
            write_best(self.config.experiment_dir, self.state.best)
        self.model.train()
        self.observer.started(first_step=self.state.step, max_steps=self.config.training.max_steps)
        early = self._patience_is_out()
        try:
            with self._stop.caught(), self._rounded_weights():
                early = early or self._train()
        finally:
            self.observer.finished()
        return self._result(early)

    def _train(self) -> bool:
        """The loop itself; whether patience ran out."""
        training = self.config.training
        self._interval.go_on()
        steps = self._steps()
        start = time.perf_counter()
        while (packs := next(steps, None)) is not None:
            waited = time.perf_counter() - start
            grad_norm = self._optimizer_step(packs)
            step = self.state.step
            self.observer.stepped(step)
            is_last = step == training.max_steps
            is_saving = step % training.save_steps == 0 or is_last
            is_validating = step % training.eval_steps == 0 or is_saving
            is_logging = step % training.logging_steps == 0 or is_last
            if (is_logging or is_validating) and self.built.hardware.device.type == "cuda":
                torch.cuda.synchronize()  # what was left to the GPU belongs to the interval
            self._interval.pause()
            self._watch.add(
                seconds=time.perf_counter() - start, waited=waited, tokens=packs.num_tokens, passes=len(packs.packs)
            )
            if is_logging:
                self._log(grad_norm)
            elif is_saving or is_validating:
                self._check_finite(float(self._interval.losses[-1]), grad_norm)
            early = False
            if is_validating:
                self._validate()
                early = self._patience_is_out()
            # Asked only now, so that a signal during the validation still finds its checkpoint written.
            is_stopping = self._is_stopping()
            if is_saving or early or is_stopping:
                self._save()
            if early or is_stopping:
                return early
            self._interval.go_on()
            start = time.perf_counter()
        return False

    def bare_steps(self) -> Generator[StepPacks, None, None]:
        """Optimiser steps without signals, logs, validation or checkpoints: what a benchmark times."""
        self._interval.go_on()
        with self._rounded_weights():
            for packs in self._steps():
                self._optimizer_step(packs)
                yield packs

    @contextmanager
    def _rounded_weights(self) -> Iterator[None]:
        """Trained weights are rounded once a step instead of in every pass, where memory for the copies is spent."""
        checkpointing = self.config.training.gradient_checkpointing
        self.built.model.keep_rounded(None if checkpointing else self.built.hardware.compute_dtype)
        try:
            yield
        finally:
            self.built.model.keep_rounded(None)

    def _is_stopping(self) -> bool:
        """Whether any process was told to stop: all of them leave the loop at the same step."""
        stopping = self._stop.received is not None
        if self.accelerator.num_processes > 1:
            flag = torch.tensor(float(stopping), device=self.built.hardware.device)
            stopping = bool(self.accelerator.reduce(flag, "sum") > 0)
        return stopping

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
                route=self.built.model.route,
                pin=self.built.hardware.device.type == "cuda",
                rounded=self._replayed is not None,
            )
            with closing(steps):  # its thread has ended before the mixture is set back
                for packs in steps:
                    yield packs
                    if self.token_budget != budget:
                        break

    def _optimizer_step(self, packs: StepPacks) -> Tensor:
        """Forward and backward over all packs, one update; on exhausted memory, once more in smaller packs."""
        while (done := self._attempt_or_none(packs)) is None:
            packs = self._shrink(packs)  # outside of the handler, whose traceback holds on to memory
        loss, grad_norm = done
        self._interval.add(loss, tokens=packs.num_tokens, labels=packs.labels)
        self.state.step = packs.step + 1
        self.state.drawn = packs.drawn
        self.state.tokens += packs.num_tokens * self.accelerator.num_processes
        self.state.labels += sum(packs.labels.values()) * self.accelerator.num_processes
        return grad_norm

    def _attempt_or_none(self, packs: StepPacks) -> tuple[Tensor, Tensor] | None:
        """What `_attempt` gives; None where memory ran out."""
        try:
            return self._attempt(packs)
        except torch.OutOfMemoryError:
            return None

    def _attempt(self, packs: StepPacks) -> tuple[Tensor, Tensor]:
        training = self.config.training
        seed_step(training.seed, packs.step, self.accelerator.process_index)
        factor = learning_rate_factor(packs.step, training)
        set_learning_rate(self.optimizer.optimizer, factor)
        self.optimizer.zero_grad(set_to_none=self._replayed is None)
        total = torch.zeros((), device=self.built.hardware.device)
        for number, pack in enumerate(packs.packs, start=1):
            is_last = number == len(packs.packs)
            # Processes exchange gradients once a step, with the last pack.
            with nullcontext() if is_last else self.accelerator.no_sync(self.model):
                if self._replayed is not None:
                    loss = self._replayed(pack, self.built.hardware.device)
                else:
                    loss = self._pass(pack.to(self.built.hardware.device))
            total += loss
        grad_norm = self.accelerator.clip_grad_norm_(self.model.parameters(), training.max_grad_norm)
        self.optimizer.step()
        self.built.model.weights_changed()
        return total, torch.as_tensor(0.0 if grad_norm is None else grad_norm)

    def _pass(self, pack: TrainingPack) -> Tensor:
        """Forward and backward of a pack on the device; its loss, detached."""
        loss = self._pack_loss(pack)
        # Averaging over processes is undone: the weights already divide by the whole batch.
        self.accelerator.backward(loss * self.accelerator.num_processes)
        return loss.detach()

    def _pack_loss(self, pack: TrainingPack) -> Tensor:
        logits_S = self.model(pack.batch).float()
        return (pack.weights_S * step_losses(logits_S, pack.labels_S, self.config.training.loss)).sum()

    def _replay(self) -> ReplayedPasses:
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return ReplayedPasses(self._pass, trained, self.observer.say)

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
        self.optimizer.zero_grad(set_to_none=self._replayed is None)
        if self._replayed is not None:
            self._replayed.forget()
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
            route=self.built.model.route,
            pin=self.built.hardware.device.type == "cuda",
            rounded=self._replayed is not None,
        )

    def _log(self, grad_norm: Tensor) -> None:
        interval, self._interval = self._interval, Interval()
        losses = self._summed_losses(interval)
        loss = float(losses.mean())
        self.state.seconds += interval.seconds
        self._check_finite(loss, grad_norm)
        processes = self.accelerator.num_processes
        if self.accelerator.is_main_process:
            if (complaint := self._watch.complaint()) is not None:
                self.observer.say(complaint)
            self.observer.logged(
                StepRecord(
                    step=self.state.step,
                    loss=loss,
                    learning_rate=float(self.optimizer.param_groups[0]["lr"]),
                    grad_norm=float(grad_norm),
                    tokens_per_s=interval.tokens * processes / interval.seconds,
                    labels_per_s=sum(interval.labels.values()) * processes / interval.seconds,
                    memory_gb=memory_used_gb(self.built.hardware.device),
                    labels=interval.labels,
                )
            )

    def _summed_losses(self, interval: Interval) -> Tensor:
        """Loss of each step of the interval, summed over the processes."""
        losses = torch.stack(interval.losses)
        if self.accelerator.num_processes > 1:
            losses = self.accelerator.reduce(losses, "sum")
        return losses

    def _check_finite(self, loss: float, grad_norm: Tensor) -> None:
        """Raise before broken weights are validated or saved; under fp16 the scaler skips a broken gradient."""
        broken = "loss" if not math.isfinite(loss) else "gradient"
        if broken == "gradient" and (self.accelerator.scaler is not None or math.isfinite(float(grad_norm))):
            return
        value = loss if broken == "loss" else float(grad_norm)
        kept = f"; the last good checkpoint is {self._last_saved}" if self._last_saved else ""
        raise SurestepError(
            f"the {broken} is {value} at step {self.state.step}: training diverged; lower --learning_rate "
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
        share(self.accelerator, self.state, "best_seen", "validations_without_better")

    def _patience_is_out(self) -> bool:
        patience = self.config.training.early_stopping_patience
        return patience is not None and self.state.validations_without_better >= patience

    def _save(self) -> None:
        losses = self._summed_losses(self._interval).tolist() if self._interval.losses else []
        self.state.interval = self._interval.to_dict(losses)
        if self.accelerator.is_main_process:
            self._write_checkpoint()
        share(self.accelerator, self.state, "best")
        self._last_saved = checkpoint_path(self.config.experiment_dir, self.state.step)

    def _write_checkpoint(self) -> None:
        record = self._last_validation
        # A stop on a signal saves without validating, or the run that goes on would not be the uninterrupted one.
        if record is not None and record.step == self.state.step:
            self._mark_best(record)
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
        if self.state.best:
            write_best(self.config.experiment_dir, self.state.best)
        self.observer.saved(folder)
        for line in prune(
            self.config.experiment_dir,
            keep=self.config.training.save_total_limit,
            best_step=self.state.best.get("step"),
        ):
            self.observer.say(line)

    def _mark_best(self, record: ValidationRecord) -> None:
        if is_better(record.value, self.state.best.get("value"), record.metric):
            self.state.best = {
                "step": self.state.step,
                "checkpoint": f"checkpoint_step_{self.state.step}",
                "metric": record.metric,
                "value": record.value,
                "mean": record.mean,
            }

    def _result(self, early: bool) -> RunResult:
        assert self._last_saved is not None, "a run ends with a checkpoint"
        return RunResult(
            steps=self.state.step,
            last=self._last_saved,
            best=checkpoint_path(self.config.experiment_dir, self.state.best.get("step", self.state.step)),
            best_record=self.state.best,
            stopped_by=self._stop.received,
            early=early,
        )
