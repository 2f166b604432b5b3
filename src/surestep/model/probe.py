"""The parity probe: does this backbone score a packed tree as it scores each path alone?

Run after loading, on random tokens. A backbone that differs is scored one path per row; one that reads what
comes later is refused. Layers with a sliding window are only probed up to the probe's length: their windows are
covered by the mask itself (`dense_mask`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surestep.errors import BackboneError
from surestep.model.batch import TreeBatch
from surestep.model.confidence_model import ConfidenceModel, Route

_LENGTHS = (7, 5, 3, 6, 4, 5, 8, 3)
_PARENTS = (-1, 0, 1, 1, 0, 4, 5, 4)
"""Eight nodes in preorder: two branches under the problem, each branching again."""

_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.06, torch.float16: 0.02}
"""Largest relative error of the hidden states; a wrong mask gives errors near 1."""


@dataclass(frozen=True)
class ProbeResult:
    """What the probe found: `error` is ‖packed - alone‖ / ‖alone‖ over the hidden states."""

    agrees: bool
    error: float


def probe_batch(num_token_ids: int, confidence_id: int, device: torch.device, *, seed: int = 0) -> TreeBatch:
    """A small branching tree of random tokens, every node but the problem ending in `<CONFIDENCE>`."""
    generator = torch.Generator().manual_seed(seed)
    tokens: list[Tensor] = []
    positions: list[int] = []
    path_end: list[int] = []
    for node, (length, parent) in enumerate(zip(_LENGTHS, _PARENTS, strict=True)):
        ids = torch.randint(num_token_ids, (length,), generator=generator)
        ids[ids == confidence_id] = 0
        if node:
            ids[-1] = confidence_id
        tokens.append(ids)
        start = path_end[parent] if parent >= 0 else 0
        positions += range(start, start + length)
        path_end.append(start + length)
    offsets = torch.tensor([0, *_LENGTHS]).cumsum(0)
    last = offsets[1:].clone()
    for node in range(len(_LENGTHS) - 1, 0, -1):
        last[_PARENTS[node]] = torch.maximum(last[_PARENTS[node]], last[node])
    return TreeBatch(
        tokens_P=torch.cat(tokens),
        positions_P=torch.tensor(positions),
        subtree_end_P=last.repeat_interleave(torch.tensor(_LENGTHS)),
        tree_starts=(0, int(offsets[-1])),
        label_index_S=offsets[2:] - 1,
    ).to(device)


@torch.no_grad()
def probe_parity(model: ConfidenceModel, *, dtype: torch.dtype) -> ProbeResult:
    """Compare the model's route with its paths scored alone, in the arithmetic of `dtype`.

    Raises:
        BackboneError: the backbone reads later tokens (a bidirectional encoder).
    """
    device = model.confidence_row.device
    was_training, route = model.training, model.route
    batch = probe_batch(model.embedding.weight.shape[0], model.confidence_id, device)
    model.eval()
    try:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            alone = _hidden(model, batch, "paths")
            _refuse_bidirectional(model, batch, alone)
            if route == "paths":
                return ProbeResult(agrees=True, error=0.0)
            packed = _hidden(model, batch, route)
    finally:
        model.set_route(route)
        model.train(was_training)
    error = float((packed - alone).norm() / alone.norm())
    return ProbeResult(agrees=error <= _TOLERANCE[dtype], error=error)


def _hidden(model: ConfidenceModel, batch: TreeBatch, route: Route) -> Tensor:
    model.set_route(route)
    hidden = model._paths(batch) if route == "paths" else model._packed(batch, route)
    return hidden.float()


def _refuse_bidirectional(model: ConfidenceModel, batch: TreeBatch, alone: Tensor) -> None:
    """Change every path's last token: only the steps that end there may change."""
    changed = batch.tokens_P.clone()
    leaves = batch.label_index_S[batch.subtree_end_P[batch.label_index_S] == batch.label_index_S + 1]
    changed[leaves - 1] = (changed[leaves - 1] + 1) % min(model.confidence_id, model.embedding.weight.shape[0])
    other = TreeBatch(changed, batch.positions_P, batch.subtree_end_P, batch.tree_starts, batch.label_index_S)
    inner = ~torch.isin(batch.label_index_S, leaves)
    after = _hidden(model, other, "paths")
    if not torch.allclose(after[inner], alone[inner], rtol=0.05, atol=0.05 * float(alone.std())):
        raise BackboneError(
            "the backbone reads later steps when it scores earlier ones (a bidirectional encoder); "
            "use a causal model with --backbone"
        )
