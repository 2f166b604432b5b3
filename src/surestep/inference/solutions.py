"""What a caller hands over to be scored, checked and put together as trees: the sentences of wrong types stand here.

Knows texts and trees; knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from surestep.counted import counted
from surestep.data.records.reading_report import ReadReport
from surestep.data.trees.tree_builder import TreeBuilder
from surestep.errors import InputError
from surestep.inference.result import SolutionScores, solution_scores
from surestep.scoring.protocol import TreeScores
from surestep.types import ROOT, ReasoningTree
from surestep.untrusted.bounds import shown

Splitter = Callable[[str], Sequence[str]]
"""Makes the steps of a raw solution."""

NOT_SPLIT = (
    'allowed: a list of texts, one a step (for a raw solution say how it is split: split="auto", or steps='
    "split_steps(text).steps)"
)


@dataclass(frozen=True, slots=True)
class Solution:
    """One checked solution: a problem and its steps, as given."""

    problem: str
    steps: tuple[str, ...]


def checked_text(value: object, what: str) -> str:
    """`value` where it is text with something to read in it.

    Raises:
        InputError: it is of another type, blank, or no valid Unicode; `what` says which argument.
    """
    if not isinstance(value, str):
        raise InputError(f"{what} is {kind_of(value)}; allowed: text")
    if not value.strip():
        raise InputError(f"{what} is empty; allowed: text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{what} holds half of a surrogate pair; allowed: valid Unicode") from None
    return str(value)


def checked_steps(value: object, what: str = "'steps'", *, split: Splitter | None = None) -> tuple[str, ...]:
    """The steps of a solution, from a list of texts or from a raw solution that `split` makes steps of.

    Raises:
        InputError: text where nobody says how it is split, something without an order, or a step that is no text.
    """
    if isinstance(value, str):
        if split is None:
            raise InputError(f"{what} is the text {shown(value)}; {NOT_SPLIT}")
        return tuple(split(checked_text(value, what)))
    if isinstance(value, bytes | bytearray | Mapping | set | frozenset) or not isinstance(value, Iterable):
        raise InputError(f"{what} is {kind_of(value)}; allowed: a list of texts, one a step")
    return tuple(
        checked_text(step, f"step {number} of {what}") for number, step in enumerate(_items(value, what), start=1)
    )


def checked_candidates(candidates: object, split: Splitter | None) -> Iterator[tuple[str, ...]]:
    """The steps of each candidate, one after the other as they are asked for.

    Raises:
        InputError: at once, where they are no list of solutions; else as `checked_steps`.
    """
    if isinstance(candidates, str | bytes | Mapping | set | frozenset) or not isinstance(candidates, Iterable):
        raise InputError(f"'candidates' is {kind_of(candidates)}; allowed: a list of solutions, each a list of texts")
    return (
        checked_steps(steps, f"candidate {number}", split=split) for number, steps in enumerate(candidates, start=1)
    )


def checked_solution(item: object, what: str, *, split: Splitter | None = None) -> Solution:
    """A solution from (problem, steps), or from a mapping with `problem` and `steps` whose other keys are left alone.

    Raises:
        InputError: it is neither.
    """
    allowed = "allowed: (problem, steps), or an object with 'problem' and 'steps'"
    if isinstance(item, Mapping):
        if missing := [name for name in ("problem", "steps") if name not in item]:
            raise InputError(f"{what} has no {missing[0]!r} (it has {shown(', '.join(map(str, item)))}); {allowed}")
        problem, steps = item["problem"], item["steps"]
    elif isinstance(item, str | bytes | set | frozenset) or not isinstance(item, Iterable):
        raise InputError(f"{what} is {kind_of(item)}; {allowed}")
    else:
        parts = _items(item, what)
        if len(parts) != 2:
            raise InputError(f"{what} has {counted(len(parts), 'part')}; {allowed}")
        problem, steps = parts
    return Solution(
        checked_text(problem, f"the problem of {what}"), checked_steps(steps, f"the steps of {what}", split=split)
    )


def _items(value: Iterable[object], what: str) -> list[object]:
    try:
        return list(value)
    except TypeError:  # an array without a dimension, say
        raise InputError(f"{what} is {kind_of(value)}; allowed: a list") from None


def kind_of(value: object) -> str:
    """A value in words, as messages name what came.

    >>> kind_of(None), kind_of(b"a"), kind_of(3)
    ('None', "bytes (b'a')", 'the int 3')
    """
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return f"{type(value).__name__} ({shown(bytes(value[:40]))})"
    if isinstance(value, str):
        return f"the text {shown(value)}"
    if isinstance(value, int | float):
        return f"the {type(value).__name__} {shown(value)}"
    return f"of type {type(value).__name__}"


class SolutionTree:
    """Solutions of one problem as one tree: what they begin with in common is scored once.

    >>> together = SolutionTree("1+1?")
    >>> together.add(("One and one.", "It is 2.")), together.add(("One and one.", "It is 3."))
    (0, 1)
    >>> len(together.tree().nodes)
    3
    """

    def __init__(self, problem: str) -> None:
        self.problem = problem
        self._builder = TreeBuilder(problem)
        self._solutions: list[tuple[tuple[str, ...], list[int]]] = []

    def __len__(self) -> int:
        """Number of solutions."""
        return len(self._solutions)

    def add(self, steps: tuple[str, ...]) -> int:
        """Take one solution; its number among them."""
        path, parent = [], ROOT
        for step in steps:
            parent = self._builder.add(step, parent)
            path.append(parent)
        self._solutions.append((steps, path))
        return len(self._solutions) - 1

    def tree(self) -> ReasoningTree:
        """All of them."""
        return self._builder.build(ReadReport())

    def paths(self) -> list[list[int]]:
        """The nodes of each solution in the tree, in the order in which the solutions were added."""
        return [list(path) for _, path in self._solutions]

    def results(self, scores: TreeScores) -> list[SolutionScores]:
        """The scores of each solution, in the order in which they were added, from those of the tree."""
        spread_N = scores.spread_N
        return [
            solution_scores(
                steps,
                scores.confidence_N[at].tolist(),
                scores.raw_N[at].tolist(),
                None if spread_N is None else spread_N[at].tolist(),
            )
            for steps, at in ((steps, np.array(path, np.int64)) for steps, path in self._solutions)
        ]
