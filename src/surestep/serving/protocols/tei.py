"""Text Embeddings Inference: `/predict`, `/rerank` (huggingface/text-embeddings-inference, `router/src/http/types.rs`).

`raw_scores` changes nothing: every number is a calibrated confidence. `truncate` is refused: half a solution is not
scored as if it were whole.
"""

from __future__ import annotations

from typing import Any, ClassVar

from surestep.counted import counted
from surestep.errors import InputError
from surestep.serving.protocols.protocol import Answer, Protocol, Read, RequestBody, RequestReader, Scored, Shape, keys

_TEXT = "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\nIt is 2.<|im_end|>\n"


class PredictRequest(RequestBody):
    """`/predict`: a templated text, a pair of problem and solution, or a batch `[[text], [problem, solution], …]`."""

    unsupported: ClassVar[tuple[str, ...]] = ("truncate",)
    inputs: str | list[str] | list[list[str]]
    raw_scores: bool = False


class RerankRequest(RequestBody):
    """`/rerank`: one problem and its solutions."""

    unsupported: ClassVar[tuple[str, ...]] = ("truncate",)
    query: str
    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False


def _error(status: int, reason: str, field: str | None) -> dict[str, Any]:
    return {"error": reason, "error_type": "Validation"}


def _is_batch(request: PredictRequest) -> bool:
    return isinstance(request.inputs, list) and bool(request.inputs) and isinstance(request.inputs[0], list)


def _read_predict(request: PredictRequest, reader: RequestReader) -> list[Read]:
    # A flat list is one input, a pair: TEI's batches are lists of lists.
    value = request.inputs
    inputs: list[Any] = [[value]] if isinstance(value, str) else list(value) if _is_batch(request) else [value]
    return [_read_sequence(one, reader) for one in inputs]


def _read_sequence(parts: list[str], reader: RequestReader) -> Read:
    if len(parts) == 1:
        return reader.text(parts[0])
    if len(parts) == 2:
        return reader.beside(parts[0], parts[1])
    raise InputError(
        f"an input has {counted(len(parts), 'text')}; allowed: one text, or a pair of problem and solution"
    )


def _prediction(one: Scored) -> list[dict[str, Any]]:
    return [{"score": one.reward, "label": "confidence"}]


def _answer_predict(request: PredictRequest, answer: Answer) -> Any:
    rows = [_prediction(one) for one in answer.scored]
    return rows if _is_batch(request) else rows[0]


def _read_rerank(request: RerankRequest, reader: RequestReader) -> list[Read]:
    return [reader.beside(request.query, text) for text in request.texts]


def _answer_rerank(request: RerankRequest, answer: Answer) -> list[dict[str, Any]]:
    return [
        {"index": index, "score": answer.scored[index].reward}
        | ({"text": request.texts[index]} if request.return_text else {})
        for index in answer.best_first()
    ]


TEI = Protocol(
    "TEI",
    (
        Shape(
            "predict",
            ("/predict",),
            (keys("inputs"),),
            PredictRequest,
            _read_predict,
            _answer_predict,
            {"inputs": [[_TEXT], ["1 + 1?", "It is 2."]]},
        ),
        Shape(
            "rerank",
            ("/rerank",),
            (keys("query", "texts"),),
            RerankRequest,
            _read_rerank,
            _answer_rerank,
            {"query": "1 + 1?", "texts": ["It is 3.", "It is 2."], "return_text": True},
        ),
    ),
    _error,
)
