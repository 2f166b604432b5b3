"""How candidates are generated and chosen: every setting, its default and its range.

Each field is a flag of `surestep generate`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from surestep.errors import ConfigError
from surestep.settings import Section, describe

Method = Literal["best_of_n", "majority", "weighted", "beam", "dvts"]
SEARCHES: frozenset[str] = frozenset({"beam", "dvts"})
"""Methods that grow solutions step by step."""
PROBLEM = "{problem}"
"""What stands for the problem in a prompt."""
DEFAULT_PROMPT = (
    "Solve the problem step by step. Write each step as a paragraph of its own, with a blank line between the steps. "
    f"End with the answer alone in \\boxed{{}}.\n\n{PROBLEM}"
)
_Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Seconds = Annotated[float, Field(gt=0, le=1e9)]


class GenerationSettings(Section):
    """What `generate` does with each problem.

    Raises:
        ConfigError: an unknown name, or a value outside what is allowed.
    """

    method: Method = Field(
        "best_of_n",
        description="How the answer is found: the best-scored of N solutions (best_of_n), the most frequent answer "
        "(majority), the answer with the highest sum of scores (weighted), or a search step by step: beam search "
        "(beam) or diverse verifier tree search, a beam in independent subtrees (dvts).",
    )
    n: Annotated[int, Field(ge=1, le=4096)] = Field(
        8, description="Solutions of each problem; of a search, continuations in each round."
    )
    beam_width: Annotated[int, Field(ge=1, le=4096)] = Field(
        4, description="Of a search: continuations of each solution that is kept; N / beam_width are kept."
    )
    by: Literal["min", "product", "mean", "last"] = Field(
        "min", description="How the confidences of a solution's steps become its score."
    )
    temperature: Annotated[float, Field(ge=0, le=10)] = Field(
        0.8, description="Of sampling; 0 takes the likeliest token, so that all solutions are alike."
    )
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="Sample among the likeliest tokens that have this probability together."
    )
    max_tokens: _Count = Field(1024, description="Most generated tokens of a solution; one that is longer breaks off.")
    max_step_tokens: _Count | None = Field(
        None, description="Of a search: most tokens of a step. Unset: what max_tokens leaves."
    )
    max_steps: _Count = Field(40, description="Of a search: most steps of a solution.")
    stop: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        "\n\n", description="Of a search: the text at which a step ends."
    )
    prompt: str = Field(
        DEFAULT_PROMPT, description="What the generator is asked; {problem} stands for the problem.", min_length=1
    )
    system: str | None = Field(None, description="System message of a chat.")
    split: str | None = Field(
        None,
        description="How a generated solution is split into steps: auto, step, numbered, blank_lines, lines, sentences "
        "or tag:TEXT. Unset: as in the checkpoint's training, else auto.",
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        0, description="With the text of a problem it decides the seed of each of its solutions."
    )
    problem_tokens: _Count | None = Field(
        None, description="Most generated tokens of a problem, all solutions together."
    )
    problem_seconds: _Seconds | None = Field(None, description="Most seconds of a problem.")
    total_tokens: _Count | None = Field(None, description="Most generated tokens of all problems.")
    total_seconds: _Seconds | None = Field(None, description="Most seconds of all problems, since this start.")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(describe(error, type(self))) from None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if PROBLEM not in self.prompt:
            raise ValueError(f"prompt names no {PROBLEM}: the problem would not be asked")
        if self.is_search and self.n % self.beam_width:
            raise ValueError(f"n is {self.n} and beam_width {self.beam_width}; allowed: an n that beam_width divides")
        return self

    @property
    def is_search(self) -> bool:
        """Whether solutions grow step by step."""
        return self.method in SEARCHES

    @property
    def needs_scorer(self) -> bool:
        """Whether the method asks for confidences."""
        return self.method != "majority"

    @property
    def most_tokens(self) -> int:
        """What one problem may take, at the very most."""
        most = self.n * self.max_tokens
        if self.is_search:
            most = self.n * self.max_steps * min(self.max_step_tokens or self.max_tokens, self.max_tokens)
        return most if self.problem_tokens is None else min(most, self.problem_tokens)
