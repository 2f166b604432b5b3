"""Where the solutions of a first-error benchmark come from: ProcessBench's files, another published set, a user's own.

Knows layouts and maps of fields; scores and measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from surestep.data.datasets import DATASETS, SOLUTION_LAYOUTS, TREE_LAYOUTS
from surestep.data.datasets.dataset import Dataset
from surestep.data.datasets.processbench import Solution
from surestep.data.datasets.published.mapped import FieldMap
from surestep.data.datasets.published.recognise import recognised
from surestep.data.records.bad_rows import BadRows
from surestep.data.records.reading_report import ReadReport
from surestep.errors import DataError
from surestep.evaluation.benchmarks.solutions import path_solutions, read_files

FIRST_ERROR_LAYOUTS: Mapping[str, Dataset] = {
    name: dataset for name, dataset in DATASETS.items() if name in {*SOLUTION_LAYOUTS, *TREE_LAYOUTS}
}
"""Layouts whose files say which step of a solution is the first wrong one."""

ADVICE = (
    "name the layout with --format, or say what the fields are called: --map problem=...,steps=...,label=... "
    "--label_base 0"
)


class SolutionSource(Protocol):
    """How the files of a benchmark are read."""

    @property
    def benchmark(self) -> str:
        """The benchmark's name in its result file."""
        ...

    def read(self, paths: Sequence[Path], report: ReadReport, bad_rows: BadRows) -> list[Solution]:
        """Every solution of the files.

        Raises:
            DataError: a file is missing, malformed, of no known layout or without a usable solution.
        """
        ...

    def about(self, paths: Sequence[Path]) -> dict[str, Any]:
        """What the result file says of it."""
        ...


@dataclass(frozen=True)
class _ProcessBench:
    benchmark: str = "processbench"

    def read(self, paths: Sequence[Path], report: ReadReport, bad_rows: BadRows) -> list[Solution]:
        return read_files(paths, report, bad_rows)

    def about(self, paths: Sequence[Path]) -> dict[str, Any]:
        return {}


PROCESSBENCH = _ProcessBench()


@dataclass(frozen=True)
class FirstErrorData:
    """Files of any set of solutions with their first wrong step.

    Attributes:
        layout: one of `FIRST_ERROR_LAYOUTS`; None: each file's is recognised by its keys.
        field_map: what the fields are called, for files of no known layout.
    """

    layout: str | None = None
    field_map: FieldMap | None = None

    benchmark = "first-error"

    def read(self, paths: Sequence[Path], report: ReadReport, bad_rows: BadRows) -> list[Solution]:
        """Every solution of the files; each path of a tree is one."""
        solutions: list[Solution] = []
        for path in paths:
            before = len(solutions)
            if self.field_map is not None:
                solutions += self.field_map.readers().solutions(path, report=report, bad_rows=bad_rows)
            else:
                layout = self._layout_of(path)
                read = DATASETS[layout].read_solutions
                if read is not None:
                    solutions += read(path, report=report, bad_rows=bad_rows)
                else:
                    solutions += path_solutions(path, layout, report, bad_rows)
            if len(solutions) == before:
                raise DataError("holds no usable solution; " + "; ".join(report.lines()), path=path)
        return solutions

    def about(self, paths: Sequence[Path]) -> dict[str, Any]:
        """The layout of each file, or the map."""
        if self.field_map is not None:
            return self.field_map.about()
        return {"layouts": {str(path): self._layout_of(path) for path in paths}}

    def _layout_of(self, path: Path) -> str:
        return self.layout or recognised(path, FIRST_ERROR_LAYOUTS, advice=ADVICE)
