"""PRMBench (Apache-2.0 by its card): solutions into which one kind of error was written, with every wrong step named.

Layout: https://huggingface.co/datasets/hitsmy/PRMBench_Preview (arXiv 2501.03124). `error_steps` counts from 1; about
a hundred of its records name a step that does not exist. The solutions before the change are those of the records of
one category, as in the benchmark's own program (`mr_eval/tasks/prmtest_classified/task.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from surestep.counted import counted
from surestep.data.records.bad_rows import BadRows, read_rows
from surestep.data.records.labels import as_integer, read_name
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.identity import normalize_text
from surestep.data.trees.listed_steps import listed_chain
from surestep.types import ReasoningTree

GROUPS: dict[str, tuple[str, ...]] = {
    "simplicity": ("redundency", "circular"),
    "soundness": ("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"),
    "sensitivity": ("missing_condition", "deception", "multi_solutions"),
}
"""The benchmark's three groups and the `classification` values in each, spelt as in its files."""

CATEGORIES = tuple(name for names in GROUPS.values() for name in names)

ORIGINAL = "correct"
"""What the benchmark calls the category of the solutions before the change, which have no wrong step."""

WITH_ORIGINALS = "redundency"
"""The category whose records give them: one for each `idx`, so that no original counts nine times."""

StepNumbers = Literal["keep", "remove"]
"""Whether a step keeps the number in front of it ("Step 3.", "3.")."""

_NUMBER = re.compile(r"^(Step\s*\d+\.\s*|\d+\.\s*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PrmbenchSolution:
    """A changed solution, or one before the change.

    Attributes:
        category: one of `CATEGORIES`, or `ORIGINAL`.
        name: the record's `idx`; changes of one solution share it.
        tree: a single path with every listed step; a wrong step has confidence 0, every other 1. Solutions made from
            one problem share their `group`. Its id is `<category>_<name>`, as in the benchmark's own result files.
        has_index_outside: whether `error_steps` named a step that does not exist.
        first_error: index of the step that the smallest of `error_steps` names; None where there is none, or where it
            does not exist.
    """

    category: str
    name: str
    tree: ReasoningTree
    has_index_outside: bool = False
    first_error: int | None = None


def read_prmbench(
    paths: PathOrPaths,
    *,
    report: ReadReport,
    bad_rows: BadRows = "stop",
    originals: bool = False,
    step_numbers: StepNumbers = "keep",
) -> Iterator[PrmbenchSolution]:
    """Every changed solution, in the files' order, with every step that it lists, empty ones among them.

    An error index that lies outside the steps is ignored and counted, as the benchmark's own program does without
    counting; the record's other steps are kept. A record whose category and `idx` came before is left out, counted.

    Args:
        paths: files of one object a line, or JSON arrays.
        report: counts everything left out.
        bad_rows: see `read_rows`.
        originals: give the solutions before the change too (`ORIGINAL`), each in front of the record that holds it.
        step_numbers: "remove" takes "Step 3." or "3." away from the beginning of a step, as the benchmark's adapters
            do for most scorers (`remove_step_prefix`: also the "3." of "3.5 is ...").

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, an unknown category, or something
            else than whole numbers in `error_steps`.
    """
    seen: set[tuple[str, str]] = set()

    def parse(record: Record, counted: ReadReport) -> tuple[tuple[str, str], list[PrmbenchSolution]]:
        category = record.text("classification")
        if category not in CATEGORIES:
            raise record.error(f"'classification' is {category!r}; allowed: {', '.join(CATEGORIES)}")
        name = _name(record)
        if (category, name) in seen:
            counted.count("repeated_record", where=record.place)
            return (category, name), []
        if record.get("modified_process") is None:
            counted.count("no_steps", where=record.place)
            return (category, name), []
        found = [_solution(record, category, name, counted, step_numbers)]
        if originals and category == WITH_ORIGINALS:
            found = [*_original(record, name, counted, step_numbers), *found]
        return (category, name), found

    for identity, solutions in read_rows(paths, parse, report=report, bad_rows=bad_rows):
        seen.add(identity)
        yield from solutions


def without_number(step: str) -> str:
    """A step without the number in front of it and the white space around it.

    >>> without_number(" Step 3. So x = 1."), without_number("12.Then"), without_number("Step three.")
    ('So x = 1.', 'Then', 'Step three.')
    """
    return _NUMBER.sub("", step.strip())


def _solution(
    record: Record, category: str, name: str, report: ReadReport, step_numbers: StepNumbers
) -> PrmbenchSolution:
    steps = _steps(record, "modified_process", report, step_numbers)
    wrong = _error_steps(record)
    outside = [number for number in wrong if not 1 <= number <= len(steps)]
    if outside:
        report.count(
            "error_index_outside", len(outside), where=f"{record.place}: {outside[0]} of {counted(len(steps), 'step')}"
        )
        report.count("error_record_outside", where=record.place)
    original = record.optional_text("original_question") or record.optional_text("question")
    problem = record.optional_text("modified_question") or original
    if not problem or not problem.strip():
        raise record.error("'modified_question' and 'question' are missing; one of them must hold the problem")
    tree = listed_chain(
        problem,
        steps,
        [float(number not in wrong) for number in range(1, len(steps) + 1)],
        id=f"{category}_{name}",
        group=normalize_text(original or problem),
        report=report,
        where=record.place,
    )
    first = min(wrong, default=0) - 1
    return PrmbenchSolution(category, name, tree, bool(outside), first if 0 <= first < len(steps) else None)


def _original(record: Record, name: str, report: ReadReport, step_numbers: StepNumbers) -> Iterator[PrmbenchSolution]:
    """The solution before the change, which is all right; nothing, counted, where the record does not hold it."""
    problem = record.optional_text("original_question") or record.optional_text("question")
    if record.get("original_process") is None or not problem or not problem.strip():
        report.count("no_original", where=record.place)
        return
    steps = _steps(record, "original_process", report, step_numbers)
    tree = listed_chain(
        problem,
        steps,
        [1.0] * len(steps),
        id=f"{ORIGINAL}_{name}",
        group=normalize_text(problem),
        report=report,
        where=record.place,
    )
    yield PrmbenchSolution(ORIGINAL, name, tree)


def _steps(record: Record, field: str, report: ReadReport, step_numbers: StepNumbers) -> list[str]:
    steps = [record.as_text(value, f"step {number}") for number, value in enumerate(record.items(field), start=1)]
    if step_numbers == "keep":
        return steps
    bare = [without_number(step) for step in steps]
    removed = sum(one != step.strip() for one, step in zip(bare, steps, strict=True))
    report.count("step_number_removed", removed, where=record.place)
    return bare


def _error_steps(record: Record) -> set[int]:
    found: set[int] = set()
    for value in record.items("error_steps"):
        number = as_integer(value)
        if number is None:
            raise record.error(f"'error_steps' holds {value!r}; allowed: whole numbers, counted from 1")
        found.add(number)
    return found


def _name(record: Record) -> str:
    place = f"{record.path.name.split('.')[0]}:{record.number or record.line}"
    return read_name(record, "idx") or read_name(record, "id") or place
