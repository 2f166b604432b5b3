"""The four columns of scored steps that figures read, of all steps or of some: a third of what the steps hold.

Legend: N steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from surestep.arrays import distinct
from surestep.metrics.columns import BoolArray, FloatArray, IntArray
from surestep.scored import ScoredSteps


@dataclass(frozen=True, eq=False, slots=True)
class MeasuredRows:
    """Steps with a label and a confidence each, as figures read them; problems are numbered as in the draws.

    Attributes:
        confidence: shape (N,), in [0, 1].
        raw_confidence: shape (N,), before a calibration map.
        label: shape (N,), in [0, 1].
        problem: shape (N,), from 0.
    """

    confidence: FloatArray
    raw_confidence: FloatArray
    label: FloatArray
    problem: IntArray

    def __len__(self) -> int:
        """N."""
        return len(self.label)

    @property
    def num_problems(self) -> int:
        """How many different problems have a row."""
        return int(distinct(self.problem).size)

    @classmethod
    def of(cls, steps: ScoredSteps | MeasuredRows, rows: BoolArray | None = None) -> MeasuredRows:
        """The measured steps where `rows`, bool (N,), is true; all of them, without a copy, where left out.

        >>> steps = ScoredSteps.of_columns([0.5, 0.25], [1.0, 0.0])
        >>> MeasuredRows.of(steps, steps.label > 0.5).confidence.tolist()
        [0.5]
        """
        if rows is None:
            return cls(steps.confidence, steps.raw_confidence, steps.label, steps.problem)
        confidence = steps.confidence[rows]
        is_raw = steps.raw_confidence is steps.confidence
        raw = confidence if is_raw else steps.raw_confidence[rows]
        return cls(confidence, raw, steps.label[rows], steps.problem[rows])
