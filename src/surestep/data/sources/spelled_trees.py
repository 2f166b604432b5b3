"""Trees as they wait to be divided and ordered: spelled, with the numbers that say where each belongs.

Making them of the records of problems is shared with helper processes, where there are some. Knows no file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from surestep.data.records.helper_process import HelperProcess, batches, in_order
from surestep.data.records.reading_report import ReadReport
from surestep.data.sources.hold_out import place
from surestep.data.trees.identity import key_of, normalize_text
from surestep.data.trees.problem_records import Problems, SpelledProblem, merged
from surestep.data.trees.tree_columns import TreeColumns
from surestep.scored import problem_hash

BATCH = 2**19
"""Characters of spelled records that are handed over at once."""

Seeds = tuple[int, ...]


class SpelledTree(NamedTuple):
    """A tree.

    Attributes:
        content: see `TreeColumns.with_id`; in ASCII.
        num_steps, num_labels: of it.
        places: `place` of its problem for each seed.
        order: hashes of its problem's key and of its content without its id, by which trees are ordered.
        text_hash: `problem_hash` of its problem's normal form.
    """

    content: str
    num_steps: int
    num_labels: int
    places: tuple[int, ...]
    order: tuple[int, int]
    text_hash: int


def spelled_tree(tree: TreeColumns, seeds: Seeds) -> SpelledTree:
    """A tree spelled, with its places for these seeds."""
    content = tree.spelled()
    normal = normalize_text(tree.problem)
    # Without the dataset's name: what a file is called in a report moves no problem to the other side.
    key = key_of(tree.problem, group=tree.group) if tree.group else normal
    return SpelledTree(
        tree.with_id(content),
        len(tree.texts),
        tree.num_labels,
        tuple(place(seed, key) for seed in seeds),
        (_number(key), _number(content)),
        problem_hash(normal),
    )


def spelled_trees(
    problems: Problems,
    report: ReadReport,
    seeds: Seeds,
    *,
    drop_unlabelled_tails: bool,
    started: Sequence[HelperProcess],
) -> Iterator[SpelledTree]:
    """The trees of problems, in order of first appearance.

    Args:
        problems: with all their records.
        report: counts what `Problems.trees` counts.
        seeds: of the places of each tree.
        drop_unlabelled_tails: see `TreeBuilder.columns`.
        started: processes that help.
    """
    if not started:
        for problem in problems.spelled(report):
            yield from _merge([problem], seeds, drop_unlabelled_tails, report)
        return
    handed_over = batches(problems.spelled(report), BATCH, lambda problem: sum(map(len, problem[1])))
    tasks = ((batch, seeds, drop_unlabelled_tails) for batch in handed_over)
    for _, (trees, counted) in in_order(_merge_batch, tasks, started):
        report.merge(counted)
        yield from trees


def _merge_batch(
    problems: list[SpelledProblem], seeds: Seeds, drop_unlabelled_tails: bool
) -> tuple[list[SpelledTree], ReadReport]:
    report = ReadReport()
    return list(_merge(problems, seeds, drop_unlabelled_tails, report)), report


def _merge(
    problems: Iterable[SpelledProblem], seeds: Seeds, drop_unlabelled_tails: bool, report: ReadReport
) -> Iterator[SpelledTree]:
    for problem in problems:
        tree = merged(problem, report, drop_unlabelled_tails=drop_unlabelled_tails)
        if tree is not None:
            yield spelled_tree(tree, seeds)


def _number(text: str) -> int:
    """A place among 2^64 for a text: as good as any other, and the same for ever."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
