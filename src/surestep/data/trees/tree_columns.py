"""A tree on its way from a file to tokens: a list for each attribute of its steps instead of an object for each step.

The same content as a `ReasoningTree`, which it becomes where somebody wants to look at steps; a million steps are
spelled, parked and tokenised in a third of the time. Knows how a tree is spelled; knows no file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any, NamedTuple

from surestep.data.records.disk_list import small_value_of
from surestep.types import Node, ReasoningTree

_quoted = json.encoder.encode_basestring_ascii


def spelled_number(value: float | None) -> str:
    """A confidence as `json.dumps` spells it."""
    if type(value) is float:
        return repr(value)
    return "null" if value is None else json.dumps(value)


def spelled_numbers(values: Sequence[float | None]) -> Iterable[str]:
    """`spelled_number` of each, sooner where all are floats."""
    return map(repr if set(map(type, values)) <= {float} else spelled_number, values)


def is_all_none(values: Sequence[object]) -> bool:
    """Whether there is nothing among them."""
    return not values or (values[0] is None and list(values).count(None) == len(values))


@dataclass(slots=True)
class TreeColumns:
    """A checked tree; see `ReasoningTree` and `Node` for what each attribute means.

    Attributes:
        problem, id, group, dataset: of the tree.
        texts, parents, confidences, num_ratings, contexts, true_confidences: of its steps, in their order.
        text_hash: `problem_hash` of the problem's normal form, where somebody made it before; else None.
    """

    problem: str
    texts: Sequence[str]
    parents: Sequence[int]
    confidences: Sequence[float | None]
    num_ratings: Sequence[int]
    contexts: Sequence[str | None]
    true_confidences: Sequence[float | None]
    id: str = ""
    group: str = ""
    dataset: str = ""
    text_hash: int | None = None

    @classmethod
    def of(cls, tree: ReasoningTree) -> TreeColumns:
        """The columns of a tree."""
        nodes = tree.nodes
        return cls(
            tree.problem,
            [node.text for node in nodes],
            [node.parent for node in nodes],
            [node.confidence for node in nodes],
            [node.num_ratings for node in nodes],
            [node.context for node in nodes],
            [node.true_confidence for node in nodes],
            id=tree.id,
            group=tree.group,
            dataset=tree.dataset,
        )

    @property
    def num_labels(self) -> int:
        """How many steps carry a confidence."""
        return len(self.confidences) - list(self.confidences).count(None)

    def tree(self) -> ReasoningTree:
        """The same as objects."""
        nodes = tuple(starmap(Node, self._rows()))
        return ReasoningTree(self.problem, nodes, id=self.id, group=self.group, dataset=self.dataset)

    def spelled(self) -> str:
        """All but its names as JSON in ASCII, which comes last but for `with_id`.

        >>> TreeColumns("1+1?", ["2"], [-1], [1.0], [1], [None], [None]).spelled()
        '["1+1?", [["2", -1, 1.0, 1, null, null]], ""]'
        """
        # As `json.dumps` spells it, in half of the time.
        numbers = spelled_numbers(self.confidences)
        if is_all_none(self.contexts) and is_all_none(self.true_confidences):
            columns = zip(map(_quoted, self.texts), self.parents, numbers, self.num_ratings, strict=True)
            parts = [
                f"[{text}, {parent}, {number}, {ratings}, null, null]" for text, parent, number, ratings in columns
            ]
        else:
            parts = [
                f"[{_quoted(text)}, {parent}, {number}, {num_ratings}, "
                f"{'null' if context is None else _quoted(context)}, {spelled_number(true)}]"
                for (text, parent, _, num_ratings, context, true), number in zip(self._rows(), numbers, strict=True)
            ]
        rows = ", ".join(parts)
        return f"[{_quoted(self.problem)}, [{rows}], {_quoted(self.group)}]"

    def with_id(self, spelled: str) -> str:
        """What `spelled` gave, with the id behind it: an id may be a place in the file, which tells nothing of what the
        tree holds."""
        return f"{spelled[:-1]}, {_quoted(self.id)}]"

    @classmethod
    def read(cls, values: list[Any], *, dataset: str, text_hash: int | None = None) -> TreeColumns:
        """What `with_id` spelled, parsed."""
        problem, rows, group, identity = values
        columns: list[Any] = list(map(list, zip(*rows, strict=True))) if rows else [[] for _ in range(6)]
        texts, parents, confidences, num_ratings, contexts, true_confidences = columns
        return cls(
            problem,
            texts,
            parents,
            confidences,
            num_ratings,
            contexts,
            true_confidences,
            id=identity,
            group=group,
            dataset=dataset,
            text_hash=text_hash,
        )

    def _rows(self) -> Any:
        return zip(
            *(self.texts, self.parents, self.confidences, self.num_ratings, self.contexts, self.true_confidences),
            strict=True,
        )


class WaitingTree(NamedTuple):
    """A tree as it is spelled, until somebody wants its columns.

    Attributes:
        spelled: see `TreeColumns.with_id`.
        num_steps: of it.
        dataset, text_hash: see `TreeColumns`.
    """

    spelled: str
    num_steps: int
    dataset: str
    text_hash: int | None

    def columns(self) -> TreeColumns:
        """The tree."""
        return TreeColumns.read(small_value_of(self.spelled), dataset=self.dataset, text_hash=self.text_hash)


AnyTree = ReasoningTree | TreeColumns | WaitingTree


def as_columns(tree: AnyTree) -> TreeColumns:
    """The columns of a tree in any of its forms."""
    if isinstance(tree, TreeColumns):
        return tree
    return tree.columns() if isinstance(tree, WaitingTree) else TreeColumns.of(tree)


def num_steps(tree: AnyTree) -> int:
    """How many steps it has."""
    if isinstance(tree, WaitingTree):
        return tree.num_steps
    return len(tree.texts if isinstance(tree, TreeColumns) else tree.nodes)
