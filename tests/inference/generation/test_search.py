"""Sampling, votes, beam search and DVTS against a server and a scorer whose best path is known; budgets; order."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_server import DEPTH, LETTERS, FakeScorer, FakeSessions, OpenAIServer, openai_server, solution_text
from surestep.errors import ConfigError, InputError, ServerError
from surestep.inference.generation import (
    Candidate,
    GeneratedProblem,
    GenerationSettings,
    OpenAIEndpoint,
    choose,
    generate,
    generate_many,
)
from surestep.inference.generation.budgets import PROBLEM_SECONDS, PROBLEM_TOKENS, TOTAL_SECONDS, TOTAL_TOKENS
from surestep.inference.generation.requests import Ask, Continuation, Continued, seed_of

PROBLEM = "Which letters?"


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


@dataclass
class AllLetters:
    """A generator whose continuations of one text are all letters in turn, by the place of the request; for tests of
    the search alone. `texts` gives other texts: from the steps so far and the place to a text and its ending."""

    texts: Callable[[tuple[str, ...], int], tuple[str, Any]] | None = None
    concurrency: int = 4
    tokens: int | None = 5
    rounds: list[int] = field(default_factory=list)

    def about(self) -> dict[str, Any]:
        return {}

    @asynccontextmanager
    async def opened(self) -> Any:
        yield self

    async def go_on(self, ask: Ask, continuations: Sequence[Continuation], deadline: float | None) -> list[Any]:
        self.rounds.append(len(continuations))
        places: Counter[str] = Counter()
        found = []
        for one in continuations:
            steps = tuple(step for step in one.prefix.split("\n\n") if step)
            text, ending = (self.texts or self.letter)(steps, places[one.prefix])
            places[one.prefix] += 1
            tokens = self.tokens if self.tokens is None else min(self.tokens, one.max_tokens)
            found.append(Continued(text, tokens, "length" if tokens == one.max_tokens else ending, 0.0))
        return found

    @staticmethod
    def letter(steps: tuple[str, ...], place: int) -> tuple[str, Any]:
        letter = LETTERS[place % len(LETTERS)]
        if len(steps) < DEPTH - 1:
            return f"{letter}.", "stop"
        return f"{letter} \\boxed{{{''.join(step[0] for step in steps)}{letter}}}", "end"


def hidden(letters: str) -> float:
    """A first step A looks best and leads nowhere; the best path is BCD."""
    known = {"A": 0.9, "B": 0.8, "C": 0.3, "D": 0.2, "BC": 0.85, "BCD": 0.95}
    return known.get(letters, 0.1)


def solved(generator: Any, scorer: Any, problem: str = PROBLEM, **settings: Any) -> GeneratedProblem:
    return generate(problem, generator, scorer, GenerationSettings(**settings), say=lambda _line: None)


@pytest.mark.parametrize("kind", [FakeScorer, FakeSessions])
def test_beam_search_finds_what_greedy_search_does_not(kind: type[FakeScorer]) -> None:
    greedy = solved(AllLetters(), kind(hidden), method="beam", n=4, beam_width=4)
    assert greedy.chosen.answer is not None
    assert greedy.chosen.answer.startswith("A")
    generator = AllLetters()
    beam = solved(generator, kind(hidden), method="beam", n=8, beam_width=4)
    assert beam.chosen.answer == "BCD"
    best = beam.candidates[beam.chosen.index or 0]
    assert best.confidences == (0.8, 0.85, 0.95)
    assert best.steps == ("B.", "C.", "D \\boxed{BCD}")
    assert generator.rounds == [8, 8, 8]
    assert (best.tokens, beam.tokens, beam.stopped) == (15, 120, None)
    assert {candidate.subtree for candidate in beam.candidates} == {None}


def test_sessions_score_new_steps_only_and_are_closed() -> None:
    with_sessions, without = FakeSessions(hidden), FakeScorer(hidden)
    for scorer in (with_sessions, without):
        solved(AllLetters(), scorer, method="beam", n=8, beam_width=4)
    assert with_sessions.open == 0
    # Four different first steps, then two paths of four: each once, and what is kept once more.
    assert with_sessions.scored == 4 + 8 + 8 + 2 + 2
    assert without.scored == 4 * 1 + 8 * 2 + 8 * 3


class LostSessions(FakeSessions):
    def session(self, problem: str) -> Any:
        if self.opened:
            raise ServerError("the session is gone")
        session = super().session(problem)

        def lost(steps: Sequence[str]) -> list[float | None]:
            raise ServerError("the session is gone")

        session.score_candidates = lost  # type: ignore[method-assign]
        return session


def test_where_sessions_are_lost_whole_paths_are_scored_and_a_line_says_so() -> None:
    lines: list[str] = []
    settings = GenerationSettings(method="beam", n=8)
    found = generate(PROBLEM, AllLetters(), LostSessions(hidden), settings, say=lines.append)
    assert found.chosen.answer == "BCD"
    assert lines == ["sessions cannot be used (the session is gone): each step is scored with the whole path before it"]


def test_dvts_keeps_subtrees_apart() -> None:
    def differs(steps: tuple[str, ...], place: int) -> tuple[str, Any]:
        return AllLetters.letter(steps, place)

    found = solved(AllLetters(differs), FakeSessions(hidden), method="dvts", n=8, beam_width=2)
    by_subtree: dict[int | None, set[str]] = {}
    for candidate in found.candidates:
        by_subtree.setdefault(candidate.subtree, set()).add(candidate.steps[0])
    assert set(by_subtree) == {0, 1, 2, 3}
    assert all(len(first) == 1 for first in by_subtree.values()), "each goes on from its own best first step"
    # The places of a round are counted through all subtrees: the second one sees C and D only, and takes C.
    assert by_subtree == {0: {"A."}, 1: {"C."}, 2: {"A."}, 3: {"C."}}


def test_a_step_that_is_repeated_takes_one_place() -> None:
    found = solved(AllLetters(lambda s, i: AllLetters.letter(s, i // 4)), FakeScorer(hidden), method="beam", n=8)
    assert {c.text[:2] for c in found.candidates} == {"A.", "B."}


def test_solutions_that_end_early_or_break_off() -> None:
    def texts(steps: tuple[str, ...], place: int) -> tuple[str, Any]:
        if not steps:
            return [("A.", "stop"), ("B \\boxed{B}", "end"), ("C", "length"), ("D.", "stop")][place]
        return ("", "end") if place % 2 else ("", "stop")

    found = solved(AllLetters(texts), FakeScorer(lambda letters: 0.5), method="beam", n=4, beam_width=1)
    kinds = sorted((c.text, c.is_truncated, c.answer) for c in found.candidates)
    # Blank texts after A and D: those that end end them, those that only stop come to nothing.
    assert kinds == [("B \\boxed{B}", False, "B"), ("C", True, None)]


def test_blank_lines_before_a_step_are_passed_over() -> None:
    def texts(steps: tuple[str, ...], place: int) -> tuple[str, Any]:
        return AllLetters.letter(steps, place)

    class Blank(AllLetters):
        async def go_on(self, ask: Ask, continuations: Sequence[Continuation], deadline: float | None) -> list[Any]:
            good = await super().go_on(ask, continuations, deadline)
            return [
                replace(answer, text="", ending="stop") if not one.prefix else answer
                for one, answer in zip(continuations, good, strict=True)
            ]

    found = solved(Blank(texts), FakeScorer(lambda letters: 0.5), method="beam", n=4)
    assert found.candidates
    assert found.candidates[0].text.startswith("\n\nA.")
    assert found.candidates[0].steps[0] == "A."


def test_longest_solution_of_a_search() -> None:
    found = solved(AllLetters(), FakeScorer(hidden), method="beam", n=4, max_steps=2)
    assert [c.is_truncated for c in found.candidates] == [True]
    assert found.candidates[0].steps == ("A.", "A.")
    assert found.candidates[0].answer is None
    assert found.chosen.index == 0


SETTINGS: list[dict[str, Any]] = [
    {"method": "best_of_n", "n": 6},
    {"method": "majority", "n": 6},
    pytest.param({"method": "beam", "n": 8, "beam_width": 2}, marks=pytest.mark.slow),
    pytest.param({"method": "dvts", "n": 8, "beam_width": 4}, marks=pytest.mark.slow),
    {"method": "best_of_n", "n": 4, "problem_tokens": 25, "max_tokens": 20},
    {"method": "best_of_n", "n": 4, "max_tokens": 20, "total_tokens": 95},
]


def summary(found: Sequence[GeneratedProblem]) -> list[Any]:
    return [(one.problem, one.stopped, one.tokens, [replace(c, seconds=0.0) for c in one.candidates]) for one in found]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_concurrency_changes_nothing(settings: dict[str, Any], server: OpenAIServer) -> None:
    problems = [f"problem {i}" for i in range(3)]
    results = []
    for concurrency, delay in ((1, 0.0), (24, 0.001)):
        server.delay_s = delay
        endpoint = OpenAIEndpoint(server.url, "fake", concurrency=concurrency)
        scorer = FakeSessions(lambda letters: (seed_of(letters) % 100) / 100)
        results.append(summary(generate_many(problems, endpoint, scorer, GenerationSettings(**settings))))
    server.delay_s = 0.0
    assert results[0] == results[1]
    other = GenerationSettings(**settings, seed=1)
    assert summary(generate_many(problems, endpoint, scorer, other)) != results[0]
    if "total_tokens" in settings:
        assert sum(tokens for _, _, tokens, _ in results[0]) <= 95
        assert results[0][0][1] is None
        assert results[0][-1][1] == TOTAL_TOKENS


@pytest.mark.parametrize("method", ["best_of_n", "beam", "dvts"])
@pytest.mark.parametrize("tokens", [1, 7, 23, 60])
def test_a_token_budget_is_kept_and_said(method: str, tokens: int, server: OpenAIServer) -> None:
    endpoint = OpenAIEndpoint(server.url, "fake")
    found = solved(endpoint, FakeScorer(lambda letters: 0.5), method=method, n=8, max_tokens=12, problem_tokens=tokens)
    assert found.tokens <= tokens
    assert found.stopped == PROBLEM_TOKENS
    if tokens >= 23:
        assert found.candidates, "the best so far"
    assert all(c.is_truncated or c.answer for c in found.candidates)


def test_a_server_that_counts_no_tokens_is_charged_what_it_was_allowed(server: OpenAIServer) -> None:
    server.says_usage = False
    try:
        endpoint = OpenAIEndpoint(server.url, "fake", say=lambda _line: None)
        found = solved(endpoint, FakeScorer(hidden), method="best_of_n", n=8, max_tokens=50, problem_tokens=120)
    finally:
        server.says_usage = True
    assert found.tokens == 120
    assert len(found.candidates) == 3
    assert {c.tokens for c in found.candidates} == {None}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["best_of_n", "beam"])
@pytest.mark.parametrize(("field_", "said"), [("problem_seconds", PROBLEM_SECONDS), ("total_seconds", TOTAL_SECONDS)])
def test_a_time_budget_ends_cleanly_with_the_best_so_far(
    method: str, field_: str, said: str, server: OpenAIServer
) -> None:
    # Time begins after what a client costs to make.
    server.faults = [None, None, *["slow"] * 40]
    try:
        endpoint = OpenAIEndpoint(server.url, "fake", concurrency=1)
        settings = {field_: 0.6 if field_ == "total_seconds" else 0.25}
        found = solved(endpoint, FakeScorer(hidden), method=method, n=4, **settings)
    finally:
        server.faults = []
    assert found.stopped == said
    assert 0 < len(found.candidates) < 4


def test_a_problem_that_is_refused_does_not_end_the_others(server: OpenAIServer) -> None:
    endpoint = OpenAIEndpoint(server.url, "fake")
    found = generate_many(["a", "REFUSED", "b"], endpoint, FakeScorer(hidden), GenerationSettings(n=2))
    assert [len(one.candidates) for one in found] == [2, 0, 2]
    assert "too long" in (found[1].stopped or "")
    assert found[1].chosen.answer is None


def test_an_endpoint_that_does_not_work_ends_all_with_one_error(server: OpenAIServer) -> None:
    server.faults = [None, 401, 401, 401, 401]
    try:
        with pytest.raises(ServerError, match="API key"):
            generate_many(list("abc"), OpenAIEndpoint(server.url, "fake"), FakeScorer(hidden), GenerationSettings(n=2))
    finally:
        server.faults = []


def test_within_a_running_event_loop_as_in_a_notebook(server: OpenAIServer) -> None:
    async def cell() -> GeneratedProblem:
        return solved(OpenAIEndpoint(server.url, "fake"), None, method="majority", n=3)

    found = asyncio.run(cell())
    seeds = [seed_of(0, PROBLEM, i) for i in range(3)]
    assert [c.text for c in found.candidates] == [solution_text(seed) for seed in seeds]
    assert [c.seed for c in found.candidates] == seeds


def test_what_cannot_work_gets_a_sentence() -> None:
    with pytest.raises(ConfigError, match="beam needs a scorer"):
        solved(AllLetters(), None, method="beam")
    with pytest.raises(ConfigError, match="beam_width"):
        GenerationSettings(method="dvts", n=6, beam_width=4)
    with pytest.raises(ConfigError, match="problem"):
        GenerationSettings(prompt="no place")
    with pytest.raises(InputError, match="'problems' is the text"):
        generate_many("abc", AllLetters(), None, GenerationSettings(method="majority"))
    with pytest.raises(InputError, match="problem 2 is empty"):
        generate_many(["a", " "], AllLetters(), None, GenerationSettings(method="majority"))
    with pytest.raises(InputError, match="rule"):
        solved(AllLetters(), None, method="majority", split="words")


def candidate(answer: str | None, confidence: float, *, is_truncated: bool = False) -> Candidate:
    text = "so" if answer is None else f"so \\boxed{{{answer}}}"
    return Candidate(text, ("so",), (confidence,), is_truncated, 1, 0.0, 0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["1", "1.0", "2", "3", None]), st.sampled_from([0.1, 0.25, 0.5, 0.9]), st.booleans()),
        min_size=1,
        max_size=7,
    )
)
def test_votes_against_plain_loops(drawn: list[tuple[str | None, float, bool]]) -> None:
    candidates = [candidate(answer, value, is_truncated=cut) for answer, value, cut in drawn]
    score = [0.0 if cut else value for _, value, cut in drawn]
    assert score[choose(candidates, "best_of_n").index or 0] == max(score)

    def group(i: int) -> list[int]:
        answer = drawn[i][0]
        if answer is None:
            return [i]
        return [j for j in range(len(drawn)) if drawn[j][0] is not None and float(drawn[j][0]) == float(answer)]

    chosen = choose(candidates, "majority").index
    assert chosen is not None
    assert len(group(chosen)) == max(len(group(i)) for i in range(len(drawn)))
    chosen = choose(candidates, "weighted").index
    assert chosen is not None
    sums = [sum(score[j] for j in group(i)) for i in range(len(drawn))]
    assert sums[chosen] == pytest.approx(max(sums))
    assert score[chosen] == max(score[j] for j in group(chosen)), "the best-scored one that says so"


def test_all_paths_are_alike_whatever_the_order_of_ties() -> None:
    """With equal confidences everywhere the first path wins, in every method."""
    for method, n in itertools.product(["beam", "dvts"], [4, 8]):
        found = solved(AllLetters(), FakeScorer(lambda letters: 0.5), method=method, n=n)
        assert found.chosen.answer == "AAA"


@pytest.mark.parametrize("method", ["best_of_n", "weighted"])
def test_equal_steps_in_another_order_tie_whatever_rounding_does(method: str) -> None:
    """Means of 0.1, 0.2, 0.3 differ in their last digit by their order; then the earlier candidate is taken."""
    orders = list(itertools.permutations([0.1, 0.2, 0.3]))
    assert len({sum(order) for order in orders}) > 1
    for first, second in itertools.product(orders, orders):
        pair = [
            Candidate(f"So {answer}", ("a", "b", f"So {answer}"), confidences, False, 1, 0.0, 0)
            for answer, confidences in ((1, first), (2, second))
        ]
        assert choose(pair, method, "mean").index == 0
