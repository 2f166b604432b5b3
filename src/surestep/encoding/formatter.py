"""How a problem and a step read as text: the same for training, evaluation and serving.

Every text is cleaned here (`clean_text`), so that white space around a step never changes its confidence, whoever made
the tree. A checkpoint stores `Formatter.hash()`; a scorer that would format otherwise refuses to load it. Knows no
tokenizer: the `<CONFIDENCE>` token is appended as an id, never as text.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from surestep.config.model import TextFrame as TextFrame
from surestep.data.trees.text import VERSION as TEXT_VERSION
from surestep.data.trees.text import clean_text, cleaned

CONFIDENCE_TOKEN = "<CONFIDENCE>"

FORMER_HASHES = {"2aa233f1bd896353": "which left the white space around problems, steps and evidence as written"}
"""`Formatter.hash()` of earlier versions of Surestep -> what they did otherwise."""


@dataclass(frozen=True, slots=True)
class Formatter:
    """Templates of the pieces that are tokenised one by one.

    Attributes:
        problem: opens every tree; `{problem}` is its clean text.
        step: one step; `{text}` is its clean text.
        context: stands in front of a step that comes with evidence; `{context}` is the evidence.

    >>> Formatter().format_step("2 + 2 = 4", context=None), Formatter().format_step(" 2 + 2 = 4\\r\\n", context=None)
    ('2 + 2 = 4\\n', '2 + 2 = 4\\n')
    """

    problem: str = "{problem}\n\n"
    step: str = "{text}\n"
    context: str = "[Evidence: {context}]\n"

    def format_problem(self, problem: str) -> str:
        """The text of the root."""
        return self.problem.replace("{problem}", clean_text(problem))

    def format_step(self, text: str, context: str | None) -> str:
        """The text of one step, its evidence in front of it."""
        if context is None:  # nearly always
            return self.step.replace("{text}", clean_text(text))
        text, context, _ = cleaned(text, context)
        evidence = self.context.replace("{context}", context) if context else ""
        return evidence + self.step.replace("{text}", text)

    def hash(self) -> str:
        """Changes with anything that changes the formatted text: the templates, and how texts are cleaned."""
        what = asdict(self) | {"cleaning": TEXT_VERSION}
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
