"""OpenRLHF's file of a reward function (openrlhf 0.11.2, `utils/agent.py`): `--remote_rm_url FILE.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from surestep.counted import counted
from surestep.errors import InputError
from surestep.inference.reward_functions.answer_rewards import AnswerRewards, SolutionScorer, rewards_of


def reward_func(
    scorer: SolutionScorer | AnswerRewards,
) -> Callable[[Sequence[str], Sequence[str], Sequence[Any]], dict[str, Any]]:
    """The `reward_func(queries, prompts, labels)` that OpenRLHF takes from the file, called by position.

    A query is a prompt with its answer behind it; labels are not looked at.

    Args:
        scorer: what scores, or `AnswerRewards` with settings of one's own.

    Returns:
        A function that gives `rewards`, `scores` and `extra_logs`, a number for each query.
    """
    rewards = rewards_of(scorer)

    def reward(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]) -> dict[str, Any]:
        if len(queries) != len(prompts):
            raise InputError(
                f"{counted(len(queries), 'query', 'queries')} and {counted(len(prompts), 'prompt')}; allowed: as "
                "many of each"
            )
        pairs = list(zip(queries, prompts, strict=True))
        found = rewards.of([partial(rewards.reader.query, query, prompt) for query, prompt in pairs])
        numbers = rewards.numbers(found)
        logs = {
            "num_steps": [float(len(one.confidences)) for one in found],
            "unreadable": [float(not one.confidences) for one in found],
        }
        return {"rewards": numbers, "scores": numbers, "extra_logs": logs}

    return reward
