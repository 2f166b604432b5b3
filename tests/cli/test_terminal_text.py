"""Text from data reaches a terminal as text: nothing in it is obeyed, and nothing is hidden."""

from __future__ import annotations

import ast
import io
import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

import surestep
from runs import DATA_FLAGS
from surestep.cli.main import main
from surestep.cli.output.console import VisibleConsole, make_console, say
from surestep.terminal_text import in_one_line, visible

SEQUENCES = {
    "clears the screen": "\x1b[2J\x1b[H",
    "sets the clipboard": "\x1b]52;c;aGVsbG8=\x07",
    "sets the title": "\x1b]0;owned\x07",
    "hides a link": "\x1b]8;;http://127.0.0.1/\x1b\\here\x1b]8;;\x1b\\",
    "sets the title by C1": "\x9d0;owned\x9c",
    "clears the screen by C1": "\x9b2J",
    "turns text round": "\u202eabc\u202c \u2066x\u2069 \u200f",
    "overwrites the line": "honest\rforged",
    "goes back": "a\x08\x08b\x7f",
    "breaks the line elsewhere": "a\x0bb\x0cc\x85d\u2028e\u2029f",
    "is not seen": "a\u200bb\ufeffc\U000e0041d",
    "is markup": "[red]x[/red] [/nothing] :smile:",
}


def obeyed(text: str) -> set[str]:
    """The characters of `text` that a terminal would obey or not show."""
    bidi = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    marks = set("\u061c\u200e\u200f\u200b\ufeff\u2028\u2029\U000e0041")
    return {
        sign
        for sign in text
        if (unicodedata.category(sign) in {"Cc", "Cs"} and sign != "\n")
        or unicodedata.bidirectional(sign) in bidi
        or sign in marks
    }


@given(st.text(st.characters(codec=None)) | st.sampled_from(list(SEQUENCES.values())))
def test_visible_text_holds_nothing_that_is_obeyed_and_loses_nothing(text: str) -> None:
    shown = visible(text)
    assert obeyed(shown) == set()
    assert visible(shown) == shown
    if "\\" not in text and "\t" not in text:
        spelled = json.loads(json.dumps(shown, ensure_ascii=False).replace("\\\\", "\\"))
        assert spelled.encode("utf-16", "surrogatepass") == text.encode("utf-16", "surrogatepass")


@pytest.mark.slow
@given(st.text(st.characters(codec="utf-8")))
def test_json_means_the_same_when_its_text_is_made_visible(text: str) -> None:
    printed = json.dumps({text: text}, ensure_ascii=False, indent=2)
    assert json.loads(visible(printed)) == {text: text}


@pytest.mark.slow
@given(st.text(st.characters(codec="utf-8"), max_size=300), st.integers(20, 100))
def test_an_error_is_one_line_of_bounded_length(text: str, longest: int) -> None:
    line = in_one_line(text, longest=longest)
    assert len(line) <= longest
    assert "\n" not in line
    assert obeyed(line) == set()


@pytest.mark.parametrize("text", SEQUENCES.values(), ids=SEQUENCES)
def test_whatever_a_console_prints_is_visible(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = make_console()
    table = Table(title=text, caption=text)
    table.add_column(text)
    table.add_row(text)
    table.add_row(Text(text))
    for renderable in (text, Text(text), table):
        console.print(renderable)
    console.rule(text)
    say(text)
    captured = capsys.readouterr()
    assert obeyed(captured.out) == set()
    assert captured.err == ""


def test_markup_in_data_is_text_and_no_mistake() -> None:
    screen = io.StringIO()
    console = VisibleConsole(file=screen, width=80)
    table = Table("[bold]")
    table.add_row("[/x] :smile:")
    console.print(table)
    console.print("[/x] :smile:")
    assert screen.getvalue().count("[/x] :smile:") == 2
    assert "[bold]" in screen.getvalue()


def test_styles_of_the_program_still_reach_a_terminal() -> None:
    screen = io.StringIO()
    VisibleConsole(file=screen, force_terminal=True, color_system="standard").print("a\x1bb", style="red")
    assert screen.getvalue() == "\x1b[31ma\\u001bb\x1b[0m\n"


def hostile_rows(sequence: str, count: int = 12) -> str:
    """Problems whose texts, ids, groups and keys all hold `sequence`."""
    rows = [
        {
            "problem": f"{number}: what is {number} + 1{sequence}?",
            "id": f"id {number} {sequence}",
            "group": f"g{number} {sequence}",
            "steps": [
                {"text": f"add {number}{sequence}", "confidence": 1.0},
                {"text": f"so {sequence} {number + number % 3}", "confidence": float(number % 3 == 1)},
            ],
        }
        for number in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command; all that it printed, which holds nothing that a terminal obeys."""

    def run(*arguments: object, codes: tuple[int, ...] = (0,)) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) in codes
        captured = capsys.readouterr()
        text = captured.out + captured.err
        assert obeyed(text) == set()
        assert "Traceback" not in text
        return text

    return run


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES)
def test_inspect_shows_texts_and_keys(printed: Any, tmp_path: Path, sequence: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(hostile_rows(sequence), encoding="utf-8")
    data = ("--own_train", path, "--own_test", path, "--backbone", "builtin:tiny", "--cache_dir", tmp_path / "cache")
    shown = printed("data", "inspect", "own", *DATA_FLAGS, *data)
    assert "what is 0 + 1" in shown
    as_json = printed("data", "inspect", "own", "--json", *DATA_FLAGS, *data)
    assert json.loads(as_json)["splits"]


@pytest.mark.slow
@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES)
def test_messages_with_keys_values_and_names_are_one_visible_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sequence: str
) -> None:
    name = sequence.replace("/", "|")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"training": {f"key{sequence}": 1}, "experiment_name": sequence}), encoding="utf-8")
    rows = tmp_path / f"rows {name}.jsonl"
    rows.write_text(json.dumps({"problem": "1?", "steps": [{"text": "a", "confidence": sequence}]}), encoding="utf-8")
    predictions = tmp_path / f"predictions {name}.jsonl"
    predictions.write_text(json.dumps({"confidence": sequence, "label": 1}), encoding="utf-8")
    own = (*DATA_FLAGS, "--own_train", rows, "--own_test", rows, "--backbone", "builtin:tiny")
    for arguments in (
        ("train", "--config", config),
        ("train", f"--flag{sequence}", "1"),
        ("train", "--experiment_name", sequence),
        (f"command{sequence}",),
        ("data", "inspect", sequence),
        ("data", "inspect", "own", *own),
        ("evaluate", "--checkpoint", tmp_path / name),
        ("evaluate", "--predictions", predictions, "--output_dir", tmp_path / "out"),
        ("compare", tmp_path / name, tmp_path / f"other {name}"),
        ("report", tmp_path / name),
        ("export", "--checkpoint", tmp_path / name, "--output_dir", tmp_path / "exported"),
    ):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as left:
            code = int(left.code or 0)
        captured = capsys.readouterr()
        assert code == 2, arguments
        assert obeyed(captured.out + captured.err) == set(), arguments
        assert captured.err.startswith("surestep"), arguments
        assert "Traceback" not in captured.err


@pytest.mark.slow
@pytest.mark.parametrize("sequence", [SEQUENCES["sets the clipboard"], SEQUENCES["is markup"]])
def test_results_about_hostile_datasets_are_shown(printed: Any, tmp_path: Path, sequence: str) -> None:
    """Names of datasets, ids and steps, through evaluate, compare, report and check."""
    folders = []
    for shift in (0.0, 0.1):
        rows = [
            {"dataset": f"set {sequence}", "problem_id": f"p{n} {sequence}", "problem": f"{n} {sequence}?", "step": 0}
            | {"text": f"step {sequence}", "confidence": (n % 7) / 10 + shift, "label": float(n % 2)}
            for n in range(40)
        ]
        path = tmp_path / f"predictions{shift}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        folder = tmp_path / f"result {shift} {sequence.replace('/', '|')}"
        small = ("--bootstrap_resamples", "20")
        printed("evaluate", "--predictions", path, "--output_dir", folder, *small)
        shutil.copy(path, folder / "predictions.jsonl")
        printed("report", folder)
        folders.append(folder)
    printed("compare", *folders)
    assert json.loads(printed("compare", *folders, "--json"))


@pytest.mark.slow
def test_nothing_in_the_source_prints_past_it() -> None:
    """`print`, `sys.stdout.write` and consoles of rich's own stand only where the text is made visible."""
    source = Path(surestep.__file__).parent
    found = []
    for path in sorted(source.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called not in {"print", "sys.stdout.write", "sys.stderr.write", "Console", "rich.print"}:
                continue
            text = ast.unparse(node)
            is_made_visible = "visible(" in text or "in_one_line(" in text or not node.args
            is_constant = bool(node.args) and isinstance(node.args[0], ast.Constant)
            if called in {"print", "sys.stdout.write", "sys.stderr.write"} and not (is_made_visible or is_constant):
                found.append(f"{path.relative_to(source)}, line {node.lineno}: {text[:80]}")
            if called in {"Console", "rich.print"}:
                found.append(f"{path.relative_to(source)}, line {node.lineno}: {text[:80]}")
    assert found == []
