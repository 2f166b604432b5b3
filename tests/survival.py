"""What must hold after a kill or with a full disk: whole checkpoints, former results, and the same run in the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from injected_faults import WRITES, Acts, Ended, counted, forked, full_disk
from runs import Watcher, assert_same_bits, hashes, logged
from surestep.cli.main import main
from surestep.config import Config
from surestep.scoring.checkpoint.find import list_checkpoints
from surestep.scoring.checkpoint.manifest import read_manifest
from surestep.training.run import train

RHYTHM = {"max_steps": 5, "eval_steps": 2, "save_steps": 1, "save_total_limit": 1, "validation_samples": 4}
RHYTHM |= {"baselines": False}
"""Few steps with everything: validations, checkpoints that lose their state, checkpoints that are removed."""
UNFINISHED = (".part", ".old", ".lock")


def trains(config: Config, **how: Any) -> Callable[[], int]:
    """The run as a command would start it."""

    def run() -> int:
        train(config, Watcher(), **how)
        return 0

    return run


def assert_same_run(mine: Config, theirs: Config) -> None:
    """Two runs ended alike: log, last checkpoint to the bit, best one, and the names of all that is left."""
    last = [list_checkpoints(config.experiment_dir)[-1][1] for config in (mine, theirs)]
    assert logged(mine.experiment_dir) == logged(theirs.experiment_dir)
    assert_same_bits(last[0], last[1])
    names = [sorted(path.name for path in config.experiment_dir.iterdir()) for config in (mine, theirs)]
    assert names[0] == names[1]
    best = [json.loads((config.experiment_dir / "best_checkpoint.json").read_text()) for config in (mine, theirs)]
    assert best[0] == best[1]


def goes_on_after_kill(config: Config, whole: Config) -> str:
    """Nothing torn has a checkpoint's name, and the next start ends as the undisturbed run; gives what was said."""
    checkpoints = [path for _, path in list_checkpoints(config.experiment_dir)]
    for path in checkpoints:
        read_manifest(path, with_state=False)
    watcher = Watcher()
    if any((path / "training_state").is_dir() for path in checkpoints):
        train(config, watcher, resume=True)
    else:
        train(config, watcher, overwrite=True)
    assert_same_run(config, whole)
    assert unfinished(config.output_dir) == []
    return "\n".join(watcher.of("say"))


def unfinished(folder: Path) -> list[Path]:
    """What a killed process left below a folder."""
    return [path for path in folder.rglob(".*") if path.name.endswith(UNFINISHED)]


def with_full_disk(number: int, arguments: list[Any], folder: Path) -> tuple[Ended, list[str]]:
    """A command on a disk that refuses its `number`-th write below `folder`; also the writes up to then."""

    def run() -> int:
        acts = Acts(str(folder), WRITES, number, full_disk)
        with counted(acts):
            code = main([str(argument) for argument in arguments])
        print("\n".join(("", "ACTS", *acts.seen)))
        return code

    ended = forked(run)
    out, _, acts = ended.out.rpartition("\nACTS\n")
    return Ended(ended.code, out, ended.err), acts.splitlines()


def assert_named(ended: Ended) -> None:
    """The fault is one line for the user, and exit code 2."""
    lines = [line for line in ended.err.splitlines() if line.startswith("surestep: ")]
    assert (ended.code, len(lines)) == (2, 1), ended.err
    assert "Traceback" not in ended.err


def refuses_and_keeps(number: int, arguments: list[Any], outputs: Path, *, same: bool = True) -> bool:
    """A command with a full disk at its `number`-th write names it and leaves former results; False where it had fewer.

    Where the refused act is one that need not succeed (syncing a folder, a link in place of which a file is renamed),
    the command is done.
    """
    before = hashes(outputs)
    ended, acts = with_full_disk(number, arguments, outputs)
    assert unfinished(outputs) == []
    if ended.code == 0:
        assert len(acts) < number or acts[number - 1].startswith(("sync ", "link ")), acts[number - 1 :]
        return len(acts) >= number
    assert_named(ended)
    if same:
        assert hashes(outputs) == before, acts[-1]
    return True
