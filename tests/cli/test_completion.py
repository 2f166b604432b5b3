"""The shell completes commands, actions, flags and choices, as they are now."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from surestep.cli.completion import SHELLS, completion_script
from surestep.cli.main import COMMANDS, main


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "surestep.bash"
    path.write_text(completion_script("bash"), encoding="utf-8")
    return path


def completed(script: Path, *words: str) -> list[str]:
    """What bash offers at the last of `words`."""
    code = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _surestep; printf "%s\\n" "${COMPREPLY[@]}"'
    ran = subprocess.run(
        ["bash", "-u", "-c", code, "bash", script, "surestep", *words], capture_output=True, text=True, check=True
    )
    assert not ran.stderr
    return ran.stdout.split()


def test_commands_are_completed(script: Path) -> None:
    assert completed(script, "") == list(COMMANDS)
    assert completed(script, "-") == ["--help", "--version", "--print_completion"]
    assert completed(script, "ev") == ["evaluate"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("train", "--max_st"), ["--max_steps_per_example", "--max_steps"]),
        (("train", "--max_steps", "5", "--early"), ["--early_stopping_patience"]),
        (("train", "--device", ""), ["auto", "cpu", "cuda"]),
        (("train", "--preset", "l"), ["lora"]),
        (("demo", "--device", "c"), ["cpu", "cuda"]),
        (("data", ""), ["list", "fetch", "inspect"]),
        (("data", "in"), ["inspect"]),
        (("benchmark", "pr"), ["processbench", "prmbench"]),
        (("--print_completion", ""), list(SHELLS)),
        (("evaluate", "--checkpoint", ""), []),  # a path: bash's own completion of files goes on
        (("no_such_command", "--"), []),
    ],
)
def test_flags_and_choices_are_completed(script: Path, words: tuple[str, ...], offered: list[str]) -> None:
    found = completed(script, *words)
    assert sorted(found) == sorted(offered)


def test_flags_of_an_action_are_its_own(script: Path) -> None:
    assert "--official_layout" in completed(script, "benchmark", "prmbench", "--")
    assert "--official_layout" not in completed(script, "benchmark", "processbench", "--")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--print_completion", shell])
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert printed == completion_script(shell)
    assert ("bashcompinit" in printed) == (shell == "zsh")
    subprocess.run(["bash", "-n"], input=printed, text=True, check=True)
