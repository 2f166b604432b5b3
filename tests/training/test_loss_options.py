"""Parts of the loss besides the plain one: each against its formula written out in float64, tree by tree."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runs import Watcher, assert_same_bits, logged
from strategies import encoded_trees, random_tree
from surestep.cli.output.tables import calibration_line
from surestep.config import TrainingConfig
from surestep.config.loss import LossOptions
from surestep.encoding.encoded_tree import EncodedTree, encode_trees
from surestep.encoding.limits import LimitLoss
from surestep.encoding.packing import pack_trees
from surestep.encoding.token_store import write_store
from surestep.errors import ConfigError
from surestep.evaluation.calibration_effect import calibration_report
from surestep.model.tree_batch import TreeBatch
from surestep.scored import ScoredSteps
from surestep.scoring.model_scorer import to_batch
from surestep.training.loss import effective_ratings, label_weights, step_losses
from surestep.training.loss.comparisons import compare
from surestep.training.loss.describe import uncalibrated
from surestep.training.loss.positions import PositionBalance, position_balances
from surestep.training.mixture import Draw
from surestep.training.optimizer_step import pack_loss
from surestep.training.phases.plan import counted_labels_per_example
from surestep.training.run import train
from surestep.training.step_data import TrainingPack, build_step
from surestep.training.training_sets import TrainingSet
from surestep.types import ReasoningTree

ALL = LossOptions(label_smoothing=0.1, pos_weight=2.0, pairwise_weight=0.7, pqm_weight=0.3, pqm_margin=2.0)


def rows_of(tree: EncodedTree) -> list[int]:
    return [node for node in range(tree.num_nodes) if not math.isnan(tree.label_N[node])]


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def plain_pairwise(tree: EncodedTree, logit: dict[int, float], weight: dict[int, float]) -> float:
    """Every step's mean over its labelled siblings, its own weight times."""
    total = 0.0
    for i in rows_of(tree):
        siblings = [j for j in rows_of(tree) if j != i and tree.parent_N[j] == tree.parent_N[i]]
        for j in siblings:
            y_i, y_j, gap = float(tree.label_N[i]), float(tree.label_N[j]), logit[i] - logit[j]
            expected = -y_i * (1 - y_j) * log_sigmoid(gap) - y_j * (1 - y_i) * log_sigmoid(-gap)
            total += weight[i] * expected / len(siblings)
    return total


def ancestors(tree: EncodedTree, node: int) -> list[int]:
    found: list[int] = []
    while node >= 0:
        found.append(node)
        node = int(tree.parent_N[node])
    return found[::-1]


def plain_pqm(tree: EncodedTree, logit: dict[int, float], weight: dict[int, float], margin: float) -> float:
    """Li and Li's loss of every chain, as the paper writes it."""
    decided = {node for node in rows_of(tree) if tree.label_N[node] != 0.5}
    ends = [n for n in decided if not any(n in ancestors(tree, other)[:-1] for other in decided)]
    chains = [[node for node in ancestors(tree, end) if node in decided] for end in ends]
    total = 0.0
    for chain in chains:
        right = [node for node in chain if tree.label_N[node] > 0.5]
        wrong = sum(math.exp(logit[node] + margin) for node in chain if tree.label_N[node] < 0.5)
        terms = [-math.log(1 / (1 + wrong))] if wrong else []
        for t, node in enumerate(right):
            before = 1 + sum(math.exp(logit[q]) for q in right[: t + 1])
            terms.append(-math.log(math.exp(logit[node]) / (before + wrong)))
        share = sum(weight[node] / sum(node in other for other in chains) for node in chain)
        total += share * sum(terms) / len(terms)
    return total


def packed(trees: list[EncodedTree], weights: list[float], options: LossOptions) -> TrainingPack:
    pack = pack_trees(trees)
    empty = torch.zeros(0, dtype=torch.long)
    batch = TreeBatch(empty, empty, empty, (0, 0), empty)
    labels = torch.tensor(pack.labels_S, dtype=torch.float64)
    compared = compare(trees, np.array(weights), options) if options.compares else None
    return TrainingPack(batch, labels, torch.tensor(weights, dtype=torch.float64), pack.num_tokens, compared)


@st.composite
def scored_trees(draw: st.DrawFn) -> tuple[list[EncodedTree], list[float], list[float]]:
    """Trees with a logit and a weight for every label; weights that float32 holds exactly."""
    trees = draw(st.lists(encoded_trees(max_nodes=9), min_size=1, max_size=3))
    count = sum(tree.num_labels for tree in trees)
    logits = draw(st.lists(st.floats(-4, 4, width=16), min_size=count, max_size=count))
    weights = draw(st.lists(st.sampled_from([0.25, 0.5, 1.0, 2.0]), min_size=count, max_size=count))
    return trees, logits, weights


def one_by_one(
    trees: list[EncodedTree], logits: list[float], weights: list[float], part: Callable[..., float]
) -> float:
    total, start = 0.0, 0
    for tree in trees:
        rows = rows_of(tree)
        own = dict(zip(rows, logits[start : start + len(rows)], strict=True))
        total += part(tree, own, dict(zip(rows, weights[start : start + len(rows)], strict=True)))
        start += len(rows)
    return total


@given(scored_trees())
def test_comparisons_of_a_pack_are_those_of_each_tree_written_out(found: Any) -> None:
    trees, logits, weights = found
    values = torch.tensor(logits, dtype=torch.float64)
    pairwise = LossOptions("none", pairwise_weight=1.5)
    expected = 1.5 * one_by_one(trees, logits, weights, plain_pairwise)
    assert float(pack_loss(values, packed(trees, weights, pairwise), pairwise)) == pytest.approx(expected, abs=1e-6)
    ranking = LossOptions("none", pqm_weight=0.5, pqm_margin=1.5)
    expected = 0.5 * one_by_one(trees, logits, weights, lambda *of: plain_pqm(*of, 1.5))
    assert float(pack_loss(values, packed(trees, weights, ranking), ranking)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
@given(scored_trees(), st.sampled_from(["bce", "mse", "none"]))
def test_gradients_of_every_part_are_finite_and_those_of_differences(found: Any, loss: Any) -> None:
    trees, logits, weights = found
    options = LossOptions(loss, pairwise_weight=0.7, pqm_weight=0.3, label_smoothing=0.1 * (loss != "none"))
    pack = packed(trees, weights, options)
    values = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: pack_loss(z, pack, options), (values,), atol=1e-6)
    far = torch.full((len(logits),), -200.0, requires_grad=True)
    pack_loss(far, packed(trees, weights, options), options).backward()
    assert far.grad is not None
    assert bool(far.grad.isfinite().all())


@given(scored_trees())
def test_the_weights_of_what_is_compared_are_those_of_its_labels(found: Any) -> None:
    trees, _, weights = found
    compared = compare(trees, np.array(weights), ALL)
    labels = np.concatenate([tree.label_N[rows_of(tree)] for tree in trees])
    assert float(compared.weight_R.sum()) == pytest.approx(float(np.array(weights)[labels != 0.5].sum()), rel=1e-6)
    assert float(compared.weight_Q.sum()) <= float(np.sum(weights)) + 1e-5  # a step with siblings once, at most
    # The pairwise part sees differences only: what is added to all logits changes nothing.
    logits = torch.linspace(-2, 2, len(weights))
    options = LossOptions("none", pairwise_weight=1.0)
    shifted = compared.loss(logits + 3.0, options)
    torch.testing.assert_close(shifted, compared.loss(logits, options), rtol=1e-4, atol=1e-5)


def test_the_pairwise_part_is_lowest_at_the_difference_of_the_log_odds() -> None:
    labels = [0.8, 0.3]
    gaps = torch.linspace(-4, 6, 2001, dtype=torch.float64)
    losses = -0.8 * 0.7 * torch.nn.functional.logsigmoid(gaps) - 0.3 * 0.2 * torch.nn.functional.logsigmoid(-gaps)
    expected = math.log(labels[0] / (1 - labels[0])) - math.log(labels[1] / (1 - labels[1]))
    assert float(gaps[losses.argmin()]) == pytest.approx(expected, abs=0.01)


@given(st.floats(0.01, 0.99), st.floats(0.0, 0.9), st.floats(0.1, 10.0))
def test_smoothing_and_the_positive_weight_move_the_minimum_as_their_formulas_say(y, smoothing, pos_weight) -> None:
    smoothed = (1 - smoothing) * y + smoothing / 2
    odds = pos_weight * smoothed / (1 - smoothed)
    best = torch.tensor([math.log(odds)], dtype=torch.float64, requires_grad=True)
    label = torch.tensor([y], dtype=torch.float64)
    loss = step_losses(best, label, "bce", label_smoothing=smoothing, pos_weight=pos_weight)
    p = odds / (1 + odds)
    assert float(loss.detach()) == pytest.approx(
        -pos_weight * smoothed * math.log(p) - (1 - smoothed) * math.log(1 - p), rel=1e-6
    )
    loss.sum().backward()
    assert best.grad is not None
    assert float(best.grad) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_with_every_option_off_the_loss_is_the_plain_one_to_the_bit(loss: Any) -> None:
    logits, labels = torch.linspace(-9, 9, 101), torch.rand(101, generator=torch.Generator().manual_seed(0))
    weights = torch.rand(101, generator=torch.Generator().manual_seed(1))
    plain = {
        "bce": torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none"),
        "mse": (logits.sigmoid() - labels) ** 2,
    }[loss]
    empty = torch.zeros(0, dtype=torch.long)
    pack = TrainingPack(TreeBatch(empty, empty, empty, (0, 0), empty), labels, weights, 0)
    options = TrainingConfig(loss=loss).loss_options()
    assert options.is_plain
    assert torch.equal(pack_loss(logits, pack, options), (weights * plain).sum())


@given(st.integers(1, 50), st.floats(0.0, 1.0), st.floats(0.05, 0.95))
def test_ratings_count_between_once_and_each(count: int, correlation: float, p: float) -> None:
    (found,) = effective_ratings(np.array([count]), correlation)
    assert 1.0 <= found <= count
    # Independent ratings: the binomial likelihood of k of n, but for its coefficient.
    k = count // 2
    binomial = -(k * math.log(p) + (count - k) * math.log(1 - p))
    logit = torch.tensor([math.log(p / (1 - p))], dtype=torch.float64)
    (entropy,) = step_losses(logit, torch.tensor([k / count], dtype=torch.float64), "bce").tolist()
    assert effective_ratings(np.array([count]), 0.0)[0] * entropy == pytest.approx(binomial, rel=1e-6)


@given(st.integers(0, 999), st.integers(1, 6))
def test_balanced_labels_say_nothing_of_their_positions(seed: int, positions: int) -> None:
    rng = np.random.default_rng(seed)
    chance = rng.uniform(0.1, 0.9, positions + 1)
    position = rng.integers(1, positions + 1, 3000)
    label = np.where(rng.random(3000) < 0.3, rng.random(3000), rng.random(3000) < chance[position])
    balance = PositionBalance.of(position, label)
    balanced, weight = balance.apply(position, label)
    for place in range(1, positions + 1):
        own = position == place
        assert float(np.average(balanced[own], weights=weight[own])) == pytest.approx(label.mean(), abs=0.03)
        assert float(weight[own].mean()) == pytest.approx(1.0, abs=0.05)
    # A label and its weight stand for the two weighted parts.
    logits, p = (
        torch.linspace(-3, 3, 3000, dtype=torch.float64),
        torch.linspace(-3, 3, 3000, dtype=torch.float64).sigmoid(),
    )
    found = torch.tensor(weight) * step_losses(logits, torch.tensor(balanced), "bce")
    right, wrong = torch.tensor(balance.right[position] * label), torch.tensor(balance.wrong[position] * (1 - label))
    torch.testing.assert_close(found, -right * p.log() - wrong * (1 - p).log())
    # A position beyond those that training saw counts as the last of them.
    later, last = (
        balance.apply(np.array([place]), np.array([0.3])) for place in (positions + 5, len(balance.right) - 1)
    )
    assert (later[0], later[1]) == (last[0], last[1])


def test_an_offset_of_all_positions_changes_no_score_so_it_hides_none(built: Any) -> None:
    """Why positions are balanced and not shifted: rotary ones are seen as differences."""
    built.model.eval()
    (tree,) = encode_trees([random_tree(1)], built.tokenizer, built.formatter)
    batch = to_batch(pack_trees([tree], every_step=True))
    with torch.no_grad():
        shifted = built.model(replace(batch, positions_P=batch.positions_P + 91))
        torch.testing.assert_close(shifted, built.model(batch), rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def built(build_small: Callable[..., Any]) -> Any:
    return build_small("llama", lora=True)


def several_ratings(tree: ReasoningTree, seed: int) -> ReasoningTree:
    """The same tree, each of its labels the mean of one to four ratings."""
    nodes = [replace(node, num_ratings=node.num_ratings * (1 + (seed + i) % 4)) for i, node in enumerate(tree.nodes)]
    return replace(tree, nodes=tuple(nodes))


@pytest.fixture(scope="module")
def dataset(built: Any, tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    trees = [random_tree(seed, num_nodes=12, branching=0.6) for seed in range(8)]
    trees = [several_ratings(tree, seed) for seed, tree in enumerate(trees) if tree.num_labels]
    store = write_store(tmp_path_factory.mktemp("rated") / "store", trees, built.tokenizer, built.formatter, notes={})
    labels = sum(store[i].num_labels for i in range(len(store)))
    total = sum(float(np.nansum(store[i].label_N)) for i in range(len(store)))
    return TrainingSet("d", 1.0, store, np.arange(len(store)), 10_000, None, LimitLoss(labels=labels), total)


@pytest.mark.parametrize(
    "options",
    [
        ALL,
        pytest.param(LossOptions("none", pqm_weight=1.0), marks=pytest.mark.slow),
        pytest.param(LossOptions(rating_correlation=0.3, balance_positions=True), marks=pytest.mark.slow),
    ],
)
def test_the_step_is_the_same_for_any_budget_and_that_of_every_path_alone(built: Any, dataset: Any, options) -> None:
    weights = label_weights(
        {"d": 1.0}, {"d": counted_labels_per_example(dataset, options.rating_correlation)}, "dataset"
    )
    draws = [Draw("d", number) for number in range(4)]
    kept: dict[str, Any] = {"num_examples": 4, "drawn": {}, "options": options}
    kept["balances"] = position_balances({"d": dataset}) if options.balance_positions else None
    found = []
    for budget in (1, 200, 100_000):
        packs = build_step(0, draws, {"d": dataset}, weights, token_budget=budget, **kept).packs
        built.model.zero_grad(set_to_none=True)
        built.model.eval()
        losses = [pack_loss(built.model(pack.batch), pack, options) for pack in packs]
        sum(losses).backward()  # type: ignore[union-attr]
        norm = torch.stack([p.grad.norm() for p in built.model.parameters() if p.grad is not None]).norm()
        found.append((sum(float(loss.detach()) for loss in losses), float(norm), len(packs)))
    assert found[0][2] > found[2][2] == 1
    assert [loss for loss, *_ in found] == pytest.approx(
        [plain_step(built, dataset, draws, weights, options)] * 3, rel=1e-4
    )
    assert [norm for _, norm, _ in found] == pytest.approx([found[2][1]] * 3, rel=1e-3)


@torch.no_grad()
def plain_step(built: Any, dataset: TrainingSet, draws: list[Draw], weights: Any, options: LossOptions) -> float:
    """The loss of a step from the logits of paths scored alone."""
    total = 0.0
    labels_at: dict[int, list[float]] = {}
    for tree in dataset:
        for node in rows_of(tree):
            labels_at.setdefault(len(ancestors(tree, node)) - 1, []).append(float(tree.label_N[node]))
    mean = float(np.mean([label for labels in labels_at.values() for label in labels]))
    for draw in draws:
        tree = dataset[draw.example]
        original = dataset.store.tree(int(dataset.chosen[draw.example]))
        logit, weight = {}, {}
        for node in rows_of(tree):
            path = np.isin(np.arange(tree.num_nodes), ancestors(tree, node))
            alone = tree.select(path, prefix=np.arange(tree.num_nodes) != node)
            logit[node] = float(built.model(to_batch(pack_trees([alone]))))
            n = original.nodes[int(tree.source_N[node])].num_ratings
            weight[node] = weights["d"] / len(draws) * n / (1 + (n - 1) * options.rating_correlation)
            y = (1 - options.label_smoothing) * float(tree.label_N[node]) + options.label_smoothing / 2
            if options.loss == "bce":
                right, wrong = options.pos_weight, 1.0
                if options.balance_positions:
                    there = labels_at[len(ancestors(tree, node)) - 1]
                    at = (sum(there) + 20 * mean) / (len(there) + 20)
                    right, wrong = mean / at, (1 - mean) / (1 - at)
                entropy = -right * y * log_sigmoid(logit[node]) - wrong * (1 - y) * log_sigmoid(-logit[node])
                total += weight[node] * entropy
        total += options.pairwise_weight * plain_pairwise(tree, logit, weight)
        total += options.pqm_weight * plain_pqm(tree, logit, weight, options.pqm_margin)
    return total


@pytest.mark.slow
def test_a_run_with_every_option_resumes_exactly_and_says_that_a_map_is_needed(run_config: Any) -> None:
    class CrashError(Exception):
        pass

    def crash() -> None:
        raise CrashError

    options = {name: getattr(ALL, name) for name in ("label_smoothing", "pos_weight", "pairwise_weight", "pqm_weight")}
    options["balance_positions"] = True
    configs = [
        run_config(experiment_name=name, max_steps=4, save_steps=2, rating_correlation=0.2, **options)
        for name in ("whole", "cut")
    ]
    for config in configs:
        config.data.after_first_error = "wrong"
    watcher = Watcher()
    whole = train(configs[0], watcher)
    with pytest.raises(CrashError):
        train(configs[1], Watcher({3: crash}))
    cut = train(configs[1], Watcher(), resume=True)
    assert logged(configs[0].experiment_dir) == logged(configs[1].experiment_dir)
    assert_same_bits(whole.result.last, cut.result.last)
    said = watcher.of("say")
    assert uncalibrated(ALL)[0].split(" (")[0] in said[-1]
    assert any(line.startswith("loss: bce + 0.7 x pairwise") for line in said)
    assert any("after_first_error wrong" in line for line in said)
    assert whole.validation is not None
    parts = json.loads(whole.report_path.read_text())["miscalibrated_by"]
    assert parts == [
        "label_smoothing 0.1",
        "pos_weight 2",
        "pairwise_weight 0.7",
        "pqm_weight 0.3",
        "balance_positions",
    ]


def test_evaluate_says_where_a_loss_that_moves_confidences_has_no_map_after_it() -> None:
    steps = ScoredSteps.of_columns([0.2, 0.7], [0.0, 1.0])
    plain = calibration_report(None, "pooled", steps, {})
    assert plain == {"applied": "none", "stored": False}
    moved = calibration_report(None, "pooled", steps, {}, miscalibrated_by=["pqm_weight 0.3"])
    assert "pqm_weight 0.3" in calibration_line(moved)
    assert "surestep calibrate" in calibration_line(moved)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"loss": "none"}, "pairwise_weight"),
        ({"loss": "mse", "pos_weight": 2.0}, "--loss bce"),
        ({"loss": "none", "pqm_weight": 1.0, "label_smoothing": 0.1}, "label_smoothing"),
        ({"loss": "none", "pqm_weight": 1.0, "balance_positions": True}, "balance_positions"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(run_config: Any, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run_config(**fields).check()
    assert words in str(caught.value)


def test_first_error_rules_change_what_training_sees_and_count_it(run_config: Any, tmp_path: Path) -> None:
    from surestep.encoding.formatter import Formatter
    from surestep.encoding.load_tokenizer import load_tokenizer
    from surestep.training.training_sets import load_run_data

    seen = {}
    for rule in ("keep", "missing", "wrong"):
        config = run_config()
        config.data.after_first_error = rule
        data = load_run_data(config, load_tokenizer(config.model.backbone), Formatter(), max_positions=512)
        (found,) = data.training.values()
        trees = [found[i] for i in range(len(found))]
        assert found.num_labels == sum(tree.num_labels for tree in trees) == len(found.labelled_steps().label)
        assert found.label_sum == pytest.approx(sum(float(np.nansum(tree.label_N)) for tree in trees))
        for tree in trees:
            for node in range(1, tree.num_nodes):
                behind = any(tree.label_N[above] < 0.5 for above in ancestors(tree, node)[:-1])
                if behind and rule != "keep":
                    assert np.isnan(tree.label_N[node]) if rule == "missing" else tree.label_N[node] == 0.0
        counts = data.report["selection"]["own"]
        seen[rule] = (found.num_labels, counts)
    assert "labels_behind_first_error_taken_out" not in seen["keep"][1]
    taken, given = (
        seen["missing"][1]["labels_behind_first_error_taken_out"],
        seen["wrong"][1]["steps_behind_first_error_labelled_wrong"],
    )
    assert taken > 0 < given
    assert seen["missing"][0] == seen["keep"][0] - taken
    assert seen["wrong"][0] == seen["keep"][0] + given
