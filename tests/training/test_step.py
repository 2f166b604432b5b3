"""One optimiser step: the same for every token budget, every packing and every number of processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runs import Watcher, assert_same_bits, logged, tensors
from strategies import random_tree
from surestep.encoding.encoded_tree import EncodedTree
from surestep.encoding.formatter import Formatter
from surestep.encoding.limits import LimitLoss, limit_tree
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.packing import pack_trees
from surestep.encoding.token_store import TreeStore, write_store
from surestep.errors import DeviceError, SurestepError
from surestep.scoring.build_model import build_model
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.hardware import choose_hardware
from surestep.scoring.model_scorer import to_batch
from surestep.training.loss import label_weights, step_losses
from surestep.training.mixture import Draw, Mixture
from surestep.training.optimizer_step import OptimizerStep
from surestep.training.run import train
from surestep.training.step_data import ROUND_TOKENS, StepPacks, build_step, prefetch_steps
from surestep.training.training_sets import TrainingSet, load_run_data

SHARES = {"bushy": 0.7, "chains": 0.3}
BRANCHING = {"bushy": 0.6, "chains": 0.0}
STEPS = {"bushy": 14, "chains": 4}


@pytest.fixture(scope="module")
def built(build_small: Callable[..., Any]) -> Any:
    return build_small("llama", lora=True)


@pytest.fixture(scope="module")
def datasets(built: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainingSet]:
    return {name: training_set(name, built, tmp_path_factory.mktemp("store") / name) for name in SHARES}


def training_set(name: str, built: Any, folder: Path) -> TrainingSet:
    trees = [random_tree(seed, num_nodes=STEPS[name], branching=BRANCHING[name]) for seed in range(20)]
    trees = [tree for tree in trees if tree.num_labels]
    store = write_store(folder, trees, built.tokenizer, built.formatter, notes={})
    loss, kept, label_sum = LimitLoss(), [], 0.0
    for number in range(len(store)):
        tree, lost = limit_tree(store[number], max_length=300, max_steps=6)
        loss += lost
        if tree.num_labels:
            kept.append(number)
            label_sum += float(np.nansum(tree.label_N))
    return TrainingSet(name, SHARES[name], store, np.array(kept, np.int64), 300, 6, loss, label_sum)


def weights_of(datasets: dict[str, TrainingSet]) -> dict[str, float]:
    return label_weights(SHARES, {name: found.labels_per_example for name, found in datasets.items()}, "dataset")


def step_of(datasets: dict[str, TrainingSet], budget: int, draws: list[Draw], num_examples: int = 8) -> StepPacks:
    return build_step(
        0, draws, datasets, weights_of(datasets), token_budget=budget, num_examples=num_examples, drawn={}
    )


def drawn(datasets: dict[str, TrainingSet], count: int = 8) -> list[Draw]:
    return Mixture(SHARES, {name: len(found) for name, found in datasets.items()}, seed=5).draw(0, count)


def loss_and_gradients(built: Any, packs: StepPacks) -> tuple[float, dict[str, torch.Tensor]]:
    built.model.zero_grad(set_to_none=True)
    built.model.eval()
    total = 0.0
    for pack in packs.packs:
        loss = (pack.weights_S * step_losses(built.model(pack.batch), pack.labels_S, "bce")).sum()
        loss.backward()
        total += float(loss.detach())
    found = {name: p.grad.clone() for name, p in built.model.named_parameters() if p.grad is not None}
    return total, found


def path_alone(tree: EncodedTree, node: int) -> EncodedTree:
    """The path down to `node`, labelled there only."""
    keep = np.zeros(tree.num_nodes, bool)
    step = node
    while step >= 0:
        keep[step] = True
        step = int(tree.parent_N[step])
    chain = tree.select(keep)
    labels = np.full(chain.num_nodes, np.nan, np.float32)
    labels[-1] = tree.label_N[node]
    return EncodedTree(chain.tokens_T, chain.offsets, chain.parent_N, labels, chain.source_N)


def test_the_loss_of_a_step_is_that_of_every_path_scored_alone(built: Any, datasets: dict[str, TrainingSet]) -> None:
    draws = drawn(datasets)
    weights = weights_of(datasets)
    plain, labels = 0.0, 0
    with torch.no_grad():
        for draw in draws:
            tree = datasets[draw.dataset][draw.example]
            for node in np.flatnonzero(~np.isnan(tree.label_N)):
                logit = float(built.model(to_batch(pack_trees([path_alone(tree, int(node))]))))
                y, p = float(tree.label_N[node]), 1 / (1 + math.exp(-logit))
                plain += -(y * math.log(p) + (1 - y) * math.log(1 - p)) * weights[draw.dataset] / len(draws)
                labels += 1
    packs = step_of(datasets, 4096, draws)
    assert sum(packs.labels.values()) == labels
    assert loss_and_gradients(built, packs)[0] == pytest.approx(plain, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("budget", [1, 60, 150, 400])
def test_gradients_do_not_depend_on_the_token_budget(built: Any, datasets: dict[str, TrainingSet], budget: int) -> None:
    draws = drawn(datasets)
    whole, cut = step_of(datasets, 100_000, draws), step_of(datasets, budget, draws)
    assert len(whole.packs) == 1
    assert len(cut.packs) > 1
    assert cut.labels == whole.labels
    loss, gradients = loss_and_gradients(built, whole)
    other_loss, other = loss_and_gradients(built, cut)
    assert other_loss == pytest.approx(loss, rel=1e-5)
    assert other.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(other[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("budget", [150, 400])
def test_packs_rounded_to_few_shapes_give_the_same_step(
    built: Any, datasets: dict[str, TrainingSet], budget: int
) -> None:
    shapes = set()
    for seed in range(3):
        draws = Mixture(SHARES, {name: len(found) for name, found in datasets.items()}, seed=seed).draw(0, 8)
        options: dict[str, Any] = {"token_budget": budget, "num_examples": 8, "drawn": {}}
        plain = build_step(0, draws, datasets, weights_of(datasets), **options)
        rounded = build_step(0, draws, datasets, weights_of(datasets), rounded=True, **options)
        assert [pack.num_tokens for pack in rounded.packs] == [pack.num_tokens for pack in plain.packs]
        assert rounded.labels == plain.labels
        loss, gradients = loss_and_gradients(built, plain)
        rounded_loss, rounded_gradients = loss_and_gradients(built, rounded)
        assert rounded_loss == pytest.approx(loss, rel=1e-5)
        for name, gradient in gradients.items():
            torch.testing.assert_close(rounded_gradients[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
        for pack in rounded.packs:
            assert pack.num_tokens_run % ROUND_TOKENS == 0
        # For the kernel, its lists are rounded too.
        for pack in build_step(0, draws, datasets, weights_of(datasets), rounded=True, route="triton", **options).packs:
            shapes.add(tuple(tuple(tensor.shape) for tensor in pack.tensors()))
            assert [len(tensor).bit_count() for tensor in pack.tensors()[-3:]] == [1, 1, 1]
    assert len(shapes) <= 4


def test_small_budgets_cut_trees_and_repeat_their_prefix_without_its_labels(datasets: dict[str, TrainingSet]) -> None:
    draws = drawn(datasets)
    whole, cut = step_of(datasets, 100_000, draws), step_of(datasets, 150, draws)
    assert cut.num_tokens > whole.num_tokens
    assert sum(len(pack.labels_S) for pack in cut.packs) == sum(whole.labels.values())
    total = sum(float(pack.weights_S.sum()) for pack in cut.packs)
    assert total == pytest.approx(sum(float(pack.weights_S.sum()) for pack in whole.packs), rel=1e-6)


@pytest.mark.slow
def test_two_processes_share_a_step_and_together_are_one(built: Any, datasets: dict[str, TrainingSet]) -> None:
    def steps(rank: int, num_processes: int) -> Iterator[StepPacks]:
        mixture = Mixture(SHARES, {name: len(found) for name, found in datasets.items()}, seed=5)
        return prefetch_steps(
            mixture,
            datasets,
            weights_of(datasets),
            first_step=0,
            last_step=4,
            num_examples=6,
            token_budget=200,
            rank=rank,
            num_processes=num_processes,
        )

    for alone, first, second in zip(steps(0, 1), steps(0, 2), steps(1, 2), strict=True):
        assert len(first.draws) + len(second.draws) == 6
        assert {(d.dataset, d.example) for d in [*first.draws, *second.draws]} == {
            (d.dataset, d.example) for d in alone.draws
        }
        assert first.drawn == second.drawn == alone.drawn
        assert {name: first.labels[name] + second.labels[name] for name in SHARES} == alone.labels
    loss, gradients = loss_and_gradients(built, alone)
    halves = [loss_and_gradients(built, half) for half in (first, second)]
    assert halves[0][0] + halves[1][0] == pytest.approx(loss, rel=1e-5)
    for name, gradient in gradients.items():
        both = sum(half[1][name] for half in halves if name in half[1])
        torch.testing.assert_close(both, gradient, rtol=1e-4, atol=1e-6, msg=name)


def weights_close(left: Path, right: Path, *, atol: float) -> None:
    mine, theirs = tensors(left), tensors(right)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        if "training_state" not in name:
            torch.testing.assert_close(theirs[name], value, rtol=1e-4, atol=atol, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [True, False])
def test_a_run_ends_with_the_same_weights_for_any_token_budget(run_config: Any, lora: bool) -> None:
    folders = []
    for budget in (60, 5000):
        config = run_config(lora=lora, experiment_name=f"budget-{budget}", token_budget=budget, max_steps=3)
        train(config, Watcher())
        folders.append(config.experiment_dir)
    small, large = (logged(folder)["losses"] for folder in folders)
    assert [loss for _, loss, *_ in small] == pytest.approx([loss for _, loss, *_ in large], rel=1e-5)
    # Weights moved by about 3 steps of 1e-3; a thousandth of that is rounding in Adam's quotient.
    weights_close(folders[0] / "checkpoint_step_3", folders[1] / "checkpoint_step_3", atol=3e-6)


def plain_training(config: Any, observer: Watcher) -> dict[str, torch.Tensor]:
    """The first steps of a run written out: one path at a time, PyTorch's own AdamW, and nothing else of ours."""
    tokenizer = load_tokenizer(config.model.backbone)
    data = load_run_data(config, tokenizer, Formatter(), max_positions=512)
    hardware = choose_hardware("cpu", "no")
    model = build_model(config, hardware, initial_confidence=data.initial_confidence).model
    shares = config.data.enabled()
    names = {key: source.name for key, source in zip(shares, data.training.values(), strict=True)}
    weights = {names[key]: 1 / data.training[names[key]].labels_per_example for key in shares}
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for _, p in named if p.ndim > 1], "weight_decay": config.training.weight_decay},
            {"params": [p for _, p in named if p.ndim == 1], "weight_decay": 0.0},
        ]
    )
    mixture = Mixture(
        {names[key]: share for key, share in shares.items()},
        {name: len(found) for name, found in data.training.items()},
        seed=config.training.seed,
    )
    for step in range(config.training.max_steps):
        draws = mixture.draw(step, 4)
        optimizer.zero_grad()
        total = 0.0
        for draw in draws:
            tree = data.training[draw.dataset][draw.example]
            for node in np.flatnonzero(~np.isnan(tree.label_N)):
                logit = model(to_batch(pack_trees([path_alone(tree, int(node))])))[0]
                y = float(tree.label_N[node])
                loss = -(y * logit.sigmoid().log() + (1 - y) * (-logit).sigmoid().log())
                (loss * weights[draw.dataset] / 4).backward()
                total += float(loss.detach()) * weights[draw.dataset] / 4
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in named], config.training.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = config.training.learning_rate * min((step + 1) / config.training.warmup_steps, 1.0)
        optimizer.step()
        observer.events.append(("logged", (total, float(norm))))
    return {name: p.detach() for name, p in named}


@pytest.mark.parametrize("lora", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_run_is_a_plain_loop_over_paths(run_config: Any, lora: bool) -> None:
    config = run_config(
        lora=lora,
        max_steps=3,
        use_eqasc=True,
        eqasc_weight=2.0,
        lr_scheduler_type="constant",
        max_grad_norm=0.1,
        weight_decay=0.3,
    )
    config.data.max_steps_per_example = 3
    plain, watcher = Watcher(), Watcher()
    expected = plain_training(config, plain)
    trained = train(config, watcher)
    records = watcher.of("logged")
    assert [(r.loss, r.grad_norm) for r in records] == [pytest.approx(pair, rel=1e-4) for pair in plain.of("logged")]
    assert all(norm > 0.1 for _, norm in plain.of("logged"))  # clipping had something to clip
    found = load_checkpoint(trained.result.last).built.model
    for name, parameter in found.named_parameters():
        if name in expected:
            torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-4, atol=5e-6, msg=name)


@contextmanager
def memory_that_ends_at(num_tokens: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A device that refuses passes of more than `num_tokens` tokens, halfway through its step."""
    refused: list[int] = []
    original = OptimizerStep._pack_loss

    def limited(self: OptimizerStep, pack: Any) -> torch.Tensor:
        loss = original(self, pack)
        if pack.num_tokens > num_tokens:
            refused.append(pack.num_tokens)
            loss.backward()  # some gradient is already there when memory runs out
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(OptimizerStep, "_pack_loss", limited)
        yield refused


@pytest.mark.slow
def test_running_out_of_memory_repeats_the_step_in_smaller_packs(run_config: Any, monkeypatch) -> None:
    calm = run_config(experiment_name="calm", max_steps=4, save_steps=2)
    train(calm, Watcher())
    tight = run_config(experiment_name="tight", max_steps=4, save_steps=2)
    watcher = Watcher()
    with memory_that_ends_at(160, monkeypatch) as refused:
        train(tight, watcher)
    assert refused
    assert max(refused) > 160
    said = [line for line in watcher.of("say") if line.startswith("out of memory")]
    assert said
    assert "tokens in a pass" in said[0]
    losses = [logged(config.experiment_dir)["losses"] for config in (calm, tight)]
    assert [step for step, *_ in losses[1]] == [1, 2, 3, 4]
    assert [loss for _, loss, *_ in losses[1]] == pytest.approx([loss for _, loss, *_ in losses[0]], rel=1e-5)
    for step in (2, 4):
        folder = f"checkpoint_step_{step}"
        weights_close(calm.experiment_dir / folder, tight.experiment_dir / folder, atol=3e-6)


def test_a_budget_set_by_hand_is_not_shrunk(run_config: Any, monkeypatch) -> None:
    config = run_config(token_budget=4000)
    with memory_that_ends_at(1, monkeypatch), pytest.raises(DeviceError) as caught:
        train(config, Watcher())
    for words in ("4,000 tokens", "--token_budget", "--gradient_checkpointing"):
        assert words in str(caught.value)


def test_memory_too_small_for_anything_ends_instead_of_shrinking_for_ever(run_config: Any, monkeypatch) -> None:
    with memory_that_ends_at(0, monkeypatch), pytest.raises(DeviceError, match="out of memory with"):
        train(run_config(), Watcher())


@pytest.mark.slow
@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("settings", [{"logging_steps": 1}, {"logging_steps": 50, "eval_steps": 4}])
def test_a_loss_that_is_no_number_stops_the_run_before_anything_is_saved(
    run_config: Any, monkeypatch, where: str, settings: dict[str, int]
) -> None:
    config = run_config(max_steps=8, save_steps=2, **settings)
    original = OptimizerStep._pack_loss
    passes = OptimizerStep._passes
    begun: list[int] = []

    def counted(self: OptimizerStep, packs: StepPacks) -> torch.Tensor:
        begun.append(packs.step)
        return passes(self, packs)

    def broken(self: OptimizerStep, pack: Any) -> torch.Tensor:
        loss = original(self, pack)
        if begun[-1] != 3:
            return loss
        # 0 * sqrt'(0) is not a number though the value is.
        return loss * math.nan if where == "loss" else loss + (loss * 0.0).abs().sqrt()

    monkeypatch.setattr(OptimizerStep, "_pack_loss", broken)
    monkeypatch.setattr(OptimizerStep, "_passes", counted)
    watcher = Watcher()
    with pytest.raises(SurestepError) as caught:
        train(config, watcher)
    message = str(caught.value)
    assert f"the {where} is nan at step 4" in message
    for words in ("--learning_rate", "--max_grad_norm", "checkpoint_step_2"):
        assert words in message
    assert "\n" not in message
    assert sorted(path.name for path in config.experiment_dir.glob("*checkpoint_step*")) == ["checkpoint_step_2"]
    assert watcher.events[-1][0] == "finished"  # a live bar is taken away before the message


@pytest.mark.slow
def test_gradient_checkpointing_changes_no_step(run_config: Any) -> None:
    folders = []
    for flag in (False, True):
        config = run_config(experiment_name=f"recompute-{flag}", max_steps=2, gradient_checkpointing=flag)
        train(config, Watcher())
        folders.append(config.experiment_dir / "checkpoint_step_2")
    weights_close(*folders, atol=1e-6)


@pytest.mark.slow
def test_accumulation_and_batch_size_are_one_thing(run_config: Any) -> None:
    """4 examples a step, however they are written down: with one budget the very same step."""
    folders = []
    for batch, accumulation in ((4, 1), (1, 4)):
        config = run_config(
            experiment_name=f"batch-{batch}",
            max_steps=3,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            token_budget=300,
        )
        train(config, Watcher())
        folders.append(config.experiment_dir / "checkpoint_step_3")
    assert_same_bits(*folders)


def test_the_store_of_a_training_set_is_read_with_its_limits(datasets: dict[str, TrainingSet]) -> None:
    bushy = datasets["bushy"]
    assert isinstance(bushy.store, TreeStore)
    assert all(bushy[index].depths().max() <= 6 for index in range(len(bushy)))
    assert bushy.num_labels == sum(bushy[index].num_labels for index in range(len(bushy)))
    assert bushy.num_labels + bushy.loss.labels_dropped == bushy.store.num_labels
