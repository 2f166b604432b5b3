"""A solution scored step by step gets the scores that it gets as a whole, however sessions branch, share and come back.

The tiny models are random with large weights: one token seen too many or too few changes every score visibly.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import random_tree, trees
from surestep.calibration.calibration import Calibration
from surestep.calibration.maps import Platt
from surestep.config import Config
from surestep.encoding.encoded_tree import encode_trees
from surestep.errors import BackboneError, DeviceError, InputError
from surestep.model.confidence_model import ConfidenceModel
from surestep.model.fast.weights_for_scoring import freeze, merge_adapters
from surestep.model.session_probe import weights_mark
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.sessions import NextSteps, Session, SessionScorer
from surestep.types import ROOT, Node, ReasoningTree, chain

Find = Callable[[str], ModelScorer]
STEPS = ["12 * 3 = 36.", "36 + 4 = 41.", "so it is 41", "no, 36 + 4 = 40", "the answer is 40"]
PROBLEM = "What is 12 * 3 + 4?"


@pytest.fixture(scope="module")
def scorers(build_small: Callable[..., BuiltModel], small_config: Callable[..., Config]) -> Find:
    """A scorer of each kind, built once and settled; tests leave it as it was."""
    built: dict[str, ModelScorer] = {}

    def find(kind: str) -> ModelScorer:
        if kind not in built:
            family, *options = kind.split(", ")
            with pytest.MonkeyPatch.context() as patch:
                if "fused" in options:  # as on a GPU, before the layers are narrowed
                    narrow = ConfidenceModel.narrow_layers
                    patch.setattr(ConfidenceModel, "narrow_layers", lambda self: self.fuse_layers() and narrow(self))
                read = [option for option in options if option in ("mix", "pooled")]
                config = small_config(", ".join([family, *read]), lora="lora" in options)
                made = build_small(config=config)
            assert made.model.is_fused == ("fused" in options)
            assert made.model.is_narrowed == (family in ("llama", "qwen3", "mistral") and not read)
            freeze(made.model)
            built[kind] = made.scorer(config)
        return built[kind]

    return find


@pytest.fixture(scope="module")
def scorer(scorers: Find) -> ModelScorer:
    return scorers("llama")


def whole(scorer: ModelScorer, tree: ReasoningTree) -> list[float | None]:
    """The raw scores of all steps of a tree, from one pass over it."""
    (found,) = scorer.score([tree])
    return [None if np.isnan(value) else float(value) for value in found.raw_N]


def assert_close(found: Any, expected: Any, bound: float = 1e-5) -> None:
    assert [value is None for value in found] == [value is None for value in expected]
    known = [(a, b) for a, b in zip(found, expected, strict=True) if a is not None]
    assert max((abs(a - b) for a, b in known), default=0.0) <= bound


def num_tokens(scorer: ModelScorer, tree: ReasoningTree) -> int:
    return encode_trees([tree], scorer.tokenizer, scorer.formatter)[0].num_tokens


def add_in_any_order(scorer: SessionScorer, tree: ReasoningTree, rng: random.Random) -> list[float | None]:
    """Score every step of a tree in sessions: steps in any order behind their parents, several at once, forked."""
    sessions: dict[int, Session] = {ROOT: scorer.open(tree.problem)}
    found: dict[int, float | None] = {}
    open_steps = [index for index, node in enumerate(tree.nodes) if node.parent == ROOT]
    while open_steps:
        rng.shuffle(open_steps)
        cut = rng.randint(1, len(open_steps))
        now, open_steps = open_steps[:cut], open_steps[cut:]
        for index in now:
            sessions[index] = sessions[tree.nodes[index].parent].fork()
        steps = [(sessions[index], tree.nodes[index].text, tree.nodes[index].context) for index in now]
        found.update(zip(now, scorer.add_many(steps), strict=True))
        for index in now:
            open_steps += [step for step, node in enumerate(tree.nodes) if node.parent == index]
    for index, session in sessions.items():
        if index != ROOT:
            path = tree.path(index)
            assert session.steps == tuple(tree.nodes[step].text for step in path)
            assert session.raw == session.confidences == tuple(found[step] for step in path)
        session.close()
    return [found[index] for index in range(len(tree.nodes))]


KINDS = ["llama", "mistral", "qwen3, fused", "qwen3, lora", "llama, lora, fused", "gemma3", "gpt2", "mixtral"]
KINDS += ["llama, pooled", "qwen3, lora, mix, pooled"]


@pytest.fixture(scope="module")
def session_scorers(scorers: Find) -> Callable[[str], SessionScorer]:
    return cache(lambda kind: SessionScorer(scorers(kind)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6)
@given(tree=trees(max_nodes=9), seed=st.integers(0, 99))
def test_any_tree_in_any_order_batched_and_forked_is_scored_as_a_whole(
    kind: str, scorers: Find, session_scorers: Callable[[str], SessionScorer], tree: ReasoningTree, seed: int
) -> None:
    scorer, sessions = scorers(kind), session_scorers(kind)
    before = sessions.usage().tokens_computed
    assert_close(add_in_any_order(sessions, tree, random.Random(seed)), whole(scorer, tree))
    usage = sessions.usage()
    assert usage.tokens_held == usage.bytes_held == 0, "memory after closing is free"
    # Equal steps under one parent are one node, so at most every token of the tree once.
    assert usage.tokens_computed - before <= num_tokens(scorer, tree)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_a_long_tree_with_evicted_steps_is_scored_as_a_whole(kind: str, scorers: Find) -> None:
    """There is room for less than a tenth of the tree: steps are computed again, and rightly."""
    scorer, tree = scorers(kind), random_tree(7, num_nodes=30, branching=0.6)
    expected = whole(scorer, tree)
    assert np.std([value for value in expected if value is not None]) > 0.05, "scores that differ can be confused"
    longest = max(encode_trees([tree], scorer.tokenizer, scorer.formatter)[0].path_ends())
    for room in (int(longest) + 40, 60, 1):
        sessions = SessionScorer(scorer, max_tokens=room)
        assert_close(add_in_any_order(sessions, tree, random.Random(room)), expected)
        usage = sessions.usage()
        assert usage.tokens_held == 0
        assert usage.tokens_computed > num_tokens(scorer, tree)
        assert usage.tokens_unkept > 0, "a pass of many branches takes more room than there is"


def test_fifty_steps_cost_an_eighth_of_the_tokens_of_every_prefix(scorer: ModelScorer) -> None:
    steps = [f"{number} + {number} = {2 * number}" for number in range(50)]
    unlimited = replace(scorer, max_positions=None)
    prefixes = sum(num_tokens(scorer, chain(PROBLEM, steps[: count + 1])) for count in range(50))
    sessions = SessionScorer(unlimited)
    with sessions.open(PROBLEM) as session:
        found = [session.add(step) for step in steps]
        usage = sessions.usage()
        assert session.num_tokens == usage.tokens_held == usage.tokens_computed
    assert usage.tokens_computed == num_tokens(scorer, chain(PROBLEM, steps)), "every token once"
    assert prefixes >= 8 * usage.tokens_computed
    assert_close(found, whole(unlimited, chain(PROBLEM, steps)))


def test_steps_that_had_to_go_leave_nothing_above_them_behind(scorer: ModelScorer) -> None:
    """Sessions of which a part was evicted: where their last held step is, there they stand, and leave it."""
    sessions = SessionScorer(scorer, max_tokens=120)
    for seed in range(8):
        tree = random_tree(seed, num_nodes=10)
        opened = {ROOT: sessions.open(tree.problem)}
        for index, node in enumerate(tree.nodes):
            opened[index] = opened[node.parent].fork()
            opened[index].add(node.text)
            stand = [state.node.held() for state in (s._state for s in opened.values()) if state.node is not None]
            for held in sessions._passes.cache._nodes.values():
                assert held.num_sessions == stand.count(held)
        for session in opened.values():
            session.close()
        assert sessions.usage().tokens_held == 0


def test_forks_go_three_levels_deep_and_back_and_share_memory(scorer: ModelScorer) -> None:
    sessions = SessionScorer(scorer)
    first = sessions.open(PROBLEM)
    first.add(STEPS[0])
    second = first.fork()
    second.add(STEPS[1])
    third = second.fork()
    third.add(STEPS[2])
    held = sessions.usage().tokens_held
    fourth = third.fork()
    assert sessions.usage().tokens_held == held, "a fork costs nothing"
    fourth.add(STEPS[3])
    # Back up: the upper ones go on, and see nothing of what was added below them.
    first.add(STEPS[4])
    second.add(STEPS[3])
    for session, steps in (
        (first, [0, 4]),
        (second, [0, 1, 3]),
        (third, [0, 1, 2]),
        (fourth, [0, 1, 2, 3]),
    ):
        texts = [STEPS[number] for number in steps]
        assert session.steps == tuple(texts)
        assert_close(session.raw, whole(scorer, chain(PROBLEM, texts)))
    tree = ReasoningTree(
        PROBLEM,
        (Node(STEPS[0]), Node(STEPS[1], 0), Node(STEPS[2], 1), Node(STEPS[3], 2), Node(STEPS[4], 0), Node(STEPS[3], 1)),
    )
    assert sessions.usage().tokens_held == num_tokens(scorer, tree), "what they share is there once"
    first.close()
    third.close()
    assert_close([fourth.add(STEPS[4])], whole(scorer, chain(PROBLEM, STEPS))[-1:])
    for session in (second, fourth):
        session.close()
    assert sessions.usage().tokens_held == 0


def test_candidates_are_scored_in_one_pass_and_leave_nothing_behind(scorer: ModelScorer) -> None:
    sessions = SessionScorer(scorer)
    for steps in ([], STEPS[:1], STEPS[:2]):
        session = sessions.open(PROBLEM)
        for step in steps:
            session.add(step)
        before = sessions.usage()
        candidates = [*STEPS, STEPS[0]]
        found = session.score_candidates(candidates)
        after = sessions.usage()
        assert_close(found, [whole(scorer, chain(PROBLEM, [*steps, step]))[-1] for step in candidates])
        assert found[0] == found[-1]
        assert after.passes == before.passes + 1
        if steps:
            assert after.tokens_held == before.tokens_held
        assert session.steps == tuple(steps)
        assert session.score_candidates([]) == []
        assert session.add(STEPS[3]) == pytest.approx(found[3], abs=1e-5)
        session.close()
        assert sessions.usage().tokens_held == 0


def test_steps_and_candidates_of_many_sessions_share_a_pass(scorer: ModelScorer) -> None:
    calibrated = replace(scorer, calibration=Calibration(Platt(2.0, 1.0)))
    sessions = SessionScorer(calibrated)
    one, other = sessions.open(PROBLEM), sessions.open("another problem")
    before = sessions.usage().passes
    asked = [
        NextSteps(one, STEPS[:2]),
        NextSteps(other, STEPS[:3], context="12 * 3 is 36", keep=False),
        NextSteps(one, STEPS[2:4], keep=False),  # behind the steps that were added before it
        NextSteps(one, [STEPS[4]]),
        NextSteps(other, [], keep=False),
    ]
    found = sessions.score_next(asked)
    assert sessions.usage().passes == before + 1
    assert_close([*found[0].raw, *found[3].raw], whole(scorer, chain(PROBLEM, [*STEPS[:2], STEPS[4]])))
    assert_close(found[2].raw, [whole(scorer, chain(PROBLEM, [*STEPS[:2], step]))[-1] for step in STEPS[2:4]])
    beside = ReasoningTree("another problem", tuple(Node(step, context="12 * 3 is 36") for step in STEPS[:3]))
    assert_close(found[1].raw, whole(scorer, beside))
    assert found[4].raw == found[4].confidence == ()
    assert (one.steps, other.steps) == ((*STEPS[:2], STEPS[4]), ())
    assert one.confidences == found[0].confidence + found[3].confidence
    assert one.confidences != one.raw
    assert_close(found[1].confidence, other.score_candidates(STEPS[:3], context="12 * 3 is 36"))
    for session in (one, other):
        session.close()
    assert sessions.usage().tokens_held == 0


def test_candidates_beyond_the_token_budget_take_several_passes(scorer: ModelScorer) -> None:
    sessions = SessionScorer(replace(scorer, token_budget=30))
    session = sessions.open(PROBLEM)
    session.add(STEPS[0])
    before = sessions.usage().passes
    found = session.score_candidates(STEPS)
    assert sessions.usage().passes > before + 1
    assert_close(found, [whole(scorer, chain(PROBLEM, [STEPS[0], step]))[-1] for step in STEPS])


def test_a_candidate_that_a_fork_has_added_holds_nothing_for_who_asks(scorer: ModelScorer) -> None:
    sessions = SessionScorer(scorer)
    session = sessions.open(PROBLEM)
    session.add(STEPS[0])
    held = sessions.usage().tokens_held
    fork = session.fork()
    value = fork.add(STEPS[1])
    assert session.score_candidates([STEPS[1]]) == [value], "what is known is not computed again"
    fork.close()
    assert sessions.usage().tokens_held == held


def test_many_sessions_of_different_depths_share_a_pass(scorer: ModelScorer) -> None:
    sessions = SessionScorer(scorer)
    opened = [sessions.open(f"{PROBLEM} {number}") for number in range(4)]
    for number, session in enumerate(opened):
        for step in STEPS[:number]:
            session.add(step)
    before = sessions.usage().passes
    found = sessions.add_many([(session, "so it is 40") for session in opened])
    assert sessions.usage().passes == before + 1
    for number, (session, value) in enumerate(zip(opened, found, strict=True)):
        expected = whole(scorer, chain(f"{PROBLEM} {number}", [*STEPS[:number], "so it is 40"]))
        assert_close(session.raw, expected)
        assert session.confidences[-1] == value


def test_a_session_may_get_several_steps_in_one_call(scorer: ModelScorer) -> None:
    sessions = SessionScorer(scorer)
    one, other = sessions.open(PROBLEM), sessions.open(PROBLEM)
    found = sessions.add_many([(one, STEPS[0]), (other, STEPS[0], "12 * 3 is 36"), (one, STEPS[1])])
    assert sessions.usage().passes == 1
    assert_close([found[0], found[2]], whole(scorer, chain(PROBLEM, STEPS[:2])))
    with_context = ReasoningTree(PROBLEM, (Node(STEPS[0], context="12 * 3 is 36"),))
    assert_close([found[1]], whole(scorer, with_context))
    assert one.steps == tuple(STEPS[:2])
    assert sessions.add_many([]) == []


def test_a_step_keeps_its_score_to_the_bit(scorer: ModelScorer) -> None:
    """Computed again with other neighbours, after it was evicted, asked for by another session."""
    sessions = SessionScorer(scorer, max_tokens=70)
    session = sessions.open(PROBLEM)
    given = [session.add(step) for step in STEPS[:3]]
    before = sessions.usage().tokens_computed
    assert sessions.open(PROBLEM).add(STEPS[0]) == given[0]
    assert sessions.usage().tokens_computed == before
    for number in range(3):
        other = sessions.open(f"another problem {number}")
        sessions.add_many([(other, STEPS[3]), (session, f"step {number}")])
        assert session.confidences[:3] == tuple(given)


def test_a_path_beyond_the_limit_has_no_score_from_there_on(scorer: ModelScorer) -> None:
    tree = chain(PROBLEM, STEPS)
    ends = encode_trees([tree], scorer.tokenizer, scorer.formatter)[0].path_ends()
    for limit, num_scored in ((int(ends[3]), 3), (int(ends[3]) - 1, 2), (int(ends[0]), 0), (int(ends[0]) - 1, 0)):
        limited = replace(scorer, max_positions=limit)
        expected = whole(limited, tree)
        assert sum(value is not None for value in expected) == num_scored
        sessions = SessionScorer(limited)
        with sessions.open(PROBLEM) as session:
            assert_close([session.add(step) for step in STEPS], expected)
            assert_close(session.raw, expected)
            assert session.num_tokens == int(ends[-1])
            assert session.score_candidates(["x"]) == [None]
            fork = session.fork()
            assert fork.add("x") is None
            assert_close(fork.raw, [*expected, None])
            fork.close()
        assert sessions.usage().tokens_held == 0


def test_scores_are_calibrated_on_the_way_out(scorer: ModelScorer) -> None:
    calibrated = replace(scorer, calibration=Calibration(Platt(2.0, 1.0), {"own": Platt(0.5, 0.0)}))
    sessions = SessionScorer(calibrated)
    session, own = sessions.open(PROBLEM), sessions.open(PROBLEM, dataset="own")
    found, found_own = session.add(STEPS[0]), own.add(STEPS[0])
    assert sessions.usage().passes == 1, "both are one step"
    (expected,), (expected_own,) = (
        next(calibrated.score([chain(PROBLEM, STEPS[:1])], dataset=name)).confidence_N for name in (None, "own")
    )
    assert (found, found_own) == (pytest.approx(expected, abs=1e-5), pytest.approx(expected_own, abs=1e-5))
    assert session.score_candidates([STEPS[1]]) != own.score_candidates([STEPS[1]])
    assert own.fork().confidences == own.confidences
    calibrated.calibration = None  # a new calibration needs no pass
    assert session.confidences == session.raw == own.confidences
    assert sessions.usage().tokens_computed > 0


def test_two_namespaces_share_nothing(scorer: ModelScorer) -> None:
    sessions = SessionScorer(scorer)
    first, second = sessions.open(PROBLEM, namespace="a"), sessions.open(PROBLEM, namespace="b")
    first.add(STEPS[0])
    before = sessions.usage()
    second.add(STEPS[0])
    after = sessions.usage()
    assert after.tokens_computed == 2 * before.tokens_computed
    assert after.tokens_held == 2 * before.tokens_held
    assert sessions.open(PROBLEM, namespace="a").add(STEPS[0]) == first.raw[0]
    assert sessions.usage().tokens_computed == after.tokens_computed, "within one, it is found"


def _parameter(scorer: ModelScorer) -> torch.nn.Parameter:
    return scorer.model.transformer.layers[0].mlp.up_proj.weight  # type: ignore[no-any-return]


@torch.no_grad()
def _in_place(scorer: ModelScorer) -> None:
    _parameter(scorer).mul_(1.5)


@torch.no_grad()
def _loaded(scorer: ModelScorer) -> None:
    scorer.model.load_state_dict({name: value * 1.1 for name, value in scorer.model.state_dict().items()})


@torch.no_grad()
def _exchanged(scorer: ModelScorer) -> None:
    weight = _parameter(scorer).detach() * 1.5
    scorer.model.transformer.layers[0].mlp.up_proj.weight = torch.nn.Parameter(weight, requires_grad=False)


@torch.no_grad()
def _past_torch_but_told(scorer: ModelScorer) -> None:
    _parameter(scorer).data *= 1.5
    scorer.model.weights_changed()


@pytest.mark.parametrize("change", [_in_place, _loaded, _exchanged, _past_torch_but_told], ids=lambda f: f.__name__)
def test_after_a_change_of_weights_nothing_old_is_given_out(
    change: Callable[[ModelScorer], None],
    build_small: Callable[..., BuiltModel],
    small_config: Callable[..., Config],
) -> None:
    built = build_small("llama")
    freeze(built.model)
    scorer = built.scorer(small_config("llama"))
    sessions = SessionScorer(scorer)
    session, idle = sessions.open(PROBLEM), sessions.open(PROBLEM)
    sessions.add_many([(session, STEPS[0]), (session, STEPS[1]), (idle, STEPS[2])])
    before = session.raw
    change(scorer)
    expected = whole(scorer, chain(PROBLEM, STEPS[:3]))
    assert abs(expected[0] - before[0]) > 1e-3, "the change shows"
    session.add(STEPS[2])
    assert_close(session.raw, expected)
    assert_close(idle.raw, whole(scorer, chain(PROBLEM, STEPS[2:3])))
    for opened in (session, idle):
        opened.close()
    assert sessions.usage().tokens_held == 0


def test_merged_adapters_are_other_weights(
    build_small: Callable[..., BuiltModel], small_config: Callable[..., Config]
) -> None:
    built = build_small("llama", lora=True)
    freeze(built.model)
    before = weights_mark(built.model)
    assert weights_mark(built.model) == before
    merge_adapters(built.model)
    assert weights_mark(built.model) != before


def test_a_model_that_is_trained_gives_no_score_though_it_gave_some(
    build_small: Callable[..., BuiltModel], small_config: Callable[..., Config]
) -> None:
    built = build_small("llama")
    built.model.eval()
    with pytest.raises(InputError, match="weights that are not trained"):
        SessionScorer(built.scorer(small_config("llama")))
    freeze(built.model)
    sessions = SessionScorer(built.scorer(small_config("llama")))
    session = sessions.open(PROBLEM)
    value = session.add(STEPS[0])
    built.model.train()
    for ask in (lambda: session.add(STEPS[1]), lambda: session.score_candidates(["x"]), lambda: session.raw):
        with pytest.raises(InputError, match="training mode"):
            ask()
    built.model.eval()
    assert session.confidences == (value,)
    assert session.steps == (STEPS[0],), "what was refused was not added"


def test_a_backbone_of_one_path_per_row_is_refused(
    build_small: Callable[..., BuiltModel], small_config: Callable[..., Config]
) -> None:
    built = build_small("bloom")
    freeze(built.model)
    with pytest.raises(BackboneError, match="one path per row"):
        SessionScorer(built.scorer(small_config("bloom")))


@pytest.mark.parametrize("text", ["", " \n", None, 3, b"12"])
def test_what_is_no_text_is_refused_in_a_line_and_changes_nothing(scorer: ModelScorer, text: Any) -> None:
    sessions = SessionScorer(scorer)
    session, other = sessions.open(PROBLEM), sessions.open(PROBLEM)
    for ask in (
        lambda: sessions.open(text),
        lambda: session.add(text),
        lambda: session.score_candidates([STEPS[0], text]),
        lambda: sessions.add_many([(other, STEPS[0]), (session, text)]),
    ):
        with pytest.raises(InputError, match="allowed: text") as caught:
            ask()
        assert "\n" not in str(caught.value)
    assert session.steps == other.steps == ()
    assert sessions.usage().tokens_computed == 0


def test_other_wrong_arguments_are_refused(scorer: ModelScorer) -> None:
    sessions = SessionScorer(scorer)
    session = sessions.open(PROBLEM)
    with pytest.raises(InputError, match="a list of texts"):
        session.score_candidates("one text")
    with pytest.raises(InputError, match="context of the step is of type int"):
        session.add(STEPS[0], context=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="namespace is none"):
        sessions.open(PROBLEM, namespace=None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a session is of type str"):
        sessions.add_many([("session", STEPS[0])])  # type: ignore[list-item]
    with pytest.raises(InputError, match="another scorer"):
        SessionScorer(scorer).add_many([(session, STEPS[0])])
    with pytest.raises(InputError, match="1 or more"):
        SessionScorer(scorer, max_tokens=0)


def test_a_closed_session_keeps_its_scores_and_takes_nothing_more(scorer: ModelScorer) -> None:
    sessions = SessionScorer(scorer)
    with sessions.open(PROBLEM) as session:
        value = session.add(STEPS[0])
    session.close()
    assert session.confidences == session.raw == (value,)
    for ask in (lambda: session.add("x"), session.fork, lambda: session.score_candidates(["x"])):
        with pytest.raises(InputError, match="closed"):
            ask()
    assert sessions.usage().tokens_held == 0


@pytest.mark.slow
def test_a_session_that_is_dropped_is_closed(scorer: ModelScorer) -> None:
    sessions = SessionScorer(scorer)
    session = sessions.open(PROBLEM)
    session.add(STEPS[0])
    fork = session.fork()
    fork.add(STEPS[1])
    del session
    gc.collect()
    assert sessions.usage().tokens_held == fork.num_tokens
    del fork
    gc.collect()
    assert sessions.usage().tokens_held == 0


def test_a_closed_session_s_steps_stay_for_others_where_that_is_asked_for(scorer: ModelScorer) -> None:
    sessions = SessionScorer(scorer, keep_unused=True, max_tokens=100)
    with sessions.open(PROBLEM) as session:
        value = session.add(STEPS[0])
    usage = sessions.usage()
    assert usage.tokens_held > 0
    with sessions.open(PROBLEM) as session:
        assert session.add(STEPS[0]) == value
    assert sessions.usage() == usage
    for number in range(8):
        with sessions.open(f"problem {number}") as session:
            session.add(STEPS[0])
    assert sessions.usage().tokens_held <= 100
    assert sessions.usage().tokens_unkept == 0, "they make room"


@pytest.mark.parametrize("error", [RuntimeError("broken"), torch.OutOfMemoryError("full")], ids=["error", "memory"])
def test_a_pass_that_fails_leaves_everything_as_it_was(
    scorer: ModelScorer, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = SessionScorer(replace(scorer, token_budget=40))
    session, other = sessions.open(PROBLEM), sessions.open(PROBLEM)
    session.add(STEPS[0])
    before = sessions.usage()
    passes = [0]

    def fails_later(*_: Any) -> None:
        passes[0] += 1
        if passes[0] > 1:
            raise error

    hook = scorer.model.register_forward_pre_hook(fails_later)
    try:
        expected = DeviceError if isinstance(error, torch.OutOfMemoryError) else RuntimeError
        with pytest.raises(expected) as caught:
            sessions.add_many([(other, STEPS[1] * 3), (session, STEPS[1] * 3)])
        assert "\n" not in str(caught.value)
    finally:
        hook.remove()
    after = sessions.usage()
    assert passes[0] > 1
    assert after.tokens_held == before.tokens_held
    assert (session.steps, other.steps) == ((STEPS[0],), ())
    assert_close([session.add(STEPS[1])], whole(scorer, chain(PROBLEM, STEPS[:2]))[-1:])


def test_out_of_memory_with_many_sessions_is_tried_with_fewer(scorer: ModelScorer) -> None:
    sessions = SessionScorer(scorer)
    opened = [sessions.open(f"{PROBLEM} {number}") for number in range(5)]

    def too_large(_: Any, arguments: Any) -> None:
        if len(arguments[0].batch.tokens_P) > 80:
            raise torch.OutOfMemoryError("full")

    hook = scorer.model.register_forward_pre_hook(too_large)
    try:
        found = sessions.add_many([(session, STEPS[0]) for session in opened])
    finally:
        hook.remove()
    for number, value in enumerate(found):
        assert_close([value], whole(scorer, chain(f"{PROBLEM} {number}", STEPS[:1])))
    for session in opened:
        session.close()
    assert sessions.usage().tokens_held == 0


def test_threads_share_a_scorer(scorer: ModelScorer) -> None:
    sessions = SessionScorer(scorer, max_tokens=300)
    several = [random_tree(seed, num_nodes=8) for seed in range(6)]
    expected = [whole(scorer, tree) for tree in several]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda tree: add_in_any_order(sessions, tree, random.Random(0)), several)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    assert sessions.usage().tokens_held == 0


def test_in_half_precision_a_session_is_no_farther_than_rounding(
    build_small: Callable[..., BuiltModel], small_config: Callable[..., Config]
) -> None:
    exact, half = (build_small("llama", config=_with_precision(small_config, name)) for name in ("no", "bf16"))
    half = replace(half, hardware=replace(half.hardware, precision="bf16"))
    for built in (exact, half):
        freeze(built.model)
    in_float32, in_bf16 = (built.scorer(small_config("llama")) for built in (exact, half))
    sessions = SessionScorer(in_bf16)
    assert sessions._passes.layout.dtype == torch.bfloat16
    to_full, to_exact = [], []
    for seed in range(6):
        tree = random_tree(seed, num_nodes=8)
        found = add_in_any_order(sessions, tree, random.Random(seed))
        full, precise = whole(in_bf16, tree), whole(in_float32, tree)
        to_full += [abs(a - b) for a, b in zip(found, full, strict=True) if a is not None and b is not None]
        to_exact += [abs(a - b) for a, b in zip(full, precise, strict=True) if a is not None and b is not None]
    assert np.mean(to_full) <= np.mean(to_exact)
    assert max(to_full) <= max(to_exact)


def _with_precision(small_config: Callable[..., Config], name: str) -> Config:
    config = small_config("llama").model_copy(deep=True)
    config.training.mixed_precision = name  # type: ignore[assignment]
    return config


def test_candidates_may_come_from_anything_that_gives_them(scorer: ModelScorer) -> None:
    with SessionScorer(scorer).open("1+1?") as session:
        listed = session.score_candidates(["It is 2.", "It is 3."])
        again = session.score_candidates(text for text in ("It is 2.", "It is 3."))
        assert again == pytest.approx(listed, rel=1e-5), "the problem is held by now: a pass of another length"
        assert len(listed) == 2


@pytest.mark.parametrize("steps", [None, 3, b"ab", "ab", {"a": 1}, {"a"}, ["a", "\ud800"], ["a", None]])
def test_candidates_that_are_no_list_of_texts_are_refused(scorer: ModelScorer, steps: Any) -> None:
    with SessionScorer(scorer).open("1+1?") as session, pytest.raises(InputError, match="allowed: "):
        session.score_candidates(steps)


@pytest.mark.parametrize("steps", [None, "ab", [()], [("a",)], ["ab"], [None], [(1, 2, 3, 4)], [(None, "a")]])
def test_entries_that_are_no_session_with_a_step_are_refused(scorer: ModelScorer, steps: Any) -> None:
    with pytest.raises(InputError, match="allowed: "):
        SessionScorer(scorer).add_many(steps)


def test_half_a_character_is_refused_and_changes_nothing(scorer: ModelScorer) -> None:
    sessions = SessionScorer(scorer)
    with pytest.raises(InputError, match="surrogate"):
        sessions.open("\ud800")
    with sessions.open("1+1?") as session:
        for step, context in (("\ud800", None), ("a", "\udc00")):
            with pytest.raises(InputError, match="surrogate"):
                session.add(step, context=context)
        assert session.steps == ()
