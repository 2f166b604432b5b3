"""What each calibration map, each way to choose one and each isotonic clip costs on new problems whose truth is known.

    python benchmarks/calibration_maps.py OUT.json --repeats 30

Steps belong to problems of differing difficulty; labels are drawn from the true confidence, and the model reports a
distortion of it. Maps are fitted on G problems and measured on 2,000 others: the figure is the NLL above that of the
true confidence itself, in thousandths of a nat a step, the mean over the repeats.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from surestep.calibration import MAPS, CalibrationData, Isotonic, assign_folds, choose_map
from surestep.calibration.choose import TIE
from surestep.calibration.gain import FloatArray, changes
from surestep.calibration.maps.isotonic import pool_adjacent_violators
from surestep.calibration.maps.logistic_fit import clipped, logit, sigmoid
from surestep.metrics import nll

STEPS_EACH = 20
NEW_PROBLEMS = 2000

DISTORTIONS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "none": lambda p: p,
    "temperature 1.3": lambda p: sigmoid(1.3 * logit(p)),
    "temperature 2": lambda p: sigmoid(2.0 * logit(p)),
    "temperature 2, shift 1": lambda p: sigmoid(2.0 * logit(p) + 1.0),
    "square root": lambda p: clipped(p) ** 0.5,
    "steps": lambda p: 0.5 + 0.45 * np.tanh(8.0 * (p - 0.5)) + 0.05 * (p - 0.5),
    "waves": lambda p: np.clip(p + 0.06 * np.sin(4.0 * np.pi * p), 0.0, 1.0),
}
CLIPS: dict[str, Callable[[int], float]] = {
    "none": lambda n: 0.0,
    "1 / (n + 2)": lambda n: 1.0 / (n + 2.0),
    "5 / n": lambda n: 5.0 / n,
    "1 / (2 (sqrt n + 1))": lambda n: 0.5 / (n**0.5 + 1.0),
}


def draw(num_problems: int, seed: int, distort: Callable[[FloatArray], FloatArray]) -> tuple[CalibrationData, float]:
    """Steps, and the NLL of their true confidence."""
    random = np.random.default_rng(seed)
    problem = np.repeat(np.arange(num_problems), STEPS_EACH)
    true = sigmoid(random.normal(0.5, 1.0, num_problems)[problem] + random.normal(0.0, 1.5, len(problem)))
    label = (random.random(len(problem)) < true).astype(np.float64)
    data = CalibrationData(distort(true), label, problem, np.zeros(len(problem), np.int64), ("made",))
    return data, nll(true, label, np.ones(len(problem)))


def isotonic_with(clip: float, data: CalibrationData) -> Isotonic:
    """The isotonic map of `data` with another clip."""
    points, place = np.unique(data.confidence, return_inverse=True)
    mass = np.bincount(place).astype(np.float64)
    values = pool_adjacent_violators(np.bincount(place, data.label) / mass, mass)
    return Isotonic(tuple(points), tuple(np.clip(values, clip, 1.0 - clip)), clip)


def choices(data: CalibrationData) -> dict[str, str]:
    """Which map each rule takes."""
    folds = assign_folds(data)
    choice = choose_map(data, folds)
    scores, held_out = choice.scores, choice.held_out
    best = min(scores, key=lambda name: scores[name])

    def is_close(name: str) -> bool:
        change = changes(held_out[name], held_out[best], data, folds)["nll"]
        return name == best or -change.rise <= change.error

    tied = next(name for name in MAPS if scores[name] <= scores[best] + TIE)
    change = changes(held_out["identity"], held_out[tied], data, folds)["nll"]
    close = [name for name in MAPS if is_close(name) and scores[name] <= scores["identity"]]
    return {
        "least NLL": best,
        "least NLL, ties to the simpler": tied,
        "the same, or none within one standard error": tied if -change.rise > change.error else "identity",
        "simplest within one standard error": close[0],
        "accepted by NLL, Brier score and ECE (the product's)": choice.chosen.kind,
    }


def measure(num_problems: int, name: str, repeats: int) -> dict[str, dict[str, float]]:
    """Mean excess NLL by map, by rule and by clip."""
    new, best_possible = draw(NEW_PROBLEMS, 10**6, DISTORTIONS[name])

    def excess(confidence: FloatArray) -> float:
        return 1000.0 * (nll(confidence, new.label, new.weights) - best_possible)

    rows: dict[str, dict[str, list[float]]] = {"map": {}, "rule": {}, "clip": {}}
    for seed in range(repeats):
        data, _ = draw(num_problems, seed, DISTORTIONS[name])
        of_map = {
            kind: excess(entry.fit(data.confidence, data.label, data.weights).apply(new.confidence))
            for kind, entry in MAPS.items()
        }
        found = {
            "map": of_map,
            "rule": {rule: of_map[kind] for rule, kind in choices(data).items()},
            "clip": {
                clip: excess(isotonic_with(f(len(data)), data).apply(new.confidence)) for clip, f in CLIPS.items()
            },
        }
        for group, values in found.items():
            for key, value in values.items():
                rows[group].setdefault(key, []).append(value)
    return {group: {key: float(np.mean(v)) for key, v in values.items()} for group, values in rows.items()}


def main() -> None:
    """Measure all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--repeats", type=int, default=30)
    args = parser.parse_args()
    results = []
    for num_problems in (12, 40, 150, 600):
        for name in DISTORTIONS:
            results.append({"problems": num_problems, "distortion": name, **measure(num_problems, name, args.repeats)})
            print(json.dumps(results[-1]), flush=True)
    args.out.write_text(json.dumps({"repeats": args.repeats, "results": results}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
