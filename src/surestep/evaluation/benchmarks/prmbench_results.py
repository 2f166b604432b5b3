"""The result files of PRMBench's own program: read as another scorer's verdicts, and written.

    {"idx": "circular_p1", "scores": {"step_level_validity_scores": [0.9], "step_level_validity_labels": [true]}}

One solution a line (`idx` is `<classification>_<idx>`, or `correct_<idx>` before the change), alone or under `results`
with the task's and the model's name beside it, as the program's checkpoints have it; or one line with all of them in
its `detailed_logs`. `validity` false marks a solution that the scorer could not answer. Layout: `docs/document.md` and
`mr_eval/tasks/prmtest_classified/task.py` of https://github.com/ssmisya/PRMBench.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from surestep.counted import counted
from surestep.data.benchmarks.prmbench import PrmbenchSolution
from surestep.data.records.labels import read_name
from surestep.data.records.record import Record, read_records
from surestep.errors import DataError
from surestep.files import sha256_of
from surestep.scored import FloatArray
from surestep.scoring.protocol import Scorer, TreeScores, Wanted
from surestep.scoring.score_file import Confidences, FileScorer
from surestep.types import ReasoningTree

LABELS = "step_level_validity_labels"
SCORES = "step_level_validity_scores"
REDUNDANT = "step_level_redundancy_labels"

ASKED_FOR_REDUNDANCY = ("redundency", "circular")
"""Categories in which a step is wrong where the scorer calls it redundant, if it says so at all."""


def read_predictions(path: Path, *, by_scores: bool) -> Scorer:
    """Confidences of a file, in our layout or in that of the benchmark's own program; its columns tell which.

    Args:
        path: the file.
        by_scores: of the latter, take the scores, not the verdicts that the program measures.

    Raises:
        DataError: the file is broken or empty.
    """
    first = next(read_records(path), None)
    if first is None or not _is_official(first):
        return FileScorer.read(path)
    return OfficialResults.read(path, by_scores=by_scores)


def _is_official(record: Record) -> bool:
    """Whether a line is one of the benchmark's own program: ours have `id`."""
    names = record.values.keys()
    return bool(names & {"results", "detailed_logs"}) or ("idx" in names and bool(names & {"scores", "validity"}))


@dataclass(frozen=True)
class _Answer:
    """What a scorer said of one solution; None for what it did not say. `line` is where it stands."""

    scores: list[float] | None
    labels: list[float] | None
    redundant: list[float] | None
    line: int


@dataclass
class OfficialResults:
    """Verdicts of a result file of the benchmark's own program, as confidences of 1 (right) and 0; or its scores.

    A list that is shorter than the solution leaves the steps behind its end without a confidence.

    Raises:
        DataError: on `read`: the file is broken; on `score`: a solution is not in it, has more verdicts than steps, or
            a score is outside [0, 1].
    """

    path: Path
    by_scores: bool
    answers: dict[str, _Answer]
    repeated: int = 0
    used: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path, *, by_scores: bool) -> OfficialResults:
        """Every line of `path`; of two answers for one solution the first counts, as in the benchmark's own program."""
        answers: dict[str, _Answer] = {}
        repeated = 0
        for record in read_records(path):
            for result in _results(record):
                name = read_name(result, "idx")
                if not name:
                    raise result.error("'idx' is missing; allowed: text or a whole number")
                repeated += name in answers
                answers.setdefault(name, _answer(result))
        return cls(path, by_scores, answers, repeated)

    def about(self) -> dict[str, Any]:
        """Which file, and what of it was taken."""
        return {
            "predictions": str(self.path),
            "predictions_sha256": sha256_of(self.path),
            "predictions_layout": "prmbench",
            "predictions_are": "scores" if self.by_scores else "verdicts of the file itself",
            "predictions_repeated": self.repeated,
            "predictions_not_used": len(self.answers) - len(self.used),
        }

    def holds(self, tree: ReasoningTree) -> bool:
        """Whether the file has a line for this solution."""
        return tree.id in self.answers

    def score(
        self, trees: Sequence[ReasoningTree], *, dataset: str | None = None, wanted: Wanted = "all"
    ) -> Iterator[TreeScores]:
        """Look them up; what the file says is given as it is, whatever is asked for."""
        for tree in trees:
            found = self.answers.get(tree.id)
            if found is None:
                raise DataError(
                    f"holds no verdicts for the solution {tree.id!r}; needed: a line for each solution of --data, with "
                    '"validity": false where the scorer had no answer',
                    path=self.path,
                )
            self.used.add(tree.id)
            confidence_N = self._confidences(found, tree)
            yield TreeScores(confidence_N, confidence_N)

    def _confidences(self, found: _Answer, tree: ReasoningTree) -> FloatArray:
        values = _verdicts(found, tree.dataset)
        if self.by_scores or values is None:
            values = found.scores
            if values is not None and not all(0.0 <= value <= 1.0 for value in values):
                raise DataError(
                    f"{SCORES} of {tree.id!r} are not all from 0 to 1, so that --threshold has no meaning for them; "
                    "leave it out to take the file's own labels",
                    path=self.path,
                    line=found.line,
                )
        if values is not None and len(values) > len(tree.nodes):
            raise DataError(
                f"{counted(len(values), 'verdict')} for {tree.id!r} of {counted(len(tree.nodes), 'step')}; give one "
                "each",
                path=self.path,
                line=found.line,
            )
        confidence_N = np.full(len(tree.nodes), np.nan)
        confidence_N[: len(values or ())] = values or ()
        return confidence_N


def official_rows(pairs: Iterable[tuple[PrmbenchSolution, Confidences]], threshold: float) -> list[dict[str, Any]]:
    """A line for each solution, which the benchmark's own program measures as we do.

    A solution with a step that was not scored is marked as not answered, which the program leaves out.
    """
    rows = []
    for solution, values in pairs:
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            rows.append({"idx": solution.tree.id, "scores": {}, "validity": False})
            continue
        scores = {SCORES: known, LABELS: [value > threshold for value in known]}
        rows.append({"idx": solution.tree.id, "scores": scores, "validity": True})
    return rows


def _results(record: Record) -> Iterator[Record]:
    """The solutions of one line, whatever stands around them."""
    logs = record.items("detailed_logs")
    if "detailed_logs" in record.values:
        for number, value in enumerate(logs, start=1):
            log = record.inner(value, f"entry {number} of 'detailed_logs'")
            if log.get("prediction") is None:
                yield log.inner({"idx": log.get("idx"), "validity": False}, "the entry")
            else:
                yield log.inner(log.get("prediction"), f"'prediction' of entry {number}")
    elif "results" in record.values:
        yield record.inner(record.get("results"), "'results'")
    else:
        yield record


def _answer(result: Record) -> _Answer:
    if "validity" in result.values and not result.get("validity"):
        return _Answer(None, None, None, result.line)
    scores = result.inner(result.get("scores"), "'scores'")
    found = _Answer(_numbers(scores, SCORES), _numbers(scores, LABELS), _numbers(scores, REDUNDANT), result.line)
    if found.scores is None and found.labels is None:
        raise result.error(
            f"'scores' holds neither {LABELS!r} nor {SCORES!r}; give one of them, or \"validity\": false"
        )
    return found


def _numbers(scores: Record, name: str) -> list[float] | None:
    if scores.get(name) is None:
        return None
    found = []
    for number, value in enumerate(scores.items(name), start=1):
        if not isinstance(value, bool | int | float) or value != value:
            raise scores.error(f"{name} {number} is {value!r}; allowed: a number, true or false")
        found.append(float(value))
    return found


def _verdicts(found: _Answer, category: str) -> list[float] | None:
    """1 for a step that is called right, 0 for a wrong one; None where the file has scores alone."""
    if category in ASKED_FOR_REDUNDANCY and found.redundant is not None:
        return [float(value == 0) for value in found.redundant]
    return None if found.labels is None else [float(value == 1) for value in found.labels]
