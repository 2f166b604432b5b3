"""The examples that a configuration trains on, and what is held out of them.

Here and nowhere else it is decided which labels a model sees: training draws from these sets, and baselines are fitted
on them. Knows sources, stores and limits; knows no model beyond its tokenizer and position limit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from surestep.config import DataConfig
from surestep.counted import counted
from surestep.data.sources.choose import Source, enabled_sources
from surestep.encoding.difficulty import easiest
from surestep.encoding.formatter import Formatter
from surestep.encoding.tokenizer import StepTokenizer
from surestep.errors import SurestepError
from surestep.scoring.stored_split import MANY_TREES, ProgressFactory, StoredSplit, prepare_sources, silent
from surestep.scoring.training_set import (
    TrainingSet,
    TreeLimits,
    count_labels,
    count_relabelled,
    difficulty_of,
    limited_set,
    limits_of,
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
    splits = {source.key: split for source, split in zip(train_sources, both[: len(train_sources)], strict=True)}
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
    if sum(map(len, splits.values())) >= MANY_TREES:
        progress("choosing and fitting the training examples")
    for key, split in splits.items():
        index = _sample(split, evaluated, removed, data, seed, found)
        index = _easiest(split, index, data, max_length, found)
        limits = TreeLimits(max_length, data.max_steps_per_example, data.after_first_error)
        limited = limited_set(split.name, split.store, shares[key], index, limits)
        found.training[split.name] = _ranked(limited, data)
        if data.after_first_error != "keep":
            _say_relabelled(limited, index, found)
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
        occur = "occurs" if problems == 1 else "occur"
        found.lines.append(f"{counted(problems, 'training problem')} of {name} also {occur} in {other} ({fate})")
        is_shared |= shared
        if other in removed:
            keep &= ~shared
    index = left = np.flatnonzero(keep)
    cap = data.max_train_samples
    if cap is not None and cap < len(index):
        random = np.random.default_rng([seed, len(index)])
        index = np.sort(random.permutation(index)[:cap])
    unused = np.setdiff1d(left, index, assume_unique=True)
    num_unused = count_labels(store, unused)
    found.selection[name] = {
        "problems_read": store.num_problems(),
        "trees_read": len(store),
        "labels_read": store.num_labels,
        "problems_in_evaluated_splits": store.num_problems(np.flatnonzero(is_shared)),
        "trees_in_evaluated_splits": int(is_shared.sum()),
        "labels_in_evaluated_splits": count_labels(store, np.flatnonzero(is_shared)),
        "trees_beyond_max_train_samples": len(unused),
        "labels_beyond_max_train_samples": num_unused,
    }
    if len(unused):
        found.lines.append(
            f"{name}: max_train_samples {cap:,} leaves out {len(unused):,} of "
            f"{counted(len(left), 'training tree')}, with {counted(num_unused, 'label')}"
        )
    return index


def _say_relabelled(dataset: TrainingSet, index: NDArray[np.int64], found: ExamplesInUse) -> None:
    taken, changed, given = count_relabelled(dataset.store, index, dataset.after_first_error)
    found.selection[dataset.name] |= {
        "labels_behind_first_error_taken_out": taken,
        "labels_behind_first_error_changed_to_wrong": changed,
        "steps_behind_first_error_labelled_wrong": given,
    }
    found.lines.append(
        f"{dataset.name}: after_first_error {dataset.after_first_error}: behind the first wrong step of a path, "
        f"{counted(taken, 'label is', 'labels are')} left out, {changed:,} changed to wrong, and "
        f"{counted(given, 'step')} without one labelled wrong"
    )


def _easiest(
    split: StoredSplit, index: NDArray[np.int64], data: DataConfig, max_length: int, found: ExamplesInUse
) -> NDArray[np.int64]:
    """The easiest of the trees of `index`, where `easiest_share` asks for them."""
    share = data.easiest_share
    if share is None:
        return index
    name, store = split.name, split.store
    limits = TreeLimits(max_length, data.max_steps_per_example, data.after_first_error)
    difficulty = difficulty_of(store, index, data.difficulty, limits)
    is_in = easiest(difficulty, share)
    left_out = index[~is_in]
    num_labels = count_labels(store, left_out)
    found.selection[name] |= {"trees_beyond_easiest_share": len(left_out), "labels_beyond_easiest_share": num_labels}
    found.lines.append(
        f"{name}: easiest_share {share:g} leaves out {len(left_out):,} of {counted(len(index), 'training tree')}, with "
        f"{counted(num_labels, 'label')}, as more difficult ({data.difficulty} above "
        f"{np.nanmax(difficulty[is_in], initial=0.0):g})"
    )
    return index[is_in]


def _ranked(dataset: TrainingSet, data: DataConfig) -> TrainingSet:
    """The same with an order, where one is asked for."""
    if data.order == "shuffled":
        return dataset
    rank = difficulty_of(dataset.store, dataset.chosen, data.difficulty, limits_of(dataset))
    return replace(dataset, rank=rank if data.order == "easy_first" else -rank)
