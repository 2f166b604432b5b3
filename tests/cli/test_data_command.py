"""`surestep data`: what a user sees, for people and for machines, and one line for every mistake."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from surestep.cli.main import main
from surestep.data import datasets
from surestep.data.datasets.dataset import Dataset, RemoteFile

OWN = [
    {"problem": f"problem {number}", "steps": ["first", "second"], "confidences": [1.0, number % 2]}
    for number in range(20)
]


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in OWN), encoding="utf-8")
    return path


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder holding the only file of a made-up dataset."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / "toy.jsonl").write_text('{"a": 1}\n', encoding="utf-8")
    checksum = hashlib.sha256((folder / "toy.jsonl").read_bytes()).hexdigest()
    files = (RemoteFile("toy.jsonl", None, 9, checksum),)
    toy = Dataset("toy", "a toy", licence="CC0", page="https://toy.invalid", files=files)
    monkeypatch.setitem(datasets.PUBLIC_DATASETS, "toy", toy)
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["data", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_list_names_every_dataset_with_licence_and_command(capsys, tmp_path: Path) -> None:
    code, out, _ = run(capsys, "list", "--data_dir", str(tmp_path))
    assert code == 0
    for name in ("prm800k", "eqasc", "reveal", "processbench", "math500", "arithmetic"):
        assert name in out
    assert "surestep data fetch prm800k" in out
    assert "not as a training set" in out


def test_every_set_that_is_listed_says_what_it_may_be_used_for(capsys, tmp_path: Path) -> None:
    """Each with its licence and page, and a way to get it: nothing is offered that cannot be fetched."""
    _, out, _ = run(capsys, "list", "--json", "--data_dir", str(tmp_path))
    rows = json.loads(out)["datasets"]
    assert {"mr_ben", "big_bench_mistake", "hard2verify", "prmbench", "mmlu_pro_cot"} <= {row["name"] for row in rows}
    for row in rows:
        assert all(row[said] for said in ("licence", "may_be_used_for")), row["name"]
        assert row["page"].startswith("https://")
        assert row["how"] == f"surestep data fetch {row['name']}" or row["name"] == "reveal"
        files = datasets.DATASETS[row["name"]].files
        assert files
        assert all(file.url or row["name"] == "reveal" for file in files)
    assert {row["name"]: row["use"] for row in rows}["hard2verify"] == "not for training"
    _, out, _ = run(capsys, "list", "--data_dir", str(tmp_path))
    assert "    for      a test; its labels name the first mistake only" in out


def test_list_as_json_tells_files_and_rows(capsys, tmp_path: Path) -> None:
    (tmp_path / "PRM800K").mkdir()
    (tmp_path / "PRM800K" / "phase1_test.jsonl").write_text("{}\n{}\n", encoding="utf-8")
    _, out, _ = run(capsys, "list", "--json", "--data_dir", str(tmp_path))
    rows = {row["name"]: row for row in json.loads(out)["datasets"]}
    assert [(file["num_bytes"], file["num_rows"]) for file in rows["prm800k"]["files"]] == [(6, 2)]
    assert rows["prm800k"]["enabled"]
    assert not rows["reveal"]["enabled"]


def test_fetch_shows_the_licence_and_checks(capsys, tmp_path: Path, mirror: Path) -> None:
    code, out, _ = run(capsys, "fetch", "toy", "--from", str(mirror), "--data_dir", str(tmp_path / "data"))
    assert code == 0
    assert out.index("Licence: CC0") < out.index("sha256 matches")
    assert (tmp_path / "data" / "toy" / "toy.jsonl").read_text() == '{"a": 1}\n'


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fetch", "nothing"], ["unknown dataset nothing", "prm800k"]),
        (["fetch", "prm800k", "--only", "phase9*"], ["--only phase9*", "phase1_train.jsonl"]),
        (["fetch", "reveal"], ["agree to the terms", "--from FILE"]),
        (["fetch", "toy"], ["cannot be downloaded"]),
        (["inspect", "nothing"], ["unknown dataset nothing"]),
        (["inspect", __file__], ["unknown dataset", f"surestep data inspect own --own_train {__file__}"]),
        (["inspect", "prm800k"], ["phase2_train.jsonl", "surestep data fetch prm800k"]),
        (["inspect", "--use_prm800k", "false", "--use_eqasc", "false"], ["every dataset is off"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, tmp_path: Path, mirror: Path, arguments, words) -> None:
    code, _, err = run(capsys, *arguments, "--data_dir", str(tmp_path))
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith("surestep: ")
    for word in words:
        assert word in err


def test_inspect_shows_counts_report_and_examples(capsys, own_file: Path) -> None:
    code, out, _ = run(capsys, "inspect", "own", "--own_train", str(own_file), "--examples", "1")
    assert code == 0
    for words in ("own train", "own validation", "20 records read", "1.00  first", "overlap: 0 of"):
        assert words in out
    assert "not there: test: " in out


def test_inspect_as_json_holds_every_figure(capsys, own_file: Path) -> None:
    flags = ["--own_train", str(own_file), "--own_test", str(own_file), "--json"]
    _, out, _ = run(capsys, "inspect", "own", *flags)
    values = json.loads(out)
    splits = {split["split"]: split for split in values["splits"]}
    assert splits["train"]["description"]["num_trees"] + splits["validation"]["description"]["num_trees"] == 20
    assert splits["test"]["report"]["counts"]["records"] == 20
    assert len(splits["test"]["fingerprint"]) == 64
    shared = {(pair["first"], pair["second"]): pair["num_shared"] for pair in values["overlaps"]}
    # The same file as train and test: every training problem is also a test problem.
    assert shared["own train", "own test"] == splits["train"]["description"]["num_trees"]
    assert shared["own train", "own validation"] == 0


def test_inspect_names_file_and_line_of_a_broken_record(capsys, own_file: Path) -> None:
    lines = own_file.read_text(encoding="utf-8").splitlines()
    lines[16] = lines[16].replace("1.0", "1.7", 1)
    own_file.write_text("\n".join(lines), encoding="utf-8")
    code, _, err = run(capsys, "inspect", "own", "--own_train", str(own_file))
    assert code == 2
    assert f"{own_file}, line 17: confidence 1 is 1.7; allowed: a number from 0 to 1" in err
