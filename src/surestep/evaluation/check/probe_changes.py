"""Changes to a solution that add nothing to it, or make it worse: what an honest scorer must not reward.

Knows the texts of a chain of steps; scores nothing.

A step of no characters cannot be tested: every reader, and so every request, refuses it. The emptiest step that can be
written is an invisible one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ZERO_WIDTH_SPACE = "\u200b"
NEAR_EMPTY = (".", "Okay.", "...")
NUM_APPENDED = 3
SEPARATOR = "\n\n---"
NUM_SEPARATORS = 4

Step = tuple[str, str | None]
"""A step's text and the evidence shown with it."""


@dataclass(frozen=True, slots=True)
class Chain:
    """One solution and what a change may need of it.

    Attributes:
        steps: the steps in order, at least one.
        is_right: whether no step is labelled wrong (below 0.5) and the last is labelled right (above it).
        wrong: a step labelled wrong that is not of the solution; None where there is none.
    """

    steps: tuple[Step, ...]
    is_right: bool = False
    wrong: Step | None = None


Change = Callable[[Chain, np.random.Generator], Sequence[Step] | None]
"""The changed steps, or None where this chain does not allow the change."""


def empty_steps(chain: Chain, _random: np.random.Generator) -> Sequence[Step]:
    """Invisible steps at the end."""
    return [*chain.steps, *[(ZERO_WIDTH_SPACE, None)] * NUM_APPENDED]


def near_empty_steps(chain: Chain, _random: np.random.Generator) -> Sequence[Step]:
    """Steps that say nothing at the end.

    >>> [text for text, _ in near_empty_steps(Chain((("a", None),)), np.random.default_rng(0))]
    ['a', '.', 'Okay.', '...']
    """
    return [*chain.steps, *((text, None) for text in NEAR_EMPTY)]


def split_steps(chain: Chain, _random: np.random.Generator) -> Sequence[Step] | None:
    """Every step of at least four words in two halves.

    >>> split_steps(Chain((("one two three four", "e"), ("five", None))), np.random.default_rng(0))
    [('one two', 'e'), ('three four', 'e'), ('five', None)]
    """
    found: list[Step] = []
    for text, context in chain.steps:
        words = text.split(" ")
        halves = " ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])
        whole = len(text.split()) < 4 or not all(half.strip() for half in halves)
        found += [(text, context)] if whole else [(half, context) for half in halves]
    return found if len(found) > len(chain.steps) else None


def repeated_steps(chain: Chain, _random: np.random.Generator) -> Sequence[Step]:
    """Every step twice."""
    return [step for step in chain.steps for _ in range(2)]


def separators(chain: Chain, _random: np.random.Generator) -> Sequence[Step]:
    """A row of separators behind every step."""
    return [(text + SEPARATOR * NUM_SEPARATORS, context) for text, context in chain.steps]


def shuffled_steps(chain: Chain, random: np.random.Generator) -> Sequence[Step] | None:
    """The same steps in another order."""
    if len(set(chain.steps)) < 2:
        return None
    while True:
        changed = [chain.steps[index] for index in random.permutation(len(chain.steps))]
        if changed != list(chain.steps):
            return changed


def right_after_wrong(chain: Chain, _random: np.random.Generator) -> Sequence[Step] | None:
    """A wrong step in front of the last step of a right solution, whose right answer follows all the same."""
    if not chain.is_right or chain.wrong is None:
        return None
    return [*chain.steps[:-1], chain.wrong, chain.steps[-1]]


PROBES: Mapping[str, Change] = {
    "empty_steps": empty_steps,
    "near_empty_steps": near_empty_steps,
    "split_steps": split_steps,
    "repeated_steps": repeated_steps,
    "separators": separators,
    "shuffled_steps": shuffled_steps,
    "right_after_wrong": right_after_wrong,
}
"""Every probe by name."""
