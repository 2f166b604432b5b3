"""Solutions generated under the eyes of a scorer: best-of-N, votes, step-level beam search and DVTS.

from surestep import Scorer
from surestep.inference.generation import GenerationSettings, OpenAIEndpoint, generate

endpoint = OpenAIEndpoint("http://127.0.0.1:8000/v1")
found = generate("What is 12 * 3 + 4?", endpoint, Scorer.load("outputs/mine"), GenerationSettings(n=16))
found.chosen.answer
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surestep.inference.generation.candidates import Candidate, GeneratedProblem, choose
from surestep.inference.generation.endpoint import OpenAIEndpoint
from surestep.inference.generation.run import Problem, generate, generate_many
from surestep.inference.generation.settings import GenerationSettings

if TYPE_CHECKING:
    from surestep.inference.generation.local_model import TransformersGenerator

__all__ = [
    "Candidate",
    "GeneratedProblem",
    "GenerationSettings",
    "OpenAIEndpoint",
    "Problem",
    "TransformersGenerator",
    "choose",
    "generate",
    "generate_many",
]


def __getattr__(name: str) -> Any:
    if name == "TransformersGenerator":
        from surestep.inference.generation.local_model import TransformersGenerator

        return TransformersGenerator
    raise AttributeError(f"module {__name__} has no attribute {name!r}")
