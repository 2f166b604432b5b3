"""`surestep report`: the page and the model card of an evaluation that is already there."""

from __future__ import annotations

import argparse
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


def run(args: argparse.Namespace) -> int:
    """Write the report; 0 when done."""
    from surestep.cli.output.console import make_console
    from surestep.evaluation.report.write import report_on_folder

    say_written(make_console(), report_on_folder(args.folder, checkpoint=args.checkpoint))
    return 0


def say_written(console: Console, written: WrittenReport) -> None:
    """Where the page and the card lie, and what they lack."""
    for line in written.page.missing:
        console.print(f"· not in the report: {line}", markup=False, highlight=False)
    if written.card is not None:
        console.print(f"model card: {written.card}", markup=False, highlight=False)
    console.print(f"report: {written.page.path}", markup=False, highlight=False)
