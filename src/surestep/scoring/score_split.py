"""The one road from a scorer and trees to rows: everything that is measured, calibrated or compared comes this way.

Knows trees, stores and any scorer; knows no model and no figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from surestep.encoding.step_columns import StepColumns, columns_of
from surestep.scored import FloatArray, IntArray, ScoredSteps, StepTexts
from surestep.scoring.protocol import Scorer, Wanted
from surestep.scoring.stored_split import ProgressFactory, StoredSplit, silent
from surestep.types import ReasoningTree


def score_split(
    scorer: Scorer,
    splits: Sequence[StoredSplit],
    *,
    wanted: Wanted = "all",
    own_maps: bool = False,
    progress: ProgressFactory = silent,
) -> ScoredSteps:
    """Score the steps of splits: a row for every step, one dataset after the other.

    A step that got no confidence (beyond the scorer's limit, or not `wanted`) keeps its row, with NaN.

    Args:
        scorer: who scores.
        splits: each of another dataset.
        wanted: which steps need a confidence.
        own_maps: ask for each dataset's own calibration map in place of the pooled one.
        progress: is told of every tree.
    """
    parts = []
    for split in splits:
        advance = progress(f"scoring {split.name} {split.split}")
        columns = split.columns()
        confidence, raw = _scores(scorer, split, columns, split.name if own_maps else None, wanted, advance)
        parts.append(_rows_of_split(split, columns, confidence, raw))
    return ScoredSteps.joined(parts)


def expected_steps(splits: Sequence[StoredSplit]) -> ScoredSteps:
    """What `score_split` will give if every step gets a confidence, with a half in its place."""
    parts = []
    for split in splits:
        columns = split.columns()
        half = np.full(len(columns.label), 0.5)
        parts.append(_rows_of_split(split, columns, half, half))
    return ScoredSteps.joined(parts)


def _rows_of_split(split: StoredSplit, columns: StepColumns, confidence: FloatArray, raw: FloatArray) -> ScoredSteps:
    numbers = np.arange(len(split), dtype=np.int64) if split.chosen is None else split.chosen
    texts = _StoredSteps(split, numbers[columns.tree], columns.step)
    return _rows(columns, confidence, raw, (split.name,), np.zeros(len(columns.label), np.int64), texts)


def score_trees(
    scorer: Scorer,
    trees: Sequence[ReasoningTree],
    *,
    dataset: str | None = None,
    wanted: Wanted = "all",
    advance: Callable[[int], None] = lambda _count: None,
) -> ScoredSteps:
    """Score the steps of trees that are in memory, each tree naming its dataset; rows in the order of the trees.

    `dataset` asks for that dataset's own calibration map; `advance` is told how many more trees are done.
    """
    columns = columns_of(trees)
    confidence, raw = _scores(scorer, trees, columns, dataset, wanted, advance)
    names = list(dict.fromkeys(tree.dataset for tree in trees))
    of_tree = np.array([names.index(tree.dataset) for tree in trees], np.int64)
    texts = _StepsInMemory(trees, columns.tree, columns.step)
    return _rows(columns, confidence, raw, tuple(names), of_tree[columns.tree], texts)


def confidences_by_tree(steps: ScoredSteps) -> list[list[float | None]]:
    """The confidence of every step of each tree, in the tree's order; None where the scorer gave none.

    Args:
        steps: all rows, as `score_trees` gives them.
    """
    sizes = np.bincount(steps.tree, minlength=len(steps.tree_ids))
    values = [None if np.isnan(value) else value for value in steps.confidence.tolist()]
    ends = np.cumsum(sizes).tolist()
    return [values[end - size : end] for end, size in zip(ends, sizes.tolist(), strict=True)]


def _scores(
    scorer: Scorer,
    trees: Sequence[ReasoningTree],
    columns: StepColumns,
    dataset: str | None,
    wanted: Wanted,
    advance: Callable[[int], None],
) -> tuple[FloatArray, FloatArray]:
    ends = np.cumsum(np.bincount(columns.tree, minlength=len(trees)))
    confidence, raw = np.full(len(columns.label), np.nan), np.full(len(columns.label), np.nan)
    start = 0
    for end, scores in zip(ends.tolist(), scorer.score(trees, dataset=dataset, wanted=wanted), strict=True):
        confidence[start:end], raw[start:end] = scores.confidence_N, scores.raw_N
        start = end
        advance(1)
    return confidence, raw


def _rows(
    columns: StepColumns,
    confidence: FloatArray,
    raw: FloatArray,
    names: tuple[str, ...],
    dataset: IntArray,
    texts: StepTexts,
) -> ScoredSteps:
    numbers: dict[int, int] = {}
    of_tree = np.array([numbers.setdefault(key, len(numbers)) for key in columns.problem_key.tolist()], np.int64)
    return ScoredSteps(
        confidence=confidence,
        raw_confidence=raw,
        label=columns.label,
        true_confidence=columns.true_confidence,
        num_ratings=columns.num_ratings,
        dataset=dataset,
        problem=of_tree[columns.tree],
        tree=columns.tree,
        step=columns.step,
        parent=columns.parent,
        position=columns.position,
        dataset_names=names,
        tree_ids=columns.tree_ids,
        problem_keys=np.array(list(numbers), np.uint64),
        texts=texts,
    )


@dataclass(frozen=True)
class _StoredSteps:
    """The words of a split's rows, read from disk as they are asked for."""

    split: StoredSplit
    tree: IntArray
    step_of_row: IntArray

    def problem(self, row: int) -> str:
        return self.split.store.problem_text(int(self.tree[row]))

    def step(self, row: int) -> str:
        return self.split.store.step_text(int(self.tree[row]), int(self.step_of_row[row]))

    def context(self, row: int) -> str | None:
        return self.split.store.step_context(int(self.tree[row]), int(self.step_of_row[row]))

    def group(self, row: int) -> str:
        return self.split.store.group(int(self.tree[row]))


@dataclass(frozen=True)
class _StepsInMemory:
    """The words of the rows of trees in memory."""

    trees: Sequence[ReasoningTree]
    tree: IntArray
    step_of_row: IntArray

    def problem(self, row: int) -> str:
        return self.trees[int(self.tree[row])].problem

    def step(self, row: int) -> str:
        return self.trees[int(self.tree[row])].nodes[int(self.step_of_row[row])].text

    def context(self, row: int) -> str | None:
        return self.trees[int(self.tree[row])].nodes[int(self.step_of_row[row])].context

    def group(self, row: int) -> str:
        return self.trees[int(self.tree[row])].group
