"""Thousands of mutations of every file that is read: what is read obeys its promise, all else is named in one line.

Where a hash stands for a file, reading it after a mutation is a silent change, and fails.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hostile import sealed
from layout_rows import FILE_READERS, READERS, VALID
from mutations import CALIBRATION, FIGURES, HEADER, STATE, mutated_bytes, mutated_values, predictions, safetensors
from reports import make_rows
from runs import DATA_FLAGS
from strategies import random_tree
from surestep.cli.main import main
from surestep.config import Config
from surestep.data.benchmarks.candidates import read_candidates
from surestep.data.benchmarks.prmbench import read_prmbench
from surestep.data.records.reading_report import ReadReport
from surestep.encoding.formatter import Formatter
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.store_files import DamagedStoreError
from surestep.encoding.token_store import TreeStore, write_store
from surestep.errors import SurestepError
from surestep.evaluation.check.sign_off import read_sign_offs
from surestep.evaluation.check.targets import load_targets
from surestep.evaluation.results.find import read_evaluation
from surestep.evaluation.results.run_files import find_run
from surestep.model.backbones.load import read_max_positions
from surestep.model.tensor_headers import tensor_shapes
from surestep.scoring.checkpoint.calibration_file import read_calibration
from surestep.scoring.checkpoint.find import best_checkpoint
from surestep.scoring.checkpoint.load import load_checkpoint, read_config
from surestep.scoring.checkpoint.manifest import read_manifest
from surestep.scoring.predictions_file import read_predictions
from surestep.terminal_text import visible
from surestep.training.run_state import read_state

Counted = Callable[[str, Callable[[], str]], None]
RANDOM = st.randoms(use_true_random=False)


def attempt(read: Callable[[], object]) -> str:
    """What came of reading; an error that is none of ours passes."""
    said = "read"
    try:
        read()
    except (SurestepError, DamagedStoreError) as error:
        said = str(error)
    assert said
    assert "\n" not in said
    return "read" if said == "read" else "named"


def mutated_text(values: Any, rng: random.Random, dump: Callable[[Any], str] = json.dumps) -> bytes:
    """Values changed, or bytes, or both."""
    kind = rng.randrange(3)
    content = dump(values if kind == 0 else mutated_values(values, rng)).encode()
    return content if kind == 1 else mutated_bytes(content, rng)


# Data.


def read_trees(layout: str, path: Path, bad_rows: str) -> None:
    for tree in READERS[layout](path, report=ReadReport(), bad_rows=bad_rows):
        tree.problem.encode()
        for index, node in enumerate(tree.nodes):
            assert node.text.strip()
            assert node.confidence is None or 0 <= node.confidence <= 1
            assert -1 <= node.parent < index


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("layout", FILE_READERS)
def test_data_files(layout: str, packed: bool, tmp_path: Path, counted: Counted) -> None:
    @settings(max_examples=100 if packed else 200)
    @given(rng=RANDOM, bad_rows=st.sampled_from(["stop", "skip"]), is_list=st.booleans())
    def check(rng: random.Random, bad_rows: str, is_list: bool) -> None:
        rows = [VALID[layout] for _ in range(3)]
        rows[rng.randrange(3)] = mutated_values(VALID[layout], rng)
        content = (json.dumps(rows) if is_list else "".join(json.dumps(row) + "\n" for row in rows)).encode()
        content = mutated_bytes(content, rng) if rng.random() < 0.5 else content
        if packed:
            content = gzip.compress(content)
            content = mutated_bytes(content, rng) if rng.random() < 0.5 else content
        path = tmp_path / f"a.{'json' if is_list else 'jsonl'}{'.gz' * packed}"
        path.write_bytes(content)
        counted(f"data file of layout {layout}", lambda: attempt(lambda: read_trees(layout, path, bad_rows)))

    check()


def test_tables(tmp_path: Path, counted: Counted) -> None:
    @settings(max_examples=200)
    @given(rng=RANDOM, bad_rows=st.sampled_from(["stop", "skip"]))
    def check(rng: random.Random, bad_rows: str) -> None:
        text = io.StringIO()
        table = csv.DictWriter(text, list(VALID["reveal"]))
        table.writeheader()
        for _ in range(3):
            row = VALID["reveal"]
            if rng.random() < 0.5:
                row = {**row, rng.choice(list(row)): rng.choice(["", "\0", "x" * 200_000, '"', "\x1b]52;c;eA==\x07"])}
            table.writerow(row)
        path = tmp_path / "a.csv"
        content = text.getvalue().encode()
        path.write_bytes(mutated_bytes(content, rng) if rng.random() < 0.7 else content)
        counted("table (CSV)", lambda: attempt(lambda: read_trees("reveal", path, bad_rows)))

    check()


CANDIDATES = {
    "problem": "1 + 1?",
    "id": "a",
    "candidates": [
        {"steps": ["one", "two"], "answer": "2", "correct": True, "confidences": [0.5, 0.75]},
        {"solution": "three\n\nfour", "answer": 3, "correct": False, "confidences": [0.5, 0.25]},
    ],
}
PRMBENCH = {"idx": "circular_1", "classification": "circular", "modified_question": "q?", "original_question": "q?"}
PRMBENCH |= {"modified_process": ["a", "b"], "original_process": ["a", "c"], "error_steps": [2], "reason": "x"}
BENCHMARKS: dict[str, tuple[Any, Callable[..., Any]]] = {
    "candidates": (CANDIDATES, read_candidates),
    "PRMBench": (PRMBENCH, read_prmbench),
}


@pytest.mark.parametrize("kind", BENCHMARKS)
def test_benchmark_files(kind: str, tmp_path: Path, counted: Counted) -> None:
    values, read = BENCHMARKS[kind]
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(values))
    assert len(list(read(path, report=ReadReport()))) == 1

    @settings(max_examples=200)
    @given(rng=RANDOM, bad_rows=st.sampled_from(["stop", "skip"]))
    def check(rng: random.Random, bad_rows: str) -> None:
        path.write_bytes(json.dumps(values).encode() + b"\n" + mutated_text(values, rng))
        counted(f"file of {kind}", lambda: attempt(lambda: list(read(path, report=ReadReport(), bad_rows=bad_rows))))

    check()


# Configurations and results.


def read_whole_config(path: Path) -> None:
    config = Config.from_file(path)
    assert Config.from_dict(config.to_dict()) == config


def read_maps(path: Path) -> None:
    calibration = read_calibration(path.parent)
    for dataset in (None, "own"):
        for confidence in (0.0, 0.3, 1.0):
            mapped = calibration.map_for(dataset).apply([confidence]) if calibration else [0.5]
            assert 0 <= mapped[0] <= 1


SIGN_OFF = {"item": "backup", "by": "me", "note": "", "date": "2026-01-01T00:00:00+00:00", "checkpoint": "x"}
SIGN_OFFS = {"sign_offs": [SIGN_OFF | {"manifest_sha256": "0" * 64}]}
TARGETS = {"name": "mine", "figures": {"nll": {"max": 0.5}}, "datasets": {"own": {"mse": {"max": 0.2}}}}
LOG = {"kind": "step", "step": 3, "loss": 0.5, "labels": {"own": 3}, "grad_norm": 1.0, "learning_rate": 0.1}
DOCUMENTS: dict[str, tuple[str, Any, Callable[[Path], object]]] = {
    "configuration (JSON)": ("c.json", Config().to_dict(), read_whole_config),
    "targets (JSON)": ("t.json", TARGETS, lambda path: load_targets("quick", path)),
    "training state": ("state.json", STATE, lambda path: read_state(path.parent)),
    "calibration": ("calibration.json", CALIBRATION, read_maps),
    "figures": ("eval_metrics.json", FIGURES, lambda path: read_evaluation(path, name="x")),
    "best checkpoint": (
        "best_checkpoint.json",
        {"checkpoint": "checkpoint_step_3", "step": 3},
        lambda path: best_checkpoint(path.parent),
    ),
    "manifest beside a report": (
        "manifest.json",
        {"step": 3, "backbone": {"name": "x"}},
        lambda path: find_run({"checkpoint": str(path.parent)}, path.parent),
    ),
    "sign-offs": ("run/sign_offs.json", SIGN_OFFS, lambda path: read_sign_offs(path.parent / "checkpoint_step_1")),
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_documents(kind: str, tmp_path: Path, counted: Counted) -> None:
    name, values, read = DOCUMENTS[kind]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(values))
    assert attempt(lambda: read(path)) == "read"

    @settings(max_examples=250)
    @given(rng=RANDOM)
    def check(rng: random.Random) -> None:
        path.write_bytes(mutated_text(values, rng))
        counted(kind, lambda: attempt(lambda: read(path)))

    check()


@pytest.mark.parametrize("kind", ["configuration", "targets"])
def test_yaml(kind: str, tmp_path: Path, counted: Counted) -> None:
    values, read = (
        (Config().to_dict(), read_whole_config)
        if kind == "configuration"
        else (TARGETS, lambda path: load_targets("quick", path))
    )
    path = tmp_path / "c.yaml"
    strange = [
        "&a [*a]",
        "!!python/object/apply:os.system [x]",
        "<<: *x",
        "? [1]",
        "%YAML 9",
        "--- ---",
        "!!binary x",
        "\t",
    ]

    @settings(max_examples=250)
    @given(rng=RANDOM)
    def check(rng: random.Random) -> None:
        content = mutated_text(values, rng, lambda values: yaml.safe_dump(values, sort_keys=False))
        if rng.random() < 0.3:
            where = rng.randrange(len(content) + 1)
            content = content[:where] + rng.choice(strange).encode() + content[where:]
        path.write_bytes(content)
        counted(f"{kind} (YAML)", lambda: attempt(lambda: read(path)))

    check()


def test_run_log(tmp_path: Path, counted: Counted) -> None:
    (tmp_path / "checkpoint_step_3").mkdir()
    (tmp_path / "checkpoint_step_3" / "manifest.json").write_text("{}")
    path = tmp_path / "metrics.jsonl"

    @settings(max_examples=200)
    @given(rng=RANDOM)
    def check(rng: random.Random) -> None:
        path.write_bytes(json.dumps(LOG).encode() + b"\n" + mutated_text(LOG, rng))
        found: list[Any] = []
        where = {"checkpoint": str(tmp_path / "checkpoint_step_3")}
        counted("log of a run", lambda: attempt(lambda: found.append(find_run(where, tmp_path))))
        assert all(isinstance(line, dict) for line in found[0].log)

    check()


def test_predictions(tmp_path: Path, counted: Counted) -> None:
    @settings(max_examples=400)
    @given(rng=RANDOM, packed=st.booleans())
    def check(rng: random.Random, packed: bool) -> None:
        lines = predictions(rng).splitlines()
        where = rng.randrange(len(lines))
        lines[where] = json.dumps(mutated_values(json.loads(lines[where]), rng))
        content = "\n".join(lines).encode()
        content = mutated_bytes(content, rng) if rng.random() < 0.5 else content
        path = tmp_path / f"predictions.jsonl{'.gz' * packed}"
        path.write_bytes(gzip.compress(content) if packed else content)
        found: list[Any] = []
        counted("predictions", lambda: attempt(lambda: found.append(read_predictions(path))))
        for steps in found:
            for column in (steps.confidence, steps.raw_confidence, steps.label):
                assert all(math.isnan(value) or 0 <= value <= 1 for value in column.tolist())

    check()


def test_headers_of_tensors(tmp_path: Path, counted: Counted) -> None:
    path = tmp_path / "a.safetensors"

    @settings(max_examples=400)
    @given(rng=RANDOM)
    def check(rng: random.Random) -> None:
        content = safetensors(mutated_values(HEADER, rng) if rng.random() < 0.6 else HEADER)
        path.write_bytes(mutated_bytes(content, rng) if rng.random() < 0.5 else content)
        counted("header of a safetensors file", lambda: attempt(lambda: tensor_shapes(path)))

    check()


# What is hashed: a mutation that is read is a silent change.


def test_token_store(tmp_path: Path, counted: Counted) -> None:
    whole = tmp_path / "whole"
    trees = [random_tree(seed, num_nodes=1 + seed) for seed in range(4)]
    write_store(whole, trees, load_tokenizer("builtin:tiny"), Formatter(), notes={"report": "all"})
    names = sorted(path.name for path in whole.iterdir())

    @settings(max_examples=400)
    @given(rng=RANDOM, name=st.sampled_from(names))
    def check(rng: random.Random, name: str) -> None:
        folder = tmp_path / "mutated"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        content = (whole / name).read_bytes()
        mutated = mutated_bytes(content, rng) if content else b"x"
        (folder / name).write_bytes(mutated)

        def read() -> None:
            store = TreeStore(folder)
            same = json.loads(mutated) == json.loads(content) if name == "meta.json" else mutated == content
            assert same, f"{name} was changed, and nobody noticed"
            assert [store.tree(index) for index in range(len(store))] == [
                TreeStore(whole).tree(index) for index in range(len(trees))
            ]

        counted("file of the token store", lambda: attempt(read))

    check()


def test_files_of_a_checkpoint(run: Path, tmp_path: Path, counted: Counted) -> None:
    """Bytes of any file, the manifest among them, that was not sealed again."""
    original = run / "run" / "checkpoint_step_2"
    names = sorted(path.relative_to(original).as_posix() for path in original.rglob("*") if path.is_file())
    expected = read_manifest(original, with_state=True)
    folder = Path(shutil.copytree(original, tmp_path / "checkpoint_step_2"))

    @settings(max_examples=500)
    @given(rng=RANDOM, name=st.sampled_from(names))
    def check(rng: random.Random, name: str) -> None:
        content = (original / name).read_bytes()
        (folder / name).unlink()
        (folder / name).write_bytes(mutated := mutated_bytes(content, rng))

        def read() -> None:
            found = read_manifest(folder, with_state=True)
            assert mutated == content or (name == "manifest.json" and found == expected), (
                f"{name} was changed unnoticed"
            )

        try:
            counted("file of a checkpoint", lambda: attempt(read))
        finally:
            (folder / name).write_bytes(content)

    check()


JSON_OF_CHECKPOINT = ["config.json", "calibration.json", "adapter/adapter_config.json", "training_state/state.json"]


@pytest.mark.parametrize("name", ["manifest.json", *JSON_OF_CHECKPOINT])
def test_sealed_files_of_a_checkpoint(name: str, run: Path, tmp_path: Path, counted: Counted) -> None:
    """Values of its JSON files, with every hash right: somebody made it so. It is loaded whole, or named."""
    original = run / "run" / "checkpoint_step_2"
    folder = Path(shutil.copytree(original, tmp_path / "checkpoint_step_2"))
    values = json.loads((original / name).read_text())

    def load() -> None:
        read_config(folder)
        read_state(folder / "training_state")
        load_checkpoint(folder)

    @settings(max_examples=60)
    @given(rng=RANDOM)
    def check(rng: random.Random) -> None:
        if name == "manifest.json":
            changed = mutated_values(values, rng)
            if not isinstance(changed, dict):
                changed = {"format_version": changed}
            shutil.copy(original / name, folder / name)
            sealed(folder, lambda found: (found.clear(), found.update(changed))[0])
        else:
            (folder / name).write_bytes(mutated_text(values, rng))
            shutil.copy(original / "manifest.json", folder / "manifest.json")
            sealed(folder)
        counted(f"sealed {name} of a checkpoint", lambda: attempt(load))

    check()


@pytest.mark.parametrize("family", ["llama"])
def test_configuration_of_a_backbone(family: str, run: Path, tmp_path: Path, counted: Counted) -> None:
    values = json.loads((run / "backbone" / "config.json").read_text())
    path = tmp_path / "config.json"

    @settings(max_examples=150)
    @given(rng=RANDOM)
    def check(rng: random.Random) -> None:
        path.write_bytes(mutated_text(values, rng))
        counted("config.json of a backbone", lambda: attempt(lambda: read_max_positions(str(tmp_path), revision=None)))

    check()


def test_tokenizer_of_a_backbone(run: Path, tmp_path: Path, counted: Counted) -> None:
    folder = Path(shutil.copytree(run / "backbone", tmp_path / "backbone"))
    names = [path.name for path in folder.glob("*token*.json")]
    assert names

    @settings(max_examples=60)
    @given(rng=RANDOM, name=st.sampled_from(sorted(names)))
    def check(rng: random.Random, name: str) -> None:
        content = (run / "backbone" / name).read_bytes()
        (folder / name).write_bytes(mutated_text(json.loads(content), rng))
        try:
            counted("tokenizer of a backbone", lambda: attempt(lambda: load_tokenizer(str(folder), revision=None)))
        finally:
            (folder / name).write_bytes(content)

    check()


# Commands, on what a mutation left readable.


def command(arguments: list[str]) -> str:
    """What came of a command: done, or one line for each mistake; nothing that a terminal would obey."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    for text in (out.getvalue(), err.getvalue()):
        assert visible(text.replace("\t", " ")) == text.replace("\t", " ")
    lines = err.getvalue().splitlines()
    if code == 130:  # whoever runs the tests stopped them; the command took it for its own
        raise KeyboardInterrupt
    if code == 0:
        return "read"
    assert code == 2, err.getvalue()
    assert lines
    assert all(line.startswith("surestep: ") for line in lines if line), lines
    assert len(lines) <= 50
    return "named"


def mutate_lines(content: bytes, rng: random.Random) -> bytes:
    """A value of one line of JSON, and sometimes bytes."""
    lines = content.splitlines()
    where = rng.randrange(len(lines))
    lines[where] = json.dumps(mutated_values(json.loads(lines[where]), rng)).encode()
    mutated = b"\n".join(lines)
    return mutated_bytes(mutated, rng) if rng.random() < 0.2 else mutated


@pytest.mark.parametrize("name", ["compare", "compare --json", "report"])
def test_commands_on_figures(name: str, run: Path, tmp_path: Path, counted: Counted) -> None:
    values = json.loads((run / "evaluated" / "eval_metrics.json").read_text())
    folder = Path(shutil.copytree(run / "evaluated", tmp_path / "other"))
    chosen = {
        "compare": ["compare", str(run / "evaluated"), str(folder), "--resamples", "100"],
        "compare --json": ["compare", str(run / "evaluated"), str(folder), "--resamples", "100", "--json"],
        "report": ["report", str(folder), "--allow_poorer"],
    }[name]

    assert command(chosen) == "read"

    @settings(max_examples=15 if name == "report" else 150)
    @given(rng=RANDOM)
    def check(rng: random.Random) -> None:
        changed = mutated_values(values, rng)
        for _ in range(rng.randrange(3)):
            changed = mutated_values(changed, rng)
        (folder / "eval_metrics.json").write_text(json.dumps(changed))
        counted(f"{name} on figures", lambda: command(chosen))

    check()


@pytest.mark.parametrize("name", ["metrics.jsonl", "data_report.json", "checkpoint_step_2/manifest.json"])
def test_report_on_files_of_the_run(name: str, run: Path, tmp_path: Path, counted: Counted) -> None:
    root = tmp_path / "copy"
    shutil.copytree(run / "run", root / "run")
    folder = Path(shutil.copytree(run / "evaluated", root / "evaluated"))
    content = (root / "run" / name).read_bytes()
    chosen = ["report", str(folder), "--checkpoint", str(root / "run" / "checkpoint_step_2"), "--allow_poorer"]
    assert command(chosen) == "read"

    @settings(max_examples=8)
    @given(rng=RANDOM)
    def check(rng: random.Random) -> None:
        values = mutate_lines(content, rng) if name.endswith("l") else mutated_text(json.loads(content), rng)
        (root / "run" / name).write_bytes(values)
        counted(f"report on {name.rpartition('/')[2]}", lambda: command(chosen))

    check()


COMMANDS: dict[str, tuple[Callable[[], bytes], list[str]]] = {
    "evaluate --predictions": (
        lambda: "".join(json.dumps(row) + "\n" for row in make_rows(8)).encode(),
        ["evaluate", "--predictions", "FILE", "--output_dir", "OUT", "--bootstrap_resamples", "5"],
    ),
    "benchmark best-of-n": (
        lambda: (json.dumps(CANDIDATES) + "\n").encode() * 2,
        ["benchmark", "best-of-n", "--data", "FILE", "--output_dir", "OUT"],
    ),
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_commands_on_rows(kind: str, tmp_path: Path, counted: Counted) -> None:
    make, words = COMMANDS[kind]
    path = tmp_path / "rows.jsonl"
    content = make()
    arguments = [{"FILE": str(path), "OUT": str(tmp_path / "out")}.get(word, word) for word in words]
    path.write_bytes(content)
    assert command(arguments) == "read"

    @settings(max_examples=12 if kind.startswith("evaluate") else 80)
    @given(rng=RANDOM)
    def check(rng: random.Random) -> None:
        path.write_bytes(mutate_lines(content, rng))
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        counted(kind, lambda: command(arguments))

    check()


@pytest.mark.parametrize("layout", FILE_READERS)
def test_inspect(layout: str, tmp_path: Path, counted: Counted) -> None:
    path = tmp_path / "rows.jsonl"
    flags = ["--backbone", "builtin:tiny", *DATA_FLAGS, "--own_format", layout, "--own_train", str(path)]
    flags += ["--cache_dir", str(tmp_path / "cache"), "--device", "cpu"]

    @settings(max_examples=8)
    @given(rng=RANDOM)
    def check(rng: random.Random) -> None:
        rows = (json.dumps(VALID[layout]) + "\n").encode() * 3
        path.write_bytes(mutate_lines(rows, rng))
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        counted("data inspect", lambda: command(["data", "inspect", *flags]))

    check()
