"""Anti-hacking probes: how far changes that add nothing move a scorer's judgement of whole solutions.

For each sampled problem one solution and all its changed forms are scored as one tree, and the move of the solution's
score is averaged over problems, with an interval. Knows trees and a scorer; knows no model, and sets no bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from surestep.data.trees.identity import problem_key
from surestep.evaluation.check.probe_changes import PROBES
from surestep.evaluation.hackability.perturbation import Chain, Perturbation, Step, perturb
from surestep.evaluation.hackability.score_forms import Forms, ProblemForms, ScoredForms, score_forms
from surestep.metrics.benchmarks.aggregation import AGGREGATIONS
from surestep.metrics.bootstrap.draws import DEFAULT_RESAMPLES, FEWEST_PROBLEMS, Draws, counts_of
from surestep.metrics.bootstrap.interval import percentile
from surestep.metrics.columns import FloatArray
from surestep.scoring.protocol import Scorer
from surestep.types import ReasoningTree

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
        name: a key of `PERTURBATIONS`.
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


@dataclass(frozen=True)
class Probed:
    """Problems whose solutions were scored as written and under each perturbation.

    Attributes:
        judged: of each problem, one solution: a right one where it has any.
        wrong: a solution with a step labelled wrong, by the number of its problem: another one where the problem has
            one, and the judged one itself where it is wrong.
        is_right: whether the judged solution of each problem is right.
        num_steps: steps scored.
    """

    judged: list[ScoredForms]
    wrong: dict[int, ScoredForms]
    is_right: list[bool]
    num_steps: int


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
    perturbations: Mapping[str, Perturbation] = PROBES,
    *,
    seed: int = 0,
    resamples: int = DEFAULT_RESAMPLES,
) -> list[ProbeResult]:
    """Every one of the perturbations on these problems.

    Args:
        scorer: what is probed.
        problems: labelled trees, as `sample_problems` draws them; one solution of each is used.
        perturbations: by name.
        seed: decides which solution, what a perturbation draws, and the resamples.
        resamples: of the bootstrap over problems.
    """
    probed = score_probed(scorer, problems, perturbations, seed=seed)
    return probe_results(probed, perturbations, seed=seed, resamples=resamples)


def score_probed(
    scorer: Scorer,
    problems: Sequence[ReasoningTree],
    perturbations: Mapping[str, Perturbation],
    *,
    seed: int,
    with_wrong: bool = False,
) -> Probed:
    """Score one solution of each problem in all its forms; `with_wrong`: and a wrong solution, where there is one."""
    steps: dict[str, list[Step]] = {}
    for tree in problems:
        steps.setdefault(tree.dataset, []).extend(_wrong_steps(tree))
    chains, subjects = [], []
    for tree in problems:
        # Seeded by the problem, so that a problem is changed alike whatever else was sampled.
        key = problem_key(tree).encode()[:64]
        random = np.random.default_rng([seed, *key])
        found = [_choose_chain(tree, steps[tree.dataset], random)]
        solutions = [Forms(found[0].steps, perturb(found[0], perturbations, random))]
        if with_wrong and not found[0].has_error:
            random = np.random.default_rng([seed, 1, *key])
            if (wrong := _choose_wrong(tree, random)) is not None:
                found.append(wrong)
                solutions.append(Forms(wrong.steps, perturb(wrong, perturbations, random)))
        chains.append(found)
        subjects.append(ProblemForms(tree.problem, solutions, tree.id, tree.group, tree.dataset))
    scored, num_steps = score_forms(scorer, subjects)
    return Probed(
        [forms[0] for forms in scored],
        {number: forms[-1] for number, forms in enumerate(scored) if chains[number][-1].has_error},
        [found[0].is_right for found in chains],
        num_steps,
    )


def probe_results(
    probed: Probed, names: Iterable[str], *, seed: int, resamples: int = DEFAULT_RESAMPLES
) -> list[ProbeResult]:
    """How far each perturbation moves the judged solutions."""
    return [_measure(name, probed.judged, seed=seed, resamples=resamples) for name in names]


def _choose_chain(tree: ReasoningTree, wrong_of_dataset: Sequence[Step], random: np.random.Generator) -> Chain:
    """A solution by seed; one without a wrong step where the tree has any, so that most probes can be made."""
    paths = [tree.path(leaf) for leaf in tree.leaves()]
    right = [path for path in paths if _is_right(tree, path)]
    candidates = right or paths
    path = candidates[int(random.integers(len(candidates)))]
    wrong = _wrong_steps(tree) or wrong_of_dataset
    return _chain(tree, path, bool(right), wrong[int(random.integers(len(wrong)))] if wrong else None)


def _choose_wrong(tree: ReasoningTree, random: np.random.Generator) -> Chain | None:
    """A solution by seed with a step labelled wrong."""
    chains = [chain for leaf in tree.leaves() if (chain := _chain(tree, tree.path(leaf), False, None)).has_error]
    return chains[int(random.integers(len(chains)))] if chains else None


def _chain(tree: ReasoningTree, path: Sequence[int], is_right: bool, wrong: Step | None) -> Chain:
    nodes = [tree.nodes[index] for index in path]
    return Chain(
        tuple((node.text, node.context) for node in nodes), is_right, wrong, tuple(node.confidence for node in nodes)
    )


def _is_right(tree: ReasoningTree, path: Sequence[int]) -> bool:
    labels = [tree.nodes[index].confidence for index in path]
    last = labels[-1]
    return last is not None and last > 0.5 and all(label is None or label >= 0.5 for label in labels)


def _wrong_steps(tree: ReasoningTree) -> list[Step]:
    return [(n.text, n.context) for n in tree.nodes if n.confidence is not None and n.confidence < 0.5]


def _measure(name: str, solutions: Sequence[ScoredForms], *, seed: int, resamples: int) -> ProbeResult:
    moves: dict[str, list[float]] = {aggregation: [] for aggregation in AGGREGATIONS}
    not_possible = unscored = 0
    for forms in solutions:
        if name in forms.not_possible:
            not_possible += 1
            continue
        before, after = forms.original, forms.changed[name]
        if before is None or after is None:
            unscored += 1
            continue
        for aggregation, join in AGGREGATIONS.items():
            moves[aggregation].append(join(after) - join(before))
    number = len(moves["min"])
    found = {key: _move(np.array(values), seed, resamples) for key, values in moves.items()} if number else {}
    return ProbeResult(name, found, number, not_possible, unscored)


def _move(values: FloatArray, seed: int, resamples: int) -> Move:
    mean = float(values.mean())
    if values.size < FEWEST_PROBLEMS:
        return Move(mean, None, None)
    draws = (counts_of(Draws(values.size, resamples, seed)) @ values[:, None])[:, 0] / values.size
    interval = percentile(draws)
    return Move(mean, interval.low, interval.high)
