"""Averages of weights, layer-wise rates and ensembles compared with plain runs: the same data and seeds, one table.

    python benchmarks/weight_options.py OUT --backbone SMOLLM2 --data_dir ../shared/data
    python benchmarks/weight_options.py OUT --backbone builtin:tiny --data_dir ../shared/data --seeds 2 \\
        --only plain ema_0.9 average_last_3 -- --max_steps 6 --max_train_samples 30 --eval_steps 2 --save_steps 2

Data, settings, figures and intervals are those of `loss_options.py`, whose functions are used; flags behind `--` are
for `surestep train`. All runs hold out the same validation problems (`--validation_seed`): every map is fitted there.
`average_last_3` and `ensemble` train nothing: they take the runs of `plain`. The ensemble that stands beside seed s is
that of all other seeds, so that there are as many of them as seeds; they share members, and their spread over seeds is
too small for that reason. What is there already is not done again.

Writes OUT/weight_options.json and prints it as two tables.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from loss_options import DATA, TRAIN, difference, measured, run_command, tables
from rich.console import Console

from surestep.metrics.bootstrap.draws import Draws
from surestep.scored import ScoredSteps
from surestep.scoring.predictions_file import read_predictions

TRAINED: dict[str, list[str]] = {
    "plain": [],
    "ema_0.9": ["--ema_decay", "0.9"],
    "ema_0.98": ["--ema_decay", "0.98"],
    "layer_decay_0.95": ["--layer_learning_rate_decay", "0.95"],
    "layer_decay_0.9": ["--layer_learning_rate_decay", "0.9"],
    "ema_0.98_layer_decay_0.95": ["--ema_decay", "0.98", "--layer_learning_rate_decay", "0.95"],
}
"""Name of an option to its flags; `plain` is what the others are compared with."""
OF_PLAIN_RUNS = ("average_last_3", "ensemble")
OPTIONS = (*TRAINED, *OF_PLAIN_RUNS)
SAME_VALIDATION = ["--validation_seed", "0", "--save_total_limit", "8"]


def run_of(option: str, seed: int, given: argparse.Namespace) -> Path:
    """The folder of a run, trained where it is not there."""
    name = f"{option}_seed{seed}"
    run: Path = given.out / "runs" / name
    if not (run / "best_checkpoint.json").exists() or not list((given.out / "runs" / f"eval_{name}").glob("*.json")):
        where = ("--output_dir", str(given.out / "runs"), "--experiment_name", name, "--seed", str(seed))
        again = ["--overwrite"] if run.exists() else []
        flags = [*where, "--backbone", given.backbone, *data_of(given), *TRAIN, *SAME_VALIDATION, *again]
        run_command(["train", *flags, *TRAINED[option], *given.train], log_of(option, seed, given))
    return run


def checkpoints_of(option: str, seed: int, given: argparse.Namespace) -> list[str]:
    """What scores for an option with a seed: a run's best checkpoint, an average, or all members of an ensemble."""
    if option in TRAINED:
        return [str(run_of(option, seed, given))]
    if option == "ensemble":
        others = [other for other in seeds_of(given) if other != seed]
        return [str(run_of("plain", other, given)) for other in others]
    averaged = given.out / "averaged" / f"{option}_seed{seed}"
    if not averaged.exists():
        run = run_of("plain", seed, given)
        run_command(["average", str(run), "--last", "3", "--output", str(averaged)], log_of(option, seed, given))
    return [str(averaged)]


def predictions_of(option: str, seed: int, given: argparse.Namespace) -> Path:
    """The test predictions, calibrated on validation; made where they are not there."""
    results = given.out / "test" / f"{option}_seed{seed}"
    if not list(results.glob("predictions.jsonl*")):
        named, log = checkpoints_of(option, seed, given), log_of(option, seed, given)
        file = given.out / "maps" / f"{option}_seed{seed}.json"
        in_file = len(named) > 1
        run_command(["calibrate", *named, *data_of(given), *(("--output", str(file)) if in_file else ())], log)
        applied = ("--calibration_file", str(file)) if in_file else ()
        where = ("--output_dir", str(results), "--save_predictions", "true")
        run_command(["evaluate", *named, *data_of(given), *applied, *where], log)
    return next(iter(sorted(results.glob("predictions.jsonl*"))))


def data_of(given: argparse.Namespace) -> list[str]:
    """Flags that name the data."""
    return [*DATA, "--data_dir", str(given.data_dir)]


def log_of(option: str, seed: int, given: argparse.Namespace) -> Path:
    """Where the commands of an option with a seed write what they say."""
    return Path(given.out) / "logs" / f"{option}_seed{seed}.log"


def seeds_of(given: argparse.Namespace) -> range:
    """All of them."""
    return range(given.first_seed, given.first_seed + given.seeds)


def scored(given: argparse.Namespace, say: Any) -> Iterator[tuple[str, ScoredSteps]]:
    """The test steps of each option with each seed, all of them the same steps."""
    reference: ScoredSteps | None = None
    for option in given.only:
        for seed in seeds_of(given):
            say(f"{option}, seed {seed}")
            steps = read_predictions(predictions_of(option, seed, given)).measured().densely()
            reference = reference or steps
            if not (np.array_equal(steps.label, reference.label) and np.array_equal(steps.problem, reference.problem)):
                raise SystemExit(f"{option}, seed {seed}: other test steps or labels than the first run")
            yield option, steps


def compared(given: argparse.Namespace, say: Any) -> dict[str, Any]:
    """Everything that was measured, JSON-ready."""
    runs: dict[str, list[dict[str, Any]]] = {}
    about: dict[str, Any] = {"backbone": given.backbone, "seeds": given.seeds}
    for option, steps in scored(given, say):
        about |= {"num_steps": len(steps), "num_problems": steps.num_problems}
        runs.setdefault(option, []).append(measured(steps, Draws(steps.num_problems, given.resamples)))
    names = list(runs["plain"][0])
    return {
        **about,
        "train": [*DATA, *TRAIN, *SAME_VALIDATION, *given.train],
        "options": {
            option: {
                "flags": TRAINED.get(option, ["of the runs of plain"]),
                "figures": {name: [run[name][0] for run in found] for name in names},
                "minus_plain": {name: difference(found, runs["plain"], name) for name in names},
            }
            for option, found in runs.items()
        },
    }


def main() -> None:
    """Train, average, evaluate, compare."""
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--backbone", required=True, help="folder of SmolLM2, or builtin:tiny")
    parser.add_argument("--data_dir", type=Path, required=True, help="folder that holds PRM800K")
    parser.add_argument("--seeds", type=int, default=5, help="an ensemble takes three or more (default: 5)")
    parser.add_argument("--first_seed", type=int, default=42)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--only", nargs="+", choices=OPTIONS, default=list(OPTIONS))
    given = parser.parse_args(arguments[:cut])
    given.train = arguments[cut + 1 :]
    given.only = list(dict.fromkeys(["plain", *given.only]))
    if "ensemble" in given.only and given.seeds < 3:
        raise SystemExit(f"--seeds {given.seeds}: the ensemble beside a seed is that of the others, so 3 or more")
    console = Console(stderr=True)
    found = compared(given, lambda line: console.print(line, markup=False, highlight=False))
    (given.out / "weight_options.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for table in tables(found):
        Console(width=200).print(table)


if __name__ == "__main__":
    main()
