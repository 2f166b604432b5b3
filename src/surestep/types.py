"""The one data structure: the reasoning tree.

Readers produce it, the encoder consumes it, and nothing in between knows any other shape. A plain
solution is a tree with one path; PRM800K's alternatives, eQASC's ten chains under one question and
the N candidates of best-of-N are trees that share prefixes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

ROOT = -1
"""The `parent` of a first step: the problem itself."""


@dataclass(frozen=True, slots=True)
class Node:
    """One step of reasoning.

    Attributes:
        text: the step as written; never empty, but where a tree `lists_empty_steps`.
        parent: index of the preceding step in `ReasoningTree.nodes`, or `ROOT`.
        confidence: how likely the step is right, in [0, 1]; None where nobody judged it.
        num_ratings: how many ratings `confidence` is the mean of; 0 where it is None.
        context: evidence shown to the model in front of the step.
        true_confidence: P(label = 1 | text so far), known by construction in synthetic data only.
    """

    text: str
    parent: int = ROOT
    confidence: float | None = None
    num_ratings: int = 0
    context: str | None = None
    true_confidence: float | None = None


@dataclass(frozen=True, slots=True)
class ReasoningTree:
    """A problem and every step written under it; parents come before their children.

    Attributes:
        problem: the text that all steps answer.
        nodes: the steps.
        id: names the tree within its dataset; shown to people, written to predictions.
        group: trees of one group and dataset never part when data is split; "" means the problem's own text
            (`data.trees.identity.problem_key`). eQASC's choices of one question share a group.
        dataset: the name of the dataset it came from.
        lists_empty_steps: whether a step may be empty. A benchmark asks for a number for every step that it lists, an
            empty one included; data to learn from never holds one.

    Raises:
        ValueError: a parent that does not precede its child, an empty problem, an empty step where none may be, a
            confidence outside [0, 1].
    """

    problem: str
    nodes: tuple[Node, ...]
    id: str = ""
    group: str = ""
    dataset: str = field(default="")
    lists_empty_steps: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        if not self.problem.strip():
            raise ValueError("the problem is empty")
        for index, node in enumerate(self.nodes):
            if not ROOT <= node.parent < index:
                raise ValueError(f"step {index} names parent {node.parent}; allowed: -1 to {index - 1}")
            if not self.lists_empty_steps and not node.text.strip():
                raise ValueError(f"step {index} is empty")
            for name in ("confidence", "true_confidence"):
                value = getattr(node, name)
                if value is not None and not 0.0 <= value <= 1.0:
                    raise ValueError(f"step {index} has {name} {value}; allowed: 0 to 1, or none")

    @property
    def num_labels(self) -> int:
        """How many steps carry a confidence."""
        return sum(node.confidence is not None for node in self.nodes)

    def leaves(self) -> list[int]:
        """Indices of the nodes that end a path, in order."""
        parents = {node.parent for node in self.nodes}
        return [index for index in range(len(self.nodes)) if index not in parents]

    def path(self, index: int) -> list[int]:
        """Indices from the first step down to `index`.

        >>> ReasoningTree("1+1?", (Node("a"), Node("b", 0), Node("c", 0))).path(2)
        [0, 2]
        """
        steps: list[int] = []
        while index != ROOT:
            steps.append(index)
            index = self.nodes[index].parent
        return steps[::-1]

    def paths(self) -> Iterator[list[int]]:
        """The path to every leaf."""
        return (self.path(leaf) for leaf in self.leaves())


def chain(problem: str, steps: list[str], confidences: list[float | None] | None = None) -> ReasoningTree:
    """A plain solution as a tree with one path.

    >>> chain("1+1?", ["one and one", "is 2"], [1.0, None]).num_labels
    1
    """
    values: list[float | None] = confidences if confidences is not None else [None] * len(steps)
    return ReasoningTree(
        problem,
        tuple(
            Node(text, index - 1, value, int(value is not None))
            for index, (text, value) in enumerate(zip(steps, values, strict=True))
        ),
    )
