"""How difficult a tree is, by what is known of it before any model is trained: what a curriculum sorts by.

Longer solutions and problems whose steps fail more often are harder. Knows nodes; knows no dataset.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from surestep.encoding.encoded_tree import Nodes, path_sums

DifficultyName = Literal["steps", "tokens", "wrong_steps"]


def tree_difficulty(nodes: Nodes, keep: NDArray[np.bool_], measure: DifficultyName) -> NDArray[np.float64]:
    """float64 [number of trees]: the difficulty of each tree by what the limits leave of it; NaN without a label.

    Args:
        nodes: of the trees.
        keep: bool [N], the nodes that are left (`limit_nodes`).
        measure: `steps`: steps on the longest path to a label; `tokens`: tokens on the longest such path, the problem
            included; `wrong_steps`: 1 minus the mean label.
    """
    rows = np.flatnonzero(keep & ~np.isnan(nodes.label_N))
    tree, num_trees = nodes.tree_N[rows], nodes.num_trees
    labels = np.bincount(tree, minlength=num_trees)
    if measure == "wrong_steps":
        found = 1.0 - np.bincount(tree, nodes.label_N[rows], minlength=num_trees) / np.maximum(labels, 1)
    else:
        along = nodes.parent_N >= 0 if measure == "steps" else nodes.length_N
        found = np.zeros(num_trees)
        np.maximum.at(found, tree, path_sums(along, nodes.parent_N)[rows].astype(np.float64))
    return np.where(labels > 0, found, np.nan)


def easiest(difficulty: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """bool [number of trees]: which trees are the easiest `share` of those that have a difficulty, one at least.

    Those as difficult as the last one are all in, so that no order of the file decides between equals; a tree without
    a label is in too, and left for the limits to count.

    >>> easiest(np.array([3.0, 1.0, 2.0, 3.0, np.nan]), 0.5).tolist()
    [False, True, True, False, True]
    """
    known = np.sort(difficulty[~np.isnan(difficulty)])
    if not known.size:
        return np.ones(difficulty.shape, bool)
    bound = known[max(int(np.ceil(share * known.size)), 1) - 1]
    return np.asarray(~(difficulty > bound))
