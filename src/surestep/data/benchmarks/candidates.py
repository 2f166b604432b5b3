"""Candidate solutions of one problem with their correctness, for best-of-N.

    {"problem": "...", "candidates": [{"steps": [...], "correct": true, "answer": "18", "confidences": [0.9, ...]}]}

Also read: one candidate a line (`problem` and the candidate's fields in one object; lines of one problem and `id`
belong together), the layout of GSM8K's example solutions, and what `surestep generate` writes. `solution`, a text, may
stand in place of `steps`: it is split by a named rule, by lines where none is named, fenced code and displayed formulas
whole (`split_steps`). `score`, one number of any range, may stand in place of `confidences`. `answer` overrides what
`surestep.data.benchmarks.final_answer` finds in the text; of a candidate that is `truncated` only an answer that is
marked as one counts. `source` says which system wrote it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial

from surestep.counted import counted
from surestep.data.benchmarks.answer_spelling import normalize_answer
from surestep.data.benchmarks.answers import answer_name
from surestep.data.benchmarks.final_answer import written_answer
from surestep.data.records.bad_rows import BadRows, read_rows
from surestep.data.records.labels import read_name
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.split_steps import split_steps
from surestep.data.trees.text import clean_text

SOLUTION_RULE = "lines"
"""How a `solution` is split where no other rule is named."""

CANDIDATE_FIELDS = frozenset({"steps", "solution", "correct", "answer", "confidences", "score", "truncated", "source"})
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
        answer: in a short spelling, to show; None where none was found.
        confidences: given with it, one for each step, None for one that was not scored; None where not given.
        source: the system that wrote it, "" where unknown.
        score: given for it as a whole, of any range; None where not given.
        written: the answer as it stands there, which is what counts in a vote.
    """

    steps: tuple[str, ...]
    is_correct: bool
    answer: str | None
    confidences: tuple[float | None, ...] | None = None
    source: str = ""
    score: float | None = None
    written: str | None = field(default=None, compare=False)

    @property
    def vote(self) -> str | None:
        """The answer that it votes for; None where it has none."""
        return self.answer if self.written is None else self.written


@dataclass(slots=True)
class CandidateSet:
    """A problem's candidates, and the line on which the first of them stands."""

    problem: str
    id: str
    line: int
    candidates: list[Candidate] = field(default_factory=list)


def read_candidates(
    paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop", split_rule: str = SOLUTION_RULE
) -> list[CandidateSet]:
    """Every problem with its candidates, in order of first appearance.

    Args:
        paths: files of one object a line, or JSON arrays.
        report: counts candidates without steps or answer and unknown fields; notes what people must know.
        bad_rows: see `read_rows`.
        split_rule: by which a `solution` becomes steps; see `split_steps`.

    Raises:
        DataError: naming file and line, where a file is broken, a field is missing or of the wrong kind, or there
            are not as many confidences as steps.
    """
    sets: dict[tuple[str, str], CandidateSet] = {}
    for name, row in read_rows(paths, partial(_parse, rule=split_rule), report=report, bad_rows=bad_rows):
        sets.setdefault((name, row.problem), replace(row, candidates=[])).candidates.extend(row.candidates)
    for found in sets.values():
        by_answer = {(answer_name(c.vote), c.is_correct) for c in found.candidates if c.vote is not None}
        report.count("answer_conflict", int(len(by_answer) > len({answer for answer, _ in by_answer})), where=found.id)
    return list(sets.values())


def _parse(record: Record, report: ReadReport, *, rule: str) -> tuple[str, CandidateSet]:
    """The name ("" where none) and the candidates of one record."""
    written, name, candidates = _parts(record, report, rule)
    problem = clean_text(written)
    report.count("text_cleaned", int(problem != written))
    if not problem:
        raise record.error("the problem is empty; allowed: text")
    place = f"{record.path.name.split('.')[0]}:{record.number or record.line}"
    return name, CandidateSet(problem, name or place, record.line, candidates)


def _parts(record: Record, report: ReadReport, rule: str) -> tuple[str, str, list[Candidate]]:
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
                rule,
            )
            for name, inner in systems
        ]
        return record.text("question"), "", made
    if "candidates" not in values:
        _count_unknown(record, PROBLEM_FIELDS | CANDIDATE_FIELDS, report)
        return record.text("problem"), read_name(record, "id"), [_candidate(record, "the candidate", "", report, rule)]
    _count_unknown(record, PROBLEM_FIELDS, report)
    given = record.items("candidates")
    if not given:
        raise record.error("'candidates' is empty; allowed: at least one candidate")
    made = []
    for number, value in enumerate(given, start=1):
        inner = record.inner(value, f"candidate {number}")
        _count_unknown(inner, CANDIDATE_FIELDS, report)
        made.append(_candidate(inner, f"candidate {number}", "", report, rule))
    return record.text("problem"), read_name(record, "id"), made


def _candidate(record: Record, what: str, source: str, report: ReadReport, rule: str) -> Candidate:
    correct = record.values.get("correct")
    if not isinstance(correct, bool):
        raise record.error(f"{what} has 'correct' {correct!r}; allowed: true or false")
    steps = _steps(record, what, report, rule)
    confidences, score = read_confidences(record, what), read_score(record, what)
    if confidences is not None and steps is not None and len(confidences) != len(steps):
        raise record.error(
            f"{what} has {counted(len(confidences), 'confidence')} for {counted(len(steps), 'step')}; give one each"
        )
    report.count("candidates")
    if steps is None and confidences is None and score is None:
        raise record.error(f"{what} has neither 'steps' nor 'solution'; give one of them")
    written = _answer(record, what, "\n".join(steps or ()))
    answer = None if written is None else normalize_answer(written)
    report.count("candidate_without_steps", int(not steps and not confidences and score is None), where=record.place)
    report.count("candidate_without_answer", int(answer is None), where=record.place)
    return Candidate(
        tuple(steps or ()),
        correct,
        answer,
        confidences,
        record.optional_text("source") or source,
        score,
        None if answer is None else written,
    )


def _answer(record: Record, what: str, text: str) -> str | None:
    """The answer as written; of a candidate that breaks off, only one that is marked as an answer."""
    given, truncated = record.values.get("answer"), record.values.get("truncated")
    if isinstance(given, bool) or not isinstance(given, str | int | float | None):
        raise record.error(f"{what} has 'answer' {given!r}; allowed: text or a number")
    if not isinstance(truncated, bool | None):
        raise record.error(f"{what} has 'truncated' {truncated!r}; allowed: true or false")
    written = written_answer(text, only_marked=bool(truncated)) if given is None else str(given)
    return None if written is None else written.strip() or None


def _steps(record: Record, what: str, report: ReadReport, rule: str) -> list[str] | None:
    """Steps as given, or `solution` split by the rule."""
    if record.values.get("steps") is None:
        text = record.optional_text("solution")
        return None if text is None else list(split_steps(text, rule).steps)
    steps = []
    for number, value in enumerate(record.items("steps"), start=1):
        step = record.as_text(value, f"step {number} of {what}")
        if not step.strip():
            raise record.error(f"step {number} of {what} is empty; remove it or give its text")
        steps.append(clean_text(step))
        report.count("text_cleaned", int(steps[-1] != step))
    return steps


def read_confidences(record: Record, what: str) -> tuple[float | None, ...] | None:
    """One for each step, None for one that was not scored; None where there are none.

    Raises:
        DataError: one of them is no number from 0 to 1.
    """
    if record.values.get("confidences") is None:
        return None
    values: list[float | None] = []
    for number, value in enumerate(record.items("confidences"), start=1):
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0
        ):
            raise record.error(
                f"confidence {number} of {what} is {value!r}; allowed: a number from 0 to 1, or null (a reward of "
                "another range is a 'score', one number for each candidate)"
            )
        values.append(None if value is None else float(value))
    return tuple(values)


def read_score(record: Record, what: str) -> float | None:
    """One number for a candidate as a whole, of any range; None where there is none.

    Raises:
        DataError: it is no finite number.
    """
    value = record.values.get("score")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise record.error(f"{what} has 'score' {value!r}; allowed: a finite number, of any range")
    return float(value)


def _count_unknown(record: Record, known: frozenset[str], report: ReadReport) -> None:
    if unknown := sorted(record.values.keys() - known):
        report.count("fields_not_read", where=f"{record.place}: {', '.join(unknown)}")
