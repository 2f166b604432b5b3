"""Finished solutions: which are handed out, how they are chosen among several, and what that costs."""

from surestep.guarantees.selective.cost_curve import CurvePoint, SampledSolution, cost_curve
from surestep.guarantees.selective.policy import Policy, check_policy
from surestep.guarantees.selective.rule import SelectiveRule, cutoff_sequence

__all__ = [
    "CurvePoint",
    "Policy",
    "SampledSolution",
    "SelectiveRule",
    "check_policy",
    "cost_curve",
    "cutoff_sequence",
]
