"""Rows of predictions as the columns of `ScoredSteps`, one row after another: what a file of millions is read into.

Knows rows by step as `layouts.read_row` gives them; knows no file.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surestep.data.trees.identity import key_of
from surestep.errors import DataError
from surestep.scored import FIRST_STEP, FloatArray, ListedTexts, ScoredSteps, problem_hash
from surestep.untrusted.bounds import shown


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
        self._last_step: dict[int, int] = {}
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
        # A dataset without a label keeps its place: its section then says that nothing was measured.
        dataset = self._datasets.setdefault(row.get("dataset", "all"), len(self._datasets))
        tree = self._tree(row, dataset)
        step, parent = self._place(row, tree)
        whole["ratings"].append(row.get("num_ratings", 0))
        whole["dataset"].append(dataset)
        whole["problem"].append(self._problems.setdefault(self._problem(row), len(self._problems)))
        whole["tree"].append(tree)
        whole["step"].append(step)
        whole["parent"].append(parent)
        whole["position"].append(row.get("position", 1))
        self._lines.append(line or 0)
        self._add_texts(row, has_label=label is not None)

    def _problem(self, row: Mapping[str, Any]) -> str:
        dataset, group, problem = row.get("dataset", "all"), row.get("group"), row.get("problem")
        if group:
            return key_of("", group=group, dataset=dataset)
        if isinstance(problem, str) and problem.strip():
            if problem != self._key_of_last[0]:  # its steps mostly come one after the other, with its text each
                self._key_of_last = problem, key_of(problem)
            return self._key_of_last[1]
        # No text's key begins so: what has no text is a problem of its dataset, or of its own.
        name = row.get("problem_id")
        return f"\0{dataset}\0{name}" if name is not None else f"\0\0{len(self._numbers['label'])}"

    def _tree(self, row: Mapping[str, Any], dataset: int) -> int:
        name = row.get("problem_id")
        key = (dataset, len(self._tree_ids) if name is None else name)
        if key not in self._trees:
            self._trees[key] = len(self._tree_ids)
            self._tree_ids.append(name or "")
        return self._trees[key]

    def _place(self, row: Mapping[str, Any], tree: int) -> tuple[int, int]:
        """Step and parent; a row that does not say them follows the row of its tree before it."""
        before = self._last_step.get(tree, FIRST_STEP)
        step, parent = row.get("step"), row.get("parent")
        if step is None:
            step, parent = before + 1, before
        elif parent is None:
            parent = before
        self._last_step[tree] = step
        # A foreign file's parents may run in a circle; ours stand before their children.
        return step, parent if FIRST_STEP <= parent < step else FIRST_STEP

    def _add_texts(self, row: Mapping[str, Any], *, has_label: bool) -> None:
        if not self._has_texts:
            return
        text = row.get("text")
        if has_label and not isinstance(text, str):
            self._has_texts = False  # and never will, so nothing of them is kept
            self._texts.clear()
            self._shared.clear()
            return
        # The steps of a problem come with its text each, one after the other or not.
        for name in ("problem", "group"):
            shared = str(row.get(name) or "")
            self._texts[name].append(self._shared.setdefault(shared, shared))
        self._texts["text"].append(str(text or ""))
        self._texts["context"].append(row.get("context"))

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

    def _check_once(self) -> None:
        """A step with two rows would count twice in every figure, and where they differ nobody knows which is meant."""
        tree, step = (np.frombuffer(self._whole[name], np.int64) for name in ("tree", "step"))
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
        self._check_once()
        label = _as_array(self._numbers["label"])
        if np.isnan(label).all():
            raise DataError("no row has a label, so there is nothing to measure", path=self._path)
        confidence = _as_array(self._numbers["confidence"])
        if np.isnan(confidence[~np.isnan(label)]).all():
            raise DataError("no labelled step has a confidence, so there is nothing to measure", path=self._path)
        whole = {name: np.frombuffer(values, np.int64) for name, values in self._whole.items()}
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
            step=whole["step"],
            parent=whole["parent"],
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
