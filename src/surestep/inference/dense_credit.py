"""Credit for each token from the confidences of steps, for reinforcement learning.

Two forms, each of which gives a response the return that its reduction gives:

    minimum      sums to the lowest confidence (P. Cheng et al. 2025, "Stop Summation: Min-Form Credit Assignment Is All
                 Process Reward Model Needs for Reasoning", arXiv:2504.15275)
    potential    differences of a potential, the confidence of the last finished step (A. Ng et al. 1999, "Policy
                 Invariance Under Reward Transformations"); sums to the last confidence

A step's credit stands on its last token. Padding, prompts and tokens of tools have none: credit is placed among the
tokens of the mask, so where padding stands changes nothing, and rows never mix.

Shapes: `B` responses, `T` columns of a batch. Knows numbers and characters; no tokenizer, no torch.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from surestep.counted import counted
from surestep.errors import InputError

FloatArray = NDArray[np.float64]
Span = tuple[int, int]
"""Where something begins, and where it ends (not included)."""

Form = Literal["minimum", "minimum_drops", "potential"]
"""`minimum`: the lowest confidence, on the first step that has it, and 0 elsewhere. `minimum_drops`: the first
confidence on the first step, then each fall of the lowest so far, as a negative number. `potential`: the rise or fall
from each step to the next, from 0."""
Unscored = Literal["refuse", "carry"]

FORMS = ("minimum", "minimum_drops", "potential")


def step_credit(scores: Sequence[float], form: Form = "minimum") -> list[float]:
    """The credit of each step; their sum is the lowest of `scores`, for `potential` the last of them.

    >>> step_credit([0.75, 0.25, 0.5]), step_credit([0.75, 0.25, 0.5], "minimum_drops")
    ([0.0, 0.25, 0.0], [0.75, -0.5, 0.0])
    >>> step_credit([0.75, 0.25, 0.5], "potential")
    [0.75, -0.5, 0.25]

    Raises:
        InputError: there is no step, one without a number, or no such form.
    """
    if form not in FORMS:
        raise InputError(f"form is {form!r}; allowed: {', '.join(FORMS)}")
    if len(scores) == 0:
        raise InputError("there is no step to credit; allowed: one or more, or None for a response without credit")
    for step, score in enumerate(scores):
        if score is None or not math.isfinite(score):
            raise InputError(f"step {step} has score {score}; allowed: a number")
    if form == "minimum":
        lowest = min(range(len(scores)), key=scores.__getitem__)
        return [scores[lowest] if step == lowest else 0.0 for step in range(len(scores))]
    levels = np.minimum.accumulate(scores) if form == "minimum_drops" else np.asarray(scores, dtype=np.float64)
    return [float(value) for value in np.diff(levels, prepend=0.0)]


def token_rewards(
    scores: Sequence[Sequence[float | None] | None],
    last_tokens: Sequence[Sequence[int]],
    mask: NDArray[np.bool_],
    *,
    form: Form = "minimum",
    gamma: float = 1.0,
    unscored: Unscored = "refuse",
) -> FloatArray:
    """The reward of each token of a batch.

    Args:
        scores: of each response, the confidence of each step, in [0, 1]; None for a response without any credit.
        last_tokens: of each response, the index of each step's last token among the response's tokens, from 0; see
            `token_spans`. Never falling; two steps may end within one token.
        mask: [B, T], true at the tokens of the response, wherever padding, prompt or tools stand.
        form: see `Form`.
        gamma: the trainer's discount for each token. It changes `potential` alone, whose rewards are then `gamma *
            potential behind the token - potential before it`: discounted from the first token they sum to
            `gamma ** num_tokens * last`.
        unscored: what a step without a confidence is: an error, or `carry` gives it no credit, as if it had its
            predecessor's. Such steps stand at the end of what the model takes. The first step must have one.

    Returns:
        [B, T], 0 outside the mask. With `gamma` 1 a row sums to the lowest of its scores (`potential`: the last).

    Raises:
        InputError: shapes that do not fit, a score outside [0, 1], a token beyond its response; row and step are named.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise InputError(f"mask has shape {mask.shape} and type {mask.dtype}; allowed: [responses, columns], bool")
    if not len(scores) == len(last_tokens) == len(mask):
        raise InputError(
            f"{counted(len(scores), 'score')}, {len(last_tokens)} last_tokens, {counted(len(mask), 'row')} of mask; "
            "allowed: as many"
        )
    if not 0.0 < gamma <= 1.0:
        raise InputError(f"gamma is {gamma}; allowed: above 0, at most 1")
    rewards = np.zeros(mask.shape, dtype=np.float64)
    for row, (of_row, ends) in enumerate(zip(scores, last_tokens, strict=True)):
        if of_row is None:
            continue
        places = np.flatnonzero(mask[row])
        values = _checked(f"row {row}", of_row, ends, len(places), unscored)
        rewards[row, places] = _row(values, ends, len(places), form, gamma)
    return rewards


def _row(values: list[float], ends: Sequence[int], num_tokens: int, form: Form, gamma: float) -> FloatArray:
    """The rewards of one response without its padding, shape [num_tokens]."""
    rewards = np.zeros(num_tokens, dtype=np.float64)
    if form == "potential" and gamma != 1.0:
        potential = np.zeros(num_tokens + 1, dtype=np.float64)
        for value, end in zip(values, ends, strict=True):
            potential[end + 1 :] = value
        return gamma * potential[1:] - potential[:-1]
    np.add.at(rewards, np.asarray(ends, dtype=np.intp), step_credit(values, form))
    return rewards


def _checked(
    where: str, scores: Sequence[float | None], ends: Sequence[int], num_tokens: int, unscored: Unscored
) -> list[float]:
    """The scores without gaps."""
    if unscored not in ("refuse", "carry"):
        raise InputError(f"unscored is {unscored!r}; allowed: refuse, carry")
    if len(scores) != len(ends):
        raise InputError(
            f"{where} has {counted(len(scores), 'score')} and {counted(len(ends), 'last token')}; allowed: one for "
            "each step"
        )
    values: list[float] = []
    before = 0
    for step, (score, end) in enumerate(zip(scores, ends, strict=True)):
        if score is None:
            if unscored == "refuse" or not values:
                raise InputError(
                    f"{where}, step {step} has no score; allowed: a number, or unscored='carry' behind one"
                )
            score = values[-1]
        if not (math.isfinite(score) and 0.0 <= score <= 1.0):
            raise InputError(f"{where}, step {step} has score {score}; allowed: 0 to 1")
        if not before <= end < num_tokens:
            raise InputError(f"{where}, step {step} ends at token {end}; allowed: {before} to {num_tokens - 1}")
        before = end
        values.append(float(score))
    return values


def returns_to_go(rewards: FloatArray, mask: NDArray[np.bool_], *, gamma: float = 1.0) -> FloatArray:
    """From each token on, the discounted sum of rewards: [B, T], 0 outside the mask.

    >>> returns_to_go(np.array([[0.0, 0.5, 9.0, 0.25]]), np.array([[True, True, False, True]])).tolist()
    [[0.75, 0.75, 0.0, 0.25]]
    """
    returns = np.zeros(rewards.shape, dtype=np.float64)
    behind = np.zeros(len(rewards), dtype=np.float64)
    for column in range(rewards.shape[1] - 1, -1, -1):
        here = mask[:, column]
        behind = np.where(here, rewards[:, column] + gamma * behind, behind)
        returns[:, column] = np.where(here, behind, 0.0)
    return returns


def token_advantages(
    rewards: FloatArray, mask: NDArray[np.bool_], groups: Sequence[Hashable], *, gamma: float = 1.0
) -> FloatArray:
    """The return from each token on, less the mean return of the responses to its prompt: [B, T], 0 outside the mask.

    Args:
        rewards: see `token_rewards`.
        mask: the same.
        groups: [B], equal for responses to one prompt.
        gamma: the trainer's discount for each token.

    Raises:
        InputError: not as many groups as responses.
    """
    if len(groups) != len(rewards):
        raise InputError(
            f"{counted(len(groups), 'group')} and {counted(len(rewards), 'row')} of rewards; allowed: one for each "
            "response"
        )
    returns = returns_to_go(rewards, mask, gamma=gamma)
    first = [returns[row, columns[0]] if len(columns := np.flatnonzero(mask[row])) else 0.0 for row in range(len(mask))]
    of_group: dict[Hashable, list[float]] = {}
    for group, value in zip(groups, first, strict=True):
        of_group.setdefault(group, []).append(float(value))
    baseline = np.array([math.fsum(of_group[group]) / len(of_group[group]) for group in groups])
    return np.where(mask, returns - baseline[:, None], 0.0)


def token_spans(offsets: Sequence[Span], spans: Sequence[Span]) -> list[Span]:
    """Which tokens of a response hold each step.

    Args:
        offsets: where each token begins and ends in the response's text, as indices of characters. Tokens without
            characters (special ones) hold no step.
        spans: where each step begins and ends in the same text (`ReadSolution.spans`).

    Returns:
        For each step its first token, and the one behind its last: the last that holds one of its characters. Two steps
        share a token that holds characters of both.

    Raises:
        InputError: the tokens end before a step does.

    >>> token_spans([(0, 2), (2, 5), (5, 5), (5, 9)], [(0, 3), (4, 8)])
    [(0, 2), (1, 4)]
    """
    tokens = [index for index, (start, end) in enumerate(offsets) if end > start]
    starts = [offsets[index][0] for index in tokens]
    ends = [offsets[index][1] for index in tokens]
    found: list[Span] = []
    for step, (start, end) in enumerate(spans):
        last = bisect_left(starts, end) - 1
        if last < 0 or ends[last] < end:
            raise InputError(f"step {step} ends at character {end}, behind the last token")
        first = bisect_left(ends, start + 1)
        found.append((tokens[first], tokens[last] + 1))
    return found


def token_spans_by_decoding(
    token_ids: Sequence[int], decode: Callable[[Sequence[int]], Any], spans: Sequence[Span]
) -> list[Span]:
    """`token_spans` where no offsets are known: the text of the first tokens is compared with where steps end.

    Args:
        token_ids: of the response.
        decode: token ids to text, which says as much for the first tokens as for all (no cleaning up).
        spans: where each step begins and ends in the text of all of `token_ids`.
    """

    def characters(count: int) -> int:
        # Half a character is decoded to a replacement, which the next token takes back.
        return len(str(decode(token_ids[:count])).rstrip("\ufffd"))

    def tokens_up_to(character: int) -> int:
        return bisect_left(range(len(token_ids) + 1), character, key=characters)

    found: list[Span] = []
    for step, (start, end) in enumerate(spans):
        last = tokens_up_to(end)
        if last > len(token_ids):
            raise InputError(f"step {step} ends at character {end}, behind the last token")
        found.append((tokens_up_to(start + 1) - 1, last))
    return found
