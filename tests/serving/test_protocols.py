"""Requests as other stacks send them, and what each of them reads from the answer.

The shapes were written from the sources that the modules of `surestep.serving.protocols` name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fake_server import at_once, number_for, serving
from surestep.data.templated import SolutionReader
from surestep.errors import ConfigError
from surestep.serving.http.context import CURRENT
from surestep.serving.protocols.config import ProtocolConfig, read_decoder
from surestep.serving.protocols.protocol import Protocol, RequestBody, Shape
from surestep.serving.protocols.router import router_of
from surestep.serving.protocols.settings import ProtocolSettings
from surestep.serving.protocols.table import PROTOCOLS
from surestep.types import ReasoningTree

PROBLEM = "What is 12 * 3 + 4?"
STEPS = ("12 * 3 = 36.", "36 + 4 = 40.")
OTHER = ("12 * 3 = 38.", "38 + 4 = 42.")
SYSTEM = "<|im_start|>system\nReason step by step.<|im_end|>\n"
PROMPT = f"{SYSTEM}<|im_start|>user\n{PROBLEM}<|im_end|>\n<|im_start|>assistant\n"


def text_of(steps: Sequence[str]) -> str:
    return "\n\n".join(steps)


def templated(steps: Sequence[str]) -> str:
    return f"{PROMPT}{text_of(steps)}<|im_end|>\n"


def confidence(problem: str, path: Sequence[str]) -> float:
    """A number of its own for every problem and path, so that a crossed answer is seen."""
    digest = hashlib.blake2b("\0".join((problem, *path)).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 256**6


def confidences(steps: Sequence[str], problem: str = PROBLEM) -> list[float]:
    return [confidence(problem, steps[: index + 1]) for index in range(len(steps))]


SEEN: list[int] = []
"""How many steps each tree had that was scored."""


async def score(trees: list[ReasoningTree]) -> list[list[float | None]]:
    found: list[list[float | None]] = []
    for tree in trees:
        paths = [[tree.nodes[node].text for node in tree.path(index)] for index in range(len(tree.nodes))]
        found.append([None if "too long" in path else confidence(tree.problem, path) for path in paths])
        SEEN.append(len(tree.nodes))
    return found


def client_of(settings: ProtocolSettings) -> TestClient:
    app = FastAPI()
    app.include_router(
        router_of(PROTOCOLS, score, settings, count_tokens=lambda trees: 7 * sum(len(tree.nodes) for tree in trees))
    )
    return TestClient(app)


SETTINGS = ProtocolSettings()
CLIENT = client_of(SETTINGS)


def post(path: str, body: Any, client: TestClient = CLIENT) -> Any:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def refused(path: str, body: Any, client: TestClient = CLIENT) -> Any:
    response = client.post(path, json=body)
    assert response.status_code == 422, response.text
    return response.json()


def test_vllm_pooling_gives_each_step() -> None:
    body = {
        "model": "Qwen/Qwen2.5-Math-PRM-7B",
        "input": [templated(STEPS), templated(OTHER)],
        "task": "token_classify",
    }
    answer = post("/pooling", body)
    assert answer["object"] == "list"
    assert [row["index"] for row in answer["data"]] == [0, 1]
    assert [[value[-1] for value in row["data"]] for row in answer["data"]] == [confidences(STEPS), confidences(OTHER)]
    assert answer["usage"]["prompt_tokens"] == 28
    tagged = PROMPT + "<extra_0>".join(STEPS) + "<extra_0><|im_end|>\n"
    assert post("/pooling", {"input": tagged, "use_activation": None})["data"][0]["data"] == [
        [value] for value in confidences(STEPS)
    ]


def test_vllm_pooling_of_two_classes_has_the_confidence_last() -> None:
    client = client_of(replace(SETTINGS, two_classes=True))
    rows = post("/pooling", {"input": templated(STEPS)}, client)["data"][0]["data"]
    assert [row[1] for row in rows] == confidences(STEPS)
    assert all(sum(row) == pytest.approx(1.0) for row in rows)
    assert post("/classify", {"input": templated(STEPS)}, client)["data"][0]["num_classes"] == 2


def test_vllm_chat_requests_are_read_without_a_template() -> None:
    messages = [{"role": "user", "content": PROBLEM}, {"role": "assistant", "content": text_of(STEPS)}]
    assert post("/classify", {"messages": messages})["data"][0]["probs"] == [min(confidences(STEPS))]
    assert post("/pooling", {"messages": messages, "task": "classify"})["data"][0]["data"] == [min(confidences(STEPS))]


def test_verl_reads_the_reward_where_it_looks() -> None:
    body = {"model": "/models/reward", "input": templated(STEPS), "use_activation": False}
    assert post("/classify", body)["data"][-1]["probs"][-1] == min(confidences(STEPS))
    embeddings = post("/v1/embeddings", {"model": "/models/reward", "input": templated(STEPS)})
    assert embeddings["data"][-1]["embedding"][-1] == min(confidences(STEPS))


@pytest.mark.parametrize(
    "keys", [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")]
)
@pytest.mark.parametrize("path", ["/score", "/v1/score"])
def test_vllm_score_pairs_one_problem_with_all_or_each_with_its_own(keys: tuple[str, str], path: str) -> None:
    answer = post(path, {keys[0]: PROBLEM, keys[1]: [text_of(STEPS), text_of(OTHER)]})
    wanted = [min(confidences(STEPS)), min(confidences(OTHER))]
    assert [row["score"] for row in answer["data"]] == wanted
    answer = post(path, {keys[0]: [PROBLEM, "Why?"], keys[1]: [text_of(STEPS), text_of(STEPS)]})
    assert [row["score"] for row in answer["data"]] == [wanted[0], min(confidences(STEPS, "Why?"))]
    assert "1:1, 1:N or N:N" in refused(path, {keys[0]: ["a", "b"], keys[1]: ["c", "d", "e"]})["error"]["message"]


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_vllm_rerank_gives_the_best_first(path: str) -> None:
    candidates = [text_of(STEPS), text_of(OTHER), "It is 40."]
    answer = post(path, {"query": PROBLEM, "documents": candidates, "top_n": 2})
    scores = [min(confidences(STEPS)), min(confidences(OTHER)), confidences(["It is 40."])[0]]
    order = sorted(range(3), key=lambda index: -scores[index])[:2]
    assert [row["index"] for row in answer["results"]] == order
    assert [row["relevance_score"] for row in answer["results"]] == [scores[index] for index in order]
    assert answer["results"][0]["document"]["text"] == candidates[order[0]]


def test_what_solutions_of_one_problem_share_is_scored_once() -> None:
    SEEN.clear()
    shared = [text_of(STEPS), text_of((STEPS[0], "So 41.")), text_of(STEPS)]
    found = post("/score", {"text_1": PROBLEM, "text_2": shared})["data"]
    assert [row["score"] for row in found] == [min(confidences(text.split("\n\n"))) for text in shared]
    assert SEEN == [3]


def test_openrlhf() -> None:
    """`utils/agent.py`: one query at a time, decoded with special tokens; `raise_for_status`, then the JSON."""
    queries = [templated(STEPS).removesuffix("\n"), templated(OTHER)]
    answer = post("/get_reward", {"query": queries, "prompts": [PROMPT, PROMPT], "labels": ["40", None]})
    wanted = [min(confidences(STEPS)), min(confidences(OTHER))]
    assert (answer["rewards"], answer["scores"]) == (wanted, wanted)
    assert answer["extra_logs"] == {"num_steps": [2.0, 2.0]}
    assert post("/reward", {"query": queries})["rewards"] == wanted
    assert "begin with its prompt" in refused("/get_reward", {"query": queries[:1], "prompts": ["x"]})["detail"]


def test_slime_gets_the_number_itself() -> None:
    body = {"prompt": PROMPT, "response": text_of(STEPS) + "<|im_end|>", "label": "40"}
    for path in ("/slime", "/reward"):
        assert post(path, body) == min(confidences(STEPS))
    assert post("/slime", {**body, "prompt": [{"role": "user", "content": PROBLEM}]}) == min(confidences(STEPS))
    assert post("/slime", {**body, "prompt": PROBLEM}) == min(confidences(STEPS))


def test_llama_factory() -> None:
    """`train/ppo/ppo_utils.py`: query and response decoded together, `json.loads(response.text)["scores"]`."""
    body = {"model": "model", "messages": [templated(STEPS), templated(OTHER)]}
    for path in ("/v1/score/evaluation", "/reward"):
        assert post(path, body)["scores"] == [min(confidences(STEPS)), min(confidences(OTHER))]


def test_sglang() -> None:
    texts = [templated(STEPS), templated(OTHER)]
    wanted = [min(confidences(STEPS)), min(confidences(OTHER))]
    assert [row["probs"][-1] for row in post("/v1/classify", {"model": "m", "input": texts})["data"]] == wanted
    native = {"model": "m", "text": texts}
    assert [row["embedding"] for row in post("/classify", native)] == [[value] for value in wanted]
    assert post("/classify", {"text": texts[0]})["embedding"] == [wanted[0]]
    body = {"query": PROBLEM, "items": [text_of(STEPS), text_of(OTHER)], "model": "m", "apply_softmax": False}
    answer = post("/v1/score", {**body, "item_first": False, "label_token_ids": None})
    assert (answer["scores"], answer["object"]) == ([[value] for value in wanted], "scoring")


def test_sglangs_label_tokens_need_one_that_means_right() -> None:
    body = {"query": PROBLEM, "items": [text_of(STEPS)], "label_token_ids": [9454, 2753], "apply_softmax": True}
    assert "right_token_id" in refused("/v1/score", body)["message"]
    scores = post("/v1/score", body, client_of(replace(SETTINGS, right_token_id=9454)))["scores"]
    assert scores == [[min(confidences(STEPS)), 1.0 - min(confidences(STEPS))]]


def test_tei() -> None:
    wanted = [min(confidences(STEPS)), min(confidences(OTHER))]
    batch = {"inputs": [[templated(STEPS)], [PROBLEM, text_of(OTHER)]], "raw_scores": False, "truncate": False}
    assert [row[0]["score"] for row in post("/predict", batch)] == wanted
    assert post("/predict", {"inputs": templated(STEPS)})[0]["score"] == wanted[0]
    assert post("/predict", {"inputs": [PROBLEM, text_of(STEPS)]})[0]["score"] == wanted[0], "a flat list is a pair"
    texts = [text_of(STEPS), text_of(OTHER)]
    ranked = post("/rerank", {"query": PROBLEM, "texts": texts, "return_text": True})
    best = wanted.index(max(wanted))
    assert [row["index"] for row in ranked] == [best, 1 - best]
    assert ranked[0] == {"index": best, "score": wanted[best], "text": texts[best]}
    assert refused("/predict", {"inputs": "What?"})["error_type"] == "Validation"


def test_the_answer_names_what_made_it() -> None:
    client = client_of(ProtocolSettings(SolutionReader(), reduction="product", model_name="mine"))
    text = templated(STEPS).replace("12 * 3 = 36.", "<think>hm</think>12 * 3 = 36.")
    response = client.post("/classify", json={"input": [text, templated(OTHER)]})
    assert response.json()["data"][0]["probs"][0] == pytest.approx(confidences(STEPS)[0] * confidences(STEPS)[1])
    assert response.json()["model"] == "mine"
    assert response.headers["X-Surestep-Split"] == "blank_lines;4"
    assert response.headers["X-Surestep-Reduction"] == "product"
    assert response.headers["X-Surestep-Dropped"] == "system;2, thought;1"
    each = client.post("/pooling", json={"input": templated(STEPS)})
    assert each.headers["X-Surestep-Reduction"] == "none"
    declared = client_of(ProtocolSettings(SolutionReader(step_rule="tag:\n\n")))
    response = declared.post("/classify", json={"input": templated(STEPS)})
    assert response.headers["X-Surestep-Split"] == "tag:%0A%0A;2"


@pytest.mark.parametrize("path", ["/pooling", "/classify"])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"input": PROBLEM + "\n" + text_of(STEPS)}, "where its problem ends is unknown"),
        ({"input": templated(STEPS) + templated(OTHER)}, "one user turn"),
        ({"input": [[1, 2, 3]]}, "no tokenizer is registered"),
        ({"input": [1, 2, 3]}, "no tokenizer is registered"),
        ({"input": []}, "no solution"),
        ({"input": "x", "messages": []}, "send one of them"),
        ({"input": templated(STEPS), "normalize": True}, "normalize is set"),
        ({"input": templated(STEPS), "truncate_prompt_tokens": 5}, "truncate_prompt_tokens is set"),
        ({"input": 5}, "input"),
        ({"input": templated(["too long", "b"])}, "step 1 of 2 ends beyond the longest text"),
        ({"prompt": "x"}, "none of the keys"),
        (["x"], "allowed: an object"),
        ({"input": "\ud800"}, "surrogate"),
    ],
)
def test_vllm_requests_that_leave_a_doubt_are_refused_in_its_shape(path: str, body: Any, reason: str) -> None:
    response = CLIENT.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    error = response.json()["error"]
    assert reason in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("task", ["embed", "token_embed", "encode", "score", "plugin"])
def test_other_pooling_tasks_are_refused(task: str) -> None:
    assert "token_classify" in refused("/pooling", {"input": templated(STEPS), "task": task})["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/classify", {"input": "a", "text": "b"}),
        ("/rerank", {"query": "a", "documents": ["b"], "texts": ["b"]}),
        ("/reward", {"query": ["a"], "messages": ["b"]}),
    ],
)
def test_a_body_with_the_keys_of_two_stacks_is_refused(path: str, body: Any) -> None:
    assert "has the keys of" in json.dumps(refused(path, body))


def test_token_ids_are_decoded_by_the_tokenizer_of_their_model_only() -> None:
    words = {1: PROMPT, 2: text_of(STEPS), 3: "<|im_end|>"}
    client = client_of(replace(SETTINGS, decoders={"policy": lambda ids: "".join(words[number] for number in ids)}))
    for value in ([1, 2, 3], [[1, 2, 3]]):
        answer = post("/classify", {"model": "policy", "input": value}, client)
        assert answer["data"][0]["probs"] == [min(confidences(STEPS))]
    assert "no tokenizer" in refused("/classify", {"model": "other", "input": [1]}, client)["error"]["message"]
    assert "cannot be decoded" in refused("/classify", {"model": "policy", "input": [9]}, client)["error"]["message"]


def test_a_model_of_another_name_is_404_where_that_was_declared() -> None:
    client = client_of(replace(SETTINGS, model_name="mine", only_model_name=True))
    response = client.post("/classify", json={"model": "theirs", "input": templated(STEPS)})
    assert (response.status_code, response.json()["error"]["type"]) == (404, "NotFoundError")
    assert post("/classify", {"model": "mine", "input": templated(STEPS)}, client)["model"] == "mine"


def test_an_unreadable_answer_gets_the_reward_that_was_declared_for_it() -> None:
    """A policy in training writes thoughts without an end; whoever trains may name their reward."""
    texts = [templated(STEPS), f"{PROMPT}<think>hm", templated(["a", "too long"])]
    body = {"model": "model", "messages": texts}
    assert "solution 1: the answer's <think> block has no end" in refused("/reward", body)["detail"]
    client = client_of(replace(SETTINGS, unreadable_reward=0.0))
    response = client.post("/reward", json=body)
    assert response.json()["scores"] == [min(confidences(STEPS)), 0.0, 0.0]
    assert response.headers["X-Surestep-Unreadable"] == "2"
    # Where every step is asked for there is nothing to put in its place, and a doubt about the problem stays one.
    assert "has no end" in refused("/pooling", {"input": texts[1]}, client)["error"]["message"]
    assert "one user turn" in refused("/reward", {"messages": [texts[0] * 2]}, client)["detail"]


def test_a_refusal_is_short_whatever_was_sent() -> None:
    many = templated(STEPS) * 500
    for path, body in (
        ("/classify", {"input": many}),
        ("/classify", {"input": [1], "model": "m" * 10_000}),
        ("/pooling", {"input": many, "task": "t" * 10_000}),
        ("/v1/score", {"query": "a", "items": ["b"], "label_token_ids": list(range(5000))}),
        ("/classify", {"messages": [{"role": "r" * 10_000, "content": "x"}]}),
        ("/classify", {"messages": "x" * 10_000}),
        ("/classify", {"k" * 10_000: 1}),
    ):
        assert len(json.dumps(refused(path, body))) < 1000, (path, list(body))


def test_a_large_body_is_read_as_a_small_one() -> None:
    steps = [
        f"{number} + 1 = {number + 1}, which is one more than the number that it came from, {number}."
        for number in range(500)
    ]
    (row,) = post("/pooling", {"input": templated(steps)})["data"]
    assert [value for (value,) in row["data"]] == confidences(steps)
    assert "one user turn" in refused("/pooling", {"input": templated(steps) * 2})["error"]["message"]


def test_many_solutions_are_refused_above_the_limit() -> None:
    client = client_of(replace(SETTINGS, max_solutions=2))
    body = {"query": PROBLEM, "documents": ["a", "b", "c"]}
    assert "3 solutions; allowed: 2" in refused("/rerank", body, client)["error"]["message"]


def test_solutions_of_one_problem_are_taken_where_each_alone_is() -> None:
    """They share a tree, which may be larger than one request may be: that must not refuse them."""

    def mounted(score_trees: Any) -> APIRouter:
        return router_of(PROTOCOLS, score_trees, SETTINGS)

    async def main() -> None:
        limits = {"smallest_request": 100, "smallest_pass": 10, "max_request_passes": 0.001}
        async with serving(routers=[mounted], **limits) as server, server.client() as client:
            limit = server.service.speed.request_limit
            solutions = [f"{number} " + "x " * (limit // 2) for number in range(9)]
            answer = await client.post("/score", json={"text_1": PROBLEM, "text_2": solutions})
            assert answer.status_code == 200, answer.text
            assert [row["score"] for row in answer.json()["data"]] == [
                number_for(PROBLEM, [one.strip()]) for one in solutions
            ]
            alone = await client.post("/score", json={"text_1": PROBLEM, "text_2": ["x " * (2 * limit)]})
            assert alone.status_code == 413

    at_once(main())


def test_the_description_names_every_status() -> None:
    """A request may also be refused before it is read, and fail behind that."""
    description = CLIENT.get("/openapi.json").json()
    for path, methods in description["paths"].items():
        assert {"200", "400", "401", "408", "413", "422", "429", "500", "503", "504"} <= set(
            methods["post"]["responses"]
        ), path


def test_the_description_has_an_example_for_every_shape_that_is_answered() -> None:
    description = CLIENT.get("/openapi.json").json()
    described = 0
    for protocol in PROTOCOLS:
        for shape in protocol.shapes:
            for path in shape.paths:
                body = description["paths"][path]["post"]["requestBody"]["content"]["application/json"]
                post(path, body["examples"][shape.name]["value"])
                described += 1
    assert described > 15
    assert "$defs" not in json.dumps(description["paths"]), "a schema with definitions would need their place"


class ValueRequest(RequestBody):
    """OpenR's request for the value of a text."""

    input_str: str


def test_a_protocol_is_one_record_and_one_entry() -> None:
    """The recipe of CONTRIBUTING, on a path that others use too."""
    shape = Shape(
        "value",
        ("/worker_value_inference", "/classify"),
        (frozenset({"input_str"}),),
        ValueRequest,
        lambda request, reader: [reader.text(request.input_str)],
        lambda request, answer: {"value": list(answer.scored[0].confidences)},
        {"input_str": templated(STEPS)},
        per_step=lambda request: True,
    )
    app = FastAPI()
    app.include_router(router_of((*PROTOCOLS, Protocol("OpenR", (shape,))), score, SETTINGS))
    client = TestClient(app)
    for path in shape.paths:
        assert post(path, dict(shape.example), client) == {"value": confidences(STEPS)}
    assert post("/classify", {"input": templated(STEPS)}, client)["data"][0]["probs"] == [min(confidences(STEPS))]
    assert "no known chat format" in refused("/worker_value_inference", {"input_str": "x"}, client)["detail"]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2**70)
    | st.text(max_size=5)
    | st.just(templated(STEPS))
    | st.just(PROBLEM),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
names = st.sampled_from(
    sorted({key for protocol in PROTOCOLS for shape in protocol.shapes for key in shape.request.model_fields})
)


@given(
    path=st.sampled_from(sorted({path for protocol in PROTOCOLS for shape in protocol.shapes for path in shape.paths})),
    body=st.dictionaries(names, values, max_size=4),
)
def test_any_body_is_answered_or_refused(path: str, body: Any) -> None:
    response = CLIENT.post(path, content=json.dumps(body))
    assert response.status_code in (200, 422), response.text


SHAPES = [(path, shape) for protocol in PROTOCOLS for shape in protocol.shapes for path in shape.paths]


@given(data=st.data(), at=st.sampled_from(SHAPES))
def test_a_request_with_wrong_fields_is_answered_or_refused(data: st.DataObject, at: tuple[str, Shape]) -> None:
    """A known request, of which one field or two hold anything: it never is an error of the server."""
    path, shape = at
    fields = sorted(shape.request.model_fields)
    wrong = data.draw(st.dictionaries(st.sampled_from(fields), values, min_size=1, max_size=2))
    response = CLIENT.post(path, content=json.dumps(dict(shape.example) | wrong))
    assert response.status_code in (200, 422), response.text


@pytest.mark.parametrize("query", [[], ""])
def test_an_empty_problem_is_refused(query: Any) -> None:
    refused("/v1/score", {"query": query, "items": ["It is 2."]})


def test_flags_come_to_settings(small_tokenizer: Path) -> None:
    config = ProtocolConfig(
        problem_separator="\\nAnswer: ",
        step_rule="tag:\\n\\n",
        token_ids_model="policy",
        token_ids_tokenizer=small_tokenizer,
    )
    client = client_of(config.settings())
    text = f"{PROBLEM}\nAnswer: {text_of(STEPS)}"
    assert post("/classify", {"input": text}, client)["data"][0]["probs"] == [min(confidences(STEPS))]
    decode = read_decoder(small_tokenizer)
    assert decode([1, 2]).split() == ["b", "c"]
    assert "is no token of" in refused("/classify", {"model": "policy", "input": [10**6]}, client)["error"]["message"]


@pytest.fixture(scope="module")
def small_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tokenizer.json."""
    from tokenizers import Tokenizer, models

    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2}, unk_token="a")).save(str(path))
    return path


def test_the_rule_of_training_holds_unless_a_flag_says_otherwise() -> None:
    assert ProtocolConfig().settings(split_rule="lines").reader.step_rule == "lines"
    assert ProtocolConfig(step_rule="auto").settings(split_rule="lines").reader.step_rule == "auto"
    assert ProtocolConfig().settings().reader.step_rule == "auto"


@pytest.mark.parametrize(
    "wrong",
    [
        {"chat_format": "vicuna"},
        {"chat_format_user": "a"},
        {"chat_format": "chatml", "chat_format_user": "a", "chat_format_assistant": "b", "chat_format_end": "c"},
        {"chat_format_user": "(", "chat_format_assistant": "b", "chat_format_end": "c"},
        {"token_ids_model": "policy"},
        {"token_ids_model": "policy", "token_ids_tokenizer": "missing"},
        {"step_rule": "paragraphs"},
        {"problem_separator": ""},
    ],
)
def test_wrong_flags_are_one_line(wrong: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, ValidationError)) as caught:
        ProtocolConfig(**wrong).settings()
    assert isinstance(caught.value, ValidationError) or "\n" not in str(caught.value)


def test_the_page_has_each_flag() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "plug-in.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `--(\w+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(ProtocolConfig.model_fields)


@pytest.mark.parametrize("wrong", [{"reduction": "max"}, {"max_solutions": 0}])
def test_wrong_settings_are_one_line(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="allowed: "):
        ProtocolSettings(**wrong)


def test_the_server_mounts_them_behind_its_queue_and_limits() -> None:
    """With the server's own fake model: its numbers, its token counts, its limits in each stack's shape."""
    settings = ProtocolConfig(served_model_name="mine").settings()

    def mounted(score_trees: Any) -> APIRouter:
        return router_of(PROTOCOLS, score_trees, settings, count_tokens=lambda trees: CURRENT.get().num_tokens)

    async def main() -> tuple[Any, Any, Any]:
        async with serving(routers=[mounted], max_steps=3) as server, server.client() as client:
            good = await client.post("/classify", json={"input": templated(STEPS), "use_activation": False})
            long = await client.post("/classify", json={"input": templated(["a", "b", "c", "d"])})
            ranked = await client.post("/rerank", json={"query": PROBLEM, "texts": [text_of(STEPS), text_of(OTHER)]})
            return good, long, ranked

    good, long, ranked = at_once(main())
    numbers = {steps: min(number_for(PROBLEM, steps[: i + 1]) for i in range(2)) for steps in (STEPS, OTHER)}
    assert good.json()["data"][-1]["probs"][-1] == numbers[STEPS]
    assert good.json()["usage"]["prompt_tokens"] > 0
    assert (long.status_code, long.json()["error"]["message"]) == (422, "a solution has 4 steps; allowed: 3")
    assert [row["score"] for row in ranked.json()] == sorted(numbers.values(), reverse=True)
