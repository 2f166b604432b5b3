"""Candidate solutions of one problem with their correctness, for best-of-N.

    {"problem": "...", "candidates": [{"steps": [...], "correct": true, "answer": "18", "confidences": [0.9, ...]}]}

Also read: one candidate a line (`problem` and the candidate's fields in one object; lines of one problem and `id`
belong together), and the layout of GSM8K's example solutions. `solution`, a text, may stand in place of `steps`: its
lines are the steps, fenced code and displayed formulas whole (`split_steps`). `answer`
overrides what `surestep.data.benchmarks.final_answer` finds in the text; `source` says which system wrote it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from surestep.data.benchmarks.answer_spelling import normalize_answer
from surestep.data.benchmarks.final_answer import extract_answer
from surestep.data.records.bad_rows import BadRows, read_rows
from surestep.data.records.labels import read_name
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.split_steps import split_steps
from surestep.data.trees.text import clean_text

SOLUTION_RULE = "lines"
"""How a `solution` is split."""

CANDIDATE_FIELDS = frozenset({"steps", "solution", "correct", "answer", "confidences", "source"})
PROBLEM_FIELDS = frozenset({"problem", "id", "candidates"})

GSM8K_SYSTEMS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
GSM8K_NOTE = (
    "the candidates of GSM8K's example solutions come from four systems of different strength "
    f"({', '.join(GSM8K_SYSTEMS)}), not from one generator: each N mixes them, and a scorer gains by telling them apart"
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One solution.

    Attributes:
        steps: its steps, none empty.
        is_correct: whether its final answer was judged right.
        answer: normalised, for voting; None where none was found.
        confidences: given with it, one for each step; None where not given.
        source: the system that wrote it, "" where unknown.
    """

    steps: tuple[str, ...]
    is_correct: bool
    answer: str | None
    confidences: tuple[float, ...] | None = None
    source: str = ""


@dataclass(slots=True)
class CandidateSet:
    """A problem's candidates, and the line on which the first of them stands."""

    problem: str
    id: str
    line: int
    candidates: list[Candidate] = field(default_factory=list)


def read_candidates(paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop") -> list[CandidateSet]:
    """Every problem with its candidates, in order of first appearance.

    Args:
        paths: files of one object a line, or JSON arrays.
        report: counts candidates without steps or answer and unknown fields; notes what people must know.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line, where a file is broken, a field is missing or of the wrong kind, or there
            are not as many confidences as steps.
    """
    sets: dict[tuple[str, str], CandidateSet] = {}
    for name, row in read_rows(paths, _parse, report=report, bad_rows=bad_rows):
        sets.setdefault((name, row.problem), replace(row, candidates=[])).candidates.extend(row.candidates)
    for found in sets.values():
        by_answer = {(c.answer, c.is_correct) for c in found.candidates if c.answer is not None}
        report.count("answer_conflict", int(len(by_answer) > len({answer for answer, _ in by_answer})), where=found.id)
    return list(sets.values())


def _parse(record: Record, report: ReadReport) -> tuple[str, CandidateSet]:
    """The name ("" where none) and the candidates of one record."""
    written, name, candidates = _parts(record, report)
    problem = clean_text(written)
    report.count("text_cleaned", int(problem != written))
    if not problem:
        raise record.error("the problem is empty; allowed: text")
    place = f"{record.path.name.split('.')[0]}:{record.number or record.line}"
    return name, CandidateSet(problem, name or place, record.line, candidates)


def _parts(record: Record, report: ReadReport) -> tuple[str, str, list[Candidate]]:
    """Problem, id ("" where none) and candidates of one record, whatever its layout."""
    values = record.values
    if "question" in values and all(isinstance(values.get(name), dict) for name in GSM8K_SYSTEMS):
        report.note(GSM8K_NOTE)
        systems = ((name, record.inner(values[name], f"'{name}'")) for name in GSM8K_SYSTEMS)
        made = [
            _candidate(
                inner.inner({"solution": inner.text("solution"), "correct": inner.values.get("is_correct")}, name),
                f"'{name}'",
                name,
                report,
            )
            for name, inner in systems
        ]
        return record.text("question"), "", made
    if "candidates" not in values:
        _count_unknown(record, PROBLEM_FIELDS | CANDIDATE_FIELDS, report)
        return record.text("problem"), read_name(record, "id"), [_candidate(record, "the candidate", "", report)]
    _count_unknown(record, PROBLEM_FIELDS, report)
    given = record.items("candidates")
    if not given:
        raise record.error("'candidates' is empty; allowed: at least one candidate")
    made = []
    for number, value in enumerate(given, start=1):
        inner = record.inner(value, f"candidate {number}")
        _count_unknown(inner, CANDIDATE_FIELDS, report)
        made.append(_candidate(inner, f"candidate {number}", "", report))
    return record.text("problem"), read_name(record, "id"), made


def _candidate(record: Record, what: str, source: str, report: ReadReport) -> Candidate:
    correct = record.values.get("correct")
    if not isinstance(correct, bool):
        raise record.error(f"{what} has 'correct' {correct!r}; allowed: true or false")
    steps = _steps(record, what, report)
    confidences = _confidences(record, what)
    if confidences is not None and steps is not None and len(confidences) != len(steps):
        raise record.error(f"{what} has {len(confidences)} confidences for {len(steps)} steps; give one each")
    report.count("candidates")
    if steps is None and confidences is None:
        raise record.error(f"{what} has neither 'steps' nor 'solution'; give one of them")
    text = "\n".join(steps or ())
    given = record.values.get("answer")
    if isinstance(given, bool) or not isinstance(given, str | int | float | None):
        raise record.error(f"{what} has 'answer' {given!r}; allowed: text or a number")
    answer = extract_answer(text) if given is None else normalize_answer(str(given))
    report.count("candidate_without_steps", int(not steps and not confidences), where=record.place)
    report.count("candidate_without_answer", int(answer is None), where=record.place)
    return Candidate(tuple(steps or ()), correct, answer, confidences, record.optional_text("source") or source)


def _steps(record: Record, what: str, report: ReadReport) -> list[str] | None:
    """Steps as given, or the lines of `solution`; empty ones are dropped, which would not fit given confidences."""
    if record.values.get("steps") is None:
        text = record.optional_text("solution")
        return None if text is None else list(split_steps(text, SOLUTION_RULE).steps)
    steps = []
    for number, value in enumerate(record.items("steps"), start=1):
        step = record.as_text(value, f"step {number} of {what}")
        if not step.strip():
            raise record.error(f"step {number} of {what} is empty; remove it or give its text")
        steps.append(clean_text(step))
        report.count("text_cleaned", int(steps[-1] != step))
    return steps


def _confidences(record: Record, what: str) -> tuple[float, ...] | None:
    if record.values.get("confidences") is None:
        return None
    values: list[Any] = record.items("confidences")
    for number, value in enumerate(values, start=1):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
            raise record.error(f"confidence {number} of {what} is {value!r}; allowed: a number from 0 to 1")
    return tuple(float(value) for value in values)


def _count_unknown(record: Record, known: frozenset[str], report: ReadReport) -> None:
    if unknown := sorted(record.values.keys() - known):
        report.count("fields_not_read", where=f"{record.place}: {', '.join(unknown)}")
