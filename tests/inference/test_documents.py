"""The examples of the documents run, and the generated reference is current."""

from __future__ import annotations

import doctest
import runpy
import shutil
from pathlib import Path

import pytest

from documents import blocks_of
from surestep import Scorer

DOCS = Path(__file__).resolve().parents[2] / "docs"
_WRITER = runpy.run_path(str(DOCS / "python_reference.py"))
PUBLIC, reference_markdown = _WRITER["PUBLIC"], _WRITER["reference_markdown"]


@pytest.fixture
def outputs(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a run of the name that examples use."""
    shutil.copytree(run_folder, tmp_path / "outputs" / "mine")
    monkeypatch.chdir(tmp_path)


def test_the_page_is_what_the_docstrings_say_now() -> None:
    assert (DOCS / "reference" / "python.md").read_text(encoding="utf-8") == reference_markdown(), "run `make docs`"


def test_every_public_name_has_its_section_and_every_argument_a_word() -> None:
    page = reference_markdown()
    for public in PUBLIC:
        assert f"## `{public.__name__}" in page
    for name in (
        "path",
        "revision",
        "device",
        "calibrated",
        "token_budget",
        "items",
        "at_once",
        "candidates",
        "by",
        "split",
    ):
        assert f"- `{name}`: " in page
    assert "= _empty" not in page
    assert " object at 0x" not in page


@pytest.mark.parametrize(
    "page", [DOCS / "how-to" / "use-my-model.md", DOCS.parent / "README.md"], ids=lambda page: page.name
)
def test_the_examples_of_a_page_run(page: Path, outputs: None, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [
        block.code for block in blocks_of(page.read_text(encoding="utf-8")) if "from surestep import" in block.code
    ]
    assert blocks
    for code in blocks:
        exec(compile(code, page.name, "exec"), {})
    assert capsys.readouterr().out


def test_the_example_of_the_class_runs(outputs: None) -> None:
    names = {"Scorer": Scorer}
    examples = doctest.DocTestParser().get_examples(Scorer.__doc__ or "")
    assert len(examples) == 3
    for example in examples[:-1]:
        exec(example.source, names)
    confidences, least, first = eval(examples[-1].source, names)
    assert least == min(confidences)
    assert first in {None, 0, 1}
