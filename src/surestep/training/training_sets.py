"""The training examples and the validation sets of a run, and what preparing them cost.

Knows sources, stores and limits; knows no model beyond its tokenizer and position limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surestep.config import Config
from surestep.data.records.read_report import ReadReport
from surestep.data.sources.choose import Source, enabled_sources
from surestep.encoding.encoded_tree import EncodedTree
from surestep.encoding.formatter import Formatter
from surestep.encoding.limits import LimitLoss, limit_nodes, limit_tree
from surestep.encoding.token_store import TreeStore
from surestep.encoding.tokenizer import StepTokenizer
from surestep.errors import DataError, SurestepError
from surestep.scoring.stored_split import ProgressFactory, prepare_source, silent

MANY_PASSES = 3.0
"""Passes over a dataset above which a small model starts to learn it by heart."""

_CHUNK_TREES = 2**14
"""Trees that are limited at once at start-up: fast, and some megabytes."""


@dataclass(frozen=True)
class TrainingSet(Sequence[EncodedTree]):
    """The examples of one dataset, limits applied as they are read.

    Attributes:
        share: probability of drawing from it, which is also its share of the loss.
        chosen: which trees of the store are used.
        max_length, max_steps: the training limits.
        loss: what the limits cost, over the trees in use.
        label_sum: sum of the labels that are left.
    """

    name: str
    share: float
    store: TreeStore
    chosen: NDArray[np.int64]
    max_length: int
    max_steps: int | None
    loss: LimitLoss
    label_sum: float

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, item: int) -> EncodedTree:  # type: ignore[override]
        tree = self.store[int(self.chosen[item])]
        return limit_tree(tree, max_length=self.max_length, max_steps=self.max_steps)[0]

    @property
    def num_labels(self) -> int:
        """Labels left after the limits."""
        return self.loss.labels - self.loss.labels_dropped

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


@dataclass
class RunData:
    """Everything a run reads.

    Attributes:
        training: the mixture, by name.
        validation: the held-out problems of each dataset of the mixture.
        lines: what the user should know, one sentence each.
        report: the same and more, JSON-ready, saved with the run.
    """

    training: dict[str, TrainingSet]
    validation: dict[str, TreeStore]
    lines: list[str] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def label_means(self) -> dict[str, float]:
        """Training mean of each dataset's labels."""
        return {name: dataset.label_mean for name, dataset in self.training.items()}

    @property
    def label_mean(self) -> float:
        """Mean over all training labels."""
        sets = self.training.values()
        return sum(dataset.label_sum for dataset in sets) / sum(dataset.num_labels for dataset in sets)

    @property
    def initial_confidence(self) -> float:
        """Mean label of the mixture."""
        return sum(dataset.share * dataset.label_mean for dataset in self.training.values())


def load_run_data(
    config: Config,
    tokenizer: StepTokenizer,
    formatter: Formatter,
    *,
    max_positions: int | None,
    progress: ProgressFactory = silent,
) -> RunData:
    """Read, tokenise (or find in the cache), hold out, limit and describe all data of a run.

    `max_positions` is the longest path that the backbone takes.

    Raises:
        DataError: files are missing or malformed, or a dataset is left without an example.
    """
    data, seed = config.data, config.training.seed
    shares = data.enabled()
    train_sources = enabled_sources(data, "train", seed=seed)
    validation_sources = enabled_sources(data, "validation", seed=seed)

    def store_of(source: Source) -> TreeStore:
        return prepare_source(source, tokenizer, formatter, cache_dir=data.cache_dir, progress=progress)

    stores = {source.key: (source, store_of(source)) for source in train_sources}
    validation = {source.name: store_of(source) for source in validation_sources if source.key in shares}
    run = RunData(training={}, validation=validation)
    evaluated = _evaluated_problems(config, store_of, validation, run)
    max_length = _max_length(config, max_positions, run)
    for key, (source, store) in stores.items():
        index = _sample(store, evaluated, config, source.name, run)
        run.training[source.name] = _limited(
            source.name, shares[key], store, index, max_length, data.max_steps_per_example
        )
    _describe(config, run, {source.name: store for source, store in stores.values()})
    return run


def _evaluated_problems(
    config: Config, store_of: Any, validation: dict[str, TreeStore], run: RunData
) -> dict[str, NDArray[np.uint64]]:
    """Problem hashes of each evaluated split; a test split that is not there is said, not demanded."""
    evaluated = {f"{name} validation": store.text_hashes for name, store in validation.items()}
    try:
        for source in enabled_sources(config.data, "test", seed=config.training.seed):
            evaluated[f"{source.name} test"] = store_of(source).text_hashes
    except SurestepError as error:
        run.lines.append(f"overlap with the test splits was not checked: {error}")
    return evaluated


def _max_length(config: Config, limit: int | None, run: RunData) -> int:
    wanted = config.data.max_length
    if limit is None or wanted <= limit:
        return wanted
    run.lines.append(
        f"max_length is lowered from {wanted} to {limit}, the longest path that {config.model.backbone} takes"
    )
    return limit


def _sample(
    store: TreeStore, evaluated: dict[str, NDArray[np.uint64]], config: Config, name: str, run: RunData
) -> NDArray[np.int64]:
    """The trees in use: overlaps out where asked, then `max_train_samples` of the rest, drawn by seed."""
    keep = np.ones(len(store), bool)
    for split, problems in evaluated.items():
        shared = np.isin(store.text_hashes, problems)
        if not shared.any():
            continue
        run.report.setdefault("overlaps", []).append({"train": name, "evaluated": split, "problems": int(shared.sum())})
        fate = "removed" if config.data.remove_overlap else "kept; --remove_overlap drops them"
        run.lines.append(f"{shared.sum()} training problems of {name} also occur in {split} ({fate})")
        if config.data.remove_overlap:
            keep &= ~shared
    index = np.flatnonzero(keep)
    cap = config.data.max_train_samples
    if cap is not None and cap < len(index):
        random = np.random.default_rng([config.training.seed, len(index)])
        index = np.sort(random.permutation(index)[:cap])
    return index


def _limited(
    name: str,
    share: float,
    store: TreeStore,
    index: NDArray[np.int64],
    max_length: int,
    max_steps: int | None,
) -> TrainingSet:
    loss, label_sum, used = LimitLoss(), 0.0, np.zeros(len(index), bool)
    for start in range(0, len(index), _CHUNK_TREES):
        nodes = store.nodes(index[start : start + _CHUNK_TREES])
        keep, lost = limit_nodes(nodes, max_length=max_length, max_steps=max_steps)
        loss += lost
        is_left = keep & ~np.isnan(nodes.label_N)
        used[start + nodes.tree_N[is_left]] = True
        label_sum += float(np.sum(nodes.label_N[is_left], dtype=np.float64))
    if not used.any():
        raise DataError(
            f"{name}: no training problem keeps a label ({len(index)} read, {loss.labels} labels, "
            f"{loss.labels_too_long} beyond max_length {max_length}, {loss.labels_too_deep} beyond "
            f"max_steps_per_example {max_steps}); raise these limits or disable it with --use_{name} false"
        )
    return TrainingSet(name, share, store, index[used], max_length, max_steps, loss, label_sum)


def _describe(config: Config, run: RunData, stores: dict[str, TreeStore]) -> None:
    draws = (
        config.training.max_steps
        * config.training.per_device_train_batch_size
        * config.training.gradient_accumulation_steps
    )
    datasets: dict[str, Any] = {}
    for name, dataset in run.training.items():
        passes = draws * dataset.share / len(dataset)
        loss = dataset.loss
        datasets[name] = {
            "share_of_loss": dataset.share,
            "problems": len(dataset),
            "labels": dataset.num_labels,
            "label_mean": dataset.label_mean,
            "tokens_stored": dataset.store.num_tokens,
            "labels_before_limits": loss.labels,
            "labels_beyond_max_length": loss.labels_too_long,
            "labels_beyond_max_steps_per_example": loss.labels_too_deep,
            "steps_dropped_by_limits": loss.steps_dropped,
            "problems_left_without_label": loss.problems_emptied,
            "expected_passes": passes,
            "reading": stores[name].notes.get("report"),
        }
        if loss.labels_dropped:
            causes = [
                f"{count:,} beyond {limit}"
                for count, limit in (
                    (loss.labels_too_deep, f"max_steps_per_example {dataset.max_steps}"),
                    (loss.labels_too_long, f"max_length {dataset.max_length}"),
                )
                if count
            ]
            run.lines.append(
                f"{name}: the limits drop {loss.labels_dropped:,} of {loss.labels:,} training labels "
                f"({loss.labels_dropped / loss.labels:.0%}): {', '.join(causes)}; "
                "evaluation scores every step that the backbone takes"
            )
        if passes > MANY_PASSES:
            run.lines.append(
                f"{name}: about {passes:.1f} passes over its {len(dataset):,} problems; above {MANY_PASSES:.0f} watch "
                "validation for overfitting (fewer --max_steps, or early_stopping_patience)"
            )
        reading = ReadReport.from_dict(stores[name].notes["report"])
        run.lines += [f"{name}: {note}" for note in reading.notes]
    run.report |= {
        "datasets": datasets,
        "validation": {
            name: {
                "problems": len(store),
                "labels": store.num_labels,
                "reading": store.notes.get("report"),
            }
            for name, store in run.validation.items()
        },
        "lines": run.lines,
    }
