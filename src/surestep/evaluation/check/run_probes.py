"""Anti-hacking probes: how far changes that add nothing move a scorer's judgement of whole solutions.

For each sampled problem one solution and all its changed forms are scored as one tree, and the move of the solution's
score is averaged over problems, with an interval. Knows trees and a scorer; knows no model, and sets no bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from surestep.data.records.reading_report import ReadReport
from surestep.data.trees.identity import problem_key
from surestep.data.trees.tree_builder import TreeBuilder
from surestep.evaluation.check.probe_changes import PROBES, Chain, Step
from surestep.metrics.benchmarks.aggregation import AGGREGATIONS
from surestep.metrics.bootstrap.draws import DEFAULT_RESAMPLES, FEWEST_PROBLEMS, Draws
from surestep.metrics.bootstrap.interval import percentile
from surestep.metrics.columns import FloatArray
from surestep.scoring.protocol import Scorer
from surestep.scoring.score_split import confidences_by_tree, score_trees
from surestep.types import ROOT, ReasoningTree

DEFAULT_PROBLEMS = 50


@dataclass(frozen=True, slots=True)
class Move:
    """Changed score minus original score, over problems: the mean, and its 95 % interval (None below two problems)."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one probe came to.

    Attributes:
        name: a key of `PROBES`.
        moves: by aggregation; empty where no problem allowed the change.
        num_problems: problems measured.
        num_not_possible: problems whose solution does not allow the change.
        num_unscored: problems with a step beyond the scorer's limit.
    """

    name: str
    moves: dict[str, Move]
    num_problems: int
    num_not_possible: int
    num_unscored: int


@dataclass
class _Probed:
    """One problem's tree of all forms, and the path of each form in it."""

    tree: ReasoningTree
    original: list[int]
    paths: dict[str, list[int]] = field(default_factory=dict)


def sample_problems(trees: Sequence[ReasoningTree], count: int, *, seed: int) -> list[ReasoningTree]:
    """At most `count` trees with a step, drawn by seed, from each dataset in turn."""
    random = np.random.default_rng([seed, 1])
    queues: dict[str, list[ReasoningTree]] = {}
    for tree in trees:
        if tree.nodes:
            queues.setdefault(tree.dataset, []).append(tree)
    drawn = [[queue[index] for index in random.permutation(len(queue))] for queue in queues.values()]
    chosen = [tree for place in range(count) for queue in drawn for tree in queue[place : place + 1]]
    return chosen[:count]


def probe_scorer(
    scorer: Scorer,
    problems: Sequence[ReasoningTree],
    *,
    seed: int = 0,
    resamples: int = DEFAULT_RESAMPLES,
) -> list[ProbeResult]:
    """Every probe of `PROBES` on these problems.

    Args:
        scorer: what is probed.
        problems: labelled trees, as `sample_problems` draws them; one solution of each is used.
        seed: decides which solution, the shuffles and the draws.
        resamples: of the bootstrap over problems.
    """
    wrong: dict[str, list[Step]] = {}
    for tree in problems:
        wrong.setdefault(tree.dataset, []).extend(_wrong_steps(tree))
    probed = [_prepare(tree, wrong[tree.dataset], seed) for tree in problems]
    scores = confidences_by_tree(score_trees(scorer, [item.tree for item in probed]))
    return [_measure(name, probed, scores, seed=seed, resamples=resamples) for name in PROBES]


def _prepare(tree: ReasoningTree, wrong_of_dataset: Sequence[Step], seed: int) -> _Probed:
    # Seeded by the problem, so that a problem is changed alike whatever else was sampled.
    random = np.random.default_rng([seed, *problem_key(tree).encode()[:64]])
    chain = _choose_chain(tree, wrong_of_dataset, random)
    builder = TreeBuilder(tree.problem, id=tree.id, group=tree.group)
    original = _add(builder, chain.steps)
    paths = {
        name: _add(builder, changed)
        for name, change in PROBES.items()
        if (changed := change(chain, random)) is not None
    }
    return _Probed(replace(builder.build(ReadReport()), dataset=tree.dataset), original, paths)


def _choose_chain(tree: ReasoningTree, wrong_of_dataset: Sequence[Step], random: np.random.Generator) -> Chain:
    """A solution by seed; one without a wrong step where the tree has any, so that most probes can be made."""
    paths = [tree.path(leaf) for leaf in tree.leaves()]
    right = [path for path in paths if _is_right(tree, path)]
    candidates = right or paths
    path = candidates[int(random.integers(len(candidates)))]
    wrong = _wrong_steps(tree) or wrong_of_dataset
    steps = tuple((tree.nodes[index].text, tree.nodes[index].context) for index in path)
    return Chain(steps, bool(right), wrong[int(random.integers(len(wrong)))] if wrong else None)


def _is_right(tree: ReasoningTree, path: Sequence[int]) -> bool:
    labels = [tree.nodes[index].confidence for index in path]
    last = labels[-1]
    return last is not None and last > 0.5 and all(label is None or label >= 0.5 for label in labels)


def _wrong_steps(tree: ReasoningTree) -> list[Step]:
    return [(n.text, n.context) for n in tree.nodes if n.confidence is not None and n.confidence < 0.5]


def _add(builder: TreeBuilder, steps: Iterable[Step]) -> list[int]:
    """Where the steps stand in the tree; forms that begin alike share their nodes."""
    path: list[int] = []
    for text, context in steps:
        path.append(builder.add(text, path[-1] if path else ROOT, context=context))
    return path


def _measure(
    name: str,
    probed: Sequence[_Probed],
    scores: Sequence[Sequence[float | None]],
    *,
    seed: int,
    resamples: int,
) -> ProbeResult:
    moves: dict[str, list[float]] = {aggregation: [] for aggregation in AGGREGATIONS}
    not_possible = unscored = 0
    for item, values in zip(probed, scores, strict=True):
        path = item.paths.get(name)
        if path is None:
            not_possible += 1
            continue
        before = [value for index in item.original if (value := values[index]) is not None]
        after = [value for index in path if (value := values[index]) is not None]
        if len(before) < len(item.original) or len(after) < len(path):
            unscored += 1
            continue
        for aggregation, join in AGGREGATIONS.items():
            moves[aggregation].append(join(np.array(after)) - join(np.array(before)))
    number = len(moves["min"])
    found = {key: _move(np.array(values), seed, resamples) for key, values in moves.items()} if number else {}
    return ProbeResult(name, found, number, not_possible, unscored)


def _move(values: FloatArray, seed: int, resamples: int) -> Move:
    mean = float(values.mean())
    if values.size < FEWEST_PROBLEMS:
        return Move(mean, None, None)
    draws = Draws(values.size, resamples, seed).sums(values[:, None])[:, 0] / values.size
    interval = percentile(draws)
    return Move(mean, interval.low, interval.high)
