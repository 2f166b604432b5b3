"""its_hub's reward models (its_hub 1.2.0, `api/reward_models`, `core/algorithms`)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from surestep.errors import InputError
from surestep.inference.reward_functions.answer_rewards import AnswerRewards, SolutionScorer, messages_of, rewards_of
from surestep.untrusted.bounds import shown

Each = Literal["response", "step"]
_JOINED_CONVERSATION = re.compile(r"(?:system|user|assistant|tool): ")


class ProcessRewardModel:
    """What `BeamSearch` and `ParticleGibbs` ask for scores: `score` and `ascore(prompt_or_messages, steps)`.

    Args:
        scorer: what scores, or `AnswerRewards` with settings of one's own.
        each: what an entry of `steps` is. The algorithms of its_hub 1.2.0 hand over whole responses so far, one for
            each beam (`response`: one reward each); the interface's description speaks of the steps of one solution
            (`step`: one confidence each).
    """

    def __init__(
        self,
        scorer: SolutionScorer | AnswerRewards,
        *,
        each: Each = "response",
    ) -> None:
        if each not in ("response", "step"):
            raise InputError(f"each is {each!r}; allowed: response, step")
        self._each = each
        self._rewards = rewards_of(scorer)

    def score(self, prompt_or_messages: Any, steps: Sequence[str]) -> list[float]:
        """One number in [0, 1] for each entry of `steps`.

        Raises:
            InputError: the prompt is a conversation that was joined to one text, or leaves another doubt.
        """
        prompt = prompt_or_messages
        if getattr(prompt, "is_string", False):
            prompt = prompt.to_prompt()
        if isinstance(prompt, str) and _JOINED_CONVERSATION.match(prompt):
            raise InputError(
                f"the prompt begins with {shown(prompt.split(':')[0])} and a colon: its_hub joins a list of messages "
                "to such a text; hand the problem to the algorithm as a string"
            )
        if self._each == "response":
            return self._rewards.numbers(self._rewards.beside([prompt] * len(steps), steps))
        problem = prompt if isinstance(prompt, str) else self._problem(prompt)
        (scores,) = self._rewards.scorer.score_many([(problem, list(steps))])
        confidences = scores.confidences
        if None in confidences:
            raise InputError(f"step {confidences.index(None) + 1} ends beyond the longest text that the model takes")
        return [value for value in confidences if value is not None]

    async def ascore(self, prompt_or_messages: Any, steps: Sequence[str]) -> list[float]:
        """`score` in a thread."""
        return await asyncio.to_thread(self.score, prompt_or_messages, steps)

    def _problem(self, prompt: Any) -> str:
        answer = {"role": "assistant", "content": "."}
        return self._rewards.reader.messages([*messages_of(prompt), answer]).problem


class OutcomeRewardModel:
    """What `BestOfN` asks for scores of whole conversations: `score` and `ascore(messages)`.

    Args:
        scorer: what scores, or `AnswerRewards` with settings of one's own.
    """

    def __init__(
        self,
        scorer: SolutionScorer | AnswerRewards,
    ) -> None:
        self._rewards = rewards_of(scorer)

    def score(self, messages: Any, **more: Any) -> list[float] | float:
        """The reward of one conversation, or a list of them for several."""
        conversations = messages.to_chat_messages() if hasattr(messages, "to_chat_messages") else list(messages)
        is_batch = bool(conversations) and isinstance(conversations[0], list)
        batch = [messages_of(one) for one in (conversations if is_batch else [conversations])]
        read = self._rewards.reader.messages
        numbers = self._rewards.numbers(self._rewards.of([partial(read, one) for one in batch]))
        return numbers if is_batch else numbers[0]

    async def ascore(self, messages: Any, orchestrator: Any = None, **more: Any) -> list[float] | float:
        """`score` in a thread."""
        return await asyncio.to_thread(self.score, messages)
