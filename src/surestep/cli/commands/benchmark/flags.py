"""Arguments of `surestep benchmark`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from surestep.cli.checkpoint_argument import ENSEMBLE, add_checkpoint
from surestep.cli.flags import add_config_flags, fields
from surestep.cli.output.console import add_json_flag
from surestep.cli.scorers import add_scorer_flags
from surestep.cli.table_command import positive
from surestep.data.datasets import SOLUTION_LAYOUTS, TREE_LAYOUTS

_FLAGS = frozenset(
    {
        *("training.device", "training.mixed_precision", "training.cuda_graphs", "model.backbone", "model.attention"),
        *("model.fast_path", "eval.eval_token_budget", "eval.save_predictions", "data.bad_rows"),
    }
)
"""What of the configuration a benchmark heeds."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the benchmarks and their flags."""
    actions = parser.add_subparsers(dest="benchmark", metavar="BENCHMARK", required=True)
    process = actions.add_parser(
        "processbench", help="is the first step not above the threshold the first wrong one?", allow_abbrev=False
    )
    first = actions.add_parser(
        "first-error", help="the same on any set of solutions with their first wrong step", allow_abbrev=False
    )
    prm = actions.add_parser("prmbench", help="are the wrong steps found, and only those?", allow_abbrev=False)
    best = actions.add_parser("best-of-n", help="is the best-scored of N candidates right?", allow_abbrev=False)

    for action in (process, first):
        _add_threshold_flags(action)
    _add_layout_flags(first)
    _flag(
        process,
        "protocol",
        choices=("own", "paper"),
        default="own",
        help="paper: measure at the threshold with the highest F1 on the evaluated subset gsm8k too, as the papers do",
    )
    _flag(
        prm,
        "threshold",
        type=_share,
        metavar="T",
        help="a step above it is called right, else wrong (default: 0.5, or the labels of PRMBench's own result file)",
    )
    _flag(
        prm,
        "step_numbers",
        choices=("keep", "remove"),
        default="keep",
        help="remove: take 'Step 3.' or '3.' from the beginning of each step, as most of the benchmark's adapters do",
    )
    prm.add_argument(
        *("--official_layout", "--official-layout"),
        action="store_true",
        help="write scores and figures in the layout of the benchmark's own program too",
    )
    _flag(
        best,
        "n",
        type=_sizes,
        metavar="N,N,...",
        help="the N to measure (default: 1,2,4,... up to the smallest number of candidates)",
    )
    _flag(
        best,
        "split_rule",
        default="lines",
        metavar="RULE",
        help=(
            "how a candidate's solution becomes steps where it has none: lines (default), blank_lines, step, numbered, "
            "sentences, tag:TEXT, auto, or checkpoint: as the checkpoint was trained"
        ),
    )
    for action, holds in (
        (process, "subsets, a file each, or folders of them"),
        (first, "subsets, a file each, or folders of them, of any layout (docs/reference/benchmarks.md)"),
        (prm, "PRMBench's file"),
        (best, "candidates with their correctness (docs/reference/benchmarks.md)"),
    ):
        _add_common_flags(action, holds, ranks=action is best)


def _add_threshold_flags(action: argparse.ArgumentParser) -> None:
    _flag(
        action,
        "threshold",
        type=_share,
        metavar="T",
        help="measure at this threshold too, fixed beforehand; 0.5 always is measured",
    )
    _flag(
        action,
        "threshold_data",
        type=Path,
        metavar="FILE",
        help="measure at the threshold with the highest mean F1 on this other file (or folder) too",
    )
    _flag(
        action,
        "threshold_format",
        choices=("processbench", *sorted(TREE_LAYOUTS)),
        default="processbench",
        help="layout of --threshold_data (default: processbench); for the others each path of a tree is a solution",
    )
    _flag(
        action,
        "threshold_predictions",
        type=Path,
        metavar="FILE",
        help="with --predictions: the confidences for --threshold_data (default: --predictions holds them)",
    )


def _add_layout_flags(action: argparse.ArgumentParser) -> None:
    _flag(
        action,
        "format",
        choices=sorted({*SOLUTION_LAYOUTS, *TREE_LAYOUTS}),
        help="layout of --data (default: each file's is recognised by its keys)",
    )
    _flag(
        action,
        "map",
        metavar="FIELD=NAME,...",
        help="for files of no known layout: what they call problem, steps, label (the first wrong step) and id, e.g. "
        "problem=input,label=notes.0.mistake",
    )
    _flag(
        action,
        "label_base",
        type=int,
        choices=(0, 1),
        help="with --map: whether the label counts steps from 0 or from 1; has to be said",
    )


def _add_common_flags(action: argparse.ArgumentParser, holds: str, *, ranks: bool) -> None:
    _flag(action, "data", type=Path, nargs="+", required=True, metavar="FILE_OR_FOLDER", help=holds)
    add_checkpoint(action, purpose=f" that scores{ENSEMBLE}", several=True)
    of_whom = (
        "{id, candidate, confidences: [...]}, or {id, candidate, score}, of any range"
        if ranks
        else "by solution ({subset, id, confidences: [...]}) or by step ({subset, id, step, confidence})"
    )
    _flag(action, "predictions", type=Path, metavar="FILE", help=f"confidences of any scorer instead: {of_whom}")
    # A map may tie what the scorer told apart, so candidates are ranked without it.
    default = "none" if ranks else "pooled"
    _flag(
        action,
        "calibration",
        choices=("pooled", "none"),
        default=default,
        help=f"apply the calibration of the checkpoint or of --calibration_file, if there is one (default: {default})",
    )
    add_scorer_flags(action)
    add_json_flag(action)
    _flag(action, "output_dir", type=Path, metavar="FOLDER", help="where results go (default: see docs)")
    _flag(action, "resamples", type=positive, default=1000, metavar="R", help="resamples of problems (default: 1000)")
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


def _sizes(text: str) -> list[int]:
    try:
        return [positive(part) for part in text.split(",")]
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}; allowed: whole numbers from 1, with commas between") from None
