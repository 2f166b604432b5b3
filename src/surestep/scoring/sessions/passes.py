"""Runs the steps that are not computed yet through the model, below what is held of the steps before them.

The only part of sessions that knows tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from surestep.counted import counted
from surestep.encoding.encoded_tree import EncodedTree
from surestep.encoding.packing import pack_trees
from surestep.errors import DoesNotFitError
from surestep.model.key_value_pool import KeyLayout, KeyValuePool, SlotArray
from surestep.model.session_plan import no_slots, plan_session_pass
from surestep.model.session_probe import find_layout, session_execution, weights_mark
from surestep.scoring.model_scorer import ModelScorer, to_batch
from surestep.scoring.sessions.paths import NewStep, NewTree, WantedPath
from surestep.scoring.sessions.prefix_cache import Node, PrefixCache

_SHARE_OF_MEMORY = 0.25
"""Of the memory that is free when the first step is scored: passes need some of it, and other programs."""

_MOST_HELD = 2**18
"""Tokens that are held unless more are asked for."""


@dataclass
class PassCounts:
    """What passes have cost so far.

    Attributes:
        computed: tokens that went through the backbone.
        read: tokens whose keys were read instead.
        passes: how many there were.
        unkept: tokens that were scored without being kept, for want of room; among those computed.
    """

    computed: int = 0
    read: int = 0
    passes: int = 0
    unkept: int = 0


@dataclass
class SessionPasses:
    """A model that scores new steps below held ones; for one thread at a time.

    Args:
        scorer: model, tokenizer, formatter and limits.
        max_tokens: the most tokens whose keys are held; unset, what a quarter of the free memory holds.
        keep_unused: see `PrefixCache`.

    Raises:
        BackboneError, InputError: sessions do not suit the model (`find_layout`).
    """

    scorer: ModelScorer
    max_tokens: int | None = None
    keep_unused: bool = False
    counts: PassCounts = field(default_factory=PassCounts)
    _pool: KeyValuePool | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.layout: KeyLayout = find_layout(self.scorer.model, self.scorer.hardware.compute_dtype)
        if self.max_tokens is None:
            self.max_tokens = _tokens_that_fit(self.layout, self.scorer.hardware.device)
        self.cache = PrefixCache(
            lambda slots: self.pool.free(slots),
            text_format=f"{self.scorer.tokenizer.hash()} {self.scorer.formatter.hash()}",
            capacity=self.max_tokens,
            keep_unused=self.keep_unused,
        )

    @property
    def pool(self) -> KeyValuePool:
        """Where keys and values lie; made when the first are."""
        if self._pool is None:
            assert self.max_tokens is not None, "set when it was made"
            self._pool = KeyValuePool(self.layout, self.max_tokens, self.scorer.hardware.device)
        return self._pool

    @property
    def tokens_held(self) -> int:
        """Tokens whose keys and values are held now."""
        return 0 if self._pool is None else self._pool.num_used

    def check_weights(self) -> int:
        """The mark of the weights as they are now; what others computed is no longer held.

        Raises:
            InputError: they are being trained.
        """
        mark = weights_mark(self.scorer.model)
        self.cache.use_weights(mark)
        return mark

    def run(self, paths: Sequence[WantedPath]) -> None:
        """Find the confidence of every step of every path, in as many passes as the token budget asks for.

        What a failed pass leaves behind is dropped by `cache.drop_unused`.

        Raises:
            DoesNotFitError: memory ran out with the steps of one path.
        """
        budget, group, size = self.scorer.token_budget, list[WantedPath](), 0
        for path in paths:
            _, num_held = self.cache.longest(path.namespace, path.segments, path.near)
            num_new = sum(map(len, path.segments[num_held:]))
            if group and size + num_new > budget:
                self._run_group(group)
                group, size = [], 0
            group.append(path)
            size += num_new
        if group:
            self._run_group(group)

    def _run_group(self, paths: Sequence[WantedPath]) -> None:
        try:
            self._run_pass(paths)
            return
        except torch.OutOfMemoryError:
            if len(paths) == 1:
                num_tokens = sum(map(len, paths[0].segments))
                raise DoesNotFitError(
                    f"out of memory with a path of {counted(num_tokens, 'token')} in a session; keep fewer tokens, "
                    "or score on a device with more memory"
                ) from None
        torch.cuda.empty_cache()
        half = len(paths) // 2
        self._run_group(paths[:half])
        self._run_group(paths[half:])

    def _run_pass(self, paths: Sequence[WantedPath]) -> None:
        """One pass; nothing is held of it where it fails."""
        trees: dict[tuple[bytes, Node | None], NewTree] = {}
        found: list[Node | None] = []
        steps_of: list[list[NewStep]] = []
        try:
            for path in paths:
                above, num_held = self.cache.longest(path.namespace, path.segments, path.near)
                found.append(above)
                if above is not None:
                    above.num_readers += 1
                steps: list[NewStep] = []
                if num_held < len(path.segments):
                    tree = trees.setdefault((path.namespace, above), NewTree(path.namespace, above))
                    steps = tree.add(path, num_held)
                steps_of.append(steps)
            if trees:
                self._compute(list(trees.values()))
        finally:
            for node in found:
                if node is not None:
                    node.num_readers -= 1
        for path, above, steps in zip(paths, found, steps_of, strict=True):
            _fill_in(path, above, steps)

    def _compute(self, trees: Sequence[NewTree]) -> None:
        """Find what is wanted of some trees, and hold what is to be kept."""
        encoded = [tree.encoded() for tree in trees]
        num_tokens = sum(tree.num_tokens for tree in encoded)
        if num_tokens > self.pool.num_free:
            self.cache.make_room(num_tokens - self.pool.num_free)
        slots = self.pool.allocate(num_tokens)
        self.counts.passes += 1
        if slots is None:
            self._compute_unkept(trees)
            return
        try:
            found = self._forward(trees, encoded, slots)
        except BaseException:
            self.pool.free(slots)
            raise
        self.counts.computed += num_tokens
        self.counts.read += sum(tree.above.end for tree in trees if tree.above is not None)
        unkept, start = [], 0
        for tree, raw_N in zip(trees, found, strict=True):
            nodes: list[Node | None] = []
            for number, (step, parent) in enumerate(tree.preorder()):
                own = slots[start : start + len(step.segment)]
                start += len(step.segment)
                step.raw = float(raw_N[number]) if step.is_wanted else step.raw
                if step.is_kept:
                    above = tree.above if parent < 0 else nodes[parent]
                    # Copied: a slice would keep the slots of the whole pass alive.
                    step.node = self.cache.insert(tree.namespace, above, step.segment, own.copy(), step.raw)
                else:
                    unkept.append(own)
                nodes.append(step.node)
        if unkept:
            self.pool.free(np.concatenate(unkept))

    def _compute_unkept(self, trees: Sequence[NewTree]) -> None:
        """Score in full, without keeping anything: there is no room for the tokens of this pass."""
        encoded = [tree.encoded_whole() for tree in trees]
        for tree, raw_N in zip(trees, self.scorer.score_encoded(encoded), strict=True):
            for number, (step, _) in enumerate(tree.preorder()):
                step.raw = float(raw_N[number]) if step.is_wanted else step.raw
        num_tokens = sum(tree.num_tokens for tree in encoded)
        self.counts.computed += num_tokens
        self.counts.unkept += num_tokens

    @torch.inference_mode()
    def _forward(
        self, trees: Sequence[NewTree], encoded: Sequence[EncodedTree], slots: SlotArray
    ) -> list[NDArray[np.float64]]:
        """The model's own confidence of each node of each tree, NaN where none is wanted."""
        model, device = self.scorer.model, self.scorer.hardware.device
        dtype = self.scorer.hardware.compute_dtype
        above = [no_slots() if tree.above is None else tree.above.path_slots() for tree in trees]
        pack = pack_trees(encoded, every_step=True, first_positions=[len(prefix) for prefix in above])
        batch, recorded = to_batch(pack), self.scorer.recorded
        on_device = None
        if recorded is not None:
            on_device = recorded.session_confidences(batch, above, slots, self.pool)
        if on_device is None:
            plan = plan_session_pass(batch, above, slots, self.pool, session_execution(model))
            if device.type == "cuda":
                plan = plan.pinned()
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                on_device = model(plan.to(device)).double().sigmoid()
        values_S = on_device.cpu().numpy()
        found = [np.full(tree.num_nodes, math.nan) for tree in encoded]
        for value, number, source in zip(values_S, pack.tree_S, pack.source_S, strict=True):
            found[number][source] = value
        return found


def _fill_in(path: WantedPath, above: Node | None, steps: Sequence[NewStep]) -> None:
    """Give a path what is known of its steps now: those down to `above`, which was held, and `steps` behind it."""
    num_held = 0 if above is None else above.depth
    # What was given out before stays as it was, to the bit.
    if above is not None and any(map(math.isnan, path.raw[1:num_held])):
        path.raw[:num_held] = [
            node.raw if math.isnan(own) else own for node, own in zip(above.path(), path.raw[:num_held], strict=True)
        ]
    path.raw[num_held:] = [
        step.raw if math.isnan(own) else own for step, own in zip(steps, path.raw[num_held:], strict=True)
    ]
    kept = [step.node for step in steps[: max(0, path.num_kept - num_held)] if step.node is not None]
    if kept:
        path.node = kept[-1]
    elif above is not None and path.num_kept > 0:
        path.node = above if path.num_kept >= num_held else above.path()[path.num_kept - 1]


def _tokens_that_fit(layout: KeyLayout, device: torch.device) -> int:
    """How many tokens a quarter of the free memory holds, at most `_MOST_HELD`."""
    is_gpu = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if is_gpu else psutil.virtual_memory().available
    return max(1, min(_MOST_HELD, int(free * _SHARE_OF_MEMORY / layout.bytes_per_slot)))
