"""Scores of candidates from a file that any scorer may have written, for best-of-N.

    {"id": "p1", "candidate": 0, "confidences": [0.98, 0.31]}    confidences of its steps
    {"id": "p1", "candidate": 0, "score": -4.25}                 one number of any range

Candidates count from 0 in the order of the data file. A row with confidences may also name its candidate as the
solution that it is, with the id `p1/0`, in every layout of predictions that `FileScorer` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surestep.counted import counted
from surestep.data.benchmarks.candidates import CandidateSet, read_confidences, read_score
from surestep.data.records.labels import read_name
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import Record, read_records
from surestep.data.trees.tree_builder import TreeBuilder
from surestep.errors import DataError
from surestep.files import sha256_of
from surestep.scoring.protocol import Scorer
from surestep.scoring.score_file import Confidences, FileScorer
from surestep.scoring.score_split import confidences_by_tree, score_trees
from surestep.scoring.stored_split import ProgressFactory, silent
from surestep.types import ROOT


@dataclass
class CandidateScores:
    """What a file says of each candidate: confidences of its steps, or one score of any range.

    Attributes:
        path: the file.
        rows: by `candidate_name`: confidences or a score, and the line where they stand.
        used: those that were asked for.
    """

    path: Path
    rows: dict[str, tuple[tuple[float | None, ...] | float, int]]
    used: set[str] = field(default_factory=set)

    def about(self) -> dict[str, Any]:
        """Which file."""
        return {
            "predictions": str(self.path),
            "predictions_sha256": sha256_of(self.path),
            "predictions_not_used": len(self.rows) - len(self.used),
        }

    def of(self, found: CandidateSet) -> tuple[list[Confidences] | None, list[float] | None]:
        """The confidences of a problem's candidates, or their scores; the other is None.

        Raises:
            DataError: one of them is not in the file, or has another number of steps.
        """
        confidences: list[Confidences] = []
        scores: list[float] = []
        for place, candidate in enumerate(found.candidates):
            name = candidate_name(found.id, place)
            if name not in self.rows:
                raise DataError(
                    f"holds nothing for candidate {place} of {found.id!r}; needed: a row for each candidate of --data, "
                    "counted from 0",
                    path=self.path,
                )
            self.used.add(name)
            value, line = self.rows[name]
            if isinstance(value, float):
                scores.append(value)
                continue
            if len(value) != len(candidate.steps):
                raise DataError(
                    f"{counted(len(value), 'confidence')} for candidate {place} of {found.id!r}, which has "
                    f"{counted(len(candidate.steps), 'step')}; give one each",
                    path=self.path,
                    line=line,
                )
            confidences.append(list(value))
        return (None, scores) if scores else (confidences, None)


def candidate_name(problem: str, place: int) -> str:
    """The id of a candidate as a solution of its own: `p1/0`."""
    return f"{problem}/{place}"


def read_candidate_predictions(path: Path) -> FileScorer | CandidateScores:
    """A scorer of a file whose rows name solutions, or what a file says whose rows name candidates or give scores.

    Raises:
        DataError: the file is broken, or some rows have a `score` and others `confidences`.
    """
    first = next(iter(read_records(path)), None)
    if first is None or not {"candidate", "score"} & first.values.keys():
        return FileScorer.read(path)
    rows: dict[str, tuple[tuple[float | None, ...] | float, int]] = {}
    kinds: dict[type, int] = {}
    for record in read_records(path):
        name = _name(record)
        confidences, score = read_confidences(record, "the candidate"), read_score(record, "the candidate")
        value = score if confidences is None else confidences
        if value is None or (confidences is not None and score is not None):
            raise record.error("allowed: either 'confidences' (one for each step) or 'score' (one number)")
        if name in rows:
            raise record.error(f"candidate {name!r} stands on line {rows[name][1]} as well; keep one row of it")
        rows[name] = (value, record.line)
        if kinds and type(value) not in kinds:
            raise record.error(
                f"some candidates have 'confidences' and others a 'score' (line {next(iter(kinds.values()))}); give "
                "all the same"
            )
        kinds.setdefault(type(value), record.line)
    return CandidateScores(path, rows)


def score_from_file(
    scorer: Scorer, sets: Sequence[CandidateSet], report: ReadReport, progress: ProgressFactory = silent
) -> list[list[Confidences]]:
    """Confidences of every step of every candidate, each looked up as a solution of its own."""
    trees = []
    for found in sets:
        for place, candidate in enumerate(found.candidates):
            builder = TreeBuilder(found.problem, id=candidate_name(found.id, place))
            parent = ROOT
            for step in candidate.steps:
                parent = builder.add(step, parent)
            trees.append(builder.build(report))
    values = iter(confidences_by_tree(score_trees(scorer, trees, advance=progress("looking up confidences"))))
    return [[next(values) for _ in found.candidates] for found in sets]


def _name(record: Record) -> str:
    name, place = read_name(record, "id"), record.values.get("candidate")
    if not name:
        raise record.error("'id' is missing; allowed: text or a whole number")
    if place is None:
        return name
    if isinstance(place, bool) or not isinstance(place, int) or place < 0:
        raise record.error(f"'candidate' is {place!r}; allowed: a whole number from 0")
    return candidate_name(name, place)
