"""What sessions ask for, laid out as trees of the steps that are not computed yet.

Paths that share steps share their computation: they are one tree below what is held of them. Knows token ids; knows no
model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from surestep.encoding.encoded_tree import EncodedTree, Segment, forest
from surestep.scoring.sessions.prefix_cache import Node


@dataclass(eq=False)
class WantedPath:
    """A problem and the steps below it.

    Attributes:
        namespace: whose it is.
        segments: the tokens of the problem and of each step.
        raw: what is known of each of them, NaN where nothing is; always NaN for the problem. Filled in by the pass.
        num_kept: how many of them are held after the pass, where there is room.
        near: a node that may lie on the path, where one is known.
        node: the last of those that is held, after the pass.
    """

    namespace: bytes
    segments: Sequence[Segment]
    raw: list[float]
    num_kept: int
    near: Node | None = None
    node: Node | None = None


@dataclass(eq=False)
class NewStep:
    """A step that a pass computes, or the problem.

    Attributes:
        segment: its tokens.
        raw: the confidence that is known of it, else NaN.
        is_problem: whether it has no confidence.
        is_kept: whether it is held after the pass.
        steps: those below it.
        node: of the cache, once it is held.
    """

    segment: Segment
    raw: float
    is_problem: bool
    is_kept: bool = False
    steps: dict[Segment, NewStep] = field(default_factory=dict)
    node: Node | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether its confidence has to be computed."""
        return not self.is_problem and math.isnan(self.raw)


@dataclass(eq=False)
class NewTree:
    """The new steps below one held step, or below nothing (then its one root is the problem)."""

    namespace: bytes
    above: Node | None
    roots: dict[Segment, NewStep] = field(default_factory=dict)

    def add(self, path: WantedPath, num_held: int) -> list[NewStep]:
        """The steps of a path behind the first `num_held`, new ones put in."""
        steps, below = [], self.roots
        for index in range(num_held, len(path.segments)):
            segment, raw = path.segments[index], path.raw[index]
            step = below.get(segment)
            if step is None:
                step = below[segment] = NewStep(segment, raw, is_problem=index == 0)
            elif math.isnan(step.raw):
                step.raw = raw
            step.is_kept |= index < path.num_kept
            steps.append(step)
            below = step.steps
        return steps

    def preorder(self) -> Iterator[tuple[NewStep, int]]:
        """Each step and the index of the one above it, -1 for a root."""
        stack = [(step, -1) for step in reversed(self.roots.values())]
        number = 0
        while stack:
            step, parent = stack.pop()
            yield step, parent
            stack += [(below, number) for below in reversed(step.steps.values())]
            number += 1

    def encoded(self) -> EncodedTree:
        """The new steps alone."""
        steps, parents = zip(*self.preorder(), strict=True)
        return forest([step.segment for step in steps], parents, wanted=[step.is_wanted for step in steps])

    def encoded_whole(self) -> EncodedTree:
        """The new steps with all that stands above them, to be scored in full; `source_N` as in `encoded`."""
        above = self.above.path() if self.above is not None else []
        steps, parents = zip(*self.preorder(), strict=True)
        tree = forest(
            [*(node.segment for node in above), *(step.segment for step in steps)],
            [*range(-1, len(above) - 1), *(parent + len(above) for parent in parents)],
            wanted=[*(False for _ in above), *(step.is_wanted for step in steps)],
        )
        tree.source_N[tree.source_N >= 0] -= len(above)
        return tree
