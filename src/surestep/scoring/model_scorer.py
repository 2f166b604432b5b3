"""Confidences of a model: packs trees, runs the model, and hands every step its own number.

The same code scores validation, test sets, benchmarks and a user's request.

Shapes: `S` wanted steps of a pack, `N` nodes of a tree.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from surestep.calibration.calibration import Calibration
from surestep.counted import counted
from surestep.encoding.encoded_tree import EncodedTree, encode_trees
from surestep.encoding.formatter import Formatter
from surestep.encoding.limits import cut_tree, limit_tree
from surestep.encoding.packing import Pack, pack_trees, plan_packs
from surestep.encoding.tokenizer import StepTokenizer
from surestep.guarantees.certificate import Certificate
from surestep.guarantees.monitoring import Monitor
from surestep.model.confidence_model import ConfidenceModel, prepare
from surestep.model.evaluation_mode import evaluation_mode
from surestep.model.to_device import copy_into
from surestep.model.tree_batch import TreeBatch
from surestep.scored import FloatArray
from surestep.scoring.hardware import Hardware
from surestep.scoring.protocol import TokensUsed, TreeScores, Wanted
from surestep.scoring.recorded_passes import (
    FEWEST_PASSES,
    LONG_SIZES,
    SHORT_SIZES,
    RecordedPasses,
    reason_model_is_not_recorded,
)
from surestep.scoring.stored_split import StoredSplit
from surestep.scoring.token_budget import halved
from surestep.terminal_text import to_stderr
from surestep.types import ReasoningTree

_WINDOW = 512
"""Trees that are packed together: enough to fill packs well, few enough to stay in memory."""

_AHEAD = 1
"""Packs that wait on the device while another runs: laying out the next ones must not make it wait."""


def to_batch(pack: Pack) -> TreeBatch:
    """A pack's arrays as tensors on the CPU."""

    def tensor(array: NDArray[np.int32]) -> torch.Tensor:
        return torch.from_numpy(array).long()

    return TreeBatch(
        tokens_P=tensor(pack.tokens_P),
        positions_P=tensor(pack.positions_P),
        subtree_end_P=tensor(pack.subtree_end_P),
        tree_starts=tuple(pack.tree_starts.tolist()),
        label_index_S=tensor(pack.label_index_S),
        step_length_S=tensor(pack.length_S),
    )


@dataclass(kw_only=True)
class PackedPasses:
    """A model that scores trees which are tokens already; safe to use from several threads.

    Attributes:
        max_positions: longest path the backbone takes; longer steps get no score.
        token_budget: tokens in one forward pass; halved when memory runs out, where `may_shrink`.
        say: told the new budget, in a line; unset: it goes to stderr.
        recorded_up_to: tokens of the passes that `score_encoded` records by itself where it has many of them; 0: none.
        recorded: runs short passes, where they are recorded (`record_passes`).
        without_gradients: entered around every pass; of weights that are sharded, and trained on, `torch.no_grad`.
        num_tokens: tokens that went through the model so far, a shared prefix once.
    """

    model: ConfidenceModel
    hardware: Hardware
    max_positions: int | None
    token_budget: int
    may_shrink: bool = False
    say: Callable[[str], None] = to_stderr
    recorded_up_to: int = 0
    recorded: RecordedPasses | None = None
    without_gradients: Callable[[], AbstractContextManager[Any]] = torch.inference_mode
    num_tokens: int = field(default=0, init=False)
    _counting: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def record_passes(self, wanted: Literal["auto"] | bool = "auto") -> str | None:
        """Record short passes from here on, for who scores small requests for long; weights may not change any more.

        Returns what was decided, in a line; None where there is nothing to decide: on a CPU.
        """
        if self.hardware.device.type != "cuda" or wanted is False:
            return None
        if (reason := self._reason_not_to_record()) is not None:
            return f"passes: not recorded ({reason})"
        self._record(SHORT_SIZES)
        longest = SHORT_SIZES[-1]
        return (
            f"passes of up to {counted(longest, 'token')}: recorded once for each size (CUDA graphs); "
            "--cuda_graphs false"
        )

    def _reason_not_to_record(self) -> str | None:
        reason = reason_model_is_not_recorded(self.model)
        if reason is None and any(parameter.requires_grad for parameter in self.model.parameters()):
            reason = "the weights are trained"
        return reason

    def _record(self, sizes: Sequence[int]) -> None:
        self.model.eval()
        self.recorded = RecordedPasses(
            self.model, self.hardware.device, self.hardware.compute_dtype, lambda line: self.say(line), sizes
        )

    def _record_if_many(self, sizes: Sequence[int]) -> None:
        """Record passes where so many of these sizes come that it repays the time of recording."""
        if self.recorded is not None or len(sizes) < FEWEST_PASSES or max(sizes) > self.recorded_up_to:
            return
        if self.hardware.device.type == "cuda" and self._reason_not_to_record() is None:
            self._record(LONG_SIZES)
            self.say("scoring passes: recorded once for each size (CUDA graphs); --cuda_graphs false")
        self.recorded_up_to = 0  # decided once

    def score_encoded(self, trees: Sequence[EncodedTree], *, wanted: Wanted = "all") -> Iterator[FloatArray]:
        """The model's own confidences of trees that are tokens already, float64 [N] each; what `score` calibrates."""
        waiting: deque[_TreeInWork] = deque()
        running: deque[_Running] = deque()
        for start in range(0, len(trees), _WINDOW):
            window = [self._begin(trees[i], wanted) for i in range(start, min(start + _WINDOW, len(trees)))]
            waiting += window
            yield from _finished(waiting)  # of those at the front nothing runs
            pieces = [(tree, piece) for tree in window for piece in tree.pieces]
            laid_out_for = self.token_budget
            groups = plan_packs([piece.num_tokens for _, piece in pieces], laid_out_for)
            self._record_if_many([sum(pieces[i][1].num_tokens for i in group) for group in groups])
            # The pack with the first tree that is not through runs next, so that results come as soon as they can, in
            # order: a pack mixes trees of the whole window, and the order of packs changes no number.
            for group in sorted(groups, key=min):
                for started in self._started([pieces[i] for i in group], wanted, laid_out_for):
                    running.append(started)
                    # Those of the window before are among them: between windows the device goes on.
                    while running and (len(running) > _AHEAD + 1 or running[0].confidences.is_here()):
                        running.popleft().finish()
                    yield from _finished(waiting)
        while running:
            running.popleft().finish()
        yield from _finished(waiting)

    def _begin(self, tree: EncodedTree, wanted: Wanted) -> _TreeInWork:
        limited = tree
        if self.max_positions is not None and tree.num_tokens > self.max_positions:
            limited, _ = limit_tree(tree, max_length=self.max_positions)
        # A piece without wanted steps (a problem beyond the limit, say) never goes through the backbone.
        pieces = _pieces(limited, self.token_budget, wanted)
        return _TreeInWork(pieces, np.full(int(tree.source_N.max()) + 1, np.nan), len(pieces))

    def _started(self, group: list[_Piece], wanted: Wanted, laid_out_for: int) -> Iterator[_Running]:
        """A group of pieces on its way through the device, in smaller packs where memory does not hold it whole.

        `laid_out_for` is the budget that the group was planned with: once it has shrunk, the group is too large.
        """
        pack = pack_trees([piece for _, piece in group], every_step=wanted == "all")
        smaller = [group]
        if self.token_budget < laid_out_for and pack.num_tokens > self.token_budget:
            smaller = _smaller_groups(group, self.token_budget, wanted)
        if len(smaller) == 1:
            confidences = self._confidences_or_none(pack)
            if confidences is not None:
                yield _Running([tree for tree, _ in group], pack, confidences)
                return
            self._shrink(pack.num_tokens)
            smaller = _smaller_groups(group, self.token_budget, wanted)
        for tree, _ in group:
            tree.num_open -= 1
        for tree, _ in (piece for part in smaller for piece in part):
            tree.num_open += 1
        for part in smaller:
            yield from self._started(part, wanted, laid_out_for)

    def _confidences_or_none(self, pack: Pack) -> Confidences | None:
        """What `_confidences` gives; None where memory ran out."""
        try:
            return self._confidences(pack)
        except torch.OutOfMemoryError:
            return None

    def _shrink(self, num_tokens: int) -> None:
        """Half the tokens in a pass from here on, after memory ran out with `num_tokens`.

        Raises:
            DeviceError: they were set by hand, or smaller packs would not help.
        """
        self.token_budget = halved(
            num_tokens,
            # One path is never cut: where it alone is longer than the budget, smaller packs hold it as well.
            may_shrink=self.may_shrink and num_tokens <= self.token_budget,
            doing="in a scoring pass",
            advice="set --eval_token_budget lower, or score on a device with more memory",
        )
        torch.cuda.empty_cache()
        self.say(f"out of memory: scoring continues with {counted(self.token_budget, 'token')} in a pass")

    def _confidences(self, pack: Pack) -> Confidences:
        """Start on a pack; what it gives may still be on its way."""
        device, dtype = self.hardware.device, self.hardware.compute_dtype
        with self._counting:
            self.num_tokens += pack.num_tokens
        batch = to_batch(pack)
        with self.without_gradients():
            # What is recorded was recorded in evaluation mode: nothing is to be switched, no module to be looked at.
            if self.recorded is not None and (values_S := self.recorded.confidences(batch)) is not None:
                return Confidences(values_S)
        with self.without_gradients(), evaluation_mode(self.model):
            prepared = prepare(batch, self.model.route)
            if device.type == "cuda":
                prepared = prepared.pinned()
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                logits_S = self.model(prepared.to(device))
            # float64, so that a confidence near 1 does not round to 1.
            return Confidences(logits_S.double().sigmoid())


@dataclass(kw_only=True)
class ModelScorer(PackedPasses):
    """A model with its tokenizer and formatter, ready to score; safe to use from several threads.

    Attributes:
        calibration: applied to every confidence, unless None.
        certificate: what these weights with this calibration promise of new problems, if anything.
        selective: the same of solutions that are handed out.
        monitor: watches every session, unless None.
        facts: what `about` says.
    """

    tokenizer: StepTokenizer
    formatter: Formatter
    calibration: Calibration | None = None
    certificate: Certificate | None = None
    selective: Certificate | None = None
    monitor: Monitor | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def about(self) -> dict[str, Any]:
        """Which checkpoint, what it is built on, and how it is run, as far as that is known."""
        return dict(self.facts)

    def score(
        self, trees: Sequence[ReasoningTree], *, dataset: str | None = None, wanted: Wanted = "all"
    ) -> Iterator[TreeScores]:
        """Confidences of each tree, in order; NaN beyond the backbone's limit, and where nothing is `wanted`.

        A `StoredSplit` that was made with this tokenizer and formatter is read as tokens.
        """
        for raw_N in self.score_encoded(self.encoded(trees), wanted=wanted):
            yield TreeScores(self.calibrated(raw_N, dataset), raw_N)

    def calibrated(self, raw_N: FloatArray, dataset: str | None = None) -> FloatArray:
        """What the checkpoint's calibration makes of the model's own confidences: the pooled map, or the dataset's own.

        Args:
            raw_N: in [0, 1]; NaN where there is none, and stays so.
            dataset: its name, where it may have a map.
        """
        return raw_N.copy() if self.calibration is None else self.calibration.calibrated(raw_N, dataset)

    def tokens_used(self) -> TokensUsed:
        """Tokens that went through the model so far."""
        return TokensUsed(read=self.num_tokens, written=0)

    def encoded(self, trees: Sequence[ReasoningTree]) -> Sequence[EncodedTree]:
        """The trees as tokens: those of a store that has the same, else as they are asked for, a window at a time."""
        own = (self.formatter.hash(), self.tokenizer.hash())
        if isinstance(trees, StoredSplit) and trees.text_format == own:
            return trees.encoded
        return _EncodedInWindows(trees, self.tokenizer, self.formatter)


@dataclass(frozen=True)
class _EncodedInWindows(Sequence[EncodedTree]):
    """Trees that are tokenised a window at a time, when the first of it is asked for."""

    trees: Sequence[ReasoningTree]
    tokenizer: StepTokenizer
    formatter: Formatter
    _window: dict[int, list[EncodedTree]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.trees)

    def __getitem__(self, index: int) -> EncodedTree:  # type: ignore[override]
        start = index - index % _WINDOW
        if start not in self._window:
            self._window.clear()
            chosen = [self.trees[i] for i in range(start, min(start + _WINDOW, len(self)))]
            self._window[start] = encode_trees(chosen, self.tokenizer, self.formatter)
        return self._window[start][index - start]


class Confidences:
    """Numbers on their way from the device: asked for at once, waited for when they are needed."""

    def __init__(self, values_S: torch.Tensor) -> None:
        self._event: Any = None
        self._values = values_S
        if values_S.is_cuda:
            self._values = torch.empty(values_S.shape, dtype=values_S.dtype, pin_memory=True)
            copy_into(self._values, values_S)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def is_here(self) -> bool:
        """Whether nothing has to be waited for."""
        return self._event is None or bool(self._event.query())

    def wait(self) -> NDArray[np.float64]:
        """The numbers, float64 [S]."""
        if self._event is not None:
            self._event.synchronize()
        values: NDArray[np.float64] = self._values.numpy()
        return values


@dataclass
class _TreeInWork:
    """A tree on its way.

    Attributes:
        pieces: what of it goes through the backbone.
        raw_N: the confidences found so far.
        num_open: pieces that are not through.
    """

    pieces: list[EncodedTree]
    raw_N: FloatArray
    num_open: int


_Piece = tuple[_TreeInWork, EncodedTree]
"""What goes through the backbone at once, and the tree that it is a part of."""


def _pieces(tree: EncodedTree, token_budget: int, wanted: Wanted) -> list[EncodedTree]:
    """The parts of a tree that hold a wanted step, each within the budget as far as its paths allow."""
    return [
        piece
        for piece in cut_tree(tree, token_budget)
        if (piece.source_N >= 0).any() and (wanted == "all" or piece.num_labels)
    ]


def _smaller_groups(group: list[_Piece], token_budget: int, wanted: Wanted) -> list[list[_Piece]]:
    """The pieces of a group cut to `token_budget`, as groups of their own."""
    pieces = [(tree, part) for tree, piece in group for part in _pieces(piece, token_budget, wanted)]
    lengths = [piece.num_tokens for _, piece in pieces]
    return [[pieces[i] for i in part] for part in plan_packs(lengths, token_budget)]


@dataclass
class _Running:
    """A pack on its way through the device; `trees` are those that its pieces belong to."""

    trees: list[_TreeInWork]
    pack: Pack
    confidences: Confidences

    def finish(self) -> None:
        """Wait for its numbers and hand them to their trees."""
        values_S = self.confidences.wait()
        ends = np.searchsorted(self.pack.tree_S, np.arange(len(self.trees) + 1))
        for tree, start, end in zip(self.trees, ends[:-1], ends[1:], strict=True):
            tree.raw_N[self.pack.source_S[start:end]] = values_S[start:end]
            tree.num_open -= 1


def _finished(waiting: deque[_TreeInWork]) -> Iterator[FloatArray]:
    """Those that are through, in order, up to the first that is not."""
    while waiting and waiting[0].num_open == 0:
        yield waiting.popleft().raw_N
