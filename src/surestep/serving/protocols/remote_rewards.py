"""Remote rewards of reinforcement learning: OpenRLHF, slime, LLaMA-Factory.

All three post to an address that their user names. Each has a path of its own, and `/reward` takes the bodies of all.

    OpenRLHF        openrlhf 0.11.2, `utils/agent.py` and `cli/serve_rm.py`
    slime           THUDM/slime at 0b420f1, `slime/rollout/rm_hub/__init__.py`
    LLaMA-Factory   llamafactory 0.9.5, `train/ppo/ppo_utils.py` and `api/protocol.py`
"""

from __future__ import annotations

import uuid
from typing import Any

from surestep.counted import counted
from surestep.errors import InputError
from surestep.serving.protocols.protocol import Answer, Protocol, Read, RequestBody, RequestReader, Shape, keys

_PROMPT = "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n"
_ANY = "/reward"


class OpenRLHFRequest(RequestBody):
    """Prompts with their answers behind them, and the prompts; labels are not looked at."""

    query: list[str]
    prompts: list[str] | None = None
    labels: list[Any] | None = None


class SlimeRequest(RequestBody):
    """One prompt (text, or messages) and its answer; the label is not looked at."""

    prompt: str | list[dict[str, Any]]
    response: str
    label: Any = None


class LlamaFactoryRequest(RequestBody):
    """Templated texts, special tokens included."""

    messages: list[str]


def _read_openrlhf(request: OpenRLHFRequest, reader: RequestReader) -> list[Read]:
    if request.prompts is None:
        return [reader.text(query) for query in request.query]
    if len(request.prompts) != len(request.query):
        raise InputError(
            f"{counted(len(request.query), 'query', 'queries')} and {counted(len(request.prompts), 'prompt')}; "
            "allowed: as many of each"
        )
    return [reader.query(query, prompt) for query, prompt in zip(request.query, request.prompts, strict=True)]


def _answer_openrlhf(request: OpenRLHFRequest, answer: Answer) -> dict[str, Any]:
    rewards = [one.reward for one in answer.scored]
    num_steps = [float(len(one.confidences)) for one in answer.scored]
    return {"rewards": rewards, "scores": rewards, "extra_logs": {"num_steps": num_steps}}


def _read_slime(request: SlimeRequest, reader: RequestReader) -> list[Read]:
    return [reader.beside(request.prompt, request.response)]


def _answer_slime(request: SlimeRequest, answer: Answer) -> float:
    return answer.scored[0].reward


def _read_llama_factory(request: LlamaFactoryRequest, reader: RequestReader) -> list[Read]:
    return [reader.text(message) for message in request.messages]


def _answer_llama_factory(request: LlamaFactoryRequest, answer: Answer) -> dict[str, Any]:
    return {
        "id": f"scoreval-{uuid.uuid4().hex}",
        "object": "score.evaluation",
        "model": answer.settings.model_name,
        "scores": [one.reward for one in answer.scored],
    }


OPENRLHF = Protocol(
    "OpenRLHF",
    (
        Shape(
            "remote reward",
            ("/get_reward", _ANY),
            (keys("query"),),
            OpenRLHFRequest,
            _read_openrlhf,
            _answer_openrlhf,
            {"query": [_PROMPT + "It is 2."], "prompts": [_PROMPT], "labels": ["2"]},
        ),
    ),
)
SLIME = Protocol(
    "slime",
    (
        Shape(
            "remote reward",
            ("/slime", _ANY),
            (keys("prompt", "response"),),
            SlimeRequest,
            _read_slime,
            _answer_slime,
            {"prompt": _PROMPT, "response": "It is 2.", "label": "2"},
        ),
    ),
)
LLAMA_FACTORY = Protocol(
    "LLaMA-Factory",
    (
        Shape(
            "reward of PPO",
            ("/v1/score/evaluation", _ANY),
            (keys("messages"),),
            LlamaFactoryRequest,
            _read_llama_factory,
            _answer_llama_factory,
            {"model": "model", "messages": [_PROMPT + "It is 2.<|im_end|>"]},
        ),
    ),
)
