"""How often the intervals of `surestep benchmark` cover a truth that is known.

    python benchmarks/benchmark_intervals.py

Each simulation draws a data set from a known world, and asks whether its 95 % interval holds the world's own figure.
ProcessBench: 400 solutions of 300 problems, half wrong, found with 0.4, right ones left alone with 0.8; solutions of
one problem succeed together. Best-of-N: 300 problems of 8 candidates with a chance of being right of their own, scores
that tell a little; the truth is the mean over 40,000 such problems.
"""

from __future__ import annotations

import json

import numpy as np

from surestep.metrics.benchmarks.best_of_n import best_of_n, majority_vote
from surestep.metrics.benchmarks.first_error import first_error_figures, first_errors
from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.bootstrap.interval import percentile

SIMULATIONS, RESAMPLES, N = 500, 500, 4


def first_error_coverage() -> dict[str, float]:
    """Share of the simulations whose intervals hold the world's accuracies and F1."""
    truth = {"accuracy_erroneous": 0.4, "accuracy_correct": 0.8, "f1": 2 * 0.4 * 0.8 / 1.2}
    held = dict.fromkeys(truth, 0)
    for seed in range(SIMULATIONS):
        rng = np.random.default_rng(seed)
        problem = np.concatenate([np.arange(300), rng.permutation(300)[:100]])
        wrong = rng.random(400) < 0.5
        found, left = (rng.random(300) < 0.4)[problem], (rng.random(300) < 0.8)[problem]
        low, high = 0.2, 0.9
        steps = [
            [high, low if hit else high] if w else [high if ok else low]
            for w, hit, ok in zip(wrong, found, left, strict=True)
        ]
        made = first_errors(steps, np.where(wrong, 1, -1).tolist(), problem)
        intervals = first_error_figures(made, 0.5, resamples=RESAMPLES, seed=seed).section()["intervals"]
        for name, value in truth.items():
            held[name] += intervals[name]["low"] <= value <= intervals[name]["high"]
    return {name: count / SIMULATIONS for name, count in held.items()}


def problem(rng: np.random.Generator) -> tuple[float, float]:
    """Best-of-N and majority of one problem of the world."""
    correct = rng.random(8) < rng.beta(1, 1)
    answers = np.unique(np.where(correct, 0, rng.integers(1, 4, 8)), return_inverse=True)[1]
    scores = correct + rng.normal(0, 2, 8)
    return best_of_n(scores, correct, N), majority_vote(answers, correct, N)


def best_of_n_coverage() -> dict[str, float]:
    """Share of the simulations whose intervals hold the world's best-of-N and its difference to the majority vote."""
    rng = np.random.default_rng(0)
    world = np.array([problem(rng) for _ in range(40_000)])
    truth = {"best_of_n": world[:, 0].mean(), "minus_majority": (world[:, 0] - world[:, 1]).mean()}
    held = dict.fromkeys(truth, 0)
    for seed in range(SIMULATIONS):
        rng = np.random.default_rng([1, seed])
        table = np.array([problem(rng) for _ in range(300)])
        draws = Draws(len(table), RESAMPLES, seed).sums(table) / len(table)
        for name, values in (("best_of_n", draws[:, 0]), ("minus_majority", draws[:, 0] - draws[:, 1])):
            low, high, *_ = percentile(values)
            held[name] += low <= truth[name] <= high
    return {name: count / SIMULATIONS for name, count in held.items()}


if __name__ == "__main__":
    print(json.dumps({"processbench": first_error_coverage(), f"best of {N}": best_of_n_coverage()}, indent=2))
