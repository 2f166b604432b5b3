"""One process or several: what all of them must agree on goes through here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import broadcast_object_list

from surestep.errors import DeviceError, SurestepError
from surestep.scoring.hardware import Hardware
from surestep.scoring.spread.together import FIRST_WAIT, LONGEST_WAIT, Together
from surestep.training.run_state import RunState

T = TypeVar("T")


def is_main_process() -> bool:
    """The same before there is an Accelerator, from what the launcher has set."""
    return os.environ.get("RANK", "0") == "0"


def main_process_alone(accelerator: Accelerator, act: Callable[[], T], *, otherwise: T) -> T:
    """What `act` gives on the main process, `otherwise` on the others, which wait; where it is refused, all are.

    Raises:
        SurestepError: what `act` raised; the others get its words.
    """
    found, refusal = otherwise, None
    if accelerator.is_main_process:
        try:
            found = act()
        except SurestepError as error:
            refusal = error
    if accelerator.num_processes > 1:
        (words,) = broadcast_object_list([None if refusal is None else str(refusal)])
        if words is not None and refusal is None:
            raise SurestepError(words)
    if refusal is not None:
        raise refusal
    return found


def make_accelerator(hardware: Hardware) -> Accelerator:
    """An Accelerator for the device and arithmetic that were chosen, whatever this process computed on before.

    Raises:
        DeviceError: this process is connected with others on another device, or Accelerate was told of another one.
    """
    device = hardware.device.type
    # Accelerate keeps one state a process; a second run in it may differ in its arithmetic, and in its device.
    before = PartialState._shared_state.get("device")
    is_other = before is not None and before.type != device
    if is_other and torch.distributed.is_available() and torch.distributed.is_initialized():
        raise DeviceError(
            f"training.device is {device}, but this process is connected with others on {before.type}; start a run on "
            f"another device in processes of its own, or use --device {before.type}"
        )
    AcceleratorState._reset_state(reset_partial_state=is_other)
    accelerator = Accelerator(
        mixed_precision=hardware.precision,
        cpu=device == "cpu",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_WAIT)],
    )
    if (found := accelerator.device.type) != device:
        raise DeviceError(
            f"training.device is {device}, but Accelerate computes on {found}: it was launched with --cpu, or "
            f"ACCELERATE_USE_CPU or ACCELERATE_TORCH_DEVICE is set; launch it without, or use --device {found}"
        )
    return accelerator


def together_with(accelerator: Accelerator, *, wait: timedelta = LONGEST_WAIT) -> Together:
    """The processes of `accelerator`, for what they tell each other; every one of them must ask for it."""
    return Together(accelerator.process_index, accelerator.num_processes, wait=wait)


@contextmanager
def main_process_first(accelerator: Accelerator) -> Iterator[None]:
    """The main process goes through the block before the others, which wait as long as it takes."""
    with together_with(accelerator, wait=FIRST_WAIT).first_goes_ahead():
        yield


@contextmanager
def group_closed(accelerator: Accelerator) -> Iterator[None]:
    """At the end of the block the processes part: what connected them is closed, and nothing waits for them any more.

    Where the block breaks off, others may still wait in the middle of something: then the end of this process tells
    them, by its closed connections.
    """
    yield
    if accelerator.num_processes > 1:
        accelerator.state.destroy_process_group()
        AcceleratorState._reset_state(reset_partial_state=True)  # which still holds them for connected


def share(accelerator: Accelerator, state: RunState, *names: str) -> None:
    """Give these fields of the main process's state to the others, which wait for it here."""
    if accelerator.num_processes > 1:
        values = broadcast_object_list([getattr(state, name) for name in names])
        for name, value in zip(names, values, strict=True):
            setattr(state, name, value)
