"""`surestep compare`: evaluations side by side, and which differences are real."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from surestep.cli.output.console import add_json_flag, make_console, say_json
from surestep.counted import counted
from surestep.errors import ConfigError

_COLUMNS = ("mse", "mae", "r2", "ece", "nll", "auroc", "accuracy")
_MANY = 100_000


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "runs",
        nargs="*",
        type=Path,
        metavar="RUN",
        help="an eval_metrics.json, its folder, a checkpoint_step_<N>, or an experiment's folder",
    )
    parser.add_argument(
        "--scorer",
        action="append",
        default=[],
        metavar="FORM:PATH|FILE.json",
        help="the latest evaluation of this scorer, as `surestep evaluate --scorer` named it; may stand several times",
    )
    parser.add_argument(
        "--outputs",
        type=Path,
        default=Path("outputs"),
        metavar="FOLDER",
        help="where --scorer looks (default: outputs)",
    )
    parser.add_argument("--sort", default="nll", metavar="FIGURE", help="figure that decides the order (default: nll)")
    parser.add_argument(
        "--dataset", default="overall", metavar="NAME", help="compare on this dataset alone (default: overall)"
    )
    parser.add_argument(
        "--split", choices=("test", "validation"), help="take results of this split only (default: what is there)"
    )
    parser.add_argument(
        "--allow_different",
        "--allow-different",
        action="store_true",
        help="show runs of different splits or data too, and what differs",
    )
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="bootstrap resamples (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the bootstrap (default: 0)")
    add_json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Compare; 0 when done."""
    if not 100 <= args.resamples <= _MANY:
        raise ConfigError(f"--resamples is {args.resamples}; allowed: 100 to {_MANY}")
    if args.seed < 0:
        raise ConfigError(f"--seed is {args.seed}; allowed: 0 or more")

    from surestep.evaluation.compare.runs import check_sort, compare_runs
    from surestep.evaluation.results.find import find_evaluation, find_scorer_evaluation

    if not args.runs and not args.scorer:
        raise ConfigError("name what is compared: RUN ..., or --scorer FORM:PATH ...")
    sort = check_sort(args.sort)
    runs = [find_evaluation(path, split=args.split) for path in args.runs]
    runs += [find_scorer_evaluation(spec, args.outputs, split=args.split) for spec in args.scorer]
    result = compare_runs(
        runs,
        sort=sort,
        dataset=args.dataset,
        allow_different=args.allow_different,
        resamples=args.resamples,
        seed=args.seed,
    )
    if args.json:
        say_json(result)
    else:
        _print(result)
    return 0


def _print(result: dict[str, Any]) -> None:
    from surestep.cli.output.fitted_table import FittedTable
    from surestep.metrics.report.wording import figure

    console = make_console()
    has_cost = any(row["cost"] for row in result["runs"])
    columns = dict.fromkeys((result["sort"], *_COLUMNS))
    table = FittedTable(f"{result['dataset']}, by {result['sort']} ({result['better']} is better)")
    cost = ("map", "tokens", "seconds") if has_cost else ()
    table.add_columns_of("split", "step", "steps", *columns, *cost, first="run")
    for row in result["runs"]:
        table.add_cells(
            row["name"],
            row["split"],
            "–" if row["step"] is None else str(row["step"]),
            f"{row['num_steps']:,}",
            *(figure(row["figures"].get(name)) for name in columns),
            *(_cost(row) if has_cost else ()),
        )
    console.print(table)
    for row in result["runs"]:
        console.print(f"· {row['name']}: {row['verdict']}", markup=False, highlight=False)
    if len(result["runs"]) > 1:
        console.print(
            f"differences are to {result['best']}, on the steps that both scored, with {result['level']:.0%} intervals "
            f"by {counted(result['resamples'], 'paired resample')} of problems (seed {result['seed']})",
            markup=False,
            highlight=False,
        )
    for note in result["notes"]:
        console.print(f"· {note}", markup=False, highlight=False)


def _cost(row: dict[str, Any]) -> tuple[str, str, str]:
    """The calibration map that was applied, the tokens read and written, and the seconds of scoring."""
    cost = row["cost"] or {}
    tokens = [cost.get(name) for name in ("tokens_read", "tokens_written")]
    known = [count for count in tokens if count is not None]
    seconds = cost.get("seconds")
    return (
        row["calibration"] or "–",
        f"{sum(known):,}" if len(known) == len(tokens) else "–",
        "–" if seconds is None else f"{seconds:,.1f}",
    )
