"""Losses, labels, head inputs, averages of weights, rates and amounts of data compared with a plain run, in one table.

    python benchmarks/training_options.py OUT --backbone SMOLLM2 --data_dir ../shared/data --jobs 10
    python benchmarks/training_options.py OUT --backbone builtin:tiny --data_dir ../shared/data --seeds 2 \\
        --only plain pairwise_1 -- --max_steps 4 --max_train_samples 30 --eval_steps 4 --save_steps 4

Trains PRM800K phase 1 with each option of `OPTIONS` and each seed, fits a map on validation, and evaluates on the test
split, always with neutral ratings as 0.5 whatever was trained on. All runs hold out the same validation problems
(`--validation_seed`). `--jobs` run side by side, on the GPUs in turn. Flags behind `--` are for `surestep train`, in
every run. What is there already is not done again, so the same command goes on after a stop; every command is logged
in OUT/logs. Weights are removed once their predictions are there, those of `plain` excepted.

`average_last_3` and `ensemble` train nothing: they take the runs of `plain`. The ensemble that stands beside seed s is
that of all other seeds, so that there are as many of them as seeds; they share members, and their spread over seeds is
too small for that reason.

The differences to `plain` are those of runs with the same seed on the same test steps, averaged over seeds; their
interval is a bootstrap over problems. It says what other problems would give with these seeds; the number in brackets
behind it, the standard deviation of the difference over seeds, says what other seeds would. Nothing is corrected for
the number of options: of twenty, one will leave 0 out by chance.

Writes OUT/training_options.json and prints it as two tables.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from rich.console import Console

from surestep.cli.output.fitted_table import FittedTable
from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.bootstrap.interval import percentile
from surestep.metrics.figures import FIGURES
from surestep.metrics.measure import Measure, resample
from surestep.scored import ScoredSteps
from surestep.scoring.predictions_file import read_predictions

DATA = {
    "use_prm800k": "true",
    "prm800k_phase": "1",
    "use_eqasc": "false",
    "use_reveal": "false",
    "validation_seed": "0",
}
TRAIN = {
    "max_steps": "160",
    "learning_rate": "1e-4",
    "warmup_ratio": "0.1",
    "eval_steps": "20",
    "save_steps": "20",
    "save_total_limit": "2",
    "max_steps_per_example": "none",
    "remove_overlap": "true",
}
"""Settings of the first runs of SmolLM2-135M on these data, which overtrain after three to five passes."""

LORA = {
    "preset": "lora",
    "learning_rate": "1e-3",
    "lora_r": "64",
    "lora_alpha": "128",
    "lora_target_modules": "all-linear",
}
OPTIONS: dict[str, dict[str, str]] = {
    "plain": {},
    # What is minimised.
    "mse": {"loss": "mse"},
    "pairwise_0.3": {"pairwise_weight": "0.3"},
    "pairwise_1": {"pairwise_weight": "1"},
    "pairwise_only": {"loss": "none", "pairwise_weight": "1"},
    "pqm_0.3": {"pqm_weight": "0.3"},
    "pqm_1": {"pqm_weight": "1"},
    "pqm_only": {"loss": "none", "pqm_weight": "1"},
    "smoothing_0.05": {"label_smoothing": "0.05"},
    "pos_weight_0.5": {"pos_weight": "0.5"},
    # Which labels.
    "neutral_missing": {"prm800k_neutral": "missing"},
    "neutral_right": {"prm800k_neutral": "1"},
    "after_error_wrong": {"after_first_error": "wrong"},
    "after_error_missing": {"after_first_error": "missing"},
    "binomial": {"rating_correlation": "0"},
    "balance_positions": {"balance_positions": "true"},
    # What the head reads.
    "head_mix": {"head_layers": "mix"},
    "head_mean": {"head_pooling": "mean"},
    "head_mix_mean": {"head_layers": "mix", "head_pooling": "mean"},
    "chat": {"text_frame": "chat"},
    # How weights move.
    "ema_0.9": {"ema_decay": "0.9"},
    "ema_0.98": {"ema_decay": "0.98"},
    "layer_decay_0.95": {"layer_learning_rate_decay": "0.95"},
    "layer_decay_0.9": {"layer_learning_rate_decay": "0.9"},
    "ema_0.98_layer_decay_0.9": {"ema_decay": "0.98", "layer_learning_rate_decay": "0.9"},
    "lr_2e-5": {"learning_rate": "2e-5"},
    "lr_5e-5": {"learning_rate": "5e-5"},
    "lr_2e-4": {"learning_rate": "2e-4"},
    "lora_64": LORA,
    "lora_16": LORA | {"learning_rate": "5e-4", "lora_r": "16", "lora_alpha": "32"},
    "head_only": {"learning_rate": "1e-12", "head_learning_rate": "1e-3"},
    # In which order, and how much.
    "easy_first": {"order": "easy_first"},
    "hard_first": {"order": "hard_first"},
    "data_1/8": {"max_train_samples": "106", "max_steps": "40", "eval_steps": "5", "save_steps": "5"},
    "data_1/4": {"max_train_samples": "211", "max_steps": "60", "eval_steps": "10", "save_steps": "10"},
    "data_1/2": {"max_train_samples": "423", "max_steps": "100"},
}
"""Name of an option to its settings; `plain` is what the others are compared with."""

COMBINED: dict[str, dict[str, str]] = {}
"""Settings chosen after a first round, named by `--also NAME=flag:value,flag:value`."""

OF_PLAIN_RUNS = ("average_last_3", "ensemble")
QUICK = {"save_predictions": "true", "baselines": "false", "report": "false", "bootstrap_resamples": "0"}
"""Only the predictions are read: all figures and intervals are made here, paired."""

RANKING, CALIBRATED, RAW = ("auroc",), ("mse", "nll", "ece"), ("nll", "ece")


@dataclass
class Comparison:
    """All runs of a comparison and where they lie."""

    out: Path
    backbone: str
    data_dir: Path
    seeds: range
    train: Sequence[str]
    keep_weights: bool = False
    devices: Queue[str | None] = field(default_factory=Queue)

    def command(self, arguments: Sequence[str], log: Path) -> None:
        """One command of Surestep in a process of its own, on a GPU of its turn; raises where it fails."""
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "surestep.cli.main", *arguments]
        device = self.devices.get()
        environment = os.environ if device is None else {**os.environ, "CUDA_VISIBLE_DEVICES": device}
        try:
            with log.open("a", encoding="utf-8") as file:
                file.write(f"$ {' '.join(command)}\n")
                file.flush()
                done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False)
        finally:
            self.devices.put(device)
        if done.returncode:
            raise RuntimeError(f"{log}: exit code {done.returncode}\n{log.read_text(encoding='utf-8')[-1500:]}")

    def data(self) -> list[str]:
        """Flags that name the data, with the labels of every evaluation."""
        return as_flags({**DATA, "data_dir": str(self.data_dir), "prm800k_neutral": "0.5"})

    def log(self, option: str, seed: int) -> Path:
        """Where the commands of an option with a seed write what they say."""
        return self.out / "logs" / f"{file_name(option, seed)}.log"

    def run_of(self, option: str, seed: int) -> Path:
        """The folder of a run, trained where it is not there."""
        name = file_name(option, seed)
        run = self.out / "runs" / name
        if (run / "best_checkpoint.json").exists() and list((self.out / "runs" / f"eval_{name}").glob("*.json")):
            return run
        where = {"output_dir": self.out / "runs", "experiment_name": name, "seed": seed, "backbone": self.backbone}
        settings = {**DATA, "data_dir": self.data_dir, **TRAIN, **all_options()[option], **where}
        if option == "plain":
            settings["save_total_limit"] = "3"  # what `average_last_3` reads
        settings |= dict(zip((flag.lstrip("-") for flag in self.train[::2]), self.train[1::2], strict=True))
        preset = ["--preset", str(settings.pop("preset"))] if "preset" in settings else []
        # The final report scores the validation split; what is compared is made here.
        quick = as_flags({"report": "false", "baselines": "false", "bootstrap_resamples": "0"})
        again = ["--overwrite"] if run.exists() else []
        self.command(["train", *preset, *as_flags(settings), *quick, *again], self.log(option, seed))
        return run

    def scorers_of(self, option: str, seed: int) -> list[str]:
        """What scores for an option with a seed: a run's best checkpoint, an average, or all members of an ensemble."""
        if option == "ensemble":
            return [str(self.run_of("plain", other)) for other in self.seeds if other != seed]
        if option != "average_last_3":
            return [str(self.run_of(option, seed))]
        averaged = self.out / "averaged" / file_name(option, seed)
        if not averaged.exists():
            run = self.run_of("plain", seed)
            self.command(["average", str(run), "--last", "3", "--output", str(averaged)], self.log(option, seed))
        return [str(averaged)]

    def predictions_of(self, option: str, seed: int) -> Path:
        """The test predictions of an option with a seed, calibrated on validation; made where they are not there."""
        results, log = self.out / "test" / file_name(option, seed), self.log(option, seed)
        if found := next(iter(sorted(results.glob("predictions.jsonl*"))), None):
            return found
        scorers = self.scorers_of(option, seed)
        file = self.out / "maps" / f"{file_name(option, seed)}.json"
        is_ensemble = len(scorers) > 1
        where = ["--output", str(file)] if is_ensemble else []
        self.command(["calibrate", *scorers, *self.data(), *where], log)
        applied = ["--calibration_file", str(file)] if is_ensemble else []
        self.command(
            ["evaluate", *scorers, *self.data(), *applied, "--output_dir", str(results), *as_flags(QUICK)], log
        )
        if option != "plain" and option not in OF_PLAIN_RUNS and not self.keep_weights:
            for checkpoint in Path(scorers[0]).glob("checkpoint*"):
                if checkpoint.is_dir():
                    shutil.rmtree(checkpoint)
        return next(iter(sorted(results.glob("predictions.jsonl*"))))


def as_flags(settings: Mapping[str, Any]) -> list[str]:
    """`--name value` of each."""
    return [part for name, value in settings.items() for part in (f"--{name}", str(value))]


def file_name(option: str, seed: int) -> str:
    """Of an option with a seed."""
    return f"{option.replace('/', '_of_')}_seed{seed}"


def all_options() -> dict[str, dict[str, str]]:
    """Those written here and those named by `--also`."""
    return OPTIONS | COMBINED


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


def make_all(comparison: Comparison, names: Sequence[str], *, jobs: int, say: Any) -> None:
    """Make the predictions of all options and seeds, a seed of every option before the next; says what failed."""
    wanted = [(name, seed) for seed in comparison.seeds for name in names]
    first = [one for one in wanted if one[0] not in OF_PLAIN_RUNS]
    failed = []
    with ThreadPoolExecutor(jobs) as pool:
        for part in (first, [one for one in wanted if one[0] in OF_PLAIN_RUNS]):
            running = {pool.submit(comparison.predictions_of, *one): one for one in part}
            for number, future in enumerate(as_completed(running), start=1):
                option, seed = running[future]
                say(f"{number} of {len(part)}: {option}, seed {seed}")
                if (error := future.exception()) is not None:
                    failed.append(f"{option}, seed {seed}: {error}")
    if failed:
        raise SystemExit("\n".join([f"{len(failed)} runs failed:", *failed]))


def scored(comparison: Comparison, names: Sequence[str]) -> Iterator[tuple[str, ScoredSteps]]:
    """The test steps of each option with each seed, all of them the same steps."""
    reference: ScoredSteps | None = None
    for option in names:
        for seed in comparison.seeds:
            steps = read_predictions(comparison.predictions_of(option, seed)).measured().densely()
            reference = reference or steps
            if not (np.array_equal(steps.label, reference.label) and np.array_equal(steps.problem, reference.problem)):
                raise SystemExit(f"{option}, seed {seed}: other test steps or labels than the first run")
            yield option, steps


def compared(comparison: Comparison, names: Sequence[str], *, resamples: int) -> dict[str, Any]:
    """Everything that was measured, JSON-ready."""
    runs: dict[str, list[dict[str, Any]]] = {}
    about: dict[str, Any] = {"backbone": comparison.backbone, "seeds": list(comparison.seeds)}
    for option, steps in scored(comparison, names):
        about |= {"num_steps": len(steps), "num_problems": steps.num_problems}
        runs.setdefault(option, []).append(measured(steps, Draws(steps.num_problems, resamples)))
    figures = list(runs["plain"][0])
    return {
        **about,
        "train": {**DATA, **TRAIN, "flags": list(comparison.train)},
        "options": {
            option: {
                "settings": all_options().get(option, "the runs of plain"),
                "figures": {name: [run[name][0] for run in found] for name in figures},
                "minus_plain": {name: difference(found, runs["plain"], name) for name in figures},
            }
            for option, found in runs.items()
        },
    }


def tables(found: dict[str, Any]) -> tuple[FittedTable, FittedTable]:
    """The means over seeds, and the differences to `plain`."""
    names = list(found["options"]["plain"]["figures"])
    means = FittedTable(
        f"test split, mean over {len(found['seeds'])} seeds; {found['num_steps']:,} steps, "
        f"{found['num_problems']} problems"
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


def parse() -> argparse.Namespace:
    """The arguments; `train` are those behind `--`."""
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--backbone", required=True, help="folder of SmolLM2, or builtin:tiny")
    parser.add_argument("--data_dir", type=Path, required=True, help="folder that holds PRM800K")
    parser.add_argument("--seeds", type=int, default=5, help="an ensemble takes three or more (default: 5)")
    parser.add_argument("--first_seed", type=int, default=42)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side (default: 1)")
    parser.add_argument("--keep_weights", action="store_true", help="also those of runs that are no more needed")
    parser.add_argument("--also", nargs="+", default=[], help="more options, as NAME=flag:value,flag:value")
    parser.add_argument("--only", nargs="+", help=f"of {', '.join((*OPTIONS, *OF_PLAIN_RUNS))}")
    given = parser.parse_args(arguments[:cut])
    given.train = arguments[cut + 1 :]
    for one in given.also:
        name, _, settings = one.partition("=")
        COMBINED[name] = dict(pair.split(":", 1) for pair in settings.split(","))
    known = (*all_options(), *OF_PLAIN_RUNS)
    given.only = list(dict.fromkeys(["plain", *(known if given.only is None else given.only), *COMBINED]))
    if unknown := [name for name in given.only if name not in known]:
        parser.error(f"--only {' '.join(unknown)}: choose from {', '.join(known)}")
    if "ensemble" in given.only and given.seeds < 3:
        parser.error(f"--seeds {given.seeds}: the ensemble beside a seed is that of the others, so 3 or more")
    return given


def main() -> None:
    """Train, evaluate, compare."""
    given = parse()
    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    seeds = range(given.first_seed, given.first_seed + given.seeds)
    comparison = Comparison(given.out, given.backbone, given.data_dir, seeds, given.train, given.keep_weights)
    gpus = torch.cuda.device_count()
    for job in range(given.jobs):
        comparison.devices.put(str(job % gpus) if gpus > 1 else None)
    make_all(comparison, given.only, jobs=given.jobs, say=say)
    found = compared(comparison, given.only, resamples=given.resamples)
    (given.out / "training_options.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for table in tables(found):
        Console(width=200).print(table)


if __name__ == "__main__":
    main()
