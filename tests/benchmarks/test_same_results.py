"""`benchmarks/same_results.py`: equal folders pass, and each kind of difference is found, listed and named."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "same_results.py"
METRICS = "lora/test/eval_metrics.json"
PREDICTIONS = "lora/test/predictions.jsonl"
WEIGHTS = "lora/checkpoint_step_2/head.safetensors"
ADAPTER = "lora/checkpoint_step_2/adapter_config.json"
REPORT = {
    "overall": {
        "num_steps": 736,
        "mse": 0.1866417108598517,
        "ece": 0.2712579773802365,
        "brier_within_bin": -1.9e-16,
        "beats_constant": True,
        "r2": None,
        "kind": "platt",
        "intervals": {"mse": {"low": 0.1843, "high": 0.1889}},
    },
    "verdict": ["better than the constant by 0.01"],
    "checkpoint": "lora/checkpoint_step_2",
    "versions": {"torch": "2.13.0"},
}


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def rows() -> list[dict[str, Any]]:
    return [
        {
            "dataset": "own",
            "problem_id": f"p{number // 2}",
            "step": number % 2,
            "confidence": 0.1 * number,
            "text": "1 + 1",
        }
        for number in range(6)
    ]


def write_rows(path: Path, found: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with the same results in them."""
    for side in ("before", "after"):
        folder = tmp_path / side
        write(folder / METRICS, REPORT)
        write(folder / "lora/checkpoint_step_2/state.json", {"step": 2, "seconds": 1.5, "best": {"value": 0.5}})
        write(folder / "lora/checkpoint_step_2/manifest.json", {"files": {"config.json": {"sha256": "ab"}}, "step": 2})
        write(folder / "compared/by_nll.json", {"runs": [{"name": "a", "figures": {"nll": 0.69}}]})
        write(folder / ADAPTER, {"target_modules": ["q_proj", "v_proj"], "r": 4})
        write_rows(folder / PREDICTIONS, rows())
        log = [{"kind": "note", "text": "on a CPU"}, {"kind": "step", "step": 1, "loss": 0.7, "tokens_per_s": 10.0}]
        write_rows(folder / "lora/metrics.jsonl", log)
        save_file({"row": np.linspace(0.0, 1.0, 5, dtype=np.float32)}, folder / WEIGHTS)
        (folder / "lora/report.html").write_text("<h1>MSE</h1><p>0.187 on 2026-11-28</p>", encoding="utf-8")
        (folder / "cache").mkdir()
        (folder / "cache/tokens.bin").write_bytes(side.encode())
    return tmp_path / "before", tmp_path / "after"


def compare(folders: tuple[Path, Path], *flags: str) -> tuple[int, str]:
    """Exit code and output."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, folders), *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def changed_report(after: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    report = json.loads((after / METRICS).read_text(encoding="utf-8"))
    change(report)
    write(after / METRICS, report)


def test_equal_folders_pass(folders: tuple[Path, Path]) -> None:
    code, out = compare(folders)
    assert code == 0, out
    assert "nothing differs" in out
    lora = next(line for line in out.splitlines() if line.startswith("lora")).split()
    files, values, equal, differ, new, words = map(int, lora[1:7])
    assert (files, differ, new, words) == (8, 0, 0, 0)
    assert values == equal > 40


def test_what_a_second_run_may_change_is_left_out(folders: tuple[Path, Path]) -> None:
    _, after = folders
    write(after / "lora/checkpoint_step_2/state.json", {"step": 2, "seconds": 9.5, "best": {"value": 0.5}})
    write(after / "lora/checkpoint_step_2/manifest.json", {"files": {"config.json": {"sha256": "cd"}}, "step": 2})
    (after / "lora/report.html").write_text("<h1>MSE</h1><p>0.187 on 2027-01-02</p>", encoding="utf-8")
    changed_report(after, lambda report: report.update(versions={"torch": "3.0"}, checkpoint="elsewhere/checkpoint"))
    code, out = compare(folders)
    assert code == 0, out


def test_names_of_adapted_layers_have_no_order(folders: tuple[Path, Path]) -> None:
    write(folders[1] / ADAPTER, {"target_modules": ["v_proj", "q_proj"], "r": 4})
    code, out = compare(folders)
    assert code == 0, out
    write(folders[1] / ADAPTER, {"target_modules": ["v_proj", "k_proj"], "r": 4})
    assert compare(folders)[0] == 1


def test_predictions_may_be_gzipped_and_in_another_order(folders: tuple[Path, Path]) -> None:
    _, after = folders
    content = "".join(json.dumps(row) + "\n" for row in reversed(rows())).encode()
    (after / PREDICTIONS).unlink()
    (after / f"{PREDICTIONS}.gz").write_bytes(gzip.compress(content))
    code, out = compare(folders)
    assert code == 0, out


def test_a_changed_byte_of_the_weights_is_found(folders: tuple[Path, Path]) -> None:
    path = folders[1] / WEIGHTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    code, out = compare(folders)
    assert code == 1
    assert f"{WEIGHTS}: other bytes; largest relative difference" in out
    assert "1 difference" in out


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda report: report["overall"].update(mse=np.nextafter(REPORT["overall"]["mse"], 1.0)), "overall.mse"),
        (lambda report: report["overall"].update(num_steps=737), "overall.num_steps"),
        (lambda report: report["overall"].update(beats_constant=False), "overall.beats_constant"),
        (lambda report: report["overall"].update(beats_constant=1), "overall.beats_constant"),
        (lambda report: report["overall"].update(r2=0.0), "overall.r2"),
        (lambda report: report["overall"].update(kind="beta"), "overall.kind"),
        (lambda report: report["overall"].update(ece=0.2712579773812), "overall.ece"),
        (lambda report: report["overall"]["intervals"]["mse"].update(low=0.1843000001), "intervals.mse.low"),
        (lambda report: report["overall"]["intervals"].pop("mse"), "intervals.mse: the key is missing now"),
        (lambda report: report["verdict"].append("and more"), "verdict: 1 entries before, 2 now"),
    ],
)
def test_a_changed_value_is_found_and_named(
    folders: tuple[Path, Path], change: Callable[[dict[str, Any]], Any], where: str
) -> None:
    changed_report(folders[1], change)
    code, out = compare(folders)
    assert code == 1
    assert where in out
    assert "1 difference" in out


@pytest.mark.parametrize(("name", "index"), [("confidence", 3), ("text", 0)])
def test_a_changed_row_of_predictions_is_found(folders: tuple[Path, Path], name: str, index: int) -> None:
    found = rows()
    found[index][name] = "1 - 1" if name == "text" else float(np.nextafter(found[index][name], 1.0))
    write_rows(folders[1] / PREDICTIONS, found)
    code, out = compare(folders)
    assert code == 1
    assert f"{PREDICTIONS}: own/p{index // 2}/{index % 2}.{name}" in out


@pytest.mark.parametrize("change", [lambda found: found[:-1], lambda found: [*found, {**found[0], "step": 9}]])
def test_a_missing_and_a_new_row_are_found(
    folders: tuple[Path, Path], change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
) -> None:
    write_rows(folders[1] / PREDICTIONS, change(rows()))
    code, out = compare(folders)
    assert code == 1
    assert "the row is " in out


def test_a_changed_loss_and_a_changed_number_on_a_page_are_found(folders: tuple[Path, Path]) -> None:
    write_rows(
        folders[1] / "lora/metrics.jsonl",
        [{"kind": "note", "text": "on a CPU"}, {"kind": "step", "step": 1, "loss": 0.8}],
    )
    (folders[1] / "lora/report.html").write_text("<h1>MSE</h1><p>0.188 on 2026-11-28</p>", encoding="utf-8")
    code, out = compare(folders)
    assert code == 1
    assert "lora/metrics.jsonl: step/1.loss: 0.7 before, 0.8 now" in out
    assert "lora/report.html: number 1: 0.187 before, 0.188 now, and 0 more of 1" in out


def test_a_missing_file_is_a_difference_and_a_new_one_is_listed(folders: tuple[Path, Path]) -> None:
    before, after = folders
    (after / WEIGHTS).unlink()
    code, out = compare((before, after))
    assert code == 1
    assert f"{WEIGHTS}: the file is missing now" in out
    code, out = compare((after, before))
    assert code == 0
    assert f"only in the second: {WEIGHTS} (file)" in out


def test_a_missing_run_is_a_difference(folders: tuple[Path, Path]) -> None:
    (folders[1] / "compared/by_nll.json").unlink()
    code, out = compare(folders)
    assert code == 1
    assert "compared/by_nll.json: the file is missing now" in out


def test_sums_in_another_order_are_close_enough_and_their_size_is_shown(folders: tuple[Path, Path]) -> None:
    def change(report: dict[str, Any]) -> None:
        overall = report["overall"]
        overall["ece"] = float(np.nextafter(overall["ece"], 1.0))
        overall["brier_within_bin"] = 2.3e-16
        overall["intervals"]["mse"]["high"] *= 1 + 1e-14

    changed_report(folders[1], change)
    code, out = compare(folders)
    assert code == 0, out
    assert "overall.brier_within_bin" in out


def test_other_figures_are_close_enough_only_where_named(folders: tuple[Path, Path]) -> None:
    changed_report(folders[1], lambda report: report["overall"].update(mse=REPORT["overall"]["mse"] * (1 + 1e-14)))
    assert compare(folders)[0] == 1
    assert compare(folders, "--close", "mse")[0] == 0


def test_new_keys_and_other_words_are_listed(folders: tuple[Path, Path]) -> None:
    def change(report: dict[str, Any]) -> None:
        report["overall"]["median"] = 0.5
        report["verdict"] = ["it beats the constant by 0.01"]

    changed_report(folders[1], change)
    code, out = compare(folders)
    assert code == 0, out
    assert f"only in the second: {METRICS}: overall.median (1 times)" in out
    assert f"worded otherwise: {METRICS}: verdict.* (1 times)" in out
