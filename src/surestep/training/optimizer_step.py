"""One optimiser step: forward and backward over its packs, clipping, one update of the weights.

Where memory runs out in a pass, the passes of the step are run again in smaller packs: nothing has changed but
gradients, which are dropped. Several processes do so together, whichever of them it was, for gradients are added up
over the processes once all passes of all of them are done. Clipping and the update are never run again, for weights
stepped twice would be no error that anyone sees; so what they need in memory is there before the first step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from surestep.config import TrainingConfig
from surestep.config.loss import LossOptions
from surestep.model.saved_weights import is_adapted
from surestep.model.sharding import is_sharded, joined
from surestep.model.to_device import copied_ahead
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.spread.together import Together
from surestep.training.loss import step_losses
from surestep.training.optimizer.averaged_weights import AveragedWeights, put_raw_weights
from surestep.training.optimizer.clipped_update import clip_and_step
from surestep.training.optimizer.parameter_groups import (
    Role,
    build_optimizer,
    learning_rates,
    parameter_names,
    parameter_roles,
    set_learning_rate,
)
from surestep.training.optimizer.saved_moments import allocate_moments, moments_to_tensors
from surestep.training.passes.added_gradients import add_gradients
from surestep.training.passes.recorded import RecordedPasses
from surestep.training.passes.shared_gradients import add_up_gradients
from surestep.training.passes.smaller_packs import PassBudget, not_repeated
from surestep.training.run_state import RunState, load_state, save_state, seed_step
from surestep.training.schedule import learning_rate_factor
from surestep.training.sharding.passes import empty_pack
from surestep.training.sharding.state import RAW
from surestep.training.step_data import StepPacks, TrainingPack


@dataclass(frozen=True)
class Update:
    """What an optimiser step did.

    Attributes:
        packs: what went through the model, in the end.
        loss: weighted sum over this process's labels; a scalar on the device, detached.
        grad_norm: before clipping, over all processes.
        num_tokens, labels: those of the step, over all processes; labels by dataset.
    """

    packs: StepPacks
    loss: Tensor
    grad_norm: Tensor
    num_tokens: int
    labels: Mapping[str, int]


@dataclass(frozen=True)
class _PassesDone:
    """Loss of this process's passes; tokens and labels (by dataset) of all processes'."""

    loss: Tensor
    num_tokens: int
    labels: Mapping[str, int]


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
        together: the processes of the run; alone unless given.
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
        together: Together | None = None,
    ) -> None:
        self._settings = settings
        self._loss_options = settings.loss_options()
        self._built = built
        self._accelerator = accelerator
        self._budget = budget
        self._pack_again = pack_again
        self._say = say
        self._first_step = 0
        self._together = together or Together()
        self._names = parameter_names(built.model)
        # `evaluation_mode`: without DistributedDataParallel around it, for gradients are added up here.
        self.model = accelerator.prepare_model(built.model, evaluation_mode=True)
        self.optimizer = accelerator.prepare(build_optimizer(built.model, settings))
        self.is_recorded = recorded
        self._recorded: RecordedPasses | None = None
        self._average: AveragedWeights | None = None
        self._is_sharded = is_sharded(built.model)
        self._trained = [parameter for parameter in built.model.parameters() if parameter.requires_grad]
        # With adapters few weights are trained. fp16's scaler and sharded weights want torch's own backward pass.
        self._adds_at_once = is_adapted(built.model) and accelerator.scaler is None and not self._is_sharded
        self._empty = empty_pack(built) if self._is_sharded else None

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
                self._recorded = RecordedPasses(self._pass, self._trained, self._say)
        return state

    def _begin_average(self, resume_from: Path | None, state: RunState) -> None:
        """Where `ema_decay` is set: a checkpoint's weights are the average, and its training state holds the others.

        Every process keeps it, for all of them validate.
        """
        decay = self._settings.ema_decay
        if decay is None:
            return
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

    def shards(self) -> dict[str, Tensor]:
        """What resuming needs beside the weights and the run state, by name, where the weights are sharded."""
        moments = moments_to_tensors(self.optimizer.optimizer, self._names, in_place=True)
        raw = {} if self._average is None else self._average.raw()
        return moments | {f"{RAW}{name}": weight for name, weight in raw.items()}

    @contextmanager
    def rounded_weights(self) -> Iterator[None]:
        """Trained weights are rounded once a step instead of in every pass, where memory for the copies is spent."""
        model, dtype = self._built.model, self._built.hardware.compute_dtype
        # Sharded weights are put together in half precision for each layer, and whole ones are held by nobody.
        has_none = self._settings.gradient_checkpointing or self._is_sharded
        try:
            with not_repeated("the weights were copied in half precision"):
                model.keep_rounded(None if has_none else dtype)
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
        while (done := self._passes_of_all(packs)) is None:
            # Outside of the handler, whose traceback holds on to memory.
            self._budget.shrink(self._drop_gradients)
            packs = self._pack_again(packs)
        with not_repeated(f"the weights were updated in step {packs.step + 1}"):
            grad_norm = clip_and_step(self.optimizer, self.model, self._accelerator, self._settings.max_grad_norm)
            if self._average is not None:
                self._average.update()
            self._built.model.weights_changed()
        norm = torch.as_tensor(0.0 if grad_norm is None else joined(grad_norm))
        return Update(packs, done.loss, norm, done.num_tokens, done.labels)

    def _passes_of_all(self, packs: StepPacks) -> _PassesDone | None:
        """The passes of all processes, their gradients added up; None where memory ran out on one of them."""
        loss = self._passes_or_none(packs)
        if self._together.count == 1:
            return None if loss is None else _PassesDone(loss, packs.num_tokens, packs.labels)
        names = list(packs.labels)
        # FSDP2 adds up those of shards itself.
        trained = [] if self._is_sharded else self._trained
        known, has_gradient = len(names) + 2, [float(parameter.grad is not None) for parameter in trained]
        counts = [float(loss is None), float(packs.num_tokens), *(float(packs.labels[name]) for name in names)]
        summed = self._together.summed([*counts, *has_gradient])
        if loss is None or summed[0] > 0:
            return None
        with not_repeated(f"the gradients of step {packs.step + 1} were added up over the processes"):
            add_up_gradients([p for p, number in zip(trained, summed[known:], strict=True) if number > 0])
        labels = {name: int(count) for name, count in zip(names, summed[2:known], strict=True)}
        return _PassesDone(loss, int(summed[1]), labels)

    def _passes_or_none(self, packs: StepPacks) -> Tensor | None:
        """What `_passes` gives; None where memory ran out."""
        if self._is_sharded:  # the others wait in the middle of the same pass, which cannot be run again
            with not_repeated(f"sharded weights were run in step {packs.step + 1}"):
                return self._passes(packs)
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
        run = self._pass if self._recorded is None else self._recorded
        # Closed, not left to chance: where memory runs out, what is on its way to the device goes as well.
        with closing(copied_ahead(self._in_step(packs.packs), device)) as on_device:
            for pack in on_device:
                total += run(pack)
        return total

    def _pass(self, pack: TrainingPack) -> Tensor:
        """Forward and backward of a pack on the device; its loss, detached."""
        loss = self._pack_loss(pack)
        if self._adds_at_once:
            add_gradients(loss, self._trained)
            return loss.detach()
        # The weights of its labels divide by the whole batch; FSDP2's mean over processes is undone.
        self._accelerator.backward(loss * self._together.count if self._is_sharded else loss)
        return loss.detach()

    def _in_step(self, packs: Sequence[TrainingPack]) -> list[TrainingPack]:
        """The same, and of sharded weights as many on every process, for all of them run a pass together."""
        if self._empty is None:
            return list(packs)
        return [*packs, *[self._empty] * (self._together.largest(len(packs)) - len(packs))]

    def _pack_loss(self, pack: TrainingPack) -> Tensor:
        logits_S = self.model(pack.batch).float()
        return pack_loss(logits_S, pack, self._loss_options)

    def _zero_gradients(self) -> None:
        self.optimizer.zero_grad(set_to_none=self._recorded is None)

    def _drop_gradients(self) -> None:
        self._zero_gradients()
        if self._recorded is not None:
            self._recorded.forget()
