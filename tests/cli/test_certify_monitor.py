"""`surestep certify --promise monitor|selective`: what it says and stores, and who acts on it afterwards."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from surestep import Scorer
from surestep.calibration import Calibration, Platt
from surestep.errors import CheckpointError, InputError
from surestep.files import CERTIFICATE, MONITOR, SELECTIVE
from surestep.guarantees.monitoring import Monitor
from surestep.inference.model_runner import ModelRunner
from surestep.inference.requests import SessionStep
from surestep.scoring.checkpoint.calibration_file import store_calibration
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.checkpoint.manifest import read_manifest, replace_file

Succeed = Callable[..., str]
Fail = Callable[..., str]


@pytest.fixture
def checkpoint(finished_run: Path) -> Path:
    return finished_run / "checkpoint_step_2"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def chains(tmp_path: Path) -> Path:
    """Sixty problems that nothing has seen, one solution each: every sixth of them wrong somewhere."""
    rows = []
    for number in range(60):
        labels = [1.0, 0.0 if number % 6 == 0 else 1.0, 1.0]
        steps = [{"text": f"step {n} of {number}", "confidence": label} for n, label in enumerate(labels)]
        rows.append({"problem": f"unseen {number}: how much is it?", "steps": steps})
    return write(tmp_path / "unseen.jsonl", rows)


def certify(checkpoint: Path, data: Path, *flags: object) -> list[object]:
    return ["certify", "--checkpoint", checkpoint, "--data", data, "--device", "cpu", *flags]


def load(checkpoint: Path) -> Scorer:
    return Scorer.load(checkpoint, device="cpu", say=lambda line: None)


@pytest.mark.slow
def test_a_monitor_watches_every_session_and_says_where_its_promise_ends(
    checkpoint: Path, chains: Path, succeed: Succeed
) -> None:
    assert load(checkpoint).session("p").readings == ()
    out = succeed(*certify(checkpoint, chains, "--promise", "monitor", "--alpha", 0.2))
    for words in (
        "monitor: at most 20% of solutions that are right throughout are ever stopped (average over problems",
        "50 of 60 problems have a solution that is right throughout",
        "stop once the lowest raw confidence is below 0.",
        "at most 19.61% of right solutions are ever stopped",
        "of the wrong solutions of these problems are stopped",
        "beyond step 3 nothing is promised and no alarm is given",
        "a solution that is not stopped may be wrong",
    ):
        assert words in out
    scorer = load(checkpoint)
    monitor = scorer.model_scorer.monitor
    assert isinstance(monitor, Monitor)
    assert "up to step 3" in scorer.about()["monitor"]
    rows = [json.loads(line) for line in chains.read_text().splitlines()]
    right = [row for row in rows if all(step["confidence"] == 1.0 for step in row["steps"])]
    lowest = [min(scorer.score(row["problem"], [s["text"] for s in row["steps"]]).raw) for row in right]
    assert sorted(-value for value in monitor.largest) == pytest.approx(sorted(lowest), abs=1e-6)
    with scorer.session("a new one") as session:
        for number in range(4):
            session.add(f"step {number}")
            assert session.monitor == session.readings[-1]
        assert list(session.readings) == monitor.readings([math.nan if v is None else v for v in session.raw])
        assert [reading.promised for reading in session.readings] == [True] * 3 + [False]
        with session.fork() as fork:
            assert fork.readings == session.readings
            fork.add("one more")
            assert len(session.readings) == 4
        session.score_candidates(["x", "y"])
        assert len(session.readings) == 4, "what is only compared is not watched"


@pytest.mark.slow
@pytest.mark.parametrize("keeps_keys", [True, False])
def test_a_server_says_the_same_with_and_without_kept_keys(
    checkpoint: Path, chains: Path, succeed: Succeed, keeps_keys: bool
) -> None:
    from surestep.inference.model_runner import sessions_over

    succeed(*certify(checkpoint, chains, "--promise", "monitor", "--alpha", 0.2))
    scorer = load(checkpoint).model_scorer
    runner = ModelRunner(scorer, sessions_over(scorer)[0] if keeps_keys else None)
    handle = runner.open_session("a new one", "a")
    for number in range(4):
        runner.run([runner.encode(SessionStep(handle, (f"step {number}",)))])
    assert scorer.monitor is not None
    raw = [math.nan if value is None else value for value in handle.raw]
    assert list(handle.readings) == scorer.monitor.readings(raw)
    assert list(handle.fork().readings) == list(handle.readings)


@pytest.mark.slow
def test_each_kind_of_promise_has_its_own_file_and_goes_alone(
    checkpoint: Path, chains: Path, succeed: Succeed, tmp_path: Path
) -> None:
    succeed(*certify(checkpoint, chains, "--alpha", 0.2, "--score", "min"))
    succeed(*certify(checkpoint, chains, "--alpha", 0.2, "--promise", "monitor", "--statistic", "product"))
    succeed(*certify(checkpoint, chains, "--alpha", 0.6, "--promise", "selective", "--score", "min"))
    built = load_checkpoint(checkpoint).built
    assert [one is not None for one in (built.certificate, built.monitor, built.selective)] == [True] * 3
    line = store_calibration(checkpoint, read_manifest(checkpoint, with_state=False), Calibration(Platt(0.5, 0.1)))
    assert line is not None
    assert f"removed: {checkpoint / MONITOR}" in line, "a product reads calibrated confidences"
    assert "run `surestep certify --promise monitor` again" in line
    assert f"{checkpoint / SELECTIVE} holds on" in line
    assert sorted(one.name for one in checkpoint.iterdir() if one.name in (CERTIFICATE, MONITOR, SELECTIVE)) == [
        CERTIFICATE,
        SELECTIVE,
    ]
    succeed("export", "--checkpoint", checkpoint, "--output_dir", tmp_path / "merged")
    assert load_checkpoint(tmp_path / "merged").built.selective is not None
    assert "removed" in succeed("certify", "--checkpoint", checkpoint, "--promise", "selective", "--remove")
    assert "has no monitor.json" in succeed("certify", "--checkpoint", checkpoint, "--promise", "monitor", "--remove")
    assert load_checkpoint(checkpoint).built.certificate is not None


def test_a_promise_in_the_file_of_another_is_refused(checkpoint: Path, chains: Path, succeed: Succeed) -> None:
    succeed(*certify(checkpoint, chains, "--alpha", 0.2, "--promise", "monitor"))
    content = (checkpoint / MONITOR).read_bytes()
    replace_file(checkpoint, read_manifest(checkpoint, with_state=False), CERTIFICATE, content)
    with pytest.raises(CheckpointError, match="holds the promise monitor, which is stored in another file"):
        load_checkpoint(checkpoint)


def test_too_few_right_solutions_give_no_monitor(checkpoint: Path, chains: Path, succeed: Succeed, fail: Fail) -> None:
    words = "no rule at 0.01: needs 99 problems with a right solution, has 50; it never alarms"
    assert words in succeed(*certify(checkpoint, chains, "--promise", "monitor", "--alpha", 0.01, "--no_store"))
    assert words in fail(*certify(checkpoint, chains, "--promise", "monitor", "--alpha", 0.01))


def several(path: Path, count: int, solutions: int) -> Path:
    """Problems with several solutions each, of one step; the first of each fourth is wrong."""
    rows = []
    for number in range(count):
        for n in range(solutions):
            step = {"text": f"answer {n} of {number}", "confidence": float(number % 4 != 0 or n != 0)}
            rows.append({"problem": f"unseen {number}: which?", "steps": [step]})
    return write(path, rows)


def test_what_is_handed_out_is_what_was_certified(
    checkpoint: Path, succeed: Succeed, fail: Fail, tmp_path: Path
) -> None:
    data = several(tmp_path / "several.jsonl", 120, 3)
    with pytest.raises(InputError, match="surestep certify --promise selective"):
        load(checkpoint).hand_out("p", [["a"]])
    flags = ("--promise", "selective", "--alpha", 0.6, "--score", "min", "--policy", "min", "--most", 3)
    out = succeed(*certify(checkpoint, data, *flags, "--stop_above", 0.0, "--escalate_above", 0.0))
    for words in (
        "selective use: at most 60% of the solutions handed out are wrong (for all but 10% of calibration sets)",
        "highest min of calibrated confidences of the first 3, stopping above 0.0",
        "hand out solutions",
        "those above 0 are escalated, for the rest there is no answer",
        "of which ",
    ):
        assert words in out
    scorer = load(checkpoint)
    asked: list[int] = []

    def candidates() -> Iterator[list[str]]:
        for number in range(3):
            asked.append(number)
            yield [f"answer {number}"]

    found = scorer.hand_out("which?", candidates())
    assert asked == [0], "the first is above the stop, so no other is asked for"
    assert (found.index, found.looked_at) == (0, 1)
    assert found.policy in out
    assert found.scores is not None
    rule = json.loads((checkpoint / SELECTIVE).read_text())["rules"]["all"]
    above = found.scores.raw[0] is not None and found.scores.raw[0] > float(rule["cutoff"])
    assert found.decision == ("hand_out" if above else "escalate")
    assert "at most 60%" in found.promise


@pytest.mark.slow
def test_the_best_of_as_many_as_were_certified_and_no_other_choice(
    checkpoint: Path, succeed: Succeed, tmp_path: Path
) -> None:
    data = several(tmp_path / "several.jsonl", 60, 3)
    succeed(*certify(checkpoint, data, "--alpha", 0.2, "--score", "min", "--policy", "min"))
    scorer = load(checkpoint)
    three = [["a"], ["b"], ["c"]]
    found = scorer.hand_out("p", three)
    best = scorer.rerank("p", three, by="min")[0]
    assert found.index == best.index
    assert found.scores is not None
    assert found.scores.certified == best.scores.certified
    assert found.decision == ("hand_out" if found.scores.certified and found.scores.certified.num_kept else "abstain")
    with pytest.raises(InputError, match="for 3 to 3 solutions, not 2"):
        scorer.hand_out("p", three[:2])
    succeed(*certify(checkpoint, data, "--alpha", 0.2, "--score", "min", "--policy", "min", "--most", 2))
    scorer = load(checkpoint)
    assert scorer.hand_out("p", three).looked_at == 2
    assert scorer.rerank("p", three, by="min")[0].scores.certified is None, "the best of three is another choice"


@pytest.mark.slow
@pytest.mark.parametrize("cost", ["steps", "tokens"])
def test_a_curve_says_what_each_policy_costs(
    checkpoint: Path, succeed: Succeed, tmp_path: Path, cost: str, drawn_plots: None
) -> None:
    data, curve = several(tmp_path / "several.jsonl", 40, 3), tmp_path / "curve.json"
    out = succeed(*certify(checkpoint, data, "--alpha", 0.3, "--no_store", "--curve", curve, "--cost", cost))
    assert "a description, no promise" in out
    values = json.loads(curve.read_text())
    assert (values["cost"], values["problems"]) == (cost, 40)
    first = values["points"][0]
    assert first["policy"] == "the first solution"
    assert first["handed_out"] == 1.0
    assert first["accuracy"] == pytest.approx(1 - first["wrong_and_handed_out"])
    costs = {point["policy"]: point["cost"] for point in values["points"]}
    best = costs["highest product of calibrated confidences of the first 3"]
    assert best == pytest.approx(3 * first["cost"]) if cost == "steps" else best > 2 * first["cost"]
    early = [value for name, value in costs.items() if "stopping above" in name]
    assert early
    assert all(first["cost"] <= value <= best for value in early)
    assert curve.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--promise", "monitor", "--by", "dataset"), "drop --by"),
        (("--promise", "monitor", "--confidence", "0.9"), "delta with the monitor"),
        (("--promise", "selective", "--loss", "soft"), "the soft loss with selective"),
        (("--escalate_above", "0.5"), "--escalate_above is of --promise selective"),
        (("--most", "0"), "most 0; allowed: at least 1"),
        (("--stop_above", "2"), "stop_above 2.0; allowed: 0 to 1"),
    ],
)
def test_contradictions_are_said_before_anything_is_loaded(flags: tuple[str, ...], words: str, fail: Fail) -> None:
    assert words in fail("certify", "--checkpoint", "x", *flags)
