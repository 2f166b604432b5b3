"""The adapter between server and model: pieces, sessions and calibration give what whole solutions give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import trees
from surestep.calibration.calibration import Calibration
from surestep.calibration.maps import Platt
from surestep.errors import InputError
from surestep.inference.model_runner import ModelRunner
from surestep.inference.requests import NodeScores, SessionStep, StepRequest
from surestep.scoring.model_scorer import ModelScorer
from surestep.types import Node, ReasoningTree, chain

STEPS = ["12 * 3 = 36.", "36 + 4 = 40.", "So it is 40.", "Done."]


@pytest.fixture(scope="module")
def scorer(build_small: Callable[..., Any], small_config: Callable[..., Any]) -> ModelScorer:
    made: ModelScorer = build_small("llama").scorer(small_config("llama"))
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


class KeptSession:
    """A session as `scoring.sessions` has them, as slow as can be: each step scores its path anew."""

    def __init__(self, owner: KeptSessions, problem: str, steps: tuple[tuple[str, str | None], ...] = ()) -> None:
        self.owner, self.problem, self.texts, self.is_closed = owner, problem, steps, False

    def _scores(self) -> NodeScores:
        nodes = tuple(Node(text, i - 1, context=context) for i, (text, context) in enumerate(self.texts))
        return whole(self.owner.scorer, ReasoningTree(self.problem, nodes))

    @property
    def raw(self) -> tuple[float | None, ...]:
        return self._scores().raw

    @property
    def num_tokens(self) -> int:
        return 5 + len(self.texts)

    def fork(self) -> KeptSession:
        self.owner.opened += 1
        return KeptSession(self.owner, self.problem, self.texts)

    def close(self) -> None:
        self.is_closed = True
        self.owner.closed += 1


class KeptSessions:
    """Their maker; counts calls, and fails where a step says so, before anything is added."""

    def __init__(self, scorer: ModelScorer) -> None:
        self.scorer, self.opened, self.closed = scorer, 0, 0
        self.calls: list[int] = []

    def open(self, problem: str, *, namespace: str) -> KeptSession:
        self.opened += 1
        return KeptSession(self, problem)

    def add_many(self, steps: Sequence[tuple[Any, str, str | None]]) -> list[float | None]:
        self.calls.append(len(steps))
        if any("poison" in text for _, text, _ in steps):
            raise RuntimeError("poison")
        for session, text, context in steps:
            session.texts = (*session.texts, (text, context))
        return [session._scores().confidence[-1] for session, _, _ in steps]


def test_sessions_that_keep_keys_give_the_same_and_share_a_pass(scorer: ModelScorer) -> None:
    kept = KeptSessions(scorer)
    runner, plain = ModelRunner(scorer, kept), ModelRunner(scorer)

    def run(made: ModelRunner, sessions: list[Any]) -> list[NodeScores]:
        asked: list[StepRequest | SessionStep] = [SessionStep(sessions[0], (STEPS[0],), "evidence")]
        asked += [StepRequest(chain("p", STEPS)), SessionStep(sessions[1], (STEPS[1], "So 41."), keep=False)]
        asked += [SessionStep(sessions[2], (STEPS[0],))]
        return [result(found) for found in made.run([made.encode(request) for request in asked])]

    opened = [runner.open_session(f"problem {number}", "a") for number in range(3)]
    others = [plain.open_session(f"problem {number}", "a") for number in range(3)]
    for _ in range(2):
        for one, other in zip(run(runner, opened), run(plain, others), strict=True):
            close(one, other)
    assert kept.calls == [2, 2, 2, 2], "candidates together, and steps that are kept together"
    assert [list(session.steps) for session in opened] == [[STEPS[0]] * 2, [], [STEPS[0]] * 2]
    close(*(NodeScores(tuple(s.confidences), tuple(s.raw)) for s in (opened[0], others[0])))
    branch = opened[0].fork()
    assert list(branch.steps) == list(opened[0].steps)
    for session in (*opened, branch):
        session.close()
    assert kept.opened == kept.closed, "forks for candidates are closed too"


def test_a_failing_step_changes_no_session_that_keeps_keys(scorer: ModelScorer) -> None:
    kept = KeptSessions(scorer)
    runner = ModelRunner(scorer, kept)
    good, bad = runner.open_session("p", "a"), runner.open_session("q", "a")
    works = [runner.encode(SessionStep(good, (STEPS[0],))), runner.encode(SessionStep(bad, ("poison",)))]
    with pytest.raises(RuntimeError):
        runner.run(works)
    assert list(good.steps) == list(good.confidences) == []
    runner.run(works[:1])
    assert list(good.steps) == [STEPS[0]]


def test_a_step_of_such_a_session_costs_its_own_tokens_only(scorer: ModelScorer) -> None:
    runner = ModelRunner(scorer, KeptSessions(scorer))
    session = runner.open_session("p", "a")
    first = runner.encode(SessionStep(session, (STEPS[0],)))
    runner.run([first])
    again = runner.encode(SessionStep(session, (STEPS[0],)))
    assert first.num_tokens == again.num_tokens + 5, "the problem goes with the first step"
    assert runner.pieces(again, 1) == [again]
