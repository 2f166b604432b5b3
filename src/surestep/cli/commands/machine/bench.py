"""`surestep bench`: how fast this machine trains and scores, with the program's own loop."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surestep.cli.commands.machine.bench_sweep import DEFAULT_LOG, add_sweep_flags, refuse_unread_flags, run_sweep
from surestep.cli.flags import PRESETS, add_config_flags, fields, override
from surestep.cli.output.console import add_json_flag, result_console, say
from surestep.cli.output.fitted_table import FittedTable
from surestep.config import Config
from surestep.counted import counted
from surestep.errors import ConfigError, DoesNotFitError, is_out_of_memory
from surestep.terminal_text import in_one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from surestep.bench.timing import Measurement
    from surestep.encoding.encoded_tree import EncodedTree
    from surestep.scoring.build_model import BuiltModel
    from surestep.scoring.hardware import Hardware

_KEPT = ("model.", "lora.", "training.", "eval.", "data.max_length")
_WORKS = {
    "train": "examples of mixed lengths, as PRM800K, REVEAL and eQASC mix",
    "trees": "problem trees with alternatives at every step, as PRM800K's phase 1",
    "score": "the same mixed lengths, and 64 candidates of one problem with and without their shared prefix",
    "sweep": "training (LoRA and full) and scoring of many shapes, each in a process of its own, as one table",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "work", choices=sorted(_WORKS), help="; ".join(f"{name}: {text}" for name, text in _WORKS.items())
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), help="settings to start from (default: lora)")
    parser.add_argument(
        "--shape",
        help="random weights of this shape, made in memory: 135m, 0.6b, 1.7b, 4b (qwen3-4b), 8b, 30b-moe or small "
        "(default: small, where no --backbone is named)",
    )
    parser.add_argument(
        "--budgets", type=int, nargs="+", metavar="TOKENS", help="token budgets to measure, one row each"
    )
    parser.add_argument("--steps", type=int, default=4, help="optimiser steps in one repeat (default: 4)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats, of which the median counts (default: 3)")
    parser.add_argument(
        "--examples",
        type=int,
        help="examples in one optimiser step, or scored (default: as documented, and what fills two passes; scored: "
        "1024, on a CPU 64)",
    )
    parser.add_argument(
        "--profile",
        type=int,
        metavar="N",
        help="also list the N kernels (on a CPU, operations) that take most of the time, of one more repeat",
    )
    add_json_flag(parser)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help=f"append the JSON line to this file too; of a sweep: where measurements are kept (default: {DEFAULT_LOG})",
    )
    add_sweep_flags(parser)
    paths = {path for path, _ in fields()}
    add_config_flags(parser, exclude=frozenset(path for path in paths if not path.startswith(_KEPT)), from_file=False)


def run(args: argparse.Namespace) -> int:
    """Measure; 0 when done."""
    refuse_unread_flags(args)
    _refuse_nothing_to_do(args)
    if args.work == "sweep":
        return run_sweep(args)
    from surestep.bench.backbone_shapes import SHAPES
    from surestep.bench.memory import finding_of
    from surestep.scoring.hardware import choose_hardware

    if args.shape is not None and args.shape not in SHAPES:
        raise ConfigError(f"--shape is {args.shape!r}; allowed: {', '.join(SHAPES)}")
    config = override(_base(args), args)
    config.check()
    named = config.model.backbone != Config().model.backbone
    if named and args.shape is not None:
        raise ConfigError("name either --shape or --backbone")
    shape = args.shape or (None if named else "small")
    hardware = choose_hardware(config.training.device, config.training.mixed_precision)
    try:
        return _run_one(args, config, shape, hardware)
    except Exception as error:
        if args.json and is_out_of_memory(error):
            finding = finding_of(error, shape or config.model.backbone, hardware.device)
            say(json.dumps({"bench": args.work, "rows": [], "does_not_fit": [finding]}))
        raise


def _run_one(args: argparse.Namespace, config: Config, shape: str | None, hardware: Hardware) -> int:
    from surestep.bench.backbone_shapes import build_shape
    from surestep.bench.memory import refuse_what_cannot_fit
    from surestep.bench.timing import environment, matmul_ceiling, sustained_ceiling
    from surestep.scoring.build_model import prepare_for_scoring
    from surestep.scoring.hardware import nf4_device
    from surestep.training.optimizer.adamw_8bit import check_8bit_optimizer

    console = result_console(args)
    if config.training.optimizer == "adamw_8bit":
        check_8bit_optimizer()
    nf4_device(config.lora, hardware)
    if shape is not None:
        refuse_what_cannot_fit(config, hardware, shape, training=args.work != "score")
    ceiling = matmul_ceiling(hardware)
    sustained = sustained_ceiling(hardware)
    built = build_shape(config, hardware, shape)
    if args.work == "score":
        prepare_for_scoring(built, config.eval.scoring_weights)
    compiling = built.compile_if_worth(config.model.compile, float("inf"))
    for line in [*built.reasons, *([compiling] if compiling else [])]:
        console.print(f"· {line}", markup=False, highlight=False)
    console.print(
        f"· ceiling: {ceiling / 1e12:,.2f} TFLOP/s, one large matrix product; {sustained / 1e12:,.2f} sustained for a "
        "second",
        markup=False,
        highlight=False,
    )
    rows, unfit = _measure(args, config, built, ceiling)
    if not args.json:
        _print(console, rows, unfit, ceiling / sustained)
    record: dict[str, Any] = {
        "bench": args.work,
        "backbone": built.backbone.name,
        "ceiling_tflops": ceiling / 1e12,
        "sustained_tflops": sustained / 1e12,
        **environment(hardware),
        "rows": [row.to_dict() for row in rows],
        "does_not_fit": unfit,
    }
    line = json.dumps(record)
    say(line)
    if args.output is not None:
        with args.output.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    return 0


def _base(args: argparse.Namespace) -> Config:
    config: Config = PRESETS[args.preset or "lora"]()
    config.training.warmup_steps = 0
    return config


def _measure(
    args: argparse.Namespace, config: Config, built: BuiltModel, ceiling: float
) -> tuple[list[Measurement], list[dict[str, Any]]]:
    """The rows, and what did not fit.

    Raises:
        DoesNotFitError: nothing did.
    """
    from surestep.bench.memory import unless_memory_ends

    rows: list[Measurement] = []
    unfit: list[dict[str, Any]] = []
    for name, measure in _works(args, config, built, ceiling):
        found = unless_memory_ends(measure, name, built.hardware.device)
        if isinstance(found, dict):
            unfit.append(found)
            built.model.zero_grad(set_to_none=True)  # what the broken pass left is no part of the next row
        else:
            rows.append(found)
    if not rows:
        raise DoesNotFitError(f"{unfit[0]['name']}: {unfit[0]['why']}; use a smaller --shape or smaller --budgets")
    return rows, unfit


def _works(
    args: argparse.Namespace, config: Config, built: BuiltModel, ceiling: float
) -> Iterator[tuple[str, Callable[[], Measurement]]]:
    """The name of each row, and what measures it."""
    import numpy as np

    from surestep.bench.example_work import bushy, candidates, chain, chain_lengths, paths_of

    on_gpu = built.hardware.device.type == "cuda"
    shape: dict[str, int] = {
        "num_ids": built.model.embedding.weight.shape[0],
        "confidence_id": built.model.confidence_id,
    }
    random = np.random.default_rng(config.training.seed)
    longest = config.data.max_length if built.backbone.max_positions is None else built.backbone.max_positions
    longest = min(longest, config.data.max_length)
    if args.work == "score":
        from surestep.bench.score import bench_scoring

        count = args.examples or (1024 if on_gpu else 64)
        trees = [chain(length, random, **shape) for length in chain_lengths(count, longest=longest)]
        one = [candidates(64, random, **shape) for _ in range(16 if on_gpu else 1)]
        flat = [path for tree in one for path in paths_of(tree)]
        scorer = built.scorer(config)
        if args.budgets:
            scorer.may_shrink = False  # a row is of passes of the size that was asked for, or does not fit

        def name_of(work: str) -> str:
            return f"{work}, passes of {scorer.token_budget:,}"

        def scored(work: str, of_work: Sequence[EncodedTree]) -> Measurement:
            options = {"repeats": args.repeats, "profiled": args.profile or 0}
            found = bench_scoring(work, built, scorer, of_work, ceiling=ceiling, **options)
            return replace(found, name=name_of(work))  # smaller ones than at first, where memory ran out

        for budget in args.budgets or [scorer.token_budget]:
            scorer.token_budget = budget
            works: list[tuple[str, Sequence[EncodedTree]]] = [
                ("mixed lengths", trees),
                ("64 candidates, as a tree", one),
                ("64 candidates, flat", flat),
            ]
            for work, of_work in works:
                yield name_of(work), partial(scored, work, of_work)
        return

    from surestep.bench.train import bench_training
    from surestep.training.run import choose_token_budget

    documented, _ = choose_token_budget(config.training, built, max_length=config.data.max_length)
    for budget in args.budgets or [None, 16384 if on_gpu else 4096]:
        examples = _examples(args, config, budget)
        count = (args.steps * args.repeats + 4) * examples
        if args.work == "trees":
            trees = [bushy(random, **shape) for _ in range(min(count, 2000))]
        else:
            trees = [chain(length, random, **shape) for length in chain_lengths(min(count, 20000), longest=longest)]
        name = "as documented: 4 x 4 examples" if budget is None else f"passes of {counted(budget, 'token')}"
        chosen = config.model_copy(deep=True)
        if budget is not None:
            chosen.training.per_device_train_batch_size, chosen.training.gradient_accumulation_steps = examples, 1
        yield (
            name,
            partial(
                bench_training,
                name,
                built,
                chosen,
                trees,
                token_budget=budget or documented,
                ceiling=ceiling,
                steps=args.steps,
                repeats=args.repeats,
                profiled=args.profile or 0,
            ),
        )


def _refuse_nothing_to_do(args: argparse.Namespace) -> None:
    for name in ("budgets", "steps", "repeats", "examples", "profile"):
        values = getattr(args, name)
        for value in values if isinstance(values, list) else [values]:
            if value is not None and value < 1:
                raise ConfigError(f"--{name} is {value}; it must be at least 1")


def _examples(args: argparse.Namespace, config: Config, budget: int | None) -> int:
    """Examples in an optimiser step: as documented, as told, or about two passes that are nearly full."""
    if args.examples is not None:
        return int(args.examples)
    if budget is None:
        return config.training.per_device_train_batch_size * config.training.gradient_accumulation_steps
    mean = 1000 if args.work == "trees" else 235
    # With two full passes' worth on average, half of the steps would overflow them, and become three shorter passes.
    return max(4, round(1.84 * budget) // mean)


def _print(console: Console, rows: Sequence[Measurement], unfit: Sequence[dict[str, Any]], held_back: float) -> None:
    from surestep.bench.warm_up import still_warming

    table = FittedTable()
    titles = ("tokens/s", "steps/s", "of ceiling", "of sustained", "peak GB", "padding", "first step", "spread")
    table.add_columns_of(*titles, first="work")
    for row in rows:
        table.add_cells(
            row.name,
            f"{row.tokens_per_s:,.0f}",
            f"{row.labels_per_s:,.1f}",
            f"{row.ceiling_share:.0%}",
            f"{row.ceiling_share * held_back:.0%}",
            f"{row.peak_gb:.1f}",
            f"{row.padding:.1%}",
            f"{row.first_step_s:.1f} s",
            f"{row.spread:.0%}",
        )
    console.print(table)
    for finding in unfit:
        console.print(f"· {finding['name']}: does not fit: {finding['why']}", markup=False, highlight=False)
    console.print("steps/s: labelled steps trained on, or steps scored; spread: of the repeats", markup=False)
    for row in rows:
        if remark := still_warming(row.settings):
            console.print(f"· {row.name}: {remark}", markup=False, highlight=False)
        if profile := row.settings.get("profile"):
            _print_profile(console, row.name, profile)


def _print_profile(console: Console, name: str, profile: dict[str, Any]) -> None:
    wall, busy = profile["wall_s"], profile["busy_s"]
    table = FittedTable(title=f"{name}: {wall:,.3f} s, of which {busy:,.3f} s ({busy / wall:.0%}) busy")
    table.add_columns_of("ms", "share", "runs", first="kernel")
    for kernel in profile["kernels"]:
        table.add_cells(
            in_one_line(kernel["name"])[:60],
            f"{kernel['seconds'] * 1e3:,.1f}",
            f"{kernel['seconds'] / wall:.0%}",
            f"{kernel['runs']:,}",
        )
    console.print(table)
