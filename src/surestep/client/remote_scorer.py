"""A server of any known protocol as a scorer of trees.

Shapes: `N` steps of a tree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from surestep.client.blocking import Client
from surestep.client.calls import Call, check_address
from surestep.client.wire import WIRE_PROTOCOLS, Question, Texts, WireProtocol, tokens_in
from surestep.errors import ConfigError
from surestep.scoring.other_scorers.path_scores import Values, mean_over_paths, plain
from surestep.scoring.protocol import TokensUsed, TreeScores, Wanted
from surestep.types import ReasoningTree
from surestep.untrusted.bounds import shown

_WINDOW = 512
"""Trees whose requests are sent one after another without a pause."""
_OPTIONS = ("prompt", "end", "step", "between", "model")
_NEEDED = {"prompt": "{problem}", "step": "{step}"}


@dataclass
class RemoteScorer:
    """A server that scores.

    Attributes:
        client: sends requests.
        protocol: what is sent, and what the answers mean.
        path: of the requests.
        texts: how texts are written.
        model: the server's name for its model.
        extra: more fields of each request.
    """

    client: Client
    protocol: WireProtocol
    url: str
    path: str
    texts: Texts = field(default_factory=Texts)
    model: str = "surestep"
    extra: Mapping[str, Any] = field(default_factory=dict)
    _read: int | None = field(default=0, init=False, repr=False)

    @classmethod
    def at(
        cls, url: str, protocol: str, options: Mapping[str, Any] | None = None, **client_options: Any
    ) -> RemoteScorer:
        """The server at an address; one that has a path is asked exactly there.

        Args:
            url: `http://host:8000`, say.
            protocol: a key of `WIRE_PROTOCOLS`.
            options: texts of `Texts`, `model`, and `extra` fields of each request.
            client_options: of `Client`.

        Raises:
            ConfigError: an unknown protocol or option.
            InputError: the address is none.
        """
        found = WIRE_PROTOCOLS.get(protocol)
        if found is None:
            raise ConfigError(f"the scorer http+{protocol} is unknown; allowed: http+ {', '.join(WIRE_PROTOCOLS)}")
        texts, model, extra = _options(options or {})
        check_address(url)
        parts = urlsplit(url)
        has_path = parts.path not in ("", "/")
        base = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
        client = Client(base or url, speaks=found.stack, **client_options)
        return cls(client, found, url, parts.path if has_path else found.path, texts, model, extra)

    def about(self) -> dict[str, Any]:
        """Which server, and what it is asked; the server itself is known by its address alone."""
        asked = {"url": self.url, "protocol": self.protocol.name, "texts": asdict(self.texts)}
        asked |= {"model": self.model, "extra": dict(self.extra)}
        reads = "each step" if self.protocol.by == "step" else "the solution up to each step"
        return {
            "scorer": {
                "name": f"{self.protocol.name} at {urlsplit(self.url).netloc}",
                "form": f"http+{self.protocol.name}",
                **asked,
                "scores": reads,
                "sha256": hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest(),
            }
        }

    def tokens_used(self) -> TokensUsed:
        """Tokens that the server says it read; None where it once did not say."""
        return TokensUsed(self._read, 0)

    def score(
        self, trees: Sequence[ReasoningTree], *, dataset: str | None = None, wanted: Wanted = "all"
    ) -> Iterator[TreeScores]:
        """See `Scorer`."""
        for start in range(0, len(trees), _WINDOW):
            window = [trees[i] for i in range(start, min(start + _WINDOW, len(trees)))]
            requests = [self._requests(tree) for tree in window]
            answers = self.client._send_many(call for calls in requests for _, call in calls)
            for tree, calls in zip(window, requests, strict=True):
                found: list[tuple[Sequence[int], Values]] = []
                for nodes, _ in calls:
                    values, tokens = next(answers)
                    self._read = None if self._read is None or tokens is None else self._read + tokens
                    found.append((nodes, values))
                raw_N = mean_over_paths(len(tree.nodes), found)
                yield TreeScores(raw_N, raw_N)

    def _requests(self, tree: ReasoningTree) -> list[tuple[Sequence[int], Call[tuple[Values, int | None]]]]:
        """What is asked about a tree: each request with the steps that its answer is about."""
        problem, steps = plain(tree)
        if self.protocol.by == "step":
            asked = [(path, [steps[node] for node in path]) for path in tree.paths()]
        else:
            whole = [self.texts.solution([steps[i] for i in tree.path(node)]) for node in range(len(steps))]
            places = range(0, len(steps), self.protocol.most)
            groups = [list(range(start, min(start + self.protocol.most, len(steps)))) for start in places]
            asked = [(nodes, [whole[node] for node in nodes]) for nodes in groups]
        question = Question(problem, (), self.texts, self.model)
        return [(nodes, self._call(replace(question, solutions=texts))) for nodes, texts in asked]

    def _call(self, question: Question) -> Call[tuple[Values, int | None]]:
        count = len(question.solutions)

        def read(answer: Any) -> tuple[Values, int | None]:
            return self.protocol.scores(answer, count), tokens_in(answer)

        return Call(self.path, read, {**self.protocol.body(question), **self.extra})


def _options(given: Mapping[str, Any]) -> tuple[Texts, str, Mapping[str, Any]]:
    """Texts, model and extra fields from what a user gave."""
    values = dict(given)
    extra = values.pop("extra", {})
    if not isinstance(extra, dict):
        raise ConfigError(f"the scorer's extra is {shown(extra)}; allowed: an object of more fields of each request")
    for name, value in values.items():
        if name not in _OPTIONS:
            raise ConfigError(
                f"the scorer's field {shown(name)} is unknown to a server; allowed: form, url, calibration, extra, "
                f"{', '.join(_OPTIONS)}"
            )
        if not isinstance(value, str) or _NEEDED.get(name, "") not in value:
            needed = f" with {_NEEDED[name]} in it" if name in _NEEDED else ""
            raise ConfigError(f"the scorer's {name} is {shown(value)}; allowed: text{needed}")
    model = values.pop("model", "surestep")
    return Texts(**values), model, extra
