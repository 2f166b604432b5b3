"""Figures of `surestep benchmark` beside those of the official rules, on the same files and the same made scores.

    python benchmarks/official_figures.py OUT --processbench gsm8k.json [--prmbench prmbench_preview.jsonl]

The official side is `tests/benchmark_rules.py`: plain loops written from the benchmarks' papers and programs, without
code of the project. Scores are drawn (seed 0): from a beta distribution that is lower for wrong steps, with all their
digits and rounded to one decimal, where many lie on a threshold. Without `--prmbench`, records are made: all nine
categories of 60 problems, with empty steps, numbers that name no step, repeats, and solutions that were not scored.
Prints a Markdown table; OUT gets the files that the commands read and write.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surestep.cli.main import main as surestep
from surestep.data.benchmarks.prmbench import CATEGORIES

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import benchmark_rules as rules

Found = tuple[str, float, float]
"""What is measured, officially and by us."""


def main() -> None:
    """Make scores, run the commands, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--processbench", type=Path, required=True, help="its subset gsm8k")
    parser.add_argument("--prmbench", type=Path, help="its file (default: made records)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    lines = []
    for decimals in (17, 1):
        rounding = "" if decimals == 17 else ", scores to one decimal"
        lines += [(f"ProcessBench gsm8k{rounding}: {name}", *pair) for name, *pair in processbench(args, decimals)]
        lines += [(f"PRMBench{rounding}: {name}", *pair) for name, *pair in prmbench(args, decimals)]
    print("| figure | official rule | ours | difference |\n|---|---|---|---|")
    for name, official, ours in lines:
        print(f"| {name} | {official:.6f} | {ours:.6f} | {abs(official - ours):.0e} |")


def processbench(args: argparse.Namespace, decimals: int) -> Iterable[Found]:
    """F1 at 0.5 and at the threshold of the papers' protocol."""
    records = json.loads(args.processbench.read_text(encoding="utf-8"))
    random = np.random.default_rng(0)
    scores = {
        record["id"]: _scores(random, [index == record["label"] for index in range(len(record["steps"]))], decimals)
        for record in records
    }
    report = _run(args, "processbench", args.processbench, scores, ["--protocol", "paper"])
    for at in report["thresholds"]:
        name = "F1 by the paper's protocol" if "tuned_on" in at else "F1"
        official = rules.processbench_f1(records, scores, at["threshold"])[2]
        yield f"{name}, threshold {at['threshold']:.4g}, {at['ties']} ties", official, at["subsets"]["gsm8k"]["f1"]


def prmbench(args: argparse.Namespace, decimals: int) -> Iterable[Found]:
    """The PRM score over all steps, the other figures, and the largest difference in any category."""
    random = np.random.default_rng(1)
    data = args.prmbench or _made_prmbench(args.out / "made_prmbench.jsonl")
    records = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    scores: dict[str, list[float | None]] = {}
    for name, (_, steps, wrong) in rules.prmbench_solutions(records).items():
        scores[name] = list(_scores(random, [number in wrong for number in range(1, len(steps) + 1)], decimals))
        if steps and random.random() < 0.03:
            scores[name][-1] = None
    report = _run(args, "prmbench", data, scores, ["--official_layout"])
    known = {name: values for name, values in scores.items() if None not in values}
    verdicts = {name: [value > report["threshold"] for value in values] for name, values in known.items()}  # type: ignore[operator]
    official = rules.prmbench_figures(records, verdicts)
    total, ours = official["total"], report["overall"]
    yield f"PRM score, {report['ties']} ties", (total["f1"] + total["negative_f1"]) / 2, ours["prm_score"]
    for name in ("total_step_acc", "first_error_acc", "similarity"):
        yield f"`{name}`", total[name], ours[name]
    yield "`correct`: `total_step_acc`", official["correct"]["total_step_acc"], report["correct"]["total_step_acc"]
    by_type = report["official"]["hallucination_type_results"]
    pairs = [
        (value, by_type[name][kind])
        for kind, found in official.items()
        if kind != "total"
        for name, value in found.items()
    ]
    yield f"the worst of {len(pairs)} figures of categories", *max(pairs, key=lambda pair: abs(pair[0] - pair[1]))


def _scores(random: np.random.Generator, is_wrong: list[bool], decimals: int) -> list[float]:
    return [round(float(random.beta(2, 4) if wrong else random.beta(4, 2)), decimals) for wrong in is_wrong]


def _run(
    args: argparse.Namespace, name: str, data: Path, scores: Mapping[str, Any], flags: list[str]
) -> dict[str, Any]:
    predictions = args.out / f"{name}_scores.jsonl"
    rows = (json.dumps({"id": key, "confidences": values}) + "\n" for key, values in scores.items())
    predictions.write_text("".join(rows), encoding="utf-8")
    command = ["benchmark", name, "--data", str(data), "--predictions", str(predictions), *flags]
    if surestep([*command, "--output_dir", str(args.out), "--resamples", "1"]):
        raise SystemExit(1)
    report: dict[str, Any] = json.loads((args.out / f"{name}.json").read_text(encoding="utf-8"))
    return report


def _made_prmbench(path: Path) -> Path:
    random = np.random.default_rng(2)
    records = []
    for problem in range(60):
        original = [str(random.choice(["", "so x = 1", "then"])) for _ in range(random.integers(1, 7))]
        for category in CATEGORIES:
            steps = [str(random.choice(["", " ", "so x = 2", "thus"])) for _ in range(random.integers(1, 8))]
            count = 0 if category == "multi_solutions" else int(random.integers(1, 4))
            wrong = sorted({int(random.integers(1, len(steps) + 1)) for _ in range(count)})
            records.append(
                {
                    "idx": f"made_{problem}",
                    "classification": category,
                    "original_question": f"Problem {problem}?",
                    "modified_question": f"Problem {problem}, changed?",
                    "original_process": original,
                    "modified_process": steps,
                    # As in the published file, now and then a number names no step.
                    "error_steps": [*wrong, len(steps) + 2] if random.random() < 0.02 else wrong,
                }
            )
    records += records[:5]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
