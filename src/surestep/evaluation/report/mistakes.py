"""The worst mistakes of a scorer, each shown within its solution, so that a person can see why.

Where the probability of a label is known by construction, a confidence is measured against that, not against the label
that was drawn: 0.96 on a coin that comes up in 0.979 of the cases is right, though it came up otherwise this once.

Takes rows as `predictions.jsonl` holds them, ours or anybody's, and trusts none of their optional fields. Knows no
HTML. What it returns is bounded in number and in text, whatever the size of the evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

import numpy as np

from surestep.counted import counted
from surestep.scoring.predictions_file import RowsInView

Kind = Literal["confident and wrong", "unsure and right", "far above the truth", "far below the truth"]
KINDS: tuple[Kind, ...] = ("confident and wrong", "unsure and right")
"""Told by the label, where nobody knows better."""
TRUTH_KINDS: tuple[Kind, ...] = ("far above the truth", "far below the truth")
"""Told by the true confidence, where it is known."""
LEAST_DISTANCE = 0.25
"""From the true confidence: nearer than that is no mistake."""
MAX_MISTAKES = 240
MAX_CHARACTERS = 700_000
"""Of all problems and steps shown together."""
MAX_PROBLEM = 2_500
MAX_STEP = 1_200
STEPS_BEFORE = 12
STEPS_AFTER = 4


@dataclass(frozen=True)
class ShownStep:
    """A step as it is shown.

    Attributes:
        number: its position in the solution, from 1: the data's own where it says one.
        text: cut to `MAX_STEP` characters.
        confidence: in [0, 1].
        label: in [0, 1], None where nobody judged it.
        true_confidence: where it is known.
        context: the evidence it was shown with, or "".
        is_focus: whether it is the mistake.
    """

    number: int
    text: str
    confidence: float
    label: float | None
    true_confidence: float | None
    context: str
    is_focus: bool


@dataclass(frozen=True)
class Mistake:
    """One wrong judgement within its solution; `num_before` and `num_after` count steps that are not shown."""

    kind: Kind
    dataset: str
    problem_id: str
    problem: str
    steps: tuple[ShownStep, ...]
    num_before: int
    num_after: int

    @property
    def focus(self) -> ShownStep:
        """The step that was misjudged."""
        return next(step for step in self.steps if step.is_focus)

    @property
    def num_characters(self) -> int:
        """Text that this mistake adds to a page."""
        return len(self.problem) + sum(len(step.text) + len(step.context) for step in self.steps)


@dataclass(frozen=True)
class Mistakes:
    """The worst of each dataset and kind, worst first, and how many there are in all.

    Attributes:
        shown: worst first.
        totals: of each dataset and kind that has any.
        datasets: of all rows, in their order.
        with_truth: the datasets that have a labelled step of known true confidence.
        with_labels_only: those that have a labelled step whose true confidence nobody knows.
    """

    shown: tuple[Mistake, ...]
    totals: dict[tuple[str, Kind], int]
    datasets: tuple[str, ...]
    with_truth: tuple[str, ...] = ()
    with_labels_only: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds that there are."""
        return tuple(kind for kind in (*KINDS, *TRUTH_KINDS) if any(found == kind for _, found in self.totals))

    @property
    def positions(self) -> tuple[int, ...]:
        """Where in their solutions the shown ones stand, in order."""
        return tuple(sorted({mistake.focus.number for mistake in self.shown}))

    def total_of(self, kind: Kind) -> int:
        """Mistakes of one kind in the whole evaluation."""
        return sum(count for (_, found), count in self.totals.items() if found == kind)

    @property
    def total(self) -> int:
        """Mistakes in the whole evaluation."""
        return sum(self.totals.values())


def worst_mistakes(rows: Sequence[Mapping[str, Any]], *, limit: int = MAX_MISTAKES) -> Mistakes:
    """Choose the mistakes to show.

    "Confident and wrong": confidence of at least 0.5 on a label below 0.5. "Unsure and right": confidence below 0.5
    on a label above 0.5. A label of exactly 0.5 is neither. A labelled step of known true confidence is measured
    against that instead: "far above the truth" and "far below" it are at least `LEAST_DISTANCE` away, whatever label
    was drawn. Ordered by the distance; each dataset and kind gets an equal part of `limit`, and one solution appears
    once for each kind.

    Args:
        rows: with `confidence` and `label`; used where present: dataset, problem_id, step, parent, position, problem,
            text, context, true_confidence.
        limit: most mistakes returned.
    """
    confidence = np.array([float(value) for value in _column(rows, "confidence")])
    label = np.array([np.nan if value is None else float(value) for value in _column(rows, "label")])
    truth = np.array([_probability(value) for value in _column(rows, "true_confidence")], np.float64)
    is_labelled, is_known = ~np.isnan(label), ~np.isnan(truth)
    names = [str(name) for name in _column(rows, "dataset", "all")]
    datasets = tuple(dict.fromkeys(names))
    number = {name: k for k, name in enumerate(datasets)}
    dataset = np.array([number[name] for name in names], np.int64)
    above = confidence - np.where(is_known, truth, label)
    gap = np.abs(above)
    is_kind: dict[Kind, np.ndarray[Any, Any]] = {
        KINDS[0]: ~is_known & (confidence >= 0.5) & (label < 0.5),
        KINDS[1]: ~is_known & (confidence < 0.5) & (label > 0.5),
        TRUTH_KINDS[0]: is_known & is_labelled & (above >= LEAST_DISTANCE),
        TRUTH_KINDS[1]: is_known & is_labelled & (above <= -LEAST_DISTANCE),
    }
    present = [
        (name, kind)
        for name in datasets
        for kind, rows_of_kind in is_kind.items()
        if (rows_of_kind & (dataset == number[name])).any()
    ]
    totals: dict[tuple[str, Kind], int] = {}
    chosen: list[tuple[Kind, int]] = []
    share = max(1, limit // max(1, len(present)))
    for name, kind in present:
        found = np.flatnonzero(is_kind[kind] & (dataset == number[name]))
        totals[name, kind] = int(found.size)
        ordered = found[np.argsort(-gap[found], kind="stable")]
        chosen += [(kind, row) for row in _one_per_problem(rows, ordered, share)]
    solutions = _solutions(rows, [row for _, row in chosen])
    chosen.sort(key=lambda item: -gap[item[1]])
    return Mistakes(
        tuple(_within_budget(rows, chosen, solutions)),
        totals,
        datasets,
        with_truth=_datasets_with(is_labelled & is_known, dataset, datasets),
        with_labels_only=_datasets_with(is_labelled & ~is_known, dataset, datasets),
    )


def _datasets_with(rows: np.ndarray[Any, Any], dataset: np.ndarray[Any, Any], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for number, name in enumerate(names) if (rows & (dataset == number)).any())


def _column(rows: Sequence[Mapping[str, Any]], name: str, default: Any = None) -> list[Any]:
    """A value of every row."""
    if isinstance(rows, RowsInView):
        return rows.column(name, default)
    return [row.get(name, default) for row in rows]


def _key(rows: Sequence[Mapping[str, Any]], index: int) -> tuple[str, str]:
    """What names a row's problem; a row that names none is a problem of its own."""
    row = rows[index]
    return _named(row.get("dataset", "all"), row.get("problem_id"), index)


def _named(dataset: Any, problem_id: Any, index: int) -> tuple[str, str]:
    return str(dataset), f"\0{index}" if problem_id is None else str(problem_id)


def _one_per_problem(rows: Sequence[Mapping[str, Any]], ordered: np.ndarray[Any, Any], share: int) -> list[int]:
    seen: set[tuple[str, str]] = set()
    kept: list[int] = []
    for index in ordered.tolist():
        if (key := _key(rows, index)) not in seen:
            seen.add(key)
            kept.append(index)
            if len(kept) == share:
                break
    return kept


def _solutions(rows: Sequence[Mapping[str, Any]], wanted: Sequence[int]) -> dict[tuple[str, str], list[int]]:
    """The rows of each wanted problem, in the file's order."""
    found: dict[tuple[str, str], list[int]] = {_key(rows, index): [] for index in wanted}
    named = zip(_column(rows, "dataset", "all"), _column(rows, "problem_id"), strict=True)
    for index, (dataset, problem) in enumerate(named):
        if (members := found.get(_named(dataset, problem, index))) is not None:
            members.append(index)
    return found


def _within_budget(
    rows: Sequence[Mapping[str, Any]],
    chosen: Sequence[tuple[Kind, int]],
    solutions: Mapping[tuple[str, str], list[int]],
) -> list[Mistake]:
    shown: list[Mistake] = []
    characters = 0
    for kind, index in chosen:
        mistake = _mistake(rows, index, solutions[_key(rows, index)], kind)
        characters += mistake.num_characters
        if characters > MAX_CHARACTERS and shown:
            break
        shown.append(mistake)
    return shown


def _mistake(rows: Sequence[Mapping[str, Any]], focus: int, members: Sequence[int], kind: Kind) -> Mistake:
    path = _path_through(rows, focus, members)
    at = path.index(focus)
    first, last = max(0, at - STEPS_BEFORE), min(len(path), at + 1 + STEPS_AFTER)
    row = rows[focus]
    return Mistake(
        kind=kind,
        dataset=str(row.get("dataset", "all")),
        problem_id=str(row.get("problem_id", "")),
        problem=_cut(row.get("problem"), MAX_PROBLEM),
        steps=tuple(
            _shown(rows[index], place, index == focus) for place, index in enumerate(path[first:last], first + 1)
        ),
        num_before=first,
        num_after=len(path) - last,
    )


def _path_through(rows: Sequence[Mapping[str, Any]], focus: int, members: Sequence[int]) -> list[int]:
    """Rows from the first step over `focus` to the end of its first continuation.

    Without usable `step` and `parent` the problem's rows are one chain in the order of `position`.
    """
    by_step = {rows[index].get("step"): index for index in members if isinstance(rows[index].get("step"), int)}
    if len(by_step) < len(members) or any(not isinstance(rows[index].get("parent"), int) for index in members):
        return sorted(members, key=lambda index: _whole(rows[index].get("position")))
    path = [focus]
    # Not longer than the problem has rows: a foreign file's parents may run in a circle.
    while (parent := by_step.get(rows[path[0]]["parent"])) is not None and len(path) <= len(members):
        path.insert(0, parent)
    if len(path) > len(members):
        return [focus]
    children: dict[int, int] = {}
    for index in sorted(members, key=lambda index: rows[index]["step"]):
        children.setdefault(rows[index]["parent"], index)
    while (child := children.get(rows[path[-1]]["step"])) is not None and child not in path:
        path.append(child)
    return path


def _shown(row: Mapping[str, Any], place: int, is_focus: bool) -> ShownStep:
    label, true = row.get("label"), _probability(row.get("true_confidence"))
    position = row.get("position")
    return ShownStep(
        number=position if _is_whole(position) and position >= 1 else place,
        text=_cut(row.get("text"), MAX_STEP),
        confidence=float(row["confidence"]),
        label=None if label is None else float(label),
        true_confidence=None if np.isnan(true) else true,
        context=_cut(row.get("context"), MAX_STEP),
        is_focus=is_focus,
    )


def _probability(value: object) -> float:
    """A number in [0, 1]; NaN for anything else that may stand there."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= 1.0:
        return float(value)
    return np.nan


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 1


def _cut(value: object, most: int) -> str:
    text = "" if value is None else str(value).strip()
    return text if len(text) <= most else f"{text[:most]}… [{counted(len(text) - most, 'more character')}]"
