"""Targets: the tiers are the document's, files lie over them, and every error is said at once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from surestep.errors import ConfigError
from surestep.evaluation.check.probe_changes import PROBES
from surestep.evaluation.check.targets import TIERS, Bound, load_targets

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


def test_the_tiers_hold_the_documents_figures() -> None:
    path = next(SHARED.glob("*/best-practices.md"), None)
    if path is None:
        pytest.skip("the users' best-practices.md is not beside the repository")
    section = path.read_text(encoding="utf-8").split("## Performance Targets")[1].split("\n## ")[0]
    for tier, text in zip(TIERS, section.split("\n### ")[1:], strict=True):
        figures = load_targets(tier).figures
        for label, name in (("MSE", "mse"), ("MAE", "mae"), ("R²", "r2"), ("ECE", "ece")):
            line = re.search(rf"- {label}: (.*)", text)
            assert line is not None
            numbers = [float(number) for number in re.findall(r"\d*\.\d+", line[1])]
            bound = figures[name]
            assert bound is not None
            # Of a range the end that is easier to meet.
            assert bound == (Bound(min=min(numbers)) if name == "r2" else Bound(max=max(numbers))), (tier, name)
    assert [load_targets(tier).min_steps for tier in TIERS] == [1000, 10_000, 10_000]


@pytest.mark.parametrize("tier", TIERS)
def test_every_probe_has_a_bound_in_every_tier(tier: str) -> None:
    targets = load_targets(tier)
    assert set(targets.probes.bounds) == set(PROBES)
    assert targets.contradictions == "fail"


@pytest.mark.parametrize("name", ["own.yaml", "own.json"])
def test_a_file_lies_over_the_tier_field_by_field(tmp_path: Path, name: str) -> None:
    values = {
        "figures": {"mse": {"max": 0.1}, "mae": None, "skill_nll": {"min": 0.2}},
        "datasets": {"prm800k": {"ece": {"max": 0.2}}},
        "probes": {"bounds": {"separators": None}},
    }
    path = tmp_path / name
    path.write_text(json.dumps(values))  # JSON is YAML too
    targets = load_targets("production", path)
    assert targets.name == f"production, changed by {name}"
    assert targets.bounds_of("eqasc") == {
        "mse": Bound(max=0.1),
        "r2": Bound(min=0.8),
        "ece": Bound(max=0.03),
        "skill_nll": Bound(min=0.2),
    }
    assert targets.bounds_of("prm800k")["ece"] == Bound(max=0.2)
    assert targets.probes.bounds["separators"] is None
    assert targets.min_steps == 10_000


def test_all_errors_are_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "min_steps: 0\n"
        "figures: {msee: {max: 1}, mse: {max: .nan}, r2: {max: 1}, nll: {}}\n"
        "plausible_r2: 2\n"
        "probes: {bounds: {tickle: {max_rise: 1}, separators: {max_rise: 3}}}\n"
        "colour: red\n"
    )
    with pytest.raises(ConfigError) as raised:
        load_targets("quick", path)
    said = "\n".join(raised.value.problems)
    assert all(problem.startswith(f"{path}: ") for problem in raised.value.problems)
    for words in (
        "min_steps is 0; allowed: greater than 0",
        "figures.msee is 'msee'; allowed: one of mse, mae",
        "figures.mse.max is nan",
        "figures.r2 is {'min': 0.5, 'max': 1}; allowed: one number, as max or as min",
        "figures.nll is {}; allowed: one number, as max or as min",
        "plausible_r2 is 2; allowed: less than or equal to 1",
        "probes.bounds.tickle is 'tickle'; allowed: one of empty_steps",
        "probes.bounds.separators.max_rise is 3",
        "colour: no such field",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("text", "words"),
    [("[1]", "holds a list"), ("{", "not valid YAML"), (None, "the targets file cannot be read")],
)
def test_a_broken_file_is_said(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "own.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_targets("quick", path)


def test_the_documents_example_is_a_targets_file(tmp_path: Path) -> None:
    document = (Path(__file__).resolve().parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    lines = document.split("### Targets files")[1].splitlines()
    example = "\n".join(line[4:] for line in lines if line.startswith("    "))
    (tmp_path / "ours.yaml").write_text(example, encoding="utf-8")
    targets = load_targets("production", tmp_path / "ours.yaml")
    assert (targets.name, targets.min_steps, targets.probes.aggregations) == ("ours", 5000, ["min", "product"])
    assert "mae" not in targets.bounds_of("prm800k")
