"""`surestep benchmark`: first errors, wrong steps, best-of-N.

Knows arguments and printing; the work is done in `surestep.evaluation`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from surestep.cli.flags import add_config_flags, fields, override
from surestep.cli.scorers import add_scorer_flags, one_of, opened_scorer
from surestep.data.datasets import TREE_LAYOUTS
from surestep.errors import ConfigError

if TYPE_CHECKING:
    from surestep.scoring.protocol import Scorer
    from surestep.scoring.stored_split import ProgressFactory

_FLAGS = frozenset(
    {
        *("training.device", "training.mixed_precision", "model.backbone", "model.attention"),
        *("eval.eval_token_budget", "eval.save_predictions", "data.bad_rows"),
    }
)
"""What of the configuration a benchmark heeds."""

_Outcome = tuple[dict[str, Any], list[dict[str, Any]]]
"""The report of a benchmark and its rows of confidences, both JSON-ready."""

RESULT_NAMES = {"processbench": "processbench", "prmbench": "prmbench", "best-of-n": "best_of_n"}
"""Benchmark to the name of its result file."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the benchmarks and their flags."""
    actions = parser.add_subparsers(dest="benchmark", metavar="BENCHMARK", required=True)
    process = actions.add_parser(
        "processbench", help="is the first step below the threshold the first wrong one?", allow_abbrev=False
    )
    prm = actions.add_parser("prmbench", help="are the wrong steps found, and only those?", allow_abbrev=False)
    best = actions.add_parser("best-of-n", help="is the best-scored of N candidates right?", allow_abbrev=False)

    _flag(
        process,
        "threshold",
        type=_share,
        metavar="T",
        help="measure at this threshold too, fixed beforehand; 0.5 always is measured",
    )
    _flag(
        process,
        "threshold_data",
        type=Path,
        metavar="FILE",
        help="measure at the threshold with the highest mean F1 on this other file (or folder) too",
    )
    _flag(
        process,
        "threshold_format",
        choices=("processbench", *sorted(TREE_LAYOUTS)),
        default="processbench",
        help="layout of --threshold_data (default: processbench); for the others each path of a tree is a solution",
    )
    _flag(
        process,
        "threshold_predictions",
        type=Path,
        metavar="FILE",
        help="with --predictions: the confidences for --threshold_data (default: --predictions holds them)",
    )
    _flag(
        prm, "threshold", type=_share, default=0.5, metavar="T", help="a step below it is called wrong (default: 0.5)"
    )
    _flag(
        best,
        "n",
        type=_sizes,
        metavar="N,N,...",
        help="the N to measure (default: 1,2,4,... up to the smallest number of candidates)",
    )
    for action, holds in (
        (process, "subsets, a file each, or folders of them"),
        (prm, "PRMBench's file"),
        (best, "candidates with their correctness (docs/reference/benchmarks.md)"),
    ):
        _flag(action, "data", type=Path, nargs="+", required=True, metavar="FILE_OR_FOLDER", help=holds)
        _flag(action, "checkpoint", type=Path, metavar="FOLDER", help="a checkpoint_step_<N> folder that scores")
        if action is not best:
            _flag(
                action,
                "predictions",
                type=Path,
                metavar="FILE",
                help="confidences of any scorer instead: one line a solution, {subset, id, confidences: [...]}",
            )
        # A map may tie what the scorer told apart, so candidates are ranked without it.
        default = "none" if action is best else "pooled"
        _flag(
            action,
            "calibration",
            choices=("pooled", "none"),
            default=default,
            help=f"apply the calibration of the checkpoint or of --calibration_file, if there is one "
            f"(default: {default})",
        )
        add_scorer_flags(action)
        _flag(action, "output_dir", type=Path, metavar="FOLDER", help="where results go (default: see docs)")
        _flag(
            action, "resamples", type=_positive, default=1000, metavar="R", help="resamples of problems (default: 1000)"
        )
        _flag(action, "bootstrap_seed", type=int, default=0, metavar="S", help="seed of resamples and drawn subsets")
        add_config_flags(action, exclude=frozenset(path for path, _ in fields()) - _FLAGS, from_file=False)


def _flag(parser: argparse.ArgumentParser, name: str, **options: Any) -> None:
    names = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
    parser.add_argument(*names, **options)


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text}; allowed: 0 to 1")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}; allowed: a whole number from 1")
    return value


def _sizes(text: str) -> list[int]:
    try:
        return [_positive(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: whole numbers from 1, with commas between") from None


def run(args: argparse.Namespace) -> int:
    """Run the benchmark; 0 when done."""
    if args.benchmark != "best-of-n" or (args.checkpoint is not None and args.scorer is not None):
        one_of(args, "checkpoint", "predictions", "scorer")
    if args.scorer is None and args.calibration_file is not None:
        raise ConfigError("--calibration_file is the map of --scorer: drop it, or name --scorer")

    from surestep.cli.output.console import make_console

    console = make_console()
    with _scorer(args, console) as (scorer, folder, save_rows, progress):
        report, rows = _BENCHMARKS[args.benchmark](args, scorer, progress)
    from surestep.cli.output.benchmark_tables import print_result
    from surestep.evaluation.benchmarks.result_file import write_result

    path = write_result(folder, RESULT_NAMES[args.benchmark], report, argv=args.argv, rows=rows if save_rows else None)
    print_result(report, console)
    if save_rows:
        beside = path.with_name(f"{path.stem}_predictions.jsonl")
        console.print(f"{len(rows):,} lines of confidences: {beside}", markup=False, highlight=False)
    console.print(f"results: {path}", markup=False, highlight=False)
    return 0


@contextmanager
def _scorer(args: argparse.Namespace, console: Console) -> Iterator[tuple[Scorer | None, Path, bool, ProgressFactory]]:
    """Who scores, where results go, whether confidences are written too, and what shows progress."""
    from surestep.scoring.other_scorers.wrapped import MeasuredScorer

    if args.scorer is not None:
        from surestep.cli.output.progress import counting
        from surestep.config import get_default_config

        config = override(get_default_config(), args)
        # Without a file there is no map, whatever the default says.
        use = None if args.calibration == "pooled" else args.calibration
        opened = opened_scorer(args.scorer, config, console, calibration_file=args.calibration_file, use=use)
        with opened as found, counting(console) as progress:
            folder = args.output_dir or config.output_dir / found.slug
            yield MeasuredScorer(found.scorer), folder, config.eval.save_predictions, progress
        return
    if args.checkpoint is None:
        from surestep.config import get_default_config
        from surestep.scoring.score_file import FileScorer
        from surestep.scoring.stored_split import silent

        source = args.data[0] if args.benchmark == "best-of-n" else args.predictions
        scorer = None if args.benchmark == "best-of-n" else FileScorer.read(args.predictions)
        folder = args.output_dir or source.with_name(f"eval_{source.name.split('.')[0]}")
        yield scorer, folder, override(get_default_config(), args).eval.save_predictions, silent
        return

    from surestep.cli.output.progress import counting
    from surestep.evaluation.evaluate import default_output_dir
    from surestep.scoring.checkpoint.load import load_checkpoint, read_config
    from surestep.scoring.hardware import for_scoring_here

    config = override(for_scoring_here(read_config(args.checkpoint)), args)
    loaded = load_checkpoint(args.checkpoint, config=config)
    for reason in loaded.built.reasons:
        console.print(f"· {reason}", markup=False, highlight=False)
    folder = args.output_dir or default_output_dir(config.validation_dir, args.checkpoint)
    with counting(console) as progress:
        model = loaded.scorer(config, calibrated=args.calibration == "pooled")
        yield MeasuredScorer(model), folder, config.eval.save_predictions, progress


def _shared_settings(args: argparse.Namespace, progress: ProgressFactory) -> dict[str, Any]:
    """What every benchmark takes. `bad_rows` is the flag's: a checkpoint's own setting is about its training data."""
    from surestep.config import get_default_config
    from surestep.evaluation.benchmarks.result_file import Resampling

    return {
        "resampling": Resampling(args.resamples, args.bootstrap_seed),
        "progress": progress,
        "bad_rows": override(get_default_config(), args).data.bad_rows,
    }


def _processbench(args: argparse.Namespace, scorer: Scorer, progress: ProgressFactory) -> _Outcome:
    from surestep.evaluation.benchmarks.processbench import run_processbench
    from surestep.evaluation.benchmarks.threshold import ThresholdData
    from surestep.scoring.score_file import FileScorer

    other = None
    if args.threshold_predictions is not None and (args.predictions is None or args.threshold_data is None):
        raise ConfigError("--threshold_predictions needs --predictions and --threshold_data")
    if args.threshold_data is not None:
        own = args.threshold_predictions
        theirs = scorer if own is None else FileScorer.read(own)
        other = ThresholdData(args.threshold_data, theirs, args.threshold_format)
    shared = _shared_settings(args, progress)
    result = run_processbench(scorer, args.data, threshold=args.threshold, threshold_data=other, **shared)
    return result.report, result.rows


def _prmbench(args: argparse.Namespace, scorer: Scorer, progress: ProgressFactory) -> _Outcome:
    from surestep.evaluation.benchmarks.prmbench import run_prmbench

    result = run_prmbench(scorer, args.data, threshold=args.threshold, **_shared_settings(args, progress))
    return result.report, result.rows


def _best_of_n(args: argparse.Namespace, scorer: Scorer | None, progress: ProgressFactory) -> _Outcome:
    from surestep.evaluation.benchmarks.best_of_n import run_best_of_n

    result = run_best_of_n(scorer, args.data, sizes=args.n, **_shared_settings(args, progress))
    return result.report, result.rows


_BENCHMARKS: dict[str, Any] = {"processbench": _processbench, "prmbench": _prmbench, "best-of-n": _best_of_n}
