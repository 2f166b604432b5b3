"""Rows of predictions as the columns of `ScoredSteps`, one row after another: what a file of millions is read into.

Knows rows by step as `layouts.read_row` gives them; knows no file.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surestep.data.trees.identity import key_of
from surestep.errors import DataError
from surestep.scored import FIRST_STEP, BoolArray, FloatArray, IntArray, ListedTexts, ScoredSteps, problem_hash
from surestep.scoring.predictions.sure_rows import UNSAID, SureRows
from surestep.untrusted.bounds import shown

_ALONE = "\0\0"
"""Begins the key of a row that is a problem of its own; its number among the rows, from 1, follows."""
_SHARED_TEXTS = ("problem", "group")
_WHERE_UNSAID = {"ratings": 0, "position": 1}


class RowColumns:
    """Columns that grow by a row at a time: eight bytes a number, and each text once that rows share.

    Args:
        path: the file, for messages.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._numbers = {name: array("d") for name in ("confidence", "raw", "label", "true")}
        self._whole = {
            name: array("q") for name in ("ratings", "dataset", "problem", "tree", "step", "parent", "position")
        }
        self._lines = array("q")
        self._texts: dict[str, list[Any]] = {name: [] for name in ("problem", "text", "context", "group")}
        self._shared: dict[str, str] = {}
        self._datasets: dict[str, int] = {}
        self._problems: dict[str, int] = {}
        self._trees: dict[tuple[int, Any], int] = {}
        self._tree_ids: list[str] = []
        self._has_texts = True
        self._key_of_last = "", ""

    def add(self, row: Mapping[str, Any], line: int | None, *, may_lack_confidence: bool = False) -> None:
        """One more row, as `read_row` gives it."""
        confidence = self._number(row, "confidence", line)
        if confidence is None and not may_lack_confidence:
            raise DataError("the row has no confidence; needed: a number from 0 to 1", path=self._path, line=line)
        raw, label = self._number(row, "raw_confidence", line), self._number(row, "label", line)
        true = self._number(row, "true_confidence", line)
        if confidence is None or raw is None:
            raw = confidence  # without the one there is neither
        numbers, whole = self._numbers, self._whole
        numbers["confidence"].append(math.nan if confidence is None else confidence)
        numbers["raw"].append(math.nan if raw is None else raw)
        numbers["label"].append(math.nan if label is None else label)
        numbers["true"].append(math.nan if true is None else true)
        dataset = self._dataset(row)
        step, parent = row.get("step"), row.get("parent")
        whole["ratings"].append(row.get("num_ratings", 0))
        whole["dataset"].append(dataset)
        whole["problem"].append(self._problem(row, len(numbers["label"])))
        whole["tree"].append(self._tree(row.get("problem_id"), dataset))
        whole["step"].append(UNSAID if step is None else step)
        whole["parent"].append(UNSAID if parent is None else parent)
        whole["position"].append(row.get("position", 1))
        self._lines.append(line or 0)
        self._add_texts(row, has_label=label is not None)

    def _problem(self, row: Mapping[str, Any], number: int) -> int:
        return self._problems.setdefault(self._problem_key(row, number), len(self._problems))

    def _problem_key(self, row: Mapping[str, Any], number: int) -> str:
        """What tells the problem of the row of that number, from 1, from others."""
        dataset, group, problem = row.get("dataset", "all"), row.get("group"), row.get("problem")
        if group:
            return key_of("", group=group, dataset=dataset)
        if isinstance(problem, str) and problem.strip():
            if problem != self._key_of_last[0]:  # its steps mostly come one after the other, with its text each
                self._key_of_last = problem, key_of(problem)
            return self._key_of_last[1]
        # No text's key begins so: what has no text is a problem of its dataset, or of its own.
        name = row.get("problem_id")
        return f"\0{dataset}\0{name}" if name is not None else f"{_ALONE}{number}"

    def _tree(self, name: str | None, dataset: int) -> int:
        key = (dataset, len(self._tree_ids) if name is None else name)
        if key not in self._trees:
            self._trees[key] = len(self._tree_ids)
            self._tree_ids.append(name or "")
        return self._trees[key]

    def add_rows(self, rows: SureRows) -> None:
        """All of `rows`, as if each had been added; what they share is looked up once."""
        first = len(self._numbers["label"]) + 1
        texts, whole, numbers = rows.texts, dict(rows.whole), dict(rows.numbers)
        has_raw = ~np.isnan(numbers["raw_confidence"])
        raw = np.where(has_raw, numbers["raw_confidence"], numbers["confidence"])
        for name, values in (("confidence", numbers["confidence"]), ("raw", raw), ("label", numbers["label"])):
            self._numbers[name].frombytes(values.tobytes())
        self._numbers["true"].frombytes(numbers["true_confidence"].tobytes())

        def numbered(names: Sequence[str], number_of: Callable[[dict[str, Any], int], int]) -> IntArray:
            """The number of each row, asked for at the first row of those that are alike in `names`."""
            is_alone = texts["problem_id"].place < 0 if "problem_id" in names else np.zeros(len(rows), np.bool_)
            at, like = _alike([texts[name].place for name in names], is_alone=is_alone)
            # A text that is not there is absent from the row, as in what `read_row` gives.
            found = ({name: text for name in names if (text := texts[name].of(row)) is not None} for row in at.tolist())
            given = [number_of(row, first + place) for row, place in zip(found, at.tolist(), strict=True)]
            return np.array(given, np.int64)[like]

        whole["dataset"] = numbered(("dataset",), lambda row, _: self._dataset(row))
        whole["problem"] = numbered(("dataset", "group", "problem", "problem_id"), self._problem)
        whole["tree"] = numbered(
            ("dataset", "problem_id"), lambda row, _: self._tree(row.get("problem_id"), self._dataset(row))
        )
        for name, values in (("ratings", whole.pop("num_ratings")), ("position", whole.pop("position"))):
            whole[name] = np.where(values == UNSAID, _WHERE_UNSAID[name], values)
        for name, values in whole.items():
            self._whole[name].frombytes(values.tobytes())
        self._lines.frombytes(rows.line.tobytes())
        self._add_texts_of(rows)

    def _add_texts_of(self, rows: SureRows) -> None:
        if not self._has_texts:
            return
        texts = rows.texts
        if (~np.isnan(rows.numbers["label"]) & (texts["text"].place < 0)).any():
            self._forget_texts()
            return
        for name in _SHARED_TEXTS:
            self._texts[name] += (self._once(text or "") for text in texts[name].listed())
        self._texts["text"] += (text or "" for text in texts["text"].listed())
        self._texts["context"] += texts["context"].listed()

    def _dataset(self, row: Mapping[str, Any]) -> int:
        # A dataset without a label keeps its place: its section then says that nothing was measured.
        return self._datasets.setdefault(row.get("dataset", "all"), len(self._datasets))

    def extend(self, other: RowColumns) -> None:
        """The rows of `other` behind these, as if each had been added here."""
        num_before = len(self._numbers["label"])
        datasets = [self._datasets.setdefault(name, len(self._datasets)) for name in other._datasets]
        problems = [self._problems.setdefault(_moved(key, num_before), len(self._problems)) for key in other._problems]
        trees = [self._tree(None if isinstance(name, int) else name, datasets[of]) for of, name in other._trees]
        for name, values in other._numbers.items():
            self._numbers[name].extend(values)
        numbers = {"dataset": datasets, "problem": problems, "tree": trees}
        for name, whole in other._whole.items():
            if name in numbers:
                whole = array("q", np.array(numbers[name], np.int64)[np.frombuffer(whole, np.int64)].tobytes())
            self._whole[name].extend(whole)
        self._lines.extend(other._lines)
        if not other._has_texts:
            self._forget_texts()
        elif self._has_texts:
            for name, texts in other._texts.items():
                self._texts[name] += map(self._once, texts) if name in _SHARED_TEXTS else texts

    def _add_texts(self, row: Mapping[str, Any], *, has_label: bool) -> None:
        if not self._has_texts:
            return
        text = row.get("text")
        if has_label and not isinstance(text, str):
            self._forget_texts()
            return
        for name in _SHARED_TEXTS:
            self._texts[name].append(self._once(str(row.get(name) or "")))
        self._texts["text"].append(str(text or ""))
        self._texts["context"].append(row.get("context"))

    def _once(self, text: str) -> str:
        """The steps of a problem come with its text each, one after the other or not."""
        return self._shared.setdefault(text, text)

    def _forget_texts(self) -> None:
        self._has_texts = False  # and never will have, so nothing of them is kept
        self._texts.clear()
        self._shared.clear()

    def _number(self, row: Mapping[str, Any], name: str, line: int | None) -> float | None:
        value = row.get(name)
        if value is None or (type(value) is float and 0.0 <= value <= 1.0):
            return value
        if isinstance(value, bool) and name == "label":  # a judgement may be; a confidence is a number
            return float(value)
        # NaN fails the comparison, too.
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
            raise DataError(f"{name} is {shown(value)}; allowed: a number from 0 to 1", path=self._path, line=line)
        return float(value)

    def _check_once(self, tree: IntArray, step: IntArray) -> None:
        """A step with two rows would count twice in every figure, and where they differ nobody knows which is meant."""
        order = np.lexsort((step, tree))  # stable: of equal ones the earlier row first
        repeats = (tree[order[1:]] == tree[order[:-1]]) & (step[order[1:]] == step[order[:-1]])
        if not repeats.any():
            return
        again = order[1:][repeats]
        row = int(again.min())
        first = int(np.flatnonzero((tree == tree[row]) & (step == step[row]))[0])
        differs = [name for name in self._numbers if not _same(self._numbers[name][first], self._numbers[name][row])]
        place = f"line {self._lines[first]}" if self._lines[first] else "an earlier row"
        name = " / ".join(
            (list(self._datasets)[self._whole["dataset"][row]], self._tree_ids[tree[row]], str(step[row]))
        )
        numbers = f"another {_CALLED[differs[0]]}" if differs else "the same numbers"
        raise DataError(
            f"the step {shown(name)[1:-1]} is in the file twice ({place} has it with {numbers}); rows too many: "
            f"{again.size:,}; keep one row of each step; solutions of one problem need a 'problem_id' each, and share "
            "their 'group'",
            path=self._path,
            line=self._lines[row] or None,
        )

    def steps(self) -> ScoredSteps:
        """All rows.

        Raises:
            DataError: a step has several rows, none has a label, or none of those that have one a confidence.
        """
        whole = {name: np.frombuffer(values, np.int64) for name, values in self._whole.items()}
        step, parent = _places(whole["tree"], whole["step"], whole["parent"])
        self._check_once(whole["tree"], step)
        label = _as_array(self._numbers["label"])
        if np.isnan(label).all():
            raise DataError("no row has a label, so there is nothing to measure", path=self._path)
        confidence = _as_array(self._numbers["confidence"])
        if np.isnan(confidence[~np.isnan(label)]).all():
            raise DataError("no labelled step has a confidence, so there is nothing to measure", path=self._path)
        texts = self._texts
        return ScoredSteps(
            confidence=confidence,
            raw_confidence=_as_array(self._numbers["raw"]),
            label=label,
            true_confidence=_as_array(self._numbers["true"]),
            num_ratings=whole["ratings"],
            dataset=whole["dataset"],
            problem=whole["problem"],
            tree=whole["tree"],
            step=step,
            parent=parent,
            position=whole["position"],
            dataset_names=tuple(self._datasets),
            tree_ids=self._tree_ids,
            problem_keys=np.array([problem_hash(key) for key in self._problems], np.uint64),
            texts=ListedTexts(texts["problem"], texts["text"], texts["context"], texts["group"])
            if self._has_texts
            else None,
        )


_CALLED = {"confidence": "confidence", "raw": "raw confidence", "label": "label", "true": "true confidence"}
"""The columns of numbers as messages call them."""


def _same(first: float, second: float) -> bool:
    return first == second or (math.isnan(first) and math.isnan(second))


def _as_array(values: array[float]) -> FloatArray:
    return np.frombuffer(values, np.float64)


def _alike(columns: Sequence[IntArray], *, is_alone: BoolArray) -> tuple[IntArray, IntArray]:
    """The first row of each kind of rows, ascending, and which kind each row is; two alike have equal columns.

    Args:
        columns: shape (N,) each, at least -1.
        is_alone: shape (N,), rows that are like no other one.

    >>> [found.tolist() for found in _alike([np.array([4, 2, 4, 4])], is_alone=np.array([False, False, False, True]))]
    [[0, 1, 3], [0, 1, 0, 2]]
    """
    kind = np.where(is_alone, np.arange(is_alone.size) + 1, 0)
    for column in columns:
        # Numbered anew each time, so that no product of counts becomes too large.
        kind = np.unique(kind * (column.max(initial=0) + 2) + column + 1, return_inverse=True)[1]
    _, first, kind = np.unique(kind, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    return first[order], rank[kind]


def _moved(key: str, num_before: int) -> str:
    """The key of a problem when so many rows stand before those that it was made of."""
    return f"{_ALONE}{int(key.removeprefix(_ALONE)) + num_before}" if key.startswith(_ALONE) else key


def _places(tree: IntArray, step: IntArray, parent: IntArray) -> tuple[IntArray, IntArray]:
    """Step and parent of each row, (N,); one that does not say them (`UNSAID`) follows the row of its tree before it.

    >>> no = UNSAID
    >>> tree, step, parent = np.array([0, 1, 0, 0]), np.array([no, 4, no, 7]), np.array([no, 1, no, no])
    >>> [column.tolist() for column in _places(tree, step, parent)]
    [[0, 4, 1, 7], [-1, 1, 0, 1]]
    """
    if (step == UNSAID).any() or (parent == UNSAID).any():
        order, place = np.argsort(tree, kind="stable"), np.arange(tree.size)
        is_first = np.diff(tree[order], prepend=-1) != 0
        said, said_parent = step[order], parent[order]
        # The last row of the tree, up to this one, that says its step; the rows behind it count on from there.
        known = np.maximum.accumulate(np.where(is_first | (said != UNSAID), place, 0))
        steps = np.where(said == UNSAID, FIRST_STEP + 1, said)[known] + place - known
        before = np.where(is_first, FIRST_STEP, np.roll(steps, 1))
        parents = np.where((said == UNSAID) | (said_parent == UNSAID), before, said_parent)
        step, parent = np.empty_like(step), np.empty_like(parent)
        step[order], parent[order] = steps, parents
    # A foreign file's parents may run in a circle; ours stand before their children.
    return step, np.where((parent >= FIRST_STEP) & (parent < step), parent, FIRST_STEP)
