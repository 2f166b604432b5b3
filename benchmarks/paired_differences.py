"""How often the interval of a paired difference covers the truth, and what 100,000 steps cost.

    python benchmarks/paired_differences.py [--simulations 300] [--resamples 400]

Two scorers of the same problems, whose steps share an effect of their problem: one says the true probability, the other
is off by an error that is fixed within a problem. Where their errors are of equal size and opposite sign, the true
difference of every symmetric figure is 0. The truth of the others is the figure on 400,000 problems. JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from surestep.metrics import Difference, compute_figures, paired_differences
from surestep.metrics.bootstrap.draws import Draws
from surestep.scored import ScoredSteps

STEPS = 5
FIGURES = ("mse", "nll", "ece", "auroc", "average_precision_error")

Made = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def make(random: np.random.Generator, num_problems: int, noise: float) -> Made:
    """Confidences of both scorers, labels and problems; equal scorers with independent errors where noise is 0."""
    problem = np.repeat(np.arange(num_problems), STEPS)
    effect = np.repeat(random.normal(0, 0.2, num_problems), STEPS)
    truth = np.clip(0.65 + effect + random.normal(0, 0.1, problem.size), 0.03, 0.97)
    label = (random.random(problem.size) < truth).astype(float)
    if noise:
        error = np.repeat(random.choice([-noise, noise], num_problems), STEPS)
        return truth, np.clip(truth + error, 0, 1), label, problem
    first, second = (np.clip(truth + random.normal(0, 0.1, problem.size), 0, 1) for _ in range(2))
    return first, second, label, problem


def true_differences(noise: float) -> dict[str, float]:
    """What each figure's difference (second minus first) tends to."""
    if not noise:
        return dict.fromkeys(FIGURES, 0.0)
    first, second, label, _ = make(np.random.default_rng(99), 400_000, noise)
    one, two = (compute_figures(p, label, names=FIGURES).values for p in (first, second))
    return {name: float(two[name] or 0.0) - float(one[name] or 0.0) for name in FIGURES}


def compare(names: Sequence[str], made: Made, *, resamples: int = 1000, seed: int = 0) -> dict[str, Difference]:
    """The second scorer minus the first."""
    first, second, label, problem = made
    steps = ScoredSteps.of_columns(second, label, problem=problem)
    draws = Draws(steps.num_problems, resamples, seed)
    return paired_differences(names, steps, steps.with_confidence(first), draws=draws)


def coverage(noise: float, num_problems: int, simulations: int, resamples: int) -> dict[str, dict[str, float]]:
    """Share of simulations whose interval covers the truth, and share that calls the difference real."""
    truth = true_differences(noise)
    random = np.random.default_rng([int(noise * 1000), num_problems])
    covered, real = dict.fromkeys(FIGURES, 0), dict.fromkeys(FIGURES, 0)
    for number in range(simulations):
        first, second, label, problem = make(random, num_problems, noise)
        differences = compare(FIGURES, (first, second, label, problem), resamples=resamples, seed=number)
        for name, found in differences.items():
            assert found.low is not None
            assert found.high is not None
            covered[name] += found.low <= truth[name] <= found.high
            real[name] += bool(found.is_real)
    return {
        name: {
            "truth": round(truth[name], 5),
            "covered": covered[name] / simulations,
            "called_real": real[name] / simulations,
        }
        for name in FIGURES
    }


def times() -> dict[str, float]:
    """CPU seconds for one difference with 1,000 resamples of 100,000 steps."""
    made = make(np.random.default_rng(1), 20_000, 0.1)
    found = {}
    for name in (*FIGURES, "ece_equal_mass", "r2"):
        began = time.process_time()
        compare([name], made)
        found[name] = round(time.process_time() - began, 2)
    return found


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=300)
    parser.add_argument("--resamples", type=int, default=400)
    args = parser.parse_args()
    result = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cores": os.cpu_count(),
        "simulations": args.simulations,
        "resamples": args.resamples,
        "cpu_seconds_for_100000_steps": times(),
        "coverage": {
            f"noise {noise}, {number} problems": coverage(noise, number, args.simulations, args.resamples)
            for noise in (0.0, 0.05, 0.2)
            for number in (100, 500)
        },
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
