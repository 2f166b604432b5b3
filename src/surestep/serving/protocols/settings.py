"""What an operator declares for the routes of other stacks: how texts are read, and how steps become one reward."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from surestep.data.templated import SolutionReader
from surestep.errors import ConfigError
from surestep.metrics.benchmarks.aggregation import AGGREGATIONS

Decoder = Callable[[Sequence[int]], str]
"""Token ids to text, special tokens included."""


@dataclass(frozen=True, slots=True)
class ProtocolSettings:
    """Settings of all protocols; each answer names those that made it.

    Attributes:
        reader: how problem and steps are found in a request.
        reduction: makes one number of a solution's steps: `min`, `product`, `mean` or `last`.
        model_name: the name under which the checkpoint answers.
        only_model_name: refuse a request that names another model, with 404 as vLLM does; else any name is taken.
        two_classes: give `[1 - confidence, confidence]` where a client expects two classes (Qwen2.5-Math-PRM), else
            `[confidence]`. The last number is the confidence either way.
        unreadable_reward: the reward of a generated answer that cannot be read or was not scored to its end; None
            refuses the whole request. It never stands for a request that leaves a doubt about its problem.
        decoders: by a request's `model`, how its token ids are decoded. Ids of any other model are refused: read with
            another vocabulary they become fluent nonsense.
        right_token_id: the id that means "right" where SGLang's `/v1/score` names label tokens; None refuses them.
        max_solutions: the most solutions that one request may hold.
    """

    reader: SolutionReader = field(default_factory=SolutionReader)
    reduction: str = "min"
    model_name: str = "surestep"
    only_model_name: bool = False
    two_classes: bool = False
    unreadable_reward: float | None = None
    decoders: Mapping[str, Decoder] = field(default_factory=dict)
    right_token_id: int | None = None
    max_solutions: int = 256

    def __post_init__(self) -> None:
        if self.reduction not in AGGREGATIONS:
            raise ConfigError(f"reduction is {self.reduction!r}; allowed: {', '.join(AGGREGATIONS)}")
        if self.max_solutions < 1:
            raise ConfigError(f"max_solutions is {self.max_solutions}; allowed: 1 or more")
