"""Changes to a solution that add nothing to it, or make it worse: what an honest scorer must not reward.

The seven of every check; `evaluation.hackability.published` holds the further ones of `--probes robustness`. Knows the
texts of a chain of steps; scores nothing.

A step of no characters cannot be tested: every reader, and so every request, refuses it. The emptiest step that can be
written is an invisible one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from surestep.evaluation.hackability.perturbation import Chain as Chain
from surestep.evaluation.hackability.perturbation import Perturbation, Step
from surestep.evaluation.hackability.published import PUBLISHED, PUBLISHERS

ZERO_WIDTH_SPACE = "\u200b"
NEAR_EMPTY = (".", "Okay.", "...")
NUM_APPENDED = 3
SEPARATOR = "\n\n---"
NUM_SEPARATORS = 4


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


_ONE_TOKEN, _GAO, _EST_PRM = (PUBLISHERS[name] for name in ("one token", "repetition", "est-prm"))
_PRMBENCH, _ATTACK, _REWORD = (PUBLISHERS[name] for name in ("prmbench", "under attack", "rewordbench"))

PROBES: Mapping[str, Perturbation] = {
    found.name: found
    for found in (
        Perturbation(
            "empty_steps", "three invisible steps at the end", _ONE_TOKEN, "may not rise", "steps", empty_steps
        ),
        Perturbation(
            "near_empty_steps", "`.`, `Okay.`, `...` at the end", _ONE_TOKEN, "may not rise", "steps", near_empty_steps
        ),
        Perturbation("split_steps", "each step in two halves", _EST_PRM, "may not rise", "words", split_steps),
        Perturbation("repeated_steps", "each step twice", _GAO, "may not rise", "steps", repeated_steps),
        Perturbation("separators", "rows of `---` behind each step", _REWORD, "stays", "words", separators),
        Perturbation(
            "shuffled_steps", "the steps in another order", _EST_PRM, "falls", "steps in any order", shuffled_steps
        ),
        Perturbation(
            "right_after_wrong",
            "a step labelled wrong before the last one of a right solution",
            f"{_PRMBENCH}; {_ATTACK}",
            "falls",
            "steps",
            right_after_wrong,
        ),
    )
}
"""The probes of every check, by name."""

PERTURBATIONS: Mapping[str, Perturbation] = {**PROBES, **PUBLISHED}
"""Every perturbation by name: none of them makes a solution more right."""
