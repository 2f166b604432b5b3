"""Whether bitsandbytes is here: the optional library behind `nf4` weights and the 8-bit optimiser.

It is loaded only where a setting asks for it.
"""

from __future__ import annotations

import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from surestep.model.backbones.silence_transformers import silence_transformers

OLDEST = (0, 50)
"""The first release line whose 8-bit AdamW and 4-bit layers were tried here."""

_INSTALL = "pip install 'surestep[memory]'"


def bitsandbytes_problem() -> str | None:
    """Why bitsandbytes cannot be used here, and what to do; None where it can."""
    try:
        found = version("bitsandbytes")
    except PackageNotFoundError:
        return f"bitsandbytes is not installed: {_INSTALL}"
    if _release(found) < OLDEST:
        return f"bitsandbytes {found} is older than {'.'.join(map(str, OLDEST))}: {_INSTALL} --upgrade"
    try:
        load_bitsandbytes()
    except Exception as error:  # whatever a broken installation raises, the user needs one line
        return f"bitsandbytes {found} cannot be loaded ({type(error).__name__}): reinstall it, {_INSTALL}"
    # Where its own library fails to load, bitsandbytes puts an object in its place that raises when it is used.
    native = getattr(import_module("bitsandbytes.cextension"), "lib", None)
    if torch.cuda.is_available() and type(native).__name__.startswith("ErrorHandlerMock"):
        return f"bitsandbytes {found} has no library that loads with CUDA {torch.version.cuda}: install another release"
    return None


def load_bitsandbytes() -> Any:
    """The module, imported without the lines that it logs."""
    with silence_transformers():
        return import_module("bitsandbytes")


def _release(text: str) -> tuple[int, ...]:
    """The first two numbers of a version.

    >>> _release("0.50.2"), _release("0.51.0.dev0")
    ((0, 50), (0, 51))
    """
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])
