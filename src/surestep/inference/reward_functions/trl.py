"""TRL's GRPO and RLOO (trl 1.16.0, `trainer/grpo_trainer.py`, `_calculate_rewards`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from statistics import fmean
from typing import Any

from surestep.inference.reward_functions.answer_rewards import AnswerRewards, RewardedAnswer, SolutionScorer, rewards_of

NAME = "surestep"


def grpo_reward(
    scorer: SolutionScorer | AnswerRewards,
    *,
    name: str = NAME,
) -> Callable[..., list[float | None]]:
    """A function for `reward_funcs`; texts and conversations both.

    An answer that cannot be read gets `unreadable`: None leaves it to the other reward functions, and the metric
    `NAME/unreadable` says how many there were. Each answer's confidences stand in the table of completions.

    Args:
        scorer: what scores, or `AnswerRewards` with settings of one's own.
        name: of the reward in TRL's logs.
    """
    rewards = rewards_of(scorer)

    def reward(
        prompts: Sequence[Any],
        completions: Sequence[Any],
        log_extra: Any = None,
        log_metric: Any = None,
        **columns: Any,
    ) -> list[float | None]:
        return _logged(rewards.beside(prompts, completions), name, log_extra, log_metric)

    reward.__name__ = reward.__qualname__ = name
    return reward


def async_grpo_reward(
    scorer: SolutionScorer | AnswerRewards,
    *,
    name: str = NAME,
) -> Callable[..., Awaitable[list[float | None]]]:
    """`grpo_reward` as a coroutine, which TRL runs beside other such rewards; right for a server's client."""
    rewards = rewards_of(scorer)

    async def reward(
        prompts: Sequence[Any],
        completions: Sequence[Any],
        log_extra: Any = None,
        log_metric: Any = None,
        **columns: Any,
    ) -> list[float | None]:
        found = await asyncio.to_thread(rewards.beside, prompts, completions)
        return _logged(found, name, log_extra, log_metric)

    reward.__name__ = reward.__qualname__ = name
    return reward


def _logged(found: Sequence[RewardedAnswer], name: str, log_extra: Any, log_metric: Any) -> list[float | None]:
    if log_extra is not None:
        texts = [" ".join(f"{value:.3f}" for value in one.confidences) or one.reason for one in found]
        log_extra(f"{name}_confidences", texts)
    if log_metric is not None and found:
        log_metric(f"{name}/unreadable", fmean(not one.confidences for one in found))
        log_metric(f"{name}/num_steps", fmean(len(one.confidences) for one in found))
    return [one.reward for one in found]
