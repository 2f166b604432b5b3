"""The recipes of CONTRIBUTING.md: a dataset is one file and one entry, and so is a layout of files.

Each is followed in a copy of the package, and every command that must know the newcomer is run there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import surestep

DATASET = '''
"""Questions whose facts were judged yes or no."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from surestep.data.datasets.dataset import Dataset, RemoteFile, SplitPlan, SplitRequest, Weight
from surestep.data.records.record import as_paths, read_records
from surestep.settings import Section
from surestep.types import ReasoningTree, chain

VERSION = 1


def read_facts(paths, *, report, bad_rows="stop", unsure=0.5) -> Iterator[ReasoningTree]:
    values = {"yes": 1.0, "no": 0.0, "unsure": unsure}
    for path in as_paths(paths):
        for record in read_records(path):
            report.count("records")
            yield chain(record.text("question"), record.items("facts"), [values[v] for v in record.items("verdicts")])


class Fields(Section):
    use_facts: bool = Field(False, description="Facts: judged yes or no.")
    facts_weight: Weight = Field(0.25, description="Share of the facts.")
    facts_dir: Path | None = Field(None, description="The facts' folder.")
    facts_unsure: float = Field(0.5, ge=0.0, le=1.0, description="Confidence of an unsure verdict.")


def _options(fields: Fields) -> dict[str, float]:
    return {"unsure": fields.facts_unsure}


def _splits(fields: Fields, request: SplitRequest) -> SplitPlan:
    if request.split == "test":
        return SplitPlan(names=("facts_test.jsonl",))
    return SplitPlan(names=("facts_train.jsonl",), divisions=(request.hold_out,))


DATASET = Dataset(
    name="facts",
    title="questions whose facts were judged",
    spelling="FACTS",
    licence="CC0",
    page="https://facts.invalid",
    read=read_facts,
    version=str(VERSION),
    fields=Fields,
    options=_options,
    splits=_splits,
    inner_folders=("inside",),
    language="en",
    files=(RemoteFile("facts_train.jsonl", None), RemoteFile("facts_test.jsonl", None)),
)
'''

LAYOUT = '''
"""Chats: the first message is the problem, the others are steps with a verdict."""

from surestep.data.datasets.dataset import Dataset
from surestep.data.records.record import as_paths, read_records
from surestep.types import chain

VERSION = 1


def read_chat_steps(paths, *, report, bad_rows="stop"):
    for path in as_paths(paths):
        for record in read_records(path):
            report.count("records")
            first, *steps = record.items("messages")
            yield chain(first["text"], [step["text"] for step in steps], [step["right"] for step in steps])


DATASET = Dataset(name="chat_steps", title="chats whose messages are steps", read=read_chat_steps, version=str(VERSION))
'''

RUN = """
import contextlib, io, json, sys
from surestep.cli.main import main

def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = stop.code
    return [code, out.getvalue(), err.getvalue()]

print(json.dumps([run(*arguments) for arguments in json.load(sys.stdin)]))
"""


IN_THE_COPY = """
import sys
for name in [name for name in sys.modules if name.partition(".")[0] == "surestep"]:
    del sys.modules[name]
sys.path.insert(0, {folder!r})
import surestep
assert surestep.__file__.startswith({folder!r})
"""
"""The quick interpreter holds the package of this tree."""

PAGE_AND_CARD = """
import json
from surestep.config.reference import reference_markdown
from surestep.evaluation.report.model_card import _used

print(json.dumps([reference_markdown(), str(_used('facts', 'training', ''))]))
"""


class Copy:
    """A copy of the package in which a recipe is followed."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder = folder
        self._python = python
        shutil.copytree(Path(surestep.__file__).parent, folder / "surestep")

    def add(self, name: str, text: str) -> None:
        """One file and one entry."""
        datasets = self.folder / "surestep" / "data" / "datasets"
        (datasets / f"{name}.py").write_text(text.lstrip(), encoding="utf-8")
        table = (datasets / "__init__.py").read_text(encoding="utf-8")
        assert table.count('    "math500",\n') == 1
        table = table.replace('    "math500",\n', f'    "math500",\n    "{name}",\n')
        (datasets / "__init__.py").write_text(table, encoding="utf-8")

    def python(self, code: str, given: Any = None) -> str:
        """What `code` prints, run on the copy."""
        done = subprocess.run(
            [self._python, "-c", IN_THE_COPY.format(folder=str(self.folder)) + code],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def commands(self, *commands: list[str]) -> list[tuple[int, str, str]]:
        """Exit code, output and complaints of each `surestep` command."""
        return [(code, out, err) for code, out, err in json.loads(self.python(RUN, commands))]


@pytest.fixture
def copy(tmp_path: Path, quick_python: Path) -> Copy:
    return Copy(tmp_path / "copy", quick_python / "python")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_dataset_is_one_file_and_one_entry(copy: Copy, tmp_path: Path) -> None:
    copy.add("facts", DATASET)
    mirror, data = tmp_path / "mirror", tmp_path / "data"
    for split, count in (("train", 40), ("test", 5)):
        rows = [{"question": f"{split} {n}?", "facts": ["a", "b"], "verdicts": ["yes", "unsure"]} for n in range(count)]
        write(mirror / f"facts_{split}.jsonl", rows)
    elsewhere = write(tmp_path / "elsewhere" / "inside" / "facts_train.jsonl", rows)
    flags = ["--data_dir", str(data), "--use_prm800k", "false", "--use_eqasc", "false", "--backbone", "builtin:tiny"]
    flags += ["--cache_dir", str(tmp_path / "cache"), "--validation_fraction", "0.25"]
    mixture = ["--use_facts", "--use_arithmetic", "--arithmetic_weight", "0.75", "--arithmetic_problems", "9"]
    listed, missing, fetched, looked, moved, typo, own = copy.commands(
        ["data", "list", "--json", "--use_facts", "--data_dir", str(data)],
        ["data", "inspect", "facts", *flags],
        ["data", "fetch", "facts", "--data_dir", str(data), "--from", str(mirror)],
        ["data", "inspect", "--json", *flags, *mixture, "--facts_unsure", "0.25"],
        ["data", "inspect", "facts", "--json", *flags, "--facts_dir", str(elsewhere.parents[1])],
        ["train", "--facts_unsure", "2"],
        ["data", "inspect", "own", *flags, "--own_train", str(mirror / "facts_train.jsonl"), "--own_name", "facts"],
    )
    row = next(row for row in json.loads(listed[1])["datasets"] if row["name"] == "facts")
    assert (row["licence"], row["enabled"]) == ("CC0", True)
    assert row["share"] == pytest.approx(0.25)
    assert "facts: no facts_train.jsonl" in missing[2]
    assert "surestep data fetch facts" in missing[2]
    assert fetched[0] == 0, fetched[2]
    assert (data / "facts" / "facts_train.jsonl").is_file()
    assert looked[0] == 0, looked[2]
    run = json.loads(looked[1])["run"]
    assert {name: found["share_of_loss"] for name, found in run["datasets"].items()} == {
        "facts": pytest.approx(0.25),
        "arithmetic": pytest.approx(0.75),
    }
    assert run["selection"]["facts"]["problems_read"] + run["validation"]["facts"]["problems"] == 40
    (train,) = (s for s in json.loads(looked[1])["splits"] if (s["dataset"], s["split"]) == ("facts", "train"))
    assert train["options"] == {"unsure": 0.25}
    assert {value for value, _ in train["description"]["common_labels"]} == {1.0, 0.25}
    assert json.loads(moved[1])["splits"][0]["files"] == [str(elsewhere)]
    assert "facts_unsure is 2; allowed: less than or equal to 1" in typo[2]
    assert "own_name is 'facts', which is the name of a built-in dataset" in own[2]
    page, card = json.loads(copy.python(PAGE_AND_CARD))
    assert "| `data.facts_unsure` | a number from 0, up to 1 | `0.5` |" in page
    assert "`facts`" in next(line for line in page.splitlines() if line.startswith("| `data.own_format`"))
    assert "licence='CC0'" in card


@pytest.mark.slow
def test_a_layout_is_one_file_and_one_entry(copy: Copy, tmp_path: Path) -> None:
    copy.add("chat_steps", LAYOUT)
    messages = [{"text": "It is 2.", "right": 1.0}, {"text": "So 3.", "right": 0.0}]
    rows = [{"messages": [{"text": f"What is {number}?"}, *messages]} for number in range(10)]
    path = write(tmp_path / "chats.jsonl", rows)
    flags = ["--own_train", str(path), "--own_format", "chat_steps", "--backbone", "builtin:tiny"]
    looked, typo, unknown, threshold, calibrate = copy.commands(
        ["data", "inspect", "own", "--json", *flags, "--cache_dir", str(tmp_path / "cache")],
        ["data", "inspect", "own", *flags, "--own_format", "chat"],
        ["data", "inspect", "chat_steps"],
        ["benchmark", "processbench", "--data", str(path), "--threshold_format", "chat"],
        ["calibrate", "--checkpoint", str(tmp_path), "--data", str(path), "--format", "chat"],
    )
    assert looked[0] == 0, looked[2]
    assert json.loads(looked[1])["run"]["selection"]["own"]["labels_read"] == 18
    assert "'chat_steps'" in typo[2]
    assert "unknown dataset chat_steps" in unknown[2], "a layout is not in the mixture"
    assert "chat_steps" in threshold[2]
    assert "chat_steps" in calibrate[2]
