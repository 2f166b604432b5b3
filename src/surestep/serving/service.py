"""The parts of one server, and what its routes ask of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from surestep.counted import counted
from surestep.errors import InputError
from surestep.inference.certifier import Certifier
from surestep.inference.result import SolutionScores
from surestep.inference.solutions import SolutionTree
from surestep.serving.api_keys import ApiKeys
from surestep.serving.batcher import Batcher, TooLargeError
from surestep.serving.http.context import CURRENT, InFlight, current_caller
from surestep.serving.http.event_log import EventLog
from surestep.serving.http.metrics import Metrics
from surestep.serving.pass_runner import NodeScores, PassRunner, SessionStep, StepRequest
from surestep.serving.session_store import SessionStore
from surestep.serving.settings import ServeConfig
from surestep.serving.speed import Room, Speed
from surestep.serving.threads import Threads
from surestep.serving.warm_up import smallest_pass, warm_up
from surestep.types import ROOT, Node, ReasoningTree

_FAILING = 3
"""Requests that fail alone in a row, with no good pass between, after which the server tries one of its own."""
_SWEEP_S = 5.0
"""Between two looks for expired sessions."""


class ScoreTrees(Protocol):
    """How a protocol's route scores: in the queue, in turn with all others, by the deadline of its request."""

    async def __call__(self, trees: Sequence[ReasoningTree], *, dataset: str | None = None) -> list[list[float | None]]:
        """The calibrated confidence of every node of each tree, in order; None where there is none."""
        ...


class Service:
    """One server. All of it lives in one asyncio loop.

    Attributes:
        is_healthy: whether passes work, as far as is known.

    Args:
        settings: limits.
        runner: the model.
        keys: who is let in.
        threads: where encoding and passes are done.
        log: gets events.
        certifier: says what the model's certificate promises of whole solutions, where it has one.
    """

    def __init__(
        self,
        settings: ServeConfig,
        runner: PassRunner,
        *,
        keys: ApiKeys,
        threads: Threads,
        log: EventLog,
        certifier: Certifier | None = None,
    ) -> None:
        self.settings = settings
        self.certifier = certifier
        self.runner = runner
        self.keys = keys
        self.threads = threads
        self.log = log
        self.metrics = Metrics()
        # A key that is alone may have all of it; with two, a quarter each would leave half unused.
        share = max(settings.key_share, 1 / max(1, len(keys)))
        about = runner.about()
        self.speed = Speed(settings, int(about["token_budget"]), about.get("recorded_sizes", ()))
        self.room = Room(self.speed, share)
        self.batcher = Batcher(runner, settings, self.speed, threads=threads, watch=self)
        self.sessions = SessionStore(settings, share=share, clock=lambda: asyncio.get_running_loop().time())
        self.in_flight = InFlight()
        self.is_draining = self.is_closed = False
        self.is_warm = False
        self.is_healthy = True
        self._failed_in_a_row = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._gauges()

    def _gauges(self) -> None:
        add = self.metrics.gauge
        add("queue_tokens", "Tokens that wait for a pass.", lambda: self.batcher.waiting_tokens)
        add("queue_requests", "Requests, or pieces of them, that wait for a pass.", lambda: self.batcher.num_waiting)
        add("open_requests", "Requests that are encoded, wait or run.", lambda: self.batcher.num_open)
        add("reserved_tokens", "Tokens of all requests that are read, wait or run.", lambda: self.room.num_tokens)
        add("room_tokens", "Tokens that may be reserved before requests are refused.", lambda: self.speed.room)
        add("tokens_per_second", "Speed of full passes.", lambda: self.speed.tokens_per_s)
        add("pass_budget_tokens", "Tokens that a pass may have.", lambda: self.speed.pass_budget)
        add("sessions", "Open sessions.", lambda: len(self.sessions))

    @property
    def is_ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.is_warm and self.is_healthy and not self.is_draining

    async def start(self) -> None:
        """Begin to answer; readiness follows when the model is warm."""
        self.batcher.start()
        self._tasks = [asyncio.create_task(self._warm_up()), asyncio.create_task(self._sweep())]

    async def stop(self) -> None:
        """End at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.batcher.stop()

    async def drain(self) -> None:
        """Say that no more requests should come, take those on their way, and answer all that wait."""
        self.is_draining = True
        self.log.event("info", "draining", waiting=self.batcher.num_waiting)
        await asyncio.sleep(self.settings.drain_notice_s)
        self.is_closed = True
        loop = asyncio.get_running_loop()
        end = loop.time() + self.settings.drain_s
        # What was taken may not be in the queue yet: it waits for an earlier step of its session, or is parsed.
        try:
            async with asyncio.timeout_at(end):
                await self.in_flight.none_left()
        except TimeoutError:
            pass
        is_empty = await self.batcher.drain(max(0.0, end - loop.time()))
        self.log.event("info" if is_empty else "warning", "drained", unanswered=self.batcher.num_waiting)
        await self.batcher.stop()

    async def _warm_up(self) -> None:
        try:
            await warm_up(self.runner, self.threads, self.speed, self.settings)
        except Exception as error:
            self.is_healthy = False
            self.log.error("warm_up_failed", error)
            return
        self.is_warm = True
        self.log.event(
            "info",
            "ready",
            tokens_per_s=round(self.speed.tokens_per_s),
            pass_budget_tokens=self.speed.pass_budget,
            request_limit_tokens=self.speed.request_limit,
        )

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(_SWEEP_S, self.settings.session_expiry_s))
            for session in self.sessions.take_expired():
                try:
                    await self.threads.run(session.handle.close)
                except Exception as error:  # the others must still be closed
                    self.log.error("session_not_closed", error)

    def pass_done(self, *, num_requests: int, num_tokens: int, num_steps: int, seconds: float) -> None:
        """See `batcher.Watch`."""
        self._failed_in_a_row = 0
        self.is_healthy = True
        self.metrics.pass_done(num_requests=num_requests, num_tokens=num_tokens, num_steps=num_steps, seconds=seconds)

    def pass_failed(self, error: Exception, *, num_requests: int) -> None:
        """See `batcher.Watch`."""
        if isinstance(error, InputError):
            return
        self.metrics.pass_failed()
        self.log.error("pass_failed", error, requests=num_requests)
        if num_requests == 1:
            self._failed_in_a_row += 1
            if self._failed_in_a_row % _FAILING == 0:
                self._tasks.append(asyncio.create_task(self._probe()))

    async def _probe(self) -> None:
        """Tell requests that fail by themselves, which a client may send for hours, from a model that always fails."""
        self._tasks = [task for task in self._tasks if not task.done()]
        try:
            await smallest_pass(self.runner, self.threads)
        except Exception as error:
            self.is_healthy = False
            self.log.error("probe_failed", error)
            return
        self.is_healthy = True
        self.log.event("info", "probe_passed", failed_in_a_row=self._failed_in_a_row)

    def dropped(self) -> None:
        """See `batcher.Watch`."""
        self.metrics.dropped()

    async def submit(self, request: StepRequest | SessionStep, *, num_steps: int) -> NodeScores:
        """Score for the request that is being answered.

        Raises:
            see `Batcher.submit`.
        """
        context = CURRENT.get()
        scores = await self.batcher.submit(
            request, key=current_caller().name, deadline=context.deadline, on_encoded=context.encoded
        )
        context.num_steps += num_steps
        return scores

    async def score_tree(self, tree: ReasoningTree, dataset: str | None = None) -> NodeScores:
        """Every node of a tree.

        Raises:
            InputError: it has more steps on a path, or more paths, than a request may have; see also `Batcher.submit`.
        """
        self._check_tree(tree)
        return await self.submit(StepRequest(tree, dataset), num_steps=len(tree.nodes))

    def _check_tree(self, tree: ReasoningTree) -> None:
        depths: list[int] = []
        for node in tree.nodes:
            depths.append(1 + (0 if node.parent == ROOT else depths[node.parent]))
        if depths and max(depths) > self.settings.max_steps:
            raise InputError(f"a solution has {counted(max(depths), 'step')}; allowed: {self.settings.max_steps:,}")
        count = len(tree.nodes) - len({node.parent for node in tree.nodes} - {ROOT})
        if count > self.settings.max_candidates:
            raise InputError(
                f"the request has {counted(count, 'candidate')}; allowed: {self.settings.max_candidates:,}"
            )

    async def score_in_parts(self, tree: ReasoningTree, dataset: str | None = None) -> NodeScores:
        """A tree of solutions that are taken each alone: where it is too large as a whole, in halves.

        Raises:
            see `score_tree`; of what is too large, only where one solution is.
        """
        try:
            return await self.score_tree(tree, dataset)
        except TooLargeError:
            leaves = list(tree.leaves())
            if len(leaves) == 1:
                raise
        middle = len(leaves) // 2
        scores: NodeScores | None = None
        for half in (leaves[:middle], leaves[middle:]):
            kept = sorted({node for leaf in half for node in tree.path(leaf)})
            place = {ROOT: ROOT} | {node: index for index, node in enumerate(kept)}
            nodes = tuple(replace(tree.nodes[node], parent=place[tree.nodes[node].parent]) for node in kept)
            part = await self.score_in_parts(ReasoningTree(tree.problem, nodes), dataset)
            whole = part.spread(kept, len(tree.nodes))
            scores = whole if scores is None else scores.joined(whole)
        assert scores is not None, "there are two halves"
        return scores

    async def score_trees(
        self, trees: Sequence[ReasoningTree], *, dataset: str | None = None
    ) -> list[list[float | None]]:
        """See `ScoreTrees`. One that fails ends the others, so that nothing is scored for nobody.

        Raises:
            InputError: there are more trees than a request may have candidates; see also `score_tree`.
        """
        if len(trees) > self.settings.max_candidates:
            raise InputError(
                f"the request has {counted(len(trees), 'solution')}; allowed: {self.settings.max_candidates:,}"
            )
        tasks = [asyncio.create_task(self.score_in_parts(tree, dataset)) for tree in trees]
        try:
            return [list(scores.confidence) for scores in await asyncio.gather(*tasks)]
        finally:
            for task in tasks:
                task.cancel()


def chain_of(problem: str, steps: Sequence[str], contexts: Sequence[str | None] | None) -> ReasoningTree:
    """One solution as a tree.

    Raises:
        InputError: steps and contexts differ in number, or a text is blank.
    """
    if contexts is not None and len(contexts) != len(steps):
        raise InputError(
            f"contexts has {counted(len(contexts), 'entry', 'entries')} for {counted(len(steps), 'step')}; allowed: "
            "one a step"
        )
    evidence = contexts or [None] * len(steps)
    nodes = (Node(text, i - 1, context=context) for i, (text, context) in enumerate(zip(steps, evidence, strict=True)))
    return _tree(problem, tuple(nodes))


def _tree(problem: str, nodes: tuple[Node, ...]) -> ReasoningTree:
    try:
        return ReasoningTree(problem, nodes)
    except ValueError as error:
        raise InputError(str(error)) from None


def tree_of_candidates(problem: str, candidates: Sequence[Sequence[str]]) -> tuple[ReasoningTree, list[list[int]]]:
    """Solutions as one tree, where what they begin with together is there once; and the nodes of each of them.

    >>> tree, paths = tree_of_candidates("1+1?", [["a", "b"], ["a", "c"]])
    >>> len(tree.nodes), paths
    (3, [[0, 1], [0, 2]])
    """
    together = SolutionTree(problem)
    for steps in candidates:
        together.add(tuple(steps))
    return together.tree(), together.paths()


def solution_of(steps: Sequence[str], scores: NodeScores, path: Sequence[int]) -> SolutionScores:
    """The scores of one path of a tree."""
    confidences, raw = (tuple(values[i] for i in path) for values in (scores.confidence, scores.raw))
    return SolutionScores(tuple(steps), confidences, raw)
