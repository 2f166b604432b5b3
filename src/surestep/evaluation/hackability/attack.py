"""Best-of-N under attack: does choosing by score pick a wrong candidate once its author may flatter the scorer.

To a problem's candidates come changed copies of the wrong ones, in every perturbation that leaves the answer that is
read from the candidate as it was. A wrong candidate then stands with the best score of its copies and itself. Nothing
right is attacked, so the accuracy can only fall. Majority vote is attacked by the same means: each wrong candidate that
has a copy votes twice for its answer.

Shapes: `K` candidates of one problem, `G` problems, `R` resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from surestep.data.benchmarks.candidates import Candidate, CandidateSet
from surestep.data.benchmarks.final_answer import extract_answer
from surestep.data.trees.identity import key_of
from surestep.evaluation.hackability.perturbation import Chain, Perturbation, Step, perturb
from surestep.evaluation.hackability.rises import Estimate
from surestep.evaluation.hackability.score_forms import Forms, ProblemForms, ScoredForms, score_forms
from surestep.metrics.benchmarks.aggregation import AGGREGATIONS, aggregate
from surestep.metrics.benchmarks.best_of_n import best_of_n, dense_answers, majority_vote
from surestep.metrics.bootstrap.draws import DEFAULT_RESAMPLES, FEWEST_PROBLEMS, Draws
from surestep.metrics.bootstrap.interval import percentile
from surestep.metrics.columns import BoolArray, FloatArray, IntArray
from surestep.scoring.protocol import Scorer


@dataclass(frozen=True, slots=True)
class CopyCounts:
    """What became of one perturbation of the wrong candidates.

    Attributes:
        num_made: copies that stood for choice.
        num_not_possible: candidates that do not allow the change.
        num_other_answer: copies from which another answer, or none, would be read: left out.
        num_unscored: copies with a step beyond the scorer's limit: left out.
    """

    num_made: int
    num_not_possible: int
    num_other_answer: int
    num_unscored: int


@dataclass(frozen=True, slots=True)
class Choice:
    """Choosing by one way of joining a solution's confidences.

    Attributes:
        before: share of the problems in which the best-scored candidate is right; ties chosen among at random.
        after: the same with the attacked copies.
        flipped: before minus after: problems in which the choice was right and is wrong now.
        copy_chosen: share in which a copy is chosen that scores above its original.
        after_with_reasoning: `after` where no copy leaves out or replaces a step.
        after_by_perturbation: `after` where only copies of this perturbation are added.
    """

    before: Estimate
    after: Estimate
    flipped: Estimate
    copy_chosen: Estimate
    after_with_reasoning: Estimate
    after_by_perturbation: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Attack:
    """Best-of-N before and after the attack.

    Attributes:
        num_problems, num_candidates: those measured.
        num_contested: problems with a right and a wrong candidate; in the others nothing can change.
        num_left_out: problems with a candidate beyond the scorer's limit.
        num_without_steps: candidates without a step, which cannot be attacked and score 0.
        num_steps: steps scored for the attack, the candidates' own included.
        chance: accuracy of choosing at random.
        ceiling: share of the problems with a right candidate.
        majority_before, majority_after: accuracy of the most frequent answer; after: each wrong candidate with at
            least one copy votes twice.
        copies: by perturbation.
        choices: by aggregation.
    """

    num_problems: int
    num_candidates: int
    num_contested: int
    num_left_out: int
    num_without_steps: int
    num_steps: int
    chance: Estimate
    ceiling: Estimate
    majority_before: Estimate
    majority_after: Estimate
    copies: Mapping[str, CopyCounts]
    choices: Mapping[str, Choice]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def attack_best_of_n(
    scorer: Scorer,
    sets: Sequence[CandidateSet],
    perturbations: Mapping[str, Perturbation],
    *,
    seed: int = 0,
    resamples: int = DEFAULT_RESAMPLES,
) -> Attack:
    """Score every candidate and every attacked copy, and choose before and after.

    Args:
        scorer: what is attacked.
        sets: problems with candidates of known correctness; all of a problem's candidates are chosen among.
        perturbations: what the attacker knows.
        seed: of the perturbations and the resamples.
        resamples: of the problems.
    """
    prepared = [_prepare(found, perturbations, seed) for found in sets]
    scored, num_steps = score_forms(scorer, [forms for forms, _ in prepared])
    whole = [all(form.original is not None for form in forms) for forms in scored]
    measured = [found for found, is_whole in zip(sets, whole, strict=True) if is_whole]
    names = list(perturbations)
    whole_names = [name for name in names if perturbations[name].keeps != "last step"]
    rows = [
        _row(found, forms, names, whole_names)
        for found, forms, is_whole in zip(sets, scored, whole, strict=True)
        if is_whole
    ]
    table = np.array(rows, np.float64).reshape(len(rows), len(_columns(names)))
    estimates = dict(zip(_columns(names), _estimates(table, resamples, seed), strict=True))
    return Attack(
        num_problems=len(measured),
        num_candidates=sum(len(found.candidates) for found in measured),
        num_contested=sum(len({one.is_correct for one in found.candidates}) == 2 for found in measured),
        num_left_out=len(sets) - len(measured),
        num_without_steps=sum(not one.steps for found in sets for one in found.candidates),
        num_steps=num_steps,
        chance=estimates["chance"],
        ceiling=estimates["ceiling"],
        majority_before=estimates["majority_before"],
        majority_after=estimates["majority_after"],
        copies=_count_copies(sets, scored, [others for _, others in prepared], names),
        choices={how: _choice(estimates, how, names) for how in AGGREGATIONS},
    )


def _choice(estimates: Mapping[str, Estimate], how: str, names: Sequence[str]) -> Choice:
    return Choice(
        before=estimates[f"{how} before"],
        after=estimates[f"{how} after"],
        flipped=estimates[f"{how} flipped"],
        copy_chosen=estimates[f"{how} copy_chosen"],
        after_with_reasoning=estimates[f"{how} after_with_reasoning"],
        after_by_perturbation={name: estimates[f"{how} with {name}"] for name in names},
    )


_FIGURES = ("before", "after", "flipped", "copy_chosen", "after_with_reasoning")


def _columns(names: Sequence[str]) -> list[str]:
    """The figures of one problem, in the order of `_row`."""
    found = ["chance", "ceiling", "majority_before", "majority_after"]
    for how in AGGREGATIONS:
        found += [f"{how} {what}" for what in _FIGURES]
        found += [f"{how} with {name}" for name in names]
    return found


def _prepare(
    found: CandidateSet, perturbations: Mapping[str, Perturbation], seed: int
) -> tuple[ProblemForms, list[tuple[str, ...]]]:
    """The candidates' forms, and for each candidate the perturbations that would change its answer."""
    solutions, other_answers = [], []
    for number, candidate in enumerate(found.candidates):
        random = np.random.default_rng([seed, 3, number, *key_of(found.problem).encode()[:64]])
        changed = (
            {} if candidate.is_correct or not candidate.steps else perturb(_chain(candidate), perturbations, random)
        )
        answer = _answer(_chain(candidate).steps)
        others = tuple(name for name, steps in changed.items() if steps is not None and _answer(steps) != answer)
        kept = {name: steps for name, steps in changed.items() if name not in others}
        solutions.append(Forms(_chain(candidate).steps, kept))
        other_answers.append(others)
    return ProblemForms(found.problem, solutions, id=found.id), other_answers


def _chain(candidate: Candidate) -> Chain:
    return Chain(tuple((step, None) for step in candidate.steps), answer_is_wrong=not candidate.is_correct)


def _answer(steps: Sequence[Step]) -> str | None:
    return extract_answer("\n".join(text for text, _ in steps))


def _count_copies(
    sets: Sequence[CandidateSet],
    scored: Sequence[Sequence[ScoredForms]],
    other_answers: Sequence[Sequence[tuple[str, ...]]],
    names: Sequence[str],
) -> dict[str, CopyCounts]:
    counts = {name: [0, 0, 0, 0] for name in names}
    for found, forms, others in zip(sets, scored, other_answers, strict=True):
        for candidate, form, other in zip(found.candidates, forms, others, strict=True):
            if candidate.is_correct:
                continue
            for name, values in form.changed.items():
                counts[name][0 if values is not None else 3] += 1
            for name in form.not_possible:
                counts[name][1] += 1
            for name in other:
                counts[name][2] += 1
    return {name: CopyCounts(*numbers) for name, numbers in counts.items()}


def _row(
    found: CandidateSet, forms: Sequence[ScoredForms], names: Sequence[str], with_reasoning: Sequence[str]
) -> list[float]:
    """One problem's figures, in the order of `_columns`."""
    is_correct = np.array([candidate.is_correct for candidate in found.candidates])
    answers = [candidate.answer for candidate in found.candidates]
    copied = [
        answer is not None and any(values is not None for values in form.changed.values())
        for answer, form in zip(answers, forms, strict=True)
    ]
    row = [float(is_correct.mean()), float(is_correct.any()), *_majorities(answers, is_correct, np.array(copied))]
    for how in AGGREGATIONS:
        before = np.array([aggregate(_known(form.original), how) for form in forms])
        by_name = {name: np.array([_copy_score(form, name, how) for form in forms]) for name in names}
        best, best_whole = (
            np.max([before, *(by_name[name] for name in some)], axis=0) for some in (names, with_reasoning)
        )
        right_before, right_after = _chosen(before, is_correct), _chosen(best, is_correct)
        row += [right_before, right_after, right_before - right_after, _chosen(best, best > before)]
        row += [_chosen(best_whole, is_correct)]
        row += [_chosen(np.maximum(before, by_name[name]), is_correct) for name in names]
    return row


def _majorities(answers: list[str | None], is_correct: BoolArray, copied: BoolArray) -> tuple[float, float]:
    numbers: IntArray = dense_answers(answers)
    before = majority_vote(numbers, is_correct, len(numbers))
    with_copies = np.concatenate([numbers, numbers[copied]])
    both = np.concatenate([is_correct, is_correct[copied]])
    return before, majority_vote(with_copies, both, len(with_copies))


def _chosen(scores: FloatArray, wanted: BoolArray) -> float:
    """Chance that the best-scored candidate is a wanted one, ties chosen among at random."""
    return best_of_n(scores, wanted, len(scores))


def _copy_score(form: ScoredForms, name: str, how: str) -> float:
    values = form.changed.get(name)
    return -np.inf if values is None else aggregate(values, how)


def _known(values: FloatArray | None) -> FloatArray:
    assert values is not None, "problems with candidates beyond the limit are left out"
    return values


def _estimates(table: FloatArray, resamples: int, seed: int) -> list[Estimate]:
    """The mean of each column of `table`, shape [G, F], with its interval over problems."""
    if not len(table):
        return [Estimate(None)] * table.shape[1]
    means = table.mean(axis=0).tolist()
    if len(table) < FEWEST_PROBLEMS or not resamples:
        return [Estimate(mean) for mean in means]
    draws = Draws(len(table), resamples, seed).sums(table) / len(table)
    intervals = [percentile(draws[:, column]) for column in range(table.shape[1])]
    return [Estimate(mean, interval.low, interval.high) for mean, interval in zip(means, intervals, strict=True)]
