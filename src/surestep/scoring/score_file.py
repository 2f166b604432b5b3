"""A scorer that looks confidences up in a file, which any other scorer may have written.

Both layouts of predictions are read (`surestep.scoring.predictions.layouts`): a row for each solution, or a row for
each step. A solution is found by its subset and id; the subset may be left out where ids are unique. A tree's subset is
the dataset that it names.

By solution, there is one confidence for each step, null where a step was not scored. By step, `step` counts from 0
within the solution (a row without it follows the row before it), and a step without a row was not scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from surestep.counted import counted
from surestep.errors import DataError
from surestep.files import sha256_of
from surestep.scored import FloatArray
from surestep.scoring.predictions.layouts import Part, read_parts
from surestep.scoring.protocol import TreeScores, Wanted
from surestep.types import ReasoningTree

Confidences = list[float | None]
_Key = tuple[str, str]
"""Subset ("" where none is named) and id."""


@dataclass(slots=True)
class SolutionScores:
    """What a file says of one solution.

    Attributes:
        line: where it stands first.
        is_whole: whether the file lists all of its steps, so that their number must be the solution's.
        confidence, raw: by step; None where it was not scored.
        lines: where each step stands, where they have rows of their own.
        last: the last step taken, -1 before the first.
    """

    line: int
    is_whole: bool
    confidence: dict[int, float | None] = field(default_factory=dict)
    raw: dict[int, float | None] = field(default_factory=dict)
    lines: dict[int, int] = field(default_factory=dict)
    last: int = -1

    @classmethod
    def listed(cls, confidences: Confidences, line: int) -> SolutionScores:
        """A solution whose steps are all listed, in order."""
        values = dict(enumerate(confidences))
        return cls(line, True, values, dict(values))

    def columns(self, num_steps: int) -> tuple[FloatArray, FloatArray]:
        """Confidence and raw confidence of every step, NaN where there is none."""
        return _column(self.confidence, num_steps), _column(self.raw, num_steps)


def _column(values: dict[int, float | None], num_steps: int) -> FloatArray:
    found = (values.get(step) for step in range(num_steps))
    return np.array([np.nan if value is None else value for value in found], np.float64)


@dataclass
class FileScorer:
    """Confidences of a file.

    Attributes:
        by_id: the trees are of one file, which names no subset: one that the rows name beside an id counts for nothing,
            as long as it is the only one there with this id.

    Raises:
        DataError: on `read`: the file is broken, or a confidence is outside [0, 1]; on `score`: a solution is not in it
            or has another number of steps.
    """

    path: Path
    rows: dict[_Key, SolutionScores]
    used: dict[_Key, str] = field(default_factory=dict)
    by_id: bool = False

    @classmethod
    def read(cls, path: Path, *, by_id: bool = False) -> FileScorer:
        """Every row of `path`."""
        rows: dict[_Key, SolutionScores] = {}
        for part in read_parts(path):
            key = (part.subset, part.name)
            if not key[1]:
                raise part.record.error("'id' is missing; allowed: text or a whole number")
            if part.is_solution and key in rows:
                raise part.record.error(
                    f"id {key[1]!r} stands on line {rows[key].line} as well; name the subset of each"
                )
            found = rows.setdefault(key, SolutionScores(part.record.line, part.is_solution))
            _add(part, found, key[1])
        if not rows:
            raise DataError("holds no confidences", path=path)
        return cls(path, rows, by_id=by_id)

    def about(self) -> dict[str, Any]:
        """Which file."""
        return {
            "predictions": str(self.path),
            "predictions_sha256": sha256_of(self.path),
            "predictions_not_used": len(self.rows) - len(self.used),
        }

    def holds(self, tree: ReasoningTree) -> bool:
        """Whether the file has a row for this solution."""
        return self._key(tree) in self.rows

    def score(
        self, trees: Sequence[ReasoningTree], *, dataset: str | None = None, wanted: Wanted = "all"
    ) -> Iterator[TreeScores]:
        """Look them up; what the file says is given as it is, whatever is asked for."""
        asked: set[_Key] = set()
        for tree in trees:
            name = (tree.dataset, tree.id)
            if name in asked:
                raise DataError(
                    f"two solutions of {tree.dataset} have the id {tree.id!r}, so that a file of confidences "
                    "cannot tell them apart; give each an id of its own"
                )
            asked.add(name)
            yield TreeScores(*self._find(tree).columns(len(tree.nodes)))

    def _key(self, tree: ReasoningTree) -> _Key:
        """Where the solution would stand: with its subset, without, or, `by_id`, with the only one that has its id."""
        named = (tree.dataset, tree.id)
        if named in self.rows:
            return named
        subsets = self._subsets.get(tree.id, ())
        return (next(iter(subsets)) if self.by_id and len(subsets) == 1 else "", tree.id)

    @cached_property
    def _subsets(self) -> dict[str, set[str]]:
        """The subsets of each id."""
        found: dict[str, set[str]] = {}
        for subset, name in self.rows:
            found.setdefault(name, set()).add(subset)
        return found

    def _find(self, tree: ReasoningTree) -> SolutionScores:
        if not tree.nodes and not self.holds(tree):
            return SolutionScores(0, True)  # without a step there is nothing to say
        key = self._key(tree)
        if key not in self.rows:
            others = sorted(self._subsets.get(tree.id, ()))[:5]
            raise DataError(
                f"holds no confidences for the solution {tree.id!r} of {tree.dataset}; needed: a row for each "
                "solution of --data" + (f" (the file has that id in {', '.join(others)})" if others else ""),
                path=self.path,
            )
        found, count = self.rows[key], len(tree.nodes)
        if found.is_whole and len(found.confidence) != count:
            raise DataError(
                f"{counted(len(found.confidence), 'confidence')} for {tree.id!r} of {counted(count, 'step')}; give "
                "one each",
                path=self.path,
                line=found.line,
            )
        if found.confidence and (last := max(found.confidence)) >= count:
            raise DataError(
                f"step {last} of {tree.id!r}, which has {counted(count, 'step')}; steps count from 0",
                path=self.path,
                line=found.lines.get(last, found.line),
            )
        if self.used.setdefault(key, tree.dataset) != tree.dataset:
            raise DataError(
                f"id {key[1]!r} is in {self.used[key]} and in {tree.dataset}; name the 'subset' of each row",
                path=self.path,
                line=found.line,
            )
        return found


def _add(part: Part, found: SolutionScores, name: str) -> None:
    """Take the steps of one row."""
    for row in part.rows:
        step = row.get("step", found.last + 1)
        if step in found.confidence:
            raise part.record.error(
                f"step {step} of {name!r} stands on line {found.lines[step]} as well; keep one row of it"
            )
        confidence, raw = (_number(part, row, field) for field in ("confidence", "raw_confidence"))
        if confidence is None and not part.is_solution:
            raise part.record.error("the row has no confidence; needed: a number from 0 to 1")
        found.confidence[step] = confidence
        found.raw[step] = confidence if raw is None or confidence is None else raw
        found.last = step
        if not part.is_solution:
            found.lines[step] = part.record.line


def _number(part: Part, row: dict[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    # NaN fails the comparison too.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise part.record.error(f"{name} is {value!r}; allowed: a number from 0 to 1")
    return float(value)
