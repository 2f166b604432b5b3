"""verifiers' rubrics (0.1.14, `rubrics/rubric.py`) and the rewards and traces of its `v1` (0.4.0, `v1/trace.py`).

A rubric turns an exception of a reward function into a reward of 0 and a line in the log; so an answer that cannot be
read earns 0 there unless `unreadable` says otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np

from surestep.counted import counted
from surestep.errors import InputError
from surestep.inference.dense_credit import Form, token_advantages
from surestep.inference.reward_functions.answer_rewards import AnswerRewards, RewardedAnswer, SolutionScorer, rewards_of

NAME = "surestep"


def rubric_reward(
    scorer: SolutionScorer | AnswerRewards,
    *,
    name: str = NAME,
) -> Callable[..., Awaitable[float]]:
    """A function for `Rubric(funcs=[...])`; it asks for `prompt` and `completion`.

    Args:
        scorer: what scores, or `AnswerRewards` with settings of one's own.
        name: of the metric in the rubric.
    """
    rewards = rewards_of(scorer)

    async def reward(prompt: Any, completion: Any) -> float:
        return rewards.numbers(await asyncio.to_thread(rewards.beside, [prompt], [completion]))[0]

    reward.__name__ = reward.__qualname__ = name
    return reward


def trace_reward(
    scorer: SolutionScorer | AnswerRewards,
    *,
    name: str = NAME,
) -> Callable[..., Awaitable[float]]:
    """A function of a trace of `verifiers.v1`, for a task's `@vf.reward` method.

    Args:
        scorer: what scores, or `AnswerRewards` with settings of one's own.
        name: of the reward.
    """
    rewards = rewards_of(scorer)

    async def reward(trace: Any) -> float:
        (prompt, answer) = _turns(trace)
        return rewards.numbers(await asyncio.to_thread(rewards.beside, [prompt], [[answer.message]]))[0]

    reward.__name__ = reward.__qualname__ = name
    return reward


def assign_advantages(
    traces: Sequence[Any],
    scorer: SolutionScorer | AnswerRewards,
    decode: Callable[[Sequence[int]], str],
    *,
    form: Form = "minimum",
) -> None:
    """Fills `advantages` of the sampled node of each trace: the return from each token on, less the group's mean.

    Traces of one task (`trace.task.key` or `trace.task.hash`) are a group.

    Args:
        traces: of single-turn rollouts with token ids.
        scorer: what scores, or `AnswerRewards` with settings of one's own.
        decode: the policy's tokenizer without cleaning up, special tokens included.
        form: see `dense_credit.Form`.

    Raises:
        InputError: a trace has several branches or sampled turns, no token ids, or names no task.
    """
    rewards = rewards_of(scorer)
    turns = [_turns(trace) for trace in traces]
    sampled = [_sampled_ids(node) for _, node in turns]
    found: list[RewardedAnswer] = rewards.beside([prompt for prompt, _ in turns], [decode(ids) for ids in sampled])
    width = max(map(len, sampled), default=0)
    credit, mask = np.zeros((len(turns), width)), np.zeros((len(turns), width), dtype=bool)
    for row, (one, ids) in enumerate(zip(found, sampled, strict=True)):
        credit[row, : len(ids)] = rewards.token_credit(one, ids, decode, form)
        mask[row, : len(ids)] = True
    advantages = token_advantages(credit, mask, [_task_of(trace) for trace in traces])
    for (_, node), values, ids in zip(turns, advantages, sampled, strict=True):
        node.advantages = [float(value) for value in values[: len(ids)]]


def _turns(trace: Any) -> tuple[list[Any], Any]:
    """The messages before the one sampled turn of a trace, and the node of that turn."""
    branches = trace.branches
    if len(branches) != 1:
        raise InputError(
            f"the trace has {counted(len(branches), 'branch', 'branches')}; allowed: 1, a rollout of one conversation"
        )
    nodes = branches[0].nodes
    sampled = [index for index, node in enumerate(nodes) if node.sampled]
    if sampled != [len(nodes) - 1]:
        raise InputError(f"the trace has {counted(len(sampled), 'sampled turn')}; allowed: 1, at its end")
    return [node.message for node in nodes[:-1]], nodes[-1]


def _sampled_ids(node: Any) -> list[int]:
    ids = [token for token, is_sampled in zip(node.token_ids, node.mask, strict=True) if is_sampled]
    if not ids:
        raise InputError("the sampled turn has no token ids; allowed: traces of a client that returns them")
    return ids


def _task_of(trace: Any) -> str:
    key = trace.task.key or trace.task.hash
    if not key:
        raise InputError("a trace's task has neither key nor hash, so its group is unknown; give tasks a key")
    return str(key)
