"""Every protocol that the server speaks."""

from __future__ import annotations

from surestep.serving.protocols.protocol import Protocol
from surestep.serving.protocols.remote_rewards import LLAMA_FACTORY, OPENRLHF, SLIME
from surestep.serving.protocols.sglang import SGLANG
from surestep.serving.protocols.tei import TEI
from surestep.serving.protocols.vllm import VLLM

PROTOCOLS: tuple[Protocol, ...] = (VLLM, SGLANG, TEI, OPENRLHF, SLIME, LLAMA_FACTORY)
