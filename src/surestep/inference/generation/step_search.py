"""Solutions that grow step by step under the eyes of a scorer: beam search, and DVTS, a beam in independent subtrees.

In each round every solution that is kept goes on in `beam_width` ways, each up to its next step's end, and the scorer
says which of them are kept; a beam keeps the best N / beam_width of all, DVTS the best of each of N / beam_width
subtrees, which therefore stay apart (Beeching, Tunstall and Rush, Scaling test-time compute with open models, 2024,
https://huggingface.co/spaces/HuggingFaceH4/blogpost-scaling-test-time-compute). Every solution that comes to its end is
a candidate, also one that would not have been kept. Knows paths and confidences; knows no model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from surestep.inference.generation.budgets import ProblemBudget
from surestep.inference.generation.candidates import Candidate
from surestep.inference.generation.path_scores import ScoredPath, ScorerCalls
from surestep.inference.generation.requests import Ask, Continuation, Continued, OpenGenerator, seed_of
from surestep.inference.generation.sampling import spent

T = TypeVar("T")

_BOXED = "\\boxed{"
"""What shows a last step where a server does not say whether the model has ended."""
_BLANK_STEPS = 3
"""How often a blank text before a stop is passed over."""


@dataclass(frozen=True)
class _Path:
    """A solution so far.

    Attributes:
        scored: its steps, with their confidences and session.
        text: as generated, stop texts included.
        tokens: generated for it; None where the server did not say.
        counted: the same, where as many count as were allowed.
        seconds, seed: of its requests together, of the last one.
        is_ended, is_truncated: whether the model ended it, whether it breaks off.
    """

    scored: ScoredPath
    text: str = ""
    tokens: int | None = 0
    counted: int = 0
    seconds: float = 0.0
    seed: int = 0
    is_ended: bool = False
    is_truncated: bool = False

    def candidate(self, subtree: int | None, *, breaks_off: bool = False) -> Candidate:
        """As a candidate."""
        is_truncated = self.is_truncated or breaks_off
        return Candidate(
            self.text,
            self.scored.steps,
            self.scored.confidences,
            is_truncated,
            self.tokens,
            self.seconds,
            self.seed,
            subtree,
        )


@dataclass
class _Subtree:
    """What is kept of a subtree, best first, and how many solutions it may keep."""

    number: int
    places: int
    paths: list[_Path]


class StepSearch:
    """One search for one problem.

    Args:
        generator: who writes.
        calls: who says how good it is.
        ask: the problem; its `stop` is where a step ends.
        budget: of the problem.
        found: takes the candidates.
    """

    def __init__(
        self,
        generator: OpenGenerator,
        calls: ScorerCalls,
        ask: Ask,
        budget: ProblemBudget,
        found: list[Candidate],
    ) -> None:
        assert ask.stop is not None
        self._generator, self._calls, self._ask = generator, calls, ask
        self._budget, self._found = budget, found
        self._stop: str = ask.stop
        self._cut: str | None = None
        settings = ask.settings
        kept = settings.n // settings.beam_width
        self._is_diverse = settings.method == "dvts"
        places = [1] * kept if self._is_diverse else [kept]
        self._subtrees = [
            _Subtree(number, count, [_Path(calls.open(ask.problem))]) for number, count in enumerate(places)
        ]

    async def run(self) -> str | None:
        """Search; what ended it early, in words."""
        try:
            stopped = await self._rounds()
            for subtree in self._subtrees:
                for path in subtree.paths:
                    if path.scored.steps:
                        self._found.append(path.candidate(self._name(subtree), breaks_off=True))
            return stopped
        finally:
            await self._close([path for subtree in self._subtrees for path in subtree.paths])

    def _name(self, subtree: _Subtree) -> int | None:
        return subtree.number if self._is_diverse else None

    async def _rounds(self) -> str | None:
        settings = self._ask.settings
        for number in range(settings.max_steps):
            going_on = [(subtree, path) for subtree in self._subtrees for path in subtree.paths]
            if not going_on:
                return self._cut
            if (stopped := self._budget.exhausted()) is not None:
                return stopped
            width = settings.n // len(self._subtrees) if number == 0 else settings.beam_width
            share = None if self._budget.left is None else self._budget.left // (width * len(going_on))
            if share == 0:
                return self._budget.out_of_tokens
            children = await self._grown(going_on, width, number, share)
            kept = await _all(self._keep(subtree, children[subtree.number]) for subtree in self._subtrees)
            for ended in kept:
                self._found += ended
        return self._cut

    async def _grown(
        self, going_on: Sequence[tuple[_Subtree, _Path]], width: int, number: int, share: int | None
    ) -> list[list[tuple[_Path, _Path, str | None]]]:
        """For each subtree, (parent, child, its new step; None where the parent just ends) in the order of requests."""
        settings = self._ask.settings
        asked: list[tuple[_Subtree, _Path, Continuation]] = []
        for subtree, path in going_on:
            allowed = min(
                settings.max_tokens - path.counted,
                *(limit for limit in (settings.max_step_tokens, share) if limit is not None),
                settings.max_tokens,
            )
            beam = next(i for i, other in enumerate(subtree.paths) if other is path)
            seeds = [seed_of(settings.seed, self._ask.problem, subtree.number, number, beam, i) for i in range(width)]
            asked += [(subtree, path, Continuation(path.text, seed, max(1, allowed))) for seed in seeds]
        answers = await self._answers([one for _, _, one in asked])
        grown: list[list[tuple[_Path, _Path, str | None]]] = [[] for _ in self._subtrees]
        for (subtree, path, one), answer in zip(asked, answers, strict=True):
            if answer is not None and answer.ending == "length" and one.max_tokens == share:
                self._cut = self._budget.out_of_tokens
            if answer is not None and (child := self._child(path, one, answer)) is not None:
                grown[subtree.number].append((path, *child))
        return grown

    async def _answers(self, asked: list[Continuation]) -> list[Continued | None]:
        """Each continuation up to the end of a step that is not blank: blank lines before it are passed over."""
        answers: list[Continued | None] = [None] * len(asked)
        places, waiting = list(range(len(asked))), list(asked)
        for attempt in range(1, _BLANK_STEPS + 1):
            come = await self._generator.go_on(self._ask, waiting, self._budget.until)
            again: list[tuple[int, Continuation]] = []
            for place, one, answer in zip(places, waiting, come, strict=True):
                count = spent(answer, one.max_tokens)
                self._budget.used += count
                if answer is None:
                    continue
                is_first = not asked[place].prefix
                is_stop = answer.ending == "stop" or (answer.ending == "end_or_stop" and is_first)
                if not answer.text.strip() and is_stop and one.max_tokens > count:
                    prefix = one.prefix + answer.text + self._stop
                    again.append((place, Continuation(prefix, seed_of(one.seed, attempt), one.max_tokens - count)))
                answers[place] = _joined(answers[place], answer, one.prefix[len(asked[place].prefix) :])
            places, waiting = [place for place, _ in again], [one for _, one in again]
            if not again or self._budget.exhausted() is not None:
                break
        return answers

    def _child(self, path: _Path, one: Continuation, answer: Continued) -> tuple[_Path, str | None] | None:
        """The path after an answer, without its new step's confidence, and that step; None where nothing came of it."""
        step = answer.text.strip()
        tokens = None if path.tokens is None or answer.tokens is None else path.tokens + answer.tokens
        counted = path.counted + spent(answer, one.max_tokens)
        is_truncated = answer.ending in ("length", "time")
        is_ended = answer.ending == "end" or (answer.ending == "end_or_stop" and (not step or _BOXED in step))
        if not step:
            if not path.scored.steps or not is_ended:
                return None
            return replace(path, tokens=tokens, is_ended=True, seconds=path.seconds + answer.seconds), None
        return (
            _Path(
                path.scored,
                path.text + answer.text + ("" if is_ended or is_truncated else self._stop),
                tokens,
                counted,
                path.seconds + answer.seconds,
                one.seed,
                is_ended,
                is_truncated or (not is_ended and counted >= self._ask.settings.max_tokens),
            ),
            step,
        )

    async def _keep(self, subtree: _Subtree, grown: Sequence[tuple[_Path, _Path, str | None]]) -> list[Candidate]:
        """Score a subtree's new steps and keep the best of the solutions that go on; those that do not."""
        before, by = subtree.paths, self._ask.settings.by
        children = [child for some in await _all(self._scored(path, grown) for path in before) for child in some]
        standing = [child for child in children if not child.is_truncated]
        best = sorted(standing, key=lambda child: -child.candidate(None).score_so_far(by))[: subtree.places]
        going_on = [child for child in best if not child.is_ended]
        subtree.places = len(going_on)
        subtree.paths = await _all(self._with_session(child, before) for child in going_on)
        await self._close(before)
        ended = [child for child in children if child.is_ended or child.is_truncated]
        return [child.candidate(self._name(subtree)) for child in ended]

    async def _with_session(self, child: _Path, before: Sequence[_Path]) -> _Path:
        steps, confidences = child.scored.steps, child.scored.confidences
        parent = next(path for path in before if path.scored.steps == steps[:-1])
        return replace(child, scored=await parent.scored.followed_by(steps[-1], confidences[-1]))

    async def _scored(self, path: _Path, grown: Sequence[tuple[_Path, _Path, str | None]]) -> list[_Path]:
        """The children of a path with their confidences; of several that say the same and go on, the first."""
        mine = [(child, step) for parent, child, step in grown if parent is path]
        steps = list(dict.fromkeys(step for _, step in mine if step is not None))
        values = dict(zip(steps, await path.scored.next_steps(steps), strict=True)) if steps else {}
        return list(_different(path, mine, values))

    async def _close(self, paths: Sequence[_Path]) -> None:
        await _all(path.scored.close() for path in paths)


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    """All of it side by side, in order; an error is raised when all is over."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results  # type: ignore[return-value]


def _joined(before: Continued | None, answer: Continued, passed: str) -> Continued:
    """An answer with the blank texts `passed` before it."""
    if before is None:
        return answer
    tokens = None if before.tokens is None or answer.tokens is None else before.tokens + answer.tokens
    return replace(answer, text=passed + answer.text, tokens=tokens, seconds=before.seconds + answer.seconds)


def _different(
    path: _Path, children: Sequence[tuple[_Path, str | None]], values: dict[str, float | None]
) -> Iterator[_Path]:
    """Children with their confidences, without those that repeat an open one, or end the same path again."""
    seen: set[tuple[str | None, bool]] = set()
    for child, step in children:
        is_open = not (child.is_ended or child.is_truncated)
        if (is_open or step is None) and (step, is_open) in seen:
            continue
        seen.add((step, is_open))
        if step is None:
            yield replace(child, scored=replace(path.scored, _session=None))
        else:
            scored = ScoredPath(
                path.scored.calls,
                path.scored.problem,
                (*path.scored.steps, step),
                (*path.scored.confidences, values[step]),
            )
            yield replace(child, scored=scored)
