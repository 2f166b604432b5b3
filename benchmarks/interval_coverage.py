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

from surestep.metrics import FIGURES, Measure, compute_figures, resample
from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.bootstrap.interval import percentile
from surestep.scored import ScoredSteps

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


def draw(seed: int, num_problems: int, shape: str, size: float) -> ScoredSteps:
    """One data set."""
    random = np.random.default_rng([seed, num_problems])
    problem = np.repeat(np.arange(num_problems), random.integers(1, 12, num_problems))
    logit = random.normal(1.0, 1.0, num_problems)[problem] + random.normal(0.0, 0.7, problem.size)
    confidence = 1.0 / (1.0 + np.exp(-logit))
    # Half of the steps take their problem's own luck, so that outcomes of one problem go together.
    luck = random.random(num_problems)[problem]
    chance = np.where(random.random(problem.size) < 0.5, luck, random.random(problem.size))
    label = (chance < true_probability(confidence, shape, size)).astype(np.float64)
    return ScoredSteps.of_columns(confidence, label, problem=problem)


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


def coverage(shape: str, error: float, args: argparse.Namespace) -> dict[str, Any]:
    """Shares of data sets whose interval holds the truth."""
    size = size_for(shape, error) if error else 0.0
    true = truth_of(shape, size)
    held: dict[str, list[bool]] = {}
    widths, plain = [], []
    draws = Draws(args.problems, args.resamples)
    for seed in range(args.datasets):
        part = draw(seed, args.problems, shape, size)
        names = [*PERCENTILE, *GAPS] if seed < args.smooth else [*PERCENTILE, *GAPS[:-1]]
        measure = Measure(part, [FIGURES[name] for name in names], num_problems=args.problems)
        resample([measure], draws)
        intervals = {name: measure.interval(name) for name in names}
        by_percentile = {f"{name} by percentile": percentile(measure.draws(name)) for name in GAPS if name in names}
        for name, interval in {**intervals, **by_percentile}.items():
            assert interval is not None
            assert interval.low is not None
            assert interval.high is not None
            inside = interval.low <= true[name.removesuffix(" by percentile")] <= interval.high
            held.setdefault(name, []).append(inside)
        ece = intervals["ece"]
        held.setdefault("ece interval above the truth", []).append(ece.low > true["ece"])
        widths.append(ece.high - ece.low)
        plain.append(measure.values["ece"])
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
