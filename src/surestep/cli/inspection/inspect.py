"""`surestep data inspect`: what the readers make of the data, and the run that would be trained on it.

Splits, held-out problems and limits are those of `surestep train` with the same flags. Knows printing; the numbers come
from `surestep.data` and, for the run, from `surestep.training`.
"""

from __future__ import annotations

import itertools
import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from surestep.cli.inspection.planned_run import planned_run, print_planned_run
from surestep.cli.output.console import say
from surestep.cli.output.progress import counting
from surestep.config import Config, DataConfig
from surestep.counted import counted
from surestep.data.datasets import BENCHMARKS, DATASET_NAMES
from surestep.data.datasets.dataset import SPLITS, Dataset, Split
from surestep.data.inspect.describe import NUM_BINS, Description, observe
from surestep.data.inspect.overlaps import Overlap, find_overlap
from surestep.data.inspect.render import render_tree
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import read_records
from surestep.data.sources.choose import enabled_sources, needed_file
from surestep.data.sources.source import Source
from surestep.errors import ConfigError, DataError
from surestep.types import ReasoningTree


@dataclass(slots=True)
class _Look:
    """One split of one dataset."""

    source: Source
    description: Description = field(default_factory=Description)
    report: ReadReport = field(default_factory=ReadReport)
    problems: set[str] = field(default_factory=set)
    examples: list[ReasoningTree] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"{self.source.name} {self.source.split}"


def inspect(config: Config, console: Console, *, names: list[str], num_examples: int, as_json: bool) -> None:
    """Reads every split that is there and prints what it holds, then what a run would train on.

    Args:
        config: the configuration of the run; `names`, where given, replaces its choice of datasets.
        console: where to print.
        names: datasets, or none for those enabled.
        num_examples: trees shown for each split.
        as_json: one JSON object instead of text.

    Raises:
        ConfigError: an unknown name.
        DataError: no file at all is there, or one is broken.
    """
    unknown = [name for name in names if name not in DATASET_NAMES]
    if unknown:
        file = next((name for name in unknown if Path(name).exists()), None)
        hint = (
            "" if file is None else f"; a file of your own: surestep data inspect own --own_train {shlex.quote(file)}"
        )
        raise ConfigError(f"unknown dataset {', '.join(unknown)}; allowed: {', '.join(DATASET_NAMES)}{hint}")
    if names:
        config = config.model_copy(deep=True)
        config.data.use_only(names)
    looks, missing = [], []
    for name, split in itertools.product(config.data.used(), SPLITS):
        try:
            looks += [_look(source, num_examples) for source in _sources(config, name, split)]
        except _AbsentError as absent:
            missing.append(str(absent))
    missing = list(dict.fromkeys(missing))
    if not looks:
        raise DataError("; ".join(missing) or "every dataset is off; name one, or turn on a use_... flag")
    overlaps = _overlaps(looks, _benchmarks(config.data))
    if as_json:
        values = _to_dict(looks, overlaps, missing) | {"run": planned_run(config)}
        say(json.dumps(values, indent=2, ensure_ascii=False))
        return
    with counting(console) as progress:
        run = planned_run(config, progress)
    for look in looks:
        _print(look, console, config.data.max_steps_per_example)
    print_planned_run(run, console)
    for first, second, overlap in overlaps:
        shared = f"{overlap.num_shared:,} of {counted(overlap.num_left, 'problem')} of {first} also occur in {second}"
        example = f", e.g. {overlap.examples[0][:80]!r}" if overlap.examples else ""
        console.print(f"overlap: {shared}{example}", markup=False)
    for sentence in missing:
        console.print(f"not there: {sentence}", markup=False)


class _AbsentError(Exception):
    """A split whose file is not there; other splits may be."""


def _sources(config: Config, name: str, split: Split) -> list[Source]:
    # Only this dataset, with a weight that keeps it in: to be looked at it need not be trained on.
    data = config.data.model_copy(deep=True)
    data.use_only({name})
    setattr(data, f"{name}_weight", 1.0)
    try:
        return enabled_sources(data, split, seed=config.training.seed)
    except (DataError, ConfigError) as error:
        raise _AbsentError(f"{split}: {error}") from None


def _look(source: Source, num_examples: int) -> _Look:
    look = _Look(source)
    for tree in observe(source.read(look.report), look.description):
        look.problems.add(tree.problem)
        if len(look.examples) < num_examples:
            look.examples.append(tree)
    return look


def _overlaps(looks: list[_Look], benchmarks: dict[str, list[str]]) -> list[tuple[str, str, Overlap]]:
    """Between every split and those evaluated after it, and with the benchmarks that are there."""
    order = {"train": 0, "validation": 1, "test": 2}
    pairs = []
    for first, second in itertools.permutations(looks, 2):
        if order[first.source.split] < order[second.source.split]:
            pairs.append((first.title, second.title, find_overlap(sorted(first.problems), second.problems)))
    for look, (name, problems) in itertools.product(looks, benchmarks.items()):
        if look.source.split != "test":
            pairs.append((look.title, name, find_overlap(sorted(look.problems), problems)))
    return pairs


def _benchmarks(data: DataConfig) -> dict[str, list[str]]:
    """Problems of the benchmarks found in `data_dir`, by the name of their file."""
    found = {}
    for name, dataset in BENCHMARKS.items():
        for file in dataset.files:
            if path := needed_file(dataset, (file.name,), data).find():
                found[f"{name} {path.stem}"] = _problems(dataset, path)
    return found


def _problems(dataset: Dataset, path: Path) -> list[str]:
    """What a file asks; rows that its reader refuses (an encrypted one, say) ask nothing."""
    if dataset.read is None:
        records = read_records(path, fetch=dataset.name)
        return [record.text("problem" if "problem" in record.values else "question") for record in records]
    return [tree.problem for tree in dataset.read(path, report=ReadReport(), bad_rows="skip")]


def _to_dict(looks: list[_Look], overlaps: list[tuple[str, str, Overlap]], missing: list[str]) -> dict[str, Any]:
    return {
        "splits": [
            {
                "dataset": look.source.name,
                "split": look.source.split,
                "files": [str(path) for path in look.source.files],
                "options": dict(look.source.options),
                "fingerprint": look.source.fingerprint(),
                "description": look.description.to_dict(),
                "report": look.report.to_dict(),
                "examples": [render_tree(tree) for tree in look.examples],
            }
            for look in looks
        ],
        "overlaps": [{"first": first, "second": second, **overlap.to_dict()} for first, second, overlap in overlaps],
        "missing": missing,
    }


def _print(look: _Look, console: Console, cap: int | None) -> None:
    values: dict[str, Any] = look.description.to_dict()
    console.rule(look.title, align="left")
    lines = [f"files: {', '.join(map(str, look.source.files)) or 'generated'}"]
    lines.append(
        f"{counted(values['num_trees'], 'tree')}, {counted(values['num_steps'], 'step')}, {values['num_labels']:,} "
        f"labelled; mean label {_figure(values['mean_label'])}"
    )
    common = ", ".join(f"{value:g}: {count:,}" for value, count in values["common_labels"])
    lines.append(f"labels: {common}")
    lines.append(f"labels in {NUM_BINS} bins from 0 to 1: {' '.join(f'{count:,}' for count in values['label_bins'])}")
    lines.append(f"steps on a path: {_spread(values['steps_per_path'])}")
    lines.append(f"depth of labelled steps: {_spread(values['labelled_depth'])}")
    if cap is not None and look.source.split == "train":
        beyond = _figure(look.description.share_beyond(cap))
        lines.append(f"share of labels deeper than {cap} steps: {beyond} (what max_steps_per_example {cap} leaves out)")
    lines.append(f"longest step: {counted(values['longest_step_characters'], 'character')}")
    for line in [*lines, "what the reader saw:", *(f"  - {sentence}" for sentence in look.report.lines())]:
        console.print(line, markup=False)
    for tree in look.examples:
        console.print()
        for line in render_tree(tree, width=console.width):
            console.print(line, markup=False)
    console.print()


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _spread(values: dict[str, int] | None) -> str:
    return "none" if values is None else ", ".join(f"{name} {value}" for name, value in values.items())
