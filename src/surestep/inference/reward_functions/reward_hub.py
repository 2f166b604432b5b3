"""reward_hub's process reward model and its result (reward_hub 0.1.10, `base.py`, `vllm/reward.py`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from surestep.errors import InputError
from surestep.inference.reward_functions.answer_rewards import AnswerRewards, SolutionScorer, messages_of, rewards_of

AGGREGATION_METHODS = ("model", "prod", "min", "last")


class PRMResult:
    """The scores of one response as reward_hub's `PRMResult` holds them.

    Attributes:
        step_scores: of each step, in [0, 1].
        product, min, last: of `step_scores`.
        score: the one that the aggregation method names; `model` takes a response as a single step.
    """

    def __init__(self, scores: Sequence[float], aggregation_method: Any = "last") -> None:
        method = _method(aggregation_method)
        self.step_scores = list(scores)
        self.product = math.prod(self.step_scores)
        self.min = min(self.step_scores)
        self.last = self.step_scores[-1]
        self.score = {"prod": self.product, "min": self.min}.get(method, self.last)


class ProcessRewardModel:
    """What reward_hub's `VllmProcessRewardModel` is to its users.

    Args:
        scorer: what scores, or `AnswerRewards` with settings of one's own; steps are split at the `step_sep` of a call.
    """

    def __init__(self, scorer: SolutionScorer | AnswerRewards) -> None:
        self._rewards = rewards_of(scorer)

    def score(
        self,
        messages: Any,
        max_input_tokens: int = 8192,
        step_sep: str = "\n\n",
        aggregation_method: Any = "last",
        return_full_prm_result: bool = False,
        use_tqdm: bool = False,
    ) -> list[PRMResult] | list[float]:
        """The last turn of one conversation, or of each of several.

        `max_input_tokens` is not looked at: nothing is cut off, and a response beyond what the model takes is an error.

        Raises:
            InputError: a conversation that leaves a doubt, or an unknown aggregation method.
        """
        method = _method(aggregation_method)
        batch = list(messages)
        if batch and (isinstance(batch[0], dict) or hasattr(batch[0], "role")):
            batch = [batch]
        conversations = [messages_of(one) for one in batch]
        # As one step, the whole answer: no text has the separator.
        reader = replace(self._rewards.reader, step_rule="tag:\0" if method == "model" else f"tag:{step_sep}")
        rewards = AnswerRewards(self._rewards.scorer, reader=reader)
        found = rewards.of([partial(reader.messages, one) for one in conversations])
        scores = rewards.step_confidences(found)
        results = [PRMResult(values, method) for values in scores]
        return results if return_full_prm_result else [result.score for result in results]


def _method(method: Any) -> str:
    name = getattr(method, "value", method)
    if name not in AGGREGATION_METHODS:
        raise InputError(f"aggregation_method is {name!r}; allowed: {', '.join(AGGREGATION_METHODS)}")
    return str(name)
