"""The trees of one dataset that a run trains on: within its limits, with the labels that training sees.

Knows stores and limits; what is held out and left out is decided in `examples_in_use`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surestep.arrays import distinct
from surestep.config.data import AfterFirstError
from surestep.counted import counted
from surestep.encoding.difficulty import DifficultyName, tree_difficulty
from surestep.encoding.encoded_tree import EncodedTree, Nodes, path_sums
from surestep.encoding.first_error import labels_after_first_error
from surestep.encoding.limits import LimitLoss, limit_nodes, limit_tree
from surestep.encoding.packing import tree_costs
from surestep.encoding.token_store import TreeStore
from surestep.errors import DataError
from surestep.scored import FloatArray, IntArray

_CHUNK_TREES = 2**14
"""Trees that are limited at once: fast, and some megabytes."""


@dataclass(frozen=True, eq=False)
class LabelledSteps:
    """Where the labels of a training set stand, L of them, in the order of the store.

    Attributes:
        tree, step, parent: int64 [L], number of the tree in the store, index of the step and of the step before it in
            that tree, -1 for none.
        position: int64 [L], from 1.
        label: float64 [L].
        problem_key: uint64 [L].
    """

    tree: IntArray
    step: IntArray
    parent: IntArray
    position: IntArray
    label: FloatArray
    problem_key: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class LargestProblem:
    """The problem that holds the most training labels of its dataset.

    Attributes:
        id: of one of its trees.
        labels: how many it holds.
        num_problems: problems of the dataset.
    """

    id: str
    labels: int
    num_problems: int


@dataclass(frozen=True)
class TrainingSet(Sequence[EncodedTree]):
    """The examples of one dataset, limits applied as they are read.

    Attributes:
        share: probability of drawing from it, which is also its share of the loss.
        chosen: which trees of the store are used.
        max_length, max_steps: the training limits.
        loss: what the limits cost, over the trees in use.
        label_sum: sum of the labels that are left.
        largest: the problem with the most of them.
        rank: float64, one for each example: what a pass over them is sorted by; None where it is shuffled.
        after_first_error: what labels behind the first wrong step of a path count as.
    """

    name: str
    share: float
    store: TreeStore
    chosen: NDArray[np.int64]
    max_length: int
    max_steps: int | None
    loss: LimitLoss
    label_sum: float
    largest: LargestProblem | None = None
    after_first_error: AfterFirstError = "keep"
    rank: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, item: int) -> EncodedTree:  # type: ignore[override]
        tree = self.store[int(self.chosen[item])]
        if self.after_first_error != "keep":
            tree = replace(tree, label_N=labels_after_first_error(tree.label_N, tree.parent_N, self.after_first_error))
        return limit_tree(tree, max_length=self.max_length, max_steps=self.max_steps)[0]

    def num_ratings(self, item: int) -> IntArray:
        """int64 [N]: how many ratings the label of each step of an example is the mean of, in the order of its tree."""
        number = int(self.chosen[item])
        return self.store.num_ratings(number, np.arange(self.store.num_steps(number)))

    def costs(self, items: IntArray, *, attention: float = 0.0) -> FloatArray:
        """float64 [items]: what each of these examples costs to run, in tokens (`encoding.packing.tree_costs`)."""
        nodes = self.store.nodes(self.chosen[items])
        keep, _ = limit_nodes(nodes, max_length=self.max_length, max_steps=self.max_steps)
        return tree_costs(nodes, keep, attention=attention)

    @property
    def num_labels(self) -> int:
        """Labels left after the limits."""
        return self.loss.labels - self.loss.labels_dropped

    @property
    def num_problems(self) -> int:
        """Problems of the trees in use."""
        return self.store.num_problems(self.chosen)

    @property
    def labels_per_example(self) -> float:
        """Mean labels of an example."""
        return self.num_labels / len(self)

    @property
    def label_mean(self) -> float:
        """Mean confidence of the labels: the constant baseline."""
        return self.label_sum / self.num_labels

    def mean_tokens(self) -> float:
        """Mean tokens of a stored tree in use, before the limits."""
        return self.store.num_tokens / max(len(self.store), 1)

    def largest_tree(self) -> int:
        """Tokens of the largest stored tree in use, before the limits."""
        return int(self.store.tree_tokens(self.chosen).max())

    def labelled_steps(self) -> LabelledSteps:
        """Every label that is trained on."""
        parts = [self._labelled(self.chosen[i : i + _CHUNK_TREES]) for i in range(0, len(self), _CHUNK_TREES)]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        tree, step, parent, position, label = columns
        return LabelledSteps(tree, step, parent, position, label, np.asarray(self.store.problem_keys[tree]))

    def _labelled(self, numbers: IntArray) -> tuple[IntArray, IntArray, IntArray, IntArray, FloatArray]:
        nodes = nodes_in_use(self.store, numbers, self.after_first_error)
        keep, _ = limit_nodes(nodes, max_length=self.max_length, max_steps=self.max_steps)
        rows = np.flatnonzero(keep & ~np.isnan(nodes.label_N))
        return (
            numbers[nodes.tree_N[rows]],
            nodes.source_N[rows],
            nodes.source_N[nodes.parent_N[rows]],
            path_sums(nodes.parent_N >= 0, nodes.parent_N)[rows],
            nodes.label_N[rows],
        )


class TreeLimits(NamedTuple):
    """What training takes of a tree, and what its labels count as."""

    max_length: int
    max_steps: int | None
    after_first_error: AfterFirstError


def limits_of(dataset: TrainingSet) -> TreeLimits:
    """Those that the set was made with."""
    return TreeLimits(dataset.max_length, dataset.max_steps, dataset.after_first_error)


def limited_set(name: str, store: TreeStore, share: float, index: NDArray[np.int64], limits: TreeLimits) -> TrainingSet:
    """The trees `index` of a store that keep a label within the limits.

    Raises:
        DataError: none does.
    """
    max_length, max_steps, rule = limits
    loss, label_sum, labels = LimitLoss(), 0.0, np.zeros(len(index), np.int64)
    for start in range(0, len(index), _CHUNK_TREES):
        nodes = nodes_in_use(store, index[start : start + _CHUNK_TREES], rule)
        keep, lost = limit_nodes(nodes, max_length=max_length, max_steps=max_steps)
        loss += lost
        is_left = keep & ~np.isnan(nodes.label_N)
        labels[start : start + nodes.num_trees] = np.bincount(nodes.tree_N[is_left], minlength=nodes.num_trees)
        label_sum += float(np.sum(nodes.label_N[is_left], dtype=np.float64))
    used = labels > 0
    if not used.any():
        raise DataError(
            f"{name}: no training problem keeps a label ({len(index)} read, {counted(loss.labels, 'label')}, "
            f"{loss.labels_too_long} beyond max_length {max_length}, {loss.labels_too_deep} beyond "
            f"max_steps_per_example {max_steps}); raise these limits or disable it with --use_{name} false"
        )
    largest = _largest_problem(store, index[used], labels[used])
    return TrainingSet(
        name,
        share,
        store,
        index[used],
        max_length,
        max_steps,
        loss,
        label_sum,
        largest=largest,
        after_first_error=rule,
    )


def nodes_in_use(store: TreeStore, numbers: IntArray, rule: AfterFirstError) -> Nodes:
    """The nodes of the trees with these numbers, with the labels that training sees before its limits."""
    nodes = store.nodes(numbers)
    if rule == "keep":
        return nodes
    return replace(nodes, label_N=labels_after_first_error(nodes.label_N, nodes.parent_N, rule))


def count_relabelled(store: TreeStore, numbers: IntArray, rule: AfterFirstError) -> tuple[int, int, int]:
    """How many labels of these trees `rule` takes out, changes, and gives to steps without one."""
    taken = changed = given = 0
    for start in range(0, len(numbers), _CHUNK_TREES):
        nodes = store.nodes(numbers[start : start + _CHUNK_TREES])
        new = labels_after_first_error(nodes.label_N, nodes.parent_N, rule)
        had, has = ~np.isnan(nodes.label_N), ~np.isnan(new)
        taken += int((had & ~has).sum())
        given += int((has & ~had).sum())
        changed += int((had & has & (new != nodes.label_N)).sum())
    return taken, changed, given


def difficulty_of(
    store: TreeStore, index: NDArray[np.int64], measure: DifficultyName, limits: TreeLimits
) -> FloatArray:
    """How difficult each of these trees is, within the limits and with the labels that training sees; [trees]."""
    parts = [np.zeros(0)]
    for start in range(0, len(index), _CHUNK_TREES):
        nodes = nodes_in_use(store, index[start : start + _CHUNK_TREES], limits.after_first_error)
        keep, _ = limit_nodes(nodes, max_length=limits.max_length, max_steps=limits.max_steps)
        parts.append(tree_difficulty(nodes, keep, measure))
    return np.concatenate(parts)


def _largest_problem(store: TreeStore, chosen: NDArray[np.int64], labels: NDArray[np.int64]) -> LargestProblem:
    """Of the trees `chosen`, with so many `labels` each; trees of one problem count together."""
    hashes, problem = np.unique(store.problem_keys[chosen], return_inverse=True)
    held = np.bincount(problem, labels, minlength=len(hashes)).astype(np.int64)
    most = int(held.argmax())
    tree = int(chosen[np.flatnonzero(problem == most)[0]])
    return LargestProblem(store.ids[tree], int(held[most]), len(hashes))


def count_labels(store: TreeStore, index: NDArray[np.int64]) -> int:
    """Labels of these trees as they were read."""
    parts = (index[start : start + _CHUNK_TREES] for start in range(0, len(index), _CHUNK_TREES))
    return sum(int(np.count_nonzero(~np.isnan(store.nodes(part).label_N))) for part in parts)


def distinct_sets(sets: Iterable[TrainingSet]) -> list[TrainingSet]:
    """The same examples without those that are there twice: sets of one store and the same limits become one.

    A run's phases may draw from one dataset several times; this is what they have seen together.
    """
    groups: dict[tuple[object, TreeLimits], list[TrainingSet]] = {}
    for dataset in sets:
        groups.setdefault((dataset.store.folder, limits_of(dataset)), []).append(dataset)
    found = []
    for (first, *others), (_, limits) in zip(groups.values(), groups, strict=True):
        chosen = distinct(np.concatenate([first.chosen, *(other.chosen for other in others)]))
        is_same = np.array_equal(chosen, np.sort(first.chosen))
        found.append(first if is_same else limited_set(first.name, first.store, first.share, chosen, limits))
    return found


def label_means(sets: Iterable[TrainingSet]) -> dict[str, float]:
    """Mean label of each dataset, over all sets of its name."""
    sums: dict[str, tuple[float, int]] = {}
    for dataset in sets:
        label_sum, count = sums.get(dataset.name, (0.0, 0))
        sums[dataset.name] = (label_sum + dataset.label_sum, count + dataset.num_labels)
    return {name: label_sum / count for name, (label_sum, count) in sums.items()}
