"""`surestep bench sweep`: the whole table of shapes and works, with peers beside it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from surestep.cli.flags import flag_values, given_flags
from surestep.cli.output.console import result_console, say, say_json
from surestep.cli.output.fitted_table import FittedTable
from surestep.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surestep.bench.sweep import TableRow

DEFAULT_LOG = Path("bench_sweep.jsonl")
_COMMAND = (sys.executable, "-m", "surestep.cli.main", "bench")


def add_sweep_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that only a sweep reads."""
    group = parser.add_argument_group("of a sweep")
    group.add_argument("--shapes", nargs="+", metavar="SHAPE", help="shapes to measure (default: 135m to 30b-moe)")
    group.add_argument("--works", nargs="+", metavar="WORK", help="of lora, full and score (default: all)")
    group.add_argument(
        "--peers",
        type=Path,
        metavar="FOLDER",
        help="also run the scripts of other programs in this folder: benchmarks/ of a checkout",
    )
    group.add_argument(
        "--peer_python", metavar="PYTHON", help="the Python that has what they need (TRL, say; default: this one)"
    )
    group.add_argument(
        "--retry_unfit",
        action="store_const",
        const=True,
        help="measure again what did not fit in memory before (another GPU, say)",
    )


_PEER_WORKS = ("lora", "score")
_PEER_BATCH = 16
"""Rows in a peer's batch, of which it trains whole ones."""
_OF_SWEEP = ("shapes", "works", "peers", "peer_python", "retry_unfit")
_OF_ONE = ("shape", "preset", "profile")


def refuse_unread_flags(args: argparse.Namespace) -> None:
    """Refuse the flags that the chosen work would not heed.

    Raises:
        ConfigError: naming the first of them, and what to do instead.
    """
    is_sweep = args.work == "sweep"
    for name in _OF_ONE if is_sweep else _OF_SWEEP:
        if getattr(args, name) is not None:
            instead = {
                "shape": "use --shapes",
                "preset": "use --works lora or full",
                "profile": "use it with bench train, trees or score",
            }.get(name, "bench sweep does")
            raise ConfigError(f"bench {args.work} does not read --{name}: {instead}, or leave it out")
    if is_sweep and "model.backbone" in flag_values(args):
        raise ConfigError("bench sweep measures shapes (--shapes): for a --backbone, use bench train, trees or score")


def run_sweep(args: argparse.Namespace) -> int:
    """Measure what is not measured yet and print the table; 1 where something of ours failed.

    What does not fit in memory has not failed: that is what was found.
    """
    from surestep.bench.backbone_shapes import SHAPES
    from surestep.bench.sweep import OURS, SHAPES_OF_SWEEP, WORKS, cells_of, measured, run_process, table_rows

    shapes, works = args.shapes or SHAPES_OF_SWEEP, args.works or tuple(WORKS)
    for flag, given, allowed in (("--shapes", shapes, SHAPES), ("--works", works, WORKS)):
        if unknown := [name for name in given if name not in allowed]:
            raise ConfigError(f"{flag} names {unknown[0]!r}; allowed: {', '.join(allowed)}")
    if args.peers is not None and not args.peers.is_dir():
        raise ConfigError(f"--peers is {args.peers}, which is no folder; name the one with peer_trl.py")
    flags = ["--steps", str(args.steps), "--repeats", str(args.repeats)]
    flags += [] if args.examples is None else ["--examples", str(args.examples)]
    flags += [] if args.budgets is None else ["--budgets", *map(str, args.budgets)]
    cells = list(
        cells_of(
            shapes,
            works,
            ours=_COMMAND,
            flags=[*flags, *given_flags(args)],
            peers=args.peers,
            peer_python=args.peer_python or sys.executable,
            of_peers=_peer_words(args),
        )
    )
    log = args.output or DEFAULT_LOG
    results = measured(
        cells,
        log,
        run=run_process,
        say=lambda line: say(f"· {line}", to_stderr=args.json),
        retry_unfit=bool(args.retry_unfit),
    )
    if args.json:
        say_json(results)
    else:
        _print(args, table_rows(results), log)
    return 1 if any("failed" in result for result in results if result["program"] == OURS) else 0


def _peer_words(args: argparse.Namespace) -> dict[str, list[str]]:
    """What peers get of the sweep's flags: as many examples as ours, where they are given, and the device."""
    device = flag_values(args).get("training.device", "auto")
    words: dict[str, list[str]] = {work: [] if device == "auto" else ["--device", str(device)] for work in _PEER_WORKS}
    words["score"] += ["--repeats", str(args.repeats)]
    if args.examples is not None:
        words["score"] += ["--examples", str(args.examples)]
        words["lora"] += ["--examples", str(max(_PEER_BATCH, args.examples * args.steps * args.repeats))]
    return words


def _print(args: argparse.Namespace, rows: Sequence[TableRow], log: Path) -> None:
    table = FittedTable()
    table.add_columns_of("tokens/s", "of ceiling", "peak GB", "spread", "peer", "times peer", first="shape, work")
    for row in rows:
        ours, theirs = row.tokens_per_s, row.peer_tokens_per_s
        table.add_cells(
            f"{row.shape}, {row.work}",
            "does not fit" if row.is_unfit else "–" if ours is None else f"{ours:,.0f}",
            "–" if row.ceiling_share is None else f"{row.ceiling_share:.0%}",
            "–" if row.peak_gb is None else f"{row.peak_gb:.1f}",
            "–" if row.spread is None else f"{row.spread:.0%}",
            "–" if theirs is None else f"{row.peer} {theirs:,.0f}",
            "–" if ours is None or theirs is None else f"{ours / theirs:.1f}",
        )
    console = result_console(args)
    console.print(table)
    for line in dict.fromkeys(f"· {row.shape}, {row.work.split(',')[0]}: {row.note}" for row in rows if row.note):
        say(line)
    say(f"· {log}: every measurement; what is there is not measured again")
