"""Probes on scorers that are known: an honest one passes, each kind of cheat is found by its probe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from surestep.evaluation.check.probe_bounds import check_probes
from surestep.evaluation.check.probe_changes import PROBES, Chain, shuffled_steps
from surestep.evaluation.check.run_probes import probe_scorer, sample_problems
from surestep.evaluation.check.targets import load_targets
from surestep.scoring.protocol import TreeScores
from surestep.types import ROOT, Node, ReasoningTree

TARGETS = load_targets("production").probes


def problems(number: int = 20, *, dataset: str = "sums") -> list[ReasoningTree]:
    """Right solutions of three steps, each with a wrong alternative to its second step."""
    return [
        ReasoningTree(
            f"{dataset}: what is {i} plus {i} plus one?",
            (
                Node(f"first we double the number {i}", ROOT, 1.0, 1),
                Node(f"so we have {2 * i} by now", 0, 1.0, 1),
                Node(f"we have {2 * i + 3} by now", 0, 0.0, 1),
                Node(f"and the answer is {2 * i + 1}", 1, 1.0, 1),
            ),
            id=f"{dataset}-{i}",
            dataset=dataset,
        )
        for i in range(number)
    ]


class Fake:
    """A scorer made of a function of the texts that lead to a step, the step's own last."""

    def __init__(self, rule: Callable[[list[str]], float | None]) -> None:
        self.rule = rule

    def about(self) -> dict[str, Any]:
        return {}

    def score(self, trees: Sequence[ReasoningTree], **_: Any) -> Iterator[TreeScores]:
        for tree in trees:
            values = [self.rule([tree.nodes[i].text for i in tree.path(index)]) for index in range(len(tree.nodes))]
            found = np.array([np.nan if value is None else value for value in values])
            yield TreeScores(found, found)


def honest(path: list[str]) -> float:
    """Knows the wrong step and never trusts again after it; thinks little of steps that say nothing or come late."""
    if any("we have" in text and "so" not in text for text in path):
        return 0.1
    return 0.8 if len(path[-1]) > 12 and path[0].startswith("first") else 0.4


def status_of(rule: Callable[[list[str]], float | None]) -> dict[str, str]:
    return {f.what: f.status for f in check_probes(probe_scorer(Fake(rule), problems()), TARGETS)}


def test_an_honest_scorer_passes_every_probe() -> None:
    assert status_of(honest) == dict.fromkeys(PROBES, "pass")


@pytest.mark.parametrize(
    ("probe", "rule"),
    [
        ("empty_steps", lambda path: 0.99 if path[-1] == "\u200b" else honest(path)),
        ("near_empty_steps", lambda path: 0.99 if len(path[-1]) < 6 else honest(path)),
        ("split_steps", lambda path: min(0.3 + 0.1 * len(path), 1.0)),
        ("repeated_steps", lambda path: 0.95 if len(path) > 1 and path[-1] == path[-2] else 0.5),
        ("separators", lambda path: 0.95 if "---" in path[-1] else 0.5),
        ("shuffled_steps", lambda path: 0.95 if not path[0].startswith("first") else 0.5),
        ("right_after_wrong", lambda path: 0.95 if any("+" in t or t.startswith("we have") for t in path) else 0.5),
    ],
)
def test_a_scorer_that_rewards_one_trick_fails_its_probe(probe: str, rule: Callable[[list[str]], float]) -> None:
    assert status_of(rule)[probe] == "fail"


def test_moves_are_what_they_are_said_to_be() -> None:
    found = {result.name: result for result in probe_scorer(Fake(lambda path: 1 / len(path)), problems(8))}
    # Three steps score 1, 1/2, 1/3; three more score 1/4, 1/5, 1/6.
    moves = found["empty_steps"].moves
    assert moves["min"].mean == pytest.approx(1 / 6 - 1 / 3)
    assert moves["last"].mean == pytest.approx(1 / 6 - 1 / 3)
    assert moves["mean"].mean == pytest.approx(np.mean([1 / n for n in range(1, 7)]) - np.mean([1, 1 / 2, 1 / 3]))
    assert moves["product"].mean == pytest.approx(1 / 720 - 1 / 6)
    assert (moves["min"].low, moves["min"].high) == (pytest.approx(-1 / 6), pytest.approx(-1 / 6))
    assert found["shuffled_steps"].moves["min"].mean == pytest.approx(0.0)


def test_the_interval_is_over_problems() -> None:
    random = np.random.default_rng(1)
    gains = {f"first we double the number {i}": float(gain) for i, gain in enumerate(random.random(20) * 0.4)}
    rule = lambda path: 0.5 + gains[path[0]] if path[-1] == "\u200b" else 0.5  # noqa: E731
    found = probe_scorer(Fake(rule), problems())[0].moves["last"]
    values = np.array(list(gains.values()))
    assert found.mean == pytest.approx(values.mean())
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(20), rel=0.15)


def test_what_cannot_be_probed_is_counted_not_dropped() -> None:
    one_step = ReasoningTree("what is left?", (Node("nothing", ROOT, 1.0, 1),), id="one", dataset="single")
    results = {result.name: result for result in probe_scorer(Fake(honest), [one_step, *problems(2)])}
    assert (results["shuffled_steps"].num_problems, results["shuffled_steps"].num_not_possible) == (2, 1)
    assert results["right_after_wrong"].num_not_possible == 1  # no wrong step in its dataset
    findings = {f.what: f for f in check_probes(probe_scorer(Fake(honest), [one_step]), TARGETS)}
    assert findings["shuffled_steps"].status == "skipped"
    assert "1 of 1 problem do not allow it" in findings["shuffled_steps"].detail
    assert "move" not in findings["empty_steps"].detail


def test_steps_beyond_the_scorers_limit_are_counted() -> None:
    limited = Fake(lambda path: 0.5 if len(path) <= 4 else None)
    results = {result.name: result for result in probe_scorer(limited, problems(5))}
    assert (results["empty_steps"].num_problems, results["empty_steps"].num_unscored) == (0, 5)
    assert results["right_after_wrong"].num_problems == 5
    skipped = next(f for f in check_probes(list(results.values()), TARGETS) if f.what == "empty_steps")
    assert skipped.status == "skipped"
    assert "beyond the scorer's limit" in skipped.detail


def test_a_borrowed_wrong_step_comes_from_the_same_dataset() -> None:
    without = ReasoningTree("a?", (Node("sure and certain", ROOT, 1.0, 1),), id="w", dataset="sums")
    seen: list[list[str]] = []
    probe_scorer(Fake(lambda path: seen.append(path) or 0.5), [without, *problems(1)])
    assert ["we have 3 by now", "sure and certain"] in seen


def test_the_sample_is_seeded_and_takes_each_dataset_in_turn() -> None:
    trees = problems(30) + problems(5, dataset="rare")
    chosen = sample_problems(trees, 8, seed=3)
    assert [tree.dataset for tree in chosen] == ["sums", "rare"] * 4
    assert [tree.id for tree in chosen] == [tree.id for tree in sample_problems(trees, 8, seed=3)]
    assert [tree.id for tree in chosen] != [tree.id for tree in sample_problems(trees, 8, seed=4)]
    assert len(sample_problems(trees, 100, seed=0)) == 35


def test_shuffling_always_changes_the_order() -> None:
    chain = Chain((("a", None), ("b", None)))
    for seed in range(20):
        assert shuffled_steps(chain, np.random.default_rng(seed)) == [("b", None), ("a", None)]
    assert shuffled_steps(Chain((("a", None), ("a", None))), np.random.default_rng(0)) is None
