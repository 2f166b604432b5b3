"""Ranking figures under many weightings of the same steps, sorted once.

The plain functions of `ranking`, `risk_coverage` and `rank_correlation` sort at every call; a bootstrap asks for a
thousand weightings of one order. This gives the same values from cumulative sums. Knows numbers only.

Legend: N steps, G distinct confidences, U distinct labels.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from surestep.metrics.calibration_error import equal_mass_bins
from surestep.metrics.columns import POSITIVE_LABEL, FloatArray, IntArray, bin_sums
from surestep.metrics.figure_table import RANKING_FIGURES
from surestep.metrics.risk_coverage import area_of_groups

_MASS_FIGURES = ("auroc", "average_precision", "average_precision_error")
_ENTRIES_AT_ONCE = 2**17
_RISK_FIGURES = ("risk_coverage_area", "risk_coverage_excess")


class PresortedRanking:
    """`RANKING_FIGURES` of fixed steps as a function of how often each problem counts.

    Args:
        confidence: shape (N,), in [0, 1]: what orders the steps.
        label: shape (N,), in [0, 1].
        problem: shape (N,), from 0: index into the counts.
        names: which figures; fewer are faster.
        most_groups: where there are more distinct confidences, neighbours are merged into this many groups of about
            equal size, as if they were equal: several times faster. `shift` brings the figures of the steps as they
            are back to their exact values.

    >>> ranking = PresortedRanking(np.array([0.2, 0.9]), np.array([0.0, 1.0]), np.array([0, 1]), ("auroc",))
    >>> ranking(np.array([[1.0, 3.0], [0.0, 4.0]]))
    {'auroc': array([ 1., nan])}
    """

    def __init__(
        self,
        confidence: FloatArray,
        label: FloatArray,
        problem: IntArray,
        names: Collection[str] = RANKING_FIGURES,
        *,
        most_groups: int | None = None,
    ) -> None:
        order = np.argsort(confidence, kind="stable")
        p, y = confidence[order], label[order]
        self.names = [name for name in sorted(RANKING_FIGURES) if name in names]
        self._problem = problem[order]
        self._positive = (y >= POSITIVE_LABEL).astype(np.float64)
        half = y == POSITIVE_LABEL
        self._not_half = (~half).astype(np.float64) if half.any() else None
        self._loss = None if np.isin(y, (0.0, 1.0)).all() else 1.0 - y
        self._labels, self._label_index = np.unique(y, return_inverse=True)
        self._starts = _starts(p)
        self.shift = dict.fromkeys(self.names, 0.0)
        if most_groups is not None and self._starts.size > most_groups:
            ones = np.ones((1, int(problem.max()) + 1))
            exact = self(ones)
            self._starts = _starts(equal_mass_bins(p, most_groups))
            self.shift = {name: float((exact[name] - value)[0]) for name, value in self(ones).items()}

    def __call__(self, counts: FloatArray) -> dict[str, FloatArray]:
        """The figures when problem g counts `counts[r, g]` times, counts of shape (R, G).

        Returns:
            Each shape (R,), NaN where undefined.
        """
        rows = max(1, _ENTRIES_AT_ONCE // max(self._problem.size, 1))
        parts = [self._some(counts[start : start + rows]) for start in range(0, len(counts), rows)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.names}

    def _some(self, counts: FloatArray) -> dict[str, FloatArray]:
        found = {name: np.full(len(counts), np.nan) for name in self.names}
        if not self._problem.size:
            return found
        w = counts[:, self._problem]
        right_of_steps = w * self._positive
        mass, right = self._grouped(w), self._grouped(right_of_steps)
        self._fill(found, "", right, mass - right)
        if any(name.endswith("_without_half") for name in self.names):
            if self._not_half is not None:
                decided = self._grouped(right_of_steps * self._not_half)
                self._fill(found, "_without_half", decided, self._grouped(w * self._not_half) - decided)
            else:
                self._fill(found, "_without_half", right, mass - right)
        if not {"spearman", *_RISK_FIGURES}.isdisjoint(found):
            by_label = np.stack([bin_sums(self._label_index, row, self._labels.size) for row in w])
            self._fill_risk(found, w, mass, by_label)
            self._fill_spearman(found, w, mass, by_label)
        return found

    def _grouped(self, values: FloatArray) -> FloatArray:
        return values if self._starts.size == values.shape[1] else np.add.reduceat(values, self._starts, axis=1)

    def _fill(self, found: dict[str, FloatArray], suffix: str, right: FloatArray, wrong: FloatArray) -> None:
        right_until, wrong_until = np.cumsum(right, axis=1), np.cumsum(wrong, axis=1)
        all_right, all_wrong = right_until[:, -1], wrong_until[:, -1]
        both = (all_right > 0.0) & (all_wrong > 0.0)
        for name in _MASS_FIGURES:
            if name + suffix not in found:
                continue
            if name == "auroc":
                value = np.sum(right * (wrong_until - 0.5 * wrong), axis=1)
                scale = all_right * all_wrong
            elif name == "average_precision":
                # From the highest confidence down: what lies at or above a group.
                hits = all_right[:, None] - right_until + right
                others = all_wrong[:, None] - wrong_until + wrong
                value, scale = _sum_of_precisions(right, hits, hits + others), all_right
            else:
                value, scale = _sum_of_precisions(wrong, wrong_until, right_until + wrong_until), all_wrong
            found[name + suffix][both] = value[both] / scale[both]

    def _fill_risk(self, found: dict[str, FloatArray], w: FloatArray, mass: FloatArray, by_label: FloatArray) -> None:
        if _RISK_FIGURES[0] not in found and _RISK_FIGURES[1] not in found:
            return
        loss = mass - self._grouped(w * self._positive) if self._loss is None else self._grouped(w * self._loss)
        drawn = mass.sum(axis=1) > 0.0
        area = area_of_groups(mass[drawn, ::-1], loss[drawn, ::-1])
        best = area_of_groups(by_label[drawn, ::-1], (by_label * (1.0 - self._labels))[drawn, ::-1])
        for name, value in zip(_RISK_FIGURES, (area, np.maximum(area - best, 0.0)), strict=True):
            if name in found:
                found[name][drawn] = value

    def _fill_spearman(
        self, found: dict[str, FloatArray], w: FloatArray, mass: FloatArray, by_label: FloatArray
    ) -> None:
        if "spearman" not in found:
            return
        ours, theirs = _centred_ranks(mass), _centred_ranks(by_label)
        spread = np.sum(mass * ours**2, axis=1) * np.sum(by_label * theirs**2, axis=1)
        together = np.sum(ours * self._grouped(w * theirs[:, self._label_index]), axis=1)
        some = spread > 0.0
        found["spearman"][some] = np.clip(together[some] / np.sqrt(spread[some]), -1.0, 1.0)


def _starts(ascending: FloatArray | IntArray) -> IntArray:
    """Where each run of equal values begins."""
    if not ascending.size:
        return np.empty(0, np.int64)
    starts: IntArray = np.flatnonzero(np.concatenate(([True], ascending[1:] != ascending[:-1]))).astype(np.int64)
    return starts


def _centred_ranks(mass: FloatArray) -> FloatArray:
    total = mass.sum(axis=1, keepdims=True)
    middle = np.cumsum(mass, axis=1) - 0.5 * mass
    ranks: FloatArray = np.divide(middle, total, out=np.full_like(mass, 0.5), where=total > 0.0) - 0.5
    return ranks


def _sum_of_precisions(sought: FloatArray, hits: FloatArray, taken: FloatArray) -> FloatArray:
    """Σ sought hits / taken; groups that nothing was drawn from have neither."""
    precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0.0)
    return np.asarray(np.sum(sought * precision, axis=1))
