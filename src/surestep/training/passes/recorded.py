"""Passes recorded once and replayed: a CUDA graph for every shape of pack.

A pass of a few thousand tokens is some five thousand kernels, and a small model's kernels end before Python has asked
for the next one. A recorded pass is started with one call. The numbers are those of the recorded kernels: nothing is
computed differently, only without waiting for Python.

Costs memory: what recordings use is kept apart from everything else. Packs are built with few shapes (`rounded` in
`build_step`), gradients keep their place in memory from step to step, and dropout draws anew in every replay from the
step's own seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from surestep.config import LoraConfig, TrainingConfig
from surestep.model.fast.capture_graph import capture, cause_of
from surestep.model.sharding import is_sharded
from surestep.model.to_device import copy_into
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.recorded_passes import reason_model_is_not_recorded
from surestep.training.step_data import TrainingPack

_SHORT_PASS = 8e13
"""Floating-point operations (those in 8 bits count half) of a pass that may end before Python has started it: it
starts the kernels of a 4B model in 0.1 to 0.15 s, depending on the CPU, in which an H200 does 7e13 to 1e14."""

_SHORT_FULL_PASS = 4e13
"""The same where every weight is trained: measured up to 0.6 billion weights, where recording gains least."""

_WARM_PASSES = 2
"""Passes run as usual at first: they compile and tune what a recording must find ready."""

_MOST = 48
"""Shapes to keep; others are run as usual."""


def reason_not_to_record(
    training: TrainingConfig, lora: LoraConfig, built: BuiltModel, accelerator: Accelerator
) -> str | None:
    """Why passes of this run cannot be recorded, in words; None where nothing in a pass waits for the GPU."""
    reasons = {
        "weights are shared out over processes": is_sharded(built.model),
        "fp16 scales its loss": accelerator.scaler is not None,
        "activations are recomputed": training.gradient_checkpointing,
        "steps are compared with each other (pairwise_weight, pqm_weight)": training.loss_options().compares,
    }
    of_run = next((reason for reason, holds in reasons.items() if holds), None)
    return of_run or reason_model_is_not_recorded(built.model)


def records_passes(
    training: TrainingConfig, lora: LoraConfig, built: BuiltModel, accelerator: Accelerator, token_budget: int
) -> bool:
    """Whether passes are recorded: where they can be, and where Python would be too slow without.

    The latter is decided by arithmetic that is known beforehand and not by a clock, so that a resumed run runs as
    before.
    """
    wanted = training.cuda_graphs
    if wanted is False or reason_not_to_record(training, lora, built, accelerator) is not None:
        return False
    if wanted is True:
        return True
    if not lora.use_lora:  # three products of a weight: forward, the input's gradient and its own
        return bool(6 * built.weights_in_products * token_budget < _SHORT_FULL_PASS)
    share = 0.5 if lora.base_precision == "fp8" else 1.0
    return bool(4 * built.weights_in_products * token_budget * share < _SHORT_PASS)


@dataclass
class _Recorded:
    """A graph, the pack whose memory it reads and the loss it writes."""

    graph: Any
    pack: TrainingPack
    loss: Tensor


class RecordedPasses:
    """Runs passes by replaying them.

    Args:
        run: forward and backward of a pack on the device, adding to the gradients; returns the detached loss.
        parameters: the trained ones.
        say: told, in a line, should recording fail; passes then run as usual.
    """

    def __init__(
        self, run: Callable[[TrainingPack], Tensor], parameters: Iterable[Tensor], say: Callable[[str], None]
    ) -> None:
        self._run = run
        self._say = say
        self._recorded: dict[tuple[tuple[int, ...], ...], _Recorded] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._warm = 0
        self._works = True
        for parameter in parameters:
            # A recording adds to the memory that it found: it must be there first and stay.
            parameter.grad = torch.zeros_like(parameter)

    @property
    def num_shapes(self) -> int:
        """How many shapes of pass are recorded."""
        return len(self._recorded)

    def __call__(self, pack: TrainingPack) -> Tensor:
        """The loss of a pack on the device, its gradients added; valid until the next call.

        The pack of a shape's first recording is kept: its memory is where the recording reads those that follow.
        """
        shape = tuple(tuple(tensor.shape) for tensor in pack.tensors())
        recorded = self._recorded.get(shape)
        if recorded is None:
            if not self._works or self._warm < _WARM_PASSES or len(self._recorded) >= _MOST:
                self._warm += 1
                return self._run(pack)
            recorded = self._record(pack)
            if recorded is None:
                return self._run(pack)
            self._recorded[shape] = recorded
        else:
            assert recorded.pack.piece is not None
            assert pack.piece is not None, "packs of few shapes come in one piece"
            copy_into(recorded.pack.piece, pack.piece)
        recorded.graph.replay()
        return recorded.loss

    def _record(self, pack: TrainingPack) -> _Recorded | None:
        try:
            graph, loss = capture(lambda: self._run(pack), self._pool)
        except torch.OutOfMemoryError:
            self.forget()
            raise
        except RuntimeError as error:
            self._works = False
            self.forget()
            self._say(f"passes cannot be recorded here ({cause_of(error)}): continuing without, which may be slower")
            return None
        return _Recorded(graph, pack, loss)

    def forget(self) -> None:
        """Free all recordings; their shapes are recorded again when they come."""
        self._recorded.clear()
        self._pool = torch.cuda.graph_pool_handle()  # a pool that nobody uses any more cannot be taken up again
        torch.cuda.empty_cache()
