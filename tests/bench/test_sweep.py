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
            return ended(1, error="Traceback\ntorch.OutOfMemoryError: CUDA out of memory.\n")
        return ended(-9) if "30b-moe" in command else ended(out=f"words\n{json.dumps({'rows': [ROW]})}\n")

    results = measured(cells(), log, run=run, say=lambda _: None)
    failed = [result for result in results if "failed" in result]
    assert {result["shape"] for result in failed} == {"8b", "30b-moe"}
    assert "out of memory" in failed[0]["failed"]
    assert "killed" in failed[-1]["failed"]
    first = len(asked)
    assert first == len(cells())
    assert measured(cells(), log, run=run, say=lambda _: None) == results
    assert len(asked) == first + len(failed), "only what failed is measured again"
    notes = {row.shape: row.note for row in table_rows(results) if row.tokens_per_s is None}
    assert notes.keys() == {"8b", "30b-moe"}


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
