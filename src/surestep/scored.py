"""Scored steps: one row a step, as columns of numbers. Whatever is measured, calibrated or compared starts here.

Knows confidences, labels, and where a step stands: its dataset, problem, tree and path. Knows no model and no file;
texts are fetched only when they are shown.

Legend: N rows (steps), T trees, G problems.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from surestep.arrays import BoolArray as BoolArray
from surestep.arrays import FloatArray as FloatArray
from surestep.arrays import IntArray as IntArray
from surestep.arrays import KeyArray as KeyArray
from surestep.arrays import check_range, check_unit_interval, distinct, distinct_and_places, own_array, whole_numbers
from surestep.counted import counted
from surestep.errors import DataError

FIRST_STEP = -1
"""The `parent` of a step that begins its solution."""


class StepTexts(Protocol):
    """The words behind the rows of `ScoredSteps`, by row."""

    def problem(self, row: int, /) -> str:
        """The problem that the step answers."""
        ...

    def step(self, row: int, /) -> str:
        """The step itself."""
        ...

    def context(self, row: int, /) -> str | None:
        """Evidence shown in front of the step, if there is any."""
        ...

    def group(self, row: int, /) -> str:
        """What the data calls the step's problem; "" where the problem's own text does."""
        ...


@dataclass(frozen=True)
class ListedTexts:
    """Texts held in lists, one entry a row; `contexts` and `groups` may be left out."""

    problems: Sequence[str]
    steps: Sequence[str]
    contexts: Sequence[str | None] = ()
    groups: Sequence[str] = ()

    def problem(self, row: int) -> str:
        """The problem that the step answers."""
        return self.problems[row]

    def step(self, row: int) -> str:
        """The step itself."""
        return self.steps[row]

    def context(self, row: int) -> str | None:
        """Evidence shown in front of the step, if there is any."""
        return self.contexts[row] if self.contexts else None

    def group(self, row: int) -> str:
        """What the data calls the step's problem; "" where the problem's own text does."""
        return self.groups[row] if self.groups else ""


@dataclass(frozen=True)
class _ChosenTexts:
    """The texts of some rows of other texts: row i here is row `rows[i]` of part `part[i]` there."""

    parts: tuple[StepTexts, ...]
    part: IntArray
    rows: IntArray

    def problem(self, row: int) -> str:
        return self.parts[int(self.part[row])].problem(int(self.rows[row]))

    def step(self, row: int) -> str:
        return self.parts[int(self.part[row])].step(int(self.rows[row]))

    def context(self, row: int) -> str | None:
        return self.parts[int(self.part[row])].context(int(self.rows[row]))

    def group(self, row: int) -> str:
        return self.parts[int(self.part[row])].group(int(self.rows[row]))


def problem_hash(key: str) -> int:
    """The 64 bits that stand for a problem's key in `ScoredSteps.problem_keys`; the same on every machine.

    >>> problem_hash("what is 1 + 1?") == problem_hash("what is 1 + 1?") != problem_hash("what is 1 + 2?")
    True
    """
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


@dataclass(frozen=True, eq=False)
class ScoredSteps:
    """Columns of equal length N, one row a step, labelled or not, scored or not; read-only once built.

    What can still be written to is copied; columns of other `ScoredSteps` are shared. Rows stand in the order of the
    split: by dataset, tree, step.

    Attributes:
        confidence: float64 in [0, 1], after any calibration map; NaN where the scorer gave none.
        raw_confidence: float64 in [0, 1], before the map, which may tie what the scorer told apart: figures that ask
            only for the order read it. NaN exactly where `confidence` is.
        label: float64 in [0, 1], soft as given; NaN where nobody judged the step.
        true_confidence: P(label = 1 | text so far) in [0, 1] where known by construction, else NaN.
        num_ratings: how many ratings the label is the mean of; 0 where there is none.
        dataset: index into `dataset_names`.
        problem: index into `problem_keys`, from 0 in order of first appearance over all datasets. Steps of one problem
            succeed and fail together, so they are drawn together wherever steps are resampled or split.
        tree: index into `tree_ids`; a tree is one solution, or solutions that share their first steps.
        step: index of the step within its tree.
        parent: index within the tree of the step before it, `FIRST_STEP` where there is none.
        position: depth along the path, from 1.
        dataset_names: each once; one may have no row.
        tree_ids: the trees' names as they are shown, T of them.
        problem_keys: uint64, `problem_hash` of each problem's key, G of them: what joins parts and runs.
        texts: the words behind the rows, where they are known.

    Raises:
        DataError: lengths differ, or a value is outside its range; the first offending row is named.
    """

    confidence: FloatArray
    raw_confidence: FloatArray
    label: FloatArray
    true_confidence: FloatArray
    num_ratings: IntArray
    dataset: IntArray
    problem: IntArray
    tree: IntArray
    step: IntArray
    parent: IntArray
    position: IntArray
    dataset_names: tuple[str, ...]
    tree_ids: Sequence[str]
    problem_keys: KeyArray
    texts: StepTexts | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        num_rows = int(np.size(self.confidence))
        for name in _FLOATS:
            self._freeze(name, own_array(getattr(self, name), np.float64), num_rows)
        if np.array_equal(self.confidence, self.raw_confidence, equal_nan=True):
            object.__setattr__(self, "raw_confidence", self.confidence)
        for name in _WHOLE:
            self._freeze(name, whole_numbers(name, getattr(self, name)), num_rows)
        object.__setattr__(self, "problem_keys", own_array(self.problem_keys, np.uint64))
        object.__setattr__(self, "dataset_names", tuple(self.dataset_names))
        self._check_values()

    def _freeze(self, name: str, column: FloatArray | IntArray, num_rows: int) -> None:
        if column.shape != (num_rows,):
            raise DataError(
                f"predictions have {counted(num_rows, 'confidence')} but {name} of shape {column.shape}; "
                f"allowed: shape ({num_rows},), one entry a step"
            )
        object.__setattr__(self, name, column)

    def _check_values(self) -> None:
        for name, hint in _HINTS.items():
            values = getattr(self, name)
            check_unit_interval(name, np.where(np.isnan(values), 0.0, values), hint)
        unequal = np.isnan(self.confidence) != np.isnan(self.raw_confidence)
        if unequal.any():
            row = int(np.argmax(unequal))
            raise DataError(
                f"prediction row {row} (counted from 0) has confidence {self.confidence[row]} but raw_confidence "
                f"{self.raw_confidence[row]}; allowed: both, or NaN in both where the scorer gave none"
            )
        repeated = [n for n in self.dataset_names if self.dataset_names.count(n) > 1]
        if repeated:
            raise DataError(f"dataset_names holds {repeated[0]!r} more than once; allowed: each name once")
        if distinct(self.problem_keys).size < self.problem_keys.size:
            raise DataError("problem_keys holds a key more than once; allowed: one problem a key")
        check_range("num_ratings", self.num_ratings, 0, None)
        check_range("dataset", self.dataset, 0, len(self.dataset_names) - 1)
        check_range("problem", self.problem, 0, self.problem_keys.size - 1)
        check_range("tree", self.tree, 0, len(self.tree_ids) - 1)
        check_range("step", self.step, 0, None)
        check_range("parent", self.parent, FIRST_STEP, None)
        check_range("position", self.position, 1, None)
        if (late := self.parent >= self.step).any():
            row = int(np.argmax(late))
            where = f"prediction row {row} (counted from 0) is step {self.step[row]} with parent {self.parent[row]}"
            raise DataError(f"{where}; allowed: -1, or a step before it")

    def __len__(self) -> int:
        """N, the number of rows."""
        return int(self.confidence.size)

    @property
    def num_problems(self) -> int:
        """How many different problems have a row."""
        return int(distinct(self.problem).size)

    def measured(self, *, keep_texts: bool = False) -> Self:
        """The rows that have a label and a confidence: what figures read."""
        return self._chosen(~np.isnan(self.label) & ~np.isnan(self.confidence), keep_texts=keep_texts)

    def select(self, rows: BoolArray) -> Self:
        """The rows where `rows`, bool (N,), is true; datasets, problems and trees keep their numbers, texts go.

        Problems keep their numbers so that draws of all problems still fit; `densely` numbers them anew.

        Raises:
            ValueError: the mask is not boolean or not of length N.
        """
        return self._chosen(rows, keep_texts=False)

    def _chosen(self, mask: BoolArray, *, keep_texts: bool) -> Self:
        if mask.dtype != np.bool_ or mask.shape != (len(self),):
            raise ValueError(f"mask is {mask.dtype} of shape {mask.shape}; needed: bool of ({len(self)},)")
        if mask.all() and (keep_texts or self.texts is None):
            return self
        kept = np.flatnonzero(mask).astype(np.int64)
        texts = None if self.texts is None or not keep_texts else _ChosenTexts((self.texts,), 0 * kept, kept)
        part = object.__new__(type(self))  # not built anew: these rows have been checked
        chosen: dict[int, FloatArray | IntArray] = {}  # the raw confidence may be the confidence
        for column in fields(self):
            value = getattr(self, column.name)
            if column.name in (*_FLOATS, *_WHOLE):
                if len(kept) < len(self) and id(value) not in chosen:
                    chosen[id(value)] = own_array(value[kept], value.dtype)
                value = chosen.get(id(value), value)
            object.__setattr__(part, column.name, texts if column.name == "texts" else value)
        return part

    def densely(self) -> Self:
        """Problems without a row left out and the others numbered 0 to G − 1 in the same order: before drawing."""
        used, problem = distinct_and_places(self.problem)
        if used.size == self.problem_keys.size:
            return self
        return replace(self, problem=problem, problem_keys=self.problem_keys[used])

    def for_dataset(self, name: str) -> Self:
        """The rows of one dataset.

        Raises:
            DataError: no dataset has that name.
        """
        if name not in self.dataset_names:
            raise DataError(f"no dataset is named {name!r}; allowed: {', '.join(self.dataset_names) or 'none'}")
        return self.select(self.dataset == self.dataset_names.index(name))

    def with_confidence(self, confidence: FloatArray, raw: FloatArray | None = None) -> Self:
        """The same steps as another scorer, or a calibration map, judges them.

        Args:
            confidence: shape (N,), in [0, 1] or NaN.
            raw: shape (N,), what orders the steps; `confidence` itself where left out, never the old scorer's.
        """
        return replace(self, confidence=confidence, raw_confidence=confidence if raw is None else raw)

    def rows_by_tree(self) -> list[IntArray]:
        """The rows of each tree, by the number of the step; no list at all where there are no rows."""
        order = np.lexsort((self.step, self.tree))
        starts = np.flatnonzero(np.diff(self.tree[order], prepend=-1))
        return np.split(order, starts[1:]) if order.size else []

    def paths(self) -> Iterator[tuple[int, IntArray]]:
        """Each solution: its tree, and its rows from the first step to the last. A shared row is in several.

        Raises:
            ValueError: a tree lacks the row of a parent, or has a step twice: select rows after asking for paths.
        """
        for rows in self.rows_by_tree():
            tree = int(self.tree[rows[0]])
            row_of = dict(zip(self.step[rows].tolist(), rows.tolist(), strict=True))
            parents = self.parent[rows].tolist()
            if len(row_of) < rows.size or not {FIRST_STEP, *row_of}.issuperset(parents):
                raise ValueError(f"tree {tree} has a step twice or lacks a step that another follows")
            before = dict(zip(rows.tolist(), (row_of.get(parent) for parent in parents), strict=True))
            for leaf in sorted(row_of.keys() - set(parents)):
                yield tree, _path_to(row_of[leaf], before)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """All rows of `parts`, in order; datasets of one name become one, and so do problems of one key.

        Raises:
            DataError: there is nothing to join.
        """
        if not parts:
            raise DataError("there are no predictions to join; allowed: at least one part")
        names = tuple(dict.fromkeys(name for part in parts for name in part.dataset_names))
        numbers: dict[int, int] = {}
        for part in parts:
            for key in part.problem_keys.tolist():
                numbers.setdefault(key, len(numbers))
        columns = {name: [getattr(part, name) for part in parts] for name in (*_FLOATS, *_WHOLE)}
        columns["dataset"] = [np.array([names.index(n) for n in p.dataset_names], int)[p.dataset] for p in parts]
        columns["problem"] = [np.array([numbers[k] for k in p.problem_keys.tolist()], int)[p.problem] for p in parts]
        first_tree = np.cumsum([0, *(len(part.tree_ids) for part in parts)])
        columns["tree"] = [part.tree + first for part, first in zip(parts, first_tree, strict=False)]
        return cls(
            **{name: np.concatenate(arrays) for name, arrays in columns.items()},
            dataset_names=names,
            tree_ids=tuple(name for part in parts for name in part.tree_ids),
            problem_keys=np.array(list(numbers), dtype=np.uint64),
            texts=_joined_texts(parts),
        )

    @classmethod
    def of_columns(
        cls,
        confidence: npt.ArrayLike,
        label: npt.ArrayLike,
        *,
        raw_confidence: npt.ArrayLike | None = None,
        true_confidence: npt.ArrayLike | None = None,
        problem: Sequence[Hashable] | npt.NDArray[np.generic] | None = None,
        position: npt.ArrayLike | None = None,
        dataset: npt.ArrayLike | None = None,
        dataset_names: Sequence[str] = ("all",),
        texts: StepTexts | None = None,
    ) -> Self:
        """Steps of which only some things are known, each a tree of its own: columns of numbers, a file of scores.

        Args:
            confidence: shape (N,), in [0, 1].
            label: shape (N,), in [0, 1]; NaN where nobody judged the step.
            raw_confidence: `confidence` where left out.
            true_confidence: unknown where left out.
            problem: shape (N,), the key of each row's problem: whatever is equal is one problem, wherever it stands.
                Left out: every row is a problem of its own.
            position: 1 where left out.
            dataset: index into `dataset_names`; 0 where left out.
            dataset_names: the datasets by name.
            texts: the words behind the rows.

        >>> steps = ScoredSteps.of_columns([0.9, 0.2, 0.4], [1.0, 0.5, np.nan], problem=["x", "y", "x"])
        >>> len(steps), steps.problem.tolist(), len(steps.measured()), steps.num_problems
        (3, [0, 1, 0], 2, 2)
        """
        p = np.array(confidence, dtype=np.float64)
        zeros, ones = np.zeros(p.shape, np.int64), np.ones(p.shape, np.int64)
        values = range(p.size) if problem is None else problem.tolist() if isinstance(problem, np.ndarray) else problem
        numbers: dict[Hashable, int] = {}
        number = np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)
        return cls(
            confidence=p,
            raw_confidence=p if raw_confidence is None else np.array(raw_confidence, np.float64),
            label=np.array(label, dtype=np.float64),
            true_confidence=np.full(p.shape, np.nan) if true_confidence is None else np.array(true_confidence),
            num_ratings=zeros,
            dataset=zeros if dataset is None else np.array(dataset),
            problem=number,
            tree=np.arange(p.size, dtype=np.int64).reshape(p.shape),
            step=zeros,
            parent=zeros + FIRST_STEP,
            position=ones if position is None else np.array(position),
            dataset_names=tuple(dataset_names),
            tree_ids=[""] * p.size,
            problem_keys=np.array([problem_hash(str(value)) for value in numbers], dtype=np.uint64),
            texts=texts,
        )


_FLOATS = ("confidence", "raw_confidence", "label", "true_confidence")
_WHOLE = ("num_ratings", "dataset", "problem", "tree", "step", "parent", "position")
_HINTS = {
    "confidence": "a logit needs a sigmoid first, NaN is for a step without a score",
    "label": "NaN is for a step that nobody judged",
    "raw_confidence": "a logit needs a sigmoid first, NaN is for a step without a score",
    "true_confidence": "NaN is for a probability that is not known",
}


def _path_to(row: int, before: dict[int, int | None]) -> IntArray:
    """The rows from the first step down to `row`."""
    rows: list[int] = []
    at: int | None = row
    while at is not None:
        rows.append(at)
        at = before[at]
    return np.array(rows[::-1], dtype=np.int64)


def _joined_texts(parts: Sequence[ScoredSteps]) -> StepTexts | None:
    """The texts of all parts; None where one of them has rows without."""
    filled = [part for part in parts if len(part)]
    texts = tuple(part.texts for part in filled if part.texts is not None)
    if len(texts) < len(filled) or not texts:
        return None
    part = np.repeat(np.arange(len(filled), dtype=np.int64), [len(one) for one in filled])
    return _ChosenTexts(texts, part, np.concatenate([np.arange(len(one), dtype=np.int64) for one in filled]))
