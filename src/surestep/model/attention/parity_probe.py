"""The parity probe: does this backbone score a packed tree as it scores each path alone?

Run after loading, on random tokens, on branches and on plain chains. A backbone that differs, or that fails on
packed trees, is scored one path per row; one that reads what comes later is refused.

The probe's paths are short, so what shows on long paths only is brought to them: sliding windows and chunks of
attention are narrowed to a few tokens for a second comparison, and a third sets a path at the last positions that the
backbone takes beside the trees, whose scores must not change by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from surestep.errors import BackboneError
from surestep.model.attention.executions import heads_of, kernel_attention
from surestep.model.attention.prepared_mask import prepare_mask
from surestep.model.confidence_model import ConfidenceModel, Route
from surestep.model.tree_batch import TreeBatch

_Shape = tuple[tuple[int, int], ...]

BRANCHES: tuple[_Shape, ...] = (((7, -1), (5, 0), (3, 1), (6, 1), (4, 0), (5, 4), (8, 5), (3, 4)),)
"""Length and parent of eight nodes in preorder: two branches under the problem, each branching again."""

_CHAINS: tuple[_Shape, ...] = (((7, -1), (5, 0), (3, 1)), ((4, -1), (6, 0), (3, 1), (5, 2)))
"""Two plain solutions: what `varlen` runs itself instead of leaving it to `flex`."""

_NARROW_WINDOW = 6
"""Tokens that sliding windows are narrowed to: a quarter of the longest path of `BRANCHES`."""

_WINDOW_NAMES = ("window", "window_size", "attention_chunk_size")
"""How the names end under which families keep how far their attention sees: sliding, or chunk by chunk (Llama 4)."""

_FAR = 100_000
"""Position of the distant path where a backbone states no limit."""

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.06, torch.float16: 0.02}
"""Largest relative error of the hidden states; a wrong mask gives errors near 1."""

_CAUSAL_RATIO = 0.2
"""How much of the change that new tokens cause behind them may show in front of them. In a causal backbone that is
rounding, if anything; in an encoder it is all of it (0.96 or more, measured on random ones of several sizes)."""


@dataclass(frozen=True)
class ProbeResult:
    """What the probe found.

    Attributes:
        error: ‖packed - alone‖ / ‖alone‖ over the hidden states; infinite where packed trees failed.
        cause: why the backbone cannot run packed trees, in words; empty where it can.
    """

    error: float
    cause: str = ""

    @property
    def agrees(self) -> bool:
        """Whether packed trees score as their paths alone."""
        return not self.cause


def probe_batch(
    shapes: Sequence[_Shape], *, num_token_ids: int, confidence_id: int, device: torch.device, seed: int = 0
) -> TreeBatch:
    """Trees of random tokens in the given shapes, every node but the problem ending in `<CONFIDENCE>`."""
    generator = torch.Generator().manual_seed(seed)
    tokens: list[Tensor] = []
    positions: list[int] = []
    ends: list[int] = []
    labels: list[int] = []
    lengths: list[int] = []
    starts = [0]
    for shape in shapes:
        path_end: list[int] = []
        last: list[int] = []
        offset = starts[-1]
        for node, (length, parent) in enumerate(shape):
            ids = torch.randint(num_token_ids, (length,), generator=generator)
            ids[ids == confidence_id] = 0
            start = path_end[parent] if node else 0
            positions += range(start, start + length)
            path_end.append(start + length)
            offset += length
            last.append(offset)
            if node:
                ids[-1] = confidence_id
                labels.append(offset - 1)
                lengths.append(length)
            tokens.append(ids)
        for node in range(len(shape) - 1, 0, -1):
            parent = shape[node][1]
            last[parent] = max(last[parent], last[node])
        for (length, _), end in zip(shape, last, strict=True):
            ends += [end] * length
        starts.append(offset)
    return TreeBatch(
        tokens_P=torch.cat(tokens),
        positions_P=torch.tensor(positions),
        subtree_end_P=torch.tensor(ends),
        tree_starts=tuple(starts),
        label_index_S=torch.tensor(labels),
        step_length_S=torch.tensor(lengths),
    ).to(device)


@torch.no_grad()
def probe_parity(model: ConfidenceModel, *, dtype: torch.dtype) -> ProbeResult:
    """Compare the model's route with its paths scored alone, in the arithmetic of `dtype`.

    Raises:
        BackboneError: the backbone reads later tokens (a bidirectional encoder).
    """
    was_training, route = model.training, model.route
    device, tolerance = model.confidence_row.device, TOLERANCE[dtype]
    model.eval()
    error = 0.0
    try:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            for shapes in (BRANCHES, _CHAINS):
                batch = random_trees(model, shapes)
                alone = _hidden(model, batch, "paths")
                _refuse_bidirectional(model, batch, alone)
                if route == "paths":
                    continue
                for result in _comparisons(model, batch, route, alone, tolerance):
                    error = max(error, result.error)
                    if not result.agrees:
                        return result
            if route != "paths":
                _refuse_neighbours(model, route, tolerance)
    finally:
        model.set_route(route)
        model.train(was_training)
    return ProbeResult(error)


def random_trees(model: ConfidenceModel, shapes: Sequence[_Shape]) -> TreeBatch:
    """Trees of these shapes of tokens that the model knows, on its device."""
    return probe_batch(
        shapes,
        num_token_ids=model.embedding.weight.shape[0],
        confidence_id=model.confidence_id,
        device=model.confidence_row.device,
    )


def _comparisons(
    model: ConfidenceModel, batch: TreeBatch, route: Route, alone: Tensor, tolerance: float
) -> Iterator[ProbeResult]:
    """Packed against `alone`; then, where the backbone has sliding windows, both again with narrow ones."""
    yield _compare(model, batch, route, alone, tolerance)
    with narrow_windows(model.transformer, _NARROW_WINDOW) as num_narrowed:
        if num_narrowed:
            found = _compare(model, batch, route, _hidden(model, batch, "paths"), tolerance)
            beyond = " where paths are longer than its window"
            yield replace(found, cause=found.cause + beyond) if found.cause else found


@contextmanager
def narrow_windows(transformer: Any, size: int) -> Iterator[int]:
    """Within it, every window and chunk of attention spans `size` tokens; gives the number of those narrowed.

    Windows stand in the configuration, from which transformers makes the masks of paths, and in the layers.
    """
    holders: dict[int, Any] = {id(module): module for module in transformer.modules()}
    for module in list(holders.values()):
        config = getattr(module, "config", None)
        if config is not None:
            holders[id(config)] = config
    before = [
        (holder, name, value)
        for holder in holders.values()
        for name, value in vars(holder).items()
        if name.endswith(_WINDOW_NAMES) and type(value) is int and value > size
    ]
    try:
        for holder, name, _ in before:
            object.__setattr__(holder, name, size)
        yield len(before)
    finally:
        for holder, name, value in before:
            object.__setattr__(holder, name, value)


def _refuse_neighbours(model: ConfidenceModel, route: Route, tolerance: float) -> None:
    """Score a tree beside a path at the last positions that the backbone takes: its scores may not change.

    Raises:
        BackboneError: they do, as where rotary factors follow the longest path of a pass. One path per row would not
            help: rows share a pass, too.
    """
    alone, beside = random_trees(model, BRANCHES), random_trees(model, BRANCHES + _CHAINS[:1])
    start = alone.tree_starts[-1]
    last = getattr(model.transformer.config.get_text_config(), "max_position_embeddings", None) or _FAR
    positions = beside.positions_P.clone()
    positions[start:] += max(0, last - 1 - int(positions[start:].max()))
    both = _hidden(model, replace(beside, positions_P=positions), route)[: len(alone.label_index_S)]
    difference = distance(both, _hidden(model, alone, route))
    if not difference <= tolerance:
        raise BackboneError(
            f"the backbone scores a path differently beside a long one (by {difference:.1%}), so its confidences would "
            "depend on what they are computed with; use another one with --backbone"
        )


def _compare(model: ConfidenceModel, batch: TreeBatch, route: Route, alone: Tensor, tolerance: float) -> ProbeResult:
    try:
        packed = [_hidden(model, batch, route)]
        if model.is_fused:  # whose layers take another road where something is trained
            with torch.enable_grad():
                packed.append(_hidden(model, batch, route))
        if route == "triton":
            _run_backward(model, batch, packed[-1])
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # other people's code, given a mask it may never have heard of
        first_line = (str(error).strip().splitlines() or [""])[0]
        return ProbeResult(math.inf, f"it fails on them: {type(error).__name__}: {first_line[:100]}")
    error_size = max(distance(found.detach(), alone) for found in packed)
    # `not <=`, so that a NaN counts as a difference.
    if not error_size <= tolerance:
        return ProbeResult(error_size, f"packed and alone differ by {error_size:.1%}")
    return ProbeResult(error_size)


@torch.enable_grad()
def _run_backward(model: ConfidenceModel, batch: TreeBatch, hidden: Tensor) -> None:
    """Run the kernels' gradients, which need more of a GPU than scores do: of fused layers their own, below `hidden`.

    Raises:
        RuntimeError: they are not numbers.
        Exception: whatever Triton raises.
    """
    if model.is_fused:
        if hidden.requires_grad:  # else nothing is trained
            # The row of `<CONFIDENCE>` lies below all layers, and its gradient is small whatever else is trained.
            _refuse_what_is_no_number(torch.autograd.grad(hidden.sum(), [model.confidence_row]))
        return
    heads, key_heads, size = heads_of(model.transformer)
    mask = prepare_mask(batch, "triton").kernel_mask
    assert mask is not None, "a plan for the kernel has its mask"
    dtype, device = torch.get_autocast_dtype(batch.tokens_P.device.type), batch.tokens_P.device
    query, key, value = (
        torch.ones(1, number, len(mask.positions_P), size, dtype=dtype, device=device, requires_grad=True)
        for number in (heads, key_heads, key_heads)
    )
    attended = kernel_attention(mask, query, key, value, None, None)
    _refuse_what_is_no_number(torch.autograd.grad(attended.sum(), (query, key, value)))


def _refuse_what_is_no_number(gradients: Sequence[Tensor]) -> None:
    if not all(bool(gradient.isfinite().all()) for gradient in gradients):
        raise RuntimeError("the gradients of the kernel are not finite")


def distance(found: Tensor, expected: Tensor) -> float:
    """‖found - expected‖ / ‖expected‖; infinite where that is no number."""
    distance = float((found - expected).norm() / expected.norm())
    return distance if not math.isnan(distance) else math.inf


def _hidden(model: ConfidenceModel, batch: TreeBatch, route: Route) -> Tensor:
    model.set_route(route)
    hidden = model._paths(batch) if route == "paths" else model._packed(prepare_mask(batch, route))
    return hidden.float()


def _refuse_bidirectional(model: ConfidenceModel, batch: TreeBatch, alone: Tensor) -> None:
    """Change two tokens of every path's last step: only the steps that end there may change."""
    changed = batch.tokens_P.clone()
    leaves = batch.label_index_S[batch.subtree_end_P[batch.label_index_S] == batch.label_index_S + 1]
    for back in (1, 2):
        place = leaves - back
        changed[place] = (changed[place] + 1) % min(model.confidence_id, model.embedding.weight.shape[0])
    inner = ~torch.isin(batch.label_index_S, leaves)
    after = _hidden(model, replace(batch, tokens_P=changed), "paths")
    if distance(after[inner], alone[inner]) > _CAUSAL_RATIO * distance(after[~inner], alone[~inner]):
        raise BackboneError(
            "the backbone reads later steps when it scores earlier ones (a bidirectional encoder); "
            "use a causal model with --backbone"
        )
