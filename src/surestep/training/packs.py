"""The examples of one optimiser step as packs: how many passes it takes is the engine's business.

The step's loss is a sum over labels with fixed weights, so with dropout off any packing gives the same gradient.
Shapes: `S` labelled steps of a pack.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from surestep.encoding.limits import cut_tree
from surestep.encoding.packing import Pack, pack_trees, plan_packs
from surestep.encoding.tree import EncodedTree, FloatArray
from surestep.model.batch import TreeBatch
from surestep.model.confidence_model import Prepared, Route, prepare
from surestep.scoring.scorer import to_batch
from surestep.training.examples import TrainingSet
from surestep.training.mixture import Draw, Mixture


@dataclass(frozen=True)
class TrainingPack:
    """One forward and backward pass: the loss is `sum(weights * step loss)`.

    Attributes:
        num_tokens: tokens of its trees; the batch may be padded beyond.
    """

    batch: Prepared
    labels_S: Tensor
    weights_S: Tensor
    num_tokens: int

    @property
    def num_tokens_run(self) -> int:
        """Tokens that go through the backbone, padding included."""
        batch = self.batch if isinstance(self.batch, TreeBatch) else self.batch.batch
        return len(batch.tokens_P)

    def to(self, device: torch.device) -> TrainingPack:
        """The same on `device`."""
        return TrainingPack(
            self.batch.to(device),
            self.labels_S.to(device, non_blocking=True),
            self.weights_S.to(device, non_blocking=True),
            self.num_tokens,
        )


@dataclass(frozen=True)
class StepPacks:
    """All passes of one optimiser step on this process.

    Attributes:
        draws: this process's examples, for packing them anew.
        drawn: how many examples each dataset had given when the step was drawn, for resuming.
        labels: labels of each dataset in the step.
    """

    step: int
    draws: list[Draw]
    packs: list[TrainingPack]
    num_tokens: int
    drawn: dict[str, int]
    labels: dict[str, int]


def build_step(
    step: int,
    draws: list[Draw],
    datasets: Mapping[str, TrainingSet],
    weights: Mapping[str, float],
    *,
    token_budget: int,
    num_examples: int,
    drawn: dict[str, int],
    route: Route = "dense",
    pin: bool = False,
) -> StepPacks:
    """Cut, pack and weight `draws`, with masks planned for `route`.

    `num_examples` is the effective batch over all processes; `pin` for packs that go to a GPU.
    """
    pieces: list[tuple[str, EncodedTree]] = []
    for draw in draws:
        tree = datasets[draw.dataset][draw.example]
        pieces += [(draw.dataset, piece) for piece in cut_tree(tree, token_budget) if piece.num_labels]
    packs, num_tokens, labels = [], 0, dict.fromkeys(datasets, 0)
    for group in plan_packs([piece.num_tokens for _, piece in pieces], token_budget):
        pack = pack_trees([pieces[i][1] for i in group])
        weight_B = np.array([weights[pieces[i][0]] for i in group], np.float32) / num_examples
        packs.append(
            TrainingPack(
                _prepared(pack, route, pin),
                _tensor(pack.labels_S, pin),
                _tensor(weight_B[pack.tree_S].astype(np.float32), pin),
                pack.num_tokens,
            )
        )
        num_tokens += pack.num_tokens
        for i in group:
            labels[pieces[i][0]] += pieces[i][1].num_labels
    return StepPacks(step, draws, packs, num_tokens, drawn, labels)


def _prepared(pack: Pack, route: Route, pin: bool) -> Prepared:
    prepared = prepare(to_batch(pack), route)
    return prepared.pinned() if pin else prepared


def _tensor(array: FloatArray, pin: bool) -> Tensor:
    values = torch.from_numpy(array)
    return values.pin_memory() if pin else values


def prefetch_steps(
    mixture: Mixture,
    datasets: Mapping[str, TrainingSet],
    weights: Mapping[str, float],
    *,
    first_step: int,
    last_step: int,
    num_examples: int,
    token_budget: int,
    rank: int = 0,
    num_processes: int = 1,
    route: Route = "dense",
    pin: bool = False,
) -> Generator[StepPacks, None, None]:
    """The packs of each step in order, the next one built while the current one is computed."""

    def build(step: int) -> StepPacks:
        draws = mixture.draw(step, num_examples)
        return build_step(
            step,
            draws[rank::num_processes],
            datasets,
            weights,
            token_budget=token_budget,
            num_examples=num_examples,
            drawn=dict(mixture.drawn),
            route=route,
            pin=pin,
        )

    with ThreadPoolExecutor(1, thread_name_prefix="packing") as pool:
        waiting = pool.submit(build, first_step) if first_step < last_step else None
        for step in range(first_step, last_step):
            assert waiting is not None
            ready = waiting.result()
            waiting = pool.submit(build, step + 1) if step + 1 < last_step else None
            yield ready
