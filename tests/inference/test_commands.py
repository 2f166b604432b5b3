"""`surestep score` and `surestep rerank`, from a file to a file with a small model."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from containers import CONTAINERS
from surestep import Scorer
from surestep.cli.main import main
from surestep.inference.tables.processes import Processes

ROWS: list[dict[str, Any]] = [
    {"id": n, "question": f"What is {n // 2} + 4?", "completions": [f"{n} + 4 = {n + 4}.", "so"]} for n in range(9)
]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


Command = Callable[..., tuple[str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command; what it printed and what it said beside that."""

    def run(*arguments: object, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        assert main([*map(str, arguments), "--device", "cpu"]) == code
        captured = capsys.readouterr()
        return captured.out, captured.err

    return run


def close(found: list[Any], expected: tuple[float | None, ...]) -> bool:
    return bool(np.allclose(np.array(found, float), np.array(expected, float), rtol=0, atol=1e-6, equal_nan=True))


@pytest.mark.parametrize("output", ["out.jsonl", "-"])
def test_where_no_row_can_be_scored_the_command_fails(
    command: Command, run_folder: Path, tmp_path: Path, output: str
) -> None:
    rows = [{"question": "q", "completions": []}, {"question": "q", "completions": [""]}, {"question": " "}]
    source = write(tmp_path / "rows.jsonl", rows)
    place = output if output == "-" else tmp_path / output
    _, err = command("score", source, run_folder, "--output", place, code=2)
    where = "standard error" if output == "-" else f"{place}.bad.jsonl"
    assert f"surestep: none of the 3 rows could be scored; {where} holds them with the reasons\n" in err
    if output != "-":
        assert (len(read(place)), len(read(Path(where)))) == (0, 3)


BAD_ROWS: dict[str, list[dict[str, Any]]] = {
    "score": [{"question": "q", "completions": " "}, {"question": " ", "completions": "a"}],
    "rerank": [{"question": "q", "candidates": []}, {"question": " ", "candidates": ["a"]}],
}


@pytest.mark.parametrize("layout", ["jsonl", "jsonl.gz", "csv", "parquet"])
@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_second_run_says_what_the_first_said(
    name: str, layout: str, command: Command, checkpoint: Path, tmp_path: Path
) -> None:
    """Its counts, its message and its exit code, though nothing is done again."""
    source = CONTAINERS[layout](tmp_path, BAD_ROWS[name])
    output = tmp_path / f"out.{layout}"
    arguments = (name, source, checkpoint, "--output", output)
    said, error = command(*arguments, code=2)
    assert said.endswith(f"wrote 0 rows to {output}\n")
    assert error == (f"surestep: none of the 2 rows could be scored; {output}.bad.jsonl holds them with the reasons\n")
    before = {path: path.stat().st_mtime_ns for path in (output, Path(f"{output}.bad.jsonl"))}
    again, error_again = command(*arguments, code=2)
    assert error_again == error
    lines = said.splitlines()
    done = f"{output} is finished already, from the same input and checkpoint: nothing is done again"
    assert again.splitlines() == [*lines[:-2], done, lines[-2]]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    Path(f"{output}.bad.jsonl").unlink()
    assert (
        f"{output}.bad.jsonl held them with the reasons and is not there any more; --overwrite"
        in command(*arguments, code=2)[1]
    )


@pytest.mark.parametrize("content", ["", "\n", "[1]\n", "{cut\n"])
def test_a_file_without_a_row_is_refused_each_time(
    command: Command, checkpoint: Path, tmp_path: Path, content: str
) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text(content, "utf-8")
    said = [command(name, source, checkpoint, code=2) for name in BAD_ROWS for _ in range(2)]
    assert len(set(said)) == 1
    assert said[0][1].count("\n") == 1
    assert list(tmp_path.iterdir()) == [source]


def test_a_second_run_counts_some_bad_rows_again(command: Command, checkpoint: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", [ROWS[0], {"question": "q", "completions": []}, {"problem": "x" * 300}])
    bad = tmp_path / "mine.jsonl"
    arguments = ("score", source, checkpoint)
    for _ in range(2):
        assert f"2 rows could not be scored: {bad} holds them" in command(*arguments, "--bad_rows_file", bad)[0]
    other = write(tmp_path / "other.jsonl", ROWS)
    for flags, words in (((), "then 'mine.jsonl', now None"), (("--bad_rows_file", other), "now 'other.jsonl'")):
        assert (
            f"(bad rows file: then 'mine.jsonl', {words.rpartition(', ')[2]})" in command(*arguments, *flags, code=2)[1]
        )
    assert read(other) == ROWS


def test_a_file_is_scored_beside_itself_by_the_best_checkpoint_of_a_run(
    command: Command, run_folder: Path, scorer: Scorer, tmp_path: Path
) -> None:
    source = write(tmp_path / "rows.jsonl", [*ROWS, {"question": "q", "completions": []}])
    said, _ = command("score", source, run_folder, "--rows_per_part", "4")
    for words in (
        "is a run: its best checkpoint by validation is checkpoint_step_2",
        "columns: problem from 'question', steps from 'completions' (--problem_column, --steps_column)",
        "1 row could not be scored: ",
        "wrote 9 rows to ",
    ):
        assert words in said
    found = read(tmp_path / "rows.scored.jsonl")
    for row, given in zip(found, ROWS, strict=True):
        expected = scorer.score(given["question"], given["completions"])
        assert {name: row[name] for name in given} == given
        assert close(row["confidences"], expected.confidences)
        assert close(row["raw"], expected.raw)
        for how in ("min", "product", "mean", "last"):
            assert close([row[how]], (expected.aggregate(how),))
    assert "'completions' is empty" in read(tmp_path / "rows.scored.jsonl.bad.jsonl")[0]["reason"]
    assert "is finished already" in command("score", source, run_folder, "--rows_per_part", "4")[0]
    said = command("score", source, run_folder, code=2)[1]
    assert said.count("\n") == 1
    assert "was begun from something else (rows per part: then 4, now 1024)" in said
    command("score", source, run_folder, "--overwrite")


def test_a_backbone_that_is_not_used_is_said(command: Command, checkpoint: Path, tmp_path: Path) -> None:
    """All weights of the checkpoint were trained, so that no other backbone has them."""
    source = write(tmp_path / "rows.jsonl", ROWS[:1])
    line = "backbone: the checkpoint's own, as all its weights were trained; --backbone other/model is not used"
    said = command("score", source, checkpoint, "--backbone", "other/model")[0]
    assert line in " ".join(said.split())
    assert "is not used" not in command("score", source, checkpoint, "--overwrite")[0]


def test_raw_solutions_say_how_they_were_split(command: Command, checkpoint: Path, tmp_path: Path) -> None:
    source = write(
        tmp_path / "rows.jsonl", [{"prompt": "1+1?", "response": "Add.\n\nSo 2."}, {"prompt": "2?", "response": " "}]
    )
    said, _ = command("score", source, checkpoint, "--output", tmp_path / "out.parquet", "--calibration", "none")
    assert "raw solutions are split by the rule auto (choose with --split)" in said
    (row,) = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert (row["steps"], row["split_rule"]) == (["Add.", "So 2."], "blank_lines")
    assert row["confidences"] == row["raw"]
    assert len(row["raw"]) == 2
    flags = ("--split", "tag:##", "--problem_column", "prompt", "--solution_column", "response")
    command("score", source, checkpoint, "--output", tmp_path / "o.jsonl", *flags)
    assert read(tmp_path / "o.jsonl")[0]["steps"] == ["Add.\n\nSo 2."]


def test_a_step_beyond_the_limit_is_null_and_said(command: Command, checkpoint: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", [{"problem": "p", "steps": ["a", "x" * 300]}])
    said, _ = command("score", source, checkpoint)
    assert "1 row has steps beyond the longest path that the model takes" in said
    (row,) = read(tmp_path / "rows.scored.jsonl")
    assert (row["confidences"][1], row["min"], row["mean"]) == (None, None, None)


def test_standard_input_goes_to_standard_output(
    command: Command, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()

    class Streams:
        buffer = io.BytesIO(("\n".join(map(json.dumps, ROWS)) + "\n{broken\n").encode())

    class Output(io.StringIO):
        buffer = written

    monkeypatch.setattr(sys, "stdin", Streams)
    monkeypatch.setattr("surestep.cli.table_command.sys.stdout", Output())
    _, said = command("score", "-", checkpoint)
    rows = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [row["id"] for row in rows] == list(range(9))
    assert "not valid JSON" in said
    assert "1 row could not be scored: standard error holds them with the reasons" in said


def test_candidates_are_ranked_as_in_python(command: Command, checkpoint: Path, scorer: Scorer, tmp_path: Path) -> None:
    candidates = [["12 * 3 = 36.", "so 40"], ["40"], ["12 * 3 = 36.", "so 41"]]
    rows = [
        {"problem": "12 * 3 + 4?", "candidates": candidates},
        {"problem": "12 * 3 + 4?", "candidates": [{"steps": steps, "correct": True} for steps in candidates]},
        {"problem": "12 * 3 + 4?", "candidates": ["\n".join(steps) for steps in candidates]},
        {"problem": "p", "candidates": [["a"], [""]]},
        {"problem": "p", "candidates": []},
        {"problem": "p", "candidates": [3]},
    ]
    said, _ = command("rerank", write(tmp_path / "rows.jsonl", rows), checkpoint, "--by", "mean", "--split", "lines")
    assert "wrote 3 rows" in said
    expected = scorer.rerank("12 * 3 + 4?", candidates, by="mean")
    for row in read(tmp_path / "rows.ranked.jsonl"):
        assert row["ranking"] == [candidate.index for candidate in expected]
        assert row["best"] == expected[0].index
        assert close([row["scores"][candidate.index] for candidate in expected], tuple(c.score for c in expected))
        assert [len(values) for values in row["confidences"]] == [2, 1, 2]
    reasons = [row["reason"] for row in read(tmp_path / "rows.ranked.jsonl.bad.jsonl")]
    for reason, words in zip(
        reasons, ("step 1 of candidate 2 is empty", "'candidates' is empty", "candidate 1 is the int 3"), strict=True
    ):
        assert words in reason


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rows.jsonl", "--output", "rows.jsonl"], "is the input itself"),
        (["rows.jsonl", "--bad_rows_file", "rows.jsonl", "--overwrite"], "is the input itself"),
        (["rows.jsonl", "--bad_rows_file", "./rows.jsonl", "--output", "-", "--overwrite"], "is the input itself"),
        (["rows.jsonl", "--bad_rows_file", "o.jsonl", "--output", "o.jsonl"], "is the output itself"),
        (["rows.jsonl", "--output", "out.txt"], "--output_format"),
        (["rows.jsonl", "--output", "out.parquet.gz"], "compressed already"),
        (["rows.jsonl", "--output", "-", "--output_format", "parquet"], "Parquet cannot be written to standard output"),
        (["rows.txt"], "its name does not say how it is laid out; say so with --format"),
        (["none.jsonl"], "no such file"),
        (["rows.jsonl", "--output", "rows.txt/out.jsonl"], "(Not a directory); name another --output"),
        (["folder"], "is a folder, not a file; name a file (the file comes first, then the checkpoint)"),
        (["rows.jsonl", "--output", "folder"], "is a folder, not a file; name a file"),
        (["broken.jsonl"], "broken.jsonl, line 1: not valid JSON"),
        (["rows.jsonl", "--split", "words"], "the rule for splitting steps is 'words'; allowed: auto"),
        (["rows.jsonl", "--steps_column", "x"], "has no column 'x'"),
        (["rows.jsonl", "--bad_rows", "stop"], "--bad_rows aside"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    words: str,
    command: Command,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("rows.jsonl", "rows.txt"):
        write(tmp_path / name, [*ROWS, {"question": ""}])
    (tmp_path / "broken.jsonl").write_text("{no\n", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    file, *flags = arguments
    _, error = command("score", file, checkpoint, *flags, code=2)
    assert error.startswith("surestep: ")
    assert error.count("\n") == 1
    assert words in error
    assert not (tmp_path / "rows.scored.jsonl").exists()
    assert len(read(tmp_path / "rows.jsonl")) == len(ROWS) + 1


@pytest.mark.parametrize(
    ("name", "flags", "output"),
    [
        ("a.jsonl.gz", [], "a.scored.jsonl.gz"),
        ("a.b.csv", [], "a.b.scored.csv"),
        ("a.json", [], "a.scored.jsonl"),
        ("a.parquet", ["--output_format", "csv"], "a.scored.csv"),
        ("a.csv.gz", ["--output_format", "parquet"], "a.scored.parquet"),
        ("a", ["--format", "csv"], "a.scored.csv"),
        ("a.v2", ["--format", "jsonl"], "a.v2.scored.jsonl"),
    ],
)
def test_the_output_is_named_after_the_input(name: str, flags: list[str], output: str) -> None:
    import argparse

    from surestep.cli.commands import score
    from surestep.cli.table_command import _output
    from surestep.inference.tables.rows import format_of

    parser = argparse.ArgumentParser()
    score.configure(parser)
    args = parser.parse_args([name, "checkpoint", *flags])
    found, layout = _output(args, score._COMMAND, format_of(args.input, args.format))
    assert found == Path(output)
    assert layout == (args.output_format or format_of(args.input, args.format))


def test_two_processes_write_what_one_writes(
    command: Command, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As threads here: what a launcher tells a process comes from `find_processes` alone."""
    source = write(tmp_path / "rows.jsonl", ROWS * 3)
    arguments = ["score", str(source), str(checkpoint), "--rows_per_part", "4", "--device", "cpu", "--output"]
    command(*arguments[:-3], "--output", tmp_path / "one.jsonl")
    own = threading.local()
    launch = f"{os.getppid()}:29500"
    monkeypatch.setattr(
        "surestep.inference.tables.processes.find_processes", lambda: Processes(own.rank, 2, own.rank, launch)
    )

    def start(rank: int) -> int:
        own.rank = rank
        return main([*arguments, str(tmp_path / "two.jsonl")])

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(start, (1, 0))) == [0, 0]
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


def test_a_bad_row_of_a_stream_is_said_as_it_is(command: Command, checkpoint: Path, tmp_path: Path) -> None:
    """A line of JSON, whatever stands in it and however long it is."""
    rows = [*ROWS[:2], {"question": "[bold]x[/bold] [/] " + "word " * 60, "completions": "[red]"}]
    source = write(tmp_path / "rows.jsonl", rows)
    _, error = command("score", source, checkpoint, "--output", "-")
    (line,) = [line for line in error.splitlines() if line.startswith("{")]
    assert json.loads(line)["content"] == rows[-1]
