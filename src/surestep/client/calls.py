"""What a client sends and what the answers mean: the same with and without `await`; sends nothing itself."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx2

from surestep.counted import counted
from surestep.errors import InputError, ServerError, SurestepError
from surestep.guarantees.certified import Certified
from surestep.guarantees.monitoring import MonitorReading
from surestep.hub import http_host
from surestep.inference.rerank import RankedCandidate
from surestep.inference.result import SolutionScores
from surestep.untrusted import parse_json
from surestep.untrusted.bounds import shown

T = TypeVar("T")
Item = tuple[str, Sequence[str]] | Mapping[str, Any]
"""A problem and its steps; a mapping has them as `problem` and `steps`."""

_LONGEST_WAIT_S = 60.0
_FIRST_WAIT_S = 0.1


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and what its answer means.

    Attributes:
        may_repeat: whether it may be sent again when nobody knows whether it was done.
    """

    path: str
    parse: Callable[[Any], T]
    body: Mapping[str, Any] | None = None
    method: str = "POST"
    may_repeat: bool = True


def check_address(url: str) -> None:
    """Refuse what no server can be asked at.

    Raises:
        InputError: it is no address of http or https, or its port is none.
    """
    if not http_host(url):
        raise InputError(
            f"the server's address is {shown(url)}; allowed: http://... or https://..., a port up to 65535"
        )


@dataclass(frozen=True)
class Address:
    """Where the server is, and how patiently it is asked.

    Attributes:
        speaks: what is expected of it, for messages.
    """

    url: str
    api_key: str | None
    timeout_s: float
    retries: int
    speaks: str | None = None

    def options(self) -> dict[str, Any]:
        """For httpx2's clients."""
        check_address(self.url)
        if not 0 < self.timeout_s < math.inf:
            raise InputError(f"timeout_s is {self.timeout_s}; allowed: above 0")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise InputError("the API key holds letters that no header can; is it the right one?")
        headers = {"X-Surestep-Deadline": f"{self.timeout_s:g}"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        # The server's own deadline comes first, and says more.
        return {"base_url": self.url, "headers": headers, "timeout": self.timeout_s + 5.0}

    def wait(self, call: Call[T], attempt: int, outcome: httpx2.Response | httpx2.HTTPError) -> float | None:
        """Seconds until the request is sent again; None: it is not."""
        if attempt >= self.retries:
            return None
        backoff: float = min(_FIRST_WAIT_S * 2**attempt, _LONGEST_WAIT_S) * random.uniform(0.5, 1.0)
        if isinstance(outcome, httpx2.Response):
            if outcome.status_code in {429, 503}:
                told = outcome.headers.get("retry-after", "")
                return min(max(float(told), backoff), _LONGEST_WAIT_S) if told.isdecimal() else backoff
            return backoff if outcome.status_code == 502 and call.may_repeat else None
        if isinstance(outcome, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
            return backoff
        is_lost = isinstance(outcome, httpx2.NetworkError | httpx2.RemoteProtocolError)
        return backoff if is_lost and call.may_repeat else None

    def error(self, outcome: httpx2.Response | httpx2.HTTPError) -> SurestepError:
        """What went wrong, in one line."""
        if isinstance(outcome, httpx2.TimeoutException):
            return ServerError(f"{self.url} did not answer within {self.timeout_s:g} s; set timeout_s higher")
        if isinstance(outcome, httpx2.HTTPError):
            reason = " ".join(str(outcome).split()) or type(outcome).__name__
            if self.speaks is None:
                return ServerError(f"{self.url} cannot be reached ({reason}); is `surestep serve` running there?")
            return ServerError(f"{self.url} cannot be reached ({reason}); does a server run there?")
        status = outcome.status_code
        try:
            message = str(parse_json(outcome.text)["error"]["message"])
        except (ValueError, KeyError, TypeError):
            message = "an answer that is not Surestep's" if self.speaks is None else outcome.text
        line = f"{self.url} refused (status {status}): {' '.join(message.split())[:400]}"
        return InputError(line) if status in {400, 413, 422} else ServerError(line)

    def value(self, call: Call[T], response: httpx2.Response) -> T:
        """What a good answer says.

        Raises:
            ServerError: it is none of Surestep's.
        """
        try:
            return call.parse(parse_json(response.text, allow_nan=False) if response.content else None)
        except (ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:100]
            if self.speaks is None:
                raise ServerError(f"{self.url} answered something else ({reason}); is it a Surestep server?") from None
            raise ServerError(f"{self.url} answered something else ({reason}); does it speak {self.speaks}?") from None


def texts_of(value: object, what: str) -> list[str]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InputError(f"{what} is {shown(value)}; allowed: a list of texts, one a step")
    texts = list(value)
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"{what} holds {shown(text)}; allowed: texts")
    return texts


def pair_of(item: Item) -> tuple[str, Sequence[str]]:
    if isinstance(item, Mapping) and "problem" in item and "steps" in item:
        return item["problem"], item["steps"]
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    raise InputError(f"an item is {shown(item)}; allowed: (problem, steps), or a mapping with 'problem' and 'steps'")


def _numbers(values: Any) -> tuple[float | None, ...]:
    return tuple(None if value is None else float(value) for value in values)


def _scores(steps: Sequence[str], answer: Any) -> SolutionScores:
    part = answer.get("certified")
    certified = None if part is None else Certified(int(part["num_kept"]), tuple(part["levels"]), str(part["promise"]))
    scores = SolutionScores(tuple(steps), _numbers(answer["confidences"]), _numbers(answer["raw"]), certified)
    if not len(scores.confidences) == len(scores.raw) == len(steps):
        raise ValueError(f"{counted(len(scores.confidences), 'confidence')} for {counted(len(steps), 'step')}")
    return scores


def score_call(problem: str, steps: Sequence[str], dataset: str | None) -> Call[SolutionScores]:
    texts = texts_of(steps, "steps")
    body = {"problem": problem, "steps": texts, "dataset": dataset}
    return Call("/v1/steps", lambda answer: _scores(texts, answer), body)


def rerank_call(
    problem: str, candidates: Sequence[Sequence[str]], by: str, dataset: str | None
) -> Call[list[RankedCandidate]]:
    texts = [texts_of(steps, f"candidate {number}") for number, steps in enumerate(candidates)]

    def parse(answer: Any) -> list[RankedCandidate]:
        return [
            RankedCandidate(
                int(one["index"]),
                math.nan if one["score"] is None else float(one["score"]),
                _scores(texts[one["index"]], one),
            )
            for one in answer["ranking"]
        ]

    return Call("/v1/rerank", parse, {"problem": problem, "candidates": texts, "by": by, "dataset": dataset})


ABOUT: Call[dict[str, Any]] = Call("/v1/about", dict, method="GET")


def _reading(step: int, answer: Any) -> MonitorReading | None:
    """The monitor's, where the server's checkpoint has one."""
    said = answer.get("monitor")
    return None if said is None else MonitorReading.from_json(step, said)


@dataclass
class SessionState:
    """What a session's object knows without asking."""

    id: str
    steps: tuple[str, ...]
    confidences: tuple[float | None, ...]
    raw: tuple[float | None, ...]
    num_tokens: int
    monitor: MonitorReading | None = None

    @classmethod
    def of(cls, answer: Any) -> SessionState:
        steps = tuple(map(str, answer["steps"]))
        return cls(
            str(answer["id"]),
            steps,
            _numbers(answer["confidences"]),
            _numbers(answer["raw"]),
            int(answer["num_tokens"]),
            _reading(len(steps), answer),
        )

    def add_call(self, step: str, context: str | None) -> Call[float | None]:
        def parse(answer: Any) -> float | None:
            confidence, raw = _numbers([answer["confidence"], answer["raw"]])
            self.steps, self.confidences = (*self.steps, step), (*self.confidences, confidence)
            self.raw, self.num_tokens = (*self.raw, raw), int(answer["num_tokens"])
            self.monitor = _reading(len(self.steps), answer)
            return confidence

        # `at` makes the request the same when it is sent twice.
        return Call(f"/v1/sessions/{self.id}/steps", parse, {"step": step, "context": context, "at": len(self.steps)})

    def candidates_call(self, steps: Sequence[str], context: str | None) -> Call[list[float | None]]:
        body = {"steps": texts_of(steps, "steps"), "context": context}
        return Call(f"/v1/sessions/{self.id}/candidates", lambda answer: list(_numbers(answer["confidences"])), body)

    def fork_call(self) -> Call[SessionState]:
        return Call(f"/v1/sessions/{self.id}/fork", SessionState.of, may_repeat=False)

    def close_call(self) -> Call[None]:
        return Call(f"/v1/sessions/{self.id}", lambda answer: None, method="DELETE")


def open_call(problem: str) -> Call[SessionState]:
    return Call("/v1/sessions", SessionState.of, {"problem": problem}, may_repeat=False)


class KnownSession:
    """What a session's object says without asking the server."""

    def __init__(self, state: SessionState) -> None:
        self._state = state

    @property
    def steps(self) -> tuple[str, ...]:
        """The text of each step so far."""
        return self._state.steps

    @property
    def confidences(self) -> tuple[float | None, ...]:
        """The calibrated confidence of each step so far."""
        return self._state.confidences

    @property
    def raw(self) -> tuple[float | None, ...]:
        """The model's own confidence of each step so far."""
        return self._state.raw

    @property
    def num_tokens(self) -> int:
        """Tokens of the problem and the steps, as of the last step that was added."""
        return self._state.num_tokens

    @property
    def monitor(self) -> MonitorReading | None:
        """What the monitor of the server's checkpoint says after the last step; None where it has none."""
        return self._state.monitor
