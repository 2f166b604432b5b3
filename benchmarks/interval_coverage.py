"""How often the 95 % intervals of calibration errors hold the truth, where the truth is known.

    python benchmarks/interval_coverage.py [--datasets 500] [--smooth 100] [--problems 500] [--out FILE]

Each data set is drawn anew by a fixed seed: problems of 1 to 11 steps, confidences that go together within a problem,
labels whose outcomes go together too. Miscalibration of a given true ECE is put in evenly over the confidences
(`shift`), growing toward both ends (`overconfident`), or into one bin alone (`one bin`). The true value of each figure
is that of 400,000 problems. Compared are the interval by test inversion and the plain percentile bootstrap of the same
draws; MSE and calibration-in-the-large, whose intervals are percentile, stand beside them. The smooth error takes most
of the time and is measured on the first `--smooth` data sets only. Two processes share the cases.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from surestep.metrics.calibration_error import NUM_BINS, ece, equal_mass_bins, equal_width_bins
from surestep.metrics.figure_table import compute_figures
from surestep.metrics.gap_intervals import gap_intervals, total
from surestep.metrics.predictions import Predictions
from surestep.metrics.problem_sums import ProblemSums, ratio
from surestep.metrics.resamples import resample_counts
from surestep.metrics.section_draws import SectionDraws
from surestep.metrics.smooth_error import GRID_CELLS, fixed_point, grid_places

TRUE_ECE = (0.0, 0.02, 0.1)
SHAPES = ("shift", "overconfident", "one bin")
GAPS = ("ece", "ece_equal_mass", "rms_calibration_error", "smooth_ece")
PERCENTILE = ("mse", "calibration_in_the_large")


def true_probability(confidence: np.ndarray, shape: str, size: float) -> np.ndarray:
    """P(label = 1) at each confidence, in [0, 1]; `size` scales the gap."""
    if shape == "shift":
        return np.clip(confidence - size, 0.0, 1.0)
    if shape == "overconfident":
        return np.clip(confidence - size * (confidence - 0.5) * 2.0, 0.0, 1.0)
    return np.clip(confidence - size * ((confidence >= 0.7) & (confidence < 0.8)), 0.0, 1.0)


def draw(seed: int, num_problems: int, shape: str, size: float) -> Predictions:
    """One data set."""
    random = np.random.default_rng([seed, num_problems])
    problem = np.repeat(np.arange(num_problems), random.integers(1, 12, num_problems))
    logit = random.normal(1.0, 1.0, num_problems)[problem] + random.normal(0.0, 0.7, problem.size)
    confidence = 1.0 / (1.0 + np.exp(-logit))
    # Half of the steps take their problem's own luck, so that outcomes of one problem go together.
    luck = random.random(num_problems)[problem]
    chance = np.where(random.random(problem.size) < 0.5, luck, random.random(problem.size))
    label = (chance < true_probability(confidence, shape, size)).astype(np.float64)
    return Predictions(
        confidence=confidence,
        label=label,
        dataset=np.zeros(problem.size, np.int64),
        dataset_names=("simulated",),
        problem=problem,
        position=np.ones(problem.size, np.int64),
    )


def size_for(shape: str, error: float) -> float:
    """The size at which a very large data set has this ECE."""
    big = draw(10**6, 100_000, shape, 0.0)
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        gaps = big.confidence - true_probability(big.confidence, shape, middle)
        bins = np.minimum((big.confidence * 10).astype(int), 9)
        found = np.abs(np.bincount(bins, gaps)).sum() / gaps.size
        low, high = (middle, high) if found < error else (low, middle)
    return 0.5 * (low + high)


def truth_of(shape: str, size: float) -> dict[str, float]:
    """The figures of a data set too large for noise, with probabilities in place of labels where a gap is asked for."""
    big = draw(10**6 + 1, 400_000, shape, size)
    expected = true_probability(big.confidence, shape, size)
    names = [*GAPS, "calibration_in_the_large"]
    found: dict[str, Any] = dict(compute_figures(big.confidence, expected, names=names).values)
    return found | {"mse": float(np.mean((big.confidence - expected) ** 2 + expected * (1.0 - expected)))}


def sums_of(part: Predictions, num_problems: int, counts: np.ndarray) -> SectionDraws:
    """What `draw_section` gives, without the figures that are not looked at here: the counts are drawn once."""
    p, y = part.confidence, part.label
    one, positive = np.ones(p.size), (y >= 0.5).astype(np.float64)
    sums = ProblemSums(part.problem, num_problems)
    sums.add("steps", one)
    sums.add("positive", positive)
    sums.add("mse", (p - y) ** 2)
    sums.add("calibration_in_the_large", p - y)
    for kind, bins in (("width", equal_width_bins(p)), ("mass", equal_mass_bins(p))):
        for name, values in (("steps", one), ("gap", p - y), ("positive", positive), ("confidence", p)):
            sums.add_binned(f"{kind}/{name}", values, bins, NUM_BINS)
    lower, share = grid_places(p)
    sums.add_binned("kept", (p - y) * (1.0 - share), lower, GRID_CELLS)
    sums.add_binned("passed", (p - y) * share, np.minimum(lower + 1, GRID_CELLS - 1), GRID_CELLS)
    found = sums.weighted(counts)
    cells = (found["kept"] + found["passed"]) / found["steps"][:, None]
    return SectionDraws({name: ratio(found, name, "steps") for name in PERCENTILE}, found, {}, cells)


def coverage(shape: str, error: float, args: argparse.Namespace) -> dict[str, Any]:
    """Shares of data sets whose interval holds the truth."""
    size = size_for(shape, error) if error else 0.0
    true = truth_of(shape, size)
    held: dict[str, list[bool]] = {}
    widths, plain = [], []
    counts = np.stack(list(resample_counts(args.problems, resamples=args.resamples))).astype(np.float64)
    for seed in range(args.datasets):
        part = draw(seed, args.problems, shape, size)
        draws = sums_of(part, args.problems, counts)
        with_smooth = seed < args.smooth
        inverted = gap_intervals(part, draws, smooth=with_smooth)
        for name in GAPS:
            if name in inverted:
                held.setdefault(name, []).append(inverted[name].low <= true[name] <= inverted[name].high)
        values = dict(draws.figures)
        values["ece by percentile"] = total(draws.sums["width/gap"] / draws.sums["steps"][:, None])
        if with_smooth:
            values["smooth_ece by percentile"] = fixed_point(draws.cells)
        for name, drawn in values.items():
            low, high = np.quantile(drawn, [0.025, 0.975])
            held.setdefault(name, []).append(bool(low <= true[name.removesuffix(" by percentile")] <= high))
        held.setdefault("ece interval above the truth", []).append(inverted["ece"].low > true["ece"])
        widths.append(inverted["ece"].high - inverted["ece"].low)
        plain.append(ece(part.confidence, part.label))
    return {
        "shape": shape,
        "true": {name: round(value, 4) for name, value in true.items()},
        "plain_ece_mean": round(float(np.mean(plain)), 4),
        "ece_interval_mean_width": round(float(np.mean(widths)), 4),
        "share": {name: round(float(np.mean(found)), 4) for name, found in held.items()},
    }


def main() -> None:
    """Run all cases and print one JSON line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=int, default=500)
    parser.add_argument("--smooth", type=int, default=100)
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    cases = [("shift", 0.0), *((shape, error) for error in TRUE_ECE[1:] for shape in SHAPES)]
    results = []
    with ProcessPoolExecutor(2) as pool:
        for found in pool.map(coverage, *zip(*cases, strict=True), [args] * len(cases)):
            results.append(found)
            print(json.dumps(found), flush=True)
    if args.out:
        settings = {name: getattr(args, name) for name in ("datasets", "smooth", "problems", "resamples")}
        args.out.write_text(json.dumps({"settings": settings, "results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
