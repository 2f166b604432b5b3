"""Passes of sharded weights: as many on every process, whatever each has to do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np
import torch

from surestep.encoding.encoded_tree import EncodedTree
from surestep.encoding.packing import pack_trees
from surestep.model.confidence_model import prepare
from surestep.model.sharding import is_sharded
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.model_scorer import ModelScorer, to_batch
from surestep.scoring.spread.in_step import passes_in_step
from surestep.scoring.spread.together import Together
from surestep.training.step_data import TrainingPack


def empty_pack(built: BuiltModel) -> TrainingPack:
    """A pack of one token whose label weighs nothing: its loss and its gradients are zeros."""
    tree = EncodedTree(
        tokens_T=np.array([built.model.confidence_id], np.int32),
        offsets=np.array([0, 1], np.int64),
        parent_N=np.array([-1], np.int32),
        label_N=np.array([0.5]),
        source_N=np.array([0], np.int32),
    )
    batch = prepare(to_batch(pack_trees([tree])), built.model.route)
    return TrainingPack(batch, torch.full((1,), 0.5), torch.zeros(1), num_tokens=0)


def for_validation(scorer: ModelScorer) -> ModelScorer:
    """The same scorer, fit for a model that is trained on: where its weights are shards, they are put together anew."""
    if is_sharded(scorer.model):
        # Tensors that inference mode makes cannot be trained with, and the memory of whole weights is used again.
        scorer.without_gradients = torch.no_grad
        scorer.may_shrink = False  # where memory runs out, the others wait in the middle of the same pass
    return scorer


def in_step_of(built: BuiltModel, together: Together) -> Callable[[], AbstractContextManager[None]]:
    """What is entered around a process's own scoring."""
    if not is_sharded(built.model):
        return nullcontext
    device = built.hardware.device

    def run_empty() -> None:
        with torch.no_grad():
            built.model(empty_pack(built).batch.to(device))

    return partial(passes_in_step, built.model, together, run_empty)
