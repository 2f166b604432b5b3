"""Do the monitor, selective use, shift test and audit keep what they promise, where the truth is known?

    python benchmarks/monitor_simulation.py [--draws 500] [--seed 0] [--out FILE]

Every draw has calibration problems of its own, drawn anew by a fixed seed. A step's evidence is normal, with unit
variance, of which a share `icc` is common to all steps of a problem; right and wrong steps stand so far apart that the
AUROC is as said, and the calibrated score is what Bayes makes of one step's evidence. Sharpened scores double the
evidence of a step, pessimistic ones lower the logit by 0.5. numpy alone; minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from surestep.guarantees import cutoff, order
from surestep.guarantees.monitoring import LowestStep, MixedRatio, Monitor, RunningProduct, conformal_e_value
from surestep.guarantees.monitoring.running_statistics import RunningStatistic, running_values
from surestep.guarantees.selective import SelectiveRule, cutoff_sequence
from surestep.guarantees.shift import LabelledAudit, ScoreMartingale

Row = dict[str, Any]
Scored = Callable[[np.ndarray], np.ndarray]
ALPHA = 0.1
RIGHT_SHARE = 0.9
PRIOR = math.log(RIGHT_SHARE / (1.0 - RIGHT_SHARE))


def calibrated(logit: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logit))


SCORES: dict[str, Scored] = {
    "calibrated": calibrated,
    "sharp x2": lambda logit: calibrated(2.0 * (logit - PRIOR) + PRIOR),
    "pessimistic": lambda logit: calibrated(logit - 0.5),
}


def logits(random: np.random.Generator, right: np.ndarray, auroc: float, icc: float, own: np.ndarray) -> np.ndarray:
    """Of steps `right`, (..., T); `own` (..., 1) is what the steps of a problem share."""
    apart = math.sqrt(2.0) * NormalDist().inv_cdf(auroc)
    noise = math.sqrt(icc) * own + math.sqrt(1.0 - icc) * random.standard_normal(right.shape)
    return apart * (apart * (right - 0.5) + noise) + PRIOR


def se(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(values.size))


# Section 6: the monitor


class SumOfRatios(MixedRatio):
    """Π LR_t: the mixture with everything put on a start at the first step."""

    def begin(self, shape: tuple[int, ...] = ()) -> np.ndarray:
        return np.zeros((2, *shape))

    def after(self, state: np.ndarray, score: np.ndarray) -> np.ndarray:
        sure = np.clip(score, 1e-12, 1.0 - 1e-12)
        ratio = np.log1p(-sure) - np.log(sure) + math.log(self.right_share / (1.0 - self.right_share))
        return state + ratio

    def value(self, state: np.ndarray) -> np.ndarray:
        return state[0]


RATIO = MixedRatio(right_share=RIGHT_SHARE, start_rate=0.1)
STATISTICS: dict[str, RunningStatistic] = {
    "mixed LR": RATIO,
    "lowest step": LowestStep(),
    "product": RunningProduct(),
    "Π LR": SumOfRatios(right_share=RIGHT_SHARE),
}
CELLS = (
    ("calibrated", 0.0, "mixed LR"),
    ("calibrated", 0.0, "lowest step"),
    ("calibrated", 0.3, "mixed LR"),
    ("calibrated", 0.3, "lowest step"),
    ("calibrated", 0.3, "product"),
    ("calibrated", 0.6, "Π LR"),
    ("calibrated", 0.6, "lowest step"),
    ("sharp x2", 0.3, "mixed LR"),
    ("pessimistic", 0.3, "Π LR"),
)


def watched(seed: int, count: int, steps: int, icc: float, scored: Scored, *, wrong: bool) -> tuple[np.ndarray, ...]:
    """Scores of solutions of as many problems, (count, steps), and the step from which each is wrong."""
    random = np.random.default_rng(seed)
    start = random.integers(0, steps, count) if wrong else np.full(count, steps)
    right = (np.arange(steps) < start[:, None]).astype(float)
    own = random.standard_normal((count, 1))
    return scored(logits(random, right, 0.9, icc, own)), start


def monitor_rows(draws: int, seed: int) -> Iterator[Row]:
    """False alarms and power, by the conformal threshold and by Ville's."""
    test, steps = 200, 16
    for number, (scores, icc, name) in enumerate(CELLS):
        statistic, scored = STATISTICS[name], SCORES[scores]
        row: Row = {"scores": scores, "icc": icc, "statistic": name}
        right, _ = watched(seed + 10 * number, draws * test, steps, icc, scored, wrong=False)
        wrong, start = watched(seed + 10 * number + 1, draws * test, steps, icc, scored, wrong=True)
        right_M, wrong_M = running_values(statistic, right), running_values(statistic, wrong)
        largest = right_M.max(axis=1).reshape(draws, test)
        later = np.where(np.arange(steps) >= start[:, None], wrong_M, -np.inf)
        if name in ("mixed LR", "Π LR"):
            row["ville"] = float((largest > math.log(1.0 / ALPHA)).mean())
            row["ville_power"] = float((wrong_M.max(axis=1) > math.log(1.0 / ALPHA)).mean())
        for n0 in (20, 50, 200):
            old, _ = watched(seed + 10 * number + 2 + n0, draws * n0, steps, icc, scored, wrong=False)
            old_T = running_values(statistic, old).max(axis=1).reshape(draws, n0)
            cut = np.array([cutoff(one, np.ones(n0), n0, ALPHA) for one in old_T])
            false = (largest > cut[:, None]).mean(axis=1)
            row[f"false_{n0}"], row[f"false_{n0}_se"] = float(false.mean()), se(false)
        above = wrong_M > np.repeat(cut, test)[:, None]
        row["power"] = float(above.any(axis=1).mean())
        late = later > np.repeat(cut, test)[:, None]
        found = late.any(axis=1)
        row["delay"] = float((late.argmax(axis=1) - start)[found].mean())
        yield row


def long_rows(draws: int, seed: int) -> Iterator[Row]:
    """Solutions longer than the calibrated ones: compared on and on, and by a monitor that stops promising."""
    test, n0, icc = 50, 200, 0.3
    for name in ("lowest step", "product", "mixed LR"):
        old, _ = watched(seed + 91, draws * n0, 8, icc, calibrated, wrong=False)
        old_T = running_values(STATISTICS[name], old).max(axis=1).reshape(draws, n0)
        cut = np.array([cutoff(one, np.ones(n0), n0, ALPHA) for one in old_T])
        for steps in (8, 16, 32):
            new, _ = watched(seed + 92, draws * test, steps, icc, calibrated, wrong=False)
            new_M = running_values(STATISTICS[name], new)
            on, until = (part.max(axis=1).reshape(draws, test) > cut[:, None] for part in (new_M, new_M[:, :8]))
            yield {"statistic": name, "steps": steps, "on_and_on": float(on.mean()), "as_built": float(until.mean())}


def e_value_row(draws: int, seed: int) -> Row:
    """The mean of the conformal e-value and how seldom it alarms as a test."""
    scores, _ = watched(seed + 71, draws * 51, 16, 0.3, calibrated, wrong=False)
    values = []
    for largest in running_values(RATIO, scores).max(axis=1).reshape(draws, 51).tolist():
        monitor = Monitor(ALPHA, RATIO, tuple(largest[1:]), (1.0,) * 50, 50, (16, 16))
        values.append(conformal_e_value(monitor, largest[0]))
    e = np.array(values)
    return {"mean": float(e.mean()), "se": se(e), "alarms": float((e >= 1.0 / ALPHA).mean())}


# Sections 7 and 8: solutions of problems


@dataclass(frozen=True)
class World:
    """Problems with N solutions each, of up to T steps.

    Attributes:
        harder: added to the log-odds of going wrong at a step.
        shift: added to every logit, in standard deviations of right steps' logits.
        blind: share of wrong steps that look like right ones.
    """

    harder: float = 0.0
    shift: float = 0.0
    blind: float = 0.0

    def draw(self, random: np.random.Generator, n: int, N: int) -> tuple[np.ndarray, np.ndarray]:
        """Lowest scores: of each whole solution, (n, N), and up to its first wrong step, −∞ if there is none."""
        T, auroc, icc = 14, 0.9, 0.3
        length = np.minimum(2 + random.poisson(3.5, (n, N)), T)
        hazard = 1.0 / (1.0 + np.exp(2.0 - self.harder - 0.5 * random.standard_normal((n, 1, 1))))
        is_wrong = random.random((n, N, T)) < hazard
        inside = np.arange(T) < length[..., None]
        wrong = np.logical_or.accumulate(is_wrong & inside, axis=2)
        seen = is_wrong & ~(random.random((n, N, T)) < self.blind)
        own = random.standard_normal((n, 1, 1))
        logit = logits(random, 1.0 - seen, auroc, icc, own)
        logit = logit + self.shift * math.sqrt(2.0) * NormalDist().inv_cdf(auroc)
        g = np.minimum.accumulate(np.where(inside, calibrated(logit), 1.0), axis=2)
        first = wrong.argmax(axis=2)
        critical = np.where(wrong.any(axis=2), np.take_along_axis(g, first[..., None], axis=2)[..., 0], -np.inf)
        return g[..., -1], critical


def picked(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values, index[:, None], axis=1)[:, 0]


def first_above(scores: np.ndarray, stop: float) -> np.ndarray:
    """The first solution with a score above the stop, else the best."""
    above = scores > stop
    return np.where(above.any(axis=1), above.argmax(axis=1), scores.argmax(axis=1))


def handed_out_by(
    g: np.ndarray, R: np.ndarray, new: np.ndarray, other: np.ndarray, stop: float
) -> dict[str, tuple[np.ndarray, float]]:
    """By each rule, which solution of the new problems is looked at, and the cut-off it must be above."""
    n = len(g)
    one = np.ones(n)
    best, early, new_best = g.argmax(axis=1), first_above(g, stop), new.argmax(axis=1)
    alone = cutoff(R[:, 0], one, n, ALPHA)
    chosen, wrong = picked(g, best), np.isfinite(picked(R, best))
    sequence = cutoff_sequence(other.max(axis=1), n, alpha=ALPHA, delta=0.1)
    rule = SelectiveRule.fit(chosen, wrong, sequence, alpha=ALPHA, delta=0.1)
    cuts = np.sort(chosen)
    shares = np.array([wrong[chosen > c].mean() if (chosen > c).any() else 0.0 for c in cuts])
    return {
        "naive: P2 cut-off, first of 8 that passes": (first_above(new, alone), alone),
        "best of 8, P1 on the chosen path": (new_best, cutoff(picked(R, best), one, n, ALPHA)),
        "early stop at a frozen score, P1 on its output": (
            first_above(new, stop),
            cutoff(picked(R, early), one, n, ALPHA),
        ),
        "P3 over all 8, best handed out": (new_best, cutoff(R.max(axis=1), one, n, ALPHA)),
        "P5, delta = 0.1": (new_best, rule.cutoff),
        "naive: least cut-off with share <= alpha": (new_best, float(cuts[np.flatnonzero(shares <= ALPHA)[0]])),
    }


def selective_rows(draws: int, seed: int) -> Iterator[Row]:
    """Handing out one of eight, or one of one, by each rule."""
    N, test = 8, 400
    world = World()
    other, other_R = world.draw(np.random.default_rng(seed + 5), 2000, N)
    frozen_stop = cutoff(other_R[:, 0], np.ones(2000), 2000, ALPHA / 4)
    sums: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for draw in range(draws):
        for n in (50, 200, 835):
            random = np.random.default_rng([seed, draw, n])
            g, R = world.draw(random, n, N)
            new, new_R = world.draw(random, test, N)
            for name, (index, cut) in handed_out_by(g, R, new, other, frozen_stop).items():
                out = picked(new, index) > cut
                wrong = out & np.isfinite(picked(new_R, index))
                sums.setdefault((n, name), []).append((float(wrong.mean()), float(out.mean())))
    for (n, name), values in sums.items():
        wrong_out, out = np.array(values).T
        share = wrong_out / np.maximum(out, 1e-12)
        yield {
            "n": n,
            "policy": name,
            "wrong_and_out": float(wrong_out.mean()),
            "se": se(wrong_out),
            "out": float(out.mean()),
            "wrong_share": float(wrong_out.sum() / max(out.sum(), 1e-12)),
            "draws_above_alpha": float((share > ALPHA).mean()),
        }


WORLDS = {
    "none": World(),
    "harder problems": World(harder=0.8),
    "scores +0.5 sd": World(shift=0.5),
    "scores -0.5 sd (harmless)": World(shift=-0.5),
    "blind to half of the errors": World(blind=0.5),
    "harder and blind": World(harder=0.8, blind=0.5),
}


def shift_rows(draws: int, seed: int) -> Iterator[Row]:
    """The martingale on scores and the labelled audit, where something changes after certifying."""
    n = m = 200
    for name, world in WORLDS.items():
        risks, warned, audited = [], [], []
        for draw in range(draws):
            g, R = (part[:, 0] for part in World().draw(np.random.default_rng([seed, draw, 1]), n, 1))
            new, new_R = (part[:, 0] for part in world.draw(np.random.default_rng([seed, draw, 2]), m, 1))
            cut = cutoff(R, np.ones(n), n, ALPHA)
            loss = (new_R > cut).astype(float)
            martingale, audit = ScoreMartingale(tuple(g.tolist()), seed=draw), LabelledAudit(order(ALPHA, n), n)
            for score, one in zip(new.tolist(), loss.tolist(), strict=True):
                martingale.add(score)
                audit.add(one)
            risks.append(loss.mean())
            warned.append(martingale.warns)
            audited.append(audit.warns)
        risk = np.array(risks)
        yield {
            "change": name,
            "risk": float(risk.mean()),
            "se": se(risk),
            "martingale": float(np.mean(warned)),
            "audit": float(np.mean(audited)),
        }


def table(rows: list[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        cells = [row.get(name, "") for name in names]
        lines.append("| " + " | ".join(f"{c:.3f}" if isinstance(c, float) else str(c) for c in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    args = parser.parse_args()
    tables = {
        "monitor": list(monitor_rows(args.draws, args.seed)),
        "longer solutions": list(long_rows(args.draws, args.seed)),
        "conformal e-value": [e_value_row(80 * args.draws, args.seed)],
        "selective use": list(selective_rows(args.draws, args.seed)),
        "shift": list(shift_rows(args.draws, args.seed)),
    }
    for name, rows in tables.items():
        print(f"\n## {name}\n\n{table(rows)}", flush=True)
    if args.out is not None:
        args.out.write_text(json.dumps(tables, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
