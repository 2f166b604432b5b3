"""ms-swift's outcome and process reward models (ms-swift 4.6.0, `rl_core/grpo_algorithm.py`, `pipelines/sampling`).

Both are classes that ms-swift makes itself: `orms["surestep"] = orm_class(scorer)`, `prms["surestep"] = ...`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from surestep.errors import InputError
from surestep.inference.reward_functions.answer_rewards import AnswerRewards, SolutionScorer, messages_of, rewards_of


def orm_class(
    scorer: SolutionScorer | AnswerRewards,
) -> type:
    """A class for `swift.rewards.orms`: rewards of GRPO.

    Args:
        scorer: what scores, or `AnswerRewards` with settings of one's own. An answer without a reward gets None, which
            ms-swift leaves to the other rewards.
    """
    rewards = rewards_of(scorer)

    class SurestepORM:
        def __init__(self, args: Any = None, **more: Any) -> None:
            self.args = args

        def __call__(self, completions: Sequence[str], messages: Any = None, **columns: Any) -> list[float | None]:
            """One reward a completion; `messages` holds the conversation of each, which ends with it."""
            if messages is None or len(messages) != len(completions):
                raise InputError("there are no messages beside the completions, so their problems are unknown")
            conversations = [messages_of(one) for one in messages]
            for number, (conversation, completion) in enumerate(zip(conversations, completions, strict=True)):
                if not conversation or conversation[-1].get("content") != completion:
                    raise InputError(f"answer {number}: its messages do not end with the completion")
            read = rewards.reader.messages
            return [one.reward for one in rewards.of([partial(read, one) for one in conversations])]

    return SurestepORM


def prm_class(
    scorer: SolutionScorer | AnswerRewards,
) -> type:
    """A class for `swift.rewards.prms`: scores of sampling.

    Args:
        scorer: what scores, or `AnswerRewards` with settings of one's own.
    """
    rewards = rewards_of(scorer)

    class SurestepPRM:
        def __call__(self, infer_requests: Sequence[Any], ground_truths: Any = None, **more: Any) -> list[float]:
            """One reward for each request, whose messages end with the answer; truths are not looked at."""
            conversations = [
                messages_of(one["messages"] if isinstance(one, dict) else one.messages) for one in infer_requests
            ]
            read = rewards.reader.messages
            return rewards.numbers(rewards.of([partial(read, one) for one in conversations]))

    return SurestepPRM
