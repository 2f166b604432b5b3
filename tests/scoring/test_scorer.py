"""Every step gets the number that its own path gives it, however trees are packed, cut and limited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import random_tree, trees
from surestep.config import Config
from surestep.encoding.encoded_tree import encode_trees
from surestep.errors import DeviceError
from surestep.scoring.build_model import BuiltModel, build_model
from surestep.scoring.hardware import choose_hardware
from surestep.scoring.model_scorer import StepScorer
from surestep.types import Node, ReasoningTree, chain

Build = Callable[..., BuiltModel]

PACKED = ["llama", "qwen3", "mistral", "gemma3", "gpt2"]
ONE_PATH_PER_ROW = ["bloom", "mamba", "gemma2"]


@pytest.fixture(scope="module")
def scorers(build_small: Build, small_config: Callable[..., Config]) -> Callable[[str], StepScorer]:
    """A scorer of each family, built once; tests leave it as it was."""
    built: dict[str, StepScorer] = {}

    def find(family: str) -> StepScorer:
        if family not in built:
            built[family] = build_small(family).scorer(small_config(family))
        return built[family]

    return find


def alone(tree: ReasoningTree, index: int) -> ReasoningTree:
    """The path to a step as a tree of its own."""
    path = tree.path(index)
    nodes = [Node(tree.nodes[i].text, rank - 1, None, 0, tree.nodes[i].context) for rank, i in enumerate(path)]
    return ReasoningTree(tree.problem, tuple(nodes))


def scores_alone(scorer: StepScorer, tree: ReasoningTree) -> list[float | None]:
    """Every step scored by a forward pass over its own path, with the backbone's own attention."""
    route, budget = scorer.model.route, scorer.token_budget
    scorer.model.set_route("paths")
    scorer.token_budget = 1
    try:
        return [scorer.score([alone(tree, index)])[0][-1] for index in range(len(tree.nodes))]
    finally:
        scorer.model.set_route(route)
        scorer.token_budget = budget


def assert_close(found: Sequence[float | None], expected: Sequence[float | None]) -> None:
    assert [value is None for value in found] == [value is None for value in expected]
    np.testing.assert_allclose(
        [value for value in found if value is not None],
        [value for value in expected if value is not None],
        rtol=0,
        atol=1e-5,
    )


@pytest.mark.parametrize("family", PACKED)
@settings(max_examples=8)
@given(several=st.lists(trees(max_nodes=7), min_size=1, max_size=3))
def test_packed_trees_score_as_their_paths_alone(
    family: str, scorers: Callable[[str], StepScorer], several: list[ReasoningTree]
) -> None:
    scorer = scorers(family)
    assert scorer.model.route == "dense"
    for tree, found in zip(several, scorer.score(several), strict=True):
        assert_close(found, scores_alone(scorer, tree))


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_large_trees_score_as_their_paths_alone(family: str, scorers: Callable[[str], StepScorer]) -> None:
    scorer = scorers(family)
    tree = random_tree(7, num_nodes=45, branching=0.7)
    assert encode_trees([tree], scorer.tokenizer, scorer.formatter)[0].num_tokens > 800
    found = scorer.score([tree])[0]
    assert np.std([value for value in found if value is not None]) > 0.05, "scores that differ can be confused"
    assert_close(found, scores_alone(scorer, tree))


@pytest.mark.parametrize("family", ONE_PATH_PER_ROW)
def test_a_backbone_that_cannot_run_packed_trees_still_scores_right(
    family: str, scorers: Callable[[str], StepScorer]
) -> None:
    scorer = scorers(family)
    assert scorer.model.route == "paths"
    several = [random_tree(seed, num_nodes=6) for seed in range(2)]
    for tree, found in zip(several, scorer.score(several), strict=True):
        assert_close(found, scores_alone(scorer, tree))


@pytest.mark.parametrize("budget", [1, 80, 200, 100_000])
def test_cut_trees_score_as_whole_ones(budget: int, scorers: Callable[[str], StepScorer]) -> None:
    scorer = scorers("qwen3")
    several = [random_tree(seed, num_nodes=12) for seed in range(4)]
    whole = scorer.score(several)
    before, scorer.token_budget = scorer.token_budget, budget
    try:
        for found, expected in zip(scorer.score(several), whole, strict=True):
            assert_close(found, expected)
    finally:
        scorer.token_budget = before


def test_a_later_step_changes_no_earlier_score(scorers: Callable[[str], StepScorer]) -> None:
    scorer = scorers("llama")
    short = scorer.score([chain("2 + 2?", ["add 2", "so 4"])])[0]
    long = scorer.score([chain("2 + 2?", ["add 2", "so 4", "so 5", "so 6"])])[0]
    assert_close(long[:2], short)


def test_a_confidence_token_in_a_step_is_only_text(scorers: Callable[[str], StepScorer]) -> None:
    scorer = scorers("llama")
    tree = chain("2 + 2?", ["so 4 <CONFIDENCE> so 5", "<CONFIDENCE>", "<|endoftext|>"])
    (encoded,) = encode_trees([tree], scorer.tokenizer, scorer.formatter)
    assert np.count_nonzero(encoded.tokens_T == scorer.tokenizer.confidence_id) == 3
    scores = scorer.score([tree])[0]
    assert None not in scores
    assert_close(scores, scores_alone(scorer, tree))


def test_labels_and_depths_stand_beside_their_steps(scorers: Callable[[str], StepScorer]) -> None:
    scorer = scorers("llama")
    several = [random_tree(seed, num_nodes=9) for seed in range(3)]
    encoded = encode_trees(several, scorer.tokenizer, scorer.formatter)
    for every_step in (True, False):
        for tree, scores in zip(several, scorer.score_encoded(encoded, every_step=every_step), strict=True):
            wanted = [i for i, node in enumerate(tree.nodes) if every_step or node.confidence is not None]
            assert sorted(scores.source_S.tolist()) == wanted
            for index, depth, label in zip(scores.source_S, scores.depth_S, scores.label_S, strict=True):
                node = tree.nodes[index]
                assert depth == len(tree.path(int(index)))
                assert np.isnan(label) if node.confidence is None else label == np.float32(node.confidence)
            assert ((scores.confidence_S >= 0) & (scores.confidence_S <= 1)).all()


def test_labelled_steps_score_the_same_without_the_others(scorers: Callable[[str], StepScorer]) -> None:
    scorer = scorers("mistral")
    encoded = encode_trees([random_tree(3, num_nodes=15)], scorer.tokenizer, scorer.formatter)
    (all_steps,) = scorer.score_encoded(encoded)
    (labelled,) = scorer.score_encoded(encoded, every_step=False)
    by_step = dict(zip(all_steps.source_S.tolist(), all_steps.confidence_S.tolist(), strict=True))
    assert 0 < len(labelled.source_S) < len(all_steps.source_S)
    assert_close(labelled.confidence_S.tolist(), [by_step[index] for index in labelled.source_S.tolist()])


def test_steps_beyond_the_position_limit_are_left_out_and_counted(scorers: Callable[[str], StepScorer]) -> None:
    scorer = scorers("gpt2")
    assert scorer.max_positions == 256
    labels: list[float | None] = [1.0, None, 0.0, 0.5]
    tree = chain("p?", ["a" * 60, "b" * 100, "c" * 120, "d"], labels)
    short = chain("q?", ["fits"], [1.0])
    assert [value is None for value in scorer.score([tree, short])[0]] == [False, False, True, True]
    assert scorer.score([tree, short])[1][0] == pytest.approx(scorer.score([short])[0][0], abs=1e-5)
    encoded = encode_trees([tree], scorer.tokenizer, scorer.formatter)
    (scores,) = scorer.score_encoded(encoded)
    assert (scores.loss.labels, scores.loss.labels_too_long, scores.loss.steps_dropped) == (3, 2, 2)


def test_a_problem_beyond_the_position_limit_harms_no_other_tree(scorers: Callable[[str], StepScorer]) -> None:
    scorer = scorers("gpt2")
    endless = chain("why? " * 200, ["a", "b"], [1.0, 0.0])
    short = chain("q?", ["fits"], [1.0])
    scores = scorer.score([endless, short])
    assert scores[0] == [None, None]
    assert scores[1][0] == pytest.approx(scorer.score([short])[0][0], abs=1e-5)


def test_trees_without_steps_and_no_trees_at_all(scorers: Callable[[str], StepScorer]) -> None:
    scorer = scorers("llama")
    assert scorer.score([]) == []
    assert scorer.score([ReasoningTree("p", ())]) == [[]]


def test_progress_counts_every_tree(scorers: Callable[[str], StepScorer]) -> None:
    scorer = scorers("llama")
    encoded = encode_trees([random_tree(seed, num_nodes=1) for seed in range(5)], scorer.tokenizer, scorer.formatter)
    told: list[int] = []
    list(scorer.score_encoded(encoded, progress=told.append))
    assert sum(told) == 5


def test_trees_of_many_windows_come_out_in_order(
    scorers: Callable[[str], StepScorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = replace(scorers("llama"), token_budget=64)
    several = [random_tree(seed, num_nodes=seed % 5 + 1) for seed in range(13)]
    # Whole windows without a step, at the beginning and between others: nothing of them runs; they keep their place.
    none = [ReasoningTree("p", ())] * 2
    trees = [*none, *several[:6], *none, *none, *several[6:]]
    encoded = encode_trees(trees, scorer.tokenizer, scorer.formatter)
    in_one = list(scorer.score_encoded(encoded))
    monkeypatch.setattr("surestep.scoring.model_scorer._WINDOW", 2)
    told: list[int] = []
    in_many = list(scorer.score_encoded(encoded, progress=told.append))
    assert told == [2] * 9 + [1]
    for one, many in zip(in_one, in_many, strict=True):
        assert one.source_S.tolist() == many.source_S.tolist()
        assert_close(one.confidence_S.tolist(), many.confidence_S.tolist())


def test_scoring_leaves_training_mode_as_it_was(scorers: Callable[[str], StepScorer]) -> None:
    scorer = scorers("llama")
    scorer.model.train()
    try:
        scorer.score([random_tree(0)])
        assert scorer.model.training
    finally:
        scorer.model.eval()


def test_dropout_is_off_while_scoring(build_small: Build, small_config: Callable[..., Config]) -> None:
    config = small_config("llama")
    config.model.mlp_dropout = 0.5
    scorer = build_small(config=config).scorer(config)
    scorer.model.train()
    assert scorer.score([random_tree(0)]) == scorer.score([random_tree(0)])


def test_bf16_scores_are_near_the_float32_ones(build_small: Build, small_config: Callable[..., Config]) -> None:
    config = small_config("llama")
    exact = build_small(config=config).scorer(config)
    half = build_small(config=config)
    half.hardware = choose_hardware("cpu", "bf16")
    tree = random_tree(2)
    np.testing.assert_allclose(
        np.array(half.scorer(config).score([tree])[0], float), np.array(exact.score([tree])[0], float), atol=0.1
    )


def test_a_real_backbone_scores_trees_as_their_paths(stories260k: Path, small_config: Callable[..., Config]) -> None:
    config = small_config("llama")
    config.model.backbone = str(stories260k)
    built = build_model(config, choose_hardware("cpu", "no"))
    with torch.no_grad():
        built.model.head.output.weight.normal_(generator=torch.Generator().manual_seed(0))
    scorer = built.scorer(config)
    tree = random_tree(1, num_nodes=14)
    assert_close(scorer.score([tree])[0], scores_alone(scorer, tree))


def test_out_of_memory_is_one_line_that_names_the_flag(
    build_small: Build, small_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = build_small("llama").scorer(small_config("llama"))

    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(scorer.model, "forward", fail)
    scorer.model.train()
    with pytest.raises(DeviceError, match="--eval_token_budget") as caught:
        scorer.score([random_tree(0, num_nodes=3)])
    assert "\n" not in str(caught.value)
    assert scorer.model.training


def test_white_space_around_texts_changes_no_confidence(scorers: Callable[[str], StepScorer]) -> None:
    """What a splitter leaves at a step's ends, in a tree that no reader made."""
    around = ["{}", "{}\n", "\n {} \r\n", "\t{}\n\n"]
    evidence = "It is a sum."
    found = []
    for form in around:
        nodes = tuple(
            Node(form.format(text), rank - 1, context=form.format(evidence))
            for rank, text in enumerate(["12 + 2 = 14", "14 + 1 = 15"])
        )
        found += scorers("llama").score([ReasoningTree(form.format("Add 12, 2 and 1."), nodes)])
    assert found == [found[0]] * len(around)


def limited_memory(monkeypatch: pytest.MonkeyPatch, scorer: Any, most: int) -> list[int]:
    """A device that holds passes of `most` tokens; the sizes of those that it held."""
    original, held = scorer.model.forward, []

    def forward(batch: Any, *arguments: Any, **settings: Any) -> Any:
        tokens = getattr(batch, "batch", batch).tokens_P
        if len(tokens) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        held.append(len(tokens))
        return original(batch, *arguments, **settings)

    monkeypatch.setattr(scorer.model, "forward", forward)
    return held


@pytest.mark.parametrize("every_step", [True, False])
@pytest.mark.parametrize("spare", [0, 150])
def test_memory_that_runs_out_shrinks_the_passes_and_loses_no_step(
    build_small: Build,
    small_config: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    spare: int,
    every_step: bool,
) -> None:
    """More trees than a window holds, some of them larger than what fits."""
    built = build_small("llama")
    trees = [random_tree(seed, num_nodes=4 + 13 * (seed % 3), branching=0.8) for seed in range(540)]
    encoded = encode_trees(trees, built.tokenizer, built.formatter)
    expected = list(built.scorer(small_config("llama")).score_encoded(encoded, every_step=every_step))
    scorer, said = built.scorer(small_config("llama")), []
    scorer.say = said.append
    most = max(int(tree.path_ends().max()) for tree in encoded) + spare  # one path is never cut
    assert any(tree.num_tokens > most for tree in encoded), "some trees do not fit whole"
    held = limited_memory(monkeypatch, scorer, most)
    found = list(scorer.score_encoded(encoded, every_step=every_step))
    assert len(found) == len(expected) == len(trees)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.source_S.tolist() == theirs.source_S.tolist()
        np.testing.assert_allclose(mine.raw_S, theirs.raw_S, rtol=1e-5)
    assert said
    assert all("out of memory: scoring goes on with" in line and "\n" not in line for line in said)
    again = len(said)
    list(scorer.score_encoded(encoded[:20], every_step=every_step))
    assert len(said) == again, "a budget that has shrunk stays so"
    assert max(held) <= most


def test_a_scoring_budget_set_by_hand_is_not_shrunk(
    build_small: Build, small_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config("llama").model_copy(deep=True)
    config.eval.eval_token_budget = 3000
    scorer = build_small("llama").scorer(config)
    limited_memory(monkeypatch, scorer, 100)
    with pytest.raises(DeviceError, match="--eval_token_budget"):
        scorer.score([random_tree(seed, num_nodes=9) for seed in range(9)])


def test_one_path_that_does_not_fit_ends_in_one_line(
    build_small: Build, small_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = build_small("llama").scorer(small_config("llama"))
    limited_memory(monkeypatch, scorer, 3)
    with pytest.raises(DeviceError, match="out of memory with"):
        scorer.score([random_tree(seed, num_nodes=9, branching=0.0) for seed in range(9)])
