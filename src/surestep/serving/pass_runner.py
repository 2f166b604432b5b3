"""All that the server knows of the model; no torch.

`surestep.inference.model_runner.ModelRunner` is one, and so is a test's fake.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from surestep.errors import SurestepError
from surestep.inference.requests import SessionHandle, SessionStep, StepRequest
from surestep.scoring.protocol import NodeScores

__all__ = ["EncodedRequest", "NodeScores", "PassRunner", "SessionHandle", "SessionStep", "StepRequest"]


class EncodedRequest(Protocol):
    """A request as tokens."""

    @property
    def num_tokens(self) -> int:
        """Tokens that go through the model."""
        ...

    @property
    def num_steps(self) -> int:
        """Steps of the request that it belongs to."""
        ...


class PassRunner(Protocol):
    """Whatever scores requests of many clients together.

    `encode` and `pieces` are called by one thread; everything else by as many at once as the setting `passes_at_once`
    says, but what concerns one session by one at a time.
    """

    def about(self) -> dict[str, Any]:
        """Which model answers, JSON-ready.

        `token_budget`: tokens that a pass may have at most. If there, `recorded_sizes`: tokens of passes, whose first
        run does what is done once for each size, and up to which smaller ones are filled; and `passes_at_once`: how
        many are worth running at once.
        """
        ...

    def encode(self, request: StepRequest | SessionStep) -> Any:
        """The request as tokens, an `EncodedRequest`; called in the encoder thread.

        Raises:
            InputError: the request cannot be scored.
        """
        ...

    def pieces(self, request: Any, budget: int) -> Sequence[Any]:
        """The request cut to at most `budget` tokens each, as far as it can be; called in the encoder thread.

        Every piece answers for all nodes of its request, with None for those of other pieces.
        """
        ...

    def run(self, requests: Sequence[Any]) -> list[NodeScores | SurestepError]:
        """The scores of each request, or what is wrong with it; called in a model thread.

        Raises:
            Exception: the pass failed, for whatever reason; no session has been changed.
        """
        ...

    def open_session(self, problem: str, namespace: str) -> SessionHandle:
        """A session that begins with a problem; called in a model thread.

        Args:
            problem: the text that all steps answer.
            namespace: what is kept for one of them is never used for another.

        Raises:
            InputError: the problem cannot be read.
        """
        ...
