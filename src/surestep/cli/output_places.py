"""Where a command may write what it makes: never into a checkpoint, which may hold the files of its manifest alone, nor
over a file that it did not make.

Asked once for every command, before it does anything; what writes a folder of results asks for that as well.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from surestep.disk import real_path
from surestep.errors import ConfigError
from surestep.files import CONFIG, MANIFEST
from surestep.untrusted import read_json

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

        check_replaces(getattr(args, "command", None), name, Path(place))


_MADE = {
    ("calibrate", "output"): ("calibration", {"format_version", "pooled"}),
    ("certify", "out"): ("certificate", {"format_version", "rules"}),
    ("certify", "curve"): ("cost curve", {"cost", "points"}),
}
"""Files that a command makes as a whole, by command and flag: what they are, and keys that all of them have."""


def check_replaces(command: str | None, name: str, place: Path) -> None:
    """Refuse an output whose place is taken by a file of another kind, such as data.

    Raises:
        ConfigError: naming the flag and the file.
    """
    what, keys = _MADE.get((command or "", name), ("", set()))
    if not what:
        return
    if name == "curve" and place.suffix.lower() == ".png":
        raise ConfigError(f"--curve {place} is the picture's name, which lies beside the JSON; name a .json file")
    made = _is_there(place) and _has(place, keys)
    for path in (place, *([place.with_suffix(".png")] if name == "curve" else [])):
        if _is_there(path) and not made:
            raise ConfigError(
                f"--{name} {place} would replace {path}, which is no {what} that this command wrote; move it, or name "
                "another file"
            )


def _has(path: Path, keys: set[str]) -> bool:
    try:
        values = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and keys <= values.keys()


def refuse_run_folder(folder: Path) -> None:
    """Refuse to put results of an evaluation or a benchmark among the files of a run.

    Raises:
        ConfigError: it is a run's folder, whose own result others would take these for, or no folder.
    """
    from surestep.scoring.checkpoint.find import is_run

    if file := next((place for place in (folder, *folder.parents) if _is_there(place)), None):
        raise ConfigError(f"--output_dir {folder}: {file} is a file, where a folder is needed; name another")
    if folder.is_dir() and is_run(folder):
        raise ConfigError(
            f"--output_dir {folder} is the folder of a run: `compare`, `report` and `check` would take these figures "
            "for those of its training; name a folder of its own, below it or elsewhere"
        )


def replaced_result(folder: Path, *, split: str, of: str) -> list[str]:
    """A line where an evaluation would replace the result of another one.

    Args:
        folder: where results go.
        split: what is scored.
        of: the checkpoint, the file of predictions, or the scorer.

    Raises:
        ConfigError: it is the folder of a run, the validation result that training left stands there, or a file of that
            name that is no result.
    """
    from surestep.scoring.evaluation_file import standing_result

    refuse_run_folder(folder)
    there = standing_result(folder)
    if there is None or there.is_again(split, of):
        return []
    if there.is_of_training:
        raise ConfigError(
            f"--output_dir {folder} holds the validation result that training left of {there.of}, which `compare`, "
            "`report` and `check` take for that of the run; name a folder of its own, below it or elsewhere"
        )
    return [f"replaces {there.words()}"]


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have, or a folder that may not be looked into
        return False
