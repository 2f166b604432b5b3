"""The training loop: packs in, checkpoints and logs out.

One optimiser step takes the effective batch, packs it, and sums the loss over the packs; when and how many passes
that takes never changes the step. Everything else happens in events (`surestep.training.events`).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from surestep.config import TrainingConfig
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.spread.together import Together
from surestep.training.events import RunView, TrainingEvents
from surestep.training.events.records import StepDone
from surestep.training.loss.positions import position_balances
from surestep.training.optimizer_step import OptimizerStep
from surestep.training.passes.smaller_packs import PassBudget
from surestep.training.phases.plan import TrainingPhase, phase_at, whole_run
from surestep.training.processes import together_with
from surestep.training.run_state import RunState
from surestep.training.schedule import Rhythm
from surestep.training.step_data import StepPacks, build_step, prefetch_steps
from surestep.training.training_sets import TrainingSet


class Trainer:
    """Runs optimiser steps up to `max_steps`.

    Args:
        settings: the training section of the configuration.
        built: the model to train, on its device.
        data: the training sets, by name.
        accelerator: from `processes.make_accelerator`.
        token_budget: tokens in one pass; halved when memory runs out, where `may_shrink`.
        recorded: record passes and replay them (`passes.recorded.records_passes`).
        resume_from: a checkpoint whose optimiser and position are taken over.
        phases: of the run, in order; none: `settings` and `data` are the whole run.
        together: the processes of the run; unless given, those of `accelerator`.
    """

    def __init__(
        self,
        settings: TrainingConfig,
        built: BuiltModel,
        data: Mapping[str, TrainingSet],
        *,
        accelerator: Accelerator,
        token_budget: int,
        may_shrink: bool = False,
        recorded: bool = False,
        resume_from: Path | None = None,
        phases: Sequence[TrainingPhase] = (),
        together: Together | None = None,
    ) -> None:
        self.settings = settings
        self.built = built
        self.accelerator = accelerator
        self.together = together or together_with(accelerator)
        self.phases = tuple(phases) or (whole_run(settings, data),)
        self.rhythm = Rhythm.of(settings, [phase.last_step for phase in phases])
        self.budget = PassBudget(token_budget, may_shrink=may_shrink, say=lambda line: self.view.say(line))
        self.optimizer_step = OptimizerStep(
            settings,
            built,
            accelerator,
            recorded=recorded,
            budget=self.budget,
            pack_again=self._pack_again,
            say=lambda line: self.view.say(line),
            together=self.together,
        )
        self.view = RunView(RunState(), settings.max_steps)
        self.view.state = self.optimizer_step.begin(resume_from)
        self.view.last_saved = resume_from
        self.phase = phase_at(self.phases, max(self.view.state.step - 1, 0))  # of the step last done
        self.view.phase = self.phase.name
        self._entered: TrainingPhase | None = None
        self._packing: dict[str, Any] = {
            "route": built.model.route,
            "pin": built.hardware.device.type == "cuda",
            "rounded": recorded,
            "options": settings.loss_options(),
        }
        self._attention = built.attention_per_token
        self._asked_at = self._waited = 0.0

    @property
    def num_examples(self) -> int:
        """The effective batch: examples in one optimiser step, over all processes."""
        processes: int = self.accelerator.num_processes
        settings = self.phase.settings
        return settings.per_device_train_batch_size * settings.gradient_accumulation_steps * processes

    def run(self, events: Sequence[TrainingEvents]) -> None:
        """Train to the end, or until an event asks to stop.

        Raises:
            SurestepError: the loss is no longer finite, memory or disk ran out.
        """
        self.view.events = events
        self.built.model.train()
        try:
            for event in events:
                event.started(self.view)
            if self.view.state.validation_due and self.view.stop_reason is None:
                for event in events:
                    event.step_resumed()
            with self.optimizer_step.rounded_weights():
                if self.view.stop_reason is None:
                    self._train()
        finally:
            for event in events:
                event.finished()

    def _train(self) -> None:
        """The loop itself."""
        with closing(self.steps()) as steps:
            for packs in steps:
                done = self._one_step(packs)
                for event in self.view.events:
                    event.step_done(done)
                if self.view.stop_reason is not None:
                    return

    def bare_steps(self) -> Generator[StepDone, None, None]:
        """Optimiser steps without events: what a benchmark times."""
        with self.optimizer_step.rounded_weights(), closing(self.steps()) as steps:
            for packs in steps:
                yield self._one_step(packs, waits=False)

    def steps(self) -> Generator[StepPacks, None, None]:
        """Packed steps; built anew from where the run stands whenever the token budget shrinks."""
        state = self.view.state
        while state.step < self.settings.max_steps:
            if (phase := phase_at(self.phases, state.step)) is not self._entered:
                self._enter(phase)
            budget = self.budget.num_tokens
            self.mixture.drawn |= state.drawn
            packed = prefetch_steps(
                self.mixture,
                phase.data,
                self.weights,
                first_step=state.step,
                last_step=phase.last_step,
                num_examples=self.num_examples,
                token_budget=budget,
                rank=self.accelerator.process_index,
                num_processes=self.accelerator.num_processes,
                attention=self._attention,
                **self._packing,
            )
            with closing(packed):  # its thread has ended before the mixture is set back
                for packs in self._timed(packed):
                    yield packs
                    if self.budget.num_tokens != budget:
                        break

    def _enter(self, phase: TrainingPhase) -> None:
        """Go on in a phase, from its beginning or from where the run was resumed."""
        state = self.view.state
        if phase.number > 1 and state.step == phase.first_step:
            # Nothing of this phase's data is drawn yet, and what did not help the last phase says nothing of this one.
            state.drawn, state.validations_without_better = {}, 0
        self.phase = self._entered = phase
        self.mixture, self.weights = phase.mixture(), phase.label_weights()
        is_balanced = phase.settings.balance_positions
        self._packing["balances"] = position_balances(phase.data) if is_balanced else None
        if phase.name is not None:
            self.optimizer_step.enter_phase(phase.settings, first_step=phase.first_step)
            self.view.phase = phase.name
            self.view.say(phase.line())

    def _timed(self, packed: Iterator[StepPacks]) -> Iterator[StepPacks]:
        """The same, with the time at which a step was asked for and the time that it took to come."""
        while True:
            self._asked_at = time.perf_counter()
            packs = next(packed, None)
            self._waited = time.perf_counter() - self._asked_at
            if packs is None:
                return
            yield packs

    def _one_step(self, packs: StepPacks, *, waits: bool = True) -> StepDone:
        """Run a step, and move on to the next; unless `waits`, the GPU may still be at it."""
        update = self.optimizer_step(packs)
        packs, state = update.packs, self.view.state
        state.step = packs.step + 1
        state.drawn = packs.drawn
        state.tokens += update.num_tokens
        state.labels += sum(update.labels.values())
        is_read = self.rhythm.is_logging(state.step) or self.rhythm.is_validating(state.step)
        if waits and is_read and self.built.hardware.device.type == "cuda":
            torch.cuda.synchronize()  # what was left to the GPU belongs to the step, not to the validation
        return StepDone(
            step=state.step,
            loss=update.loss,
            grad_norm=update.grad_norm,
            learning_rates=self.optimizer_step.learning_rates() if is_read else {},
            packs=packs,
            num_tokens=update.num_tokens,
            labels=update.labels,
            seconds=time.perf_counter() - self._asked_at,
            waited=self._waited,
        )

    def _pack_again(self, packs: StepPacks) -> StepPacks:
        """The same step within the budget as it is now."""
        return build_step(
            packs.step,
            packs.draws,
            self.phase.data,
            self.weights,
            num_examples=self.num_examples,
            token_budget=self.budget.num_tokens,
            drawn=packs.drawn,
            **self._packing,
        )
