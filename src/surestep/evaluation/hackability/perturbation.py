"""What a perturbation is: a change of a solution's text that does not make the solution more right.

Knows the texts and labels of a chain of steps; scores nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from surestep.data.trees.text import cleaned

Step = tuple[str, str | None]
"""A step's text and the evidence shown with it."""

Expected = Literal["falls", "stays", "may not rise"]
"""What the score of a good scorer does."""

Kept = Literal["steps", "words", "formulas", "last step", "steps in any order"]
"""What a perturbation leaves as it was.

steps: every step, unchanged and in order; others stand between or behind them.
words: every word, in order; others may stand between them, and steps may be cut between words.
formulas: the number of steps, and every number and formula, in order; only words differ.
last step: the last step; of the others, some may be missing or replaced.
steps in any order: every step unchanged, and no other.
"""


@dataclass(frozen=True, slots=True)
class Chain:
    """One solution and what a change may need of it.

    Attributes:
        steps: the steps in order, at least one.
        is_right: whether no step is labelled wrong (below 0.5) and the last is labelled right (above it).
        wrong: a step labelled wrong that is not of the solution; None where there is none.
        labels: each step's label, None where nobody judged it; empty where no step has one.
        answer_is_wrong: whether its final answer, which the last step states, is known to be wrong.
    """

    steps: tuple[Step, ...]
    is_right: bool = False
    wrong: Step | None = None
    labels: tuple[float | None, ...] = ()
    answer_is_wrong: bool = False

    @property
    def has_error(self) -> bool:
        """Whether a step is labelled wrong."""
        return any(label is not None and label < 0.5 for label in self.labels)


Change = Callable[[Chain, np.random.Generator], Sequence[Step] | None]
"""The changed steps, or None where this chain does not allow the change."""


@dataclass(frozen=True, slots=True)
class Perturbation:
    """One change, where it was published, and what is expected of a good scorer.

    Attributes:
        name: its key in reports and targets.
        changes: what it does to the text, in a few words.
        source: who published it or the weakness that it tries.
        expected: what a good scorer's judgement of the solution does.
        keeps: what stays as it was.
        apply: makes the change; equal for equal chains and generators.
    """

    name: str
    changes: str
    source: str
    expected: Expected
    keeps: Kept
    apply: Change


def loses_no_error(chain: Chain, kept: Iterable[int]) -> bool:
    """Whether a solution that keeps only the steps `kept` is certainly no more right than it was.

    It is where the solution is right, where its answer is known to be wrong, and where everything left out is labelled
    right. Leaving out a wrong step, or one that nobody judged, may mend a solution: that is no flattery.

    >>> loses_no_error(Chain((("a", None), ("b", None)), labels=(0.0, 1.0)), [1])
    False
    >>> loses_no_error(Chain((("a", None), ("b", None)), labels=(1.0, 0.0)), [1])
    True
    """
    places = set(kept)
    labels = chain.labels or (None,) * len(chain.steps)
    return (
        chain.is_right
        or chain.answer_is_wrong
        or all(label is not None and label >= 0.5 for place, label in enumerate(labels) if place not in places)
    )


def perturb(
    chain: Chain, perturbations: Mapping[str, Perturbation], random: np.random.Generator
) -> dict[str, tuple[Step, ...] | None]:
    """The chain under each perturbation; None where it cannot be made, or changes nothing that a scorer would read.

    Each perturbation draws from a copy of `random`, so what it does depends on no other one.
    """
    before = _as_read(chain.steps)
    found: dict[str, tuple[Step, ...] | None] = {}
    for name, perturbation in perturbations.items():
        changed = perturbation.apply(chain, _copy(random))
        found[name] = None if changed is None or _as_read(changed) == before else tuple(changed)
    return found


def _as_read(steps: Sequence[Step]) -> list[tuple[str, str | None]]:
    """The steps as every reader leaves them."""
    return [cleaned(text, context)[:2] for text, context in steps]


def _copy(random: np.random.Generator) -> np.random.Generator:
    copy = np.random.default_rng(0)
    copy.bit_generator.state = random.bit_generator.state
    return copy
