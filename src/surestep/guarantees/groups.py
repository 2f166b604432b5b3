"""Promises for groups of problems, and for a known change of their mix.

Groups are known before any score is used (a dataset, a level). Shares of groups in use must be known too: estimated
ones carry no promise for a finite number of problems.

Legend: M critical values, n problems.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from surestep.guarantees.critical_values import CriticalValues
from surestep.guarantees.cutoff import cutoff

MERGED = "others"
"""The group that takes those which are too small to have a rule of their own."""


def merge_small_groups(sizes: Mapping[str, int], needed: int, merged: str = MERGED) -> dict[str, str]:
    """Where each group belongs: itself, or `merged` where it has fewer problems than a rule needs.

    By sizes alone, never by scores, so the promise holds within what results.

    >>> merge_small_groups({"a": 40, "b": 3, "c": 8}, 9)
    {'a': 'a', 'b': 'others', 'c': 'others'}
    """
    return {name: name if size >= needed else merged for name, size in sizes.items()}


def mix_weights(group: Sequence[Hashable], new_share: Mapping[Hashable, float]) -> dict[Hashable, float]:
    """The weight of a problem of each group: its share in use over its share among the calibration problems.

    Args:
        group: of each calibration problem.
        new_share: of each group in use, known and not estimated; they sum to 1.

    Raises:
        ValueError: a group in use has no calibration problem, or the shares do not sum to 1.

    >>> mix_weights(["easy", "easy", "easy", "hard"], {"easy": 0.5, "hard": 0.5})["hard"]
    2.0
    """
    counts = {name: sum(one == name for one in group) for name in dict.fromkeys(group)}
    missing = [name for name, share in new_share.items() if share > 0 and not counts.get(name)]
    if missing:
        raise ValueError(f"no calibration problem is of group {missing[0]!r}, which has a share in use")
    if abs(sum(new_share.values()) - 1.0) > 1e-9 or min(new_share.values()) < 0.0:
        raise ValueError(f"the shares in use are {dict(new_share)}; allowed: at least 0, together 1")
    return {name: new_share.get(name, 0.0) * len(group) / count for name, count in counts.items()}


def cutoff_for_mix(
    critical: CriticalValues,
    group: Sequence[Hashable],
    new_share: Mapping[Hashable, float],
    new_group: Hashable,
    alpha: float,
) -> float:
    """The cut-off for a new problem of `new_group` where the groups' shares in use are known to be `new_share`.

    Weighted exchangeability (Tibshirani et al., arXiv 1904.06019): Σ wᵢLᵢ ≤ α (W + w_new) − w_new.

    Args:
        critical: of the calibration problems.
        group: of each of the n problems, in their order.
        new_share: see `mix_weights`.
        new_group: the new problem's.
        alpha: in (0, 1).

    >>> same = CriticalValues(np.arange(39.0), np.ones(39), np.arange(39), 39)
    >>> cutoff_for_mix(same, ["a"] * 39, {"a": 1.0}, "a", 0.1)
    35.0
    """
    weight = mix_weights(group, new_share)
    of_problem: npt.NDArray[np.float64] = np.array([weight[name] for name in group], dtype=np.float64)
    new = weight[new_group]
    if new <= 0.0:
        raise ValueError(f"group {new_group!r} has no share in use")
    return cutoff(
        critical.values, critical.weights * of_problem[critical.problem] / new, float(of_problem.sum()) / new, alpha
    )
