"""A sweep measures each cell once, goes on where it was, and one that fails leaves the others."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from surestep.bench.sweep import OURS, PEERS, SHAPES_OF_SWEEP, WORKS, Cell, cells_of, measured, table_rows
from surestep.bench.warm_up import WarmUp, warm_until_nothing_new

ROW = {"name": "as documented", "tokens_per_s": 20.0, "ceiling_share": 0.5, "peak_gb": 1.0, "spread": 0.1}


def cells(peers: Path | None = None) -> list[Cell]:
    ours = ("python", "bench")
    words = cells_of(
        SHAPES_OF_SWEEP, tuple(WORKS), ours=ours, flags=("--steps", "1"), peers=peers, peer_python="python"
    )
    return list(words)


def ended(code: int = 0, out: str = "", error: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], code, out, error)


def test_every_shape_is_measured_with_every_work_and_its_peer(tmp_path: Path) -> None:
    found = cells(tmp_path)
    assert {(cell.shape, cell.work) for cell in found if cell.program == OURS} == {
        (shape, work) for shape in SHAPES_OF_SWEEP for work in ("lora", "full", "score")
    }
    assert {cell.program for cell in found} == {OURS, *(peer.name for peer in PEERS)}
    assert all("--steps" in cell.command for cell in found if cell.program == OURS)
    assert all(cell.program == OURS for cell in cells())


def test_peers_do_as_much_as_ours_where_a_sweep_says_how_much(tmp_path: Path) -> None:
    of_peers = {"score": ["--examples", "4"], "lora": ["--device", "cpu"]}
    for cell in cells_of(
        ["4b"], tuple(WORKS), ours=("ours",), flags=(), peers=tmp_path, peer_python="python", of_peers=of_peers
    ):
        words = of_peers.get(cell.work, []) if cell.program != OURS else []
        assert list(cell.command[-2:]) == words or not words


def test_a_measurement_whose_warm_up_did_not_end_says_so() -> None:
    row = ROW | {"settings": {"warm_up_complete": False, "warm_up_rounds": 4}}
    ours = {"shape": "4b", "work": "lora", "program": OURS, "found": {"rows": [row, ROW]}}
    found = table_rows([ours, {"shape": "4b", "work": "lora", "program": "TRL", "failed": "no module trl"}])
    assert [("after 4 rounds" in row.note, "TRL" in row.note) for row in found] == [(True, True), (False, True)]


def test_one_that_fails_leaves_the_others_and_is_tried_again(tmp_path: Path) -> None:
    log, asked = tmp_path / "log.jsonl", []

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        asked.append(tuple(command))
        if "8b" in command:
            return ended(2, error="at work\nsurestep: the disk: No space left on device\n")
        return ended(-9) if "30b-moe" in command else ended(out=f"words\n{json.dumps({'rows': [ROW]})}\n")

    results = measured(cells(), log, run=run, say=lambda _: None)
    failed = [result for result in results if "failed" in result]
    assert {result["shape"] for result in failed} == {"8b", "30b-moe"}
    assert "No space left" in failed[0]["failed"]
    assert "killed" in failed[-1]["failed"]
    first = len(asked)
    assert first == len(cells())
    assert measured(cells(), log, run=run, say=lambda _: None) == results
    assert len(asked) == first + len(failed), "only what failed is measured again"
    notes = {row.shape: row.note for row in table_rows(results) if row.tokens_per_s is None}
    assert notes.keys() == {"8b", "30b-moe"}


NEEDS = {"name": "30b-moe", "why": "its weights need more", "needs_gb": 483.5, "has_gb": 141.0}
TRACEBACK = 'Traceback (most recent call last):\n  File "peer.py", line 1, in <module>\n'


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (
            ended(2, json.dumps({"rows": [], "does_not_fit": [NEEDS]}), "surestep: it does not fit\n"),
            "in 141 GB (needs at least 484",
        ),
        (ended(1, error=f"{TRACEBACK}torch.OutOfMemoryError: CUDA out of memory. Tried to\n"), "CUDA out of memory"),
        (ended(1, error=f"{TRACEBACK}torch.AcceleratorError: CUDA error: out of memory\nFor debugging: \n"), "CUDA"),
        (ended(1, error=f"{TRACEBACK}RuntimeError: [enforce fail] DefaultCPUAllocator: can't\n"), "DefaultCPU"),
        (ended(1, error=f"{TRACEBACK}numpy._core._exceptions._ArrayMemoryError: Unable\n"), None),
        (ended(1, error=f"{TRACEBACK}MemoryError\n"), "MemoryError"),
        (ended(2, error="surestep: out of memory with 64 tokens in a pass; lower it\n"), "64 tokens"),
        (ended(2, error="out of memory: continuing with 64 tokens\nsurestep: the disk: full\n"), None),
        (ended(1, error=f"{TRACEBACK}MemoryError\nDuring handling:\n{TRACEBACK}KeyError: 1\n"), None),
        (ended(0, "no JSON"), None),
    ],
)
def test_what_does_not_fit_in_memory_is_a_finding_and_no_failure(
    end: subprocess.CompletedProcess[str], words: str | None, tmp_path: Path
) -> None:
    log, asked = tmp_path / "log", list[Sequence[str]]()

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return end

    one, said = [Cell("30b-moe", "full", OURS, ("python",))], list[str]()
    results = measured(one, log, run=run, say=said.append)
    (row,) = table_rows(results)
    assert json.loads(log.read_text(encoding="utf-8")) == results[0]
    assert row.is_unfit == ("does_not_fit" in results[0]) == ("failed" not in results[0]) == (words is not None)
    assert row.tokens_per_s is None
    assert words is None or all(words in line for line in (row.note, said[-1]))
    assert measured(one, log, run=run, say=said.append) == results
    assert len(asked) == (1 if words is not None else 2), "what did not fit is not measured again"
    assert measured(one, log, run=run, say=said.append, retry_unfit=True) == results
    assert len(asked) == (2 if words is not None else 3), "unless that is asked for"


def test_of_rows_that_fit_in_part_the_others_stay(tmp_path: Path) -> None:
    log, asked = tmp_path / "log", list[Sequence[str]]()
    unfit = {"name": "passes of 16,384 tokens", "why": "out of memory", "needs_gb": None, "has_gb": 80.0}

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return ended(out=json.dumps({"rows": [ROW], "does_not_fit": [unfit]}))

    one = [Cell("4b", "full", OURS, ("python",))]
    fits, not_fitting = table_rows(measured(one, log, run=run, say=lambda _: None))
    assert (fits.tokens_per_s, fits.is_unfit, fits.note) == (20.0, False, "")
    assert (not_fitting.work, not_fitting.is_unfit) == ("full, passes of 16,384 tokens", True)
    assert "does not fit in 80 GB (out of memory)" in not_fitting.note
    for retry in (False, True):
        measured(one, log, run=run, say=lambda _: None, retry_unfit=retry)
    assert len(asked) == 2


def test_a_peer_that_runs_out_of_memory_is_named_in_a_note(tmp_path: Path) -> None:
    (tmp_path / "peer_trl.py").touch()

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        if any(word.endswith("peer_trl.py") for word in command):
            return ended(1, error=f"{TRACEBACK}torch.OutOfMemoryError: CUDA out of memory.\n")
        return ended(out=json.dumps({"rows": [ROW]}))

    (row,) = table_rows(measured(cells(tmp_path)[:2], tmp_path / "log", run=run, say=lambda _: None))
    assert (row.tokens_per_s, row.is_unfit) == (20.0, False)
    assert "TRL, batch 16: does not fit (torch.OutOfMemoryError" in row.note


def test_a_sweep_that_is_stopped_keeps_what_it_has(tmp_path: Path) -> None:
    log, asked = tmp_path / "log.jsonl", []

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        if len(asked) == 4:
            raise KeyboardInterrupt
        asked.append(command)
        return ended(out=json.dumps({"rows": [ROW]}))

    with pytest.raises(KeyboardInterrupt):
        measured(cells(), log, run=run, say=lambda _: None)
    assert len(log.read_text(encoding="utf-8").splitlines()) == 4


def test_other_flags_are_another_measurement(tmp_path: Path) -> None:
    def run(_: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return ended(out=json.dumps({"rows": [ROW]}))

    log, said = tmp_path / "log.jsonl", list[str]()
    one = [Cell("4b", "lora", OURS, ("python", "--steps", "1"))]
    measured(one, log, run=run, say=said.append)
    measured([Cell("4b", "lora", OURS, ("python", "--steps", "2"))], log, run=run, say=said.append)
    measured([Cell("4b", "lora", OURS, ("other/python", "--steps", "1"))], log, run=run, say=said.append)
    assert [line.endswith("...") for line in said] == [True, True, False]


@pytest.mark.parametrize("printed", ["", "no JSON", '{"half": '])
def test_what_prints_no_json_failed(printed: str, tmp_path: Path) -> None:
    (result,) = measured(cells()[:1], tmp_path / "log", run=lambda _: ended(out=printed), say=lambda _: None)
    assert result["failed"]


@pytest.mark.parametrize(
    ("code", "said", "words"),
    [
        (-9, "at work", "killed by the system (out of memory?)"),
        (-11, "at work", "ended by SIGSEGV; said last: at work"),
        (-11, "", "ended by SIGSEGV, without a word"),
        (2, "no such shape", "no such shape"),
        (1, "", "ended with exit code 1, without a word"),
    ],
)
def test_what_ended_a_measurement_is_told_from_what_it_said_last(
    code: int, said: str, words: str, tmp_path: Path
) -> None:
    end = subprocess.CompletedProcess([], code, stdout="", stderr=said)
    (result,) = measured(cells()[:1], tmp_path / "log", run=lambda _: end, say=lambda _: None)
    assert result["failed"] == words


def test_absent_peers_are_named(tmp_path: Path) -> None:
    results = measured(
        cells(tmp_path)[:2], tmp_path / "log", run=lambda _: ended(out=json.dumps({"rows": [ROW]})), say=lambda _: None
    )
    (row,) = table_rows(results)
    assert row.tokens_per_s == 20.0
    assert "peer_trl.py is not here" in row.note


def test_a_peer_stands_beside_each_row(tmp_path: Path) -> None:
    (tmp_path / "peer_trl.py").touch()

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        is_peer = any(word.endswith("peer_trl.py") for word in command)
        return ended(out=json.dumps({"tokens_per_s": 5.0} if is_peer else {"rows": [ROW, ROW]}))

    rows = table_rows(measured(cells(tmp_path)[:2], tmp_path / "log", run=run, say=lambda _: None))
    assert [(row.tokens_per_s, row.peer_tokens_per_s) for row in rows] == [(20.0, 5.0)] * 2


def test_a_peer_stands_beside_the_work_that_it_does(tmp_path: Path) -> None:
    names = ["mixed lengths, passes of 512", "64 candidates, as a tree, passes of 512", "64 candidates, flat"]
    ours = {"rows": [ROW | {"name": name} for name in names]}
    (tmp_path / "peer_padded.py").touch()

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return ended(out=json.dumps({"tokens_per_s": 5.0} if command[1].endswith(".py") else ours))

    scored = [cell for cell in cells(tmp_path) if cell.work == "score"][:2]
    rows = table_rows(measured(scored, tmp_path / "log", run=run, say=lambda _: None))
    assert [row.peer_tokens_per_s for row in rows] == [5.0, None, None]


@pytest.mark.parametrize(
    ("new_at", "expected"),
    [
        ([], WarmUp(3, True, 0)),
        ([1, 2, 4], WarmUp(6, True, 3)),
        (range(1, 50), WarmUp(10, False, 10)),
    ],
    ids=["nothing new", "new ones for a while", "new ones for ever"],
)
def test_warming_lasts_until_nothing_new_is_made(new_at: Sequence[int], expected: WarmUp) -> None:
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    found = warm_until_nothing_new(step, lambda: sum(at <= steps for at in new_at), fewest=3, quiet=2, most=10)
    assert found == expected
