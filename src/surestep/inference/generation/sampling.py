"""N independent solutions of a problem. Knows budgets and steps; knows no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from surestep.inference.generation.budgets import ProblemBudget
from surestep.inference.generation.candidates import Candidate
from surestep.inference.generation.path_scores import ScorerCalls
from surestep.inference.generation.requests import Ask, Continuation, Continued, OpenGenerator, seed_of

Split = Callable[[str], Sequence[str]]


async def sample(
    generator: OpenGenerator,
    calls: ScorerCalls | None,
    ask: Ask,
    budget: ProblemBudget,
    split: Split,
    found: list[Candidate],
) -> str | None:
    """Fill `found` with N solutions, scored where there is a scorer; what ended it early, in words.

    With a token budget so many are begun together as are sure to have enough, then others with what those left; the
    last one may be cut.
    """
    settings = ask.settings
    texts: list[tuple[Continuation, Continued]] = []
    stopped: str | None = None
    while len(texts) < settings.n:
        if (stopped := budget.exhausted()) is not None:
            break
        left = budget.left
        allowed = settings.max_tokens if left is None else min(settings.max_tokens, left)
        count = settings.n - len(texts) if left is None else min(settings.n - len(texts), left // allowed)
        wave = [
            Continuation("", seed_of(settings.seed, ask.problem, i), allowed)
            for i in range(len(texts), len(texts) + count)
        ]
        answers = await generator.go_on(ask, wave, budget.until)
        budget.used += sum(spent(answer, allowed) for answer in answers)
        texts += [(one, answer) for one, answer in zip(wave, answers, strict=True) if answer is not None]
        if any(answer is None or answer.ending == "time" for answer in answers):
            stopped = budget.out_of_time()
            break
    if stopped is None and any(
        answer.ending == "length" and one.max_tokens < settings.max_tokens for one, answer in texts
    ):
        stopped = budget.out_of_tokens
    solutions = [tuple(split(answer.text)) for _, answer in texts]
    confidences = [()] * len(texts) if calls is None else await calls.solutions(ask.problem, solutions)
    for (one, answer), steps, values in zip(texts, solutions, confidences, strict=True):
        is_truncated = answer.ending in ("length", "time")
        found.append(Candidate(answer.text, steps, values, is_truncated, answer.tokens, answer.seconds, one.seed))
    return stopped


def spent(answer: Continued | None, allowed: int) -> int:
    """Tokens that count against a budget: where nobody says, as many as were allowed; of no answer, none are known."""
    if answer is None:
        return 0
    return allowed if answer.tokens is None else answer.tokens
