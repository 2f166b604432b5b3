"""Confidences for trees: packs them, runs the model, and hands every step its own number.

The same code scores validation, test sets, benchmarks and a user's request.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from surestep.calibration.calibration import Calibration
from surestep.calibration.maps.confidence_map import ConfidenceMap, Identity
from surestep.encoding.encoded_tree import EncodedTree, encode_trees
from surestep.encoding.formatter import Formatter
from surestep.encoding.limits import LimitLoss, cut_tree, limit_tree
from surestep.encoding.packing import Pack, pack_trees, plan_packs
from surestep.encoding.tokenizer import StepTokenizer
from surestep.model.confidence_model import ConfidenceModel, prepare
from surestep.model.tree_batch import TreeBatch
from surestep.scoring.hardware import Hardware
from surestep.scoring.token_budget import halved
from surestep.types import ReasoningTree

_WINDOW = 512
"""Trees that are packed together: enough to fill packs well, few enough to stay in memory."""

_AHEAD = 1
"""Packs that wait on the device while another runs: laying out the next ones must not make it wait."""


def _to_stderr(line: str) -> None:
    print(f"· {line}", file=sys.stderr)


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
    )


@dataclass(frozen=True)
class TreeScores:
    """The scored steps of one tree, in preorder.

    Attributes:
        source_S: index of each step in its `ReasoningTree`.
        depth_S: how many steps lead to it, itself included (its position, from 1).
        confidence_S: in [0, 1], calibrated where the scorer has a calibration.
        raw_S: the model's own, before any calibration; rankings go by it.
        label_S: as the tree holds it, NaN where missing.
        loss: steps that the backbone's position limit left unscored.
    """

    source_S: NDArray[np.int32]
    depth_S: NDArray[np.int32]
    confidence_S: NDArray[np.float64]
    raw_S: NDArray[np.float64]
    label_S: NDArray[np.float32]
    loss: LimitLoss


@dataclass
class StepScorer:
    """A model with its tokenizer and formatter, ready to score.

    Attributes:
        max_positions: longest path the backbone takes; longer steps are left unscored and counted.
        token_budget: tokens in one forward pass; halved when memory runs out, where `may_shrink`.
        say: told the new budget, in a line; unset: it goes to stderr.
        calibration: applied to every confidence, unless None.
    """

    model: ConfidenceModel
    tokenizer: StepTokenizer
    formatter: Formatter
    hardware: Hardware
    max_positions: int | None
    token_budget: int
    calibration: Calibration | None = None
    may_shrink: bool = False
    say: Callable[[str], None] = _to_stderr

    def score(self, trees: Sequence[ReasoningTree], *, dataset: str | None = None) -> list[list[float | None]]:
        """A confidence for every node of every tree, in the tree's own order; None beyond the limit.

        Naming `dataset` asks for that dataset's own calibration map; where it has none, or without a name, the
        pooled map is applied.
        """
        encoded = encode_trees(trees, self.tokenizer, self.formatter)
        results: list[list[float | None]] = []
        for tree, scores in zip(trees, self.score_encoded(encoded, dataset=dataset), strict=True):
            values: list[float | None] = [None] * len(tree.nodes)
            for index, confidence in zip(scores.source_S.tolist(), scores.confidence_S.tolist(), strict=True):
                values[index] = confidence
            results.append(values)
        return results

    def score_encoded(
        self,
        trees: Sequence[EncodedTree],
        *,
        every_step: bool = True,
        dataset: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[TreeScores]:
        """Scores of each tree, in order; without `every_step` only of labelled steps.

        `dataset` as in `score`; `progress` is told how many more trees are done.
        """
        windows: deque[_Window] = deque()
        running: deque[_Running] = deque()
        for start in range(0, len(trees), _WINDOW):
            window = self._lay_out([trees[i] for i in range(start, min(start + _WINDOW, len(trees)))], every_step)
            windows.append(window)
            for group in window.groups:
                for started in self._started(window, group, every_step):
                    running.append(started)
                    # Those of the window before are among them: between windows the device goes on.
                    if len(running) > _AHEAD + 1:
                        running.popleft().finish()
            yield from self._finished(windows, dataset, progress)
        while running:
            running.popleft().finish()
        yield from self._finished(windows, dataset, progress)

    def _lay_out(self, trees: list[EncodedTree], every_step: bool) -> _Window:
        kept: list[EncodedTree] = []
        losses: list[LimitLoss] = []
        pieces: list[tuple[int, EncodedTree]] = []
        for number, tree in enumerate(trees):
            limited, loss = limit_tree(tree, max_length=self.max_positions)
            kept.append(limited)
            losses.append(loss)
            # A piece without wanted steps (a problem beyond the limit, say) never goes through the backbone.
            pieces += [
                (number, piece)
                for piece in cut_tree(limited, self.token_budget)
                if (piece.source_N >= 0).any() and (every_step or piece.num_labels)
            ]
        groups = plan_packs([piece.num_tokens for _, piece in pieces], self.token_budget)
        return _Window(kept, losses, pieces, groups, [{} for _ in trees], len(groups), self.token_budget)

    def _finished(
        self, windows: deque[_Window], dataset: str | None, progress: Callable[[int], None] | None
    ) -> Iterator[TreeScores]:
        """Scores of the windows that are through, in order."""
        calibrate = Identity() if self.calibration is None else self.calibration.map_for(dataset)
        while windows and windows[0].num_open == 0:
            window = windows.popleft()
            for tree, values, loss in zip(window.trees, window.found, window.losses, strict=True):
                yield _collect(tree, values, loss, calibrate)
            if progress is not None:
                progress(len(window.trees))

    def _started(self, window: _Window, group: Sequence[int], every_step: bool) -> Iterator[_Running]:
        """A group of pieces on its way through the device, in smaller packs where memory does not hold it whole."""
        pack = pack_trees([window.pieces[i][1] for i in group], every_step=every_step)
        smaller = [group]
        # Once the budget has shrunk, the rest of the window is too large as it was laid out.
        if self.token_budget < window.token_budget and pack.num_tokens > self.token_budget:
            smaller = window.split(group, self.token_budget, every_step)
        if len(smaller) == 1:
            confidences = self._confidences_or_none(pack)
            if confidences is not None:
                yield _Running(window, group, pack, confidences)
                return
            self._shrink(pack.num_tokens)
            smaller = window.split(group, self.token_budget, every_step)
        window.num_open += len(smaller) - 1
        for part in smaller:
            yield from self._started(window, part, every_step)

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
        self.say(f"out of memory: scoring goes on with {self.token_budget} tokens in a pass")

    @torch.inference_mode()
    def _confidences(self, pack: Pack) -> Confidences:
        """Start on a pack; what it gives may still be on its way."""
        device, dtype = self.hardware.device, self.hardware.compute_dtype
        was_training = self.model.training
        self.model.eval()
        try:
            prepared = prepare(to_batch(pack), self.model.route)
            if device.type == "cuda":
                prepared = prepared.pinned()
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                logits_S = self.model(prepared.to(device))
            # float64, so that a confidence near 1 does not round to 1.
            return Confidences(logits_S.double().sigmoid())
        finally:
            self.model.train(was_training)


class Confidences:
    """Numbers on their way from the device: asked for at once, waited for when they are needed."""

    def __init__(self, values_S: torch.Tensor) -> None:
        self._event: Any = None
        self._values = values_S
        if values_S.is_cuda:
            self._values = torch.empty(values_S.shape, dtype=values_S.dtype, pin_memory=True)
            self._values.copy_(values_S, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def wait(self) -> NDArray[np.float64]:
        """The numbers, float64 [S]."""
        if self._event is not None:
            self._event.synchronize()
        values: NDArray[np.float64] = self._values.numpy()
        return values


@dataclass
class _Window:
    """Trees that are packed together, and what is known of them so far.

    Attributes:
        trees: within the backbone's limit.
        losses: what the limit took of each.
        pieces: what goes through the backbone, each with its tree's number.
        groups: of pieces, a pack each.
        found: of each tree, confidences by the step's index in its `ReasoningTree`.
        num_open: packs that are not through.
        token_budget: tokens in a pack when it was laid out.
    """

    trees: list[EncodedTree]
    losses: list[LimitLoss]
    pieces: list[tuple[int, EncodedTree]]
    groups: Sequence[Sequence[int]]
    found: list[dict[int, float]]
    num_open: int
    token_budget: int

    def split(self, group: Sequence[int], token_budget: int, every_step: bool) -> list[Sequence[int]]:
        """The pieces of a group cut to `token_budget`, as groups of their own; they join the window's pieces."""
        first = len(self.pieces)
        self.pieces += [
            (self.pieces[i][0], piece)
            for i in group
            for piece in cut_tree(self.pieces[i][1], token_budget)
            if (piece.source_N >= 0).any() and (every_step or piece.num_labels)
        ]
        lengths = [piece.num_tokens for _, piece in self.pieces[first:]]
        return [[first + i for i in part] for part in plan_packs(lengths, token_budget)]


@dataclass
class _Running:
    """A pack of a window on its way through the device."""

    window: _Window
    group: Sequence[int]
    pack: Pack
    confidences: Confidences

    def finish(self) -> None:
        """Wait for its numbers and hand them to their trees."""
        for place, source, value in zip(
            self.pack.tree_S.tolist(), self.pack.source_S.tolist(), self.confidences.wait().tolist(), strict=True
        ):
            self.window.found[self.window.pieces[self.group[place]][0]][source] = value
        self.window.num_open -= 1


def _collect(tree: EncodedTree, values: dict[int, float], loss: LimitLoss, calibrate: ConfidenceMap) -> TreeScores:
    nodes = [node for node in range(tree.num_nodes) if int(tree.source_N[node]) in values and node > 0]
    source = tree.source_N[nodes]
    raw = np.array([values[int(index)] for index in source], np.float64)
    return TreeScores(
        source_S=source,
        depth_S=tree.depths()[nodes],
        confidence_S=calibrate.apply(raw),
        raw_S=raw,
        label_S=tree.label_N[nodes],
        loss=loss,
    )
