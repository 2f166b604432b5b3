"""Trees for scorers that read one solution at a time: each path as texts, and what they answer back as a tree.

Knows texts and numbers; knows no scorer. Shapes: `N` steps of a tree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from surestep.counted import counted
from surestep.encoding.formatter import Formatter
from surestep.errors import InputError
from surestep.scored import FloatArray
from surestep.types import ReasoningTree
from surestep.untrusted.bounds import shown

PLAIN = Formatter(problem="{problem}", step="{text}")
"""Texts are cleaned, and evidence is put in front of its step, as for a checkpoint; nothing stands around them."""

Values = Sequence[float | None]
"""One score a step, in [0, 1]; None where there is none."""


class PlainTree(NamedTuple):
    """A tree's texts as scorers of solutions read them; one text for each of the N steps."""

    problem: str
    steps: list[str]


def plain(tree: ReasoningTree) -> PlainTree:
    """The texts of a tree."""
    return PlainTree(
        PLAIN.format_problem(tree.problem), [PLAIN.format_step(node.text, node.context) for node in tree.nodes]
    )


def mean_over_paths(num_steps: int, paths: Iterable[tuple[Sequence[int], Values]]) -> FloatArray:
    """The scores of N steps, from those of the paths that they are on: their mean where a step is on several.

    A scorer that reads no later steps gives a step the same on each of them.

    >>> mean_over_paths(3, [([0, 1], [0.5, 0.25]), ([0, 2], [1.0, None])]).tolist()
    [0.75, 0.25, nan]
    """
    sums, counts = np.zeros(num_steps), np.zeros(num_steps)
    for nodes, values in paths:
        for node, value in zip(nodes, values, strict=True):
            if value is not None:
                sums[node] += value
                counts[node] += 1
    with np.errstate(invalid="ignore"):
        mean: FloatArray = sums / counts
    return mean


def checked_scores(values: object, count: int, who: str) -> list[float | None]:
    """What a scorer gave for `count` steps, as numbers; `who` begins the message.

    Raises:
        InputError: it is no list of so many numbers from 0 to 1.
    """
    if isinstance(values, str | bytes | dict) or not isinstance(values, Iterable):
        raise InputError(f"{who} gave {shown(values)}; allowed: a list of numbers, one a step")
    found = list(values)
    if len(found) != count:
        raise InputError(f"{who} gave {counted(len(found), 'score')} for {counted(count, 'step')}; allowed: one a step")
    return [None if value is None else checked_score(value, who) for value in found]


def checked_score(value: object, who: str) -> float:
    """One score as a number.

    Raises:
        InputError: it is no number from 0 to 1.
    """
    try:
        number = math.nan if isinstance(value, str | bytes | bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not 0.0 <= number <= 1.0:
        raise InputError(f"{who} gave the score {shown(value)}; allowed: 0 to 1, how likely the step is right")
    return number
