"""`surestep bench` runs on any machine, prints a table and one JSON line; no time is judged."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from surestep.bench import memory, sweep, timing
from surestep.cli.main import main
from surestep.encoding.packing import Pack
from surestep.scoring.model_scorer import ModelScorer

QUICK = ["--device", "cpu", "--steps", "1", "--repeats", "1", "--examples", "2"]
MEASURED = ("tokens_per_s", "labels_per_s", "spread", "ceiling_share", "padding", "peak_gb", "first_step_s")


@pytest.fixture
def quick(backbone_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The words of a quick bench of a small backbone, given its work and more flags."""
    monkeypatch.setitem(timing._CEILING_SIZE, "cpu", 256)
    return lambda work, *more: ["bench", work, *QUICK, "--backbone", str(backbone_folder("llama")), *more]


@pytest.mark.slow
@pytest.mark.parametrize(("work", "rows"), [("train", 2), ("trees", 1), ("score", 3)])
def test_a_table_and_a_line_of_json(
    work: str, rows: int, tmp_path: Path, succeed: Callable[..., str], quick: Callable[..., list[str]]
) -> None:
    output = tmp_path / "bench.jsonl"
    extra = ["--budgets", "600"] if work == "trees" else []
    shown = succeed(*quick(work, *extra, "--output", str(output)))
    record = json.loads(shown.splitlines()[-1])
    assert json.loads(output.read_text(encoding="utf-8")) == record
    assert record["bench"] == work
    assert record["ceiling_tflops"] > 0
    assert record["sustained_tflops"] > 0
    assert "torch" in record["versions"]
    assert len(record["rows"]) == rows
    for row in record["rows"]:
        assert all(isinstance(row[name], float) for name in MEASURED)
        assert row["tokens_per_s"] > row["labels_per_s"] > 0
        assert 0 <= row["padding"] < 1
        assert row["settings"]["warm_up_complete"]
        assert row["settings"]["warm_up_rounds"] >= 1
    if work == "score":
        whole, tree, flat = record["rows"]
        per_token = [row["labels_per_s"] / row["tokens_per_s"] for row in (tree, flat)]
        assert per_token[0] > 1.2 * per_token[1], "shared prefixes are run once"
        assert whole["settings"]["token_budget"] > 0


def test_a_sweep_prints_one_table_and_goes_on_where_it_was(
    tmp_path: Path, succeed: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[str]] = []
    row = {"name": "as documented", "tokens_per_s": 2e4, "ceiling_share": 0.5, "peak_gb": 1.0, "spread": 0.1}

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, json.dumps({"rows": [row]}), "")

    monkeypatch.setattr(sweep, "run_process", run)
    words = ("--shapes", "small", "--works", "lora", "score", "--peers", tmp_path, "--steps", "1", "--device", "cpu")
    shown = succeed("bench", "sweep", *words, "--output", tmp_path / "sweep.jsonl")
    assert "small, lora, as documented" in shown
    assert "20,000" in shown
    assert "peer_trl.py is not here" in " ".join(shown.split())
    assert [command[4] for command in asked] == ["train", "score"]
    assert all(command[-2:] == ["--training.device", "cpu"] for command in map(list, asked)), "flags are passed on"
    assert "measured before" in succeed("bench", "sweep", *words, "--output", tmp_path / "sweep.jsonl")
    assert len(asked) == 2


def test_peers_of_a_sweep_get_its_device_and_as_many_examples(
    tmp_path: Path, succeed: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, list[str]] = {}
    row = {"name": "as documented", "tokens_per_s": 2e4, "ceiling_share": 0.5, "peak_gb": 1.0, "spread": 0.1}

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        asked[Path(command[1]).name] = list(command)
        return subprocess.CompletedProcess(command, 0, json.dumps({"rows": [row], "tokens_per_s": 5e3}), "")

    monkeypatch.setattr(sweep, "run_process", run)
    for peer in sweep.PEERS:
        (tmp_path / peer.script).touch()
    less = ("--examples", "4", "--steps", "1", "--repeats", "2", "--device", "cpu")
    words = ("--shapes", "small", "--works", "lora", "score", "--peers", tmp_path, *less)
    shown = succeed("bench", "sweep", *words, "--output", tmp_path / "sweep.jsonl")
    assert "batch 16 5,000" in shown
    assert asked["peer_padded.py"][-6:] == ["--device", "cpu", "--repeats", "2", "--examples", "4"]
    assert asked["peer_trl.py"][-4:] == ["--device", "cpu", "--examples", "16"], "a whole batch"


def test_what_does_not_fit_leaves_a_sweep_whole_and_other_failures_do_not(
    tmp_path: Path,
    succeed: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    unfit = {"name": "small", "why": "its weights need more", "needs_gb": 483.5, "has_gb": 141.0}
    row = {"name": "as documented", "tokens_per_s": 2e4, "ceiling_share": 0.5, "peak_gb": 1.0, "spread": 0.1}
    failing: list[str] = []
    asked: list[str] = []

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        asked.append(command[command.index("--shape") - 1])
        if asked[-1] in failing:
            return subprocess.CompletedProcess(command, 2, "", "surestep: a setting is wrong")
        if asked[-1] == "full":
            return subprocess.CompletedProcess(command, 2, json.dumps({"rows": [], "does_not_fit": [unfit]}), "")
        return subprocess.CompletedProcess(command, 0, json.dumps({"rows": [row], "does_not_fit": []}), "")

    monkeypatch.setattr(sweep, "run_process", run)
    log = tmp_path / "sweep.jsonl"
    words = ["bench", "sweep", "--shapes", "small", "--device", "cpu", "--output", str(log)]
    shown = " ".join(succeed(*words).split())
    assert "small, full does not fit" in shown
    assert "needs at least 484 GB" in shown
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [result.get("does_not_fit") for result in found] == [None, unfit, None]
    assert asked == ["lora", "full", "score"]
    succeed(*words, "--retry_unfit")
    assert asked[3:] == ["full"]
    failing.append("full")
    assert main([*words, "--retry_unfit"]) == 1
    assert "a setting is wrong" in " ".join(capsys.readouterr().out.split())


def test_a_shape_that_cannot_fit_is_refused_before_it_is_built(
    fail: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "device_bytes", lambda _: 10**6)
    line = fail("bench", "train", "--preset", "full", "--shape", "small", *QUICK)
    assert "--shape small does not fit" in line
    assert main(["bench", "score", "--json", "--shape", "small", *QUICK]) == 2
    (finding,) = json.loads(capsys.readouterr().out.splitlines()[-1])["does_not_fit"]
    assert finding["name"] == "small"
    assert finding["needs_gb"] > finding["has_gb"] == 0.001


@pytest.mark.parametrize("fitting", [{600}, set[int]()], ids=["one fits", "none does"])
def test_a_row_that_runs_out_of_memory_leaves_the_others(
    fitting: set[int],
    quick: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def bench_training(name: str, *_: object, token_budget: int, **__: object) -> timing.Measurement:
        if token_budget not in fitting:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return timing.Measurement(name, 1.0, 1.0, 0.0, 0.1, 0.0, 1.0, 1.0, 1.0)

    monkeypatch.setattr("surestep.bench.train.bench_training", bench_training)
    words = quick("train", "--budgets", "900", "600")
    assert main([*words, "--json"]) == (0 if fitting else 2)
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["name"] for row in record["rows"]] == ["passes of 600 tokens"][: len(fitting)]
    assert "tried to allocate 2.00 GiB" in record["does_not_fit"][0]["why"]
    assert record["does_not_fit"][0]["name"] == "passes of 900 tokens" or not fitting
    if fitting:
        assert main(words) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert "passes of 900 tokens: does not fit: out of memory: tried to allocate 2.00 GiB" in shown


def test_a_row_of_scoring_names_the_passes_that_were_measured(
    quick: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    confidences = ModelScorer._confidences

    def tight(self: ModelScorer, pack: Pack) -> object:
        if pack.num_tokens > 600:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return confidences(self, pack)

    monkeypatch.setattr(ModelScorer, "_confidences", tight)
    words = quick("score", "--budgets", "9000", "600")
    assert main([*words, "--max_length", "500", "--json"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    works = ("64 candidates, as a tree", "64 candidates, flat")
    unfit = {finding["name"]: finding["why"] for finding in record["does_not_fit"]}
    assert {f"{work}, passes of 9,000" for work in works} <= unfit.keys()
    assert all("out of memory with" in why for why in unfit.values())
    assert {f"{row['settings']['token_budget']:,}" for row in record["rows"]} >= {"600"}
    assert all(row["name"].endswith(f"passes of {row['settings']['token_budget']:,}") for row in record["rows"])
    # Left to the scorer, the size is what it finds to fit, and that is what rows are named by.
    monkeypatch.setattr("surestep.scoring.build_model.scoring_token_budget", lambda *_: 1000)
    assert main([*words[:-3], "--max_length", "500", "--json"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record["does_not_fit"] == []
    assert all(row["name"].endswith(f"passes of {row['settings']['token_budget']:,}") for row in record["rows"])
    assert record["rows"][-1]["settings"]["token_budget"] < 600


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--shape", "huge"], ["--shape", "huge", "qwen3-4b", "small"]),
        *(
            ([work, f"--{name}", *values], [f"--{name} is {values[-1]}", "at least 1"])
            for work in ("train", "trees", "score", "sweep")
            for name, values in (
                *((name, [wrong]) for name in ("steps", "repeats", "examples") for wrong in ("0", "-3")),
                ("budgets", ["0"]),
                ("budgets", ["600", "-3"]),
            )
        ),
        (["train", "--profile", "0"], ["--profile is 0", "at least 1"]),
        (["sweep", "--shapes", "4b", "huge"], ["--shapes", "huge", "30b-moe"]),
        (["sweep", "--works", "walk"], ["--works", "walk", "score"]),
        (["sweep", "--peers", "nowhere"], ["--peers", "nowhere", "peer_trl.py"]),
        (["score", "--shape", "small", "--backbone", "builtin:tiny"], ["--shape", "--backbone"]),
        (["sweep", "--shape", "4b"], ["--shape", "--shapes"]),
        (["sweep", "--preset", "lora"], ["--preset", "--works"]),
        (["sweep", "--backbone", "builtin:tiny"], ["--backbone", "bench train"]),
        (["train", "--shapes", "4b"], ["--shapes", "bench sweep"]),
        (["score", "--works", "lora"], ["--works", "bench sweep"]),
        (["trees", "--peers", "benchmarks"], ["--peers", "bench sweep"]),
        (["score", "--peer_python", "python"], ["--peer_python", "bench sweep"]),
        (["train", "--retry_unfit"], ["--retry_unfit", "bench sweep"]),
    ],
)
def test_misuse_is_told_in_a_line(arguments: list[str], words: list[str], fail: Callable[..., str]) -> None:
    line = fail("bench", *arguments)
    for word in words:
        assert word in line


@pytest.mark.parametrize(("work", "most"), [("train", 5), ("score", 5), ("train", 1000)], ids=["train", "score", "all"])
def test_a_profile_names_what_takes_the_time(
    work: str, most: int, succeed: Callable[..., str], quick: Callable[..., list[str]]
) -> None:
    budget = ["--budgets", "600"] if work == "train" else []
    shown = succeed(*quick(work, *budget, "--profile", str(most)))
    row = json.loads(shown.splitlines()[-1])["rows"][0]
    profile = row["settings"]["profile"]
    times = [kernel["seconds"] for kernel in profile["kernels"]]
    assert times == sorted(times, reverse=True)
    runs = sum(kernel["runs"] for kernel in profile["kernels"])
    if most == 5:
        assert len(times) == 5
        assert 0 < sum(times) <= profile["busy_s"]
        assert profile["runs"] > runs > 0
    else:  # which are the longest depends on what else the machine does
        assert any("mm" in kernel["name"] for kernel in profile["kernels"]), "matrix products are among them"
        assert sum(times) == pytest.approx(profile["busy_s"])
        assert profile["runs"] == runs
    assert profile["kernels"][0]["name"] in shown.rsplit("\n", 2)[0]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["train", "--profile", "0"], "at least 1"),
        (["sweep", "--profile", "3"], "use it with bench train"),
    ],
)
def test_a_profile_of_nothing_is_refused(flags: list[str], words: str, fail: Callable[..., str]) -> None:
    assert words in fail("bench", *flags)
