"""The routes of all protocols: a body is told by its keys, read, scored, and answered in its stack's shape.

Knows FastAPI and the records; how trees become confidences is a function that it is given.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from surestep.counted import counted
from surestep.data.templated import ReadSolution
from surestep.errors import InputError, UnreadableAnswerError
from surestep.serving.http.failures import error_answers
from surestep.serving.protocols.protocol import (
    Answer,
    Protocol,
    Read,
    RequestBody,
    RequestReader,
    Scored,
    Shape,
    scored,
)
from surestep.serving.protocols.settings import ProtocolSettings
from surestep.serving.service import tree_of_candidates
from surestep.types import ReasoningTree
from surestep.untrusted import has_lone_surrogate, parse_json
from surestep.untrusted.bounds import shown

ScoreTrees: TypeAlias = Callable[[list[ReasoningTree]], Awaitable[list[list[float | None]]]]
"""The confidence of each node of each tree, in order; None where a node ends beyond what the model takes. An
`InputError` is answered with 422; anything else is the server's own to answer."""

SPLIT_HEADER, REDUCTION_HEADER = "X-Surestep-Split", "X-Surestep-Reduction"
DROPPED_HEADER, UNREADABLE_HEADER = "X-Surestep-Dropped", "X-Surestep-Unreadable"
_UNPROCESSABLE, _NOT_FOUND = 422, 404
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "scored"},
    _NOT_FOUND: {"description": "the model has another name"},
    _UNPROCESSABLE: {"description": "refused, with the reason, in the stack's own shape"},
    **error_answers(400, 401, 408, 413, 429, 500, 503, 504),
}
_LARGE = 32_768
"""Bytes from which a body is read in a thread: below, the loop is held for a millisecond or so."""


def router_of(
    protocols: Sequence[Protocol],
    score: ScoreTrees,
    settings: ProtocolSettings,
    *,
    count_tokens: Callable[[list[ReasoningTree]], int] | None = None,
) -> APIRouter:
    """A router with every path of `protocols`.

    Args:
        protocols: whose shapes are told apart on every path that they share.
        score: scores the trees of one request.
        settings: see `ProtocolSettings`.
        count_tokens: of all trees of a request, for the `usage` of answers; None answers 0.
    """
    router = APIRouter()
    shapes: dict[str, list[tuple[Protocol, Shape]]] = {}
    for protocol in protocols:
        for shape in protocol.shapes:
            for path in shape.paths:
                shapes.setdefault(path, []).append((protocol, shape))
    for path, of_path in shapes.items():
        router.add_api_route(
            path,
            _endpoint(of_path, score, settings, count_tokens),
            methods=["POST"],
            name=path.strip("/").replace("/", "_"),
            summary=" or ".join(dict.fromkeys(f"{protocol.name}: {shape.name}" for protocol, shape in of_path)),
            tags=["protocols of other stacks"],
            response_model=None,
            responses=_ANSWERS,
            openapi_extra=_description([shape for _, shape in of_path]),
        )
    return router


def _endpoint(
    shapes: Sequence[tuple[Protocol, Shape]],
    score: ScoreTrees,
    settings: ProtocolSettings,
    count_tokens: Callable[[list[ReasoningTree]], int] | None,
) -> Callable[[Request], Awaitable[JSONResponse]]:
    async def answer(request: Request) -> JSONResponse:
        content = await request.body()
        try:
            # A large body would hold the loop, and with it every other client, while it is read.
            read = partial(_read, content, shapes, settings)
            asked = await asyncio.to_thread(read) if len(content) >= _LARGE else read()
        except _RefusedError as refusal:
            return JSONResponse(refusal.content, refusal.status)
        try:
            scores = await score(asked.trees) if asked.trees else []
            found = _scored(asked, scores, settings)
        except InputError as reason:
            return JSONResponse(asked.protocol.error(_UNPROCESSABLE, str(reason), None), _UNPROCESSABLE)
        num_tokens = count_tokens(asked.trees) if count_tokens is not None else 0
        reduction = "none" if asked.is_per_step else settings.reduction
        return JSONResponse(
            asked.shape.answer(asked.fields, Answer(found, settings, num_tokens)),
            headers=_headers(asked.solutions, found, reduction),
        )

    return answer


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that was read.

    Attributes:
        protocol, shape, fields: what it is.
        solutions: what it holds, in its order.
        trees: one for each problem.
        paths: of each solution its tree and its nodes there; None where the answer was unreadable.
    """

    protocol: Protocol
    shape: Shape
    fields: RequestBody
    solutions: list[Read]
    trees: list[ReasoningTree]
    paths: list[tuple[int, list[int]] | None]

    @property
    def is_per_step(self) -> bool:
        """Whether every step's confidence is answered."""
        return self.shape.per_step(self.fields)


class _RefusedError(Exception):
    """A request that is answered with an error, in its stack's shape."""

    def __init__(self, status: int, content: Any) -> None:
        super().__init__(status)
        self.status = status
        self.content = content


def _read(content: bytes, shapes: Sequence[tuple[Protocol, Shape]], settings: ProtocolSettings) -> _Asked:
    """What a body asks for.

    Raises:
        _RefusedError: it is none of the shapes, or leaves a doubt.
    """
    error = shapes[0][0].error
    try:
        body = _json(content)
        protocol, shape = _shape(body, shapes)
        error = protocol.error
        fields = _fields(shape, body)
        if settings.only_model_name and fields.model not in (None, settings.model_name):
            reason = f"the model {shown(fields.model)} does not exist; allowed: {settings.model_name}"
            raise _RefusedError(_NOT_FOUND, error(_NOT_FOUND, reason, "model"))
        solutions = shape.read(fields, RequestReader(settings, fields.model))
        _check(solutions, settings)
        return _Asked(protocol, shape, fields, solutions, *_trees(solutions))
    except InputError as reason:
        raise _RefusedError(_UNPROCESSABLE, error(_UNPROCESSABLE, str(reason), None)) from None


def _json(content: bytes) -> dict[str, Any]:
    """The object that a body holds.

    Raises:
        InputError: it is no JSON object, or holds half a character.
    """
    try:
        text = content.decode("utf-8")
        body = parse_json(text, allow_nan=False, unique_keys=True)
    except ValueError as error:
        raise InputError(f"the body is no JSON ({error})") from None
    if not isinstance(body, dict):
        raise InputError(f"the body is a JSON {type(body).__name__}; allowed: an object")
    if "\\u" in text and has_lone_surrogate(body):
        raise InputError("the body holds half of a surrogate pair (\\ud800 to \\udfff), which is no character")
    return body


def _shape(body: Mapping[str, Any], shapes: Sequence[tuple[Protocol, Shape]]) -> tuple[Protocol, Shape]:
    """The one shape whose keys a body has."""
    found = [pair for pair in shapes if pair[1].fits(body)]
    if len(found) == 1:
        return found[0]
    if found:
        names = " and of ".join(f"{protocol.name} {shape.name}" for protocol, shape in found)
        raise InputError(f"the body has the keys of {names}; send those of one")
    expected = "; ".join(
        f"{protocol.name} {shape.name}: {' or '.join('{' + ', '.join(sorted(keys)) + '}' for keys in shape.keys)}"
        for protocol, shape in shapes
    )
    raise InputError(f"the body has none of the keys that this path knows; allowed: {expected}")


def _fields(shape: Shape, body: Mapping[str, Any]) -> RequestBody:
    """The checked fields of a body; one that nothing here can follow is refused where it is set."""
    unsupported = [name for name in shape.request.unsupported if body.get(name) not in (None, False)]
    if unsupported:
        raise InputError(f"{unsupported[0]} is set, which this server cannot follow; allowed: leave it out")
    try:
        return shape.request.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"] if not str(part).endswith("]")) or "the body"
        raise InputError(f"{place}: {first['msg']}") from None


def _trees(solutions: Sequence[Read]) -> tuple[list[ReasoningTree], list[tuple[int, list[int]] | None]]:
    """A tree for each problem, in which its solutions share what they begin with; each solution's tree and nodes."""
    of_problem: dict[str, list[int]] = {}
    for index, read in enumerate(solutions):
        if isinstance(read, ReadSolution):
            of_problem.setdefault(read.problem, []).append(index)
    trees: list[ReasoningTree] = []
    paths: list[tuple[int, list[int]] | None] = [None] * len(solutions)
    for problem, indices in of_problem.items():
        steps = [read.steps for index in indices if isinstance(read := solutions[index], ReadSolution)]
        tree, found = tree_of_candidates(problem, steps)
        for index, nodes in zip(indices, found, strict=True):
            paths[index] = (len(trees), nodes)
        trees.append(tree)
    return trees, paths


def _check(solutions: Sequence[Read], settings: ProtocolSettings) -> None:
    if not solutions:
        raise InputError("the request holds no solution; allowed: one or more")
    if len(solutions) > settings.max_solutions:
        raise InputError(
            f"the request holds {counted(len(solutions), 'solution')}; allowed: {settings.max_solutions}; send "
            "several requests"
        )


def _scored(asked: _Asked, scores: Sequence[Sequence[float | None]], settings: ProtocolSettings) -> list[Scored]:
    """Every solution with its numbers, in the order of the request."""
    found: list[Scored] = []
    for index, (read, path) in enumerate(zip(asked.solutions, asked.paths, strict=True)):
        try:
            one = scored(read, None if path is None else [scores[path[0]][node] for node in path[1]], settings)
            if asked.is_per_step and one.solution is None:
                raise read if isinstance(read, UnreadableAnswerError) else UnreadableAnswerError("a step has no score")
        except UnreadableAnswerError as error:
            several = len(asked.solutions) > 1
            raise InputError(f"solution {index}: {error}" if several else str(error)) from None
        found.append(one)
    return found


def _headers(solutions: Sequence[Read], found: Sequence[Scored], reduction: str) -> dict[str, str]:
    """Which rule cut how many steps, what made one number of them, and what was left out of how many solutions."""
    steps: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for read in solutions:
        if isinstance(read, ReadSolution):
            steps[read.rule] += len(read.steps)
            dropped.update(read.dropped)
    headers = {SPLIT_HEADER: _counts(steps) or "none;0", REDUCTION_HEADER: reduction}
    unreadable = sum(one.solution is None for one in found)
    return (
        headers
        | ({DROPPED_HEADER: _counts(dropped)} if dropped else {})
        | ({UNREADABLE_HEADER: str(unreadable)} if unreadable else {})
    )


def _counts(counts: Counter[str]) -> str:
    # A rule may name a text of the operator's ("tag:\\n\\n"), which a header cannot hold as it is.
    return ", ".join(f"{quote(name, safe=':<>+_')};{count}" for name, count in sorted(counts.items()))


def _description(shapes: Sequence[Shape]) -> dict[str, Any]:
    """The body's part of the OpenAPI description: one schema and one example for each shape."""
    schemas = []
    for shape in shapes:
        schema = shape.request.model_json_schema()
        schema |= {"title": shape.request.__name__, "examples": [dict(shape.example)]}
        schemas.append(schema | {"anyOf": [{"required": sorted(keys)} for keys in shape.keys]})
    examples = {shape.name: {"value": dict(shape.example)} for shape in shapes}
    content = {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}, "examples": examples}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}
