"""The examples of a step are dealt out to the processes by what they cost: by tokens, and by what tokens attend to."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import encoded_trees
from surestep.encoding.encoded_tree import EncodedTree, Nodes
from surestep.encoding.packing import pack_trees, tree_costs
from surestep.training.mixture import Draw
from surestep.training.step_data import share_of_draws


@given(trees=st.lists(encoded_trees(), min_size=1, max_size=4), attention=st.sampled_from([0.0, 0.01, 0.5]))
def test_the_cost_of_a_tree_is_what_its_mask_shows(trees: list[EncodedTree], attention: float) -> None:
    starts = np.cumsum([0, *(tree.num_nodes for tree in trees)])
    parents = [np.where(t.parent_N >= 0, t.parent_N + start, -1) for t, start in zip(trees, starts, strict=False)]
    nodes = Nodes(
        tree_N=np.repeat(np.arange(len(trees)), np.diff(starts)),
        length_N=np.concatenate([np.diff(tree.offsets) for tree in trees]),
        parent_N=np.concatenate(parents).astype(np.int64),
        label_N=np.concatenate([tree.label_N for tree in trees]),
        source_N=np.concatenate([tree.source_N for tree in trees]).astype(np.int64),
        num_trees=len(trees),
    )
    costs = tree_costs(nodes, np.ones(starts[-1], bool), attention=attention)
    for tree, cost in zip(trees, costs, strict=True):
        seen = int((pack_trees([tree]).positions_P + 1).sum())  # a token sees its path, itself included
        assert cost == pytest.approx(tree.num_tokens + attention * (seen - tree.num_tokens / 2))


class Costs:
    """A dataset whose examples cost what a list says."""

    def __init__(self, costs: list[float]) -> None:
        self._costs = np.array(costs)

    def costs(self, items: Any, *, attention: float) -> Any:
        assert attention == 0.1
        return self._costs[items]


@given(
    costs=st.lists(st.floats(1, 1e4), min_size=8, max_size=8),
    drawn=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 7)), min_size=1, max_size=17),
    num_processes=st.integers(1, 5),
)
def test_every_example_is_one_process_s_and_all_have_about_the_same_work(
    costs: list[float], drawn: list[tuple[str, int]], num_processes: int
) -> None:
    datasets: Any = {"a": Costs(costs), "b": Costs(costs[::-1])}
    draws = [Draw(name, example) for name, example in drawn]
    shares = [
        share_of_draws(draws, datasets, rank=rank, num_processes=num_processes, attention=0.1)
        for rank in range(num_processes)
    ]
    assert Counter(draw for share in shares for draw in share) == Counter(draws)
    work = [[float(datasets[d.dataset].costs([d.example], attention=0.1)[0]) for d in share] for share in shares]
    everything = [cost for share in work for cost in share]
    assert max(map(sum, work)) <= sum(everything) / num_processes + max(everything) + 1e-6
    assert len(draws) < num_processes or all(shares)
