"""All figures of one section under resampled problems, in one pass over the resamples.

Means come from one matrix product of counts, ranking figures from presorted columns, binned gaps from sums by bin.
Bins of equal mass are those of the steps as seen, in every resample. Knows no layout of a report.

Legend: N steps, G problems, R resamples, B bins, P groups, M cells of the smooth error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from surestep.metrics.breakdown import Grouping
from surestep.metrics.calibration_error import NUM_BINS, equal_mass_bins, equal_width_bins
from surestep.metrics.columns import POSITIVE_LABEL, BoolArray, FloatArray, IntArray
from surestep.metrics.pointwise import NLL_CLIP
from surestep.metrics.predictions import Predictions
from surestep.metrics.presorted import PresortedRanking
from surestep.metrics.problem_sums import ProblemSums, ratio
from surestep.metrics.resamples import count_blocks
from surestep.metrics.smooth_error import PresortedCells

MOST_GROUPS = 4096
MOST_GROUPS_PER_POSITION = 512
"""How finely resamples tell confidences apart. AUROC moves by less than 1 / groups² from it, before the shift."""

NO_VARIANCE = 1e-13
"""Below this a variance in [0, 0.25] is the rounding of equal labels."""


@dataclass(slots=True)
class SectionDraws:
    """What a bootstrap of one section gave.

    Attributes:
        figures: figure -> (R,), NaN where undefined: all that are means, ratios of means, or rankings.
        sums: name -> (R,) or (R, B): what binned figures and groups are made from.
        ranking_by_group: group -> (R,), AUROC within each group of `by_position`.
        cells: (R, M), the smooth error's gaps, each summed over steps and divided by their number.
    """

    figures: dict[str, FloatArray]
    sums: dict[str, FloatArray]
    ranking_by_group: dict[int, FloatArray]
    cells: FloatArray


def step_losses(confidence: FloatArray, label: FloatArray) -> dict[str, FloatArray]:
    """What each step adds to the figures that are means over all steps; each shape (N,).

    >>> step_losses(np.array([0.5]), np.array([1.0]))["mse"]
    array([0.25])
    """
    clipped = np.clip(confidence, NLL_CLIP, 1.0 - NLL_CLIP)
    return {
        "mse": (confidence - label) ** 2,
        "mae": np.abs(confidence - label),
        "nll": -(label * np.log(clipped) + (1.0 - label) * np.log1p(-clipped)),
        "brier": (confidence - (label >= POSITIVE_LABEL)) ** 2,
        "calibration_in_the_large": confidence - label,
        "mean_confidence": confidence,
        "mean_label": label,
    }


def draw_section(
    part: Predictions,
    *,
    resamples: int,
    seed: int,
    groupings: Mapping[str, Grouping],
    means: Mapping[str, tuple[FloatArray, BoolArray | None]],
) -> SectionDraws:
    """Resample the problems of `part` and measure it each time.

    Args:
        part: the steps of one section, of at least two problems.
        resamples: R.
        seed: of the resamples.
        groupings: by name; the sums `<name>/<figure>` and `<name>/steps`, (R, P), are made for each.
        means: further figures: the values to average, shape (N,), and among which steps (None: all).
    """
    problems, problem = np.unique(part.problem, return_inverse=True)
    problem = problem.astype(np.int64)
    sums = _columns(part, problem, problems.size, groupings, means)
    ranking = PresortedRanking(part.raw_confidence, part.label, problem, most_groups=MOST_GROUPS)
    by_group = _group_rankings(part, problem, groupings)
    cells = PresortedCells(part.confidence, part.confidence - part.label, problem)
    draws = _Collected(sums)
    for counts in count_blocks(problems.size, resamples=resamples, seed=seed):
        draws.add_sums(counts)
        draws.ranking.append(ranking(counts))
        draws.groups.append({key: found(counts)["auroc"] for key, found in by_group.items()})
        draws.cells.extend(cells(row) for row in counts)
    section = draws.section(means)
    for name, shift in ranking.shift.items():
        section.figures[name] += shift
    for key, found in by_group.items():
        section.ranking_by_group[key] += found.shift["auroc"]
    return section


def _columns(
    part: Predictions,
    problem: IntArray,
    num_problems: int,
    groupings: Mapping[str, Grouping],
    means: Mapping[str, tuple[FloatArray, BoolArray | None]],
) -> ProblemSums:
    p, y = part.confidence, part.label
    one = np.ones(len(part))
    sums = ProblemSums(problem, num_problems)
    losses = step_losses(p, y)
    sums.add("steps", one)
    for name, values in losses.items():
        sums.add(name, values)
    sums.add("label_shifted", y - y.mean())
    sums.add("label_squared", (y - y.mean()) ** 2)
    decided = y != POSITIVE_LABEL
    sums.add("decided", one, decided)
    sums.add("accuracy", ((p >= POSITIVE_LABEL) == (y > POSITIVE_LABEL)).astype(np.float64), decided)
    positive = (y >= POSITIVE_LABEL).astype(np.float64)
    sums.add("positive", positive)
    for kind, bins in (("width", equal_width_bins(p)), ("mass", equal_mass_bins(p))):
        sums.add_binned(f"{kind}/steps", one, bins, NUM_BINS)
        sums.add_binned(f"{kind}/gap", p - y, bins, NUM_BINS)
        sums.add_binned(f"{kind}/label", y, bins, NUM_BINS)
        sums.add_binned(f"{kind}/positive", positive, bins, NUM_BINS)
        sums.add_binned(f"{kind}/confidence", p, bins, NUM_BINS)
    for name, grouping in groupings.items():
        width = len(grouping.rows)
        sums.add_binned(f"{name}/steps", one, grouping.group, width)
        for figure in (*grouping.figures, "mean_confidence", "mean_label"):
            if figure in losses:
                sums.add_binned(f"{name}/{figure}", losses[figure], grouping.group, width)
    for name, (values, where) in means.items():
        sums.add(f"{name}/sum", values, where)
        sums.add(f"{name}/count", one, where)
    return sums


def _group_rankings(
    part: Predictions, problem: IntArray, groupings: Mapping[str, Grouping]
) -> dict[int, PresortedRanking]:
    grouping = groupings.get("by_position")
    if grouping is None:
        return {}
    found = {}
    for number in range(len(grouping.rows)):
        ours = grouping.group == number
        found[number] = PresortedRanking(
            part.raw_confidence[ours], part.label[ours], problem[ours], ("auroc",), most_groups=MOST_GROUPS_PER_POSITION
        )
    return found


@dataclass(slots=True)
class _Collected:
    """Draws as they come."""

    columns: ProblemSums
    products: list[FloatArray] = field(default_factory=list)
    ranking: list[dict[str, FloatArray]] = field(default_factory=list)
    groups: list[dict[int, FloatArray]] = field(default_factory=list)
    cells: list[FloatArray] = field(default_factory=list)
    table: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.table = self.columns.table()

    def add_sums(self, counts: FloatArray) -> None:
        self.products.append(counts @ self.table)

    def section(self, means: Mapping[str, object]) -> SectionDraws:
        sums = self.columns.split(np.concatenate(self.products))
        names = step_losses(np.empty(0), np.empty(0))
        figures = {name: ratio(sums, name, "steps") for name in names}
        figures["accuracy"] = ratio(sums, "accuracy", "decided")
        figures["r2"] = _r2(sums)
        figures |= _brier_parts(sums, figures["brier"])
        figures |= {name: ratio(sums, f"{name}/sum", f"{name}/count") for name in means}
        figures |= {name: np.concatenate([block[name] for block in self.ranking]) for name in self.ranking[0]}
        groups = {key: np.concatenate([block[key] for block in self.groups]) for key in self.groups[0]}
        return SectionDraws(figures, sums, groups, np.array(self.cells))


def _r2(sums: Mapping[str, FloatArray]) -> FloatArray:
    steps = sums["steps"]
    variance = sums["label_squared"] / steps - (sums["label_shifted"] / steps) ** 2
    explained = 1.0 - np.divide(
        sums["mse"] / steps, variance, out=np.full_like(variance, np.nan), where=variance > NO_VARIANCE
    )
    return np.asarray(explained)


def _brier_parts(sums: Mapping[str, FloatArray], brier: FloatArray) -> dict[str, FloatArray]:
    """Uncertainty and within-bin remainder; the other two parts are sizes of gaps, see `inversion`."""
    steps, base = sums["steps"], sums["positive"] / sums["steps"]
    mass = sums["width/steps"]
    used = mass > 0.0
    off = sums["width/confidence"] - sums["width/positive"]
    told = sums["width/positive"] - base[:, None] * mass
    reliability, resolution = (
        np.divide(gap**2, mass, out=np.zeros_like(mass), where=used).sum(axis=1) / steps for gap in (off, told)
    )
    uncertainty = base * (1.0 - base)
    return {
        "brier_uncertainty": uncertainty,
        "brier_within_bin": brier - (reliability - resolution + uncertainty),
    }
