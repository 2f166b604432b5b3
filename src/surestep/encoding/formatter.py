"""How a problem and a step read as text: the same for training, evaluation and serving.

A checkpoint stores `Formatter.hash()`; a scorer that would format otherwise refuses to load it. Knows no
tokenizer: the `<CONFIDENCE>` token is appended as an id, never as text.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

CONFIDENCE_TOKEN = "<CONFIDENCE>"


@dataclass(frozen=True, slots=True)
class Formatter:
    """Templates of the pieces that are tokenised one by one.

    Attributes:
        problem: opens every tree; `{problem}` is its text.
        step: one step; `{text}` is the step as written.
        context: stands in front of a step that comes with evidence; `{context}` is the evidence.

    >>> Formatter().format_step("2 + 2 = 4", context=None)
    '2 + 2 = 4\\n'
    """

    problem: str = "{problem}\n\n"
    step: str = "{text}\n"
    context: str = "[Evidence: {context}]\n"

    def format_problem(self, problem: str) -> str:
        """The text of the root."""
        return self.problem.replace("{problem}", problem)

    def format_step(self, text: str, context: str | None) -> str:
        """The text of one step, its evidence in front of it."""
        evidence = self.context.replace("{context}", context) if context else ""
        return evidence + self.step.replace("{text}", text)

    def hash(self) -> str:
        """Changes with anything that changes the formatted text."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]
