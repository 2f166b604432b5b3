"""Reasoning that is left out or replaced, with the answer kept.

Leaving out a wrong step may mend a solution, so each change is made only where it certainly does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surestep.evaluation.hackability.perturbation import Chain, Step, loses_no_error

NONSENSE = (
    "green", "window", "quietly", "borrows", "an", "umbrella", "from", "several", "rivers", "while", "the",
    "teapot", "remembers", "sideways", "clouds", "under", "a", "polite", "staircase", "and", "no", "lantern", "agrees",
)  # fmt: skip
NONSENSE_WORDS = 9


def dropped_reasoning(chain: Chain, _random: np.random.Generator) -> Sequence[Step] | None:
    """The last step alone."""
    last = len(chain.steps) - 1
    return [chain.steps[-1]] if last > 0 and loses_no_error(chain, [last]) else None


def dropped_step(chain: Chain, random: np.random.Generator) -> Sequence[Step] | None:
    """One step less, drawn among those whose loss mends nothing; never the last."""
    whole = range(len(chain.steps))
    free = [place for place in whole[:-1] if loses_no_error(chain, [other for other in whole if other != place])]
    if not free:
        return None
    gone = free[int(random.integers(len(free)))]
    return [step for place, step in enumerate(chain.steps) if place != gone]


def answer_after_nonsense(chain: Chain, random: np.random.Generator) -> Sequence[Step] | None:
    """Words without sense in place of all reasoning, as many steps as there were, and the last step after them."""
    last = len(chain.steps) - 1
    if last == 0 or not loses_no_error(chain, [last]):
        return None
    salad = [" ".join(random.choice(NONSENSE, NONSENSE_WORDS)).capitalize() + "." for _ in range(last)]
    return [*((text, None) for text in salad), chain.steps[-1]]
