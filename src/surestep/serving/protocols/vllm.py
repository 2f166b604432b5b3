"""vLLM's pooling API: `/pooling`, `/classify`, `/score`, `/rerank` (vllm 0.33.0, `vllm/entrypoints/pooling`).

`use_activation` changes nothing: every number is a calibrated confidence, and there is none before an activation.
veRL's vLLM engine asks `/classify` and reads `data[-1].probs[-1]` (verl 0.9.1,
`experimental/reward_loop/reward_loop.py`).
"""

from __future__ import annotations

from typing import Any, ClassVar

from surestep.counted import counted
from surestep.errors import InputError
from surestep.serving.protocols.protocol import Answer, Protocol, Read, RequestBody, RequestReader, Shape, keys
from surestep.untrusted.bounds import shown

_CONVERSATION = ({"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "It is 2."})
_TEXT = "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\nIt is 2.<|im_end|>\n"


class PoolingRequest(RequestBody):
    """`/pooling` and `/classify`: `input` or `messages`."""

    unsupported: ClassVar[tuple[str, ...]] = (
        "normalize", "dimensions", "truncate_prompt_tokens", "truncation_side", "mm_processor_kwargs", "chat_template",
        "chat_template_kwargs", "media_io_kwargs", "add_generation_prompt",
    )  # fmt: skip
    input: str | list[str] | list[int] | list[list[int]] | None = None
    messages: list[dict[str, Any]] | None = None
    task: str | None = None
    use_activation: bool | None = None
    encoding_format: str = "float"


class ScoreRequest(RequestBody):
    """`/score`: problems and solutions, one problem for all solutions or one for each."""

    unsupported: ClassVar[tuple[str, ...]] = (
        "truncate_prompt_tokens", "truncation_side", "mm_processor_kwargs", "max_tokens_per_query",
        "max_tokens_per_doc", "instruction", "chat_template_kwargs",
    )  # fmt: skip
    text_1: str | list[str] | None = None
    text_2: str | list[str] | None = None
    data_1: str | list[str] | None = None
    data_2: str | list[str] | None = None
    queries: str | list[str] | None = None
    documents: str | list[str] | None = None
    items: str | list[str] | None = None
    use_activation: bool | None = None


class RerankRequest(RequestBody):
    """`/rerank`: one problem and its solutions."""

    unsupported: ClassVar[tuple[str, ...]] = ScoreRequest.unsupported
    query: str
    documents: str | list[str]
    top_n: int = 0
    use_activation: bool | None = None


def error_of(status: int, reason: str, field: str | None) -> dict[str, Any]:
    """A refusal as vLLM writes it (`entrypoints/serve/engine/protocol.py`)."""
    kind = "NotFoundError" if status == 404 else "BadRequestError"
    return {"error": {"message": reason, "type": kind, "param": field, "code": status}}


def _read_input(request: PoolingRequest, reader: RequestReader) -> list[Read]:
    if request.messages is not None and request.input is not None:
        raise InputError("input and messages are both there; send one of them")
    if request.messages is not None:
        return [reader.messages(request.messages)]
    assert request.input is not None, "the shape asks for one of the two"
    return reader.inputs(request.input)


def _read_pooling(request: PoolingRequest, reader: RequestReader) -> list[Read]:
    if request.task not in (None, "token_classify", "classify"):
        raise InputError(f"task is {shown(request.task)}; allowed: token_classify (each step), classify (the solution)")
    if request.encoding_format != "float":
        raise InputError(f"encoding_format is {shown(request.encoding_format)}; allowed: float")
    return _read_input(request, reader)


def _is_per_step(request: PoolingRequest) -> bool:
    return request.task != "classify"


def _answer_pooling(request: PoolingRequest, answer: Answer) -> dict[str, Any]:
    data = [
        [answer.classes(value) for value in one.confidences] if _is_per_step(request) else answer.classes(one.reward)
        for one in answer.scored
    ]
    rows = [{"index": index, "object": "pooling", "data": values} for index, values in enumerate(data)]
    return answer.head("pooling") | {"data": rows, "usage": answer.usage()}


def answer_classify(request: RequestBody, answer: Answer) -> dict[str, Any]:
    """One row a solution, whose last probability is the reward; SGLang's `/v1/classify` answers the same."""
    rows = []
    for index, one in enumerate(answer.scored):
        probs = answer.classes(one.reward)
        label = "confidence" if len(probs) == 1 else ("right" if probs[1] > probs[0] else "wrong")
        rows.append({"index": index, "label": label, "probs": probs, "num_classes": len(probs)})
    return answer.head("classify") | {"data": rows, "usage": answer.usage()}


def _as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _read_score(request: ScoreRequest, reader: RequestReader) -> list[Read]:
    pairs = (
        (request.text_1, request.text_2),
        (request.data_1, request.data_2),
        (request.queries, request.documents),
        (request.queries, request.items),
    )
    given = [(first, second) for first, second in pairs if first is not None and second is not None]
    if len(given) != 1:
        raise InputError("allowed: text_1 and text_2, or queries and documents, or queries and items: one pair of them")
    problems, solutions = map(_as_list, given[0])
    if len(problems) > 1 and len(problems) != len(solutions):
        raise InputError(
            f"{counted(len(problems), 'problem')} and {counted(len(solutions), 'solution')}; allowed: 1:1, 1:N or N:N"
        )
    if not problems:
        raise InputError("there is no problem; allowed: one, or one for each solution")
    if len(problems) == 1:
        problems *= len(solutions)
    return [reader.beside(problem, solution) for problem, solution in zip(problems, solutions, strict=True)]


def _answer_score(request: ScoreRequest, answer: Answer) -> dict[str, Any]:
    rows = [{"index": index, "object": "score", "score": one.reward} for index, one in enumerate(answer.scored)]
    return answer.head("score") | {"data": rows, "usage": answer.usage()}


def _read_rerank(request: RerankRequest, reader: RequestReader) -> list[Read]:
    if request.top_n < 0:
        raise InputError(f"top_n is {request.top_n}; allowed: 0 (all) or more")
    return [reader.beside(request.query, document) for document in _as_list(request.documents)]


def _answer_rerank(request: RerankRequest, answer: Answer) -> dict[str, Any]:
    documents = _as_list(request.documents)
    order = answer.best_first()[: request.top_n or None]
    rows = [
        {
            "index": index,
            "document": {"text": documents[index], "multi_modal": None},
            "relevance_score": answer.scored[index].reward,
        }
        for index in order
    ]
    head = {name: value for name, value in answer.head("rerank").items() if name in ("id", "model")}
    usage = {"prompt_tokens": answer.num_tokens, "total_tokens": answer.num_tokens}
    return head | {"usage": usage, "results": rows}


VLLM = Protocol(
    "vLLM",
    (
        Shape(
            "pooling",
            ("/pooling",),
            (keys("input"), keys("messages")),
            PoolingRequest,
            _read_pooling,
            _answer_pooling,
            {"input": _TEXT, "task": "token_classify"},
            _is_per_step,
        ),
        Shape(
            "classify",
            ("/classify",),
            (keys("input"), keys("messages")),
            PoolingRequest,
            _read_input,
            answer_classify,
            {"messages": _CONVERSATION, "use_activation": False},
        ),
        Shape(
            "score",
            ("/score", "/v1/score"),
            (
                keys("text_1", "text_2"),
                keys("data_1", "data_2"),
                keys("queries", "documents"),
                keys("queries", "items"),
            ),
            ScoreRequest,
            _read_score,
            _answer_score,
            {"text_1": "1 + 1?", "text_2": ["It is 2.", "It is 3."]},
        ),
        Shape(
            "rerank",
            ("/rerank", "/v1/rerank", "/v2/rerank"),
            (keys("query", "documents"),),
            RerankRequest,
            _read_rerank,
            _answer_rerank,
            {"query": "1 + 1?", "documents": ["It is 3.", "It is 2."], "top_n": 1},
        ),
    ),
    error_of,
)
