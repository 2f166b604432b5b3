"""The examples that a configuration trains on, and what is held out of them.

Here and nowhere else it is decided which labels a model sees: training draws from these sets, and baselines are fitted
on them. Knows sources, stores and limits; knows no model beyond its tokenizer and position limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from surestep.config import DataConfig
from surestep.config.data import AfterFirstError
from surestep.data.sources.choose import Source, enabled_sources
from surestep.encoding.encoded_tree import EncodedTree, Nodes, path_sums
from surestep.encoding.first_error import labels_after_first_error
from surestep.encoding.formatter import Formatter
from surestep.encoding.limits import LimitLoss, limit_nodes, limit_tree
from surestep.encoding.token_store import TreeStore
from surestep.encoding.tokenizer import StepTokenizer
from surestep.errors import DataError, SurestepError
from surestep.scored import FloatArray, IntArray
from surestep.scoring.stored_split import ProgressFactory, StoredSplit, prepare_source, silent

_CHUNK_TREES = 2**14
"""Trees that are limited at once: fast, and some megabytes."""


@dataclass(frozen=True, eq=False)
class LabelledSteps:
    """Where the labels of a training set stand, L of them, in the order of the store.

    Attributes:
        tree, step, parent: int64 [L], number of the tree in the store, index of the step and of the step before it in
            that tree, -1 for none.
        position: int64 [L], from 1.
        label: float64 [L].
        problem_key: uint64 [L].
    """

    tree: IntArray
    step: IntArray
    parent: IntArray
    position: IntArray
    label: FloatArray
    problem_key: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class LargestProblem:
    """The problem that holds the most training labels of its dataset.

    Attributes:
        id: of one of its trees.
        labels: how many it holds.
        num_problems: problems of the dataset.
    """

    id: str
    labels: int
    num_problems: int


@dataclass(frozen=True)
class TrainingSet(Sequence[EncodedTree]):
    """The examples of one dataset, limits applied as they are read.

    Attributes:
        share: probability of drawing from it, which is also its share of the loss.
        chosen: which trees of the store are used.
        max_length, max_steps: the training limits.
        loss: what the limits cost, over the trees in use.
        label_sum: sum of the labels that are left.
        largest: the problem with the most of them.
        after_first_error: what labels behind the first wrong step of a path count as.
    """

    name: str
    share: float
    store: TreeStore
    chosen: NDArray[np.int64]
    max_length: int
    max_steps: int | None
    loss: LimitLoss
    label_sum: float
    largest: LargestProblem | None = None
    after_first_error: AfterFirstError = "keep"

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, item: int) -> EncodedTree:  # type: ignore[override]
        tree = self.store[int(self.chosen[item])]
        if self.after_first_error != "keep":
            tree = replace(tree, label_N=labels_after_first_error(tree.label_N, tree.parent_N, self.after_first_error))
        return limit_tree(tree, max_length=self.max_length, max_steps=self.max_steps)[0]

    def num_ratings(self, item: int) -> IntArray:
        """int64 [N]: how many ratings the label of each step of an example is the mean of, in the order of its tree."""
        number = int(self.chosen[item])
        return self.store.num_ratings(number, np.arange(self.store.num_steps(number)))

    @property
    def num_labels(self) -> int:
        """Labels left after the limits."""
        return self.loss.labels - self.loss.labels_dropped

    @property
    def num_problems(self) -> int:
        """Problems of the trees in use."""
        return self.store.num_problems(self.chosen)

    @property
    def labels_per_example(self) -> float:
        """Mean labels of an example."""
        return self.num_labels / len(self)

    @property
    def label_mean(self) -> float:
        """Mean confidence of the labels: the constant baseline."""
        return self.label_sum / self.num_labels

    def mean_tokens(self) -> float:
        """Mean tokens of a stored tree in use, before the limits."""
        return self.store.num_tokens / max(len(self.store), 1)

    def largest_tree(self) -> int:
        """Tokens of the largest stored tree in use, before the limits."""
        return int(self.store.tree_tokens(self.chosen).max())

    def labelled_steps(self) -> LabelledSteps:
        """Every label that is trained on."""
        parts = [self._labelled(self.chosen[i : i + _CHUNK_TREES]) for i in range(0, len(self), _CHUNK_TREES)]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        tree, step, parent, position, label = columns
        return LabelledSteps(tree, step, parent, position, label, np.asarray(self.store.problem_keys[tree]))

    def _labelled(self, numbers: IntArray) -> tuple[IntArray, IntArray, IntArray, IntArray, FloatArray]:
        nodes = _nodes_in_use(self.store, numbers, self.after_first_error)
        keep, _ = limit_nodes(nodes, max_length=self.max_length, max_steps=self.max_steps)
        rows = np.flatnonzero(keep & ~np.isnan(nodes.label_N))
        return (
            numbers[nodes.tree_N[rows]],
            nodes.source_N[rows],
            nodes.source_N[nodes.parent_N[rows]],
            path_sums(nodes.parent_N >= 0, nodes.parent_N)[rows],
            nodes.label_N[rows],
        )


@dataclass
class ExamplesInUse:
    """The training sets of a configuration.

    Attributes:
        training: the mixture, by name.
        splits: each dataset's whole training split.
        validation: the held-out problems of each dataset of the mixture.
        overlaps: training problems that are evaluated too, JSON-ready.
        selection: of each dataset, what was read and what is left out before the limits, JSON-ready.
        lines: what the user should know, one sentence each.
    """

    training: dict[str, TrainingSet]
    splits: dict[str, StoredSplit]
    validation: dict[str, StoredSplit]
    overlaps: list[dict[str, str | int]] = field(default_factory=list)
    selection: dict[str, dict[str, int]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def load_examples(
    data: DataConfig,
    tokenizer: StepTokenizer,
    formatter: Formatter,
    *,
    seed: int,
    max_length: int,
    progress: ProgressFactory = silent,
) -> ExamplesInUse:
    """Read, tokenise (or find in the cache), hold out, sample and limit.

    `seed` is the run's; `max_length` comes from `longest_path`.

    Raises:
        DataError: files are missing or malformed, or a dataset is left without an example.
    """
    shares = data.enabled()
    train_sources = enabled_sources(data, "train", seed=seed)
    validation_sources = enabled_sources(data, "validation", seed=seed)

    def stored(source: Source) -> StoredSplit:
        return prepare_source(source, tokenizer, formatter, cache_dir=data.cache_dir, progress=progress)

    splits = {source.key: stored(source) for source in train_sources}
    found = ExamplesInUse(
        training={},
        splits={split.name: split for split in splits.values()},
        validation={source.name: stored(source) for source in validation_sources if source.key in shares},
    )
    evaluated = {f"{name} validation": split.store.text_hashes for name, split in found.validation.items()}
    try:
        for source in enabled_sources(data, "test", seed=seed):
            evaluated[f"{source.name} test"] = stored(source).store.text_hashes
    except SurestepError as error:  # a test split that is not there is said, not demanded
        found.lines.append(f"overlap with the test splits was not checked: {error}")
    for key, split in splits.items():
        index = _sample(split, evaluated, data, seed, found)
        dataset = _limited(split, shares[key], index, max_length, data.max_steps_per_example, data.after_first_error)
        found.training[split.name] = dataset
        if data.after_first_error != "keep":
            _say_relabelled(dataset, index, found)
    return found


def longest_path(max_length: int, limit: int | None, *, backbone: str) -> tuple[int, str | None]:
    """The longest path to train on, in tokens, and a line where the backbone's limit lowers it; None: no limit.

    >>> longest_path(4096, 512, backbone="gpt2")
    (512, 'max_length is lowered from 4096 to 512, the longest path that gpt2 takes')
    """
    if limit is None or max_length <= limit:
        return max_length, None
    return limit, f"max_length is lowered from {max_length} to {limit}, the longest path that {backbone} takes"


def _sample(
    split: StoredSplit, evaluated: Mapping[str, NDArray[np.uint64]], data: DataConfig, seed: int, found: ExamplesInUse
) -> NDArray[np.int64]:
    """The trees in use: overlaps out where asked, then `max_train_samples` of the rest, drawn by seed."""
    name, store = split.name, split.store
    keep, is_shared = np.ones(len(store), bool), np.zeros(len(store), bool)
    for other, texts in evaluated.items():
        shared = np.isin(store.text_hashes, texts)
        if not shared.any():
            continue
        problems = store.num_problems(np.flatnonzero(shared))
        found.overlaps.append({"train": name, "evaluated": other, "problems": problems, "trees": int(shared.sum())})
        fate = "removed" if data.remove_overlap else "kept; --remove_overlap drops them"
        found.lines.append(f"{problems:,} training problems of {name} also occur in {other} ({fate})")
        is_shared |= shared
    if data.remove_overlap:
        keep &= ~is_shared
    index = left = np.flatnonzero(keep)
    cap = data.max_train_samples
    if cap is not None and cap < len(index):
        random = np.random.default_rng([seed, len(index)])
        index = np.sort(random.permutation(index)[:cap])
    unused = np.setdiff1d(left, index, assume_unique=True)
    num_unused = _num_labels(store, unused)
    found.selection[name] = {
        "problems_read": store.num_problems(),
        "trees_read": len(store),
        "labels_read": store.num_labels,
        "problems_in_evaluated_splits": store.num_problems(np.flatnonzero(is_shared)),
        "trees_in_evaluated_splits": int(is_shared.sum()),
        "labels_in_evaluated_splits": _num_labels(store, np.flatnonzero(is_shared)),
        "trees_beyond_max_train_samples": len(unused),
        "labels_beyond_max_train_samples": num_unused,
    }
    if len(unused):
        found.lines.append(
            f"{name}: max_train_samples {cap:,} leaves out {len(unused):,} of {len(left):,} training trees, with "
            f"{num_unused:,} labels"
        )
    return index


def _num_labels(store: TreeStore, index: NDArray[np.int64]) -> int:
    parts = (index[start : start + _CHUNK_TREES] for start in range(0, len(index), _CHUNK_TREES))
    return sum(int(np.count_nonzero(~np.isnan(store.nodes(part).label_N))) for part in parts)


def _nodes_in_use(store: TreeStore, numbers: IntArray, rule: AfterFirstError) -> Nodes:
    """The nodes of the trees with these numbers, with the labels that training sees before its limits."""
    nodes = store.nodes(numbers)
    if rule == "keep":
        return nodes
    return replace(nodes, label_N=labels_after_first_error(nodes.label_N, nodes.parent_N, rule))


def _say_relabelled(dataset: TrainingSet, index: NDArray[np.int64], found: ExamplesInUse) -> None:
    """How many labels of the trees in `index` `after_first_error` took, changed and gave."""
    taken = changed = given = 0
    for start in range(0, len(index), _CHUNK_TREES):
        nodes = dataset.store.nodes(index[start : start + _CHUNK_TREES])
        new = labels_after_first_error(nodes.label_N, nodes.parent_N, dataset.after_first_error)
        had, has = ~np.isnan(nodes.label_N), ~np.isnan(new)
        taken += int((had & ~has).sum())
        given += int((has & ~had).sum())
        changed += int((had & has & (new != nodes.label_N)).sum())
    found.selection[dataset.name] |= {
        "labels_behind_first_error_taken_out": taken,
        "labels_behind_first_error_changed_to_wrong": changed,
        "steps_behind_first_error_labelled_wrong": given,
    }
    found.lines.append(
        f"{dataset.name}: after_first_error {dataset.after_first_error}: behind the first wrong step of a path, "
        f"{taken:,} labels are left out, {changed:,} changed to wrong, and {given:,} steps without one labelled wrong"
    )


def _limited(
    split: StoredSplit,
    share: float,
    index: NDArray[np.int64],
    max_length: int,
    max_steps: int | None,
    rule: AfterFirstError,
) -> TrainingSet:
    name, store = split.name, split.store
    loss, label_sum, labels = LimitLoss(), 0.0, np.zeros(len(index), np.int64)
    for start in range(0, len(index), _CHUNK_TREES):
        nodes = _nodes_in_use(store, index[start : start + _CHUNK_TREES], rule)
        keep, lost = limit_nodes(nodes, max_length=max_length, max_steps=max_steps)
        loss += lost
        is_left = keep & ~np.isnan(nodes.label_N)
        labels[start : start + nodes.num_trees] = np.bincount(nodes.tree_N[is_left], minlength=nodes.num_trees)
        label_sum += float(np.sum(nodes.label_N[is_left], dtype=np.float64))
    used = labels > 0
    if not used.any():
        raise DataError(
            f"{name}: no training problem keeps a label ({len(index)} read, {loss.labels} labels, "
            f"{loss.labels_too_long} beyond max_length {max_length}, {loss.labels_too_deep} beyond "
            f"max_steps_per_example {max_steps}); raise these limits or disable it with --use_{name} false"
        )
    largest = _largest_problem(store, index[used], labels[used])
    return TrainingSet(
        name,
        share,
        store,
        index[used],
        max_length,
        max_steps,
        loss,
        label_sum,
        largest=largest,
        after_first_error=rule,
    )


def _largest_problem(store: TreeStore, chosen: NDArray[np.int64], labels: NDArray[np.int64]) -> LargestProblem:
    """Of the trees `chosen`, with so many `labels` each; trees of one problem count together."""
    hashes, problem = np.unique(store.problem_keys[chosen], return_inverse=True)
    held = np.bincount(problem, labels, minlength=len(hashes)).astype(np.int64)
    most = int(held.argmax())
    tree = int(chosen[np.flatnonzero(problem == most)[0]])
    return LargestProblem(store.ids[tree], int(held[most]), len(hashes))
