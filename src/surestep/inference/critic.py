"""A language model that reads a solution and writes which paragraph is the first wrong one, as a scorer.

Each of n votes names an index in `\\boxed{}`, or -1 where it finds no error. A step's confidence is the share of votes
that find no error up to it: a vote for paragraph k says that those before k are right and k is not, and no more, so
confidences never rise along a solution. The first one below 0.5 is where more than half of the votes see an error by.
Knows any generator of `inference.generation`; the model reads the steps behind a step too.

Source of the task: Zheng and others, ProcessBench (2024), whose critics answer in this way; their prompt, or any other
one, is given as `prompt`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le

from surestep.counted import counted
from surestep.data.benchmarks.final_answer import written_answer
from surestep.errors import ConfigError
from surestep.inference.generation.requests import Ask, Continuation, Generator, OpenGenerator, RefusedError, seed_of
from surestep.inference.generation.settings import GenerationSettings
from surestep.scoring.other_scorers.path_scores import Values, mean_over_paths, plain
from surestep.scoring.protocol import TokensUsed, TreeScores, Wanted
from surestep.types import ReasoningTree
from surestep.untrusted import checked_record

_WINDOW = 16
"""Trees whose solutions are asked about at once."""
NO_ERROR = -1
PROBLEM, SOLUTION = "{problem}", "{tagged_response}"
"""What stands for the problem, and for the solution with its paragraphs in tags."""
DEFAULT_PROMPT = (
    "Check the solution of a math problem. Its paragraphs stand in tags and are numbered from 0. Read them in order "
    "and say of each whether it is right. At the end give the number of the first wrong paragraph in \\boxed{}, or "
    f"\\boxed{{-1}} if all are right.\n\nProblem:\n{PROBLEM}\n\nSolution:\n{SOLUTION}"
)


@dataclass(frozen=True)
class CriticSettings:
    """How a critic is asked.

    Attributes:
        votes: answers to each solution.
        temperature, top_p: of sampling; 0 takes the likeliest token, which makes all votes alike.
        max_tokens: of an answer; one that breaks off without an index is unreadable.
        seed: with the texts and the vote it decides the seed of each answer.
        prompt: `{problem}` and `{tagged_response}` stand for what is checked.
        system: system message of a chat.
    """

    votes: Annotated[int, Ge(1), Le(1024)] = 1
    temperature: Annotated[float, Ge(0), Le(10)] | None = None
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    max_tokens: Annotated[int, Ge(1), Le(1_000_000)] = 1024
    seed: Annotated[int, Ge(0), Le(2**63 - 1)] = 0
    prompt: str = DEFAULT_PROMPT
    system: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> CriticSettings:
        """Settings as a user gave them.

        Raises:
            ConfigError: an unknown one, or a value that is not allowed.
        """
        try:
            settings = checked_record(dict(values), cls)
        except ValueError as error:
            names = ", ".join(one.name for one in fields(cls))
            raise ConfigError(f"the scorer critic: {error} (its fields: form, path, calibration, {names})") from None
        for needed in (PROBLEM, SOLUTION):
            if needed not in settings.prompt:
                raise ConfigError(f"the scorer critic: its prompt lacks {needed}")
        if settings.votes > 1 and settings.temperature == 0:
            raise ConfigError(
                f"the scorer critic: {counted(settings.votes, 'vote')} at temperature 0 are all alike; set "
                "temperature above 0"
            )
        return settings

    @property
    def drawn_at(self) -> float:
        """The temperature, where none was set: 0 for one vote, 0.7 for several."""
        return self.temperature if self.temperature is not None else (0.0 if self.votes == 1 else 0.7)


@dataclass
class Counts:
    """What became of the votes."""

    asked: int = 0
    unreadable: int = 0
    solutions_refused: int = 0
    solutions_without_vote: int = 0


@dataclass
class CriticScorer:
    """A generator with a prompt, as a scorer.

    Attributes:
        generator: writes the answers.
        settings: how it is asked.
        identity: what pins its weights, JSON-ready.
        counts: what became of the votes so far.
    """

    generator: Generator
    settings: CriticSettings
    identity: Mapping[str, Any] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    _read: int | None = field(default=0, init=False)
    _written: int | None = field(default=0, init=False)

    def about(self) -> dict[str, Any]:
        """Which generator, how it is asked, and what became of the votes."""
        settings = {one.name: getattr(self.settings, one.name) for one in fields(self.settings)}
        settings["temperature"] = self.settings.drawn_at
        made_of = {**self.generator.about(), **self.identity}
        pinned = {name: value for name, value in made_of.items() if name != "batch_size"}
        if "weights_sha256" in pinned:  # wherever it lies
            pinned.pop("local_model", None)
        decides = json.dumps([pinned, settings], sort_keys=True)
        name = str(made_of.get("local_model") or made_of.get("model") or "a model")
        return {
            "scorer": {
                "name": name.rstrip("/").rpartition("/")[2],
                "form": "critic",
                **made_of,
                "settings": settings,
                "sha256": hashlib.sha256(decides.encode()).hexdigest(),
            },
            "votes": {one.name: getattr(self.counts, one.name) for one in fields(self.counts)},
        }

    def tokens_used(self) -> TokensUsed:
        """Tokens of prompts, where the generator counts them, and of answers."""
        return TokensUsed(self._read, self._written)

    def score(
        self, trees: Sequence[ReasoningTree], *, dataset: str | None = None, wanted: Wanted = "all"
    ) -> Iterator[TreeScores]:
        """See `Scorer`: each path is read as a solution; a step on several has the mean. No vote, no score."""
        for start in range(0, len(trees), _WINDOW):
            window = [trees[i] for i in range(start, min(start + _WINDOW, len(trees)))]
            for tree, found in zip(window, asyncio.run(self._window(window)), strict=True):
                raw_N = mean_over_paths(len(tree.nodes), found)
                yield TreeScores(raw_N, raw_N)

    async def _window(self, trees: Sequence[ReasoningTree]) -> list[list[tuple[Sequence[int], Values]]]:
        texts = [(number, path, plain(tree)) for number, tree in enumerate(trees) for path in tree.paths()]
        async with self.generator.opened() as ready:
            tasks = [
                asyncio.create_task(self._ask(ready, problem, [steps[node] for node in path]))
                for _, path, (problem, steps) in texts
            ]
            try:
                values = await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
        found: list[list[tuple[Sequence[int], Values]]] = [[] for _ in trees]
        for (number, path, _), scores in zip(texts, values, strict=True):
            found[number].append((path, scores))
        return found

    async def _ask(self, ready: OpenGenerator, problem: str, steps: Sequence[str]) -> Values:
        settings, counts = self.settings, self.counts
        tagged = "\n\n".join(f"<paragraph_{i}>\n{step}\n</paragraph_{i}>" for i, step in enumerate(steps))
        before, _, after = settings.prompt.partition(SOLUTION)
        asked = before.replace(PROBLEM, problem) + tagged + after.replace(PROBLEM, problem)
        drawn = GenerationSettings(
            prompt=PROBLEM, system=settings.system, temperature=settings.drawn_at, top_p=settings.top_p
        )
        ask = Ask(asked, drawn)
        wanted = [
            Continuation("", seed_of(settings.seed, asked, i), settings.max_tokens) for i in range(settings.votes)
        ]
        counts.asked += settings.votes
        try:
            answers = await ready.go_on(ask, wanted, None)
        except RefusedError:
            counts.solutions_refused += 1
            return [None] * len(steps)
        self._count_tokens(ask, [None if one is None else one.tokens for one in answers])
        found = [first_wrong(one.text, len(steps)) for one in answers if one is not None]
        votes = [vote for vote in found if vote is not None]
        counts.unreadable += settings.votes - len(votes)
        counts.solutions_without_vote += not votes
        return confidences_of_votes(votes, len(steps))

    def _count_tokens(self, ask: Ask, written: Sequence[int | None]) -> None:
        count = getattr(self.generator, "prompt_tokens", None)
        read = None if count is None else count(ask, len(written))
        self._read = None if self._read is None or read is None else self._read + read
        known = [tokens for tokens in written if tokens is not None]
        self._written = None if self._written is None or len(known) < len(written) else self._written + sum(known)


def first_wrong(answer: str, num_steps: int) -> int | None:
    r"""The index in the last `\boxed{}` of an answer, `NO_ERROR` for -1; None where it names no paragraph.

    >>> first_wrong(r"Paragraph 1 is wrong: \boxed{1}.", 3), first_wrong(r"\boxed{-1}", 3), first_wrong(r"\boxed{3}", 3)
    (1, -1, None)
    """
    if "\\boxed" not in answer:
        return None
    written = (written_answer(answer, only_marked=True) or "").strip().replace("\u2212", "-")
    if not written.removeprefix("-").isdecimal() or len(written) > 6:
        return None
    index = int(written)
    return index if NO_ERROR <= index < num_steps else None


def confidences_of_votes(votes: Sequence[int], num_steps: int) -> list[float | None]:
    """The share of votes that find no error up to each step; None where nobody voted.

    >>> confidences_of_votes([1, -1], 3), confidences_of_votes([], 2)
    ([1.0, 0.5, 0.5], [None, None])
    """
    if not votes:
        return [None] * num_steps
    return [sum(vote == NO_ERROR or step < vote for vote in votes) / len(votes) for step in range(num_steps)]
