"""One optimiser step: forward and backward over its packs, clipping, one update of the weights.

Where memory runs out in a pass, the passes of the step are run again in smaller packs: nothing has changed but
gradients, which are dropped. Clipping and the update are never run again, for weights stepped twice would be no error
that anyone sees; so what they need in memory is there before the first step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from surestep.config import TrainingConfig
from surestep.config.loss import LossOptions
from surestep.scoring.build_model import BuiltModel
from surestep.training.loss import step_losses
from surestep.training.optimizer.averaged_weights import AveragedWeights, put_raw_weights
from surestep.training.optimizer.parameter_groups import (
    Role,
    build_optimizer,
    learning_rates,
    parameter_names,
    parameter_roles,
    set_learning_rate,
)
from surestep.training.optimizer.saved_moments import allocate_moments
from surestep.training.passes.recorded import RecordedPasses
from surestep.training.passes.smaller_packs import PassBudget, not_repeated
from surestep.training.run_state import RunState, load_state, save_state, seed_step
from surestep.training.schedule import learning_rate_factor
from surestep.training.step_data import StepPacks, TrainingPack


@dataclass(frozen=True)
class Update:
    """What an optimiser step did.

    Attributes:
        packs: what went through the model, in the end.
        loss: weighted sum over this process's labels; a scalar on the device, detached.
        grad_norm: before clipping, over all processes.
    """

    packs: StepPacks
    loss: Tensor
    grad_norm: Tensor


def pack_loss(logits_S: Tensor, pack: TrainingPack, options: LossOptions) -> Tensor:
    """What is minimised of a pack, from its logits in float32: a weighted sum over its labels, a scalar."""
    losses_S = step_losses(
        logits_S,
        pack.labels_S,
        options.loss,
        label_smoothing=options.label_smoothing,
        pos_weight=options.pos_weight,
    )
    loss = (pack.weights_S * losses_S).sum()
    return loss if pack.comparisons is None else loss + pack.comparisons.loss(logits_S, options)


class OptimizerStep:
    """Runs optimiser steps on the model of `built`.

    Args:
        recorded: record passes and replay them (CUDA graphs).
        budget: tokens in a pass.
        pack_again: packs a step anew, by the budget as it then is.
        say: told of passes that cannot be recorded.
    """

    def __init__(
        self,
        settings: TrainingConfig,
        built: BuiltModel,
        accelerator: Accelerator,
        *,
        recorded: bool,
        budget: PassBudget,
        pack_again: Callable[[StepPacks], StepPacks],
        say: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._loss_options = settings.loss_options()
        self._built = built
        self._accelerator = accelerator
        self._budget = budget
        self._pack_again = pack_again
        self._say = say
        self._first_step = 0
        self._names = parameter_names(built.model)
        self.model, self.optimizer = accelerator.prepare(built.model, build_optimizer(built.model, settings))
        self.is_recorded = recorded
        self._recorded: RecordedPasses | None = None
        self._average: AveragedWeights | None = None

    @property
    def num_recorded(self) -> int:
        """How many shapes of pass are recorded; 0 where none are."""
        return 0 if self._recorded is None else self._recorded.num_shapes

    def begin(self, resume_from: Path | None) -> RunState:
        """Take over moments and position from a checkpoint, or begin; returns where the run stands.

        Raises:
            CheckpointError: the training state does not fit.
            DeviceError: memory does not hold the moments.
        """
        state = RunState()
        with not_repeated("AdamW's moments were set up"):
            if resume_from is not None:
                state = load_state(resume_from / "training_state", self.optimizer.optimizer, self._names)
                if self._accelerator.scaler is not None and state.scaler:
                    self._accelerator.scaler.load_state_dict(state.scaler)
            allocate_moments(self.optimizer.optimizer)
            self._begin_average(resume_from, state)
            if self.is_recorded:
                trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
                self._recorded = RecordedPasses(self._pass, trained, self._say)
        return state

    def _begin_average(self, resume_from: Path | None, state: RunState) -> None:
        """Where `ema_decay` is set: a checkpoint's weights are the average, and its training state holds the others.

        The average is kept on the main process alone, which validates and saves.
        """
        decay = self._settings.ema_decay
        if decay is None:
            return
        if self._accelerator.is_main_process:
            self._average = AveragedWeights(self._built.model, decay, updates=state.step)
        if resume_from is not None:
            put_raw_weights(self._built.model, resume_from / "training_state")
            self._built.model.weights_changed()

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Within it the model's weights are those that are validated and saved: with `ema_decay` the averages."""
        if self._average is None:
            yield
            return
        self._exchange(self._average)
        try:
            yield
        finally:
            self._exchange(self._average)

    def _exchange(self, average: AveragedWeights) -> None:
        with not_repeated("the weights and their averages changed places"):
            average.exchange()
            self._built.model.weights_changed()

    def enter_phase(self, settings: TrainingConfig, *, first_step: int) -> None:
        """From now on `settings` hold, and the learning rate counts from `first_step`; the moments stay."""
        self._settings, self._first_step = settings, first_step
        self._roles = parameter_roles(self._built.model, settings)
        # Of an optimiser as this phase alone would make it: its groups may be cut otherwise.
        self.optimizer.optimizer.param_groups[:] = build_optimizer(self._built.model, settings).param_groups

    def learning_rates(self) -> dict[Role, float]:
        """Of the last step, by what is trained."""
        return learning_rates(self.optimizer.optimizer, parameter_roles(self._built.model, self._settings))

    def save_state(self, folder: Path, state: RunState) -> None:
        """Write what resuming needs beside the weights."""
        raw = None if self._average is None else self._average.raw()
        save_state(folder, state, self.optimizer.optimizer, self._names, raw_weights=raw)

    @contextmanager
    def rounded_weights(self) -> Iterator[None]:
        """Trained weights are rounded once a step instead of in every pass, where memory for the copies is spent."""
        model, dtype = self._built.model, self._built.hardware.compute_dtype
        try:
            with not_repeated("the weights were copied in half precision"):
                model.keep_rounded(None if self._settings.gradient_checkpointing else dtype)
            yield
        finally:
            model.keep_rounded(None)

    def __call__(self, packs: StepPacks) -> Update:
        """Forward and backward over all packs, one update.

        Raises:
            DeviceError: memory ran out and smaller packs are not allowed or do not help, or it ran out in the update.
        """
        factor = learning_rate_factor(packs.step - self._first_step, self._settings)
        set_learning_rate(self.optimizer.optimizer, factor)
        while (loss := self._passes_or_none(packs)) is None:
            # Outside of the handler, whose traceback holds on to memory.
            self._budget.shrink(self._drop_gradients)
            packs = self._pack_again(packs)
        with not_repeated(f"the weights were updated in step {packs.step + 1}"):
            grad_norm = self._accelerator.clip_grad_norm_(self.model.parameters(), self._settings.max_grad_norm)
            self.optimizer.step()
            if self._average is not None:
                self._average.update()
            self._built.model.weights_changed()
        return Update(packs, loss, torch.as_tensor(0.0 if grad_norm is None else grad_norm))

    def _passes_or_none(self, packs: StepPacks) -> Tensor | None:
        """What `_passes` gives; None where memory ran out."""
        try:
            return self._passes(packs)
        except torch.OutOfMemoryError:
            return None

    def _passes(self, packs: StepPacks) -> Tensor:
        """The step's loss, its gradients in place."""
        device = self._built.hardware.device
        seed_step(self._settings.seed, packs.step, self._accelerator.process_index)
        self._zero_gradients()
        total = torch.zeros((), device=device)
        for number, pack in enumerate(packs.packs, start=1):
            is_last = number == len(packs.packs)
            # Processes exchange gradients once a step, with the last pack.
            with nullcontext() if is_last else self._accelerator.no_sync(self.model):
                loss = self._recorded(pack, device) if self._recorded is not None else self._pass(pack.to(device))
            total += loss
        return total

    def _pass(self, pack: TrainingPack) -> Tensor:
        """Forward and backward of a pack on the device; its loss, detached."""
        loss = self._pack_loss(pack)
        # Averaging over processes is undone: the weights already divide by the whole batch.
        self._accelerator.backward(loss * self._accelerator.num_processes)
        return loss.detach()

    def _pack_loss(self, pack: TrainingPack) -> Tensor:
        logits_S = self.model(pack.batch).float()
        return pack_loss(logits_S, pack, self._loss_options)

    def _zero_gradients(self) -> None:
        self.optimizer.zero_grad(set_to_none=self._recorded is None)

    def _drop_gradients(self) -> None:
        self._zero_gradients()
        if self._recorded is not None:
            self._recorded.forget()
