"""A loaded model as a server uses it: requests to tokens in one thread, tokens to confidences in another.

The server knows only `surestep.serving.pass_runner.PassRunner`, which this class is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from surestep.encoding.encoded_tree import EncodedTree, encode_trees
from surestep.encoding.limits import cut_tree
from surestep.errors import BackboneError, InputError, SurestepError
from surestep.inference.held_session import HeldSession, run_session_steps
from surestep.inference.recomputed_sessions import RecomputedSession
from surestep.inference.requests import SessionHandle, SessionStep, StepRequest
from surestep.scored import FloatArray
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.protocol import NodeScores
from surestep.scoring.sessions import SessionScorer


@dataclass(frozen=True, slots=True)
class EncodedWork:
    """A request, or a piece of one, as tokens.

    Attributes:
        tree: the tokens.
        num_steps: nodes of the request, also where this is a piece with fewer.
        dataset: whose calibration map is applied.
        session_step: where it belongs to a session, what was asked there.
    """

    tree: EncodedTree
    num_steps: int
    dataset: str | None = None
    session_step: SessionStep | None = None

    @property
    def num_tokens(self) -> int:
        """Tokens that go through the backbone."""
        return self.tree.num_tokens


@dataclass(frozen=True, slots=True)
class SessionWork:
    """What may follow in a session that keeps keys and values: `num_tokens` are those of the new steps."""

    step: SessionStep
    num_tokens: int

    @property
    def num_steps(self) -> int:
        """Steps that are scored."""
        return len(self.step.steps)


def sessions_over(scorer: ModelScorer) -> tuple[SessionScorer | None, str | None]:
    """Sessions that keep keys and values over a model; or None, and why it allows none."""
    try:
        return SessionScorer(scorer), None
    except (BackboneError, InputError) as error:
        return None, str(error)


class ModelRunner:
    """Runs requests of many clients together; see `surestep.serving.pass_runner.PassRunner`.

    Args:
        scorer: the model; it is put out of training mode.
        sessions: sessions over it that keep keys and values; None: each step scores its whole path again.
    """

    def __init__(self, scorer: ModelScorer, sessions: SessionScorer | None = None) -> None:
        self._scorer = scorer
        self._sessions = sessions
        # Once, before any thread uses it; no pass changes the mode of a model that is not in training.
        scorer.model.eval()

    def about(self) -> dict[str, Any]:
        """Which checkpoint answers, how many tokens a pass may have (`token_budget`), and which passes suit it."""
        return self._scorer.about() | {
            "token_budget": self._scorer.token_budget,
            "recorded_sizes": () if self._scorer.recorded is None else tuple(self._scorer.recorded.sizes),
            "passes_at_once": 2 if self._scorer.hardware.device.type == "cuda" else 1,
        }

    def encode(self, request: StepRequest | SessionStep) -> EncodedWork | SessionWork:
        """Tokens of a request.

        Raises:
            InputError: a step of a session is blank.
        """
        if isinstance(request, StepRequest):
            encoded = encode_trees([request.tree], self._scorer.tokenizer, self._scorer.formatter)
            return EncodedWork(encoded[0], len(request.tree.nodes), request.dataset)
        if isinstance(request.session, RecomputedSession):
            whole = self.encode(request.session.request_for(request))
            assert isinstance(whole, EncodedWork)
            return replace(whole, session_step=request)
        held = request.session
        texts = [self._scorer.formatter.format_step(step, request.context) for step in request.steps]
        # The problem goes through the model with the first step.
        above = 0 if held.steps else held.num_tokens
        ids = self._scorer.tokenizer.encode(texts)
        return SessionWork(request, above + sum(len(own) + 1 for own in ids))

    def pieces(self, request: EncodedWork | SessionWork, budget: int) -> Sequence[EncodedWork | SessionWork]:
        """The request in pieces of at most `budget` tokens, as far as its paths allow."""
        if isinstance(request, SessionWork) or request.session_step is not None:
            return [request]
        return [replace(request, tree=piece) for piece in cut_tree(request.tree, budget)]

    def run(self, requests: Sequence[EncodedWork | SessionWork]) -> list[NodeScores | SurestepError]:
        """Scores of each request, all of them in as few passes as the model's token budget allows."""
        whole = [request for request in requests if isinstance(request, EncodedWork)]
        in_sessions = [request.step for request in requests if isinstance(request, SessionWork)]
        # All of them first: a session is changed only when nothing can fail any more.
        raw = list(self._scorer.score_encoded([request.tree for request in whole]))
        added: Iterator[NodeScores] = iter(())
        if in_sessions:
            assert self._sessions is not None, "they opened the session"
            added = iter(run_session_steps(self._sessions, in_sessions))
        scored = (self._scores(request, raw_N) for request, raw_N in zip(whole, raw, strict=True))
        return [next(added if isinstance(request, SessionWork) else scored) for request in requests]

    def _scores(self, request: EncodedWork, raw_N: FloatArray) -> NodeScores:
        # A piece may end before the last node of its request.
        whole_N = np.full(request.num_steps, np.nan)
        whole_N[: len(raw_N)] = raw_N
        confidence_N = self._scorer.calibrated(whole_N, request.dataset)
        scores = NodeScores(_or_none(confidence_N), _or_none(whole_N))
        step = request.session_step
        if step is None:
            return scores
        assert isinstance(step.session, RecomputedSession)
        return step.session.take(step, scores, num_tokens=request.num_tokens)

    def open_session(self, problem: str, namespace: str) -> SessionHandle:
        """A session of one client; `namespace` parts what is kept of one client's from all others'.

        Raises:
            InputError: the problem is blank.
        """
        if self._sessions is None:
            return RecomputedSession(problem, self._scorer.monitor)
        return HeldSession(self._sessions.open(problem, namespace=namespace))


def _or_none(values_N: FloatArray) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values_N)
