"""The layouts of a predictions file, told apart by their columns. Every reader of predictions takes its rows from here.

By step, a row for each step, which is what this program writes:

    {"dataset": "gsm8k", "problem_id": "gsm8k-0", "step": 0, "confidence": 0.98, "label": 1.0}

By solution, a row for each solution with a value for each of its steps, null where a step was not scored:

    {"dataset": "gsm8k", "id": "gsm8k-0", "confidences": [0.98, 0.31, null], "label": 1}

Whatever reads predictions reads both. `subset` is another word for `dataset`; what `id` and `problem_id` name is
decided in `row_names`.

Knows rows of files; knows no tree and no figure.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surestep.counted import counted
from surestep.data.records.labels import as_number, read_label, read_name, whole_number
from surestep.data.records.record import Record, read_records
from surestep.scored import FIRST_STEP
from surestep.scoring.predictions.row_names import ids_number_rows, solution_and_problem
from surestep.untrusted.bounds import shown

Row = dict[str, Any]
MOST = 2**31 - 1
"""Of a step, a position, a number of ratings: what an array of whole numbers holds anywhere."""

NAMES = ("dataset", "problem_id", "group")
WHOLE = {"step": 0, "parent": FIRST_STEP, "position": 1, "num_ratings": 0}
"""Fields that hold whole numbers, and the least each may be."""

_CHECKED = frozenset({*NAMES, *WHOLE})

_CELLS_WITH_NUMBERS = ("confidence", "raw_confidence", "true_confidence", "label")
"""Fields of a row by step that hold numbers, which a CSV spells."""

_STEP_LISTS = {"raw_confidences": "raw_confidence", "labels": "label", "true_confidences": "true_confidence"}
"""Lists of a row by solution, and what their values are called in a row by step."""

NO_ERROR = -1
"""The `label` of a solution without a wrong step."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one row of a file says.

    Attributes:
        record: the row.
        name: its solution's; "" where the row names none.
        rows: the steps that it is about, each as a row by step; `confidence` is None where a step was not scored, which
            only rows by solution may say.
        is_solution: whether these are all steps of a solution, in order.
    """

    record: Record
    name: str
    rows: list[Row]
    is_solution: bool

    @property
    def subset(self) -> str:
        """The part of a benchmark: `subset`, else `dataset`; "" where the row names none."""
        return subset_of(self.record)


def subset_of(record: Record) -> str:
    """`subset`, else `dataset`."""
    return read_name(record, "subset") or read_name(record, "dataset")


@dataclass(frozen=True, slots=True)
class PredictionsLayout:
    """One layout.

    Attributes:
        name: as documents call it.
        column: the column that tells it from the others.
        title: what a row is.
        read: the rows by step of one row, of its solution and its problem (`solution_and_problem`).
        is_by_solution: see `Part.is_solution`.
    """

    name: str
    column: str
    title: str
    read: Callable[[Record, str, str], list[Row]]
    is_by_solution: bool


def read_row(record: Record, solution: str, problem: str) -> Row:
    """A row by step, its names and whole numbers as `read_name` and `whole_number` read them.

    A field without one is absent. `problem_id` is the name of the row's solution, and that of its problem beside it the
    group of its solutions, where the row has no other (both as of `solution_and_problem`).

    Raises:
        DataError: a name is neither text nor a whole number, or a number is not whole or too small.
    """
    values = record.values
    if record.is_cells:
        values = values | {name: _number_in(values[name]) for name in _CELLS_WITH_NUMBERS if name in values}
    row = {
        # NaN stands for null, as programs write it that keep columns as floats; a confidence has to be a number.
        name: None if name != "confidence" and isinstance(value, float) and math.isnan(value) else value
        for name, value in values.items()
        if name not in _CHECKED
    }
    for name in ("dataset", "group"):
        if name in values and (text := read_name(record, name)):
            row[name] = text
    # A column of this name that holds no name was never read, and is of no use here.
    if (
        "dataset" not in row
        and "subset" in values
        and isinstance(record.get("subset"), str | int)
        and (text := read_name(record, "subset"))
    ):
        row["dataset"] = text
    if solution:
        row["problem_id"] = solution
    if problem:
        row.setdefault("group", problem)
    for name, least in WHOLE.items():
        number = values.get(name)
        if number is None:
            continue
        if type(number) is not int:
            number = whole_number(record, record.get(name), name, f"a whole number from {least}")
        if number is not None and not least <= number <= MOST:
            raise record.error(f"{name} is {shown(number)}; allowed: a whole number from {least} to {MOST}")
        if number is not None:
            row[name] = number
    return row


def _number_in(cell: Any) -> Any:
    """The number that a cell of a CSV spells; a text that spells none stays itself, for the check to refuse."""
    number = as_number(cell.strip()) if isinstance(cell, str) else None
    return cell if number is None else number


def _read_step(record: Record, solution: str, problem: str) -> list[Row]:
    return [read_row(record, solution, problem)]


def _read_solution(record: Record, solution: str, problem: str) -> list[Row]:
    """The steps of a row by solution.

    Raises:
        DataError: a list is none, holds what it may not, or has not one value for each confidence; the label is none of
            the steps.
    """
    lists: dict[str, list[Any]] = {"confidence": _confidences(record, "confidences")}
    count = len(lists["confidence"])
    if record.get("raw_confidences") is not None:
        lists["raw_confidence"] = _confidences(record, "raw_confidences")
    for name in ("labels", "true_confidences"):
        if record.get(name) is not None:
            given = enumerate(record.items(name), start=1)
            lists[_STEP_LISTS[name]] = [read_label(record, value, f"{name} {number}") for number, value in given]
    if record.get("steps") is not None:
        steps = enumerate(record.items("steps"), start=1)
        lists["text"] = [record.as_text(value, f"step {number}") for number, value in steps]
    for name, values in lists.items():
        if len(values) != count:
            said = counted(len(values), "step" if name == "text" else name)
            raise record.error(f"{said} for {counted(count, 'confidence')}; give one each")
    if record.get("label") is not None:
        if "label" in lists:
            raise record.error("the row has 'label' (the first wrong step) and 'labels' (of every step); give one")
        lists["label"] = _labels_until_error(record, count)
    common = _common(record, solution, problem)
    rows = []
    for number in range(count):
        row = common | {name: values[number] for name, values in lists.items()}
        rows.append(row | {"step": number, "parent": number - 1, "position": number + 1})
    return rows


def _common(record: Record, solution: str, problem_name: str) -> Row:
    """What all steps of a solution share."""
    group = read_name(record, "group") or problem_name
    named = {"dataset": read_name(record, "dataset") or subset_of(record), "problem_id": solution, "group": group}
    row: Row = {name: value for name, value in named.items() if value}
    if isinstance(problem := record.get("problem"), str):
        row["problem"] = problem
    return row


def _confidences(record: Record, name: str) -> list[float | None]:
    if not isinstance(record.seen(name), list):
        raise record.error(f"'{name}' is {record.values.get(name)!r}; allowed: a list, one for each step")
    values: list[float | None] = []
    for number, value in enumerate(record.items(name), start=1):
        # NaN fails the comparison too.
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0
        ):
            what = name.removesuffix("s").replace("_", " ")
            raise record.error(f"{what} {number} is {value!r}; allowed: a number from 0 to 1, or null")
        values.append(None if value is None else float(value))
    return values


def _labels_until_error(record: Record, count: int) -> list[float | None]:
    """Of each step, from the index of the first wrong one: right before it, unknown behind it."""
    allowed = f"{NO_ERROR} (no error) or the index of the first wrong step, from 0"
    label = whole_number(record, record.get("label"), "'label'", allowed)
    assert label is not None
    if not NO_ERROR <= label < count:
        raise record.error(f"'label' is {shown(label)} of a solution with {counted(count, 'step')}; allowed: {allowed}")
    if label == NO_ERROR:
        return [1.0] * count
    return [1.0 if number < label else 0.0 if number == label else None for number in range(count)]


BY_STEP = PredictionsLayout("by step", "confidence", "one step a row", _read_step, False)
BY_SOLUTION = PredictionsLayout("by solution", "confidences", "one solution a row", _read_solution, True)
LAYOUTS: tuple[PredictionsLayout, ...] = (BY_STEP, BY_SOLUTION)
"""Every layout; a new one is a record more."""

_OTHER_NAMES = {
    **dict.fromkeys(("score", "reward", "probability", "prob", "prediction", "p"), "confidence"),
    **dict.fromkeys(("scores", "rewards", "probabilities", "probs", "predictions", "step_scores"), "confidences"),
}
"""What others call the columns that tell the layouts apart."""


@dataclass(slots=True)
class LayoutOfFile:
    """The layout of a file, once its first row was read: every other row has it too.

    Attributes:
        number: its place in `LAYOUTS`; None before the first row.
        place: where that row stands.
        ids_number_rows: whether `id` says nothing of solutions, see `row_names`.
    """

    number: int | None = None
    place: str = ""
    ids_number_rows: bool = False

    def of(self, record: Record) -> PredictionsLayout:
        """The layout of the next row.

        Raises:
            DataError: it has none, or another one than the rows before it.
        """
        first = None if self.number is None else LAYOUTS[self.number]
        layout = _layout_of(record, first)
        if first is None:
            self.number, self.place = LAYOUTS.index(layout), record.place
            self.ids_number_rows = (
                layout is BY_STEP and bool(solution_and_problem(record)[1]) and _numbered(record.path)
            )
        elif layout is not first:
            raise record.error(
                f"the row is {layout.name} ('{layout.column}'), {self.place} is {first.name} "
                f"('{first.column}'); give them in files of their own"
            )
        return layout


def read_parts(path: Path) -> Iterator[Part]:
    """Every row of a predictions file, whatever its layout; a file has one.

    Raises:
        DataError: it is missing, cut, of no known layout or of two, or a row is malformed; the message names the line.
    """
    return parts_of(read_records(path), LayoutOfFile())


def parts_of(records: Iterable[Record], of_file: LayoutOfFile) -> Iterator[Part]:
    """The same of some records, in order, of a file of which `of_file` knows what was read before."""
    for record in records:
        layout = of_file.of(record)
        solution, problem = solution_and_problem(record, ids_number_rows=of_file.ids_number_rows)
        yield Part(record, solution, layout.read(record, solution, problem), layout.is_by_solution)


def _numbered(path: Path) -> bool:
    """`ids_number_rows` of a file, of which a pipe is none: it can be read once only."""
    return path.is_file() and ids_number_rows(read_records(path))


def _layout_of(record: Record, before: PredictionsLayout | None) -> PredictionsLayout:
    if before is BY_STEP and record.values.get("confidence") is not None and "confidences" not in record.values:
        return before  # nearly every row of a long file
    present = [layout for layout in LAYOUTS if record.values.get(layout.column) is not None]
    if len(present) > 1:
        columns = " and ".join(f"'{layout.column}'" for layout in present)
        raise record.error(f"the row has {columns}; keep one: {_allowed()}")
    if present:
        return present[0]
    # Present but null: of the layout whose column it is, whose reader says what is wrong.
    named = [layout for layout in LAYOUTS if layout.column in record.values]
    if before in named or len(named) == 1:
        return before if before is not None and before in named else named[0]
    raise record.error(f"the row has no confidence; needed: {_allowed()}; its columns are {_columns(record)}")


def _allowed() -> str:
    return " or ".join(f"'{layout.column}' ({layout.title})" for layout in LAYOUTS)


def _columns(record: Record) -> str:
    """The columns of a row, and which of them may have been meant."""
    names = [name for name in record.values if isinstance(name, str)]
    text = ", ".join(shown(name) for name in names[:20]) or "none"
    wanted = [layout.column for layout in LAYOUTS]
    for name in names:
        near = difflib.get_close_matches(name.lower(), wanted, n=1, cutoff=0.8)
        meant = _OTHER_NAMES.get(name.lower(), near[0] if near else None)
        if meant is not None:
            return f"{text} (rename {shown(name)} to '{meant}')"
    return text
