"""One process or several: what all of them must agree on goes through here."""

from __future__ import annotations

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list

from surestep.scoring.hardware import Hardware
from surestep.training.run_state import RunState


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
