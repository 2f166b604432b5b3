"""`surestep sweep` on the command line; its search is tested in tests/sweep."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from runs import DATA_FLAGS
from surestep.cli.commands.tuning import sweep
from surestep.config import Config

Fail = Callable[..., str]


def test_without_optuna_one_line_says_how_to_get_it(fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep.importlib.util, "find_spec", lambda _name: None)
    assert fail("sweep", "--space", "lora_ranks") == (
        "surestep: surestep sweep needs optuna: pip install 'surestep[sweep]'\n"
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "a sweep needs a space: --space FIELD=VALUES"),
        (["--space", "lora_ranks"], "add --preset lora"),
        (["--space", "learning_rate=log:1e-5..1e-3", "--sampler", "grid"], "has a range without steps"),
        (
            ["--space", "learning_rate=1e-5,1e-4,1e-3", "--sampler", "grid", "--trials", "2"],
            "the grid has 3 combinations",
        ),
        (["--space", "learning_rate=1e-5,1e-4", "--seeds", "0"], "--seeds is 0"),
        (["--show", "--experiment_name", "nothing_there"], "there is no sweep in"),
    ],
)
def test_mistakes_are_one_line(fail: Fail, tmp_path: Path, flags: list[str], said: str) -> None:
    pytest.importorskip("optuna", reason="the extra `sweep` is not installed")
    assert said in fail("sweep", "--output_dir", tmp_path, *flags)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_real_runs_are_compared_shown_and_taken_up_again(
    succeed: Callable[..., str],
    run_files: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    quick_python: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first runs by the quick `surestep`, the one that is taken up again by the command of the product."""
    pytest.importorskip("optuna", reason="the extra `sweep` is not installed")
    monkeypatch.setattr(sweep, "_TRAIN", [str(quick_python / "surestep"), "train"])
    flags = [
        *("--backbone", "builtin:tiny", "--mlp_hidden_dims", "[16]", *DATA_FLAGS),
        *("--own_train", run_files / "train.jsonl", "--own_test", run_files / "test.jsonl"),
        *("--cache_dir", run_files / "cache", "--output_dir", tmp_path, "--experiment_name", "s", "--device", "cpu"),
        *("--tensorboard", "false", "--max_steps", "2", "--batch_size", "2", "--gradient_accumulation_steps", "1"),
        *("--warmup_steps", "0", "--eval_steps", "1", "--bootstrap_resamples", "20"),
    ]
    said = succeed("sweep", *flags, "--space", "init_from=none,/nowhere/checkpoint")
    assert "1 complete, 1 failed" in said
    assert "/nowhere/checkpoint" in said.split("trial 2 failed: ")[-1]
    found = json.loads(succeed_in_json(capsys, "sweep", "--show", "--output_dir", tmp_path, "--experiment_name", "s"))
    (run,) = found["trials"][0]["runs"]
    best = json.loads((tmp_path / "s" / "runs" / "trial_0001_seed_42" / "best_checkpoint.json").read_text())
    assert (run["value"], run["step"]) == (best["value"], best["step"])
    assert run["held_out"]["low"] <= run["held_out"]["value"] <= run["held_out"]["high"]
    assert Config.from_file(tmp_path / "s" / "best_config.json").experiment_name == "s_best"
    # What is lost with the database is only the list of trials: the run itself is taken up again, at its end.
    (tmp_path / "s" / "study.db").unlink()
    monkeypatch.undo()
    succeed("sweep", *flags, "--space", "init_from=none")
    again = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert again["trials"][0]["runs"] == found["trials"][0]["runs"]
    assert "resuming from" in (tmp_path / "s" / "logs" / "trial_0001_seed_42.log").read_text()


def succeed_in_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints to standard output with --json, whatever it says besides."""
    from surestep.cli.main import main

    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0
    return capsys.readouterr().out
