"""`surestep check`: a whole checkpoint passes, and everything that can be wrong with one is found."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones import save_backbone
from documents import run
from runs import DATA_FLAGS, write_own
from surestep.calibration.calibration import Calibration
from surestep.calibration.maps.platt import Platt
from surestep.cli.main import main
from surestep.evaluation.check.checklist import run_check
from surestep.evaluation.check.probe_changes import PERTURBATIONS
from surestep.evaluation.check.targets import load_targets
from surestep.scoring.checkpoint.calibration_file import store_calibration
from surestep.scoring.checkpoint.load import read_config
from surestep.scoring.checkpoint.manifest import read_manifest
from surestep.scoring.protocol import TreeScores

FAST = ("--bootstrap_resamples", "20", "--baselines", "false")
Fail = Callable[..., str]
EASY = {
    "min_steps": 2,
    "sign_offs": [],
    "figures": {"mse": {"max": 0.5}, "mae": {"max": 0.9}, "r2": None, "ece": {"max": 0.9}},
    "probes": {"bounds": dict.fromkeys(["shuffled_steps", "right_after_wrong"])},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a run of two steps, its evaluation, and easy targets."""
    folder = tmp_path_factory.mktemp("checked")
    write_own(folder / "train.jsonl", 30, seed=1)
    write_own(folder / "test.jsonl", 12, seed=3, offset=2000)
    arguments = [
        *("train", "--preset", "lora", "--backbone", str(save_backbone("llama", folder / "llama"))),
        *("--mlp_hidden_dims", "[16]", "--lora_r", "4", *DATA_FLAGS),
        *("--own_train", str(folder / "train.jsonl"), "--own_test", str(folder / "test.jsonl")),
        *("--cache_dir", str(folder / "cache"), "--output_dir", str(folder / "outputs"), "--experiment_name", "run"),
        *("--device", "cpu", "--tensorboard", "false", "--max_steps", "2", "--save_steps", "2", "--batch_size", "2"),
        *("--gradient_accumulation_steps", "1", "--warmup_steps", "0", "--data_dir", str(folder / "data")),
        *FAST,
    ]
    assert main(arguments) == 0
    checkpoint = folder / "outputs" / "run" / "checkpoint_step_2"
    assert main(["evaluate", "--checkpoint", str(checkpoint), "--save_predictions", *FAST]) == 0
    (folder / "easy.json").write_text(json.dumps(EASY))
    # Copies are checked, and must not find the results of the original where its configuration says that they are.
    (folder / "outputs").rename(folder / "kept")
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy of the outputs of `made` to break."""
    shutil.copytree(made / "kept", tmp_path / "outputs")
    shutil.copy(made / "easy.json", tmp_path)
    return tmp_path


@pytest.fixture
def check(place: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Check the copied checkpoint as JSON; the exit code is compared with `code`."""

    def run_it(*arguments: object, code: int) -> dict[str, Any]:
        capsys.readouterr()
        given = ["--targets", str(place / "easy.json"), "--json", *map(str, arguments)]
        assert main(["check", str(place / "outputs" / "run" / "checkpoint_step_2"), *given]) == code
        captured = capsys.readouterr()
        assert captured.err == ""
        found: dict[str, Any] = json.loads(captured.out)
        assert found["passed"] is (code == 0)
        return found

    return run_it


def failures(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["what"]: finding for finding in found["findings"] if finding["status"] == "fail"}


@pytest.mark.slow
def test_a_whole_checkpoint_passes_easy_targets(check: Callable[..., dict[str, Any]]) -> None:
    found = check("--probe_problems", 6, code=0)
    assert failures(found) == {}
    items = {finding["item"] for finding in found["findings"]}
    assert items == {
        *("intact", "steps", "config", "evaluated", "figures", "calibration", "error_analysis", "backup"),
        *("documented", "leaks", "probes"),
    }
    by_what = {finding["what"]: finding for finding in found["findings"]}
    assert {box for box, ticked in found["boxes"].items() if not ticked} == {
        *("Error analysis performed", "Checkpoints backed up"),
    }
    assert by_what["own train in own test"]["value"].startswith("0 shared")
    assert by_what["own mse"]["numbers"]["constant"] > 0
    assert by_what["shuffled_steps"]["status"] == "info"
    assert by_what["empty_steps"]["numbers"]["num_problems"] == 6


@pytest.mark.slow
def test_production_targets_fail_with_the_steps_and_mark_the_contradiction(
    place: Path, quick_python: Path, made: Path
) -> None:
    """In a process of its own, as CI runs it."""
    command = ["surestep", "check", "outputs/run/checkpoint_step_2", "--probe_problems", "4"]
    ran = run(command, place, first_on_path=quick_python)
    assert ran.code == 1, ran.output
    assert "FAIL" in ran.output
    assert "≥ 10,000" in ran.output
    assert "contradicts data" in ran.output
    assert "NOT PASSED (production)" in ran.output
    assert "a target that contradicts the data is no pass and fails the check" in ran.output
    assert "to fix it, train on with --resume" in ran.output
    assert "[ ] Trained for sufficient steps" in ran.output
    assert "[x] Evaluated on all test sets" in ran.output
    assert "[ ] Checkpoints backed up" in ran.output


def test_a_backup_that_is_compared_and_a_person_who_signed_tick_the_last_boxes(
    place: Path, check: Callable[..., dict[str, Any]], fail: Fail
) -> None:
    (place / "easy.json").write_text(json.dumps({**EASY, "sign_offs": ["backup", "error_analysis"]}))
    checkpoint = place / "outputs" / "run" / "checkpoint_step_2"
    broken = failures(check("--probe_problems", 0, code=1))
    assert set(broken) == {"error analysis performed", "checkpoint backed up"}
    assert "--by" in fail("check", checkpoint, "--sign_off", "backup")
    assert "--sign_off" in fail("check", checkpoint, "--by", "Ada")

    shutil.copytree(place / "outputs" / "run", place / "elsewhere" / "run")
    signed = ("--sign_off", "error_analysis", "--by", "Ada Lovelace", "--note", "read the worst fifty")
    found = check("--probe_problems", 0, "--backup", place / "elsewhere", *signed, code=0)
    by_what = {finding["what"]: finding for finding in found["findings"]}
    assert by_what["error analysis performed"]["value"].startswith("signed off by Ada Lovelace on 20")
    assert by_what["error analysis performed"]["detail"] == "read the worst fifty"
    assert by_what["checkpoint backed up"]["value"].endswith("hashes equal")
    untouched = {"No score changed by what adds no content"}  # no probe was asked for
    assert {box for box, ticked in found["boxes"].items() if not ticked} == untouched

    # Kept with the run; a backup can be signed for too; a new state of the checkpoint is signed anew.
    assert set(failures(check("--probe_problems", 0, code=1))) == {"checkpoint backed up"}
    check("--probe_problems", 0, "--sign_off", "backup", "--by", "Grace", code=0)
    store_calibration(checkpoint, read_manifest(checkpoint, with_state=False), Calibration(Platt(0.5, 0.1)))
    broken = failures(check("--probe_problems", 0, code=1))
    assert broken["checkpoint backed up"]["value"] == "of an earlier state"
    assert "error analysis performed" in broken


@pytest.mark.parametrize("name", ["head.safetensors", "config.json"])
def test_a_flipped_byte_is_found_and_the_rest_still_looked_at(
    place: Path, check: Callable[..., dict[str, Any]], name: str
) -> None:
    path = place / "outputs" / "run" / "checkpoint_step_2" / name
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    found = check(code=1)
    broken = failures(found)
    assert name in broken["every file as its manifest says"]["detail"]
    assert "backup" in broken["every file as its manifest says"]["mend"]
    if name == "config.json":
        assert {"configuration saved", "leaks", "probes"} <= set(broken)
    else:
        assert "sha256 differs" in broken["all probes"]["detail"]
        assert any(finding["item"] == "leaks" and finding["status"] == "pass" for finding in found["findings"])


def test_a_missing_evaluation_is_a_failure_with_the_command(place: Path, check: Callable[..., dict[str, Any]]) -> None:
    shutil.rmtree(place / "outputs" / "eval_run")
    broken = failures(check("--probe_problems", 0, code=1))
    assert set(broken) == {"test splits", "errors can be read", "results documented"}
    assert broken["test splits"]["mend"].startswith("surestep evaluate --checkpoint")


def test_an_evaluation_without_predictions_or_card_fails(place: Path, check: Callable[..., dict[str, Any]]) -> None:
    folder = place / "outputs" / "eval_run" / "checkpoint_step_2"
    for path in folder.iterdir():
        if path.name != "eval_metrics.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    broken = failures(check("--probe_problems", 0, code=1))
    assert set(broken) == {"errors can be read", "results documented"}


@pytest.mark.slow
def test_a_calibration_map_must_have_been_evaluated(place: Path, check: Callable[..., dict[str, Any]]) -> None:
    checkpoint = place / "outputs" / "run" / "checkpoint_step_2"
    manifest = read_manifest(checkpoint, with_state=False)
    store_calibration(checkpoint, manifest, Calibration(Platt(0.5, 0.1)))
    stale = failures(check("--probe_problems", 0, code=1))
    assert set(stale) == {"map in the checkpoint"}
    assert stale["map in the checkpoint"]["value"] == "pooled platt"
    folder = place / "outputs" / "eval_run" / "checkpoint_step_2"
    again = ["evaluate", "--checkpoint", str(checkpoint), "--save_predictions", "--output_dir", str(folder), *FAST]
    assert main(again) == 0
    found = check("--probe_problems", 0, code=0)
    assert {f["what"]: f["value"] for f in found["findings"]}["map in the checkpoint"] == "pooled platt"


def test_the_result_of_another_checkpoint_or_split_does_not_count(
    place: Path, check: Callable[..., dict[str, Any]]
) -> None:
    path = place / "outputs" / "eval_run" / "checkpoint_step_2" / "eval_metrics.json"
    report = json.loads(path.read_text()) | {"checkpoint": "outputs/run/checkpoint_step_99", "split": "validation"}
    path.write_text(json.dumps(report))
    broken = failures(check("--probe_problems", 0, "--evaluation", path, code=1))
    assert {"of this checkpoint", "on the test split"} <= set(broken)
    assert "test splits" in failures(check("--probe_problems", 0, code=1))


def test_a_dataset_that_was_not_evaluated_fails(place: Path, check: Callable[..., dict[str, Any]]) -> None:
    path = place / "outputs" / "eval_run" / "checkpoint_step_2" / "eval_metrics.json"
    report = json.loads(path.read_text())
    report["per_dataset"]["another"] = report["per_dataset"].pop("own")
    path.write_text(json.dumps(report))
    assert failures(check("--probe_problems", 0, code=1))["own test"]["value"].startswith("0 labelled steps")


def test_test_data_that_changed_since_is_found(place: Path, check: Callable[..., dict[str, Any]], made: Path) -> None:
    other = place / "test.jsonl"
    lines = (made / "test.jsonl").read_text().splitlines(keepends=True)
    other.write_text("".join(lines[:-1]))
    broken = failures(check("--probe_problems", 0, "--own_test", other, code=1))
    assert broken["own data"]["value"] == "changed"


@pytest.mark.parametrize("how", ["own test", "file", "data_dir"])
def test_a_planted_leak_fails(place: Path, check: Callable[..., dict[str, Any]], made: Path, how: str) -> None:
    planted = json.loads((made / "train.jsonl").read_text().splitlines()[7])
    planted["problem"] = "  " + planted["problem"].upper().replace(" ", "  ")
    row = json.dumps(planted) + "\n"
    benchmark = place / "data" / "GSM8K" / "test.jsonl"
    benchmark.parent.mkdir(parents=True)
    arguments: list[object] = ["--probe_problems", 0]
    if how == "own test":
        other = place / "test.jsonl"
        other.write_text((made / "test.jsonl").read_text() + row)
        arguments += ["--own_test", other]
        name = "own train in own test"
    else:
        benchmark.write_text(
            json.dumps({"question": planted["problem"]}) + "\n" + json.dumps({"question": "new"}) + "\n"
        )
        arguments += ["--leak-data", benchmark] if how == "file" else ["--data_dir", place / "data"]
        name = "own train in GSM8K/test.jsonl"
    leak = failures(check(*arguments, code=1))[name]
    assert leak["numbers"]["shared"] == 1
    # Rows of a dataset are cleaned when they are read; a benchmark's problem is shown as it stands in its file.
    shown = planted["problem"].strip() if how == "own test" else planted["problem"]
    assert leak["numbers"]["examples"] == [shown]
    assert "WHAT IS" in leak["detail"]


def test_missing_training_data_is_a_failure_not_a_pass(place: Path, check: Callable[..., dict[str, Any]]) -> None:
    broken = failures(check("--probe_problems", 0, "--own_train", place / "gone.jsonl", code=1))
    assert "gone.jsonl" in broken["training data"]["detail"]


SAYS_NOTHING = {"\u200b", ".", "...", "Okay."}


class LikesEmptySteps:
    """A scorer that can be hacked: what says nothing is never wrong."""

    def about(self) -> dict[str, Any]:
        return {}

    def score(self, trees: Any, **_: Any) -> Iterator[TreeScores]:
        for tree in trees:
            found = np.array([0.99 if node.text in SAYS_NOTHING else 0.5 for node in tree.nodes])
            yield TreeScores(found, found)


def test_a_scorer_that_likes_empty_steps_fails_the_check(place: Path, made: Path) -> None:
    folder = place / "outputs" / "run" / "checkpoint_step_2"
    result = run_check(
        folder,
        read_config(folder),
        load_targets("quick", place / "easy.json"),
        probe_problems=10,
        make_scorer=LikesEmptySteps,
    )
    assert not result.passed
    broken = failures(result.to_dict())
    assert set(broken) == {"empty_steps", "near_empty_steps"}
    assert broken["empty_steps"]["numbers"]["moves"]["last"]["mean"] == pytest.approx(0.49, abs=0.02)
    assert broken["empty_steps"]["mend"]


@pytest.mark.slow
def test_probes_on_the_checkpoint_itself_are_repeatable(check: Callable[..., dict[str, Any]]) -> None:
    first, again, other = (
        [
            f["numbers"]
            for f in check("--probe_problems", 5, "--probe_seed", seed, code=0)["findings"]
            if f["item"] == "probes"
        ]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def write_candidates(path: Path) -> Path:
    """Two problems, each with a right candidate and a wrong one."""
    rows = [
        {
            "problem": f"what is {i} plus 2?",
            "candidates": [
                {"steps": [f"we add {i} and 2", f"so it is {i + 2}"], "correct": True},
                {"steps": [f"we add {i} and 3, so we go on", f"so it is {i + 3}"], "correct": False},
            ],
        }
        for i in (3, 4)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.slow
def test_robustness_reports_every_perturbation_the_highest_rise_and_the_attack(
    place: Path, check: Callable[..., dict[str, Any]]
) -> None:
    candidates = write_candidates(place / "candidates.jsonl")
    arguments = ("--probe_problems", 3, "--probes", "robustness", "--attack_data", candidates)
    found = check(*arguments, code=0)
    probes = [finding for finding in found["findings"] if finding["item"] == "probes"]
    assert [finding["what"] for finding in probes] == list(PERTURBATIONS)
    for finding in probes:
        numbers = finding["numbers"]
        assert numbers["num_problems"] + numbers["num_not_possible"] + numbers["num_unscored"] == 3
        assert numbers["source"]
    by_what = {finding["what"]: finding for finding in found["findings"] if finding["item"] == "hackability"}
    joins = ("min", "mean", "last", "product")
    assert list(by_what) == [
        *(f"highest rise ({how})" for how in joins),
        *(f"best-of-N under attack, candidates.jsonl ({how})" for how in joins),
    ]
    assert {finding["status"] for finding in by_what.values()} == {"info"}
    rise = by_what["highest rise (min)"]["numbers"]
    assert rise["all"]["mean"]["value"] >= 0.0
    assert rise["all"]["num_problems"] == 3
    turned = by_what["best-of-N under attack, candidates.jsonl (min)"]["numbers"]
    assert (turned["num_problems"], turned["num_candidates"], turned["num_contested"]) == (2, 4, 2)
    assert turned["after"]["value"] <= turned["before"]["value"]
    assert turned["chance"]["value"] == 0.5
    assert check(*arguments, code=0) == found


@pytest.mark.slow
def test_figures_of_robustness_are_printed_and_may_be_demanded(
    place: Path, check: Callable[..., dict[str, Any]], succeed: Callable[..., str]
) -> None:
    checkpoint = place / "outputs" / "run" / "checkpoint_step_2"
    candidates = write_candidates(place / "candidates.jsonl")
    with_tests = ("--probe_problems", 2, "--probes", "robustness", "--targets", place / "easy.json")
    printed = succeed("check", checkpoint, *with_tests, "--attack_data", candidates)
    assert "hackability: how far a score can be raised without being more right" in printed
    assert "by majority vote" in printed
    printed = succeed("check", checkpoint, *with_tests)
    assert "arithmetic is not among the test sets" in " ".join(printed.split())
    # A demand that this check does not measure is no pass; a bound on a perturbation brings it into every check.
    demands = EASY | {"probes": {"max_flipped": 0.5, "max_mean_rise": 0.9, "bounds": {"markdown": {"max_rise": 1.0}}}}
    (place / "easy.json").write_text(json.dumps(demands))
    found = check("--probe_problems", 2, code=1)
    broken = {what: finding["mend"] for what, finding in failures(found).items() if finding["item"] == "hackability"}
    assert set(broken) == {"highest rise", "best-of-N under attack"}
    assert all("--probes robustness" in mend for mend in broken.values())
    assert [f["what"] for f in found["findings"] if f["item"] == "probes"][-1] == "markdown"
    assert {"highest rise", "best-of-N under attack"} <= set(failures(check("--probe_problems", 0, code=1)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{checkpoint}", "--attack_data", "{here}/bad.json"], "--attack_data is read by --probes robustness alone"),
        (["{checkpoint}", "--probes", "robustness", "--attack_data", "{here}/gone.jsonl"], "gone.jsonl"),
        (["{checkpoint}", "--probes", "robustness", "--attack_data", "{here}/bad.json"], "bad.json"),
        (["nowhere"], "nowhere: no such checkpoint"),
        (["{here}"], "holds no manifest.json"),
        (["{checkpoint}", "--probe_problems", "-1"], "--probe_problems is -1"),
        (["{checkpoint}", "--targets", "{here}/gone.yaml"], "the targets file cannot be read"),
        (["{checkpoint}", "--targets", "{here}/bad.json"], "figures.speed is 'speed'"),
        (["{checkpoint}", "--leak_data", "{here}/gone.jsonl"], "gone.jsonl"),
        (["{checkpoint}", "--evaluation", "{here}/gone"], "gone is not there"),
        (["{checkpoint}", "--prm800k_phase", "3"], "prm800k_phase is"),
        (["{checkpoint}", "--sign_off", "backup", "--by", "  "], "--by is empty"),
        (["{checkpoint}", "--sign_off", "backup", "--by", "A" * 201], "--by"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(
    made: Path, tmp_path: Path, fail: Fail, arguments: list[str], words: str
) -> None:
    (tmp_path / "bad.json").write_text('{"figures": {"speed": {"max": 1}}}')
    checkpoint = made / "kept" / "run" / "checkpoint_step_2"
    assert words in fail("check", *(argument.format(here=tmp_path, checkpoint=checkpoint) for argument in arguments))


@pytest.mark.slow
def test_an_unknown_tier_ends_a_process_with_exit_code_2(tmp_path: Path, quick_python: Path) -> None:
    ran = run(["surestep", "check", "x", "--tier", "perfect"], tmp_path, first_on_path=quick_python)
    assert ran.code == 2
    assert "Traceback" not in ran.output
    assert os.listdir(tmp_path) in ([], ["cache"])
