"""`surestep report`: the page and the model card of an evaluation that is already there."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from surestep.evaluation.report.write import WrittenReport


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="holds eval_metrics.json and, for all charts, predictions.jsonl.gz"
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FOLDER", help="where the evaluated checkpoint is now, if it was moved"
    )
    parser.add_argument(
        "--allow_poorer",
        "--allow-poorer",
        action="store_true",
        help="replace a page or a card that shows what cannot be shown any more, or that was changed by hand; without "
        "it they are kept",
    )


def run(args: argparse.Namespace) -> int:
    """Write the report; 0 when done."""
    from surestep.cli.output.console import make_console
    from surestep.evaluation.report.write import read_metrics, report_on_folder
    from surestep.evaluation.results.results_folder import locked_results

    console = make_console()
    read_metrics(args.folder)  # no lock beside what is no result
    advice = "wait until it has ended, or stop it"
    with locked_results(args.folder, command="surestep report", advice=advice) as lines:
        for line in lines:
            console.print(f"· {line}", markup=False, highlight=False)
        say_written(console, report_on_folder(args.folder, checkpoint=args.checkpoint, allow_poorer=args.allow_poorer))
    return 0


def say_written(console: Console, written: WrittenReport) -> None:
    """Where the page and the card lie, what they lack, and which were kept because new ones would lack more."""
    page, card = written.page, written.card
    for line in page.missing:
        console.print(f"· not in {'a new' if page.kept else 'the'} report: {line}", markup=False, highlight=False)
    for file in (page, card):
        if file is not None and file.kept:
            _say_kept(console, file.path, file.kept)
    if card is not None:
        console.print(f"model card: {card.path}", markup=False, highlight=False)
    console.print(f"report: {page.path}", markup=False, highlight=False)


def _say_kept(console: Console, path: Path, kept: Sequence[str]) -> None:
    console.print(
        f"· {path.name} is kept as it was: a new one would lack {', '.join(kept)} "
        f"(surestep report {path.parent} --allow_poorer replaces it)",
        markup=False,
        highlight=False,
    )
