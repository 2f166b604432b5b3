"""`--scorer` in evaluate, calibrate, benchmark and compare: one scorer after another on the same steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reward_models import save_reward_model
from surestep.cli.main import main
from surestep.cli.scorers import KINDS, parse_spec
from surestep.client.wire import WIRE_PROTOCOLS
from surestep.errors import ConfigError

DATA = [
    *("--use_prm800k", "false", "--use_eqasc", "false", "--use_arithmetic", "true"),
    *("--arithmetic_eval_problems", "40", "--seed", "1"),
]
SETTINGS = [
    *DATA,
    *("--bootstrap_resamples", "5", "--baselines", "false", "--report", "false", "--save_predictions", "true"),
]
FUNCTION = """
def score(problem, steps):
    return [0.9 if sum(map(ord, step)) % 3 else 0.2 for step in steps]
"""
SOLUTIONS = [
    {"id": f"gsm8k-{i}", "problem": f"What is {i} + 1?", "steps": ["First.", f"It is {i + 1}."], "label": label}
    for i, label in enumerate([-1, 1] * 3)
]


@pytest.fixture
def surestep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command in an empty folder with a module `mine`; its exit code and all that it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "mine.py").write_text(FUNCTION)
    (tmp_path / "gsm8k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SOLUTIONS))

    def call(*arguments: str) -> tuple[int, str]:
        code = main([*arguments])
        printed = capsys.readouterr()
        return code, " ".join((printed.out + printed.err).split())

    return call


@pytest.mark.slow
def test_a_function_is_evaluated_calibrated_compared_and_benchmarked(
    surestep: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    scorer = ("--scorer", "python:mine:score")
    code, said = surestep("evaluate", *scorer, *SETTINGS)
    assert code == 0, said
    assert "runs your own code (mine:score)" in said
    (folder,) = (tmp_path / "outputs").iterdir()
    plain = json.loads((folder / "eval_metrics.json").read_text())
    assert plain["scorer"]["spec"] == "python:mine:score"
    assert plain["cost"]["steps"] == plain["overall"]["num_steps"] > 100
    assert plain["calibration"]["applied"] == "none"

    code, said = surestep("calibrate", *scorer, *DATA)
    assert code == 0, said
    file = folder / "calibration.json"
    assert f"--calibration_file {file.relative_to(tmp_path)}" in said

    calibrated = ("--calibration_file", str(file), "--output_dir", "outputs/eval_with_map")
    code, said = surestep("evaluate", *scorer, *SETTINGS, *calibrated)
    assert code == 0, said
    mapped = json.loads((tmp_path / "outputs/eval_with_map/eval_metrics.json").read_text())
    assert mapped["calibration"]["applied"] == "pooled"
    assert mapped["calibration"]["before"]["overall"]["nll"] == pytest.approx(plain["overall"]["nll"])
    assert mapped["overall"]["nll"] < plain["overall"]["nll"]
    assert mapped["overall"]["auroc"] == plain["overall"]["auroc"], "the order is the scorer's own"

    code, said = surestep("compare", str(folder), "outputs/eval_with_map", "--json")
    assert code == 0, said
    runs = json.loads(said)["runs"]
    assert [run["calibration"] for run in runs] == ["pooled", "none"]
    assert all(run["cost"]["steps"] == plain["cost"]["steps"] for run in runs)
    assert surestep("compare", *scorer, "--json")[0] == 0
    code, said = surestep("compare", *scorer)
    assert "pooled" in said, "the latest one, with its map, tokens and seconds"

    code, said = surestep("benchmark", "processbench", "--data", "gsm8k.jsonl", *scorer, "--resamples", "10")
    assert code == 0, said
    found = json.loads((folder / "processbench.json").read_text())
    assert found["scorer"]["sha256"] == plain["scorer"]["sha256"]
    assert found["cost"]["steps"] == 12
    assert "scoring took" in said


def test_a_model_of_another_form_is_benchmarked_from_a_file_of_its_own(
    surestep: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    save_reward_model("trl", tmp_path / "model")
    (tmp_path / "prm.json").write_text(json.dumps({"form": "trl", "path": "model", "tag": "\n\n"}))
    arguments = ("benchmark", "processbench", "--data", "gsm8k.jsonl", "--scorer", "prm.json", "--device", "cpu")
    code, said = surestep(*arguments, "--resamples", "10", "--output_dir", "out")
    assert code == 0, said
    assert "scorer trl: packed" in said
    found = json.loads((tmp_path / "out" / "processbench.json").read_text())
    assert found["scorer"]["settings"]["tag"] == "\n\n"
    assert found["cost"]["tokens_read"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate"], "name one of --checkpoint FOLDER, --predictions FILE, --scorer FORM:PATH"),
        (["evaluate", "--scorer", "trl:x", "--checkpoint", "y"], "--checkpoint and --scorer exclude each other"),
        (["evaluate", "--scorer", "nothing:x"], "the form 'nothing' is unknown; allowed: qwen-prm|"),
        (["evaluate", "--scorer", "qwen-prm"], "names no path"),
        (["evaluate", "--scorer", "not_there.json"], "not_there.json cannot be read"),
        (["evaluate", "--scorer", "http+score:"], "names no url"),
        (["evaluate", "--scorer", "http+soap:http://s"], "http+soap is unknown"),
        (["evaluate", "--scorer", "trl:./not_there"], "no such folder"),
        (["evaluate", "--scorer", "python:mine:other"], "has no function other"),
        (["evaluate", "--scorer", "python:mine:score", "--calibration", "dataset"], "needs --calibration_file"),
        (["evaluate", "--scorer", "python:mine:score", "--calibration_file", "x.json"], "x.json cannot be read"),
        (["evaluate", "--checkpoint", "x", "--calibration_file", "y"], "is the map of --scorer"),
        (["benchmark", "processbench", "--data", "gsm8k.jsonl"], "name one of --checkpoint"),
        (["benchmark", "best-of-n", "--data", "x", "--scorer", "a:b", "--checkpoint", "y"], "exclude each other"),
        (["calibrate"], "name one of --checkpoint FOLDER, --scorer FORM:PATH"),
        (["calibrate", "--scorer", "trl:x", "--remove"], "--remove takes a map out of a checkpoint"),
        (["calibrate", "--checkpoint", "x", "--output", "y"], "a checkpoint keeps its own"),
        (["compare"], "name what is compared"),
        (["compare", "--scorer", "trl:x"], "holds no evaluation of the scorer trl:x"),
    ],
)
def test_a_mistake_is_one_line_with_exit_code_2(
    arguments: list[str], words: str, surestep: Callable[..., tuple[int, str]]
) -> None:
    code, said = surestep(*arguments)
    assert code == 2
    assert words in said


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"path": "x"}, "the form None is unknown"),
        ({"form": "trl"}, "path is None; allowed: text"),
        ({"form": "http+score", "path": "x"}, "url is None"),
        ({"form": "trl", "path": "x", "calibration": 3}, "calibration is 3"),
        ([], "holds no object"),
    ],
)
def test_a_file_that_names_no_scorer_is_refused(values: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "scorer.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ConfigError) as raised:
        parse_spec(str(path))
    assert words in str(raised.value)


def test_what_a_file_names_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = tmp_path / "scorer.json"
    path.write_text(json.dumps({"form": "trl", "path": "model", "calibration": "map.json", "tag": "\n\n"}))
    spec = parse_spec(str(path))
    assert (spec.target, spec.calibration) == (str(tmp_path / "model"), tmp_path / "map.json")
    assert spec.fields == {"tag": "\n\n"}


def test_every_form_and_protocol_is_documented_and_can_be_named() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "compare-scorers.md").read_text(encoding="utf-8")
    for form in (*KINDS, *(f"http+{name}" for name in WIRE_PROTOCOLS)):
        assert f"`{form}:" in page or f"`{form}`" in page, form
