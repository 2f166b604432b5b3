"""A mistyped command or flag is refused in one line that names what was probably meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import surestep
from surestep.cli.main import COMMANDS, main


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evalute", "--checkpoint", "x"], ["'evalute'", "did you mean evaluate?"]),
        (["train", "--batchsize", "3"], ["--batchsize", "did you mean --batch_size?"]),
        (["evaluate", "--outputdir=x"], ["--outputdir", "did you mean --output_dir?"]),
        (["bench", "trian"], ["'trian'", "did you mean train?", "score"]),
        (["data", "lst"], ["'lst'", "did you mean list?"]),
        (["train", "--zzzz"], ["--zzzz", "--help"]),
        (["rerank", "x.jsonl", "--by", "none"], ["invalid choice: 'none'", "'min'"]),
        (["evaluate", "--split", "none"], ["invalid choice: 'none'", "'validation'"]),
        ([], ["COMMAND", "--help"]),
    ],
)
def test_one_line_says_what_was_meant(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    for word in words:
        assert word in shown.err
    assert ("did you mean" in shown.err) == any("did you mean" in word for word in words)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_a_flag_once_with_what_it_takes(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    described = [line for line in shown.splitlines() if line.startswith("  --")]
    for line in described:
        names = re.findall(r"--[\w.-]+", line)
        assert not any("-" in name[2:] for name in names), "the spelling with dashes is the same flag"
        assert not re.search(r"--[\w.]+ [^-].*, --", line.strip().split("  ")[0]), (
            "the value stands behind the last name"
        )
    assert shown.splitlines().index("") <= 3, "the usage line does not list the flags, which follow"


LONG = [("calibrate",), ("benchmark", "first-error"), ("data", "inspect"), ("train",)]


@pytest.mark.parametrize("width", [50, 80])
@pytest.mark.parametrize("command", LONG, ids=" ".join)
def test_no_flag_is_wider_than_the_terminal(
    command: tuple[str, ...], width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does breaking its names and values over lines lose one of them."""
    shown = {}
    for columns in (width, 1000):
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        shown[columns] = capsys.readouterr().out
    words = max((len(word) for word in re.findall(r"[^\s,|{}]+", shown[width])), default=0)
    assert max(map(len, shown[width].splitlines())) <= max(width, words + 6)
    for columns, text in shown.items():
        shown[columns] = re.sub(r"\s+", "", text.partition("options:")[2])
    assert shown[width] == shown[1000]


def test_help_says_which_values_a_flag_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    shown = capsys.readouterr().out
    for words in ("auto|cpu|cuda", "debug|info|warning|error", "min|product|mean|last", "any|chatml|llama3|gemma"):
        assert words in shown


@pytest.mark.parametrize("command", ["score", "rerank"])
def test_help_shows_a_row_of_the_file(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert '{"problem": "12 + 3 = ?",' in capsys.readouterr().out


def test_every_command_that_prints_a_table_prints_json_too() -> None:
    """Found by what its module uses, so that a new table without the flag is seen."""
    source = Path(surestep.__file__).parent / "cli" / "commands"
    tables = ("FittedTable(", "metrics_table(", "all_candidates_table(", "print_result(")
    without = [
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if any(table in (text := path.read_text(encoding="utf-8")) for table in tables)
        and not re.search(r"args\.json|as_json", text)
    ]
    assert without == []


SCORING = ["evaluate", "calibrate", "certify", "check", "score", "rerank", "generate", "serve", "watch"]


@pytest.mark.parametrize("command", [*SCORING, "benchmark processbench", "benchmark best-of-n"])
def test_what_scores_can_be_told_not_to_record_its_passes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever says `--cuda_graphs false` in a line has that flag."""
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    assert "--cuda_graphs" in capsys.readouterr().out
