"""`surestep generate`: a file of problems against a server, killed and resumed, with accuracies of known answers."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_server import OpenAIServer, openai_server, solution_text
from surestep.cli.main import main
from surestep.data.benchmarks.final_answer import written_answer
from surestep.inference.generation.accuracy import measure_accuracy
from surestep.inference.generation.requests import seed_of
from surestep.inference.generation.table_task import COLUMNS
from surestep.metrics.benchmarks.best_of_n import pass_at_n


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


def answer_of(problem: str, place: int, seed: int = 0) -> str:
    return written_answer(solution_text(seed_of(seed, problem, place))) or ""


def write(path: Path, problems: int = 6) -> Path:
    rows = [{"id": i, "question": f"problem {i}", "answer": answer_of(f"problem {i}", i % 5)} for i in range(problems)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_seconds(one) for key, one in value.items() if key != "seconds"}
    return [without_seconds(one) for one in value] if isinstance(value, list) else value


def arguments(source: Path, server: OpenAIServer, *more: object) -> list[str]:
    fixed = ["--endpoint", server.url, "--method", "majority", "--n", "4", "--bootstrap_resamples", "20"]
    return ["generate", str(source), *fixed, *map(str, more)]


def test_votes_and_accuracies(
    server: OpenAIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    source = write(tmp_path / "problems.jsonl")
    assert main(arguments(source, server, "--rows_per_part", 2)) == 0
    said = capsys.readouterr().out
    rows = read(tmp_path / "problems.generated.jsonl")
    assert [row["id"] for row in rows] == list(range(6))
    for i, row in enumerate(rows):
        assert list(row) == ["id", "question", "answer", *COLUMNS]
        answers = [answer_of(f"problem {i}", place) for place in range(4)]
        assert [one["answer"] for one in row["candidates"]] == answers
        assert [one["correct"] for one in row["candidates"]] == [answer == row["answer"] for answer in answers]
        assert row["answers_by"] == {"majority": row["chosen_answer"]}
        assert row["candidates"][0]["steps"][0].endswith("is step 1.")
        assert row["tokens"] == sum(one["tokens"] for one in row["candidates"])
    report = json.loads((tmp_path / "problems.generated.jsonl.accuracy.json").read_text("utf-8"))
    right = np.array([[one["correct"] for one in row["candidates"]] for row in rows])
    assert report["all_candidates"]["pass"]["accuracy"] == pytest.approx(right.any(axis=1).mean())
    assert report["by_n"]["1"]["methods"]["majority"]["accuracy"] == pytest.approx(right.mean())
    assert set(report["by_n"]) == {"1", "2", "4"}
    assert set(report["by_n"]["4"]["methods"]) == {"pass", "random_choice", "majority"}
    assert "answers are compared by" in said
    assert "24 solutions (0 of them break off) of 6 problems" in said
    everything = said + "".join(path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file())
    assert "secret" not in everything
    asked = len(server.asked)
    assert main(arguments(source, server, "--rows_per_part", 2)) == 0
    assert "is finished already" in capsys.readouterr().out
    assert len(server.asked) == asked


@pytest.mark.slow
def test_a_killed_run_goes_on_without_asking_twice(server: OpenAIServer, tmp_path: Path, quick_python: Path) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    source = write(tmp_path / "problems.jsonl", 12)
    more = ("--concurrency", 4, "--rows_per_part", 5, "--total_tokens", 400, "--max_tokens", 20)
    server.asked.clear()
    assert main(arguments(source, server, *more, "--output", whole)) == 0
    asked_whole = [(body["seed"], body["max_tokens"]) for body in server.asked]

    server.asked.clear()
    server.delay_s = 0.05
    command = [quick_python / "surestep", *arguments(source, server, *more, "--output", cut)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ})
    try:
        while len(server.asked) < 26 and running.poll() is None:
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
        running.wait()
    finally:
        server.delay_s = 0.0
    assert not cut.exists()
    done = len(list((tmp_path / "cut.jsonl.parts").glob("problem_*.json")))
    while server.at_once:
        time.sleep(0.01)
    before = len(server.asked)
    assert done >= 1, "the part that was killed had problems that were done"
    assert main(arguments(source, server, *more, "--output", cut)) == 0
    assert without_seconds(read(cut)) == without_seconds(read(whole))
    again = [(body["seed"], body["max_tokens"]) for body in server.asked]
    assert set(again) == set(asked_whole)
    assert len(again) <= len(asked_whole) + 4, "no more than what was on its way"
    assert before < len(asked_whole)
    assert not (tmp_path / "cut.jsonl.parts").exists()


@pytest.mark.slow
def test_a_search_with_a_checkpoint_that_scores(
    server: OpenAIServer, tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "problems.jsonl", 2)
    output = tmp_path / "found.jsonl"
    options = ["--scorer", checkpoint, "--method", "dvts", "--beam_width", 2, "--output", output, "--prefix"]
    assert main([*arguments(source, server), *map(str, options), "g_", "--device", "cpu", "--stop", "\\n\\n"]) == 0
    rows = read(output)
    assert {one["subtree"] for row in rows for one in row["g_candidates"]} <= {0, 1}
    for row in rows:
        best = max(one["score"] for one in row["g_candidates"])
        assert row["g_candidates"][row["g_chosen"]]["score"] == best
        assert all(len(one["confidences"]) == len(one["steps"]) for one in row["g_candidates"])
    report = json.loads((tmp_path / "found.jsonl.accuracy.json").read_text("utf-8"))
    assert "by_n" not in report
    assert set(report["all_candidates"]) == {"chosen", "pass", "best_of_n", "majority", "weighted"}
    assert "Right answers among all candidates" in capsys.readouterr().out


def test_the_output_is_read_by_the_benchmark(server: OpenAIServer, tmp_path: Path, checkpoint: Path) -> None:
    from surestep.evaluation.benchmarks.best_of_n import run_best_of_n
    from surestep.evaluation.benchmarks.result_file import Resampling

    rows = [{"problem": f"problem {i}", "answer": answer_of(f"problem {i}", i)} for i in range(3)]
    source = tmp_path / "problems.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    more = ["--method", "best_of_n", "--scorer", str(checkpoint), "--device", "cpu"]
    assert main([*arguments(source, server), *more]) == 0
    output = tmp_path / "problems.generated.jsonl"
    ours = json.loads((tmp_path / "problems.generated.jsonl.accuracy.json").read_text("utf-8"))
    theirs = run_best_of_n(None, [output], sizes=None, resampling=Resampling(20, 0)).report
    assert theirs["by_n"] == ours["by_n"]
    assert set(ours["by_n"]) == {"1", "2", "4"}


@pytest.mark.slow
def test_a_stopped_run_says_so_and_leaves_what_is_done(
    server: OpenAIServer, tmp_path: Path, quick_python: Path
) -> None:
    source = write(tmp_path / "problems.jsonl", 12)
    server.asked.clear()
    server.delay_s = 0.05
    more = ("--concurrency", "4", "--max_tokens", "30")
    command = [quick_python / "surestep", *arguments(source, server, *more)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while len(server.asked) < 12 and running.poll() is None:
            time.sleep(0.005)
        running.send_signal(signal.SIGTERM)
        _, said = running.communicate(timeout=60)
    finally:
        server.delay_s = 0.0
    assert running.returncode == 143, said
    assert said == "surestep: stopped by SIGTERM\n"
    assert list((tmp_path / "problems.generated.jsonl.parts").glob("problem_*.json"))


def test_from_standard_input_to_standard_output(
    server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()

    class Streams:
        buffer = io.BytesIO(write(tmp_path / "problems.jsonl", 3).read_bytes())

    class Output(io.StringIO):
        buffer = written

    monkeypatch.setattr(sys, "stdin", Streams)
    monkeypatch.setattr("surestep.cli.table_command.sys.stdout", Output())
    assert main(arguments(Path("-"), server)) == 0
    rows = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [row["id"] for row in rows] == [0, 1, 2]
    assert all(len(row["candidates"]) == 4 for row in rows)


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no scorer": (["--method", "best_of_n"], "--method best_of_n needs a --scorer"),
    "width": (["--method", "dvts", "--n", "6", "--scorer", "x"], "beam_width 4"),
    "range": (["--temperature", "-1"], "temperature"),
    "no key": (["--api_key_env", "NO_SUCH_KEY"], "NO_SUCH_KEY (--api_key_env) is not set"),
    "no JSON": (["--extra", "{"], "--extra is no JSON"),
    "no object": (["--extra", "[1]"], "--extra is no JSON object"),
    "column": (["--answer_column", "gold"], "has no column 'gold'"),
    "address": (["--endpoint", "host:1"], "allowed: http://"),
    "prompt": (["--prompt", "Solve it."], "{problem}"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(
    name: str, server: OpenAIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, words = MISTAKES[name]
    assert main([*arguments(write(tmp_path / "problems.jsonl"), server), *given]) == 2
    said = capsys.readouterr().err.strip()
    assert words in said
    assert said.count("\n") == 0


def test_bad_rows_go_aside(server: OpenAIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "problems.jsonl", 2)
    with source.open("a") as file:
        file.write('{"question": " "}\n{"question": "a", "answer": [1]}\nno json\n')
    assert main(arguments(source, server)) == 0
    assert len(read(tmp_path / "problems.generated.jsonl")) == 2
    reasons = [row["reason"] for row in read(tmp_path / "problems.generated.jsonl.bad.jsonl")]
    assert [reason.partition(";")[0] for reason in reasons[:2]] == [
        "'question' is empty",
        "'answer' is of type list",
    ]
    assert len(reasons) == 3


def test_where_every_row_is_bad_a_second_run_says_so_again(
    server: OpenAIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "problems.jsonl"
    source.write_text('{"question": " ", "answer": "1"}\n', "utf-8")
    said = []
    for _ in range(2):
        assert main(arguments(source, server)) == 2
        said.append(capsys.readouterr().err)
    assert said[0] == said[1]
    assert "none of the 1 row could be scored" in said[0]


def test_rows_aside_never_replace_the_input(
    server: OpenAIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "problems.jsonl", 2)
    before = source.read_bytes()
    assert main(arguments(source, server, "--bad_rows_file", source, "--overwrite")) == 2
    assert "is the input itself" in capsys.readouterr().err
    assert source.read_bytes() == before


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.data())
def test_pass_at_n_against_all_subsets(right: list[bool], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(right)))
    subsets = list(combinations(right, n))
    assert pass_at_n(np.array(right), n) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("1234"), st.floats(0, 1), st.booleans()), max_size=5), min_size=1, max_size=6
    )
)
def test_accuracies_of_rows(drawn: list[list[tuple[str, float, bool]]]) -> None:
    rows = []
    for some in drawn:
        candidates = [
            {"answer": a, "correct": a == "1", "confidences": [v], "steps": ["s"], "truncated": cut}
            for a, v, cut in some
        ]
        chosen = some[0][0] if some else None
        rows.append(
            {
                "candidates": candidates,
                "is_correct": chosen == "1",
                "answers_by": {"best_of_n": chosen, "majority": chosen, "weighted": chosen},
                "stopped": None,
            }
        )
    report = measure_accuracy(rows, is_search=False, resamples=5)
    assert report is not None
    expected = np.mean([bool(some) and some[0][0] == "1" for some in drawn])
    assert report["all_candidates"]["chosen"]["accuracy"] == pytest.approx(expected)
    if any(drawn):
        assert report["all_candidates"]["weighted"]["accuracy"] == pytest.approx(expected)
    assert report["without_candidates"] == sum(not some for some in drawn)
    if any(drawn):
        most = max(map(len, drawn))
        assert max(map(int, report["by_n"])) <= most < 2 * max(map(int, report["by_n"]))
    assert measure_accuracy([{**row, "is_correct": None} for row in rows], is_search=False) is None
