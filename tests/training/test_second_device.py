"""A run computes on the device that was chosen, whatever else this process computed on before."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from accelerate.state import AcceleratorState, PartialState

from runs import Watcher, assert_same_bits, logged
from surestep.config import Config
from surestep.errors import DeviceError
from surestep.scoring.hardware import Hardware, choose_hardware
from surestep.training.processes import make_accelerator
from surestep.training.run import train

CPU = choose_hardware("cpu", "no")
GPU = Hardware(torch.device("cuda"), "no", ())


@pytest.fixture(autouse=True)
def _state_given_back() -> Iterator[None]:
    """Nothing of what these tests pretend is left to others."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def computed_on(device: str) -> None:
    """Leave Accelerate's state as a run on `device` does, or another library that asked it for the device."""
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState(cpu=True)
    PartialState._shared_state["device"] = torch.device(device)
    PartialState._shared_state["_cpu"] = device == "cpu"


@pytest.mark.parametrize("before", ["cuda", "cuda:1", "cpu"])
def test_the_device_of_an_earlier_run_is_not_that_of_the_next(before: str) -> None:
    computed_on(before)
    accelerator = make_accelerator(CPU)
    assert accelerator.device == PartialState().device == torch.device("cpu")
    assert accelerator.prepare_model(torch.nn.Linear(2, 2)).weight.device.type == "cpu"
    assert make_accelerator(CPU).device.type == "cpu"


def test_a_run_on_the_cpu_after_one_on_a_gpu_is_the_run_alone(run_config: Callable[..., Config]) -> None:
    runs = []
    for name, before in (("alone", "cpu"), ("second", "cuda")):
        config = run_config(experiment_name=name, max_steps=3, save_steps=3)
        computed_on(before)
        train(config, Watcher())
        runs.append(config)
    assert logged(runs[0].experiment_dir) == logged(runs[1].experiment_dir)
    assert_same_bits(*[config.experiment_dir / "checkpoint_step_3" for config in runs])


def test_a_state_of_the_same_device_is_kept() -> None:
    """It may hold how the processes of a launch are connected."""
    computed_on("cpu")
    PartialState._shared_state["backend"] = "as it was"
    make_accelerator(CPU)
    assert PartialState().backend == "as it was"


def test_another_device_is_refused_while_processes_are_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    computed_on("cuda")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    with pytest.raises(DeviceError, match=r"training\.device is cpu, .*connected.* on cuda.*--device cuda") as caught:
        make_accelerator(CPU)
    assert "\n" not in str(caught.value)
    assert PartialState._shared_state["device"].type == "cuda", "which goes on there"


@pytest.mark.parametrize("setting", [("ACCELERATE_USE_CPU", "true"), ("ACCELERATE_TORCH_DEVICE", "cpu")])
def test_accelerate_told_of_another_device_is_refused(
    setting: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setenv(*setting)
    assert make_accelerator(CPU).device.type == "cpu"
    with pytest.raises(DeviceError, match=r"training\.device is cuda, but Accelerate computes on cpu.*--device cpu"):
        make_accelerator(GPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_process_goes_from_one_device_to_the_other_and_back() -> None:
    for hardware in (GPU, CPU, GPU, CPU):
        accelerator = make_accelerator(hardware)
        weight = accelerator.prepare_model(torch.nn.Linear(2, 2).to(hardware.device)).weight
        assert accelerator.device.type == weight.device.type == hardware.device.type
