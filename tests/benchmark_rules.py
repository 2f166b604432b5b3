"""The rules of ProcessBench and PRMBench once more, slowly: plain loops over records of files, no code of the project.

Written from the benchmarks' definitions (arXiv 2412.06559 section 3, arXiv 2501.03124 section 4) and from what their
own programs do where a paper is silent: `code/run_eval_prm_trl.py` of QwenLM/ProcessBench and
`mr_eval/tasks/prmtest_classified/task.py` of ssmisya/PRMBench. Tests and `benchmarks/official_figures.py` compare.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

Record = Mapping[str, Any]
Scores = Mapping[str, Sequence[float | None]]


def processbench_f1(records: Iterable[Record], scores: Scores, threshold: float) -> tuple[float, float, float]:
    """Accuracy on erroneous and on correct solutions of one subset, and their harmonic mean.

    A solution with a step that has no score is not there at all.
    """
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for record in records:
        given = scores[record["id"]]
        assert len(given) == len(record["steps"])
        if any(score is None for score in given):
            continue
        judged = ["right" if score > threshold else "wrong" for score in given]
        prediction = judged.index("wrong") if "wrong" in judged else -1
        hits[record["label"] != -1].append(prediction == record["label"])
    erroneous, correct = (sum(hits[kind]) / len(hits[kind]) for kind in (True, False))
    return erroneous, correct, 2 * erroneous * correct / (erroneous + correct) if erroneous + correct else 0.0


def best_f1(records: Sequence[Record], scores: Scores) -> float:
    """The highest F1 that any threshold in [0, 1] reaches: at every score, between every two, and at both ends."""
    values = sorted({0.0, 1.0, *(score for given in scores.values() for score in given if score is not None)})
    between = [(low + high) / 2 for low, high in pairwise(values)]
    return max(processbench_f1(records, scores, threshold)[2] for threshold in (*values, *between))


class Step(NamedTuple):
    """A step as PRMBench sees it; `number` counts from 1."""

    solution: str
    category: str
    number: int
    is_wrong: bool
    called_right: bool


def prmbench_solutions(records: Iterable[Record]) -> dict[str, tuple[str, list[str], list[int]]]:
    """By name: category, steps, and the numbers of the wrong ones. The first of equal names counts."""
    found: dict[str, tuple[str, list[str], list[int]]] = {}
    for record in records:
        category, name = record["classification"], record["idx"]
        if category == "redundency" and record.get("original_process") is not None:
            found.setdefault(f"correct_{name}", ("correct", record["original_process"], []))
        found.setdefault(f"{category}_{name}", (category, record["modified_process"], record["error_steps"]))
    return found


def prmbench_figures(records: Iterable[Record], verdicts: Mapping[str, Sequence[bool]]) -> dict[str, Any]:
    """What the benchmark's program writes, -1 where a figure has no value; a solution without verdicts is not there."""
    solutions = {name: found for name, found in prmbench_solutions(records).items() if name in verdicts}
    steps = [
        Step(name, category, number, number in wrong, verdict)
        for name, (category, texts, wrong) in solutions.items()
        for number, verdict in zip(range(1, len(texts) + 1), verdicts[name], strict=True)
    ]
    categories = {category for category, _, _ in solutions.values()}
    changed = [step for step in steps if step.category != "correct"]
    distances = _distances(solutions, verdicts)
    firsts = {
        name: not verdicts[name][min(wrong) - 1]
        for name, (_, texts, wrong) in solutions.items()
        if wrong and 1 <= min(wrong) <= len(texts)
    }
    found: dict[str, Any] = {"total": _figures(changed, firsts.values(), distances.values())}
    for category in categories:
        names = {name for name, (own, _, _) in solutions.items() if own == category}
        found[category] = _figures(
            [step for step in steps if step.category == category],
            [hit for name, hit in firsts.items() if name in names],
            [distance for name, distance in distances.items() if name in names],
        )
    return found


def _distances(
    solutions: Mapping[str, tuple[str, Any, Any]], verdicts: Mapping[str, Sequence[bool]]
) -> dict[str, float]:
    """How far the share of steps called right moves with the change, where both are known and it was not 0 before."""
    share = {name: sum(verdicts[name]) / len(verdicts[name]) for name in solutions if len(verdicts[name])}
    found = {}
    for name, (category, _, _) in solutions.items():
        before = "correct_" + name.removeprefix(f"{category}_")
        if category != "correct" and name in share and share.get(before):
            found[name] = abs(share[name] - share[before])
    return found


def _figures(steps: Sequence[Step], firsts: Iterable[bool], distances: Iterable[float]) -> dict[str, float]:
    right, wrong = [s for s in steps if not s.is_wrong], [s for s in steps if s.is_wrong]
    kept, lost = [s for s in steps if s.called_right], [s for s in steps if not s.called_right]
    found = {
        "correct_step_acc": _mean(s.called_right for s in right),
        "wrong_step_acc": _mean(not s.called_right for s in wrong),
        "total_step_acc": _mean(s.called_right != s.is_wrong for s in steps),
        "first_error_acc": _mean(firsts),
        "similarity": _mean(distances),
        "precision": _mean(not s.is_wrong for s in kept),
        "recall": _mean(s.called_right for s in right),
        "negative_precision": _mean(s.is_wrong for s in lost),
        "negative_recall": _mean(not s.called_right for s in wrong),
    }
    for f1, one, other in (("f1", "precision", "recall"), ("negative_f1", "negative_precision", "negative_recall")):
        total = found[one] + found[other]
        found[f1] = 2 * found[one] * found[other] / total if total else -1
    return found


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else -1
