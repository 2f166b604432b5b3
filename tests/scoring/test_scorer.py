"""Every step gets the number that its own path gives it, however trees are packed, cut and limited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scores import scores_of
from strategies import random_tree, trees
from surestep.config import Config
from surestep.encoding.encoded_tree import encode_trees
from surestep.encoding.formatter import Formatter
from surestep.encoding.limits import cut_tree
from surestep.encoding.token_store import write_store
from surestep.errors import DeviceError
from surestep.scoring import model_scorer
from surestep.scoring.build_model import BuiltModel, build_model
from surestep.scoring.hardware import choose_hardware
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.protocol import Wanted
from surestep.scoring.score_split import score_split, score_trees
from surestep.scoring.stored_split import StoredSplit
from surestep.types import Node, ReasoningTree, chain

Build = Callable[..., BuiltModel]

PACKED = ["llama", "qwen3", "mistral", "gemma3", "gpt2", "llama, mix", "gemma3, mix, pooled"]
ONE_PATH_PER_ROW = ["bloom", "mamba", "gemma2", "bloom, mix, pooled"]


@pytest.fixture(scope="module")
def scorers(build_small: Build, small_config: Callable[..., Config]) -> Callable[[str], ModelScorer]:
    """A scorer of each family, built once; tests leave it as it was."""
    built: dict[str, ModelScorer] = {}

    def find(family: str) -> ModelScorer:
        if family not in built:
            built[family] = build_small(family).scorer(small_config(family))
        return built[family]

    return find


def alone(tree: ReasoningTree, index: int) -> ReasoningTree:
    """The path to a step as a tree of its own."""
    path = tree.path(index)
    nodes = [Node(tree.nodes[i].text, rank - 1, None, 0, tree.nodes[i].context) for rank, i in enumerate(path)]
    return ReasoningTree(tree.problem, tuple(nodes))


def scores_alone(scorer: ModelScorer, tree: ReasoningTree) -> list[float | None]:
    """Every step scored by a forward pass over its own path, with the backbone's own attention."""
    route, budget = scorer.model.route, scorer.token_budget
    scorer.model.set_route("paths")
    scorer.token_budget = 1
    try:
        return [scores_of(scorer, [alone(tree, index)])[0][-1] for index in range(len(tree.nodes))]
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


@pytest.mark.slow
@pytest.mark.parametrize("family", PACKED)
@settings(max_examples=8)
@given(several=st.lists(trees(max_nodes=7), min_size=1, max_size=3))
def test_packed_trees_score_as_their_paths_alone(
    family: str, scorers: Callable[[str], ModelScorer], several: list[ReasoningTree]
) -> None:
    scorer = scorers(family)
    assert scorer.model.route == "dense"
    for tree, found in zip(several, scores_of(scorer, several), strict=True):
        assert_close(found, scores_alone(scorer, tree))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_large_trees_score_as_their_paths_alone(family: str, scorers: Callable[[str], ModelScorer]) -> None:
    scorer = scorers(family)
    tree = random_tree(7, num_nodes=45, branching=0.7)
    assert encode_trees([tree], scorer.tokenizer, scorer.formatter)[0].num_tokens > 800
    found = scores_of(scorer, [tree])[0]
    assert np.std([value for value in found if value is not None]) > 0.05, "scores that differ can be confused"
    assert_close(found, scores_alone(scorer, tree))


@pytest.mark.parametrize("family", ONE_PATH_PER_ROW)
def test_a_backbone_that_cannot_run_packed_trees_still_scores_right(
    family: str, scorers: Callable[[str], ModelScorer]
) -> None:
    scorer = scorers(family)
    assert scorer.model.route == "paths"
    several = [random_tree(seed, num_nodes=6) for seed in range(2)]
    for tree, found in zip(several, scores_of(scorer, several), strict=True):
        assert_close(found, scores_alone(scorer, tree))


@pytest.mark.parametrize("budget", [1, 80, 200, 100_000])
def test_cut_trees_score_as_whole_ones(budget: int, scorers: Callable[[str], ModelScorer]) -> None:
    scorer = scorers("qwen3")
    several = [random_tree(seed, num_nodes=12) for seed in range(4)]
    whole = scores_of(scorer, several)
    before, scorer.token_budget = scorer.token_budget, budget
    try:
        for found, expected in zip(scores_of(scorer, several), whole, strict=True):
            assert_close(found, expected)
    finally:
        scorer.token_budget = before


def test_a_later_step_changes_no_earlier_score(scorers: Callable[[str], ModelScorer]) -> None:
    scorer = scorers("llama")
    short = scores_of(scorer, [chain("2 + 2?", ["add 2", "so 4"])])[0]
    long = scores_of(scorer, [chain("2 + 2?", ["add 2", "so 4", "so 5", "so 6"])])[0]
    assert_close(long[:2], short)


def test_a_confidence_token_in_a_step_is_only_text(scorers: Callable[[str], ModelScorer]) -> None:
    scorer = scorers("llama")
    tree = chain("2 + 2?", ["so 4 <CONFIDENCE> so 5", "<CONFIDENCE>", "<|endoftext|>"])
    (encoded,) = encode_trees([tree], scorer.tokenizer, scorer.formatter)
    assert np.count_nonzero(encoded.tokens_T == scorer.tokenizer.confidence_id) == 3
    scores = scores_of(scorer, [tree])[0]
    assert None not in scores
    assert_close(scores, scores_alone(scorer, tree))


def test_only_labelled_steps_get_a_score_where_only_those_are_wanted(scorers: Callable[[str], ModelScorer]) -> None:
    scorer = scorers("llama")
    several = [random_tree(seed, num_nodes=9) for seed in range(3)]
    for wanted in ("all", "labelled"):
        for tree, scores in zip(several, scorer.score(several, wanted=wanted), strict=True):
            asked = [wanted == "all" or node.confidence is not None for node in tree.nodes]
            assert (~np.isnan(scores.confidence_N)).tolist() == asked
            assert ((scores.confidence_N[asked] >= 0) & (scores.confidence_N[asked] <= 1)).all()


def test_labelled_steps_score_the_same_without_the_others(scorers: Callable[[str], ModelScorer]) -> None:
    scorer = scorers("mistral")
    tree = random_tree(3, num_nodes=15)
    (every,), (labelled,) = scores_of(scorer, [tree]), scores_of(scorer, [tree], wanted="labelled")
    assert 0 < labelled.count(None) < len(labelled)
    assert_close(labelled, [None if mine is None else value for value, mine in zip(every, labelled, strict=True)])


def test_steps_beyond_the_position_limit_are_left_out_and_counted(scorers: Callable[[str], ModelScorer]) -> None:
    scorer = scorers("gpt2")
    assert scorer.max_positions == 256
    labels: list[float | None] = [1.0, None, 0.0, 0.5]
    tree = chain("p?", ["a" * 60, "b" * 100, "c" * 120, "d"], labels)
    short = chain("q?", ["fits"], [1.0])
    assert [value is None for value in scores_of(scorer, [tree, short])[0]] == [False, False, True, True]
    assert scores_of(scorer, [tree, short])[1][0] == pytest.approx(scores_of(scorer, [short])[0][0], abs=1e-5)
    steps = score_trees(scorer, [tree, short])
    assert np.isnan(steps.confidence).tolist() == [False, False, True, True, False]
    assert np.isnan(steps.label).tolist() == [False, True, False, False, False]


def test_a_problem_beyond_the_position_limit_harms_no_other_tree(scorers: Callable[[str], ModelScorer]) -> None:
    scorer = scorers("gpt2")
    endless = chain("why? " * 200, ["a", "b"], [1.0, 0.0])
    short = chain("q?", ["fits"], [1.0])
    scores = scores_of(scorer, [endless, short])
    assert scores[0] == [None, None]
    assert scores[1][0] == pytest.approx(scores_of(scorer, [short])[0][0], abs=1e-5)


def test_trees_without_steps_and_no_trees_at_all(scorers: Callable[[str], ModelScorer]) -> None:
    scorer = scorers("llama")
    assert scores_of(scorer, []) == []
    assert scores_of(scorer, [ReasoningTree("p", ())]) == [[]]


def test_progress_counts_every_tree(scorers: Callable[[str], ModelScorer]) -> None:
    told: list[int] = []
    score_trees(scorers("llama"), [random_tree(seed, num_nodes=1) for seed in range(5)], advance=told.append)
    assert told == [1] * 5


def test_trees_of_many_windows_come_out_in_order(
    scorers: Callable[[str], ModelScorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = replace(scorers("llama"), token_budget=64)
    several = [random_tree(seed, num_nodes=seed % 5 + 1) for seed in range(13)]
    # Whole windows without a step, at the beginning and between others: nothing of them runs; they keep their place.
    none = [ReasoningTree("p", ())] * 2
    trees = [*none, *several[:6], *none, *none, *several[6:]]
    in_one = scores_of(scorer, trees)
    monkeypatch.setattr("surestep.scoring.model_scorer._WINDOW", 2)
    for one, many in zip(in_one, scores_of(scorer, trees), strict=True):
        assert_close(one, many)


def test_a_windows_results_come_before_the_next_window_runs(
    scorers: Callable[[str], ModelScorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader, be it a progress bar or a server, waits for its own trees only."""
    scorer = scorers("llama")
    monkeypatch.setattr("surestep.scoring.model_scorer._WINDOW", 2)
    passes: list[int] = []
    forward = scorer.model.forward

    def counted(*arguments: Any, **options: Any) -> Any:
        passes.append(1)
        return forward(*arguments, **options)

    monkeypatch.setattr(scorer.model, "forward", counted)
    found = scorer.score([random_tree(seed) for seed in range(6)])
    before = []
    for _ in found:
        before.append(len(passes))
    assert before == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("largest_first", [False, True])
def test_the_first_result_comes_after_its_own_pack(
    scorers: Callable[[str], ModelScorer], monkeypatch: pytest.MonkeyPatch, largest_first: bool
) -> None:
    """Of 768 trees, in packs that mix trees of a whole window; a tree that is cut waits for its own pieces only."""
    scorer = replace(scorers("llama"), token_budget=300)
    trees = [chain("2 + 2?", [f"step {i % 7}"] * (i % 3 + 1)) for i in range(768)]
    if largest_first:
        trees[0] = random_tree(7, num_nodes=20, branching=1.0)
    passes: list[int] = []

    def counted(batch: Any, *_: Any, **__: Any) -> torch.Tensor:
        batch = getattr(batch, "batch", batch)
        passes.append(len(batch.tokens_P))
        return torch.zeros(len(batch.label_index_S))

    monkeypatch.setattr(scorer.model, "forward", counted)
    before = [len(passes) for _ in scorer.score(trees)]
    own = 1 if not largest_first else len(cut_tree(encode_trees(trees[:1], scorer.tokenizer, scorer.formatter)[0], 300))
    assert own < 10
    assert before[0] <= own
    assert len(passes) > 50
    assert max(passes) <= 300
    # Each pack holds some of the trees that come next: on the way to the end, results come all the time.
    assert len(set(before)) > len(passes) / 5


def test_a_stored_split_is_not_tokenised_again(
    scorers: Callable[[str], ModelScorer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = scorers("llama")
    trees = [random_tree(seed) for seed in range(5)]
    store = write_store(tmp_path / "s", trees, scorer.tokenizer, scorer.formatter, notes={})
    split = StoredSplit("a", "test", store).take(np.array([3, 1]))
    expected = scores_of(scorer, [trees[3], trees[1]])
    other = write_store(tmp_path / "o", trees, scorer.tokenizer, Formatter(step="{text};"), notes={})
    assert scores_of(scorer, StoredSplit("a", "test", other)) == scores_of(scorer, trees), "tokens of another format"

    def refuse(*_: object) -> None:
        raise AssertionError("tokenised again")

    monkeypatch.setattr("surestep.scoring.model_scorer.encode_trees", refuse)
    assert scores_of(scorer, split) == expected


def test_a_split_gives_the_rows_that_its_trees_give(scorers: Callable[[str], ModelScorer], tmp_path: Path) -> None:
    scorer = scorers("llama")
    trees = [replace(random_tree(seed), dataset="a", group="g" if seed < 2 else "") for seed in range(5)]
    split = StoredSplit("a", "test", write_store(tmp_path / "s", trees, scorer.tokenizer, scorer.formatter, notes={}))
    stored, listed = score_split(scorer, [split]), score_trees(scorer, trees)
    for name in ("confidence", "label", "num_ratings", "problem", "tree", "step", "parent", "position", "problem_keys"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(listed, name), name)
    assert stored.num_problems == 4
    assert stored.texts is not None
    assert listed.texts is not None
    for row in range(len(stored)):
        for what in ("problem", "step", "context", "group"):
            assert getattr(stored.texts, what)(row) == getattr(listed.texts, what)(row)


@pytest.mark.parametrize("training", [True, False])
def test_threads_score_alike_and_leave_the_mode_as_it_was(
    build_small: Build, small_config: Callable[..., Config], training: bool
) -> None:
    config = small_config("llama")
    config.model.mlp_dropout = 0.5
    built = build_small(config=config)
    trees = [random_tree(seed, num_nodes=3) for seed in range(4)]
    built.model.eval()
    expected = scores_of(built.scorer(config), trees)
    built.model.train(training)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: scores_of(built.scorer(config), trees), range(24)))
    assert all(scores == expected for scores in found)
    assert all(module.training == training for module in built.model.modules())


def test_modules_of_different_modes_each_get_theirs_back(
    build_small: Build, small_config: Callable[..., Config]
) -> None:
    """A head that is trained on a backbone that is not, and the other way round: dropout is off in both."""
    config = small_config("llama")
    config.model.mlp_dropout = 0.5
    built = build_small(config=config)
    trees = [random_tree(seed, num_nodes=3) for seed in range(2)]
    built.model.eval()
    expected = scores_of(built.scorer(config), trees)
    for mode in (True, False):
        built.model.train(mode)
        built.model.head.train(not mode)
        before = [module.training for module in built.model.modules()]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: scores_of(built.scorer(config), trees), range(8)))
        assert all(scores == expected for scores in found)
        assert [module.training for module in built.model.modules()] == before


def test_scores_that_nobody_reads_to_the_end_leave_the_mode_as_it_was(
    scorers: Callable[[str], ModelScorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = scorers("llama")
    monkeypatch.setattr("surestep.scoring.model_scorer._WINDOW", 1)
    scorer.model.train()
    try:
        next(scorer.score([random_tree(0), random_tree(1)]))
        assert scorer.model.training
    finally:
        scorer.model.eval()


def test_scoring_leaves_training_mode_as_it_was(scorers: Callable[[str], ModelScorer]) -> None:
    scorer = scorers("llama")
    scorer.model.train()
    try:
        scores_of(scorer, [random_tree(0)])
        assert scorer.model.training
    finally:
        scorer.model.eval()


def test_dropout_is_off_while_scoring(build_small: Build, small_config: Callable[..., Config]) -> None:
    config = small_config("llama")
    config.model.mlp_dropout = 0.5
    scorer = build_small(config=config).scorer(config)
    scorer.model.train()
    assert scores_of(scorer, [random_tree(0)]) == scores_of(scorer, [random_tree(0)])


def test_bf16_scores_are_near_the_float32_ones(build_small: Build, small_config: Callable[..., Config]) -> None:
    config = small_config("llama")
    exact = build_small(config=config).scorer(config)
    half = build_small(config=config)
    half.hardware = choose_hardware("cpu", "bf16")
    tree = random_tree(2)
    np.testing.assert_allclose(
        np.array(scores_of(half.scorer(config), [tree])[0], float),
        np.array(scores_of(exact, [tree])[0], float),
        atol=0.1,
    )


def test_a_real_backbone_scores_trees_as_their_paths(stories260k: Path, small_config: Callable[..., Config]) -> None:
    config = small_config("llama")
    config.model.backbone = str(stories260k)
    built = build_model(config, choose_hardware("cpu", "no"))
    with torch.no_grad():
        built.model.head.output.weight.normal_(generator=torch.Generator().manual_seed(0))
    scorer = built.scorer(config)
    tree = random_tree(1, num_nodes=14)
    assert_close(scores_of(scorer, [tree])[0], scores_alone(scorer, tree))


def test_out_of_memory_is_one_line_that_names_the_flag(
    build_small: Build, small_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = build_small("llama").scorer(small_config("llama"))

    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(scorer.model, "forward", fail)
    scorer.model.train()
    with pytest.raises(DeviceError, match="--eval_token_budget") as caught:
        scores_of(scorer, [random_tree(0, num_nodes=3)])
    assert "\n" not in str(caught.value)
    assert scorer.model.training


def test_white_space_around_texts_changes_no_confidence(scorers: Callable[[str], ModelScorer]) -> None:
    """What a splitter leaves at a step's ends, in a tree that no reader made."""
    around = ["{}", "{}\n", "\n {} \r\n", "\t{}\n\n"]
    evidence = "It is a sum."
    found = []
    for form in around:
        nodes = tuple(
            Node(form.format(text), rank - 1, context=form.format(evidence))
            for rank, text in enumerate(["12 + 2 = 14", "14 + 1 = 15"])
        )
        found += scores_of(scorers("llama"), [ReasoningTree(form.format("Add 12, 2 and 1."), nodes)])
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


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["all", "labelled"])
@pytest.mark.parametrize("spare", [0, 150])
def test_memory_that_runs_out_shrinks_the_passes_and_loses_no_step(
    build_small: Build,
    small_config: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    spare: int,
    wanted: Wanted,
) -> None:
    """More trees than a window holds, some of them larger than what fits."""
    monkeypatch.setattr(model_scorer, "_WINDOW", 32)
    built = build_small("llama")
    trees = [random_tree(seed, num_nodes=4 + 13 * (seed % 3), branching=0.8) for seed in range(40)]
    encoded = encode_trees(trees, built.tokenizer, built.formatter)
    expected = list(built.scorer(small_config("llama")).score_encoded(encoded, wanted=wanted))
    scorer, said = built.scorer(small_config("llama")), []
    scorer.say = said.append
    most = max(int(tree.path_ends().max()) for tree in encoded) + spare  # one path is never cut
    assert any(tree.num_tokens > most for tree in encoded), "some trees do not fit whole"
    held = limited_memory(monkeypatch, scorer, most)
    found = list(scorer.score_encoded(encoded, wanted=wanted))
    assert len(found) == len(expected) == len(trees)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)  # NaN where nothing was wanted, in both
    assert said
    assert all("out of memory: scoring continues with" in line and "\n" not in line for line in said)
    again = len(said)
    list(scorer.score_encoded(encoded[:20], wanted=wanted))
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
        scores_of(scorer, [random_tree(seed, num_nodes=9) for seed in range(9)])


def test_one_path_that_does_not_fit_ends_in_one_line(
    build_small: Build, small_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = build_small("llama").scorer(small_config("llama"))
    limited_memory(monkeypatch, scorer, 3)
    with pytest.raises(DeviceError, match="out of memory with"):
        scores_of(scorer, [random_tree(seed, num_nodes=9, branching=0.0) for seed in range(9)])
