"""`surestep doctor`: what it says is what is there, and what is missing comes with how to get it."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from surestep.bench import machine
from surestep.bench.machine import look_at_machine
from surestep.cli.main import main
from surestep.config.trackers import TRACKER_NAMES
from surestep.training.events.trackers import Tracker


def found(output_dir: Path) -> dict[str, Any]:
    return {finding.what: finding for finding in look_at_machine(output_dir)}


def test_a_working_machine_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--output_dir", str(tmp_path / "not" / "yet"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(row["status"] != "broken" for row in rows)
    assert all(row["mend"] for row in rows if row["status"] in {"missing", "note"})
    assert main(["doctor", "--output_dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert all(row["what"] in said for row in rows)
    assert not (tmp_path / "not").exists(), "it only looks"
    assert torch.__version__ in next(row["value"] for row in rows if row["what"] == "libraries")


def test_what_is_too_old_or_gone_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there = metadata.version

    def version(name: str) -> str:
        if name == "fastapi":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "peft" else there(name)

    monkeypatch.setattr(machine, "version", version)
    rows = found(tmp_path)
    assert rows["library"].status == "broken"
    assert "peft 0.1, needs >=" in rows["library"].value
    assert (rows["extra serve"].status, rows["extra serve"].mend) == ("missing", "pip install 'surestep[serve]'")
    assert "fastapi is not installed" in rows["extra serve"].value
    assert main(["doctor", "--output_dir", str(tmp_path), "--json"]) == 1


def test_every_optional_dependency_of_users_has_a_row(tmp_path: Path) -> None:
    extras = set(metadata.metadata("surestep").get_all("Provides-Extra") or ()) - {"dev", "docs"}
    assert {f"extra {extra}" for extra in extras} <= set(found(tmp_path))


def test_every_tracker_has_a_row_that_says_whether_it_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Tracker, "is_installed", property(lambda self: self.module == "aim"))
    rows = found(tmp_path)
    assert {f"tracker {name}" for name in TRACKER_NAMES if name != "tensorboard"} <= set(rows)
    assert (rows["tracker aim"].status, rows["tracker aim"].mend) == ("ok", "")
    assert (rows["tracker wandb"].status, rows["tracker wandb"].mend) == ("missing", "pip install wandb")


def test_a_folder_without_room_or_permission_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = machine.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage._replace(free=10**8))
    assert (found(tmp_path)["runs"].status, found(tmp_path)["runs"].mend) == ("broken", "name another --output_dir")
    monkeypatch.undo()
    monkeypatch.setattr(machine.os, "access", lambda *_: False)
    assert "cannot be written" in found(tmp_path)["runs"].value
