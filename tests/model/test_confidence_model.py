"""Scores, loss and gradients of a tree are those of its paths alone, each step counted once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from strategies import random_tree
from surestep.encoding.encoded_tree import EncodedTree, encode_trees
from surestep.encoding.limits import cut_tree
from surestep.encoding.packing import pack_trees, plan_packs
from surestep.model.backbones.silence_transformers import silence_transformers
from surestep.model.confidence_model import ConfidenceModel
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.model_scorer import to_batch

Build = Callable[..., BuiltModel]


def encoded(built: BuiltModel, *, num_trees: int = 3, num_nodes: int = 8) -> list[EncodedTree]:
    several = [random_tree(seed, num_nodes=num_nodes) for seed in range(num_trees)]
    return encode_trees(several, built.tokenizer, built.formatter)


def flattened(tree: EncodedTree) -> Iterator[EncodedTree]:
    """The tree's paths as rows of their own; a step that several share keeps its label in the first."""
    counted = np.zeros(tree.num_nodes, bool)
    for leaf in sorted(set(range(tree.num_nodes)) - set(tree.parent_N.tolist())):
        keep = np.zeros(tree.num_nodes, bool)
        node = leaf
        while node != -1:
            keep[node] = True
            node = int(tree.parent_N[node])
        yield tree.select(keep, prefix=counted & keep)
        counted |= keep


def loss_and_gradients(model: ConfidenceModel, packs: list[list[EncodedTree]]) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    total = 0.0
    for trees in packs:
        pack = pack_trees(trees)
        if not len(pack.labels_S):
            continue
        logits = model(to_batch(pack))
        labels = torch.from_numpy(pack.labels_S)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        loss.backward()
        total += loss.item()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return total, gradients


def assert_same_step(model: ConfidenceModel, first: list[list[EncodedTree]], second: list[list[EncodedTree]]) -> None:
    loss_a, gradients_a = loss_and_gradients(model, first)
    loss_b, gradients_b = loss_and_gradients(model, second)
    assert loss_a == pytest.approx(loss_b, rel=1e-5)
    assert gradients_a.keys() == gradients_b.keys()
    assert any(gradient.abs().max() > 1e-3 for gradient in gradients_a.values())
    for name, gradient in gradients_a.items():
        scale = float(gradient.abs().max()) or 1.0
        torch.testing.assert_close(gradients_b[name], gradient, rtol=1e-3, atol=1e-4 * scale, msg=name)


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gemma3", "gpt2"])
def test_loss_and_gradients_of_a_tree_are_those_of_its_paths(family: str, build_small: Build) -> None:
    built = build_small(family)
    # GPT-2 drops out of its own accord; the comparison needs the same network twice.
    built.model.train(family != "gpt2")
    trees = encoded(built)
    assert any(len(list(flattened(tree))) > 1 for tree in trees)
    assert_same_step(built.model, [trees], [[path] for tree in trees for path in flattened(tree)])


def test_under_lora_too(build_small: Build) -> None:
    built = build_small("llama", lora=True)
    built.model.train()
    trees = encoded(built)
    assert_same_step(built.model, [trees], [[path] for tree in trees for path in flattened(tree)])
    _, gradients = loss_and_gradients(built.model, [trees])
    assert {name.partition(".")[0] for name in gradients} == {"backbone", "head", "confidence_row"}
    assert all("lora_" in name for name in gradients if name.startswith("backbone"))


@pytest.mark.parametrize("budget", [1, 60, 150, 10_000])
def test_any_token_budget_gives_the_same_step(budget: int, build_small: Build) -> None:
    built = build_small("llama")
    built.model.train()
    trees = encoded(built, num_trees=4, num_nodes=10)
    pieces = [piece for tree in trees for piece in cut_tree(tree, budget)]
    plan = plan_packs([piece.num_tokens for piece in pieces], budget)
    assert_same_step(built.model, [trees], [[pieces[i] for i in group] for group in plan])


@pytest.mark.parametrize("lora", [False, True])
def test_gradient_checkpointing_changes_no_gradient(lora: bool, build_small: Build) -> None:
    built = build_small("mistral", lora=lora)
    model = built.model.train()
    trees = encoded(built)
    loss, gradients = loss_and_gradients(model, [trees])
    with silence_transformers():
        model.transformer.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    loss_again, gradients_again = loss_and_gradients(model, [trees])
    assert loss_again == loss
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_again[name], gradient, msg=name)


def test_the_path_execution_gives_the_same_gradients(build_small: Build) -> None:
    built = build_small("llama")
    built.model.train()
    trees = encoded(built)
    loss, gradients = loss_and_gradients(built.model, [trees])
    built.model.set_route("paths")
    loss_alone, gradients_alone = loss_and_gradients(built.model, [trees])
    assert loss_alone == pytest.approx(loss, rel=1e-5)
    for name, gradient in gradients.items():
        scale = float(gradient.abs().max()) or 1.0
        torch.testing.assert_close(gradients_alone[name], gradient, rtol=1e-3, atol=1e-4 * scale, msg=name)


def test_only_the_row_of_the_confidence_token_stands_at_its_places(build_small: Build) -> None:
    built = build_small("llama")
    model = built.model
    tokens = torch.tensor([3, model.confidence_id, 5])
    embedded = model.embed(tokens)
    assert torch.equal(embedded[1], model.confidence_row)
    assert torch.equal(embedded[0], model.embedding.weight[3])


def test_the_confidence_token_needs_no_row_in_the_embedding(build_small: Build) -> None:
    built = build_small("llama")
    trees = encoded(built)
    logits = built.model.eval()(to_batch(pack_trees(trees)))
    moved = [
        EncodedTree(
            np.where(tree.tokens_T == built.tokenizer.confidence_id, 10**6, tree.tokens_T).astype(np.int32),
            tree.offsets,
            tree.parent_N,
            tree.label_N,
            tree.source_N,
        )
        for tree in trees
    ]
    built.model.confidence_id = 10**6
    assert torch.equal(built.model(to_batch(pack_trees(moved))), logits)


def test_training_moves_the_row_and_leaves_a_frozen_backbone_alone(build_small: Build) -> None:
    built = build_small("llama", lora=True)
    trainable = {name for name, parameter in built.model.named_parameters() if parameter.requires_grad}
    assert "confidence_row" in trainable
    assert all("lora_" in name for name in trainable if name.startswith("backbone"))
    assert built.model.confidence_row.dtype == torch.float32
