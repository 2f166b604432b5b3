"""What others read of the project before its code: valid, and in step with it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import surestep

ROOT = Path(__file__).resolve().parents[1]


def test_the_citation_names_the_version_and_licence_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_the_newest_section_of_the_changelog_is_of_this_version_or_not_released() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    newest = re.search(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest
    assert newest[1] in {project["version"], "Unreleased"}
    assert surestep.__version__ == project["version"]


def test_the_workflow_runs_what_the_project_runs() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if step.get("name") == "Checks, tests, demo"] == [".ci/run"]
    assert workflow["permissions"] == {"contents": "read"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lowest = project["requires-python"].split(",")[0].removeprefix(">=")
    assert lowest in job["strategy"]["matrix"]["python"]


@pytest.mark.parametrize("form", ["bug.yml", "idea.yml"])
def test_an_issue_form_asks_something(form: str) -> None:
    found = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / form).read_text(encoding="utf-8"))
    assert found["name"]
    assert found["body"]
    assert any(field["validations"]["required"] for field in found["body"] if "validations" in field)
