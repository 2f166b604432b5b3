"""Pipes, sockets, devices, links, folders and bombs in place of every file that a command reads, through each command.

Each is a process of its own, forked when everything is imported, with a bound on memory and time: it ends soon, with
one line or as if nothing had been there, and no traceback.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from injected_faults import Ended, forked
from reports import make_rows
from runs import DATA_FLAGS
from surestep.cli.main import main

Counted = Callable[[str, Callable[[], str]], None]
MEMORY = 1024**3
"""Bytes that a command may take beyond what the process holds when all is imported."""
SECONDS = 60
"""For one command, on a machine that does other work as well."""
SMALL = ("JSON", "LINE", "UNPACKED", "DOCUMENT")
"""Bounds that are set to some MiB, so that bombs need not be larger to go beyond the defaults."""


def a_socket(path: Path) -> None:
    made, here = socket.socket(socket.AF_UNIX), os.getcwd()
    os.chdir(path.parent)  # the name of a socket has at most 107 bytes
    try:
        made.bind(path.name)
    finally:
        os.chdir(here)
        made.close()


def a_link_to_a_pipe(path: Path) -> None:
    os.mkfifo(path.parent / "pipe")
    path.symlink_to("pipe")


def a_sparse_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(50 * 1024**3)


def a_bomb(path: Path) -> None:
    row = b'{"problem": "' + b"x" * 1000 + b'"}'
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"[")
        for _ in range(20_000):
            file.write(row + b",\n")


THINGS: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a socket": a_socket,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to a pipe": a_link_to_a_pipe,
    "a link to the root": lambda path: path.symlink_to("/"),
    "a folder": lambda path: path.mkdir(),
    "nothing at all": lambda path: None,
    "an empty file": lambda path: path.touch(),
    "a file of 50 GB": a_sparse_file,
    "lists 200,000 deep": lambda path: path.write_bytes(b"[" * 200_000),
    "a number of 100,000 digits": lambda path: path.write_bytes(b'{"a": ' + b"9" * 100_000 + b"}"),
    "a bomb": a_bomb,
}


@dataclass(frozen=True)
class Place:
    """A file and the commands that read it; `{root}` is the folder of everything, `{out}` one for what is written."""

    file: str
    commands: tuple[str, ...]


SCORING = (
    "evaluate --checkpoint {root}/run/checkpoint_step_2 --output_dir {out}",
    "score {root}/rows.jsonl {root}/run/checkpoint_step_2 --output {out}/scored.jsonl",
    "rerank {root}/candidates.jsonl {root}/run/checkpoint_step_2 --output {out}/ranked.jsonl",
    "serve {root}/run/checkpoint_step_2 --port 0",
    "export --checkpoint {root}/run/checkpoint_step_2 --output_dir {out}/exported",
    "calibrate --checkpoint {root}/run/checkpoint_step_2",
    "check {root}/run/checkpoint_step_2",
    "train {flags} --output_dir {out} --experiment_name other --init_from {root}/run/checkpoint_step_2",
)
BRIEFLY = (SCORING[1], SCORING[3])
REPORTS = ("report {root}/evaluated --allow_poorer", "compare {root}/evaluated {root}/evaluated2 --resamples 100")
TRAINING = ("train {flags} --output_dir {out} --experiment_name new",)
PLACES = (
    Place("run/checkpoint_step_2/manifest.json", SCORING),
    Place("run/checkpoint_step_2/config.json", SCORING),
    Place("run/checkpoint_step_2/head.safetensors", SCORING[1:5]),
    Place("run/checkpoint_step_2/calibration.json", SCORING[:4]),
    Place("run/checkpoint_step_2/tokenizer/tokenizer.json", BRIEFLY),
    Place("run/checkpoint_step_2/adapter/adapter_config.json", BRIEFLY),
    Place(
        "run/best_checkpoint.json", ("score {root}/rows.jsonl {root}/run --output {out}/s.jsonl", "compare {root}/run")
    ),
    Place("run/checkpoint_step_2/training_state/state.json", ("train --config {root}/run/config.json --resume",)),
    Place("run/config.json", ("train --config {root}/run/config.json --resume", REPORTS[0])),
    Place("run/metrics.jsonl", (REPORTS[0],)),
    Place("run/sign_offs.json", ("check {root}/run/checkpoint_step_2",)),
    Place("backbone/config.json", (SCORING[1], *TRAINING)),
    Place("backbone/model.safetensors", (SCORING[1], *TRAINING)),
    Place("backbone/tokenizer.json", TRAINING),
    Place("train.jsonl", ("data inspect {flags}", *TRAINING)),
    Place("test.jsonl", ("data inspect {flags}", SCORING[0])),
    Place("evaluated/eval_metrics.json", REPORTS),
    Place("evaluated/predictions.jsonl.gz", REPORTS),
    Place("rows.jsonl", (SCORING[1],)),
    Place("rows.json.gz", ("score {root}/rows.json.gz {root}/run/checkpoint_step_2 --output {out}/s.jsonl",)),
    Place("rows.jsonl.gz", ("score {root}/rows.jsonl.gz {root}/run/checkpoint_step_2 --output {out}/s.jsonl",)),
    Place("candidates.jsonl", (SCORING[2], "benchmark best-of-n --data {root}/candidates.jsonl --output_dir {out}")),
    Place(
        "predictions.jsonl",
        ("evaluate --predictions {root}/predictions.jsonl --output_dir {out} --bootstrap_resamples 5",),
    ),
    Place("targets.json", ("check {root}/run/checkpoint_step_2 --targets {root}/targets.json",)),
    Place("settings.json", ("train --config {root}/settings.json",)),
    Place("settings.yaml", ("train --config {root}/settings.yaml",)),
    Place("keys", ("serve {root}/run/checkpoint_step_2 --port 0 --api_keys_file {root}/keys",)),
)


@pytest.fixture(scope="module")
def everything(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, its evaluations, and one valid file of each kind that commands are given; the run may be moved."""
    root = tmp_path_factory.mktemp("everything")
    for name in ("run", "evaluated", "backbone"):
        shutil.copytree(run / name, root / name)
    shutil.copytree(run / "evaluated", root / "evaluated2")
    for name in ("train", "validation", "test"):
        shutil.copy(run / f"{name}.jsonl", root)
    row = {"problem": "1 + 1?", "steps": ["so 2", "done"]}
    (root / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (root / "rows.json.gz").write_bytes(gzip.compress(json.dumps([row]).encode()))
    (root / "rows.jsonl.gz").write_bytes(gzip.compress(json.dumps(row).encode() + b"\n"))
    candidates = [{"steps": ["one", "two"], "answer": "2", "correct": True, "confidences": [0.5, 0.7]}] * 2
    (root / "candidates.jsonl").write_text(
        json.dumps({"problem": "1 + 1?", "id": "a", "candidates": candidates}) + "\n"
    )
    (root / "predictions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in make_rows(8)))
    (root / "targets.json").write_text(json.dumps({"name": "mine", "figures": {"nll": {"max": 0.5}}}))
    for name in ("settings.json", "settings.yaml"):
        (root / name).write_text('{"training": {"max_steps": 1}}')
    (root / "run" / "sign_offs.json").write_text('{"sign_offs": []}')
    (root / "keys").write_text("me 0123456789abcdef0123456789abcdef\n")
    return root


def words_of(command: str, root: Path, out: Path) -> list[str]:
    flags = [
        *("--preset", "lora", "--backbone", str(root / "backbone"), "--mlp_hidden_dims", "[16]", "--lora_r", "4"),
        *(*DATA_FLAGS, "--device", "cpu", "--tensorboard", "false", "--max_steps", "1", "--batch_size", "2"),
        *("--warmup_steps", "0", "--bootstrap_resamples", "20", "--cache_dir", str(out / "cache")),
        *(flag for name in ("train", "validation", "test") for flag in (f"--own_{name}", str(root / f"{name}.jsonl"))),
    ]
    words: list[str] = []
    for word in command.split():
        words += flags if word == "{flags}" else [word.format(root=root, out=out)]
    if words[0] in {"evaluate", "score", "rerank", "serve"} and "--predictions" not in words:
        words += ["--backbone", str(root / "backbone")]
    if words[0] in {"evaluate"} and "--predictions" not in words:
        words += [*DATA_FLAGS, "--own_test", str(root / "test.jsonl"), "--cache_dir", str(out / "cache")]
        words += ["--own_train", str(root / "train.jsonl")]
    return words


def bounded(words: list[str]) -> Ended:
    """The command in a process of its own; a server that stands is told to end."""

    def act() -> int:
        held = int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_DATA, (held + MEMORY, resource.RLIM_INFINITY))
        for bound in SMALL:
            os.environ[f"SURESTEP_MAX_{bound}_MIB"] = "8"
        if words[0] == "serve":
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
            signal.alarm(8)
        else:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
        return main(words)

    return forked(act)


def outcome(words: list[str], ended: Ended) -> str:
    """What came of it: done, or one line for each mistake; `check` names faults in its list, with exit code 1."""
    assert "Traceback" not in ended.err + ended.out, ended.err[-3000:]
    assert max(map(len, ended.err.splitlines()), default=0) < 5000
    if ended.code == 0 or (words[0] == "serve" and ended.code == 143):
        return "read"
    if words[0] == "check" and ended.code == 1:
        return "named"
    assert ended.code == 2, (ended.code, ended.err[-2000:])
    lines = [line for line in ended.err.splitlines() if line.startswith("surestep: ")]
    assert lines
    assert not lines[0].startswith("surestep: error: "), lines
    return "named"


@pytest.fixture
def aside(everything: Path, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Takes a file away; it is back when the test ends."""
    taken: list[tuple[Path, Path]] = []

    def take(name: str) -> Path:
        path, kept = everything / name, tmp_path / "kept"
        path.rename(kept)
        taken.append((kept, path))
        return path

    yield take
    for kept, path in taken:
        remove(path)
        kept.rename(path)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    (path.parent / "pipe").unlink(missing_ok=True)


@pytest.mark.parametrize("command", dict.fromkeys(c for place in PLACES for c in place.commands if "--resume" not in c))
def test_commands_are_done_where_nothing_is_strange(command: str, everything: Path, tmp_path: Path) -> None:
    """Else what they refuse would show nothing; it also imports what they need, which each process then inherits."""
    out = tmp_path / "out"
    out.mkdir()
    words = words_of(command, everything, out)
    if words[0] == "serve" or words[:2] == ["train", "--config"]:
        return
    assert main(words) in {0, 1} if words[0] == "check" else main(words) == 0


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.file)
def test_strange_files(
    place: Place, everything: Path, tmp_path: Path, aside: Callable[[str], Path], counted: Counted
) -> None:
    path = aside(place.file)
    failed = []
    for thing, make in THINGS.items():
        make(path)
        for number, command in enumerate(place.commands):
            out = tmp_path / f"out {thing} {number}".replace(" ", "_")
            out.mkdir()
            words = words_of(command, everything, out)
            try:
                counted(f"strange thing for {place.file}", lambda words=words: outcome(words, bounded(words)))
            except AssertionError as error:
                failed.append(f"{thing}, {words[0]}: {error}")
            shutil.rmtree(out)
        remove(path)
    assert failed == []
