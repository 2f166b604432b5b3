"""A stream of solutions in windows: packed together, in bounded memory, the first results soon.

Knows solutions; knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from surestep.data.trees.text import clean_text
from surestep.inference.solutions import Solution, SolutionTree

AT_ONCE = 512
"""Solutions taken together: enough to fill packs well."""

_FIRST = 8
"""Solutions of the first window; each window after it has twice as many, so that the first results come soon."""

_MOST_CHARACTERS = 2**22
"""Of the texts of a window, a long last solution apart: what a window may take of memory."""

Window = tuple[list[Solution], Exception | None]
"""Solutions that are scored together, and the error that ended the stream behind them."""


def in_windows(
    items: Iterator[object], check: Callable[[object, str], Solution], at_once: int = AT_ONCE
) -> Iterator[Window]:
    """The solutions of `items`, in windows of at most `at_once`; the stream ends with the first error.

    Args:
        items: may be endless; no item is taken before the window before it is used up.
        check: makes a solution of an item, which is named to it by its number from 1.
        at_once: the most solutions of a window.
    """
    number, size = 0, min(_FIRST, at_once)
    while True:
        window: list[Solution] = []
        held, error, is_over = 0, None, False
        while len(window) < size and held < _MOST_CHARACTERS:
            try:
                item = next(items)
                number += 1
                window.append(check(item, f"item {number}"))
            except StopIteration:
                is_over = True
                break
            except Exception as raised:
                error = raised
                break
            held += len(window[-1].problem) + sum(map(len, window[-1].steps))
        yield window, error
        if is_over or error is not None:
            return
        size = min(2 * size, at_once)


def grouped(solutions: Iterable[Solution]) -> list[SolutionTree]:
    """Solutions of one problem that follow each other, together."""
    groups: list[SolutionTree] = []
    last: str | None = None
    for solution in solutions:
        problem = clean_text(solution.problem)
        if not groups or problem != last:
            groups.append(SolutionTree(problem))
            last = problem
        groups[-1].add(solution.steps)
    return groups
