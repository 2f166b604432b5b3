"""A benchmark's solution as a tree of one path that keeps every listed step, an empty one included.

A benchmark counts its steps in its own file: dropping one would move every label and every score behind it. Knows trees
and counts; knows no file.
"""

from __future__ import annotations

from collections.abc import Sequence

from surestep.data.records.reading_report import ReadReport
from surestep.data.trees.text import clean_text
from surestep.types import Node, ReasoningTree


def listed_chain(
    problem: str,
    steps: Sequence[str],
    confidences: Sequence[float | None],
    *,
    id: str,
    report: ReadReport,
    group: str = "",
    where: str | None = None,
) -> ReasoningTree:
    r"""One node for each of `steps`, in order, with its label; both texts clean (`clean_text`).

    Args:
        problem: not blank.
        steps: as listed; any may be blank, and there may be none.
        confidences: the label of each in [0, 1], None where nobody judged it.
        id: the solution's name.
        report: counts what was read, cleaned, and the empty steps that were kept.
        group: see `ReasoningTree`.
        where: the record, for the report.

    >>> tree = listed_chain("1+1?", ["a ", "\n", "b"], [1.0, None, 0.0], id="x", report=ReadReport())
    >>> [node.text for node in tree.nodes]
    ['a', '', 'b']
    """
    texts = [clean_text(step) for step in steps]
    clean = clean_text(problem)
    pairs = zip((clean, *texts), (problem, *steps), strict=True)
    report.count("text_cleaned", sum(text != written for text, written in pairs))
    report.count("empty_step_kept", texts.count(""), where=where)
    report.count("solution_without_steps", int(not texts), where=where)
    nodes = tuple(
        Node(text, index - 1, confidence, int(confidence is not None))
        for index, (text, confidence) in enumerate(zip(texts, confidences, strict=True))
    )
    tree = ReasoningTree(clean, nodes, id=id, group=group, lists_empty_steps=True)
    report.count("trees")
    report.count("steps", len(nodes))
    report.count("labels", tree.num_labels)
    return tree
