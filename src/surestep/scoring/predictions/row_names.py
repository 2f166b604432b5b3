"""Which solution a row of predictions is about, and which problem: the one place that decides it, for every layout.

`problem_id` names the solution, and `id` does where there is no `problem_id`. Where a row has both, `id` is the
solution and `problem_id` the problem that several solutions may share. Rows by step may also be numbered: where every
`id` of the file stands on one row only, and each row says another `step` of its `problem_id`, `id` says nothing of
solutions.

Knows rows of files; knows no layout.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np

from surestep.arrays import distinct
from surestep.data.records.labels import read_name
from surestep.data.records.record import Record
from surestep.errors import DataError
from surestep.scored import problem_hash

_FIRST_LOOK = 1024
"""Rows after which it is looked whether the answer is known already, and again after twice as many."""
_BETWEEN = "\x1f"


def solution_and_problem(record: Record, *, ids_number_rows: bool = False) -> tuple[str, str]:
    """The name of a row's solution, "" where it has none, and the name of its problem where that is another one.

    >>> from pathlib import Path
    >>> both = Record({"id": "a", "problem_id": 7.0}, Path("p.jsonl"), 1)
    >>> solution_and_problem(both), solution_and_problem(both, ids_number_rows=True)
    (('a', '7'), ('7', ''))

    Raises:
        DataError: a name is neither text nor a whole number.
    """
    problem = read_name(record, "problem_id")
    if "id" not in record.values:
        return problem, ""
    if problem and (ids_number_rows or not _may_be_a_name(record.get("id"))):
        return problem, ""
    solution = read_name(record, "id") or problem
    return solution, problem if problem != solution else ""


def _may_be_a_name(value: Any) -> bool:
    """A column of this name that holds something else is another program's, and of no use beside a `problem_id`."""
    return (isinstance(value, str | int) and not isinstance(value, bool)) or (
        isinstance(value, float) and value.is_integer()
    )


def ids_number_rows(records: Iterable[Record]) -> bool:
    """Whether the `id` of rows by step numbers the rows of the file.

    It names a solution where an id stands again, a step of a `problem_id` does, or a row says no step. Up to there
    rows are read, 24 bytes each. What is malformed ends the search: whoever reads it as a row refuses it.
    """
    ids, problems, steps = array("Q"), array("Q"), array("Q")
    look = _FIRST_LOOK
    with suppress(DataError):
        for record in records:
            solution, problem = solution_and_problem(record)
            if not problem:
                continue
            if not (step := read_name(record, "step")):
                return False
            of = _BETWEEN.join((read_name(record, "dataset") or read_name(record, "subset"), problem))
            ids.append(problem_hash(_BETWEEN.join((of, solution))))
            problems.append(problem_hash(of))
            steps.append(problem_hash(_BETWEEN.join((of, step))))
            if len(ids) == look:
                if _any_again(ids) or _any_again(steps):
                    return False
                look *= 2
    return _any_again(problems) and not _any_again(ids) and not _any_again(steps)


def _any_again(hashes: array[int]) -> bool:
    values = np.frombuffer(hashes, np.uint64) if hashes else np.empty(0, np.uint64)
    return distinct(values).size < values.size
