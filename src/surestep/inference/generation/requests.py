"""What is asked of a generator and what it answers: texts that go on; knows no model, no HTTP and no score."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from surestep.errors import InputError
from surestep.inference.generation.settings import PROBLEM, GenerationSettings

Ending = Literal["end", "stop", "end_or_stop", "length", "time"]
"""Why a text ends: the model ended it; the stop text came; one of the two, and the server does not say which; it has as
many tokens as were allowed; time was up."""


class RefusedError(InputError):
    """The generator refuses this very problem (a prompt that is too long, say); others may go well."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """One text that is to go on.

    Attributes:
        prefix: what the model has written of it so far, as it stands.
        seed: 0 to 2^31 - 1.
        max_tokens: at least 1.
    """

    prefix: str
    seed: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Continued:
    """What came of it.

    Attributes:
        text: what follows the prefix, without the stop text.
        tokens: how many were generated; None where the server does not say.
        ending: why it ends there.
        seconds: from the request to its answer.
    """

    text: str
    tokens: int | None
    ending: Ending
    seconds: float


@dataclass(frozen=True, slots=True)
class Ask:
    """A problem with the settings that all its continuations share.

    Attributes:
        problem: as given.
        settings: prompt, temperature and so on.
        stop: the text at which to stop, None for none.
    """

    problem: str
    settings: GenerationSettings
    stop: str | None = None

    def messages(self) -> list[dict[str, str]]:
        """As a chat."""
        system = [] if self.settings.system is None else [{"role": "system", "content": self.settings.system}]
        return [*system, {"role": "user", "content": self.prompt()}]

    def prompt(self) -> str:
        """What the user says."""
        return self.settings.prompt.replace(PROBLEM, self.problem)


class OpenGenerator(Protocol):
    """A generator that is ready."""

    async def go_on(
        self, ask: Ask, continuations: Sequence[Continuation], deadline: float | None
    ) -> list[Continued | None]:
        """Each continuation, in order; None where it was not done at `deadline` (of `time.monotonic`).

        Raises:
            RefusedError: the problem is refused.
            SurestepError: nothing can be generated.
        """
        ...


class Generator(Protocol):
    """A language model that writes solutions."""

    @property
    def concurrency(self) -> int:
        """How many continuations it works on at once."""
        ...

    def about(self) -> dict[str, Any]:
        """What decides its texts, JSON-ready; no key, no secret."""
        ...

    def opened(self) -> AbstractAsyncContextManager[OpenGenerator]:
        """Ready within the running event loop."""
        ...


def seed_of(*parts: object) -> int:
    """A seed that follows from `parts` alone, 0 to 2^31 - 1.

    >>> seed_of(0, "1+1?", 3) == seed_of(0, "1+1?", 3) != seed_of(0, "1+1?", 4)
    True
    """
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
