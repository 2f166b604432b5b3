"""One process or several: what all of them must agree on goes through here."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list

from surestep.errors import SurestepError
from surestep.scoring.hardware import Hardware
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
    """An Accelerator for the device and arithmetic that were chosen."""
    # Accelerate keeps one state a process; a second run in the same one may differ in its arithmetic.
    AcceleratorState._reset_state()
    return Accelerator(mixed_precision=hardware.precision, cpu=hardware.device.type == "cpu")


def share(accelerator: Accelerator, state: RunState, *names: str) -> None:
    """Give these fields of the main process's state to the others, which wait for it here."""
    if accelerator.num_processes > 1:
        values = broadcast_object_list([getattr(state, name) for name in names])
        for name, value in zip(names, values, strict=True):
            setattr(state, name, value)
