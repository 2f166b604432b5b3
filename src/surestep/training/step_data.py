"""The examples of one optimiser step as packs: how many passes it takes is the engine's business.

The step's loss is a sum over labels with fixed weights, so with dropout off any packing gives the same gradient.
Shapes: `S` labelled steps of a pack.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from surestep.config.loss import LossOptions
from surestep.encoding.encoded_tree import EncodedTree, FloatArray
from surestep.encoding.limits import cut_tree
from surestep.encoding.packing import Pack, even_shares, pack_trees, plan_packs
from surestep.model.attention.prepared_mask import PreparedMask
from surestep.model.confidence_model import Prepared, Route, prepare
from surestep.model.one_copy import in_one_piece, plan_tensors, views, with_tensors
from surestep.model.to_device import to_device
from surestep.model.tree_batch import TreeBatch
from surestep.scoring.model_scorer import to_batch
from surestep.training.loss import effective_ratings
from surestep.training.loss.comparisons import Comparisons, compare
from surestep.training.loss.positions import PositionBalance
from surestep.training.mixture import Draw, Mixture
from surestep.training.training_sets import TrainingSet

PLAIN = LossOptions()

ROUND_TOKENS = 256
"""Rounded packs are a multiple of this many tokens: few shapes, for some 2 % more padding at the default budget."""


@dataclass(frozen=True)
class TrainingPack:
    """One forward and backward pass: the loss is `sum(weights * step loss)`, and what `comparisons` add.

    Attributes:
        num_tokens: tokens of its trees; the batch may be padded beyond.
        comparisons: of its steps with each other; None where nothing is compared.
        piece: bytes; where all its `tensors` lie one after another, if they do.
    """

    batch: Prepared
    labels_S: Tensor
    weights_S: Tensor
    num_tokens: int
    comparisons: Comparisons | None = None
    piece: Tensor | None = None

    @property
    def num_tokens_run(self) -> int:
        """Tokens that go through the backbone, padding included."""
        batch = self.batch if isinstance(self.batch, TreeBatch) else self.batch.batch
        return len(batch.tokens_P)

    def tensors(self) -> list[Tensor]:
        """Everything in it that a pass reads, where it is planned for the kernel and compares nothing."""
        assert not isinstance(self.batch, TreeBatch), "only planned packs are taken apart"
        return [*plan_tensors(self.batch), self.labels_S, self.weights_S]

    def to(self, device: torch.device) -> TrainingPack:
        """The same on `device`."""
        if self.piece is not None:
            return self._over(to_device(self.piece, device))
        return replace(
            self,
            batch=self.batch.to(device),
            labels_S=to_device(self.labels_S, device),
            weights_S=to_device(self.weights_S, device),
            comparisons=None if self.comparisons is None else self.comparisons.to(device),
        )

    def pinned(self) -> TrainingPack:
        """The same in page-locked memory, from where a copy to the GPU does not wait."""
        assert not isinstance(self.batch, TreeBatch), "only planned packs are page-locked"
        return replace(
            self,
            batch=self.batch.pinned(),
            labels_S=self.labels_S.pin_memory(),
            weights_S=self.weights_S.pin_memory(),
            comparisons=None if self.comparisons is None else self.comparisons.pinned(),
        )

    def pinned_in_one_piece(self) -> TrainingPack:
        """The same, its `tensors` one after another in page-locked memory: one copy takes them to the GPU."""
        return self._over(in_one_piece(self.tensors()).pin_memory())

    def _over(self, piece: Tensor) -> TrainingPack:
        """The pack as it lies in `piece`."""
        assert not isinstance(self.batch, TreeBatch), "only planned packs are taken apart"
        *of_plan, labels_S, weights_S = views(piece, self.tensors())
        return replace(
            self, batch=with_tensors(self.batch, of_plan), labels_S=labels_S, weights_S=weights_S, piece=piece
        )


@dataclass(frozen=True)
class StepPacks:
    """All passes of one optimiser step on this process.

    Attributes:
        draws: this process's examples, for packing them anew.
        drawn: how many examples each dataset had given when the step was drawn, for resuming.
        labels: labels of each dataset in the step.
        weight: sum of the labels' weights: the step's loss over it is a mean over labels.
    """

    step: int
    draws: list[Draw]
    packs: list[TrainingPack]
    num_tokens: int
    drawn: dict[str, int]
    labels: dict[str, int]
    weight: float


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
    rounded: bool = False,
    options: LossOptions = PLAIN,
    balances: Mapping[str, PositionBalance] | None = None,
) -> StepPacks:
    """Cut, pack and weight `draws`, with masks planned for `route`.

    `num_examples` is the effective batch over all processes; `pin` for packs that go to a GPU; `rounded` for packs of
    few different shapes (route `triton` only). Where steps are compared with each other (`options`), trees stay whole,
    and one that is larger than the budget has a pass of its own. `balances` are those of the datasets, where labels
    are balanced over positions.
    """
    pieces: list[tuple[str, EncodedTree]] = []
    ratings: list[FloatArray | None] = []  # of each piece, what the labels of its tree's steps count
    for draw in draws:
        tree = datasets[draw.dataset][draw.example]
        parts = [tree] if options.compares else cut_tree(tree, token_budget)
        parts = [piece for piece in parts if piece.num_labels]
        pieces += [(draw.dataset, piece) for piece in parts]
        counts = _label_counts(datasets[draw.dataset], draw.example, options)
        ratings += [counts] * len(parts)
    packs, num_tokens, labels, weight = [], 0, dict.fromkeys(datasets, 0), 0.0
    for group in plan_packs([piece.num_tokens for _, piece in pieces], token_budget):
        trees = [pieces[i][1] for i in group]
        pack = pack_trees(trees)
        weight_B = np.array([weights[pieces[i][0]] for i in group], np.float32) / num_examples
        weight_S = weight_B[pack.tree_S].astype(np.float32)
        for place, i in enumerate(group):
            if (counts := ratings[i]) is not None:
                own = pack.tree_S == place
                weight_S[own] *= counts[pack.source_S[own]]
        compared = compare(trees, weight_S, options) if options.compares else None
        if balances is not None:
            pack, weight_S = _balanced(pack, trees, weight_S, [balances[pieces[i][0]] for i in group])
        packs.append(_training_pack(pack, weight_S, route, pin, rounded, compared))
        weight += float(weight_S.sum(dtype=np.float64))
        num_tokens += pack.num_tokens
        for i in group:
            labels[pieces[i][0]] += pieces[i][1].num_labels
    return StepPacks(step, draws, packs, num_tokens, drawn, labels, weight)


def _label_counts(dataset: TrainingSet, example: int, options: LossOptions) -> FloatArray | None:
    """float32 [N]: how often the label of each step of an example counts, by its ratings; None: every one once."""
    if options.rating_correlation == 1.0:
        return None
    return effective_ratings(dataset.num_ratings(example), options.rating_correlation).astype(np.float32)


def _balanced(
    pack: Pack, trees: Sequence[EncodedTree], weights_S: FloatArray, balances: Sequence[PositionBalance]
) -> tuple[Pack, FloatArray]:
    """The pack with labels that say nothing of their positions, and the weights that go with them."""
    labels_S, weights_S = pack.labels_S.copy(), weights_S.copy()
    for number, (tree, balance) in enumerate(zip(trees, balances, strict=True)):
        own = pack.tree_S == number
        position = tree.depths()[~np.isnan(tree.label_N)].astype(np.int64)
        labels_S[own], counts = balance.apply(position, labels_S[own])
        weights_S[own] *= counts.astype(np.float32)
    return replace(pack, labels_S=labels_S), weights_S


def _training_pack(
    pack: Pack, weights_S: FloatArray, route: Route, pin: bool, rounded: bool, compared: Comparisons | None
) -> TrainingPack:
    batch = to_batch(pack)
    labels_S = pack.labels_S.astype(np.float32)  # as the loss is computed; kept exactly everywhere else
    if rounded:
        missing = _rounded_up(len(labels_S)) - len(labels_S)
        # Labels of no weight, at the first token: they add nothing to the loss or to any gradient.
        batch = batch.padded(ROUND_TOKENS).more_labels(missing)
        labels_S, weights_S = (np.pad(values, (0, missing)) for values in (labels_S, weights_S))
    prepared = prepare(batch, route)
    is_whole = False
    if rounded and isinstance(prepared, PreparedMask) and prepared.kernel_mask is not None:
        lists = prepared.kernel_mask.lists
        lists = F.pad(lists, (0, _rounded_up(len(lists)) - len(lists)))
        prepared = replace(prepared, kernel_mask=prepared.kernel_mask._replace(lists=lists))
        is_whole = compared is None
    made = TrainingPack(prepared, torch.from_numpy(labels_S), torch.from_numpy(weights_S), pack.num_tokens, compared)
    if not pin:
        return made
    return made.pinned_in_one_piece() if is_whole else made.pinned()


def _rounded_up(count: int) -> int:
    """To a power of two, 64 at least.

    >>> _rounded_up(3), _rounded_up(64), _rounded_up(65)
    (64, 64, 128)
    """
    return 1 << (max(count, 64) - 1).bit_length()


def share_of_draws(
    draws: list[Draw],
    datasets: Mapping[str, TrainingSet],
    *,
    rank: int,
    num_processes: int,
    attention: float = 0.0,
) -> list[Draw]:
    """Those that the process `rank` takes of a step's examples: a share that costs as much as every other one.

    Whose gradients it adds to which changes no sum but its order. `attention` as `TrainingSet.costs` has it.
    """
    if num_processes == 1:
        return draws
    costs = np.zeros(len(draws))
    for name in {draw.dataset for draw in draws}:
        places = [place for place, draw in enumerate(draws) if draw.dataset == name]
        examples = np.array([draws[place].example for place in places], np.int64)
        costs[places] = datasets[name].costs(examples, attention=attention)
    return [draws[place] for place in even_shares(costs.tolist(), num_processes)[rank]]


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
    rounded: bool = False,
    options: LossOptions = PLAIN,
    balances: Mapping[str, PositionBalance] | None = None,
    attention: float = 0.0,
) -> Generator[StepPacks, None, None]:
    """The packs of each step in order, the next one built while the current one is computed.

    With several processes each takes the share of `rank`; `attention` says what it costs (`share_of_draws`).
    """

    def build(step: int) -> StepPacks:
        draws = mixture.draw(step, num_examples)
        return build_step(
            step,
            share_of_draws(draws, datasets, rank=rank, num_processes=num_processes, attention=attention),
            datasets,
            weights,
            token_budget=token_budget,
            num_examples=num_examples,
            drawn=dict(mixture.drawn),
            route=route,
            pin=pin,
            rounded=rounded,
            options=options,
            balances=balances,
        )

    with ThreadPoolExecutor(1, thread_name_prefix="packing") as pool:
        waiting = pool.submit(build, first_step) if first_step < last_step else None
        for step in range(first_step, last_step):
            assert waiting is not None
            ready = waiting.result()
            waiting = pool.submit(build, step + 1) if step + 1 < last_step else None
            yield ready
