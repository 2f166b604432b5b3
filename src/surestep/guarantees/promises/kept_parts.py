"""The three promises about what is kept: of the solution handed out, of a random one, of a whole tree.

Legend: T steps of a solution, n problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surestep.arrays import BoolArray, FloatArray, IntArray
from surestep.counted import counted
from surestep.guarantees.critical_values import (
    CriticalValues,
    Judging,
    Solution,
    of_path,
    of_solutions,
    of_tree,
    solutions_of,
)
from surestep.guarantees.cutoff import EVERYTHING_KEPT, leave_one_out_cutoffs
from surestep.guarantees.problems import ScoredProblem, ScoredTree
from surestep.guarantees.promises.promise import Promise, Rule, Use, allowed_loss, fitted_cutoff, shares
from surestep.guarantees.seeded_draws import drawn_number
from surestep.guarantees.terms import Terms

FEWEST_FOR_THE_MEAN = 5.0
"""α (n + 1) from which the mean over a problem's solutions keeps more than one drawn solution does."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A set of steps that is kept or not, with its weight within its problem.

    Attributes:
        g: scores, falling along each path.
        loss: how wrong each step is, in [0, 1].
        is_clean: a right step with no wrong one before it.
    """

    g: FloatArray
    loss: FloatArray
    is_clean: BoolArray
    weight: float = 1.0


def _of_solution(tree: ScoredTree, path: IntArray, judging: Judging, weight: float = 1.0) -> _Part:
    g, loss = judging.scores(tree)[path], judging.losses(tree.label[path])
    wrong = _wrong(tree.label[path], judging)
    return _Part(g, loss, ~np.isnan(tree.label[path]) & (np.cumsum(wrong) == 0), weight)


def _wrong(label: FloatArray, judging: Judging) -> BoolArray:
    found: BoolArray = label < (1.0 if judging.loss == "soft" else judging.wrong_below)
    return found


def _of_trees(trees: Sequence[ScoredTree], judging: Judging) -> _Part:
    if not trees:
        return _Part(np.zeros(0), np.zeros(0), np.zeros(0, np.bool_))
    clean = []
    for tree in trees:
        right = ~_wrong(tree.label, judging)
        for node, before in enumerate(tree.parent.tolist()):
            right[node] &= before < 0 or right[before]
        clean.append(right & ~np.isnan(tree.label))
    return _Part(
        np.concatenate([judging.scores(tree) for tree in trees]),
        np.concatenate([judging.losses(tree.label) for tree in trees]),
        np.concatenate(clean),
    )


def _rule(
    parts: Sequence[Sequence[_Part]],
    critical: CriticalValues,
    chosen: Sequence[_Part],
    counts: Sequence[int],
    terms: Terms,
    *,
    is_drawn: bool = False,
) -> Rule:
    """The rule from critical values, with figures of `parts` (of each problem) at its left-out cut-off.

    `chosen` has one solution of each problem, and `counts` says of how many.
    """
    k, cutoff = fitted_cutoff(critical, terms)
    _, allowed = allowed_loss(terms, critical.n - 1)
    left_out = leave_one_out_cutoffs(critical.values, critical.weights, critical.problem, critical.n, allowed)
    solutions = [
        (part, float(c)) for of_problem, c in zip(parts, left_out, strict=True) for part in of_problem if part.g.size
    ]
    right = [(part.g[part.is_clean], part.weight, c) for part, c in solutions]
    kept = {
        "right_steps": shares([(weight * (g > c).sum(), weight * g.size) for g, weight, c in right]),
        "something": shares([(part.weight * (part.g > c).any(), part.weight) for part, c in solutions]),
        "everything": shares([(part.weight * (part.g > c).all(), part.weight) for part, c in solutions]),
    }
    rule = Rule(critical, int(np.unique(critical.problem).size), k, cutoff)
    risk = rule.expected_risk(terms)
    if cutoff == EVERYTHING_KEPT and critical.n:
        risk = float(critical.weights.sum()) / critical.n
    kept["wrong_where_something"] = min(1.0, risk / kept["something"]) if kept["something"] else None
    lengths = [part.g.size for part in chosen]
    is_right = [part for part in chosen if part.g.size and not part.loss.any()]
    return Rule(
        critical,
        rule.num_wrong,
        k,
        cutoff,
        kept=kept,
        clean_scores=[float(part.g[-1]) for part in is_right if np.isfinite(part.g[-1])],
        reference_scores=[float(part.g[-1]) for part in chosen if part.g.size and np.isfinite(part.g[-1])],
        facts={
            "solutions": [min(counts, default=0), max(counts, default=0)],
            "steps": [min(lengths, default=0), max(lengths, default=0)],
            "is_drawn": is_drawn,
        },
    )


def _judged(problem: ScoredProblem, judging: Judging) -> list[Solution]:
    return [one for one in solutions_of(problem) if _is_judged(one, judging)]


def _is_judged(solution: Solution, judging: Judging) -> bool:
    """Whether the labels say something of it: where nobody judged a step, right and wrong look alike."""
    tree, path = solution
    return judging.unlabelled == "wrong" or not np.isnan(tree.label[path]).all()


def chosen_rule(problems: Sequence[ScoredProblem], terms: Terms) -> Rule:
    """P1: the kept part of the one solution that the policy hands out."""
    judging = terms.judging
    chosen: list[Solution] = []
    counts: list[int] = []
    for problem in problems:
        one = terms.taken(problem)
        if one is not None and _is_judged(one, judging):
            chosen.append(one)
            count = len(solutions_of(problem))
            counts.append(min(count, terms.most or count))
    parts = [_of_solution(*one, judging) for one in chosen]
    critical = CriticalValues.of([of_path(*one, judging) for one in chosen])
    return _rule([[part] for part in parts], critical, parts, counts, terms)


def random_rule(problems: Sequence[ScoredProblem], terms: Terms) -> Rule:
    """P2: the kept part of a solution drawn evenly: the mean over each problem's, or one drawn where they are few."""
    judging = terms.judging
    judged = [(problem, found) for problem in problems if (found := _judged(problem, judging))]
    parts = [[_of_solution(*one, judging, 1.0 / len(found)) for one in found] for _, found in judged]
    drawn = [found[drawn_place(problem, len(found), terms.seed)] for problem, found in judged]
    is_drawn = terms.delta is not None or terms.alpha * (len(judged) + 1) < FEWEST_FOR_THE_MEAN
    pools = [[one] for one in drawn] if is_drawn else [found for _, found in judged]
    critical = CriticalValues.of([of_solutions(pool, judging) for pool in pools])
    chosen = [_of_solution(*one, judging) for one in drawn]
    return _rule(parts, critical, chosen, [len(found) for _, found in judged], terms, is_drawn=is_drawn)


def drawn_place(problem: ScoredProblem, count: int, seed: int) -> int:
    """Which solution is drawn: by the problem's own key, so that the order of problems changes nothing."""
    return drawn_number(seed, problem.key) % count


def tree_rule(problems: Sequence[ScoredProblem], terms: Terms) -> Rule:
    """P3: no kept step of anything under the problem."""
    judged = [problem for problem in problems if _judged(problem, terms.judging)]
    parts = [[_of_trees(problem.trees, terms.judging)] for problem in judged]
    every = [solutions_of(problem) for problem in judged]
    chosen = [_of_solution(*one, terms.judging) for problem in judged if (one := terms.taken(problem)) is not None]
    critical = CriticalValues.of([of_tree(problem, terms.judging) for problem in judged])
    return _rule(parts, critical, chosen, [len(found) for found in every], terms)


def _covers_chosen(use: Use, policy: str | None, count: int, terms: Terms, rule: Rule) -> str:
    own = terms.handed_out_by
    if policy == own.id:
        return ""
    if not own.takes_the_best_of_all:
        return f"it is for {own.id}, and for no other choice"
    few, many = rule.facts["solutions"]
    if many <= 1:
        return "" if use == "solution" else "it is for the only solution of a problem, not for the best of several"
    if use == "solution":
        return f"it is for the best of {few} to {counted(many, 'solution')} by {terms.policy}, not for one as it is"
    if policy != terms.policy:
        return f"it is for the best by {terms.policy}, not by {policy}"
    return "" if few <= count <= many else f"it is for the best of {few} to {counted(many, 'solution')}, not of {count}"


def _covers_random(use: Use, policy: str | None, count: int, terms: Terms, rule: Rule) -> str:
    return "" if use == "solution" else "it is for a random solution, not for one that was chosen"


def _covers_tree(use: Use, policy: str | None, count: int, terms: Terms, rule: Rule) -> str:
    many = rule.facts["solutions"][1]
    return "" if count <= many else f"it is for trees of at most {counted(many, 'solution')}, not {count}"


CHOSEN = Promise("chosen", "chosen path", "at most {alpha} of problems keep a wrong step", chosen_rule, _covers_chosen)
RANDOM = Promise(
    "random", "random solution", "at most {alpha} of solutions keep a wrong step", random_rule, _covers_random
)
TREE = Promise("tree", "whole tree", "at most {alpha} of trees keep any wrong step", tree_rule, _covers_tree)
