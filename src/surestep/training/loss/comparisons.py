"""Losses that compare steps of one tree with each other; each labelled step has its label's weight in them once.

Which steps are compared is laid down when a pack is built, on the CPU; the terms themselves are torch. All steps that
are compared must be in one pack, so trees are never cut where these are on.

Shapes: `S` labelled steps of a pack, `Q` ordered pairs, `R` chains, `L` steps of the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from surestep.config.loss import LossOptions
from surestep.encoding.encoded_tree import EncodedTree
from surestep.model.to_device import to_device

IntArray = NDArray[np.int64]

_NEVER = -1e30
"""In place of minus infinity, whose gradients are not numbers."""


@dataclass(frozen=True)
class Comparisons:
    """What of a pack is compared with what; indices are those of its labelled steps.

    Attributes:
        better_Q, worse_Q: int64; siblings, each pair in both orders where both are possible.
        weight_Q: float32; of -log sigmoid(logit better - logit worse), see `sibling_pairs`.
        chain_RL: int64; the steps of each chain, from the first on; the first labelled step where there is none.
        right_RL, wrong_RL: bool; which of them are right and which wrong; neither where there is none.
        weight_R: float32; of the ranking loss of each chain, see `decided_chains`.
    """

    better_Q: Tensor
    worse_Q: Tensor
    weight_Q: Tensor
    chain_RL: Tensor
    right_RL: Tensor
    wrong_RL: Tensor
    weight_R: Tensor

    def to(self, device: torch.device) -> Comparisons:
        """The same on `device`."""
        return Comparisons(**{part.name: to_device(self._part(part.name), device) for part in fields(self)})

    def pinned(self) -> Comparisons:
        """The same in page-locked memory."""
        return Comparisons(**{part.name: self._part(part.name).pin_memory() for part in fields(self)})

    def _part(self, name: str) -> Tensor:
        found: Tensor = getattr(self, name)
        return found

    def loss(self, logits_S: Tensor, options: LossOptions) -> Tensor:
        """What the comparisons add to the loss of the pack: a weighted sum, a scalar."""
        total = logits_S.new_zeros(())
        if options.pairwise_weight > 0.0:
            pairs_Q = pairwise_losses(logits_S[self.better_Q], logits_S[self.worse_Q])
            total = total + options.pairwise_weight * (self.weight_Q * pairs_Q).sum()
        if options.pqm_weight > 0.0 and len(self.weight_R):
            chains_R = pqm_losses(logits_S[self.chain_RL], self.right_RL, self.wrong_RL, margin=options.pqm_margin)
            total = total + options.pqm_weight * (self.weight_R * chains_R).sum()
        return total


def pairwise_losses(better_Q: Tensor, worse_Q: Tensor) -> Tensor:
    """[Q] -log sigmoid(better - worse), after Bradley and Terry (1952); as a loss RankNet (Burges et al., 2005)."""
    return F.softplus(worse_Q - better_Q)


def pqm_losses(logits_RL: Tensor, right_RL: Tensor, wrong_RL: Tensor, *, margin: float) -> Tensor:
    """[R] the ranking loss of the Process Q-value Model (Li and Li, 2024) of each chain.

    With Q the logit, C the right steps in their order, W the wrong ones, and Q_0 = 0 for the problem itself, which is a
    term only where there is a wrong step:

        mean over t in {0} and C of  -log( exp Q_t / (sum of exp Q_q over q <= t in {0} and C
                                                      + sum of exp(Q_w + margin) over w in W) )

    So a right step shall lie above what was right before it, and all of them a margin above what is wrong.
    """
    wrong_R1 = torch.logsumexp((logits_RL + margin).masked_fill(~wrong_RL, _NEVER), dim=1, keepdim=True)
    start_R1 = logits_RL.new_zeros((len(logits_RL), 1))
    right = torch.cat([start_R1, logits_RL.masked_fill(~right_RL, _NEVER)], dim=1)
    all_but_it = torch.logaddexp(torch.logcumsumexp(right, dim=1), wrong_R1)
    counts = torch.cat([wrong_RL.any(dim=1, keepdim=True), right_RL], dim=1)
    terms = (all_but_it - torch.cat([start_R1, logits_RL], dim=1)).masked_fill(~counts, 0.0)
    return terms.sum(dim=1) / counts.sum(dim=1).clamp(min=1)


def compare(trees: Sequence[EncodedTree], weights_S: NDArray[Any], options: LossOptions) -> Comparisons:
    """What is compared within each of the trees of a pack.

    Args:
        trees: in the order of the pack, none of them cut.
        weights_S: of the labelled steps of all trees, in their order.
        options: which comparisons are wanted.
    """
    pairs: list[Pairs] = []
    chains: list[tuple[IntArray, float]] = []
    labels: list[NDArray[Any]] = [np.zeros(1)]  # so that there is one to take where there is none
    start = 0
    for tree in trees:
        rows = np.flatnonzero(~np.isnan(tree.label_N))
        own = weights_S[start : start + len(rows)].astype(np.float64)
        if options.pairwise_weight > 0.0:
            found = sibling_pairs(tree.parent_N[rows], tree.label_N[rows], own)
            pairs.append(Pairs(found.better + start, found.worse + start, found.weight))
        if options.pqm_weight > 0.0:
            chains += [(steps + start, weight) for steps, weight in decided_chains(tree, own)]
        labels.append(tree.label_N[rows])
        start += len(rows)
    chain_RL = np.full((len(chains), max((len(steps) for steps, _ in chains), default=0)), -1, np.int64)
    for row, (steps, _) in enumerate(chains):
        chain_RL[row, : len(steps)] = steps
    label_RL = np.where(chain_RL >= 0, np.concatenate(labels)[chain_RL + 1], np.nan)
    joined = _joined(pairs)
    return Comparisons(
        better_Q=torch.from_numpy(joined.better),
        worse_Q=torch.from_numpy(joined.worse),
        weight_Q=torch.from_numpy(joined.weight.astype(np.float32)),
        chain_RL=torch.from_numpy(np.maximum(chain_RL, 0)),
        right_RL=torch.from_numpy(label_RL > 0.5),
        wrong_RL=torch.from_numpy(label_RL < 0.5),
        weight_R=torch.from_numpy(np.array([weight for _, weight in chains], np.float32)),
    )


class Pairs(NamedTuple):
    """Ordered pairs of steps, by their places among the labelled ones, and the weight of `better` beating `worse`."""

    better: IntArray
    worse: IntArray
    weight: NDArray[np.float64]


def _joined(pairs: Sequence[Pairs]) -> Pairs:
    if not pairs:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return Pairs(*(np.concatenate(column) for column in zip(*pairs, strict=True)))


def sibling_pairs(parent: NDArray[Any], label: NDArray[Any], weight: NDArray[np.float64]) -> Pairs:
    """The siblings among the labelled steps of one tree, as pairs in both orders where both are possible.

    The loss of two siblings with soft labels is the expectation over right or wrong drawn from each,

        y_i (1 - y_j) softplus(z_j - z_i)  +  y_j (1 - y_i) softplus(z_i - z_j),

    whose minimum has the log odds of the labels as difference of the logits (as in a conditional logistic regression);
    with labels of 0 and 1 it is RankNet's. A step's loss is the mean over its n - 1 siblings and has the step's own
    weight, so the pair has (w_i + w_j) / (n - 1).

    Args:
        parent: [S] of the labelled steps of the tree.
        label: [S] of the same, in [0, 1].
        weight: [S] of the same.

    >>> better, worse, weight = sibling_pairs(np.array([0, 0, 3]), np.array([1.0, 0.0, 0.0]), np.ones(3))
    >>> better.tolist(), worse.tolist(), weight.tolist()
    ([0], [1], [2.0])
    """
    found: list[Pairs] = []
    order = np.argsort(parent, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(parent[order])) + 1):
        if len(group) < 2:
            continue
        y, w = label[group].astype(np.float64), weight[group]
        discordant = np.outer(y, 1.0 - y) * (w[:, None] + w[None, :]) / (len(group) - 1)
        np.fill_diagonal(discordant, 0.0)
        better, worse = np.nonzero(discordant)
        found.append(Pairs(group[better], group[worse], discordant[better, worse]))
    return _joined(found)


def decided_chains(tree: EncodedTree, weight: NDArray[np.float64]) -> list[tuple[IntArray, float]]:
    """The chains of a tree for the ranking loss: the labelled steps of each path, and the weight of its loss.

    Steps labelled exactly 0.5 are neither right nor wrong and in no chain. A chain ends where no decided step follows.
    A step in several chains gives each an equal part of its weight, so that the weights of the chains sum to those of
    the decided steps.

    Args:
        tree: one tree.
        weight: [S] of its labelled steps.
    """
    number = np.cumsum(~np.isnan(tree.label_N)) - 1
    decided = ~np.isnan(tree.label_N) & (tree.label_N != 0.5)
    above = np.full(tree.num_nodes, -1, np.int64)  # the nearest decided node above each
    for inner in np.flatnonzero(tree.parent_N >= 0):  # parents come before their children
        parent = tree.parent_N[inner]
        above[inner] = parent if decided[parent] else above[parent]
    ends = np.setdiff1d(np.flatnonzero(decided), above[decided])
    chains: list[list[int]] = []
    for end in ends.tolist():
        chain = [end]
        while (node := int(above[chain[-1]])) >= 0:
            chain.append(node)
        chains.append(chain[::-1])
    times = np.bincount([node for chain in chains for node in chain], minlength=tree.num_nodes)
    return [(number[chain], float((weight[number[chain]] / times[chain]).sum())) for chain in map(np.asarray, chains)]
