"""`surestep certify --curve`: cost against accuracy of the calibration problems, as a table, JSON and a picture."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from surestep.counted import counted

if TYPE_CHECKING:
    from rich.console import Console

    from surestep.encoding.tokenizer import StepTokenizer
    from surestep.guarantees.terms import Terms
    from surestep.scored import ScoredSteps


def write_curve(
    args: argparse.Namespace, terms: Terms, steps: ScoredSteps, console: Console, tokenizer: StepTokenizer | None
) -> None:
    """Show and write it.

    Raises:
        StorageError: `--curve` cannot be written.
    """
    from surestep.evaluation.certify.curve import HEADER, chart_of, curve_of, row_of, sampled_solutions
    from surestep.evaluation.report.charts.png import write_png
    from surestep.files import write_json

    costs = np.ones(len(steps))
    if args.cost == "tokens":
        assert tokenizer is not None, "checked with the flags"
        assert steps.texts is not None, "they were read from files"
        ids = tokenizer.encode([steps.texts.step(row) for row in range(len(steps))])
        costs = np.array([max(1, len(own)) for own in ids], np.float64)
    problems = sampled_solutions(steps, terms, costs)
    points = curve_of(problems, terms.policy)
    table = Table(
        title=f"cost ({args.cost}) and accuracy of {counted(len(problems), 'problem')}; a description, no promise"
    )
    for name in HEADER:
        table.add_column(name, justify="left" if name == HEADER[0] else "right")
    for point in points:
        table.add_row(*row_of(point))
    console.print(table)
    picture = args.curve.with_suffix(".png")
    advice = "free space or choose another --curve"
    write_json(
        args.curve,
        {"cost": args.cost, "by": terms.policy, "problems": len(problems), "points": [one.to_json() for one in points]},
        advice=advice,
    )
    write_png(chart_of(points, args.cost), picture)
    console.print(f"wrote {args.curve} and {picture}", markup=False, highlight=False)
