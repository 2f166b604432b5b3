"""AReaL's `reward_fn` (areal 1.0.4, `api/reward_api.py`, `workflow/rlvr.py`).

AReaL runs the function in other processes and sends it there by its name, so it stands in a module of yours as a plain
function that calls this one; a server's client is the right scorer, since each process makes its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from surestep.inference.reward_functions.answer_rewards import AnswerRewards, SolutionScorer, rewards_of


def reward_fn(
    scorer: SolutionScorer | AnswerRewards,
) -> Callable[..., float]:
    """The function `reward_fn(prompt, completions, prompt_ids, completion_ids, **data)`; one answer a call.

    Args:
        scorer: what scores, or `AnswerRewards` with settings of one's own.
    """
    rewards = rewards_of(scorer)

    def reward(prompt: Any, completions: str, prompt_ids: Any = None, completion_ids: Any = None, **data: Any) -> float:
        return rewards.numbers(rewards.beside([prompt], [completions]))[0]

    return reward
