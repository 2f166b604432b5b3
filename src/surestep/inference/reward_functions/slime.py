"""slime's `--custom-rm-path` (THUDM/slime at 0b420f1, `slime/rollout/rm_hub/__init__.py`, `slime/utils/types.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from surestep.inference.dense_credit import Form
from surestep.inference.reward_functions.answer_rewards import AnswerRewards, SolutionScorer, rewards_of


def custom_rm(
    scorer: SolutionScorer | AnswerRewards,
) -> Callable[..., Awaitable[Any]]:
    """The coroutine `custom_rm(args, sample)`: a number for a sample, a list of them for a group (`--group-rm`).

    Args:
        scorer: what scores, or `AnswerRewards` with settings of one's own.
    """
    rewards = rewards_of(scorer)

    async def reward(args: Any, sample: Any, **more: Any) -> Any:
        samples = list(sample) if isinstance(sample, list | tuple) else [sample]
        prompts, answers = [one.prompt for one in samples], [one.response for one in samples]
        numbers = rewards.numbers(await asyncio.to_thread(rewards.beside, prompts, answers))
        return numbers if isinstance(sample, list | tuple) else numbers[0]

    return reward


def token_credit(
    scorer: SolutionScorer | AnswerRewards,
    decode: Callable[[Sequence[int]], str],
    *,
    form: Form = "minimum",
) -> Callable[[Sequence[Any]], list[list[float]]]:
    """Rewards of the response's tokens, for a function of yours that fills `rollout_data` ("returns", "advantages").

    Args:
        scorer: what scores, or `AnswerRewards` with settings of one's own.
        decode: the policy's tokenizer without cleaning up, special tokens included.
        form: see `dense_credit.Form`.

    Returns:
        A function from samples to one list a sample, of `response_length` numbers.
    """
    rewards = rewards_of(scorer)

    def credit(samples: Sequence[Any]) -> list[list[float]]:
        tokens = [one.tokens[len(one.tokens) - one.response_length :] for one in samples]
        # The text is that of the tokens: `sample.response` may lack the special tokens that stand among them.
        found = rewards.beside([one.prompt for one in samples], [decode(ids) for ids in tokens])
        return [rewards.token_credit(one, ids, decode, form) for one, ids in zip(found, tokens, strict=True)]

    return credit
