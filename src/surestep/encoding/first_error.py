"""What becomes of labels behind the first wrong step of a path, where raters stopped judging or judged by habit.

Knows labels and parents; knows no text.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from surestep.encoding.encoded_tree import LabelArray, path_sums

WRONG_BELOW = 0.5
"""A label below it says that the step is wrong; one of exactly 0.5 (a neutral rating) does not."""


def behind_first_error(label: LabelArray, parent: NDArray[Any]) -> NDArray[np.bool_]:
    """[N]: whether a step before it on its path is labelled wrong; nodes of one tree or of many.

    >>> behind_first_error(np.array([np.nan, 1.0, 0.0, 1.0, np.nan, 0.5]), np.array([-1, 0, 1, 2, 3, 1])).tolist()
    [False, False, False, True, True, False]
    """
    wrong = label < WRONG_BELOW
    behind: NDArray[np.bool_] = path_sums(wrong, parent.astype(np.int64)) > wrong
    return behind


def labels_after_first_error(
    label: LabelArray, parent: NDArray[Any], rule: Literal["keep", "missing", "wrong"]
) -> LabelArray:
    """The labels with those behind the first wrong step of a path kept, missing (NaN), or wrong (0).

    `missing` is how PRM800K was rated: judging ends with the first error. `wrong` is what first-error benchmarks
    (ProcessBench, Zheng et al., 2024) and labels by outcome (Math-Shepherd, Wang et al., 2024) mean; steps that nobody
    judged are labelled as well then.

    >>> labels_after_first_error(np.array([np.nan, 0.0, 1.0, np.nan]), np.array([-1, 0, 1, 2]), "wrong").tolist()
    [nan, 0.0, 0.0, 0.0]
    """
    if rule == "keep":
        return label
    return np.where(behind_first_error(label, parent), np.nan if rule == "missing" else 0.0, label)
