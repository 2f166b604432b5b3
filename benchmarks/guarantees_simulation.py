"""Whether the promises of `surestep certify` hold, what they keep, and how the plain rules fail.

    python benchmarks/guarantees_simulation.py DATA_DIR [--draws 500] [--out FILE]

Shapes and labels are real: the chains of ProcessBench's GSM8K, the trees of PRM800K's phase 1 (`DATA_DIR/ProcessBench`,
`DATA_DIR/PRM800K`). Scores are synthetic: latent z, normal with mean ±d/2 for a right and a wrong step and variance 1,
of which 30% is shared within a problem; d is such that AUROC is 0.90, 0.75 or 0.65. A confidence is P(right | z), so it
is calibrated on average; `overconfident` doubles its logit. Each draw takes n problems to calibrate and as many new
ones, all with replacement, with fresh scores; cut-offs are the product's own (`surestep.guarantees`). `kept` is the
share of a problem's clean steps (right, and nothing wrong before) that is kept, averaged over problems that have one;
`kept_steps` the share of all clean steps. Fixed seeds, one core, minutes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surestep.data.datasets.prm800k import read_prm800k
from surestep.data.datasets.processbench import read_processbench
from surestep.data.records.reading_report import ReadReport
from surestep.guarantees import cutoff, cutoff_pac, order
from surestep.types import ReasoningTree

ALPHAS = (0.05, 0.1, 0.2)
AUROCS = {"good 0.90": 1.8124, "medium 0.75": 0.9539, "weak 0.65": 0.5449}
"""d for each AUROC: it is Φ(d / √2)."""
SHARED = 0.3
DELTA = 0.1


@dataclass
class Forest:
    """Problems with their nodes one after the other, parents before children.

    Legend: V nodes, G problems.

    Attributes:
        parent: global index of the node before, -1 for a first step.
        depth: from 0.
        is_wrong, is_clean, is_judged: of each node; clean: right, and nothing wrong before it.
        is_leaf: ends a solution.
        problem: number of the problem of each node.
        starts: first node of each problem.
    """

    parent: np.ndarray
    depth: np.ndarray
    is_wrong: np.ndarray
    is_clean: np.ndarray
    is_judged: np.ndarray
    is_leaf: np.ndarray
    problem: np.ndarray
    starts: np.ndarray

    @property
    def num_problems(self) -> int:
        return len(self.starts)

    def take(self, chosen: np.ndarray) -> Forest:
        """These problems, each as often as it is named."""
        sizes = np.diff(np.append(self.starts, len(self.parent)))[chosen]
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        shift = np.repeat(starts - self.starts[chosen], sizes)
        nodes = np.arange(sizes.sum()) - shift
        parent = self.parent[nodes]
        own = (self.depth, self.is_wrong, self.is_clean, self.is_judged, self.is_leaf)
        columns = [column[nodes] for column in own]
        return Forest(
            np.where(parent >= 0, parent + shift, -1), *columns, np.repeat(np.arange(len(chosen)), sizes), starts
        )

    def along(self, values: np.ndarray, combine: Callable[[Any, Any], Any]) -> np.ndarray:
        """Each node's value combined with those of all nodes before it on its path."""
        result = values.copy()
        for depth in range(1, int(self.depth.max()) + 1):
            at = np.flatnonzero(self.depth == depth)
            result[at] = combine(result[self.parent[at]], result[at])
        return result


def forest_of(trees: list[ReasoningTree], *, wrong_below: float = 0.5) -> Forest:
    """Of real trees; a step without a label counts as right and is in no figure of clean steps."""
    parent, depth, wrong, judged, leaf, problem, starts = ([] for _ in range(7))
    for number, tree in enumerate(trees):
        first = len(parent)
        starts.append(first)
        leaves = set(tree.leaves())
        for index, node in enumerate(tree.nodes):
            above = -1 if node.parent < 0 else first + node.parent
            parent.append(above)
            depth.append(0 if above < 0 else depth[above] + 1)
            wrong.append(node.confidence is not None and node.confidence < wrong_below)
            judged.append(node.confidence is not None)
            leaf.append(index in leaves)
            problem.append(number)
    columns = [np.array(one) for one in (parent, depth, wrong, judged, judged, leaf, problem, starts)]
    forest = Forest(*columns)
    has_wrong = forest.along(forest.is_wrong, np.logical_or)
    forest.is_clean = forest.is_judged & ~has_wrong
    return forest


def confidences(forest: Forest, d: float, random: np.random.Generator, *, sharpen: float = 1.0) -> np.ndarray:
    """A calibrated confidence of each node, shape (V,)."""
    shared = random.normal(0.0, np.sqrt(SHARED), forest.num_problems)[forest.problem]
    own = random.normal(0.0, np.sqrt(1.0 - SHARED), len(forest.problem))
    z = np.where(forest.is_wrong, -d / 2, d / 2) + shared + own
    right = 1.0 - forest.is_wrong[forest.is_judged].mean()
    return 1.0 / (1.0 + np.exp(-sharpen * (d * z + np.log(right / (1.0 - right)))))


def scored(forest: Forest, values: np.ndarray, score: str) -> np.ndarray:
    """g of each node."""
    return forest.along(values, np.minimum) if score == "min" else forest.along(np.log(values), np.add)


@dataclass
class Parts:
    """What is kept or not of each problem: one path, every path with its weight, or the whole tree.

    Attributes:
        R, weight, owner: critical value, weight and problem of each part.
        figures: at a cut-off: the summed share of clean steps kept, parts with a clean step, clean steps kept, clean
            steps, share with something kept; by weight.
    """

    R: np.ndarray
    weight: np.ndarray
    owner: np.ndarray
    figures: Callable[[float], tuple[float, ...]]

    def risk(self, c: float, num_problems: int) -> float:
        return float((self.weight * (c < self.R)).sum() / num_problems)


def paths(forest: Forest, g: np.ndarray, leaves: np.ndarray, weight: np.ndarray) -> Parts:
    """The solutions that end in `leaves`."""
    worst = forest.along(np.where(forest.is_wrong, g, -np.inf), np.maximum)
    clean = forest.along(forest.is_clean.astype(np.float64), np.add)[leaves]
    first = forest.along(np.where(forest.depth == 0, g, -np.inf), np.maximum)[leaves]

    def figures(c: float) -> tuple[float, ...]:
        kept = forest.along((forest.is_clean & (g > c)).astype(np.float64), np.add)[leaves]
        something = float((weight * (first > c)).sum() / weight.sum())
        has = clean > 0
        of_problems = (weight * kept)[has] @ (1.0 / clean[has]), weight[has].sum()
        return *map(float, of_problems), float(weight @ kept), float(weight @ clean), something

    return Parts(worst[leaves], weight, forest.problem[leaves], figures)


def chosen_paths(forest: Forest, g: np.ndarray) -> Parts:
    """The highest-scored solution of each problem."""
    leaves = np.flatnonzero(forest.is_leaf)
    best_last = leaves[np.lexsort((g[leaves], forest.problem[leaves]))]
    last = np.append(np.flatnonzero(np.diff(forest.problem[best_last])), len(best_last) - 1)
    return paths(forest, g, best_last[last], np.ones(forest.num_problems))


def random_paths(forest: Forest, g: np.ndarray) -> Parts:
    """Every solution with the weight 1 / those of its problem."""
    leaves = np.flatnonzero(forest.is_leaf)
    counts = np.bincount(forest.problem[leaves], minlength=forest.num_problems)
    return paths(forest, g, leaves, 1.0 / counts[forest.problem[leaves]])


def whole_trees(forest: Forest, g: np.ndarray) -> Parts:
    """Everything under each problem together."""
    R = np.maximum.reduceat(np.where(forest.is_wrong, g, -np.inf), forest.starts)
    highest = np.maximum.reduceat(g, forest.starts)

    def figures(c: float) -> tuple[float, ...]:
        clean = np.bincount(forest.problem[forest.is_clean], minlength=forest.num_problems)
        kept = np.bincount(forest.problem[forest.is_clean & (g > c)], minlength=forest.num_problems)
        has = clean > 0
        of_problems = (kept[has] / clean[has]).sum(), has.sum()
        return *map(float, of_problems), float(kept.sum()), float(clean.sum()), float((highest > c).mean())

    return Parts(R, np.ones(forest.num_problems), np.arange(forest.num_problems), figures)


PARTS = {"P1 highest-scored path": chosen_paths, "P2 random path": random_paths, "P3 whole tree": whole_trees}


class Cell:
    """Figures of one rule over draws."""

    def __init__(self) -> None:
        self.risks: list[float] = []
        self.sums = np.zeros(4)
        self.something: list[float] = []

    def add(self, new: Parts, c: float, num_problems: int) -> None:
        self.risks.append(new.risk(c, num_problems))
        *sums, something = new.figures(c)
        self.sums += sums
        self.something.append(something)

    def to_json(self) -> dict[str, float]:
        risk, something = float(np.mean(self.risks)), float(np.mean(self.something))
        return {
            "risk": risk,
            "se": float(np.std(self.risks) / np.sqrt(len(self.risks))),
            "kept": float(self.sums[0] / self.sums[1]),
            "kept_steps": float(self.sums[2] / self.sums[3]),
            "something": something,
            "risk_where_something": risk / something if something else 0.0,
        }


def simulate(base: Forest, kinds: list[str], *, n: int, d: float, draws: int, seed: int) -> dict[str, Any]:
    """All rules of one setting: rule name -> alpha -> figures."""
    cells: dict[tuple[str, float], Cell] = {}

    def cell(name: str, alpha: float) -> Cell:
        return cells.setdefault((name, alpha), Cell())

    for draw in range(draws):
        random = np.random.default_rng([seed, draw])
        forest = base.take(random.integers(0, base.num_problems, 2 * n))
        halves = forest.take(np.arange(n)), forest.take(np.arange(n, 2 * n))
        values = confidences(forest, d, random)
        split = int(forest.starts[n])
        for score in ("min", "product"):
            old, new = (
                scored(half, part, score) for half, part in zip(halves, (values[:split], values[split:]), strict=True)
            )
            for kind in kinds:
                calibration, fresh = PARTS[kind](halves[0], old), PARTS[kind](halves[1], new)
                finite = np.isfinite(calibration.R)
                R, w = calibration.R[finite], calibration.weight[finite]
                for alpha in ALPHAS:
                    cell(f"{kind}, {score}", alpha).add(fresh, cutoff(R, w, n, alpha), n)
                    if kind != "P2 random path" and score == "min":
                        cell(f"{kind}, min, (α, 0.1)", alpha).add(fresh, cutoff_pac(R, n, alpha, DELTA), n)
            naive_kind = kinds[-1]
            fresh = PARTS[naive_kind](halves[1], new)
            wrong = values[:split][halves[0].is_wrong]
            judged = int(halves[0].is_judged.sum())
            for alpha in ALPHAS:
                if score == "min":
                    cell("naive: steps exchangeable", alpha).add(
                        fresh, cutoff(wrong, np.ones(wrong.size), judged, alpha), n
                    )
                else:
                    cell("trust product ≥ 1−α, calibrated", alpha).add(fresh, np.log(1 - alpha), n)
        over = values**2 / (values**2 + (1 - values) ** 2)
        trusted = PARTS[kinds[-1]](halves[1], scored(halves[1], over[split:], "product"))
        for alpha in ALPHAS:
            cell("trust product ≥ 1−α, overconfident", alpha).add(trusted, np.log(1 - alpha), n)
    found: dict[str, Any] = {}
    for (name, alpha), one in cells.items():
        found.setdefault(name, {})[str(alpha)] = one.to_json()
    return found


def exact(base: Forest, *, draws: int, seed: int) -> dict[str, float]:
    """2,000 draws of 50 chains, `min` at α = 0.1: the risk against k/(n+1)."""
    n, alpha, risks = 50, 0.1, []
    for draw in range(draws):
        random = np.random.default_rng([seed, draw])
        forest = base.take(random.integers(0, base.num_problems, 2 * n))
        g = scored(forest, confidences(forest, AUROCS["medium 0.75"], random), "min")
        R = whole_trees(forest, g).R
        risks.append(float((R[n:] > cutoff(R[:n], np.ones(n), n, alpha)).mean()))
    return {
        "risk": float(np.mean(risks)),
        "se": float(np.std(risks) / np.sqrt(draws)),
        "k/(n+1)": order(alpha, n) / (n + 1),
    }


def missing(base: Forest, *, draws: int, seed: int, n: int = 200, alpha: float = 0.1) -> dict[str, Any]:
    """Labels of chains that are missing at random while calibrating: the true risk, by what they count as."""
    found: dict[str, Any] = {}
    for share in (0.1, 0.3):
        risks: dict[str, list[float]] = {"ignore": [], "wrong": []}
        for draw in range(draws):
            random = np.random.default_rng([seed, draw])
            forest = base.take(random.integers(0, base.num_problems, 2 * n))
            g = scored(forest, confidences(forest, AUROCS["medium 0.75"], random), "min")
            unseen = forest.is_judged & (random.random(len(g)) < share)
            R = whole_trees(forest, g).R
            for counts_as, lost in (
                ("ignore", forest.is_wrong & ~unseen),
                ("wrong", forest.is_wrong | unseen),
            ):
                seen = np.maximum.reduceat(np.where(lost, g, -np.inf), forest.starts)[:n]
                risks[counts_as].append(float((R[n:] > cutoff(seen, np.ones(n), n, alpha)).mean()))
        found[str(share)] = {
            name: {"risk": float(np.mean(one)), "se": float(np.std(one) / np.sqrt(draws))}
            for name, one in risks.items()
        }
    return found


def pooled(*, draws: int, seed: int, n: int = 200) -> dict[str, Any]:
    """Easy problems with 20 solutions, hard ones with 2, each half: pooling, the mean of each problem, one draw."""
    cells: dict[tuple[str, float], list[float]] = {}
    for draw in range(draws):
        random = np.random.default_rng([seed, draw])
        hard = random.random(2 * n) < 0.5
        counts = np.where(hard, 2, 20)
        owner = np.repeat(np.arange(2 * n), counts)
        shift = random.normal(0.0, np.sqrt(SHARED), 2 * n)[owner]
        wrong = random.random(owner.size) < np.where(hard, 0.7, 0.2)[owner]
        R = np.where(wrong, random.normal(0.0, np.sqrt(1 - SHARED), owner.size) + shift, -np.inf)
        old = owner < n
        one = np.concatenate([[0], np.cumsum(counts)[:-1]]) + random.integers(0, counts)
        first = one[:n]
        for alpha in ALPHAS:
            cuts = {
                "pooled as if exchangeable": cutoff(R[old], np.ones(old.sum()), int(old.sum()), alpha),
                "mean over each problem's": cutoff(R[old], 1.0 / counts[owner[old]], n, alpha),
                "one drawn a problem": cutoff(R[first], np.ones(n), n, alpha),
            }
            for name, c in cuts.items():
                lost = (1.0 / counts[owner] * (c < R))[~old].sum() / n
                cells.setdefault((name, alpha), []).append(float(lost))
    found: dict[str, Any] = {}
    for (name, alpha), risks in cells.items():
        found.setdefault(name, {})[str(alpha)] = {
            "risk": float(np.mean(risks)),
            "se": float(np.std(risks) / np.sqrt(draws)),
        }
    return found


def table(title: str, found: dict[str, dict[str, Any]], figure: str) -> str:
    """Rules down, AUROC across, the three α in each cell."""
    models = list(found)
    lines = [f"| {title} | {' | '.join(models)} |", f"|---|{'---|' * len(models)}"]
    for rule in found[models[0]]:
        row = [" / ".join(f"{found[m][rule][str(a)][figure]:.3f}" for a in ALPHAS) for m in models]
        lines.append(f"| {rule} | {' | '.join(row)} |")
    return "\n".join(lines)


def excess(found: dict[str, Any]) -> list[tuple[float, str]]:
    """(risk − α) in standard errors of every valid rule, largest first; marginal rules only."""
    cells = [
        ((values["risk"] - float(alpha)) / max(values["se"], 1e-9), f"{where}, {rule}, α {alpha}: {values['risk']:.4f}")
        for where, rules in found.items()
        for rule, by_alpha in rules.items()
        if rule.startswith("P")
        for alpha, values in by_alpha.items()
    ]
    return sorted(cells, reverse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    begun = time.perf_counter()
    chains = forest_of(list(read_processbench([args.data_dir / "ProcessBench" / "gsm8k.json"], report=ReadReport())))
    files = [args.data_dir / "PRM800K" / f"phase1_{part}.jsonl" for part in ("train", "test")]
    trees = forest_of(list(read_prm800k(files, report=ReadReport())))
    for name, forest in (("chains", chains), ("trees", trees)):
        wrong = np.maximum.reduceat(forest.is_wrong, forest.starts).mean()
        labels = forest.is_judged.sum() / forest.num_problems
        share = forest.is_wrong.sum() / forest.is_judged.sum()
        print(
            f"{name}: {forest.num_problems} problems, {labels:.1f} labels each, {share:.1%} of them wrong, "
            f"{wrong:.1%} of problems with a wrong step"
        )
    results: dict[str, Any] = {"draws": args.draws, "seed": args.seed, "chains": {}, "trees": {}}
    for n in (50, 200, 835):
        results["chains"][str(n)] = {
            model: simulate(chains, ["P3 whole tree"], n=n, d=d, draws=args.draws, seed=args.seed)
            for model, d in AUROCS.items()
        }
    results["trees"]["200"] = {
        model: simulate(trees, list(PARTS), n=200, d=d, draws=args.draws, seed=args.seed) for model, d in AUROCS.items()
    }
    results["pooled"] = pooled(draws=args.draws, seed=args.seed)
    results["missing"] = missing(chains, draws=args.draws, seed=args.seed)
    results["exact"] = exact(chains, draws=4 * args.draws, seed=args.seed)
    for shape in ("chains", "trees"):
        for n, found in results[shape].items():
            for figure in ("kept", "kept_steps", "risk", "risk_where_something"):
                print(f"\n{table(f'{shape}, n = {n}: {figure}', found, figure)}")
    print(f"\npooled: {json.dumps(results['pooled'], ensure_ascii=False, indent=1)}")
    print(f"missing labels: {json.dumps(results['missing'])}")
    print(f"exact: {results['exact']}")
    cells = {
        f"{s} n={n} {m}": rules for s in ("chains", "trees") for n, f in results[s].items() for m, rules in f.items()
    }
    largest = excess(cells)
    print(f"\n{len(largest)} valid cells; largest excess over α in standard errors:")
    for size, where in largest[:5]:
        print(f"  {size:+.2f}  {where}")
    print(f"{time.perf_counter() - begun:.0f} s")
    if args.out is not None:
        args.out.write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
