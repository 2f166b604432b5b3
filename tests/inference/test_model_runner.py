"""The adapter between server and model: pieces, sessions and calibration give what whole solutions give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import trees
from surestep.calibration.calibration import Calibration
from surestep.calibration.maps import Platt
from surestep.errors import InputError
from surestep.inference.model_runner import ModelRunner, sessions_over
from surestep.inference.requests import SessionStep, StepRequest
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.protocol import NodeScores
from surestep.scoring.sessions import SessionScorer
from surestep.types import ReasoningTree, chain

STEPS = ["12 * 3 = 36.", "36 + 4 = 40.", "So it is 40.", "Done."]


@pytest.fixture(scope="module")
def scorer(build_small: Callable[..., Any], small_config: Callable[..., Any]) -> ModelScorer:
    made: ModelScorer = build_small("llama").scorer(small_config("llama"))
    made.model.eval().requires_grad_(False)  # as a checkpoint that was loaded to score has it
    made.calibration = Calibration(Platt(0.5, 0.1), {"own": Platt(2.0, -0.3)})
    return made


def whole(scorer: ModelScorer, tree: ReasoningTree, dataset: str | None = None) -> NodeScores:
    (scores,) = scorer.score([tree], dataset=dataset)
    return NodeScores(
        *(tuple(None if np.isnan(v) else float(v) for v in values) for values in (scores.confidence_N, scores.raw_N))
    )


def close(one: NodeScores, other: NodeScores) -> None:
    for a, b in ((one.confidence, other.confidence), (one.raw, other.raw)):
        assert [v is None for v in a] == [v is None for v in b]
        np.testing.assert_allclose([v or 0.0 for v in a], [v or 0.0 for v in b], atol=2e-6)


def result(found: Any) -> NodeScores:
    assert isinstance(found, NodeScores)
    return found


@settings(max_examples=8)
@given(st.lists(trees(), min_size=1, max_size=4), st.integers(20, 90))
def test_pieces_of_many_requests_give_what_each_gives_alone(
    scorer: ModelScorer, forest: list[ReasoningTree], budget: int
) -> None:
    runner = ModelRunner(scorer)
    owners, pieces = [], []
    for number, tree in enumerate(forest):
        for piece in runner.pieces(runner.encode(StepRequest(tree)), budget):
            owners.append(number)
            pieces.append(piece)
    joined: dict[int, NodeScores] = {}
    for owner, found in zip(owners, runner.run(pieces), strict=True):
        scores = result(found)
        joined[owner] = joined[owner].joined(scores) if owner in joined else scores
    for number, tree in enumerate(forest):
        close(joined[number], whole(scorer, tree))


def test_a_dataset_s_own_map_is_applied(scorer: ModelScorer) -> None:
    runner, tree = ModelRunner(scorer), chain("p", STEPS)
    for dataset in (None, "own", "another"):
        (found,) = runner.run([runner.encode(StepRequest(tree, dataset))])
        close(result(found), whole(scorer, tree, dataset))


def test_a_session_gives_what_its_whole_path_gives(scorer: ModelScorer) -> None:
    runner = ModelRunner(scorer)
    session = runner.open_session("What is 12 * 3 + 4?", "a")

    def asked(*steps: str, keep: bool = True, on: Any = None) -> NodeScores:
        (found,) = runner.run([runner.encode(SessionStep(on or session, steps, keep=keep))])
        return result(found)

    for step in STEPS[:2]:
        asked(step)
    branch = session.fork()
    candidates = asked("So it is 41.", STEPS[2], keep=False)
    asked(STEPS[2])
    asked("Hence 40.", on=branch)
    tree = chain("What is 12 * 3 + 4?", STEPS[:3])
    close(NodeScores(tuple(session.confidences), tuple(session.raw)), whole(scorer, tree))
    assert candidates.confidence[1] == pytest.approx(session.confidences[2], abs=2e-6)
    assert list(branch.steps) == [*STEPS[:2], "Hence 40."]
    assert list(session.steps) == STEPS[:3]
    assert branch.confidences[:2] == session.confidences[:2], "a stored number never changes"
    assert session.num_tokens == runner.encode(StepRequest(tree)).num_tokens
    session.close()
    assert list(session.steps) == []
    assert list(branch.steps)[:2] == STEPS[:2]


def test_several_sessions_share_a_run(scorer: ModelScorer) -> None:
    runner = ModelRunner(scorer)
    sessions = [runner.open_session(f"problem {number}", "a") for number in range(3)]
    runner.run([runner.encode(SessionStep(session, (STEPS[0],), "evidence")) for session in sessions])
    for number, session in enumerate(sessions):
        alone = runner.open_session(f"problem {number}", "a")
        runner.run([runner.encode(SessionStep(alone, (STEPS[0],), "evidence"))])
        np.testing.assert_allclose(session.raw, alone.raw, atol=2e-6)


def test_what_is_beyond_the_longest_path_has_no_number(scorer: ModelScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "max_positions", 40)
    runner, tree = ModelRunner(scorer), chain("p", STEPS * 4)
    (found,) = runner.run([runner.encode(StepRequest(tree))])
    assert result(found).confidence[-1] is None
    assert result(found).raw[0] is not None
    close(result(found), whole(scorer, tree))


def test_a_pass_that_fails_changes_no_session(scorer: ModelScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = ModelRunner(scorer)
    one, other = runner.open_session("p", "a"), runner.open_session("q", "a")
    works = [runner.encode(SessionStep(session, (STEPS[0],))) for session in (one, other)]

    def broken(trees: Any) -> Any:
        yield np.array([0.5])
        raise RuntimeError("the second pass failed")

    monkeypatch.setattr(scorer, "score_encoded", broken)
    with pytest.raises(RuntimeError):
        runner.run(works)
    assert list(one.steps) == list(other.steps) == []


@pytest.mark.parametrize("problem", ["", " \n"])
def test_a_blank_problem_or_step_is_refused(scorer: ModelScorer, problem: str) -> None:
    runner = ModelRunner(scorer)
    with pytest.raises(InputError, match="the problem is empty"):
        runner.open_session(problem, "a")
    with pytest.raises(InputError, match="is empty"):
        runner.encode(SessionStep(runner.open_session("p", "a"), (problem,)))


def test_sessions_that_keep_keys_give_the_same_and_share_a_pass(scorer: ModelScorer) -> None:
    kept = SessionScorer(scorer)
    runner, plain = ModelRunner(scorer, kept), ModelRunner(scorer)

    def run(made: ModelRunner, sessions: list[Any]) -> list[NodeScores]:
        asked: list[StepRequest | SessionStep] = [SessionStep(sessions[0], (STEPS[0],), "evidence")]
        asked += [StepRequest(chain("p", STEPS)), SessionStep(sessions[1], (STEPS[1], "So 41."), keep=False)]
        asked += [SessionStep(sessions[2], (STEPS[0],))]
        return [result(found) for found in made.run([made.encode(request) for request in asked])]

    opened = [runner.open_session(f"problem {number}", "a") for number in range(3)]
    others = [plain.open_session(f"problem {number}", "a") for number in range(3)]
    for turn in range(2):
        for one, other in zip(run(runner, opened), run(plain, others), strict=True):
            close(one, other)
        assert kept.usage().passes == turn + 1, "candidates and steps that are kept go through the model together"
    assert [list(session.steps) for session in opened] == [[STEPS[0]] * 2, [], [STEPS[0]] * 2]
    close(*(NodeScores(tuple(s.confidences), tuple(s.raw)) for s in (opened[0], others[0])))
    branch = opened[0].fork()
    assert list(branch.steps) == list(opened[0].steps)
    for session in (*opened, branch):
        session.close()
    assert kept.usage().tokens_held == 0


def test_a_failing_pass_changes_no_session_that_keeps_keys(
    scorer: ModelScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = SessionScorer(scorer)
    runner = ModelRunner(scorer, kept)
    good, bad = runner.open_session("p", "a"), runner.open_session("q", "a")
    works = [runner.encode(SessionStep(session, (STEPS[0],))) for session in (good, bad)]

    def broken(_requests: Any) -> Any:
        raise RuntimeError("the pass failed")

    with monkeypatch.context() as patch:
        patch.setattr(kept, "score_next", broken)
        with pytest.raises(RuntimeError):
            runner.run(works)
    assert list(good.steps) == list(good.confidences) == []
    runner.run(works[:1])
    assert list(good.steps) == [STEPS[0]]


def test_a_step_of_such_a_session_costs_its_own_tokens_only(scorer: ModelScorer) -> None:
    kept = SessionScorer(scorer)
    runner = ModelRunner(scorer, kept)
    session = runner.open_session("p", "a")
    first = runner.encode(SessionStep(session, (STEPS[0],)))
    runner.run([first])
    computed = kept.usage().tokens_computed
    assert computed == first.num_tokens, "the problem goes with the first step"
    again = runner.encode(SessionStep(session, (STEPS[0],)))
    assert again.num_tokens < first.num_tokens
    runner.run([again])
    assert kept.usage().tokens_computed - computed == again.num_tokens
    assert runner.pieces(again, 1) == [again]


def test_a_model_that_allows_no_sessions_says_why(scorer: ModelScorer) -> None:
    assert sessions_over(scorer)[1] is None
    scorer.model.train()
    try:
        sessions, why_not = sessions_over(scorer)
    finally:
        scorer.model.eval()
    assert sessions is None
    assert why_not is not None
    assert "train" in why_not
