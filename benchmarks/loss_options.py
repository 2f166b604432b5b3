"""Losses, labels and head inputs compared with the plain ones: the same data, the same seeds, one table.

    python benchmarks/loss_options.py OUT --backbone SMOLLM2 --data_dir ../shared/data
    python benchmarks/loss_options.py OUT --backbone builtin:tiny --data_dir ../shared/data --seeds 2 \\
        --only plain pairwise_1 -- --max_steps 4 --max_train_samples 30 --eval_steps 4

Trains PRM800K phase 1 with each option of `OPTIONS` and each seed, fits a map on validation, and evaluates on the test
split, always with neutral ratings as 0.5 whatever was trained on. Flags behind `--` are for `surestep train`. What is
there already is not done again, so the same command goes on after a stop; every command is logged in OUT/logs.

The differences to `plain` are those of runs with the same seed on the same test steps, averaged over seeds; their
interval is a bootstrap over problems. It says what other problems would give with these seeds; the number in brackets
behind it, the standard deviation of the difference over seeds, says what other seeds would. Nothing is corrected for
the number of options: of twenty, one will leave 0 out by chance.

Writes OUT/loss_options.json and prints it as two tables.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from rich.console import Console

from surestep.cli.output.fitted_table import FittedTable
from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.bootstrap.interval import percentile
from surestep.metrics.figures import FIGURES
from surestep.metrics.measure import Measure, resample
from surestep.scored import ScoredSteps
from surestep.scoring.predictions_file import read_predictions

OPTIONS: dict[str, list[str]] = {
    "plain": [],
    "mse": ["--loss", "mse"],
    "pairwise_0.3": ["--pairwise_weight", "0.3"],
    "pairwise_1": ["--pairwise_weight", "1"],
    "pairwise_only": ["--loss", "none", "--pairwise_weight", "1"],
    "pqm_0.3": ["--pqm_weight", "0.3"],
    "pqm_1": ["--pqm_weight", "1"],
    "pqm_only": ["--loss", "none", "--pqm_weight", "1"],
    "smoothing_0.05": ["--label_smoothing", "0.05"],
    "pos_weight_0.5": ["--pos_weight", "0.5"],
    "neutral_missing": ["--prm800k_neutral", "missing"],
    "neutral_right": ["--prm800k_neutral", "1"],
    "after_error_wrong": ["--after_first_error", "wrong"],
    "after_error_missing": ["--after_first_error", "missing"],
    "binomial": ["--rating_correlation", "0"],
    "head_mix": ["--head_layers", "mix"],
    "head_mean": ["--head_pooling", "mean"],
    "balance_positions": ["--balance_positions", "true"],
    "chat": ["--text_frame", "chat"],
    "head_mix_mean": ["--head_layers", "mix", "--head_pooling", "mean"],
}
"""Name of an option to its flags; `plain` is what the others are compared with."""

DATA = ["--use_prm800k", "true", "--prm800k_phase", "1", "--use_eqasc", "false", "--use_reveal", "false"]
TRAIN = [
    *("--max_steps", "160", "--learning_rate", "1e-4", "--warmup_ratio", "0.1", "--eval_steps", "20"),
    *("--save_steps", "20", "--save_total_limit", "1", "--max_steps_per_example", "none", "--remove_overlap", "true"),
]
"""Settings of the first runs of SmolLM2-135M on these data, which overtrain after three to five passes."""

RANKING, CALIBRATED, RAW = ("auroc",), ("mse", "nll", "ece"), ("nll", "ece")


def run_command(arguments: Sequence[str], log: Path) -> None:
    """One command of Surestep in a process of its own; raises where it fails, with the end of what it said."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "surestep.cli.main", *arguments]
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise SystemExit(f"{log}: exit code {done.returncode}\n{log.read_text(encoding='utf-8')[-1500:]}")


def predictions_of(option: str, seed: int, given: argparse.Namespace) -> Path:
    """The test predictions of an option with a seed, calibrated on validation; made where they are not there."""
    name = f"{option}_seed{seed}"
    results, log = given.out / "test" / name, given.out / "logs" / f"{name}.log"
    found = next(iter(sorted(results.glob("predictions.jsonl*"))), None)
    if found is not None:
        return found
    data = [*DATA, "--data_dir", str(given.data_dir)]
    run = given.out / "runs" / name
    if not (run / "best_checkpoint.json").exists() or not list((given.out / "runs" / f"eval_{name}").glob("*.json")):
        run_command(
            [
                *("train", "--output_dir", str(given.out / "runs"), "--experiment_name", name),
                *("--backbone", given.backbone, *data, *TRAIN, *OPTIONS[option], *given.train),
                *("--seed", str(seed), *(["--overwrite"] if run.exists() else [])),
            ],
            log,
        )
    same_labels = [*data, "--prm800k_neutral", "0.5"]
    run_command(["calibrate", "--checkpoint", str(run), *same_labels], log)
    # Only the predictions are read: all figures and intervals are made here, paired.
    quick = ["--save_predictions", "true", "--baselines", "false", "--report", "false", "--bootstrap_resamples", "0"]
    run_command(["evaluate", "--checkpoint", str(run), *same_labels, "--output_dir", str(results), *quick], log)
    return next(iter(sorted(results.glob("predictions.jsonl*"))))


def measured(steps: ScoredSteps, draws: Draws) -> dict[str, tuple[float | None, Any]]:
    """Each figure of a run and its draws; `raw_` is before the map, and the ranking does not depend on it."""
    after = Measure(steps, [FIGURES[name] for name in (*RANKING, *CALIBRATED)], num_problems=draws.num_problems)
    before_steps = steps.with_confidence(steps.raw_confidence)
    before = Measure(before_steps, [FIGURES[name] for name in RAW], num_problems=draws.num_problems)
    resample([after, before], draws)
    found = {name: (after.values[name], after.draws(name)) for name in (*RANKING, *CALIBRATED)}
    return found | {f"raw_{name}": (before.values[name], before.draws(name)) for name in RAW}


def difference(option: list[Any], plain: list[Any], name: str) -> dict[str, Any]:
    """The mean over seeds of option minus plain in a figure, with its interval by problem and its spread by seed."""
    pairs = list(zip([run[name] for run in option], [run[name] for run in plain], strict=True))
    if any(one[0] is None or two[0] is None for one, two in pairs):
        return {"difference": None, "low": None, "high": None, "over_seeds": None}
    by_seed = [one[0] - two[0] for one, two in pairs]
    interval = percentile(np.mean([one[1] - two[1] for one, two in pairs], axis=0))
    return {
        "difference": fmean(by_seed),
        "low": interval.low,
        "high": interval.high,
        "over_seeds": stdev(by_seed) if len(by_seed) > 1 else None,
    }


def compared(given: argparse.Namespace, say: Any) -> dict[str, Any]:
    """Everything that was measured, JSON-ready."""
    runs: dict[str, list[dict[str, Any]]] = {}
    reference: ScoredSteps | None = None
    for option in given.only:
        for seed in range(given.first_seed, given.first_seed + given.seeds):
            say(f"{option}, seed {seed}")
            steps = read_predictions(predictions_of(option, seed, given)).measured().densely()
            reference = reference or steps
            if not (np.array_equal(steps.label, reference.label) and np.array_equal(steps.problem, reference.problem)):
                raise SystemExit(f"{option}, seed {seed}: other test steps or labels than the first run")
            runs.setdefault(option, []).append(measured(steps, Draws(steps.num_problems, given.resamples)))
    assert reference is not None
    names = list(runs["plain"][0])
    return {
        "backbone": given.backbone,
        "seeds": given.seeds,
        "num_steps": len(reference),
        "num_problems": reference.num_problems,
        "train": [*DATA, *TRAIN, *given.train],
        "options": {
            option: {
                "flags": OPTIONS[option],
                "figures": {name: [run[name][0] for run in found] for name in names},
                "minus_plain": {name: difference(found, runs["plain"], name) for name in names},
            }
            for option, found in runs.items()
        },
    }


def tables(found: dict[str, Any]) -> tuple[FittedTable, FittedTable]:
    """The means over seeds, and the differences to `plain`."""
    names = list(found["options"]["plain"]["figures"])
    means = FittedTable(
        f"test split, mean over {found['seeds']} seeds; {found['num_steps']:,} steps, {found['num_problems']} problems"
    )
    differences = FittedTable("minus plain [95 % by problem] (standard deviation over seeds)")
    for table in (means, differences):
        table.add_columns_of(*names, first="option")
    for option, row in found["options"].items():
        values = [[value for value in row["figures"][name] if value is not None] for name in names]
        means.add_cells(option, *(f"{fmean(own):.4f}" if own else "–" for own in values))
        if option != "plain":
            differences.add_cells(option, *(_shown(row["minus_plain"][name]) for name in names))
    return means, differences


def _shown(cell: dict[str, Any]) -> str:
    if cell["difference"] is None or cell["low"] is None:
        return "–"
    spread = "" if cell["over_seeds"] is None else f" ({cell['over_seeds']:.4f})"
    return f"{cell['difference']:+.4f} [{cell['low']:+.4f}, {cell['high']:+.4f}]{spread}"


def main() -> None:
    """Train, evaluate, compare."""
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--backbone", required=True, help="folder of SmolLM2, or builtin:tiny")
    parser.add_argument("--data_dir", type=Path, required=True, help="folder that holds PRM800K")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first_seed", type=int, default=42)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--only", nargs="+", choices=list(OPTIONS), default=list(OPTIONS))
    given = parser.parse_args(arguments[:cut])
    given.train = arguments[cut + 1 :]
    given.only = list(dict.fromkeys(["plain", *given.only]))
    console = Console(stderr=True)
    found = compared(given, lambda line: console.print(line, markup=False, highlight=False))
    (given.out / "loss_options.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for table in tables(found):
        Console(width=200).print(table)


if __name__ == "__main__":
    main()
