"""Problems that occur in two sets: a model trained on one of them is not tested by the other.

Knows problem texts; knows no dataset and no file. Copies are found by normalised text (`data.trees.identity`),
whatever their groups, not by meaning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from surestep.data.trees.identity import normalize_text

NUM_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many problems two sets share, out of how many, and the first few of them as written."""

    num_shared: int
    num_left: int
    num_right: int
    examples: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        return {
            "num_shared": self.num_shared,
            "num_left": self.num_left,
            "num_right": self.num_right,
            "examples": list(self.examples),
        }


def find_overlap(left: Iterable[str], right: Iterable[str]) -> Overlap:
    """Problems of `left` that also occur in `right`; each set counts a problem once.

    >>> find_overlap(["What is  2+2?", "x"], ["what is 2+2"]).num_shared
    1
    """
    first = {normalize_text(problem): problem for problem in left}
    second = {normalize_text(problem) for problem in right}
    shared = [problem for key, problem in first.items() if key in second]
    return Overlap(len(shared), len(first), len(second), tuple(shared[:NUM_EXAMPLES]))
