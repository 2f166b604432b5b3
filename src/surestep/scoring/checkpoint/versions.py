"""Which code and which libraries make a result."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    *("surestep", "torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers", "numpy"),
    "bitsandbytes",
)


def library_versions() -> dict[str, str]:
    """Version of Python and of each library that decides a result."""
    installed = {name: _version(name) for name in _PACKAGES}
    return {"python": platform.python_version()} | {name: found for name, found in installed.items() if found}


@cache  # reading it takes longer than writing a small checkpoint, and an installation meanwhile changes no loaded code
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache  # what runs was loaded once
def git_commit() -> str | None:
    """Commit of the code that runs, `+` behind it where it was changed; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--match="],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() or None
