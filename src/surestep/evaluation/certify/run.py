"""Certifying a scorer on problems of their own: which of them count, the rule of each group, and the record.

Knows scored trees and what was read; knows no command line. Writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from surestep.counted import counted
from surestep.data.inspect.near_copies import near_copies_within
from surestep.data.records.reading_report import ReadReport
from surestep.data.sources.source import Source
from surestep.data.trees.identity import normalize_text, problem_key
from surestep.errors import DataError
from surestep.evaluation.certify.seen import Seen
from surestep.guarantees.certificate import ALL, Certificate, MadeFor
from surestep.guarantees.groups import merge_small_groups
from surestep.guarantees.problems import ScoredProblem, problems_of
from surestep.guarantees.promises import PROMISES
from surestep.guarantees.promises.promise import needed
from surestep.guarantees.terms import Terms
from surestep.scored import ScoredSteps, problem_hash
from surestep.scoring.checkpoint.versions import git_commit, library_versions
from surestep.types import ReasoningTree


@dataclass(frozen=True)
class CertifiedOn:
    """The calibration problems, and what was left out of them.

    Attributes:
        steps: every step of every tree.
        left_out: keys (`problem_hash`) of problems that do not count, by the reason.
        seen: what the problems were compared with; None where nothing is known of the scorer's training.
    """

    steps: ScoredSteps
    left_out: dict[str, set[int]]
    seen: Seen | None

    def counted(self, datasets: Sequence[str] | None = None) -> list[ScoredProblem]:
        """The problems that count, of all datasets or of these; one that stands in two of them is one problem."""
        without = set().union(*self.left_out.values()) if self.left_out else set()
        steps = self.steps
        if datasets is not None:
            steps = steps.select(np.isin(steps.dataset, [steps.dataset_names.index(name) for name in datasets]))
        return [problem for problem in problems_of(steps) if problem.key not in without]


def choose_problems(steps: ScoredSteps, trees: Sequence[ReasoningTree], seen: Seen | None) -> CertifiedOn:
    """Which problems count: none that was seen, and of near copies of each other the first.

    Args:
        steps: the scored steps of `trees`.
        trees: the texts.
        seen: see `find_seen`; its problems are left out.
    """
    left_out: dict[str, set[int]] = {}
    later = {normalize_text(problem) for problem, _ in near_copies_within(tree.problem for tree in trees)}
    for tree in trees:
        text, key = normalize_text(tree.problem), problem_hash(problem_key(tree))
        if seen is not None and text in seen.texts:
            left_out.setdefault(f"seen in {seen.texts[text]}", set()).add(key)
        elif text in later:
            left_out.setdefault("near copies of another calibration problem", set()).add(key)
    return CertifiedOn(steps, left_out, seen)


def check_scored_whole(steps: ScoredSteps) -> None:
    """Refuse scores that lack steps in the middle of a path: as files do that hold judged steps alone.

    A scorer's own limit ends a path; nothing scored follows it.

    Raises:
        DataError: a step without a confidence is followed by one that has it.
    """
    order = np.lexsort((steps.step, steps.tree))
    first = np.searchsorted(steps.tree[order], steps.tree)
    with_parent = np.flatnonzero(steps.parent >= 0)
    parents = order[first[with_parent] + steps.parent[with_parent]]
    holes = np.isnan(steps.confidence[parents]) & ~np.isnan(steps.confidence[with_parent])
    if holes.any():
        row = int(with_parent[int(np.argmax(holes))])
        name = steps.tree_ids[int(steps.tree[row])]
        raise DataError(
            f"{name}: step {int(steps.step[row]) + 1} has a confidence but a step before it has none; a certificate "
            "needs one for every step, judged or not: a file of judged steps alone cannot be certified, score the "
            "trees with the checkpoint"
        )


def check_tails(reading: Mapping[str, Any], terms: Terms) -> None:
    """Refuse to count unlabelled steps as wrong where the reader has dropped some of them.

    Raises:
        DataError: steps behind the last judged one were dropped, of which a kept one may be wrong.
    """
    for name, report in reading.items():
        dropped = report.get("counts", {}).get("unlabelled_tail", 0)
        if dropped and terms.judging.unlabelled == "wrong":
            raise DataError(
                f"{name}: its layout drops {counted(dropped, 'step')} that nobody judged behind the last judged "
                "one, so that "
                "--unlabelled wrong cannot count them; take --unlabelled ignore, or give whole trees in the layout own"
            )


def reading_of(sources: Sequence[Source]) -> dict[str, Any]:
    """What reading each source left out, by its name."""
    reports = {source.name: ReadReport() for source in sources}
    for source in sources:
        for _ in source.read(reports[source.name]):
            pass
    return {name: report.to_dict() for name, report in reports.items()}


def certify(
    on: CertifiedOn, terms: Terms, *, made_for: MadeFor, by_dataset: bool, about: dict[str, Any]
) -> Certificate:
    """The certificate: one rule, or with `by_dataset` one for each dataset, small ones merged.

    Args:
        on: the problems.
        terms: fixed before they were looked at.
        made_for: what it is for; the hash of the problems is filled in here.
        by_dataset: whether a dataset has a rule of its own.
        about: what else is recorded; `reading`, if there, is what reading each dataset left out.

    Raises:
        DataError: a tree lacks steps, or reading dropped steps that were to count.
    """
    check_tails(about.get("reading", {}), terms)
    check_scored_whole(on.steps)
    make_rule = PROMISES[terms.promise].make_rule
    groups: dict[str, str] = {}
    if by_dataset:
        names = on.steps.dataset_names
        groups = merge_small_groups({name: len(on.counted([name])) for name in names}, needed(terms))
        problems = {
            group: on.counted([name for name in names if groups[name] == group])
            for group in dict.fromkeys(groups.values())
        }
    else:
        problems = {ALL: on.counted()}
    rules = {group: make_rule(found, terms) for group, found in problems.items()}
    keys = sorted({problem.key for found in problems.values() for problem in found})
    digest = hashlib.sha256(np.array(keys, np.uint64).tobytes()).hexdigest()
    is_labelled = ~np.isnan(on.steps.label)
    record = {
        **about,
        "num_problems": len(keys),
        "left_out": {reason: len(found) for reason, found in on.left_out.items()},
        "unlabelled_share": float(1.0 - is_labelled.mean()) if len(on.steps) else 0.0,
        "steps_without_confidence": int(np.isnan(on.steps.confidence).sum()),
        "seen": None if on.seen is None else on.seen.to_json(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": library_versions(),
        "git_commit": git_commit(),
    }
    own = MadeFor(made_for.checkpoint, made_for.calibration, made_for.data, digest, made_for.own_maps)
    return Certificate(terms, rules, groups, own, record)
