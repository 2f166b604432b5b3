"""The examples that a configuration trains on, and what is held out of them.

Here and nowhere else it is decided which labels a model sees: training draws from these sets, and baselines are fitted
on them. Knows sources, stores and limits; knows no model beyond its tokenizer and position limit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surestep.config import DataConfig
from surestep.config.data import AfterFirstError
from surestep.data.sources.choose import Source, enabled_sources
from surestep.encoding.difficulty import DifficultyName, easiest, tree_difficulty
from surestep.encoding.encoded_tree import EncodedTree, Nodes, path_sums
from surestep.encoding.first_error import labels_after_first_error
from surestep.encoding.formatter import Formatter
from surestep.encoding.limits import LimitLoss, limit_nodes, limit_tree
from surestep.encoding.token_store import TreeStore
from surestep.encoding.tokenizer import StepTokenizer
from surestep.errors import DataError, SurestepError
from surestep.scored import FloatArray, IntArray
from surestep.scoring.stored_split import ProgressFactory, StoredSplit, prepare_sources, silent

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
        rank: float64, one for each example: what a pass over them is sorted by; None where it is shuffled.
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
    rank: FloatArray | None = None

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
    run_data: DataConfig | None = None,
) -> ExamplesInUse:
    """Read, tokenise (or find in the cache), hold out, sample and limit.

    `seed` is the run's; `max_length` comes from `longest_path`. `run_data` is given for a phase of a run: what the run
    is validated and tested on is that of `run_data`, and validated problems are left out of the phase, wherever they
    stand in its files.

    Raises:
        DataError: files are missing or malformed, or a dataset is left without an example.
    """
    shares, whole = data.enabled(), run_data or data
    train_sources = enabled_sources(data, "train", seed=seed)
    validation_sources = enabled_sources(whole, "validation", seed=seed)
    validated = whole.enabled()

    def stored(sources: Sequence[Source]) -> list[StoredSplit]:
        return prepare_sources(sources, tokenizer, formatter, cache_dir=data.cache_dir, progress=progress)

    validation_sources = [source for source in validation_sources if source.key in validated]
    both = stored([*train_sources, *validation_sources])  # together, for most share their files
    splits = {source.key: split for source, split in zip(train_sources, both, strict=False)}
    found = ExamplesInUse(
        training={},
        splits={split.name: split for split in splits.values()},
        validation={split.name: split for split in both[len(train_sources) :]},
    )
    held_out = {f"{name} validation": split.store.text_hashes for name, split in found.validation.items()}
    evaluated = dict(held_out)
    try:
        for source in enabled_sources(whole, "test", seed=seed):
            evaluated[f"{source.name} test"] = stored([source])[0].store.text_hashes
    except SurestepError as error:  # a test split that is not there is said, not demanded
        found.lines.append(f"overlap with the test splits was not checked: {error}")
    removed = set(evaluated) if data.remove_overlap else set() if run_data is None else set(held_out)
    for key, split in splits.items():
        index = _sample(split, evaluated, removed, data, seed, found)
        index = _easiest(split, index, data, max_length, found)
        limits = _Limits(max_length, data.max_steps_per_example, data.after_first_error)
        limited = _limited(split.name, split.store, shares[key], index, limits)
        found.training[split.name] = _ranked(limited, data)
        if data.after_first_error != "keep":
            _say_relabelled(limited, index, found)
    return found


def distinct_sets(sets: Iterable[TrainingSet]) -> list[TrainingSet]:
    """The same examples without those that are there twice: sets of one store and the same limits become one.

    A run's phases may draw from one dataset several times; this is what they have seen together.
    """
    groups: dict[tuple[object, _Limits], list[TrainingSet]] = {}
    for dataset in sets:
        groups.setdefault((dataset.store.folder, _limits_of(dataset)), []).append(dataset)
    found = []
    for (first, *others), (_, limits) in zip(groups.values(), groups, strict=True):
        chosen = np.unique(np.concatenate([first.chosen, *(other.chosen for other in others)]))
        is_same = np.array_equal(chosen, np.sort(first.chosen))
        found.append(first if is_same else _limited(first.name, first.store, first.share, chosen, limits))
    return found


def label_means(sets: Iterable[TrainingSet]) -> dict[str, float]:
    """Mean label of each dataset, over all sets of its name."""
    sums: dict[str, tuple[float, int]] = {}
    for dataset in sets:
        label_sum, count = sums.get(dataset.name, (0.0, 0))
        sums[dataset.name] = (label_sum + dataset.label_sum, count + dataset.num_labels)
    return {name: label_sum / count for name, (label_sum, count) in sums.items()}


def longest_path(max_length: int, limit: int | None, *, backbone: str) -> tuple[int, str | None]:
    """The longest path to train on, in tokens, and a line where the backbone's limit lowers it; None: no limit.

    >>> longest_path(4096, 512, backbone="gpt2")
    (512, 'max_length is lowered from 4096 to 512, the longest path that gpt2 takes')
    """
    if limit is None or max_length <= limit:
        return max_length, None
    return limit, f"max_length is lowered from {max_length} to {limit}, the longest path that {backbone} takes"


def _sample(
    split: StoredSplit,
    evaluated: Mapping[str, NDArray[np.uint64]],
    removed: Collection[str],
    data: DataConfig,
    seed: int,
    found: ExamplesInUse,
) -> NDArray[np.int64]:
    """The trees in use: problems of the `removed` splits out, then `max_train_samples` of the rest, drawn by seed."""
    name, store = split.name, split.store
    keep, is_shared = np.ones(len(store), bool), np.zeros(len(store), bool)
    for other, texts in evaluated.items():
        shared = np.isin(store.text_hashes, texts)
        if not shared.any():
            continue
        problems = store.num_problems(np.flatnonzero(shared))
        found.overlaps.append({"train": name, "evaluated": other, "problems": problems, "trees": int(shared.sum())})
        fate = "removed" if other in removed else "kept; --remove_overlap drops them"
        found.lines.append(f"{problems:,} training problems of {name} also occur in {other} ({fate})")
        is_shared |= shared
        if other in removed:
            keep &= ~shared
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


def _easiest(
    split: StoredSplit, index: NDArray[np.int64], data: DataConfig, max_length: int, found: ExamplesInUse
) -> NDArray[np.int64]:
    """The easiest of the trees of `index`, where `easiest_share` asks for them."""
    share = data.easiest_share
    if share is None:
        return index
    name, store = split.name, split.store
    limits = _Limits(max_length, data.max_steps_per_example, data.after_first_error)
    difficulty = _difficulty(store, index, data.difficulty, limits)
    is_in = easiest(difficulty, share)
    left_out = index[~is_in]
    num_labels = _num_labels(store, left_out)
    found.selection[name] |= {"trees_beyond_easiest_share": len(left_out), "labels_beyond_easiest_share": num_labels}
    found.lines.append(
        f"{name}: easiest_share {share:g} leaves out {len(left_out):,} of {len(index):,} training trees, with "
        f"{num_labels:,} labels, as more difficult ({data.difficulty} above "
        f"{np.nanmax(difficulty[is_in], initial=0.0):g})"
    )
    return index[is_in]


def _ranked(dataset: TrainingSet, data: DataConfig) -> TrainingSet:
    """The same with an order, where one is asked for."""
    if data.order == "shuffled":
        return dataset
    rank = _difficulty(dataset.store, dataset.chosen, data.difficulty, _limits_of(dataset))
    return replace(dataset, rank=rank if data.order == "easy_first" else -rank)


def _difficulty(store: TreeStore, index: NDArray[np.int64], measure: DifficultyName, limits: _Limits) -> FloatArray:
    parts = [np.zeros(0)]
    for start in range(0, len(index), _CHUNK_TREES):
        nodes = _nodes_in_use(store, index[start : start + _CHUNK_TREES], limits.after_first_error)
        keep, _ = limit_nodes(nodes, max_length=limits.max_length, max_steps=limits.max_steps)
        parts.append(tree_difficulty(nodes, keep, measure))
    return np.concatenate(parts)


class _Limits(NamedTuple):
    """What training takes of a tree, and what its labels count as."""

    max_length: int
    max_steps: int | None
    after_first_error: AfterFirstError


def _limits_of(dataset: TrainingSet) -> _Limits:
    return _Limits(dataset.max_length, dataset.max_steps, dataset.after_first_error)


def _limited(name: str, store: TreeStore, share: float, index: NDArray[np.int64], limits: _Limits) -> TrainingSet:
    max_length, max_steps, rule = limits
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
