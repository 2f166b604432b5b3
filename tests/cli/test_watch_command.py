"""`surestep watch`: new problems after certifying, look by look; a change of scores, and labels against the promise."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surestep.cli.main import main

Succeed = Callable[..., str]
Fail = Callable[..., str]


class Problems:
    """Problems of two steps with the scores of a scorer of nobody's, in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.random = np.random.default_rng(3)
        self.count = 0

    def written(
        self, name: str, number: int, *, shift: float = 0.0, wrong: float = 0.3, labelled: bool = True
    ) -> tuple[Path, Path]:
        """The files of data and scores; `wrong` of the problems have a wrong last step."""
        rows, scores = [], []
        for _ in range(number):
            self.count += 1
            is_wrong = self.random.random() < wrong
            label = (1.0, 0.0 if is_wrong else 1.0) if labelled else (None, None)
            steps = [{"text": f"step {n} of {self.count}", "confidence": one} for n, one in enumerate(label)]
            values = 1 / (1 + np.exp(-(self.random.normal(0, 1, 2) + 1 - 1.5 * is_wrong + shift)))
            rows.append({"id": str(self.count), "problem": f"watched {self.count}: how much?", "steps": steps})
            scores.append({"id": str(self.count), "confidences": values.tolist()})
        data, predictions = self.folder / f"{name}.jsonl", self.folder / f"{name}.scores.jsonl"
        for path, lines in ((data, rows), (predictions, scores)):
            path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return data, predictions


@pytest.fixture
def problems(tmp_path: Path) -> Problems:
    return Problems(tmp_path)


@pytest.fixture(scope="module")
def _certified_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Problems, Path]:
    """Where the problems of calibration lie, with their certificate, and who continues with other problems."""
    made = Problems(tmp_path_factory.mktemp("certified"))
    data, predictions = made.written("calibration", 200)
    path = made.folder / "certificate.json"
    common = ("--predictions", predictions, "--data", data, "--alpha", 0.1, "--score", "min", "--out", path)
    assert main(["certify", *map(str, common)]) == 0
    return made, path


@pytest.fixture
def certificate(problems: Problems, _certified_once: tuple[Problems, Path], tmp_path: Path) -> Path:
    """A certificate of 200 problems, with their files beside it; `problems` goes on with others."""
    made, kept = _certified_once
    for path in made.folder.iterdir():
        shutil.copy(path, tmp_path)
    problems.count = made.count
    problems.random = copy.deepcopy(made.random)
    return tmp_path / kept.name


def look(certificate: Path, files: tuple[Path, Path], *flags: object) -> list[object]:
    return ["watch", "--certificate", certificate, "--data", files[0], "--predictions", files[1], *flags]


def test_where_nothing_changes_it_says_what_it_does_not_know(
    problems: Problems, certificate: Path, succeed: Succeed
) -> None:
    out = succeed(*look(certificate, problems.written("same", 60)))
    assert "no change of scores found" in out
    assert "60 new problems beside 200 of calibration" in out
    assert "says nothing about labels" in out
    assert "no evidence against the promise so far" in out
    assert "that is no proof of safety" in out
    without = succeed(*look(certificate, problems.written("unlabelled", 20, labelled=False)))
    assert "without labels nothing is known of the risk" in without


def test_changed_scores_and_broken_promises_warn(problems: Problems, certificate: Path, succeed: Succeed) -> None:
    out = succeed(*look(certificate, problems.written("higher", 120, shift=2.5)), code=1)
    assert "the scores have changed" in out
    assert "only labels can say" in out
    assert "the promise is broken" in out
    assert "certify again" in out
    harmless = succeed(*look(certificate, problems.written("lower", 120, shift=-2.5)), code=1)
    assert "the scores have changed" in harmless
    assert "no evidence against the promise" in harmless


def test_looks_go_on_where_the_last_one_ended(
    problems: Problems, certificate: Path, succeed: Succeed, tmp_path: Path
) -> None:
    first, second = problems.written("first", 30), problems.written("second", 30)
    both = tmp_path / "both.jsonl", tmp_path / "both.scores.jsonl"
    for whole, one, other in zip(both, first, second, strict=True):
        whole.write_text(one.read_text() + other.read_text(), encoding="utf-8")
    state, at_once = tmp_path / "state.json", tmp_path / "at_once.json"
    succeed(*look(certificate, first, "--state", state))
    out = succeed(*look(certificate, both, "--state", state))
    assert "60 new problems beside 200 of calibration" in out
    assert "30 problems were looked at before: not counted again" in out
    succeed(*look(certificate, both, "--state", at_once))
    assert json.loads(state.read_text()) == json.loads(at_once.read_text())


def test_a_warning_stays(problems: Problems, certificate: Path, succeed: Succeed, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    succeed(*look(certificate, problems.written("higher", 120, shift=2.5), "--state", state), code=1)
    out = succeed(*look(certificate, problems.written("same", 20), "--state", state), code=1)
    assert "the scores have changed" in out


def test_the_state_of_another_certificate_and_damaged_files_are_refused(
    problems: Problems, certificate: Path, succeed: Succeed, fail: Fail, tmp_path: Path
) -> None:
    files, state = problems.written("same", 10), tmp_path / "state.json"
    succeed(*look(certificate, files, "--state", state))
    values: dict[str, Any] = json.loads(state.read_text())
    group = values["groups"]["all"]
    for change in (
        {"certificate": "0" * 64},
        {"format_version": 7},
        {"groups": {}},
        {"groups": {"all": None}},
        {"groups": {"all": group | {"shift": group["shift"] | {"reference": [0.5]}}}},
        {"groups": {"all": group | {"shift": group["shift"] | {"log_capital": 10**400}}}},
        {"groups": {"all": group | {"audit": group["audit"] | {"n": 10**12}}}},
        {"groups": {"all": group | {"audit": group["audit"] | {"log_wealth": ["x"]}}}},
        {"seen": None},
        {"seen": [10**400, "x"]},
    ):
        state.write_text(json.dumps(values | change), encoding="utf-8")
        assert "name another --state to begin anew" in fail(*look(certificate, files, "--state", state))
    certificate.write_text("{}", encoding="utf-8")
    assert "cannot be read as a certificate" in fail(*look(certificate, files))


def test_a_checkpoint_is_watched_by_its_own_certificate(
    finished_run: Path, problems: Problems, succeed: Succeed, fail: Fail
) -> None:
    checkpoint = finished_run / "checkpoint_step_2"
    data, _ = problems.written("unseen", 40)
    flags = ("--checkpoint", checkpoint, "--device", "cpu")
    assert "has no certificate to watch: run `surestep certify` first" in fail("watch", *flags, "--data", data)
    succeed("certify", *flags, "--data", data, "--alpha", 0.2)
    new, _ = problems.written("new", 10)
    out = succeed("watch", *flags, "--data", new)
    assert "10 new problems beside 40 of calibration" in out
    assert "of 10 labelled problems kept a wrong step" in out


def test_contradictions_are_said_before_anything_is_read(fail: Fail) -> None:
    assert "name either --checkpoint FOLDER or --predictions FILE" in fail("watch", "--data", "x")
    assert "go together" in fail("watch", "--data", "x", "--predictions", "y")
