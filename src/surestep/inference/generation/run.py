"""Solutions of many problems, some side by side, in order: what a notebook calls.

    from surestep import Scorer
    from surestep.inference.generation import GenerationSettings, OpenAIEndpoint, generate

    endpoint = OpenAIEndpoint("http://127.0.0.1:8000/v1")
    found = generate("What is 12 * 3 + 4?", endpoint, Scorer.load("outputs/mine"), GenerationSettings(method="dvts"))
    found.chosen.answer, found.candidates[0].confidences

Knows problems and budgets; what a model or a scorer is, others know.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from surestep.data.trees.split_steps import AUTO, check_rule, split_steps
from surestep.errors import ConfigError, InputError
from surestep.inference.generation.budgets import ProblemBudget, RunBudget
from surestep.inference.generation.candidates import Candidate, GeneratedProblem
from surestep.inference.generation.path_scores import ScorerCalls, StepScorer
from surestep.inference.generation.requests import Ask, Generator, OpenGenerator, RefusedError
from surestep.inference.generation.sampling import sample
from surestep.inference.generation.settings import GenerationSettings
from surestep.inference.generation.step_search import StepSearch
from surestep.inference.solutions import checked_text, kind_of
from surestep.terminal_text import to_stderr

T = TypeVar("T")
_NONE: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem, and its right answer where one is known."""

    text: str
    gold: str | None = None


class Search:
    """Generator, scorer and settings together; used for one list of problems after another.

    Args:
        generator: who writes.
        scorer: who gives confidences: a `surestep.Scorer`, a `surestep.client.Client`, or anything alike; None for a
            majority vote.
        settings: how.
        say: is told, in a line, what a user should know.
        spent: tokens that count against `total_tokens` already.

    Raises:
        ConfigError: the method needs a scorer.
        InputError: the rule for splitting is none.
    """

    def __init__(
        self,
        generator: Generator,
        scorer: StepScorer | None,
        settings: GenerationSettings,
        *,
        say: Callable[[str], None] = to_stderr,
        spent: int = 0,
    ) -> None:
        if scorer is None and settings.needs_scorer:
            raise ConfigError(f"method {settings.method} needs a scorer; without one: method majority")
        self.generator, self.settings = generator, settings
        self._calls = None if scorer is None else ScorerCalls(scorer, say)
        rule = settings.split or getattr(scorer, "split_rule", None) or AUTO
        self.split_rule = check_rule(rule)
        self.budget = RunBudget(
            settings.total_tokens,
            settings.most_tokens,
            settings.problem_tokens,
            settings.problem_seconds,
            None if settings.total_seconds is None else time.monotonic() + settings.total_seconds,
            spent,
        )

    async def run(
        self,
        problems: Sequence[Problem],
        done: Callable[[int, GeneratedProblem], None] = lambda _number, _found: None,
        *,
        known: Mapping[int, int] = _NONE,
    ) -> list[GeneratedProblem]:
        """What was generated for each problem, in order.

        Args:
            problems: with texts that are not blank.
            done: is told of each as soon as it is done, with its place from 0.
            known: places of problems that were done before, with their tokens; they are left out.

        Raises:
            SurestepError: the generator or the scorer does not work; what is done was told.
        """
        self.budget.begin()
        at_once = asyncio.Semaphore(max(1, math.ceil(self.generator.concurrency / self.settings.n)))
        results: list[GeneratedProblem | None] = [None] * len(problems)
        failed: list[int] = []

        async def one(number: int, generator: OpenGenerator) -> None:
            budget = await self.budget.admit(number)
            budget.used = known.get(number, 0)
            try:
                if number in known:
                    return
                found = await self._one(problems[number], generator, budget)
            except BaseException:
                failed.append(number)
                raise
            finally:
                await self.budget.settle(budget.used)
                at_once.release()
            results[number] = found
            done(number, found)

        if len(known) == len(problems):
            self.budget.spent += sum(known.values())
            return []
        async with self.generator.opened() as generator:
            tasks: list[asyncio.Task[None]] = []
            try:
                for number in range(len(problems)):
                    await at_once.acquire()
                    if failed:
                        break
                    tasks.append(asyncio.create_task(one(number, generator)))
                await _first_error(tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        return [found for found in results if found is not None]

    async def _one(self, problem: Problem, generator: OpenGenerator, budget: ProblemBudget) -> GeneratedProblem:
        settings, begun = self.settings, time.monotonic()
        ask = Ask(problem.text, settings, settings.stop if settings.is_search else None)
        found: list[Candidate] = []
        try:
            if settings.is_search:
                assert self._calls is not None
                stopped = await StepSearch(generator, self._calls, ask, budget, found).run()
            else:
                split = partial(_steps, rule=self.split_rule)
                stopped = await sample(generator, self._calls, ask, budget, split, found)
        except RefusedError as error:
            stopped = str(error)
        return GeneratedProblem(
            problem.text,
            tuple(found),
            settings.method,
            settings.by,
            budget.used,
            time.monotonic() - begun,
            stopped,
            problem.gold,
        )


def _steps(text: str, *, rule: str) -> tuple[str, ...]:
    return split_steps(text, rule).steps


async def _first_error(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for all tasks, or for the first that fails, and raise what it raises."""
    if tasks:
        finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task in finished:
                task.result()


def generate_many(
    problems: Iterable[str | Problem],
    generator: Generator,
    scorer: StepScorer | None = None,
    settings: GenerationSettings | None = None,
    *,
    say: Callable[[str], None] = to_stderr,
) -> list[GeneratedProblem]:
    """Solutions of several problems, in order; also from a notebook, whose event loop runs already.

    Args:
        problems: their texts, or `Problem(text, gold)`.
        generator: an `OpenAIEndpoint` or a `TransformersGenerator`.
        scorer: a `surestep.Scorer`, a `surestep.client.Client`, or anything alike; None for a majority vote.
        settings: how; unset: the best of 8 solutions.
        say: is told, in a line, what a user should know.

    Raises:
        InputError: a problem is no text, or blank.
        ConfigError: the method needs a scorer.
        SurestepError: the generator or the scorer does not work.
    """
    if isinstance(problems, str | bytes) or not isinstance(problems, Iterable):
        raise InputError(f"'problems' is {kind_of(problems)}; allowed: an iterable of texts")
    checked = [checked_problem(problem, f"problem {number}") for number, problem in enumerate(problems, start=1)]
    search = Search(generator, scorer, settings or GenerationSettings(), say=say)
    return in_own_loop(search.run(checked))


def generate(
    problem: str | Problem,
    generator: Generator,
    scorer: StepScorer | None = None,
    settings: GenerationSettings | None = None,
    *,
    say: Callable[[str], None] = to_stderr,
) -> GeneratedProblem:
    """Solutions of one problem; see `generate_many`."""
    return generate_many([problem], generator, scorer, settings, say=say)[0]


def checked_problem(problem: object, what: str) -> Problem:
    """A problem whose text is text.

    Raises:
        InputError: it is not.
    """
    if isinstance(problem, Problem):
        return Problem(checked_text(problem.text, what), problem.gold)
    return Problem(checked_text(problem, what))


def in_own_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in an event loop of its own; where one runs in this thread already, in another thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work))
        except BaseException as error:  # raised again by whoever waits
            errors.append(error)

    thread = threading.Thread(target=run, name="surestep-generate")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
