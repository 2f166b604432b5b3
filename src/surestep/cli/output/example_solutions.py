"""Solutions in words with the confidence of every step, for a person to check.

Which ones are shown is decided by the data alone, never by how well they were scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from surestep.metrics.report.wording import step_text
from surestep.scored import FIRST_STEP, FloatArray, IntArray, ScoredSteps


def example_lines(steps: ScoredSteps) -> Iterator[str]:
    """Lines that show the first solution of each kind: every step right, one wrong, one whose rightness is chance.

    Args:
        steps: scored, with texts and `true_confidence`; solutions that branch are passed over.
    """
    assert steps.texts is not None, "trees were scored, and trees have texts"
    unseen = dict(_KINDS)
    for tree in np.unique(steps.tree).tolist():
        rows = np.flatnonzero(steps.tree == tree)
        if not _is_chain(steps, rows):
            continue
        truth = steps.true_confidence[rows]
        title = next((title for title, is_one in unseen.items() if is_one(truth)), None)
        if title is None:
            continue
        del unseen[title]
        yield f"{title}: {steps.texts.problem(int(rows[0]))}"
        for row in rows.tolist():
            shown = f"{step_text(steps.confidence[row])}  (true {step_text(steps.true_confidence[row])})"
            yield f"    {shown}  {steps.texts.step(row)}"
        if not unseen:
            return


def _is_chain(steps: ScoredSteps, rows: IntArray) -> bool:
    before = np.concatenate([[FIRST_STEP], steps.step[rows][:-1]])
    return len(rows) > 1 and bool(np.array_equal(steps.parent[rows], before))


def _is_settled(truth: FloatArray) -> bool:
    """Whether the text decides each step."""
    return bool(np.all((truth == 0.0) | (truth == 1.0)))


_KINDS: dict[str, Callable[[FloatArray], bool]] = {
    "every step is right": lambda truth: _is_settled(truth) and bool(truth.all()),
    "one step is wrong": lambda truth: _is_settled(truth) and int((truth == 0.0).sum()) == 1,
    "one step is a matter of chance, at a rate that it states": lambda truth: (
        int(((truth > 0.0) & (truth < 1.0)).sum()) == 1
    ),
}
"""What a solution is an example of, by the true confidences of its steps."""
