"""The requests that other stacks already send: a checkpoint answers in the place of their reward models.

    protocol         the record of a protocol, and of one shape of its requests
    settings         what the operator declares
    router           FastAPI's routes for them
    vllm             `/pooling`, `/classify`, `/score`, `/rerank`; veRL's vLLM engine
    sglang           `/v1/classify`, the native `/classify`, `/v1/score`, `/v1/embeddings`; veRL's SGLang engine
    tei              `/predict`, `/rerank`
    remote_rewards   OpenRLHF, slime, LLaMA-Factory

Where two stacks use one path, the keys of the body decide:

    /classify   `input` or `messages`: vLLM     `text` or `input_ids`: SGLang
    /rerank     `query`, `documents`: vLLM      `query`, `texts`: TEI
    /v1/score   `query`, `items`: SGLang        `text_1`, `data_1` or `queries` with its pair: vLLM
    /reward     `query`: OpenRLHF               `prompt`, `response`: slime         `messages`: LLaMA-Factory

SGLang's `/v1/rerank` sends what vLLM's does and reads another answer; vLLM's is given.
"""

from __future__ import annotations

from surestep.serving.protocols.protocol import Protocol, Shape
from surestep.serving.protocols.remote_rewards import LLAMA_FACTORY, OPENRLHF, SLIME
from surestep.serving.protocols.router import ScoreTrees, router_of
from surestep.serving.protocols.settings import ProtocolSettings
from surestep.serving.protocols.sglang import SGLANG
from surestep.serving.protocols.tei import TEI
from surestep.serving.protocols.vllm import VLLM

PROTOCOLS: tuple[Protocol, ...] = (VLLM, SGLANG, TEI, OPENRLHF, SLIME, LLAMA_FACTORY)
"""Every protocol that the server speaks."""

__all__ = [
    "PROTOCOLS",
    "Protocol",
    "ProtocolSettings",
    "ScoreTrees",
    "Shape",
    "router_of",
]
