"""`surestep score`: the confidence of every step of the solutions in a file.

Knows arguments; the work is done in `surestep.inference.tables`.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from surestep.cli.table_command import TableCommand, configure_table, run_table

if TYPE_CHECKING:
    from surestep.inference.scorer import Scorer
    from surestep.inference.tables.columns import Columns
    from surestep.inference.tables.tasks import Task


def _task(scorer: Scorer, columns: Columns, rule: str, _args: argparse.Namespace) -> Task:
    from surestep.inference.tables.tasks import ScoreTask

    return ScoreTask(scorer, columns, rule)


_COMMAND = TableCommand(
    name="scored",
    doing="scoring",
    wanted=("steps", "solution"),
    task=_task,
    example='{"problem": "12 + 3 = ?", "steps": ["12 + 3 = 15."]}',
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    configure_table(parser, _COMMAND)


def run(args: argparse.Namespace) -> int:
    """Score; 0 when done."""
    return run_table(args, _COMMAND)
