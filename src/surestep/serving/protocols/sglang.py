"""SGLang: `/v1/classify`, the native `/classify`, `/v1/score`, `/v1/embeddings` (sglang 0.5.23, `srt/entrypoints`).

veRL's SGLang engine asks `/v1/embeddings` and reads `data[-1].embedding[-1]` (verl 0.9.1,
`experimental/reward_loop/reward_loop.py`): the embedding is the reward alone, as of a reward model there.
"""

from __future__ import annotations

from typing import Any, ClassVar

from surestep.errors import InputError
from surestep.serving.protocols.protocol import Answer, Protocol, Read, RequestBody, RequestReader, Shape, keys
from surestep.serving.protocols.vllm import answer_classify
from surestep.untrusted.bounds import shown

_TEXT = "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\nIt is 2.<|im_end|>\n"


class InputRequest(RequestBody):
    """`/v1/classify` and `/v1/embeddings`."""

    unsupported: ClassVar[tuple[str, ...]] = ("dimensions", "embed_overrides")
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: str = "float"


class NativeRequest(RequestBody):
    """The native `/classify`: texts, or their token ids."""

    unsupported: ClassVar[tuple[str, ...]] = (
        "image_data",
        "video_data",
        "audio_data",
        "input_embeds",
        "embed_overrides",
    )
    text: str | list[str] | None = None
    input_ids: list[int] | list[list[int]] | None = None


class ScoringRequest(RequestBody):
    """`/v1/score`: one problem and its solutions."""

    unsupported: ClassVar[tuple[str, ...]] = (
        "item_first", "query_embed_overrides", "item_embed_overrides", "embed_override_token_id",
        "score_extraction_token", "return_pooled_hidden_states", "return_token_logprobs",
    )  # fmt: skip
    query: str | list[int]
    items: str | list[str] | list[list[int]]
    label_token_ids: list[int] | None = None
    apply_softmax: bool = False


def _error(status: int, reason: str, field: str | None) -> dict[str, Any]:
    kind = "NotFoundError" if status == 404 else "BadRequestError"
    return {"object": "error", "message": reason, "type": kind, "param": field, "code": status}


def _read_input(request: InputRequest, reader: RequestReader) -> list[Read]:
    if request.encoding_format != "float":
        raise InputError(f"encoding_format is {shown(request.encoding_format)}; allowed: float")
    return reader.inputs(request.input)


def _answer_embeddings(request: InputRequest, answer: Answer) -> dict[str, Any]:
    rows = [
        {"object": "embedding", "index": index, "embedding": [one.reward]} for index, one in enumerate(answer.scored)
    ]
    return {"object": "list", "data": rows, "model": answer.settings.model_name, "usage": answer.usage()}


def _native_input(request: NativeRequest) -> str | list[str] | list[int] | list[list[int]]:
    given = [value for value in (request.text, request.input_ids) if value is not None]
    if len(given) != 1:
        raise InputError("allowed: text or input_ids, one of the two")
    return given[0]


def _read_native(request: NativeRequest, reader: RequestReader) -> list[Read]:
    return reader.inputs(_native_input(request))


def _answer_native(request: NativeRequest, answer: Answer) -> Any:
    rows = [{"embedding": [one.reward], "meta_info": {}} for one in answer.scored]
    value = _native_input(request)
    is_single = isinstance(value, str) or isinstance(value[0], int)
    return rows[0] if is_single else rows


def _read_score(request: ScoringRequest, reader: RequestReader) -> list[Read]:
    _columns(request, reader.settings.right_token_id, 0.0)
    # Without an id it would be no text at all, and not one of nothing.
    (query,) = reader.texts(request.query or "")
    return [reader.beside(query, item) for item in reader.texts(request.items)]


def _columns(request: ScoringRequest, right: int | None, confidence: float) -> list[float]:
    """One number a label token; the confidence alone where the request names none."""
    labels = request.label_token_ids
    if labels is None:
        return [confidence]
    if right is None or labels.count(right) != 1 or len(labels) > 2:
        raise InputError(
            f"label_token_ids is {shown(labels)}, and which of them means that a solution is right is not declared; "
            "allowed: none, or two with the setting's right_token_id among them"
        )
    return [confidence if label == right else 1.0 - confidence for label in labels]


def _answer_score(request: ScoringRequest, answer: Answer) -> dict[str, Any]:
    rows = [_columns(request, answer.settings.right_token_id, one.reward) for one in answer.scored]
    return {"scores": rows, "model": answer.settings.model_name, "usage": answer.usage(), "object": "scoring"}


SGLANG = Protocol(
    "SGLang",
    (
        Shape(
            "classify",
            ("/v1/classify",),
            (keys("input"),),
            InputRequest,
            _read_input,
            answer_classify,
            {"model": "surestep", "input": [_TEXT]},
        ),
        Shape(
            "native classify",
            ("/classify",),
            (keys("text"), keys("input_ids")),
            NativeRequest,
            _read_native,
            _answer_native,
            {"text": [_TEXT]},
        ),
        Shape(
            "score",
            ("/v1/score",),
            (keys("query", "items"),),
            ScoringRequest,
            _read_score,
            _answer_score,
            {"query": "1 + 1?", "items": ["It is 2.", "It is 3."]},
        ),
        Shape(
            "embeddings",
            ("/v1/embeddings",),
            (keys("input"),),
            InputRequest,
            _read_input,
            _answer_embeddings,
            {"model": "surestep", "input": _TEXT},
        ),
    ),
    _error,
)
