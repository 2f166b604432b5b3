"""From prompts and generated answers to rewards: what the functions for every trainer share.

Takes anything that scores solutions: a `Scorer`, or the client of a server, which has the same method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from surestep.counted import counted
from surestep.data.templated import Message, ReadSolution, SolutionReader
from surestep.errors import InputError, UnreadableAnswerError
from surestep.inference.dense_credit import Form, token_rewards, token_spans_by_decoding
from surestep.inference.result import SolutionScores
from surestep.metrics.benchmarks.aggregation import AGGREGATIONS


class SolutionScorer(Protocol):
    """What scores solutions: `surestep.Scorer`, or the client of a server."""

    def score_many(self, items: Iterable[tuple[str, Sequence[str]]], /) -> Iterator[SolutionScores]:
        """The confidences of many, in their order."""


@dataclass(frozen=True, slots=True)
class RewardedAnswer:
    """One answer and what it earned.

    Attributes:
        reward: in [0, 1], or what was declared for unreadable answers; None where there is neither.
        solution: problem and steps; None where the answer could not be read.
        confidences: of each step; empty where the answer was not read or not scored to its end.
        reason: why there are no confidences; "" where there are.
    """

    reward: float | None
    solution: ReadSolution | None
    confidences: tuple[float, ...] = ()
    reason: str = ""


class AnswerRewards:
    """Gives generated answers their rewards.

    Args:
        scorer: see `SolutionScorer`.
        reduction: makes one number of a solution's steps: `min`, `product`, `mean` or `last`.
        reader: how problem and steps are found; None reads any known chat format, and splits steps as the scorer's
            checkpoint was trained where it says so (`Scorer.split_rule`).
        unreadable: the reward of an answer that cannot be read or was not scored to its end. None makes it an error,
            or no reward where the trainer knows of that (TRL, ms-swift). A doubt about the problem is always an error:
            it is the caller's, not the policy's.

    Raises:
        InputError: there is no such reduction.
    """

    def __init__(
        self,
        scorer: SolutionScorer,
        *,
        reduction: str = "min",
        reader: SolutionReader | None = None,
        unreadable: float | None = None,
    ) -> None:
        if reduction not in AGGREGATIONS:
            raise InputError(f"reduction is {reduction!r}; allowed: {', '.join(AGGREGATIONS)}")
        self.scorer = scorer
        self.reduction = reduction
        self.reader = reader or SolutionReader(step_rule=getattr(scorer, "split_rule", None) or "auto")
        self.unreadable = unreadable

    def of(self, reads: Sequence[Callable[[], ReadSolution]]) -> list[RewardedAnswer]:
        """The rewards of answers, each given as what reads it; all are scored together.

        Raises:
            InputError: one of them leaves a doubt about its problem; its number is named.
        """
        solutions = [self._read(number, read, of=len(reads)) for number, read in enumerate(reads)]
        wanted = [solution for solution in solutions if isinstance(solution, ReadSolution)]
        results = (
            iter(list(self.scorer.score_many([(one.problem, one.steps) for one in wanted]))) if wanted else iter(())
        )
        found = [
            self._rewarded(one, next(results))
            if isinstance(one, ReadSolution)
            else RewardedAnswer(self.unreadable, None, reason=str(one))
            for one in solutions
        ]
        if next(results, None) is not None:
            raise InputError("the scorer gave more results than there were solutions")
        return found

    def beside(self, prompts: Sequence[Any], answers: Sequence[Any]) -> list[RewardedAnswer]:
        """Answers and their prompts, each a text or a list of messages.

        Raises:
            InputError: not as many prompts as answers, or as `of`.
        """
        if len(prompts) != len(answers):
            raise InputError(
                f"{counted(len(prompts), 'prompt')} and {counted(len(answers), 'answer')}; allowed: as many of each"
            )
        return self.of([self.reading(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)])

    def reading(self, prompt: Any, answer: Any) -> Callable[[], ReadSolution]:
        """What reads one answer beside its prompt."""
        if isinstance(answer, str):
            return lambda: self.reader.beside(prompt if isinstance(prompt, str) else messages_of(prompt), answer)
        head = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else messages_of(prompt)
        return lambda: self.reader.messages([*head, *messages_of(answer)])

    def numbers(self, rewarded: Sequence[RewardedAnswer]) -> list[float]:
        """The rewards, for a trainer that takes nothing but numbers.

        Raises:
            UnreadableAnswerError: an answer has none, and `unreadable` does not say what it gets.
        """
        for number, one in enumerate(rewarded):
            if one.reward is None:
                raise UnreadableAnswerError(
                    f"answer {number}: {one.reason}; name a reward for such answers (unreadable)"
                )
        return [one.reward for one in rewarded if one.reward is not None]

    def step_confidences(self, rewarded: Sequence[RewardedAnswer]) -> list[list[float]]:
        """The confidences of each answer's steps, where a stack wants those.

        Raises:
            UnreadableAnswerError: an answer has none.
        """
        for number, one in enumerate(rewarded):
            if not one.confidences:
                raise UnreadableAnswerError(f"answer {number}: {one.reason}")
        return [list(one.confidences) for one in rewarded]

    def token_credit(
        self, one: RewardedAnswer, token_ids: Sequence[int], decode: Callable[[Sequence[int]], Any], form: Form
    ) -> list[float]:
        """The reward of each token of one answer, which `decode` makes of `token_ids`; see `dense_credit`.

        An answer without confidences earns `unreadable` on its last token.

        Raises:
            UnreadableAnswerError: as `numbers`.
        """
        if one.solution is None or not one.confidences:
            (reward,) = self.numbers([one])
            return [0.0] * (len(token_ids) - 1) + [reward] if token_ids else []
        spans = token_spans_by_decoding(token_ids, decode, one.solution.spans)
        mask = np.ones((1, len(token_ids)), dtype=bool)
        ends = [[end - 1 for _, end in spans]]
        return [float(value) for value in token_rewards([one.confidences], ends, mask, form=form)[0]]

    def _read(self, number: int, read: Callable[[], ReadSolution], *, of: int) -> ReadSolution | UnreadableAnswerError:
        try:
            return read()
        except UnreadableAnswerError as error:
            return error
        except InputError as error:
            raise InputError(f"answer {number}: {error}" if of > 1 else str(error)) from None

    def _rewarded(self, solution: ReadSolution, scores: SolutionScores) -> RewardedAnswer:
        values = tuple(value for value in scores.confidences if value is not None)
        if len(values) == len(solution.steps):
            return RewardedAnswer(scores.aggregate(self.reduction), solution, values)
        reason = f"step {len(values) + 1} of {len(solution.steps)} ends beyond the longest text that the model takes"
        return RewardedAnswer(self.unreadable, solution, reason=reason)


def rewards_of(scorer: SolutionScorer | AnswerRewards, *, step_rule: str | None = None) -> AnswerRewards:
    """Rewards with the usual settings of what scores, or those that were made with others.

    Args:
        scorer: one of the two.
        step_rule: how a stack splits steps, where it has a way of its own.
    """
    if isinstance(scorer, AnswerRewards):
        return scorer
    return AnswerRewards(scorer, reader=None if step_rule is None else SolutionReader(step_rule=step_rule))


def messages_of(messages: Any) -> list[Message]:
    """Messages as mappings: some stacks hand over objects with `role` and `content`.

    Raises:
        InputError: it is no list of messages.
    """
    if hasattr(messages, "to_chat_messages"):
        messages = messages.to_chat_messages()
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        raise InputError(f"the messages are of type {type(messages).__name__}; allowed: text, or a list of messages")
    fields = ("role", "content", "tool_calls", "reasoning_content")
    return [
        message
        if isinstance(message, Mapping)
        else {field: _plain(getattr(message, field, None)) for field in fields if hasattr(message, field)}
        for message in messages
    ]


def _plain(value: Any) -> Any:
    """A content of parts that are objects, as mappings."""
    if isinstance(value, list) and value and hasattr(value[0], "model_dump"):
        return [part.model_dump() for part in value]
    return value
