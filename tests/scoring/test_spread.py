"""Trees shared out over processes: each is scored by one of them, and all get every score."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from surestep.encoding.packing import even_shares
from surestep.scoring.protocol import TokensUsed, TreeScores
from surestep.scoring.spread import spread_scorer
from surestep.scoring.spread.in_step import passes_in_step
from surestep.scoring.spread.spread_scorer import LeftOffError, SpreadScorer
from surestep.scoring.spread.together import Together
from surestep.types import Node, ReasoningTree
from threads_together import in_threads


class CountingScorer:
    """Gives each step a number of its own, and remembers which trees it was asked for."""

    def __init__(self, *, spread: bool = False) -> None:
        self.asked: list[str] = []
        self._spread = spread

    def about(self) -> dict[str, Any]:
        return {"scorer": "counting"}

    def tokens_used(self) -> TokensUsed:
        return TokensUsed(10 * len(self.asked), 0)

    def score(self, trees: Sequence[ReasoningTree], **_options: Any) -> Iterator[TreeScores]:
        for tree in trees:
            self.asked.append(tree.id)
            raw = np.array([crc32(f"{tree.id}-{step}".encode()) % 997 / 997 for step in range(len(tree.nodes))], float)
            raw[::3] = np.nan
            yield TreeScores(raw**2, raw, raw / 2 if self._spread else None)


def made(sizes: Sequence[int]) -> list[ReasoningTree]:
    return [
        ReasoningTree(
            id=f"tree-{number}",
            dataset="made",
            problem="p" * (number % 5 + 1),
            nodes=tuple(Node(text="s" * (step + 1), parent=step - 1) for step in range(size)),
        )
        for number, size in enumerate(sizes)
    ]


@given(costs=st.lists(st.floats(0.5, 1e4), max_size=40), count=st.integers(1, 6))
def test_shares_hold_every_item_once_and_none_costs_more_than_the_mean_and_an_item(
    costs: list[float], count: int
) -> None:
    shares = even_shares(costs, count)
    assert sorted(item for share in shares for item in share) == list(range(len(costs)))
    assert all(share == sorted(share) for share in shares)
    heaviest = max(sum(costs[item] for item in share) for share in shares)
    assert heaviest <= sum(costs) / count + max(costs, default=0.0) + 1e-6
    assert len(costs) < count or all(shares)


@given(
    sizes=st.lists(st.integers(0, 7), max_size=12),
    count=st.integers(1, 4),
    at_once=st.integers(1, 6),
    spread=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_every_tree_is_scored_once_and_all_get_what_one_process_gets(
    sizes: list[int], count: int, at_once: int, spread: bool
) -> None:
    trees = made(sizes)
    expected = list(CountingScorer(spread=spread).score(trees))
    scorers = [CountingScorer(spread=spread) for _ in range(count)]

    def act(together: Together) -> tuple[list[TreeScores], TokensUsed]:
        scorer = SpreadScorer(scorers[together.rank], together)
        return list(scorer.score(trees)), scorer.tokens_used()

    before, spread_scorer._GATHERED_TREES = spread_scorer._GATHERED_TREES, at_once
    try:
        found = in_threads(count, act)
    finally:
        spread_scorer._GATHERED_TREES = before
    assert Counter(name for scorer in scorers for name in scorer.asked) == Counter(tree.id for tree in trees)
    for scores, used in found:
        assert used == TokensUsed(10 * len(trees), 0)
        assert len(scores) == len(expected)
        for mine, theirs in zip(scores, expected, strict=True):
            np.testing.assert_array_equal(mine.confidence_N, theirs.confidence_N)
            np.testing.assert_array_equal(mine.raw_N, theirs.raw_N)
            assert (mine.spread_N is None) == (theirs.spread_N is None)
            if mine.spread_N is not None:
                np.testing.assert_array_equal(mine.spread_N, theirs.spread_N)


def test_where_one_process_is_told_to_stop_all_leave_off() -> None:
    left: list[int] = []

    def act(together: Together) -> None:
        scorer = SpreadScorer(CountingScorer(), together, is_told_to_stop=lambda: together.rank == 1)
        try:
            list(scorer.score(made([2] * 8)))
        except LeftOffError:
            left.append(together.rank)

    in_threads(3, act)
    assert sorted(left) == [0, 1, 2]


@pytest.mark.parametrize("passes", [(3, 1, 0), (0, 0, 0), (2, 2, 2)])
def test_processes_with_different_numbers_of_passes_run_equally_many(passes: tuple[int, ...]) -> None:
    """As a sharded model needs: the weights of each pass lie on all of them."""
    run = [0, 0, 0]
    at_once = threading.Barrier(3, timeout=20)

    class Model(nn.Module):
        def __init__(self, rank: int) -> None:
            super().__init__()
            self.rank = rank

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            at_once.wait()  # a pass that only one process ran would stop here
            run[self.rank] += 1
            return values

    def act(together: Together) -> None:
        model = Model(together.rank)
        with passes_in_step(model, together, lambda: model(torch.zeros(1))):
            for _ in range(passes[together.rank]):
                model(torch.ones(1))
        model.forward = lambda values: values  # type: ignore[method-assign]
        model(torch.ones(1))  # nobody is told of it any more

    in_threads(3, act)
    assert run == [max(passes)] * 3
