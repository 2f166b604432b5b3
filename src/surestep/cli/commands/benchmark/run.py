"""What `surestep benchmark` does: first errors, wrong steps, best-of-N.

Knows arguments and printing; the work is done in `surestep.evaluation`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from surestep.cli.checkpoint_argument import is_ensemble
from surestep.cli.flags import override
from surestep.cli.output.console import result_console, say_json
from surestep.cli.output_places import refuse_run_folder
from surestep.cli.scorers import one_of, opened_scorer
from surestep.counted import counted
from surestep.errors import ConfigError

if TYPE_CHECKING:
    from surestep.evaluation.benchmarks.first_error_data import SolutionSource
    from surestep.evaluation.benchmarks.result_file import BenchmarkResult
    from surestep.scoring.protocol import Scorer
    from surestep.scoring.stored_split import ProgressFactory

RESULT_NAMES = {
    "processbench": "processbench",
    "first-error": "first_error",
    "prmbench": "prmbench",
    "best-of-n": "best_of_n",
}
"""Benchmark to the name of its result file."""


def run(args: argparse.Namespace) -> int:
    """Run the benchmark; 0 when done."""
    given = [who for who in (args.checkpoint, args.predictions, args.scorer) if who is not None]
    if args.benchmark != "best-of-n" or len(given) > 1:
        one_of(args, "checkpoint", "predictions", "scorer")
    if args.scorer is None and args.calibration_file is not None and not is_ensemble(args):
        raise ConfigError("--calibration_file is the map of --scorer: drop it, or name --scorer")

    console = result_console(args)
    with _scorer(args, console) as (scorer, folder, save_rows, progress):
        refuse_run_folder(folder)
        for line in _replaced(args, folder, save_rows=save_rows):
            console.print(f"· {line}", markup=False, highlight=False)
        result = _BENCHMARKS[args.benchmark](args, scorer, progress)
    from surestep.cli.output.benchmark_tables import print_result
    from surestep.evaluation.benchmarks.result_file import write_official, write_result

    rows = result.rows if save_rows else None
    path = write_result(folder, RESULT_NAMES[args.benchmark], result.report, argv=args.argv, rows=rows)
    if args.json:
        say_json(result.report)
    else:
        print_result(result.report, console)
    if rows is not None:
        beside = path.with_name(f"{path.stem}_predictions.jsonl")
        console.print(f"{counted(len(rows), 'line')} of confidences: {beside}", markup=False, highlight=False)
    if getattr(args, "official_layout", False):
        for written in write_official(folder, result):
            console.print(f"in the layout of the benchmark's own program: {written}", markup=False, highlight=False)
    console.print(f"results: {path}", markup=False, highlight=False)
    return 0


def _replaced(args: argparse.Namespace, folder: Path, *, save_rows: bool) -> list[str]:
    """What would be replaced, said before hours of scoring."""
    from surestep.evaluation.benchmarks.result_file import replaced_by

    name = RESULT_NAMES[args.benchmark]
    official = [f"{name}_official", f"{name}_official_scores"] if getattr(args, "official_layout", False) else []
    several = " ".join(map(str, args.checkpoints)) if is_ensemble(args) else None
    return replaced_by(
        folder,
        name,
        of=args.scorer or several or args.checkpoint or args.predictions,
        data=args.data,
        inputs=[args.predictions, *(getattr(args, name, None) for name in ("threshold_data", "threshold_predictions"))],
        also=[*official, *([f"{name}_predictions"] if save_rows else [])],
    )


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
    if is_ensemble(args):
        from surestep.cli.ensembles import open_ensemble
        from surestep.cli.output.progress import counting

        # Without a file there is no map, whatever the default says.
        ensemble = open_ensemble(args, console, use=None if args.calibration == "pooled" else args.calibration)
        with counting(console) as progress:
            folder = args.output_dir or ensemble.config.output_dir / ensemble.found.slug
            yield MeasuredScorer(ensemble.found.scorer), folder, ensemble.config.eval.save_predictions, progress
        return
    if args.checkpoint is None:
        from surestep.config import get_default_config
        from surestep.scoring.stored_split import silent

        source = args.predictions or args.data[0]
        scorer = None if args.predictions is None else _predictions(args)
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


def _predictions(args: argparse.Namespace) -> Any:
    """Confidences of a file; PRMBench's may be in the layout of its own program, candidates' may be of any range."""
    if args.benchmark == "prmbench":
        from surestep.evaluation.benchmarks.prmbench_results import read_predictions

        return read_predictions(args.predictions, by_scores=args.threshold is not None)
    if args.benchmark == "best-of-n":
        from surestep.evaluation.benchmarks.candidate_predictions import read_candidate_predictions

        return read_candidate_predictions(args.predictions)
    from surestep.scoring.score_file import FileScorer

    return FileScorer.read(args.predictions)


def _split_rule(args: argparse.Namespace) -> str:
    """The rule that is named, the checkpoint's own where that is."""
    from surestep.data.trees.split_steps import check_rule

    if args.split_rule != "checkpoint":
        return check_rule(args.split_rule)
    if args.checkpoint is None:
        raise ConfigError("--split_rule checkpoint needs --checkpoint FOLDER; or name a rule, such as blank_lines")
    from surestep.scoring.checkpoint.load import read_config

    rule = read_config(args.checkpoint).data.split_rule()
    if rule is None:
        raise ConfigError(
            f"{args.checkpoint} was trained on steps as they were given, by no rule or by several; name one: "
            "--split_rule lines or blank_lines, say"
        )
    return rule


def _shared_settings(args: argparse.Namespace, progress: ProgressFactory) -> dict[str, Any]:
    """What every benchmark takes. `bad_rows` is the flag's: a checkpoint's own setting is about its training data."""
    from surestep.config import get_default_config
    from surestep.evaluation.benchmarks.result_file import Resampling

    return {
        "resampling": Resampling(args.resamples, args.bootstrap_seed),
        "progress": progress,
        "bad_rows": override(get_default_config(), args).data.bad_rows,
    }


def _processbench(args: argparse.Namespace, scorer: Scorer, progress: ProgressFactory) -> BenchmarkResult:
    from surestep.evaluation.benchmarks.first_error_data import PROCESSBENCH

    return _first_errors(args, scorer, progress, PROCESSBENCH)


def _first_error(args: argparse.Namespace, scorer: Scorer, progress: ProgressFactory) -> BenchmarkResult:
    from surestep.data.datasets.published.mapped import FieldMap
    from surestep.evaluation.benchmarks.first_error_data import FirstErrorData

    if args.map is not None and args.format is not None:
        raise ConfigError("--map and --format exclude each other: a layout's fields have names; drop one")
    if args.map is None and args.label_base is not None:
        raise ConfigError("--label_base belongs to --map: a known layout says where it counts from; drop it")
    field_map = None if args.map is None else FieldMap.parse(args.map, args.label_base)
    return _first_errors(args, scorer, progress, FirstErrorData(args.format, field_map))


def _first_errors(
    args: argparse.Namespace, scorer: Scorer, progress: ProgressFactory, source: SolutionSource
) -> BenchmarkResult:
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
    is_paper = getattr(args, "protocol", "own") == "paper"  # the papers' is ProcessBench's alone
    return run_processbench(
        scorer,
        args.data,
        threshold=args.threshold,
        threshold_data=other,
        protocol="paper" if is_paper else "own",
        source=source,
        **shared,
    )


def _prmbench(args: argparse.Namespace, scorer: Scorer, progress: ProgressFactory) -> BenchmarkResult:
    from surestep.evaluation.benchmarks.prmbench import DEFAULT_THRESHOLD, run_prmbench

    threshold = DEFAULT_THRESHOLD if args.threshold is None else args.threshold
    shared = _shared_settings(args, progress)
    return run_prmbench(scorer, args.data, threshold=threshold, step_numbers=args.step_numbers, **shared)


def _best_of_n(args: argparse.Namespace, scorer: Scorer | None, progress: ProgressFactory) -> BenchmarkResult:
    from surestep.evaluation.benchmarks.best_of_n import run_best_of_n

    shared = _shared_settings(args, progress)
    return run_best_of_n(scorer, args.data, sizes=args.n, split_rule=_split_rule(args), **shared)


_BENCHMARKS: dict[str, Any] = {
    "processbench": _processbench,
    "first-error": _first_error,
    "prmbench": _prmbench,
    "best-of-n": _best_of_n,
}
