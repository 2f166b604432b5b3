"""What this machine has, what Surestep will use of it, and what is missing.

Knows libraries, devices and folders; changes nothing and asks no network.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from packaging.requirements import Requirement

from surestep import __version__
from surestep.config.trackers import TrackerName
from surestep.counted import counted
from surestep.errors import DeviceError
from surestep.model.precision.bitsandbytes_available import bitsandbytes_problem
from surestep.model.precision.fp8 import runs_fp8
from surestep.scoring.hardware import choose_hardware, choose_route
from surestep.scoring.stored_split import default_cache_dir
from surestep.training.events.trackers import TRACKERS

Status = Literal["ok", "missing", "broken", "note"]
"""`missing`: an option that is not installed; `broken`: Surestep does not work as it should."""

_EXTRAS = {
    "generate": "`surestep generate`: answers compared by math-verify",
    "benchmarks": "best-of-N on answers, compared by math-verify",
    "serve": "`surestep serve`",
    "memory": "8-bit AdamW, frozen weights in NF4",
    "sweep": "`surestep sweep`",
    "tensorboard": "--report_to tensorboard",
}
_WITHOUT_AN_EXTRA: tuple[TrackerName, ...] = ("wandb", "mlflow", "aim")
"""Trackers that users install themselves."""
_LORA_GB = 26.0
"""GPU memory that LoRA of the default backbone takes at the defaults (docs/how-to/fit-a-gpu.md)."""
_GB = 1e9
_REINSTALL = "pip install --upgrade surestep (in a checkout: pip install -e .)"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name.
        status: see `Status`.
        value: what was found.
        mend: how to get what is missing.
    """

    what: str
    status: Status
    value: str
    mend: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def look_at_machine(output_dir: Path) -> list[Finding]:
    """Everything that decides how Surestep runs here, in the order in which a person asks.

    Args:
        output_dir: where runs would go.
    """
    return [
        Finding(
            "surestep", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}"
        ),
        *_libraries(),
        *_extras(),
        *_trackers(),
        *_devices(),
        *_room(output_dir),
        _hub(),
    ]


def _requirements() -> list[Requirement]:
    return [Requirement(text) for text in requires("surestep") or ()]


def _problem(needed: Requirement) -> str | None:
    """Why a requirement is not met; None where it is."""
    try:
        found = version(needed.name)
    except PackageNotFoundError:
        return f"{needed.name} is not installed"
    return (
        None
        if needed.specifier.contains(found, prereleases=True)
        else f"{needed.name} {found}, needs {needed.specifier}"
    )


def _libraries() -> Iterator[Finding]:
    base = [needed for needed in _requirements() if needed.marker is None or needed.marker.evaluate({"extra": ""})]
    problems = [problem for needed in base if (problem := _problem(needed)) is not None]
    for problem in problems:
        yield Finding("library", "broken", problem, _REINSTALL)
    if not problems:
        shown = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft", "accelerate"))
        yield Finding("libraries", "ok", f"all {len(base)} as required; {shown}")


def _extras() -> Iterator[Finding]:
    for extra, purpose in _EXTRAS.items():
        needed = [one for one in _requirements() if one.marker is not None and _is_of(one, extra)]
        problems = [problem for one in needed if (problem := _problem(one)) is not None]
        if not needed:
            yield Finding(f"extra {extra}", "broken", "the installed package is older than this code", _REINSTALL)
            continue
        if extra == "memory" and not problems and (problem := bitsandbytes_problem()) is not None:
            problems = [problem]
        if problems:
            yield Finding(
                f"extra {extra}", "missing", f"{purpose}: {', '.join(problems)}", f"pip install 'surestep[{extra}]'"
            )
        else:
            yield Finding(f"extra {extra}", "ok", purpose)


def _trackers() -> Iterator[Finding]:
    for name in _WITHOUT_AN_EXTRA:
        tracker = TRACKERS[name]
        if tracker.is_installed:
            yield Finding(f"tracker {name}", "ok", f"--report_to {name}")
        else:
            yield Finding(f"tracker {name}", "missing", f"--report_to {name}: not installed", tracker.install)


def _is_of(needed: Requirement, extra: str) -> bool:
    assert needed.marker is not None
    return not needed.marker.evaluate({"extra": ""}) and needed.marker.evaluate({"extra": extra})


def _devices() -> Iterator[Finding]:
    cores, threads = psutil.cpu_count(logical=False) or os.cpu_count() or 1, torch.get_num_threads()
    memory = psutil.virtual_memory()
    free = f"{memory.total / _GB:.0f} GB of memory ({memory.available / _GB:.0f} free)"
    yield Finding("CPU", "ok", f"{counted(cores, 'core')}, {counted(threads, 'thread')} for torch, {free}")
    if not torch.cuda.is_available():
        build = (
            "a CPU build of torch" if torch.version.cuda is None else f"torch for CUDA {torch.version.cuda}, no device"
        )
        mend = "for a GPU: a CUDA build of torch and NVIDIA's driver; on a CPU start with --backbone builtin:tiny"
        yield Finding("GPU", "note", f"none ({build})", mend)
    for number in range(torch.cuda.device_count()):
        yield _gpu(number)
    try:
        hardware = choose_hardware("auto", "auto")
        _, reason = choose_route("auto", hardware, has_kernel=hardware.device.type == "cuda")
    except DeviceError as error:
        yield Finding("will use", "broken", str(error))
        return
    yield Finding("will use", "ok", "; ".join([*hardware.reasons, reason]))


def _gpu(number: int) -> Finding:
    facts = torch.cuda.get_device_properties(number)
    gigabytes = facts.total_memory / _GB
    fp8 = "fp8" if runs_fp8(torch.device("cuda", number)) else "no fp8"
    value = f"{facts.name}, {gigabytes:.0f} GB, compute capability {facts.major}.{facts.minor}, {fp8}"
    if gigabytes >= _LORA_GB:
        return Finding(f"GPU {number}", "ok", value)
    return Finding(
        f"GPU {number}",
        "note",
        f"{value}; LoRA of the default backbone takes {_LORA_GB:.0f} GB at the defaults",
        "a smaller --backbone, --base_precision nf4, or the settings of docs/how-to/fit-a-gpu.md",
    )


def _room(output_dir: Path) -> Iterator[Finding]:
    for what, folder, mend in (
        ("runs", output_dir, "name another --output_dir"),
        ("caches", default_cache_dir(), "set XDG_CACHE_HOME"),
    ):
        there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
        if not there.is_dir():
            yield Finding(what, "broken", f"{there} is a file, where a folder is needed", mend)
            continue
        free = shutil.disk_usage(there).free / _GB
        if not os.access(there, os.W_OK):
            yield Finding(what, "broken", f"{there} cannot be written", mend)
        elif free < 1:
            yield Finding(what, "broken", f"{there}: {free:.1f} GB free", mend)
        else:
            yield Finding(what, "ok", f"{folder}: {free:,.0f} GB free")


def _hub() -> Finding:
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        return Finding(
            "hub", "note", "off (HF_HUB_OFFLINE): only what lies in its cache is found", "unset HF_HUB_OFFLINE"
        )
    if get_token() is None:
        return Finding("hub", "note", "no token: public models and data only", "hf auth login")
    return Finding("hub", "ok", "a token is stored")
