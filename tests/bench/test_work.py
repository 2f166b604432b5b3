"""The measured work has the lengths, branches and labels that it says, and its flat form scores the same steps."""

from __future__ import annotations

import argparse
import runpy
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModel

from surestep.bench.backbone_shapes import shape_config
from surestep.bench.example_work import bushy, candidates, chain, chain_lengths, paths_of, run_data
from surestep.bench.timing import sustained_ceiling
from surestep.cli.commands.machine.bench import _examples
from surestep.config import Config
from surestep.encoding.encoded_tree import EncodedTree
from surestep.encoding.packing import plan_packs
from surestep.scoring.hardware import choose_hardware

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SHAPE = {"num_ids": 500, "confidence_id": 400}


@pytest.mark.parametrize(
    ("shape", "billions"),
    [("135m", 0.1345), ("0.6b", 0.596), ("1.7b", 1.72), ("4b", 4.02), ("8b", 8.19), ("30b-moe", 30.5)],
)
def test_a_shape_has_as_many_weights_as_its_model(shape: str, billions: float) -> None:
    """Counted without memory; the makers count an output layer that is not tied, which is not made here."""
    config = shape_config(shape)
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    untied = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    count = sum(weights.numel() for weights in model.parameters()) + untied
    assert count / 1e9 == pytest.approx(billions, rel=0.01)


def test_lengths_are_those_of_the_mixture_and_follow_from_the_seed() -> None:
    lengths = chain_lengths(20_000)
    assert 225 < np.mean(lengths) < 245
    assert min(lengths) >= 24
    assert max(lengths) == 2048
    assert chain_lengths(50) == lengths[:50]
    assert chain_lengths(50, seed=1) != lengths[:50]
    assert max(chain_lengths(20_000, longest=300)) == 300


def test_a_chain_is_one_path_of_the_length_asked() -> None:
    tree = chain(235, np.random.default_rng(0), **SHAPE)
    assert tree.num_tokens == 235
    assert tree.parent_N.tolist() == list(range(-1, tree.num_nodes - 1))
    assert (tree.tokens_T[tree.offsets[2:] - 1] == 400).all(), "every step ends in the confidence token"
    assert (tree.tokens_T == 400).sum() == tree.num_nodes - 1 == tree.num_labels


@pytest.mark.parametrize("seed", range(5))
def test_problem_trees_are_in_preorder_with_the_long_path_first(seed: int) -> None:
    tree = bushy(np.random.default_rng(seed), **SHAPE)
    depths = tree.depths()
    long_path = int(depths.max())
    assert depths[: long_path + 1].tolist() == list(range(long_path + 1))
    assert_preorder(tree)


@pytest.mark.parametrize("nodes", [2, 3, 4, 16, 64, 257])
def test_problem_trees_have_the_size_asked(nodes: int) -> None:
    problem_tree = runpy.run_path(str(BENCHMARKS / "problem_trees.py"))["problem_tree"]
    tree = problem_tree(nodes, np.random.default_rng(nodes), **SHAPE)
    assert (tree.num_nodes, tree.num_labels) == (nodes, nodes - 1)
    assert nodes < 64 or len(paths_of(tree)) > nodes / 3, "most steps are alternatives that end there"
    assert_preorder(tree)


def assert_preorder(tree: EncodedTree) -> None:
    assert (tree.parent_N[1:] < np.arange(1, tree.num_nodes)).all()
    # In preorder, a node's parent is on the path of the node before it.
    for node in range(1, tree.num_nodes):
        path, at = set(), node - 1
        while at >= 0:
            path.add(at)
            at = int(tree.parent_N[at])
        assert int(tree.parent_N[node]) in path


def test_candidates_share_their_problem_and_nothing_else() -> None:
    tree = candidates(5, np.random.default_rng(0), **SHAPE, prompt=100, steps=3)
    assert tree.num_tokens == 100 + 5 * 3 * 30
    flat = paths_of(tree)
    assert [path.num_tokens for path in flat] == [100 + 3 * 30] * 5
    scored = sorted(int(step) for path in flat for step in path.source_N if step >= 0)
    assert scored == list(range(15)), "every step once"


def test_a_run_reads_the_examples_as_they_are() -> None:
    trees = [chain(100, np.random.default_rng(n), **SHAPE) for n in range(4)]
    examples = run_data(trees).training["bench"]
    assert len(examples) == 4
    assert examples.labels_per_example == trees[0].num_labels
    assert examples[2].tokens_T.tolist() == trees[2].tokens_T.tolist()


def test_a_sustained_ceiling_holds_one_product_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results of a GPU's products take 134 MB each."""
    product, kept, most = torch.matmul, weakref.WeakSet[Tensor](), []

    def watched(a: Tensor, b: Tensor) -> Tensor:
        found = product(a[:8], b)
        kept.add(found)
        most.append(len(kept))
        return found

    monkeypatch.setattr(torch, "matmul", watched)
    assert sustained_ceiling(choose_hardware("cpu", "no"), duration=0.01) > 0
    assert len(most) >= 20
    assert max(most) == 1


@pytest.mark.parametrize("budget", [8192, 16384, 32768])
def test_a_bench_fills_the_passes_that_it_names(budget: int) -> None:
    """Two a step: a third one would make all three a third shorter, and another row than its name says."""
    examples = _examples(argparse.Namespace(examples=None, work="train"), Config(), budget)
    lengths = chain_lengths(200 * examples)
    steps = [lengths[first : first + examples] for first in range(0, len(lengths), examples)]
    counts = np.array([len(plan_packs(step, budget)) for step in steps])
    assert (counts == 2).mean() > 0.8, "shorter passes vary more"
    assert np.mean([sum(step) for step in steps]) > 0.88 * 2 * budget
