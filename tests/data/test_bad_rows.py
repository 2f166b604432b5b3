"""A row that contradicts its layout: every reader stops and names the flag, or leaves it out, counts it, says why."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from layout_rows import FILE_READERS, READERS, VALID
from surestep.config import Config
from surestep.data.benchmarks.candidates import read_candidates
from surestep.data.benchmarks.prmbench import read_prmbench
from surestep.data.records.reading_report import ReadReport
from surestep.data.sources.choose import enabled_sources
from surestep.errors import BadRowError, DataError

LAYOUTS: dict[str, Callable[..., Any]] = {
    **{name: READERS[name] for name in FILE_READERS},
    "prmbench": read_prmbench,
    "candidates": read_candidates,
}
ROWS: dict[str, dict[str, Any]] = {
    **VALID,
    "prmbench": {"classification": "circular", "question": "q", "modified_process": ["a"], "error_steps": [1]},
    "candidates": {"problem": "p", "candidates": [{"steps": ["a"], "correct": True}]},
}
_RATED = {"completions": [{"text": "x", "rating": 7}]}
_CHOICE = {"text": "d", "chains": ["no list"]}
BAD: dict[str, dict[str, Any]] = {
    "prm800k": {"label": {"steps": [VALID["prm800k"]["label"]["steps"][0], _RATED]}},
    "eqasc": {"question": {"stem": "s", "choices": [*VALID["eqasc"]["question"]["choices"], _CHOICE]}},
    "reveal": {"evidence": "bad evidence", "attribution_label": "Mostly"},
    "processbench": {"steps": ["a", 3], "label": 1},
    "stepwise": {"labels": [True, 2]},
    "math_shepherd": {"input": "p Step 1: a ки b ки", "label": "p Step 1: a + b ?"},
    "own": {"steps": ["a", {"text": "b", "confidence": 1.5}]},
    "mr_ben": {"Model_Solution_Steps": ["Step 1: a", 3]},
    "big_bench_mistake": {"steps": ["a", 3]},
    "reason_eval": {"model_output_step_format": [["a"], ["b", 3]]},
    "hard2verify": {"human_labels": [1, 2]},
    "delta_bench": {"reason_error_section_numbers": [2, "x"]},
    "agent_process_bench": {"step_labels": {"1": 1, "2": 1}},
    "tool_prm_bench": {"action_rejected": "a"},
    "mmlu_pro_cot": {"labels": "[1, 2]"},
    "chat_verdicts": {
        "conversations": [*VALID["chat_verdicts"]["conversations"][:3], {"role": "assistant", "content": "?"}]
    },
    "versaprm": {"chain_of_thoughts": [{"steps": ["a", "b"], "labels": [None, 7]}]},
    "step_table": {"label": "perhaps"},
    "step_pairs": {"rejected": "b"},
    "prmbench": {"idx": "other", "modified_process": ["a", 7]},
    "candidates": {"candidates": [{"steps": ["a"], "correct": True}, {"steps": ["a"], "correct": "yes"}]},
}
"""What makes a row bad; it comes late in each, so that whatever was read before it must be forgotten again."""


def put(path: Path, rows: list[Any]) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def without_places(item: Any) -> str:
    """What was read, without the line or record that names it."""
    return re.sub(r"data:\d+|line=\d+", "", str(item))


def layouts() -> Iterator[Any]:
    for name in LAYOUTS:
        for ending in (".jsonl", ".json", *([".csv"] if name in ("reveal", "math_shepherd") else [])):
            yield pytest.param(name, ending, id=f"{name}{ending}")


@pytest.mark.parametrize("no_object", [False, True], ids=["contradicts", "no_object"])
@pytest.mark.parametrize(("name", "ending"), list(layouts()))
def test_a_bad_row_in_the_middle(name: str, ending: str, no_object: bool, tmp_path: Path) -> None:
    if no_object and ending == ".csv":
        pytest.skip("a row of a table is always a row; one of the wrong width has its own test")
    good, bad = ROWS[name], [1] if no_object else ROWS[name] | BAD[name]
    place = "record 2" if ending == ".json" else f"line {3 if ending == '.csv' else 2}"
    path = put(tmp_path / f"data{ending}", [good, bad, good])
    with pytest.raises(BadRowError) as caught:
        list(LAYOUTS[name](path, report=ReadReport()))
    message = str(caught.value)
    assert "--bad_rows skip" in message
    assert place in message
    assert "\n" not in message

    report, without = ReadReport(), ReadReport()
    found = list(LAYOUTS[name](path, report=report, bad_rows="skip"))
    assert report["bad_row"] == 1
    (where,) = report.places["bad_row"]
    assert where.startswith(f"data{ending}, {place}: ")
    assert any(where in line and "left out" in line for line in report.lines())
    assert report["records"] == 3

    # The same as if the row had never been there: same trees, same counts.
    (tmp_path / "clean").mkdir()
    clean = list(LAYOUTS[name](put(tmp_path / "clean" / path.name, [good, good]), report=without))
    assert [without_places(item) for item in found] == [without_places(item) for item in clean]
    counts = {reason: count for reason, count in report.counts.items() if reason not in ("bad_row", "records")}
    assert counts == {reason: count for reason, count in without.counts.items() if reason != "records"}


def test_the_first_three_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    rows = [VALID["own"], *[VALID["own"] | BAD["own"]] * 5]
    report = ReadReport()
    list(READERS["own"](put(tmp_path / "d.jsonl", rows), report=report, bad_rows="skip"))
    assert report["bad_row"] == 5
    assert [where.split(":")[0] for where in report.places["bad_row"]] == [f"d.jsonl, line {n}" for n in (2, 3, 4)]
    assert "1.5" in report.places["bad_row"][0]


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("broken", ['{"cut": "of', "no json\n", "\udcff\n"], ids=["cut", "json", "utf8"])
def test_a_broken_file_stops_whatever_the_policy(name: str, broken: str, tmp_path: Path) -> None:
    text = json.dumps(ROWS[name]) + "\n" + broken
    path = tmp_path / "data.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    for policy in ("stop", "skip"):
        with pytest.raises(DataError) as caught:
            list(LAYOUTS[name](path, report=ReadReport(), bad_rows=policy))
        assert not isinstance(caught.value, BadRowError)
        assert "--bad_rows" not in str(caught.value)


def test_a_table_row_of_the_wrong_width_is_a_bad_row_and_a_cut_table_is_a_broken_file(tmp_path: Path) -> None:
    path = put(tmp_path / "reveal_eval.csv", [VALID["reveal"]] * 2)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines[:2], "one,two\r\n", lines[2]]), encoding="utf-8")
    with pytest.raises(BadRowError, match=r"line 3: the row has 2 fields, the header 8.*--bad_rows skip"):
        list(READERS["reveal"](path, report=ReadReport()))
    report = ReadReport()
    assert len(list(READERS["reveal"](path, report=report, bad_rows="skip"))) == 1
    assert (report["bad_row"], report["records"]) == (1, 3)
    path.write_text("".join(lines[:2]) + "q,s,a", encoding="utf-8")
    with pytest.raises(DataError, match="cut") as caught:
        list(READERS["reveal"](path, report=ReadReport(), bad_rows="skip"))
    assert not isinstance(caught.value, BadRowError)


def test_the_field_reaches_every_source_and_its_fingerprint(tmp_path: Path) -> None:
    path = put(tmp_path / "own.jsonl", [VALID["own"], VALID["own"] | BAD["own"]])
    config = Config()
    config.data.use_prm800k = config.data.use_eqasc = False
    config.data.use_own, config.data.own_test = True, path
    (stop,) = enabled_sources(config.data, "test")
    with pytest.raises(BadRowError, match="--bad_rows skip"):
        list(stop.read(ReadReport()))
    config.data.bad_rows = "skip"
    (skip,) = enabled_sources(config.data, "test")
    report = ReadReport()
    assert len(list(skip.read(report))) == 1
    assert report["bad_row"] == 1
    assert skip.fingerprint() != stop.fingerprint()


def test_nothing_but_bad_rows_is_an_error_that_shows_them(tmp_path: Path) -> None:
    path = put(tmp_path / "own.jsonl", [VALID["own"] | BAD["own"]])
    config = Config()
    config.data.use_prm800k = config.data.use_eqasc = False
    config.data.use_own, config.data.own_test, config.data.bad_rows = True, path, "skip"
    (source,) = enabled_sources(config.data, "test")
    with pytest.raises(DataError, match=r"no labelled problem.*1 row that contradicts.*own\.jsonl, line 1.*1\.5"):
        list(source.read(ReadReport()))
