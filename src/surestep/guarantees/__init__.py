"""Promises for new problems from any number of labelled ones; numpy in, numbers out, no torch, no files.

What each promise means, and why it holds, stands in docs/explanation/guarantees.md.
"""

from surestep.guarantees.binomial import beta_cdf, beta_interval, beta_quantile, binomial_cdf
from surestep.guarantees.critical_values import CriticalValues, Judging, critical_pairs
from surestep.guarantees.cutoff import (
    EVERYTHING_KEPT,
    NOTHING_KEPT,
    cutoff,
    cutoff_pac,
    levels,
    order,
    order_pac,
    smallest_alpha,
    smallest_count,
    smallest_count_pac,
)
from surestep.guarantees.groups import cutoff_for_mix, merge_small_groups
from surestep.guarantees.path_scores import path_scores
from surestep.guarantees.problems import ScoredProblem, ScoredTree, problems_of

__all__ = [
    "EVERYTHING_KEPT",
    "NOTHING_KEPT",
    "CriticalValues",
    "Judging",
    "ScoredProblem",
    "ScoredTree",
    "beta_cdf",
    "beta_interval",
    "beta_quantile",
    "binomial_cdf",
    "critical_pairs",
    "cutoff",
    "cutoff_for_mix",
    "cutoff_pac",
    "levels",
    "merge_small_groups",
    "order",
    "order_pac",
    "path_scores",
    "problems_of",
    "smallest_alpha",
    "smallest_count",
    "smallest_count_pac",
]
