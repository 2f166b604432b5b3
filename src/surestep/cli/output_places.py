"""Where a command may write what it makes: never into a checkpoint, which may hold the files of its manifest alone.

Asked once for every command, before it does anything; knows flags and names of files, reads none.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from surestep.disk import real_path
from surestep.errors import ConfigError
from surestep.files import CONFIG, MANIFEST

_FLAGS = ("output_dir", "output", "out", "bad_rows_file", "curve", "state")
"""Flags that name a file or a folder to be written, by their names in the arguments."""


def check_output_places(args: argparse.Namespace) -> None:
    """Refuse an output within a checkpoint: a file more there, and it could not be loaded any more.

    Raises:
        ConfigError: naming the flag and the checkpoint.
    """
    for dest, place in vars(args).items():
        name = dest.rpartition(":")[2]  # a flag of the configuration has its section in front
        if name not in _FLAGS or not isinstance(place, str | Path) or str(place) in {"", "-", "none"}:
            continue
        real = real_path(Path(place))
        # What makes a folder says itself that one is there already.
        above = real.parents if getattr(args, "command", None) in {"average", "export"} else (real, *real.parents)
        for folder in above:
            if _is_there(folder / MANIFEST) and _is_there(folder / CONFIG):
                raise ConfigError(
                    f"--{name} {place} lies in the checkpoint {folder}, which could not be loaded any more with a file "
                    "that its manifest does not list; name a place outside"
                )


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have, or a folder that may not be looked into
        return False
