"""What other stacks are asked for scores, and how their answers are read: the protocols of `surestep serve`, from the
other side. Knows JSON; sends nothing.

Most of them score a whole solution. The score of a step is then the answer for the solution up to it, so each of a
tree's steps is one such solution; `/v1/steps` and vLLM's token classification answer for every step of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from surestep.scoring.other_scorers.path_scores import checked_scores

Json = dict[str, Any]

PROMPT = "<|im_start|>user\n{problem}<|im_end|>\n<|im_start|>assistant\n"
END = "<|im_end|>\n"


@dataclass(frozen=True, slots=True)
class Texts:
    """How a problem and a solution are written.

    Attributes:
        prompt: `{problem}` stands for the problem; a solution follows.
        end: what follows the solution.
        step: one step; `{step}` stands for it.
        between: stands between two steps.
    """

    prompt: str = PROMPT
    end: str = END
    step: str = "{step}"
    between: str = "\n\n"

    def solution(self, steps: Sequence[str]) -> str:
        """Steps as one answer."""
        return self.between.join(self.step.replace("{step}", step) for step in steps)

    def opening(self, problem: str) -> str:
        """A problem, up to where its answer begins."""
        return self.prompt.replace("{problem}", problem)

    def whole(self, problem: str, solution: str) -> str:
        """Problem and answer."""
        return self.opening(problem) + solution + self.end


@dataclass(frozen=True, slots=True)
class Question:
    """What one request asks.

    Attributes:
        problem: the problem.
        solutions: their scores are asked for; of a protocol that answers `by step`, the steps of one solution.
        texts: how they are written.
        model: the name under which the server has its model.
    """

    problem: str
    solutions: Sequence[str]
    texts: Texts
    model: str

    def wholes(self) -> list[str]:
        """Each solution with the problem in front of it, in a chat format."""
        return [self.texts.whole(self.problem, solution) for solution in self.solutions]


@dataclass(frozen=True, slots=True)
class WireProtocol:
    """One kind of request of one stack.

    Attributes:
        name: as `--scorer` names it, behind `http+`.
        stack: whose protocol it is, for messages.
        path: where it is sent, where the address has no path of its own.
        by: a `step` each of one solution, or `solutions` as a whole.
        body: of the request.
        read: the scores in an answer, in the order of the question, from a list of so many.
        most: solutions of one request.
    """

    name: str
    stack: str
    path: str
    by: Literal["step", "solutions"]
    body: Callable[[Question], Json]
    read: Callable[[Any], Sequence[Any]]
    most: int = 64

    def scores(self, answer: Any, count: int) -> list[float | None]:
        """The scores in an answer.

        Raises:
            ValueError: it has another number of them, or one outside [0, 1] (an `InputError` is one).
            KeyError, TypeError: it has another shape.
        """
        return checked_scores(self.read(answer), count, f"the server ({self.stack})")


def _steps_body(question: Question) -> Json:
    return {"problem": question.problem, "steps": list(question.solutions), "dataset": None}


def _pooling_body(question: Question) -> Json:
    steps = question.texts.solution(question.solutions)
    if question.texts.prompt != PROMPT:
        return {"model": question.model, "input": question.texts.whole(question.problem, steps), "task": _TOKEN_TASK}
    messages = [{"role": "user", "content": question.problem}, {"role": "assistant", "content": steps}]
    return {"model": question.model, "messages": messages, "task": _TOKEN_TASK}


_TOKEN_TASK = "token_classify"


def _last(value: Any) -> Any:
    """Of one class or several the last: that of a right step."""
    return value[-1] if isinstance(value, list) else value


def _by_index(rows: Any, key: str) -> list[Any]:
    """The values of rows that say which question they answer, in the order of the questions."""
    found = {int(row["index"]): _last(row[key]) for row in rows}
    if sorted(found) != list(range(len(rows))):
        raise ValueError("its rows do not say each question once")
    return [found[index] for index in range(len(found))]


def _sglang_score(answer: Any) -> list[Any]:
    return [_last(row) for row in answer["scores"]]


def _of_class(row: Any) -> Any:
    """TEI's answer for one input: the score of the only class, or of the last one."""
    return row[-1]["score"] if isinstance(row, list) else row["score"]


_ALL = (
    WireProtocol("steps", "Surestep", "/v1/steps", "step", _steps_body, lambda answer: answer["confidences"]),
    WireProtocol(
        "pooling", "vLLM's /pooling", "/pooling", "step", _pooling_body,
        lambda answer: [_last(row) for row in answer["data"][0]["data"]],
    ),
    WireProtocol(
        "classify", "vLLM's /classify", "/classify", "solutions",
        lambda asked: {"model": asked.model, "input": asked.wholes()},
        lambda answer: _by_index(answer["data"], "probs"),
    ),
    WireProtocol(
        "score", "vLLM's /score", "/score", "solutions",
        lambda asked: {"model": asked.model, "text_1": asked.problem, "text_2": list(asked.solutions)},
        lambda answer: _by_index(answer["data"], "score"),
    ),
    WireProtocol(
        "rerank", "vLLM's /rerank", "/rerank", "solutions",
        lambda asked: {"model": asked.model, "query": asked.problem, "documents": list(asked.solutions)},
        lambda answer: _by_index(answer["results"], "relevance_score"),
    ),
    WireProtocol(
        "sglang-classify", "SGLang's /classify", "/classify", "solutions",
        lambda asked: {"model": asked.model, "text": asked.wholes()},
        lambda answer: [_last(row["embedding"]) for row in answer],
    ),
    WireProtocol(
        "sglang-score", "SGLang's /v1/score", "/v1/score", "solutions",
        lambda asked: {"model": asked.model, "query": asked.problem, "items": list(asked.solutions)},
        _sglang_score,
    ),
    WireProtocol(
        "embeddings", "SGLang's /v1/embeddings", "/v1/embeddings", "solutions",
        lambda asked: {"model": asked.model, "input": asked.wholes()},
        lambda answer: _by_index(answer["data"], "embedding"),
    ),
    WireProtocol(
        "tei", "TEI's /predict", "/predict", "solutions",
        lambda asked: {"inputs": [[asked.problem, solution] for solution in asked.solutions]},
        lambda answer: [_of_class(row) for row in answer],
        most=32,
    ),
    WireProtocol(
        "tei-rerank", "TEI's /rerank", "/rerank", "solutions",
        lambda asked: {"query": asked.problem, "texts": list(asked.solutions)},
        lambda answer: _by_index(answer, "score"),
        most=32,
    ),
    WireProtocol(
        "openrlhf", "OpenRLHF's remote reward", "/get_reward", "solutions",
        lambda asked: {
            "query": [asked.texts.opening(asked.problem) + solution for solution in asked.solutions],
            "prompts": [asked.texts.opening(asked.problem)] * len(asked.solutions),
            "labels": [""] * len(asked.solutions),
        },
        lambda answer: answer["rewards"],
    ),
    WireProtocol(
        "slime", "slime's remote reward", "/slime", "solutions",
        lambda asked: {"prompt": asked.texts.opening(asked.problem), "response": asked.solutions[0], "label": ""},
        lambda answer: [answer],
        most=1,
    ),
    WireProtocol(
        "llama-factory", "LLaMA-Factory's reward", "/v1/score/evaluation", "solutions",
        lambda asked: {"model": asked.model, "messages": asked.wholes()},
        lambda answer: answer["scores"],
    ),
)  # fmt: skip

WIRE_PROTOCOLS: Mapping[str, WireProtocol] = MappingProxyType({protocol.name: protocol for protocol in _ALL})
"""Every protocol that a server may be asked by, by its name."""


def tokens_in(answer: Any) -> int | None:
    """How many tokens the server says it read; None where it does not."""
    if not isinstance(answer, dict):
        return None
    usage = answer.get("usage")
    said = usage.get("prompt_tokens") if isinstance(usage, dict) else answer.get("num_tokens")
    return said if type(said) is int and said >= 0 else None
