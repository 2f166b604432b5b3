"""PRMBench (Apache-2.0 by its card): solutions into which one kind of error was written, with every wrong step named.

Layout: https://huggingface.co/datasets/hitsmy/PRMBench_Preview (arXiv 2501.03124). `error_steps` counts from 1; about
a hundred of its records name a step that does not exist. The solution before the change is not read: the benchmark's
score does not use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from surestep.data.records.bad_rows import BadRows, read_rows
from surestep.data.records.labels import as_integer, read_name
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.identity import normalize_text
from surestep.data.trees.tree_builder import TreeBuilder, finish
from surestep.types import ROOT, ReasoningTree

GROUPS: dict[str, tuple[str, ...]] = {
    "simplicity": ("redundency", "circular"),
    "soundness": ("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"),
    "sensitivity": ("missing_condition", "deception", "multi_solutions"),
}
"""The benchmark's three groups and the `classification` values in each, spelt as in its files."""

CATEGORIES = tuple(name for names in GROUPS.values() for name in names)


@dataclass(frozen=True, slots=True)
class PrmbenchSolution:
    """A changed solution.

    Attributes:
        category: one of `CATEGORIES`.
        tree: a single path; a wrong step has confidence 0, every other 1. Solutions made from one problem share
            their `group`.
        has_index_outside: whether `error_steps` named a step that does not exist.
    """

    category: str
    tree: ReasoningTree
    has_index_outside: bool


def read_prmbench(paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop") -> Iterator[PrmbenchSolution]:
    """Every changed solution, in the files' order.

    An error index that lies outside the steps is ignored and counted, as the benchmark's own program does without
    counting; the record's other steps are kept. A record whose category and `idx` came before is left out, counted.

    Args:
        paths: files of one object a line, or JSON arrays.
        report: counts everything left out.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, an unknown category, or something
            else than whole numbers in `error_steps`.
    """
    seen: set[tuple[str, str]] = set()

    def parse(record: Record, counted: ReadReport) -> tuple[tuple[str, str], PrmbenchSolution | None]:
        category = record.text("classification")
        if category not in CATEGORIES:
            raise record.error(f"'classification' is {category!r}; allowed: {', '.join(CATEGORIES)}")
        name = _name(record)
        if (category, name) in seen:
            counted.count("repeated_record", where=record.place)
            return (category, name), None
        return (category, name), _solution(record, category, name, counted)

    for identity, solution in read_rows(paths, parse, report=report, bad_rows=bad_rows):
        seen.add(identity)
        if solution is not None:
            yield solution


def _solution(record: Record, category: str, name: str, report: ReadReport) -> PrmbenchSolution | None:
    steps = record.items("modified_process")
    wrong = _error_steps(record)
    outside = [number for number in wrong if not 1 <= number <= len(steps)]
    if outside:
        report.count("error_index_outside", len(outside), where=f"{record.place}: {outside[0]} of {len(steps)} steps")
        report.count("error_record_outside", where=record.place)
    original = record.optional_text("original_question") or record.optional_text("question")
    problem = record.optional_text("modified_question") or original
    if not problem or not problem.strip():
        raise record.error("'modified_question' and 'question' are missing; one of them must hold the problem")
    builder = TreeBuilder(problem, id=f"{category}_{name}", group=normalize_text(original or problem))
    parent = ROOT
    for number, value in enumerate(steps, start=1):
        text = record.as_text(value, f"step {number}")
        if not text.strip():
            report.count("empty_step", where=record.place)
            break
        parent = builder.add(text, parent, confidence=float(number not in wrong))
    if len(builder) == 0:
        report.count("no_steps", where=record.place)
        return None
    tree = finish(builder, report)
    return None if tree is None else PrmbenchSolution(category, tree, bool(outside))


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
