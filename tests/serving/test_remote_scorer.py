"""A server as a scorer, asked in every protocol that the server itself speaks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from surestep.client.remote_scorer import RemoteScorer
from surestep.client.wire import WIRE_PROTOCOLS
from surestep.data.templated import SolutionReader
from surestep.errors import ConfigError, InputError, ServerError, SurestepError
from surestep.serving.protocols.router import router_of
from surestep.serving.protocols.settings import ProtocolSettings
from surestep.serving.protocols.table import PROTOCOLS
from surestep.types import Node, ReasoningTree, chain

TREES = [
    ReasoningTree(
        "What is 1 + 2?",
        (Node("1 + 2 is 3."), Node("So it is 3.", 0), Node("So it is 4.", 0), Node("I guess 5.", context="a hint")),
    ),
    chain("2 * 2?", ["It is 4."]),
    ReasoningTree("without steps", ()),
]


def confidence(problem: str, path: Sequence[str]) -> float:
    digest = hashlib.blake2b("\0".join((problem, *path)).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 256**6


def expected(tree: ReasoningTree) -> list[float]:
    texts = [node.text if node.context is None else f"[Evidence: {node.context}]\n{node.text}" for node in tree.nodes]
    return [confidence(tree.problem, [texts[i] for i in tree.path(node)]) for node in range(len(texts))]


async def score(trees: list[ReasoningTree]) -> list[list[float | None]]:
    return [list(expected(tree)) for tree in trees]


@cache
def app_client() -> TestClient:
    """The routes of other stacks; a reward is the confidence of the last step."""
    app = FastAPI()
    reader = SolutionReader(step_rule="blank_lines")
    settings = ProtocolSettings(reader=reader, reduction="last")
    app.include_router(router_of(PROTOCOLS, score, settings, count_tokens=lambda trees: 7 * len(trees)))
    return TestClient(app)


class Forwarding(httpx2.BaseTransport):
    """Requests go to the app, `/v1/steps` to a function; all are remembered."""

    def __init__(self) -> None:
        self.app, self.asked = app_client(), []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append((request.url.path, json.loads(request.content)))
        path, body = self.asked[-1]
        if path == "/v1/steps":
            values = [confidence(body["problem"], body["steps"][: i + 1]) for i in range(len(body["steps"]))]
            return httpx2.Response(200, json={"confidences": values, "raw": values, "num_tokens": 7})
        answer = self.app.post(path, content=request.content)
        return httpx2.Response(answer.status_code, content=answer.content)


def remote(protocol: str, transport: httpx2.BaseTransport, options: Any = None, url: str = "http://s") -> RemoteScorer:
    return RemoteScorer.at(url, protocol, options, transport=transport, concurrency=1, retries=0, sleep=lambda s: None)


@pytest.mark.parametrize("protocol", WIRE_PROTOCOLS)
def test_each_protocol_gives_every_step_its_own_score(protocol: str) -> None:
    transport = Forwarding()
    scorer = remote(protocol, transport)
    for found, tree in zip(scorer.score(TREES), TREES, strict=True):
        np.testing.assert_allclose(found.confidence_N, expected(tree), rtol=1e-12)
    assert {path for path, _ in transport.asked} == {WIRE_PROTOCOLS[protocol].path}
    about = scorer.about()["scorer"]
    assert (about["form"], about["url"]) == (f"http+{protocol}", "http://s")
    assert remote(protocol, transport, url="http://other").about()["scorer"]["sha256"] != about["sha256"]


def test_every_shape_of_the_server_has_a_protocol_that_asks_for_it() -> None:
    paths = {protocol.path for protocol in WIRE_PROTOCOLS.values()}
    for protocol in PROTOCOLS:
        for shape in protocol.shapes:
            if (protocol.name, shape.name) != ("SGLang", "classify"):  # the same request as vLLM's
                assert paths & set(shape.paths), shape.name


def test_tokens_are_those_that_the_server_says() -> None:
    scorer = remote("score", Forwarding())
    list(scorer.score(TREES[:2]))
    assert scorer.tokens_used() == (7 * 2, 0), "the server makes one tree of a request, and counts 7 for each"
    silent = remote("slime", Forwarding())
    list(silent.score(TREES[:1]))
    assert silent.tokens_used() == (None, 0)


def test_an_address_with_a_path_is_asked_there_and_more_fields_go_along() -> None:
    seen: list[tuple[str, Any]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append((request.url.path, json.loads(request.content)))
        return httpx2.Response(200, json={"rewards": [0.5]})

    options = {"extra": {"temperature": 1}, "prompt": "Q: {problem} A: ", "step": "{step} END"}
    scorer = remote("openrlhf", httpx2.MockTransport(answer), options, url="http://s/my/rewards")
    (found,) = scorer.score([chain("p", ["a"])])
    assert found.raw_N.tolist() == [0.5]
    expected_body = {"query": ["Q: p A: a END"], "prompts": ["Q: p A: "], "labels": [""], "temperature": 1}
    assert seen == [("/my/rewards", expected_body)]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"data": [{"index": 0, "score": 3.5}]}, "gave the score 3.5"),
        ({"data": [{"index": 0, "score": 0.5}, {"index": 1, "score": 0.5}]}, "gave 2 scores for 1 step"),
        ({"data": [{"index": 4, "score": 0.5}]}, "do not say each question once"),
        ({"data": [{"index": 0, "score": "0.5"}]}, "gave the score '0.5'"),
        ({"datum": []}, "does it speak vLLM's /score?"),
        ([], "answered something else"),
    ],
)
def test_an_answer_that_holds_no_scores_is_one_line(body: Any, words: str) -> None:
    scorer = remote("score", httpx2.MockTransport(lambda request: httpx2.Response(200, json=body)))
    with pytest.raises(ServerError) as raised:
        list(scorer.score([chain("p", ["a"])]))
    assert words in str(raised.value)


def test_a_refusal_says_what_the_server_said() -> None:
    scorer = remote("tei", httpx2.MockTransport(lambda request: httpx2.Response(422, text="batch size\n> 32")))
    with pytest.raises(InputError, match="batch size > 32"):
        list(scorer.score([chain("p", ["a"])]))


@pytest.mark.parametrize(
    ("protocol", "url", "options", "words"),
    [
        ("nothing", "http://s", {}, "http\\+nothing is unknown"),
        ("score", "http://s", {"tag": "x"}, "'tag' is unknown to a server"),
        ("score", "http://s", {"prompt": "x"}, "prompt is 'x'; allowed: text with {problem} in it"),
        ("score", "http://s", {"extra": 1}, "extra is 1; allowed: an object"),
        ("score", "ftp://s", {}, "allowed: http"),
        ("score", "just words", {}, "allowed: http"),
        *(
            ("score", f"http://{place}", {}, "a port up to 65535")
            for place in ("s:99999", "s:-1", "s:0", "s:x", "[::1")
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(protocol: str, url: str, options: Any, words: str) -> None:
    with pytest.raises(SurestepError, match=words.replace("{", r"\{")):
        RemoteScorer.at(url, protocol, options)


def test_an_unknown_protocol_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(ConfigError, match="allowed: http"):
        RemoteScorer.at("http://s", "soap")
