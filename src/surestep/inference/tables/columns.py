"""Which columns of a table hold what is scored: as the user says, else as they are usually called.

Knows names and kinds of values; knows no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from surestep.errors import ConfigError, InputError
from surestep.inference.solutions import checked_steps, checked_text, kind_of
from surestep.untrusted import parse_json
from surestep.untrusted.bounds import shown

USUAL: dict[str, tuple[str, ...]] = {
    "problem": ("problem", "question", "prompt", "query", "instruction"),
    "steps": ("steps", "completions"),
    "solution": ("solution", "response", "completion", "output"),
    "candidates": ("candidates", "solutions", "responses", "completions"),
    "answer": ("answer", "gold_answer", "ground_truth", "target"),
}
"""What -> the names that its column usually has, the first found is taken."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a row's problem stands, and what it is scored by (its steps, its raw solution or its candidates), or for a
    problem that is still to be solved its right answer, where it has one."""

    problem: str
    steps: str | None = None
    solution: str | None = None
    candidates: str | None = None
    answer: str | None = None

    def line(self) -> str:
        """In a sentence, with the flags that choose otherwise."""
        found = {name: value for name in USUAL if (value := getattr(self, name)) is not None}
        names = ", ".join(f"{name} from {value!r}" for name, value in found.items())
        return f"columns: {names} ({', '.join(f'--{name}_column' for name in found)})"


def find_columns(
    values: Mapping[str, Any], given: Mapping[str, str | None], wanted: Sequence[str], *, where: str
) -> Columns:
    """The columns of a table whose first row is `values`.

    Args:
        values: the first row.
        given: what -> the name that the user gave, None where none.
        wanted: what the row is scored by, the first that is there: `steps` and `solution`, or `candidates`. With
            `answer` among them nothing need be there.
        where: the file, for messages.

    Raises:
        ConfigError: a column that was named is not there, or none of the usual ones is; the message lists what is.
    """
    there = f"it has {shown(', '.join(values))}"
    for what, name in given.items():
        if name is not None and name not in values:
            raise ConfigError(f"{where} has no column {shown(name)} (--{what}_column); {there}")

    def find(what: str) -> str | None:
        if given.get(what) is not None:
            return given[what]
        return next((name for name in USUAL[what] if name in values), None)

    problem = find("problem")
    if problem is None:
        raise ConfigError(
            f"{where} has no column called {' or '.join(USUAL['problem'])}; {there}: name it with --problem_column"
        )
    # One that the user named goes before those that are called as usual.
    for what in sorted(wanted, key=lambda what: given.get(what) is None):
        name = find(what)
        if name is not None and (given.get(what) is not None or name != problem):
            return Columns(problem, **{what: name})
    if "answer" in wanted:
        return Columns(problem)
    usual = " or ".join(name for what in wanted for name in USUAL[what])
    flags = " or ".join(f"--{what}_column" for what in wanted)
    raise ConfigError(f"{where} has no column called {usual}; {there}: name it with {flags}")


def text_of(values: Mapping[str, Any], column: str) -> str:
    """The text in a column.

    Raises:
        InputError: it is missing, blank or no text.
    """
    if values.get(column) is None:
        raise InputError(f"{column!r} is missing; allowed: text")
    return checked_text(values[column], repr(column))


def list_of(values: Mapping[str, Any], column: str) -> list[Any]:
    """The list in a column; of text, as a CSV has it, the JSON list that it spells.

    Raises:
        InputError: it is none.
    """
    value = values.get(column)
    if value is None:
        raise InputError(f"{column!r} is missing; allowed: a list")
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = parse_json(value)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{column!r} is no JSON list ({error})") from None
    if not isinstance(value, list):
        raise InputError(f"{column!r} is {kind_of(value)}; allowed: a list (for a raw solution name --solution_column)")
    return value


def steps_of(value: list[Any], what: str) -> tuple[str, ...]:
    """A list of steps, at least one.

    Raises:
        InputError: there is none, or one is no text.
    """
    if not value:
        raise InputError(f"{what} is empty; allowed: at least one step")
    return checked_steps(value, what)
