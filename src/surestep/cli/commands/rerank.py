"""`surestep rerank`: the candidates of each problem in a file, best first.

Knows arguments; the work is done in `surestep.inference.tables`.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from surestep.cli.table_command import TableCommand, configure_table, run_table
from surestep.metrics.benchmarks.aggregation import AGGREGATIONS

if TYPE_CHECKING:
    from surestep.inference.scorer import Scorer
    from surestep.inference.tables.columns import Columns
    from surestep.inference.tables.tasks import Task


def _task(scorer: Scorer, columns: Columns, rule: str, args: argparse.Namespace) -> Task:
    from surestep.inference.tables.tasks import RerankTask

    return RerankTask(scorer, columns, rule, args.by)


_COMMAND = TableCommand(
    name="ranked",
    doing="ranking",
    wanted=("candidates",),
    task=_task,
    example='{"problem": "12 + 3 = ?", "candidates": [["12 + 3 = 15."], ["12 + 3 = 16."]]}',
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--by",
        choices=tuple(AGGREGATIONS),
        default="min",
        help="how the confidences of a candidate's steps become one number (default: min)",
    )
    configure_table(parser, _COMMAND)


def run(args: argparse.Namespace) -> int:
    """Rank; 0 when done."""
    return run_table(args, _COMMAND)
