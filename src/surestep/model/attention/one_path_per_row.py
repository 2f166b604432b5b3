"""The slow, safe execution: every path of every tree as a padded row of its own.

For backbones whose attention cannot follow the tree mask (linear attention, state-space layers, position biases),
and for the parity probe. Every needed step is read from exactly one row.

Shapes: `R` rows, `L` the longest of them, `S` needed steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surestep.model.tree_batch import TreeBatch


@dataclass(frozen=True)
class PathRows:
    """Right-padded rows and where each needed step stands in them.

    Attributes:
        tokens_RL: int64, padded with 0.
        mask_RL: int64, 1 on tokens and 0 on padding.
        row_S, column_S: int64 place of each needed step.
    """

    tokens_RL: Tensor
    mask_RL: Tensor
    row_S: Tensor
    column_S: Tensor


def path_rows(batch: TreeBatch) -> PathRows:
    """Unfold the trees of a pack into one row per path that ends in a needed step."""
    device = batch.tokens_P.device
    tokens = batch.tokens_P.cpu()
    ends = batch.subtree_end_P.cpu()
    needed = batch.label_index_S.cpu().tolist()
    starts = {index: start for start, end in batch.spans for index in needed if start <= index < end}
    rows: list[Tensor] = []
    place: dict[int, tuple[int, int]] = {}
    # Backwards, so that the deepest step of a path comes first and its row serves the steps above it.
    for index in sorted(needed, reverse=True):
        if index in place:
            continue
        start = starts[index]
        path = start + torch.nonzero(ends[start : index + 1] > index).squeeze(1)
        columns = {int(token): column for column, token in enumerate(path)}
        for step in needed:
            if step in columns and step not in place:
                place[step] = (len(rows), columns[step])
        rows.append(tokens[path])
    length = max(map(len, rows), default=0)
    tokens_RL = torch.zeros(len(rows), length, dtype=torch.long)
    mask_RL = torch.zeros(len(rows), length, dtype=torch.long)
    for number, row in enumerate(rows):
        tokens_RL[number, : len(row)] = row
        mask_RL[number, : len(row)] = 1
    places = torch.tensor([place[index] for index in needed], dtype=torch.long).reshape(-1, 2)
    return PathRows(tokens_RL.to(device), mask_RL.to(device), *places.to(device).unbind(1))
