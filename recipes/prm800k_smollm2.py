"""A reference run that anyone can repeat: a real small language model on PRM800K phase 1, from data to model card.

    python recipes/prm800k_smollm2.py                          a GPU; the backbone comes from the hub, the data by fetch
    python recipes/prm800k_smollm2.py --seeds 1 2 3 4 5        the same five times, and the mean over the seeds
    python recipes/prm800k_smollm2.py --seeds 1 2 3 --jobs 3   the same side by side, on the GPUs in turn
    python recipes/prm800k_smollm2.py --setting lora           LoRA of rank 64 on all linear layers, at 1e-3
    python recipes/prm800k_smollm2.py --reduced                two CPU cores, half an hour: the whole way, no quality
    python recipes/prm800k_smollm2.py --backbone FOLDER --data_dir FOLDER   what is here already, without a network

For each seed: `surestep train` with recipes/prm800k_smollm2.yaml, `calibrate` on validation, `evaluate` on the test
split (eval_metrics.json, predictions, page, card), `certify` at 0.2, 0.1 and 0.05, and, where their files are below
`--data_dir`, `benchmark processbench` (its threshold chosen on the validation problems of PRM800K) and `benchmark
best-of-n`. Each command is printed and can be given by hand. At the end a table, and
`summary.json` with the figures of every seed, their mean, seconds, hardware and versions.

The backbone is HuggingFaceTB/SmolLM2-135M-Instruct (Apache-2.0); `--backbone` also takes a folder of it, as
`hf download HuggingFaceTB/SmolLM2-135M-Instruct --local-dir FOLDER` writes it. Say so where the weights are not exactly
the published ones. PRM800K (MIT) is fetched from its authors where it is not in `--data_dir`.

The reduced form takes problems out of the shortest fifth of those files, by a hash of the seed 0 and the problem: so
few, and so short ones, that its figures say that the way works, and nothing about the method.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from surestep.data.sources.hold_out import held_out, place
from surestep.data.trees.identity import normalize_text
from surestep.files import write_json, write_text
from surestep.metrics.report.wording import number
from surestep.scoring.checkpoint.versions import git_commit, library_versions
from surestep.untrusted import read_json, read_json_lines

CONFIG = Path(__file__).with_suffix(".yaml")
LORA = {
    "preset": "lora",
    "learning_rate": "1e-3",
    "layer_learning_rate_decay": "none",
    "lora_r": "64",
    "lora_alpha": "128",
    "lora_target_modules": "all-linear",
}
REDUCED = {
    "max_steps": "8",
    "ema_decay": "none",  # eight steps have no average
    "gradient_accumulation_steps": "1",
    "max_length": "384",
    "validation_fraction": "0.4",  # calibration needs ten problems
    "validation_samples": "4",
    "eval_steps": "8",
    "save_steps": "8",
    "logging_steps": "1",
    "bootstrap_resamples": "500",
}
REDUCED_PROBLEMS = {"train": 40, "test": 12}
REDUCED_SOLUTIONS = 6
SHORTEST_SHARE = 0.2
FIGURES = ("auroc", "mse", "r2", "nll", "ece")
ALPHAS = (0.2, 0.1, 0.05)
"""Shares of problems that may keep a wrong step, promised by a certificate each."""


def main() -> int:
    """Run the recipe; 0 when all of it ran."""
    args = parse()
    out: Path = args.output_dir
    data_dir = fetched(args.data_dir)
    if args.reduced:
        data_dir = reduced_data(data_dir, out / "data")
    validation = validation_file(data_dir, out / "data", {} if not args.reduced else REDUCED)
    with ThreadPoolExecutor(args.jobs) as pool:
        runs = list(pool.map(lambda seed: one_seed(args, seed, data_dir, validation), args.seeds))
    summary = {
        "recipe": "prm800k_smollm2",
        "setting": args.setting,
        "reduced": args.reduced,
        "backbone": args.backbone,
        "hardware": hardware(),
        "versions": library_versions(),
        "git_commit": git_commit(),
        "seeds": {str(seed): run for seed, run in zip(args.seeds, runs, strict=True)},
        "mean": {
            figure: sum(run["test"][figure] for run in runs) / len(runs)
            for figure in FIGURES
            if all(run["test"][figure] is not None for run in runs)
        },
    }
    write_json(out / "summary.json", summary)
    table = table_of(summary)
    write_text(out / "summary.md", table, advice="choose another --output_dir")
    print(table)
    print(f"summary: {out / 'summary.json'}")
    return 0


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description="Train, calibrate, evaluate and benchmark the reference run.")
    parser.add_argument("--backbone", default="HuggingFaceTB/SmolLM2-135M-Instruct", help="hub id, or a folder of it")
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="where PRM800K is, or is fetched to")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/prm800k_smollm2"), help="where all of it goes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="one run of training each")
    parser.add_argument("--jobs", type=int, default=1, help="seeds side by side, on the GPUs in turn (default: 1)")
    parser.add_argument("--setting", choices=("full", "lora"), help="default: full; lora for the reduced form")
    parser.add_argument("--reduced", action="store_true", help="few short problems, a few steps, on the CPU")
    args = parser.parse_args()
    args.setting = args.setting or ("lora" if args.reduced else "full")
    return args


def fetched(data_dir: Path) -> Path:
    """The folder of the data, with PRM800K phase 1 in it."""
    if not any(path.name == "phase1_train.jsonl" for path in data_dir.rglob("phase1_train.jsonl")):
        surestep("data", "fetch", "prm800k", "--only", "phase1*", "--data_dir", str(data_dir))
    return data_dir


def validation_file(data_dir: Path, folder: Path, settings: Mapping[str, str]) -> Path:
    """The rows of the problems that training holds out, as a file: where ProcessBench's threshold is chosen."""
    data = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["data"]
    fraction = float(settings.get("validation_fraction", data["validation_fraction"]))
    rows = list(read_json_lines(next(data_dir.rglob("phase1_train.jsonl"))))
    keys = [normalize_text(row["question"]["problem"]) for row in rows]
    places = np.array([place(data["validation_seed"], key) for key in keys], np.uint64)
    out = held_out(places, fraction=fraction)
    target = folder / "validation.jsonl"
    write_rows(target, [row for row, is_out in zip(rows, out, strict=True) if is_out])
    return target


def one_seed(args: argparse.Namespace, seed: int, data_dir: Path, validation: Path) -> dict[str, Any]:
    """Train, calibrate, evaluate, certify, benchmark; the figures and the seconds that each took."""
    name = f"{args.setting}{'_reduced' if args.reduced else ''}_seed_{seed}"
    run, results = args.output_dir / name, args.output_dir / f"eval_{name}"
    flags = {"experiment_name": name, "output_dir": args.output_dir, "backbone": args.backbone, "seed": seed}
    flags |= {"data_dir": data_dir, "cache_dir": args.output_dir / "cache"}
    flags |= LORA if args.setting == "lora" else {}
    flags |= {**REDUCED, "device": "cpu"} if args.reduced else {}
    place_flags = ["--data_dir", str(data_dir), "--cache_dir", str(args.output_dir / "cache")]
    device = gpu_of(args.seeds.index(seed))
    seconds: dict[str, dict[str, float]] = {}
    again = ["--resume"] if run.is_dir() else []
    seconds["train"] = surestep("train", "--config", str(CONFIG), *as_flags(flags), *again, device=device)
    seconds["calibrate"] = surestep("calibrate", "--checkpoint", str(run), *place_flags, device=device)
    seconds["evaluate"] = surestep(
        "evaluate", "--checkpoint", str(run), "--output_dir", str(results / "test"), *place_flags, device=device
    )
    certificates = {}
    for alpha in ALPHAS:
        certificates[str(alpha)] = str(results / f"certificate_{alpha}.json")
        wanted = ("--alpha", str(alpha), "--no_store", "--out", certificates[str(alpha)])
        seconds[f"certify {alpha}"] = surestep(
            "certify", "--checkpoint", str(run), *wanted, *place_flags, device=device
        )
    benchmarks = {}
    chosen_on = ("--threshold_data", str(validation), "--threshold_format", "prm800k")
    for benchmark, found in (("processbench", "ProcessBench"), ("best-of-n", "GSM8K")):
        if files := sorted(path for path in data_dir.glob(f"{found}/*") if path.is_file()):
            folder = results / benchmark
            command = ["benchmark", benchmark, "--checkpoint", str(run), "--data", str(files[0])]
            more = chosen_on if benchmark == "processbench" else ()
            seconds[benchmark] = surestep(*command, *more, "--output_dir", str(folder), device=device)
            benchmarks[benchmark] = str(folder)
    test = read_json(results / "test" / "eval_metrics.json")
    overall = test["overall"]
    return {
        "checkpoint": test["checkpoint"],
        "test": {
            "steps": overall["num_steps"],
            "problems": overall["num_problems"],
            **{figure: overall[figure] for figure in FIGURES},
            "intervals": {figure: overall["intervals"].get(figure) for figure in FIGURES},
        },
        "calibration": test["calibration"].get("applied"),
        "results": str(results),
        "certificates": certificates,
        "benchmarks": benchmarks,
        "seconds": seconds,
    }


def surestep(*arguments: str, device: str | None = None) -> dict[str, float]:
    """Run a command of Surestep, shown as it can be given by hand; the seconds that it took, by clock and of CPU.

    On a machine that others use, the latter is what it takes. Ends the recipe with the command's own exit code where it
    fails: its message has been shown.
    """
    print(f"\n$ surestep {' '.join(arguments)}", flush=True)
    start = time.monotonic()
    environment = os.environ if device is None else {**os.environ, "CUDA_VISIBLE_DEVICES": device}
    process = subprocess.Popen([sys.executable, "-m", "surestep.cli.main", *arguments], env=environment)
    _, status, used = os.wait4(process.pid, 0)  # of this command alone: others may run beside it
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    return {"clock": round(time.monotonic() - start, 1), "cpu": round(used.ru_utime + used.ru_stime, 1)}


def gpu_of(job: int) -> str | None:
    """The GPU whose turn it is; None where there are not several."""
    import torch

    gpus = torch.cuda.device_count()
    return str(job % gpus) if gpus > 1 else None


def as_flags(values: dict[str, Any]) -> Iterator[str]:
    """`--name value` of each."""
    for name, value in values.items():
        yield from (f"--{name}", str(value))


def reduced_data(data_dir: Path, folder: Path) -> Path:
    """A folder with a few of the shortest problems of PRM800K phase 1, and of the benchmarks that are there."""
    for split, count in REDUCED_PROBLEMS.items():
        source = next(data_dir.rglob(f"phase1_{split}.jsonl"))
        rows = list(read_json_lines(source))
        lengths: dict[str, int] = {}
        for row in rows:
            problem = normalize_text(row["question"]["problem"])
            steps = row["label"]["steps"]
            texts = (part["text"] for step in steps for part in step["completions"] or ())
            lengths[problem] = lengths.get(problem, 0) + sum(map(len, texts))
        shortest = sorted(lengths, key=lambda problem: lengths[problem])[: int(SHORTEST_SHARE * len(lengths))]
        chosen = set(sorted(shortest, key=lambda problem: place(0, problem))[:count])
        kept = [row for row in rows if normalize_text(row["question"]["problem"]) in chosen]
        write_rows(folder / "PRM800K" / source.name, kept)
    for name, few in (("ProcessBench", REDUCED_SOLUTIONS), ("GSM8K", REDUCED_SOLUTIONS // 2)):
        for source in sorted(path for path in data_dir.glob(f"{name}/*") if path.is_file())[:1]:
            is_lines = source.suffix == ".jsonl"
            rows = list(read_json_lines(source)) if is_lines else read_json(source)
            target = folder / name / source.name
            if is_lines:
                write_rows(target, rows[:few])
            else:
                # As many with an error as without: a benchmark asks for both.
                wrong = [row for row in rows if row["label"] != -1][: few // 2]
                write_json(target, wrong + [row for row in rows if row["label"] == -1][: few - len(wrong)])
    return folder


def write_rows(path: Path, rows: list[Any]) -> None:
    """A JSON object a line."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(path, text, advice="choose another --output_dir")


def hardware() -> dict[str, Any]:
    """What it ran on."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    model = next(
        (line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")), platform.machine()
    )
    return {"gpu": gpu, "cpu": model, "cores": os.cpu_count(), "threads": torch.get_num_threads()}


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def table_of(summary: dict[str, Any]) -> str:
    """The figures as a Markdown table, the mean over seeds last."""
    lines = [
        f"| seed | {' | '.join(figure.upper() for figure in FIGURES)} | minutes | of CPU |",
        f"|---|{'---|' * (len(FIGURES) + 2)}",
    ]
    for seed, run in summary["seeds"].items():
        cells = []
        for figure in FIGURES:
            interval = run["test"]["intervals"].get(figure) or {}
            low, high = interval.get("low"), interval.get("high")
            around = "" if low is None else f" [{number(low, 3)}, {number(high, 3)}]"
            cells.append(number(run["test"][figure], 3) + around)
        minutes = (sum(taken[kind] for taken in run["seconds"].values()) / 60 for kind in ("clock", "cpu"))
        lines.append(f"| {seed} | {' | '.join(cells)} | {' | '.join(f'{value:.1f}' for value in minutes)} |")
    if len(summary["seeds"]) > 1:
        means = (number(summary["mean"].get(figure), 3) for figure in FIGURES)
        lines.append(f"| mean | {' | '.join(means)} | | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
