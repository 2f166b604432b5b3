"""A scorer whose trees are shared out over the processes of a run: each scores its share, and all get every score.

Every process calls it with the same trees, at the same place. Each tree is one process's work, so each step is scored
once and gathered once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from surestep.encoding.packing import even_shares, tree_costs
from surestep.scored import FloatArray
from surestep.scoring.protocol import CountsTokens, Scorer, TokensUsed, TreeScores, Wanted
from surestep.scoring.spread.together import Together
from surestep.scoring.stored_split import StoredSplit
from surestep.types import ReasoningTree

_GATHERED_TREES = 2**13
"""Trees whose scores are gathered together: often enough to show progress, seldom enough to wait for nobody."""


class LeftOffError(Exception):
    """A process was told to stop: all of them left their scoring off."""


class SpreadScorer:
    """Scores with `scorer`, which every process has a like one of.

    Args:
        scorer: this process's own.
        together: the processes.
        attention: what context costs (`encoding.packing.tree_costs`).
        is_told_to_stop: asked on each process between two of its trees.
        in_step: entered around a process's own scoring, where passes must be run by all of them together.
    """

    def __init__(
        self,
        scorer: Scorer,
        together: Together,
        *,
        attention: float = 0.0,
        is_told_to_stop: Callable[[], bool] = lambda: False,
        in_step: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._scorer = scorer
        self._together = together
        self._attention = attention
        self._is_told_to_stop = is_told_to_stop
        self._in_step = in_step
        self._read = self._written = 0

    def about(self) -> dict[str, Any]:
        """What the scorer says of itself."""
        return self._scorer.about()

    def score(
        self, trees: Sequence[ReasoningTree], *, dataset: str | None = None, wanted: Wanted = "all"
    ) -> Iterator[TreeScores]:
        """The scores of each tree, in order, some thousand at a time, once all processes have theirs of them.

        Raises:
            LeftOffError: a process was told to stop.
            ProcessesError: another process has gone.
        """
        for start in range(0, len(trees), _GATHERED_TREES):
            places = list(range(start, min(start + _GATHERED_TREES, len(trees))))
            yield from self._scored(_part(trees, places), dataset, wanted)

    def tokens_used(self) -> TokensUsed:
        """Tokens that went through the models of all processes so far; 0 where they do not count."""
        return TokensUsed(self._read, self._written)

    def _scored(self, trees: Sequence[ReasoningTree], dataset: str | None, wanted: Wanted) -> Iterator[TreeScores]:
        shares = even_shares(_costs(trees, self._attention).tolist(), self._together.count)
        own = shares[self._together.rank]
        found: list[TreeScores] = []
        stopped, before = False, self._own_tokens()
        with self._in_step():
            for scores in self._scorer.score(_part(trees, own), dataset=dataset, wanted=wanted):
                found.append(scores)
                if stopped := self._is_told_to_stop():
                    break
        if self._together.any(stopped):
            raise LeftOffError
        used = self._together.summed([now - then for now, then in zip(self._own_tokens(), before, strict=True)])
        self._read, self._written = self._read + int(used[0]), self._written + int(used[1])
        everyone = [_unpacked(values) for values in self._together.gathered(_packed(found))]
        of_tree = {
            tree: scores
            for share, part in zip(shares, everyone, strict=True)
            for tree, scores in zip(share, part, strict=True)
        }
        yield from (of_tree[number] for number in range(len(trees)))

    def _own_tokens(self) -> tuple[float, float]:
        used = self._scorer.tokens_used() if isinstance(self._scorer, CountsTokens) else TokensUsed(0, 0)
        return float(used.read or 0), float(used.written or 0)


def _part(trees: Sequence[ReasoningTree], own: Sequence[int]) -> Sequence[ReasoningTree]:
    if isinstance(trees, StoredSplit):  # stays one, whose tokens are there
        return trees.take(np.array(own, np.int64))
    return [trees[number] for number in own]


def _costs(trees: Sequence[ReasoningTree], attention: float) -> FloatArray:
    """float64 [trees]: what each costs, in tokens; in characters where it is no stored tree."""
    if not isinstance(trees, StoredSplit):
        return np.array([len(tree.problem) + sum(len(node.text) for node in tree.nodes) + 1.0 for tree in trees])
    numbers = np.arange(len(trees), dtype=np.int64) if trees.chosen is None else trees.chosen
    nodes = trees.store.nodes(numbers)
    return tree_costs(nodes, np.ones(len(nodes.length_N), bool), attention=attention)


def _packed(found: list[TreeScores]) -> FloatArray:
    """The scores of some trees as one row of numbers: how many trees, whether they have spreads, sizes, columns."""
    has_spread = bool(found) and found[0].spread_N is not None
    columns = [[scores.confidence_N for scores in found], [scores.raw_N for scores in found]]
    if has_spread:
        columns.append([scores.spread_N for scores in found if scores.spread_N is not None])
    sizes = [float(len(scores.confidence_N)) for scores in found]
    parts = [np.array([float(len(found)), float(has_spread), *sizes]), *(part for column in columns for part in column)]
    return np.concatenate(parts).astype(np.float64)


def _unpacked(values: FloatArray) -> list[TreeScores]:
    count, has_spread = int(values[0]), bool(values[1])
    ends = np.cumsum(values[2 : 2 + count].astype(np.int64))
    total = int(ends[-1]) if count else 0
    columns = [
        np.split(values[2 + count + total * number : 2 + count + total * (number + 1)], ends[:-1])
        for number in range(3 if has_spread else 2)
    ]
    return [TreeScores(*parts) for parts in zip(*columns, strict=True)][:count]
