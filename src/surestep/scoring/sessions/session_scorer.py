"""Opens sessions over a model and scores the steps that are added to them, many sessions in one pass.

Safe to use from several threads: passes run one after another.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from surestep.counted import counted
from surestep.encoding.encoded_tree import Segment, encode_problem, encode_steps
from surestep.errors import InputError
from surestep.guarantees.monitoring import Monitor
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.protocol import NodeScores
from surestep.scoring.sessions.passes import SessionPasses
from surestep.scoring.sessions.paths import WantedPath
from surestep.scoring.sessions.prefix_cache import Node
from surestep.scoring.sessions.session import NextSteps, Session, SessionState
from surestep.untrusted import has_lone_surrogate

NewSteps = Sequence[tuple[Session, str] | tuple[Session, str, str | None]]
"""Sessions with the step that each gets, and the evidence in front of it, if any."""


@dataclass(frozen=True, slots=True)
class SessionUsage:
    """What sessions have cost, and what they hold now.

    Attributes:
        tokens_computed: tokens that went through the backbone.
        tokens_read: tokens whose keys were read instead.
        passes: forward passes.
        tokens_unkept: of the computed ones, those scored in full because there was no room to keep any.
        tokens_held, bytes_held: what is kept now.
        most_tokens_held: what there is room for.
    """

    tokens_computed: int
    tokens_read: int
    passes: int
    tokens_unkept: int
    tokens_held: int
    bytes_held: int
    most_tokens_held: int


class SessionScorer:
    """Sessions over the model of a scorer.

    Args:
        scorer: model, tokenizer, formatter, calibration and limits; its model must be in evaluation mode, without
            weights that are trained.
        max_tokens: the most tokens whose keys and values are kept; unset, what a quarter of the free memory holds.
            Where they run out, the sessions that were used longest ago are computed again when they go on.
        monitor: watches every session that is opened; unset: the scorer's own, if it has one.
        keep_unused: keep the steps of closed sessions for others in the same namespace, until the room is needed.

    Raises:
        BackboneError: the backbone cannot score from kept keys; the message says why.
        InputError: the model is in training mode, or its weights are trained; or `max_tokens` is no room at all.
    """

    def __init__(
        self,
        scorer: ModelScorer,
        *,
        max_tokens: int | None = None,
        monitor: Monitor | None = None,
        keep_unused: bool = False,
    ) -> None:
        if max_tokens is not None and max_tokens < 1:
            raise InputError(f"sessions that keep {counted(max_tokens, 'token')}; allowed: 1 or more")
        self._scorer = scorer
        self._monitor = scorer.monitor if monitor is None else monitor
        self._passes = SessionPasses(scorer, max_tokens, keep_unused)
        self._lock = threading.RLock()
        self._abandoned: deque[SessionState] = deque()

    def open(self, problem: str, *, namespace: str = "", dataset: str | None = None) -> Session:
        """A session under a problem, without a step yet; it costs nothing until the first step comes.

        Args:
            problem: its text, not blank.
            namespace: sessions of one namespace share what they have in common; of two, nothing.
            dataset: ask for this dataset's calibration map.

        Raises:
            InputError: the problem is no text.
        """
        _check_text(problem, "the problem")
        if not isinstance(namespace, str):
            raise InputError(f"namespace is {_kind(namespace)}; allowed: text")
        with self._lock:
            segment = encode_problem(problem, self._scorer.tokenizer, self._scorer.formatter)
        state = SessionState(namespace.encode("utf-8", "surrogatepass"), [segment], num_scored=0)
        state.num_scored = int(self._fits(len(segment)))
        watch = None if self._monitor is None else self._monitor.begin()
        return Session(self, problem, state, dataset=dataset, watch=watch)

    def add_many(self, steps: NewSteps) -> list[float | None]:
        """Append a step to each of several sessions, in one pass as far as the token budget goes.

        A session may stand in the list more than once; its steps are then added in their order.

        Returns:
            As `Session.add` does, in the order given.

        Raises:
            InputError: a step is no text, or a session is closed or another scorer's; then no step is added.
        """
        if isinstance(steps, str | bytes | Mapping) or not isinstance(steps, Iterable):
            raise InputError(f"the steps are {_kind(steps)}; allowed: a list of (session, step)")
        entries = list(steps)
        for entry in entries:
            if not isinstance(entry, tuple | list) or not 2 <= len(entry) <= 3:
                raise InputError(f"an entry is {_kind(entry)}; allowed: (session, step), or (session, step, context)")
        asked = [NextSteps(entry[0], (entry[1],), entry[2] if len(entry) > 2 else None) for entry in entries]
        return [scores.confidence[0] for scores in self.score_next(asked)]

    def score_next(self, requests: Sequence[NextSteps]) -> list[NodeScores]:
        """Score what may follow in many sessions, steps that are added and candidates alike, in one pass.

        Requests of one session are taken in their order.

        Returns:
            The scores of each request, one for each of its steps.

        Raises:
            InputError: a step is no text, or a session is closed or another scorer's.
            DeviceError: memory ran out.
            Exception: the pass failed. No session has changed then.
        """
        requests = [self._checked(request) for request in requests]
        with self._lock:
            for request in requests:
                self._check_session(request.session)
            segments = iter(self._encoded([(step, request.context) for request in requests for step in request.steps]))
            mark = self._begin()
            # Work on copies: a pass that fails leaves every session where it was.
            after = {request.session: request.session._state.copied() for request in requests}
            candidates: list[tuple[NextSteps, list[WantedPath | None]]] = []
            for request in requests:
                state = after[request.session]
                if request.keep:
                    for _ in request.steps:
                        self._append(state, next(segments))
                else:
                    candidates.append((request, [self._candidate(state, next(segments), mark) for _ in request.steps]))
            self._score(after, candidates, mark)
            beside = iter(candidates)
            return [self._added(request) if request.keep else self._compared(*next(beside)) for request in requests]

    def _checked(self, request: NextSteps) -> NextSteps:
        """The request with its steps in hand: whatever can be gone through once is gone through here."""
        self._check_session(request.session)
        steps = request.steps
        if isinstance(steps, str | bytes | Mapping | set | frozenset) or not isinstance(steps, Iterable):
            what = "one text" if isinstance(steps, str) else _kind(steps)
            raise InputError(f"the candidates are {what}; allowed: a list of texts")
        request = replace(request, steps=tuple(steps))
        for step in request.steps:
            _check_step(step, request.context)
        return request

    def _added(self, request: NextSteps) -> NodeScores:
        """Give a session the texts of its new steps, now that their scores are known."""
        session, first = request.session, len(request.session._steps)
        session._steps += request.steps
        scores = self._scores(session, session._state.raw[first : len(session._steps)])
        if session._watch is not None:
            # It was calibrated on the pooled map, whatever dataset the session is of.
            session._watch.take(scores.raw, self._calibrated(scores.raw, None))
        return scores

    def _compared(self, request: NextSteps, paths: Sequence[WantedPath | None]) -> NodeScores:
        return self._scores(request.session, [None if path is None else path.raw[-1] for path in paths])

    def _scores(self, session: Session, raw: Sequence[float | None]) -> NodeScores:
        return NodeScores(tuple(self._calibrated(raw, session.dataset)), tuple(raw))

    def _candidate(self, state: SessionState, segment: Segment, mark: int) -> WantedPath | None:
        """What a candidate asks for as a session's next step; None where it ends beyond the longest path."""
        above = self._path(state, mark)
        takes = state.num_scored == len(state.segments)
        if not takes or not self._fits(sum(map(len, above.segments)) + len(segment)):
            return None
        path = [*above.segments, segment]
        return WantedPath(state.namespace, path, [*above.raw, math.nan], len(above.segments))

    def fork(self, session: Session) -> Session:
        """See `Session.fork`."""
        with self._lock:
            self._check_session(session)
            self._let_go()
            state = session._state.copied()
            state.node = _held(state.node)
            if state.node is not None:
                self._passes.cache.attach(state.node)
            watch = None if session._watch is None else session._watch.fork()
            branch = Session(self, session.problem, state, dataset=session.dataset, watch=watch)
            branch._steps = list(session._steps)
            return branch

    def close_session(self, session: Session) -> None:
        """See `Session.close`."""
        with self._lock:
            self._let_go()
            self._leave(session._state)

    def abandon(self, state: SessionState) -> None:
        """A session is gone without having been closed; from whatever thread, at whatever moment."""
        self._abandoned.append(state)

    def raw_of(self, session: Session) -> list[float | None]:
        """The model's own confidence of each step of a session, computed again where the weights have changed.

        Of a closed session, those that it had.
        """
        with self._lock:
            state = session._state
            if not state.is_closed and state.raw and (mark := self._begin()) != state.weights_mark:
                self._score({session: state.copied()}, [], mark)
            return list(state.raw)

    def confidences_of(self, session: Session) -> list[float | None]:
        """The calibrated confidence of each step of a session."""
        return self._calibrated(self.raw_of(session), session.dataset)

    def usage(self) -> SessionUsage:
        """What has been computed so far, and what is held now."""
        with self._lock:
            self._let_go()
            counts, held = self._passes.counts, self._passes.tokens_held
            return SessionUsage(
                tokens_computed=counts.computed,
                tokens_read=counts.read,
                passes=counts.passes,
                tokens_unkept=counts.unkept,
                tokens_held=held,
                bytes_held=held * self._passes.layout.bytes_per_slot,
                most_tokens_held=self._passes.cache.capacity,
            )

    def _begin(self) -> int:
        """Before a pass: abandoned sessions go, and so does what other weights computed; the mark of the weights."""
        self._let_go()
        return self._passes.check_weights()

    def _let_go(self) -> None:
        while self._abandoned:
            self._leave(self._abandoned.popleft())

    def _leave(self, state: SessionState) -> None:
        if not state.is_closed:
            state.is_closed = True
            if state.node is not None:
                self._passes.cache.detach(state.node)
            state.node = None

    def _score(
        self,
        after: dict[Session, SessionState],
        candidates: Sequence[tuple[NextSteps, list[WantedPath | None]]],
        mark: int,
    ) -> None:
        """Find the confidences that states and candidates lack, and make each state that of its session."""
        paths = {session: self._path(state, mark) for session, state in after.items()}
        beside = [(request.session, path) for request, some in candidates for path in some if path is not None]
        lacking = [path for path in paths.values() if any(math.isnan(raw) for raw in path.raw[1:])]
        self._run([*lacking, *(path for _, path in beside)])
        for session, path in beside:
            # What had to be computed again above a candidate is the session's once more.
            own, found = _held(paths[session].node), _held(path.node)
            if found is not None and (own is None or own.end < found.end):
                paths[session].node = found
        for session, state in after.items():
            self._store(session._state, state, paths[session], mark)

    def _run(self, paths: Sequence[WantedPath]) -> None:
        try:
            self._passes.run(paths)
        except BaseException:
            # What earlier passes of this call have left belongs to no session.
            self._passes.cache.drop_unused()
            raise

    def _path(self, state: SessionState, mark: int) -> WantedPath:
        """What a session asks for: all that the model takes; what is known is not asked for again."""
        known = state.raw if state.weights_mark == mark else [None] * len(state.raw)
        raw = [math.nan if value is None else value for value in known[: max(0, state.num_scored - 1)]]
        return WantedPath(
            state.namespace,
            state.segments[: state.num_scored],
            [math.nan, *raw][: state.num_scored],
            state.num_scored,
            near=_held(state.node),
        )

    def _store(self, state: SessionState, after: SessionState, path: WantedPath, mark: int) -> None:
        """Make `after`, with what a pass has found, the state of a session; it stands at its last held step then."""
        cache, node, before = self._passes.cache, _held(path.node), _held(state.node)
        if node is not None and node is not before:
            cache.attach(node)
            if before is not None:
                cache.detach(before)
        state.node = node if node is not None else before
        state.segments, state.num_scored, state.weights_mark = after.segments, after.num_scored, mark
        state.raw = [*path.raw[1:], *(None for _ in after.segments[max(1, after.num_scored) :])]

    def _append(self, state: SessionState, segment: Segment) -> None:
        takes = state.num_scored == len(state.segments)
        state.segments.append(segment)
        state.num_scored += int(takes and self._fits(sum(map(len, state.segments))))
        state.raw.append(None)

    def _fits(self, num_tokens: int) -> bool:
        limit = self._scorer.max_positions
        return limit is None or num_tokens <= limit

    def _encoded(self, steps: Sequence[tuple[str, str | None]]) -> list[Segment]:
        return encode_steps(steps, self._scorer.tokenizer, self._scorer.formatter)

    def _check_session(self, session: Session) -> None:
        if not isinstance(session, Session):
            raise InputError(f"a session is {_kind(session)}; allowed: what `open` or `fork` gave")
        if session._scorer is not self:
            raise InputError("the session belongs to another scorer; add the step where it was opened")
        if session._state.is_closed:
            raise InputError("the session is closed; open another one, or fork before closing")

    def _calibrated(self, raw: Sequence[float | None], dataset: str | None) -> list[float | None]:
        raw_N = np.array([math.nan if value is None else value for value in raw], dtype=np.float64)
        values: list[float] = self._scorer.calibrated(raw_N, dataset).tolist()
        return [None if math.isnan(value) else value for value in values]


def _held(node: Node | None) -> Node | None:
    return None if node is None else node.held()


def _check_step(step: object, context: object) -> None:
    _check_text(step, "the step")
    if context is not None and not isinstance(context, str):
        raise InputError(f"the context of the step is {_kind(context)}; allowed: text, or none")
    if isinstance(context, str):
        _check_unicode(context, "the context of the step")


def _check_text(text: object, what: str) -> None:
    if not isinstance(text, str):
        raise InputError(f"{what} is {_kind(text)}; allowed: text")
    if not text.strip():
        raise InputError(f"{what} is empty; allowed: text")
    _check_unicode(text, what)


def _check_unicode(text: str, what: str) -> None:
    if has_lone_surrogate(text):
        raise InputError(f"{what} holds half of a surrogate pair; allowed: valid Unicode")


def _kind(value: object) -> str:
    return "none" if value is None else f"of type {type(value).__name__}"
