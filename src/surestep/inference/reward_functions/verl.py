"""veRL's reward functions (verl 0.9.1, `naive.py` and `batch.py` of its reward managers).

veRL hands over no prompt: the problem is read from `extra_info`, where the data's preparation puts it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from surestep.errors import InputError
from surestep.inference.reward_functions.answer_rewards import AnswerRewards, RewardedAnswer, SolutionScorer, rewards_of
from surestep.untrusted.bounds import shown

Result = dict[str, float]
"""`score`, and what veRL logs beside it: `num_steps`, `unreadable`."""


def compute_score(
    scorer: SolutionScorer | AnswerRewards,
    *,
    problem_field: str = "question",
) -> Callable[..., Result]:
    """A function for `custom_reward_function` and veRL's managers of single answers.

    Args:
        scorer: what scores, or `AnswerRewards` with settings of one's own.
        problem_field: the key of `extra_info` that holds the problem: a text, or a list of messages.
    """
    rewards = rewards_of(scorer)

    def reward(
        data_source: Any, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None = None, **more: Any
    ) -> Result:
        return _results(rewards, rewards.beside([_problem(extra_info, problem_field)], [solution_str]))[0]

    return reward


def async_compute_score(
    scorer: SolutionScorer | AnswerRewards,
    *,
    problem_field: str = "question",
) -> Callable[..., Awaitable[Result]]:
    """`compute_score` as a coroutine; right for a server's client."""
    rewards = rewards_of(scorer)

    async def reward(
        data_source: Any, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None = None, **more: Any
    ) -> Result:
        problem = _problem(extra_info, problem_field)
        return _results(rewards, await asyncio.to_thread(rewards.beside, [problem], [solution_str]))[0]

    return reward


def compute_scores(
    scorer: SolutionScorer | AnswerRewards,
    *,
    problem_field: str = "question",
) -> Callable[..., list[Result]]:
    """`compute_score` for the `batch` manager, which hands over a batch under plural names."""
    rewards = rewards_of(scorer)

    def reward(
        data_sources: Any, solution_strs: Sequence[str], ground_truths: Any, extra_infos: Sequence[Any], **more: Any
    ) -> list[Result]:
        problems = [_problem(extra, problem_field) for extra in extra_infos]
        return _results(rewards, rewards.beside(problems, solution_strs))

    return reward


def _problem(extra_info: Mapping[str, Any] | None, field: str) -> Any:
    extra = extra_info or {}
    if field not in extra:
        raise InputError(
            f"extra_info has no {field!r} (it has: {shown(', '.join(map(str, extra)))}), and veRL hands over no "
            "prompt; name the key that holds the problem (problem_field)"
        )
    return extra[field]


def _results(rewards: AnswerRewards, found: Sequence[RewardedAnswer]) -> list[Result]:
    numbers = rewards.numbers(found)
    return [
        {"score": number, "num_steps": float(len(one.confidences)), "unreadable": float(not one.confidences)}
        for number, one in zip(numbers, found, strict=True)
    ]
