"""`surestep data inspect`: what the readers make of the data, for people or as JSON.

Knows printing; the numbers come from `surestep.data`.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from surestep.config.data import DATASET_NAMES, DataConfig
from surestep.data.fetch.catalogue import CATALOGUE
from surestep.data.inspect.describe import NUM_BINS, Description, observe
from surestep.data.inspect.overlaps import Overlap, find_overlap
from surestep.data.inspect.render import render_tree
from surestep.data.records.read_report import ReadReport
from surestep.data.records.record import read_records
from surestep.data.sources.choose import enabled_sources
from surestep.data.sources.locate import Wanted
from surestep.data.sources.source import SPLITS, Source, Split
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


def inspect(data: DataConfig, console: Console, *, names: list[str], num_examples: int, as_json: bool) -> None:
    """Reads every split that is there and prints what it holds.

    Args:
        data: the configuration; `names`, where given, replaces its choice of datasets.
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
        raise ConfigError(f"unknown dataset {', '.join(unknown)}; allowed: {', '.join(DATASET_NAMES)}")
    chosen = names or [name for name in DATASET_NAMES if getattr(data, f"use_{name}")]
    looks, missing = [], []
    for name, split in itertools.product(chosen, SPLITS):
        try:
            looks += [_look(source, num_examples) for source in _sources(data, name, split)]
        except _AbsentError as absent:
            missing.append(str(absent))
    missing = list(dict.fromkeys(missing))
    if not looks:
        raise DataError("; ".join(missing) or "every dataset is off; name one, or turn on a use_... flag")
    overlaps = _overlaps(looks, _benchmarks(data))
    if as_json:
        print(json.dumps(_to_dict(looks, overlaps, missing), indent=2, ensure_ascii=False))
        return
    for look in looks:
        _print(look, console)
    for first, second, overlap in overlaps:
        shared = f"{overlap.num_shared:,} of {overlap.num_left:,} problems of {first} also occur in {second}"
        example = f", e.g. {overlap.examples[0][:80]!r}" if overlap.examples else ""
        console.print(f"overlap: {shared}{example}", markup=False)
    for sentence in missing:
        console.print(f"not there: {sentence}", markup=False)


class _AbsentError(Exception):
    """A split whose file is not there; other splits may be."""


def _sources(data: DataConfig, name: str, split: Split) -> list[Source]:
    # Only this dataset, with a weight that keeps it in: inspecting needs neither to be configured.
    switches = {f"use_{other}": other == name for other in DATASET_NAMES}
    values = data.model_dump() | switches | {f"{name}_weight": 1.0}
    try:
        return enabled_sources(type(data)(**values), split)
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
    for name in ("math500", "processbench"):
        for file in CATALOGUE[name].files:
            if path := Wanted(name, (file.name,), None, data.data_dir).find():
                found[f"{name} {path.stem}"] = [record.text("problem") for record in read_records(path, fetch=name)]
    return found


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


def _print(look: _Look, console: Console) -> None:
    values: dict[str, Any] = look.description.to_dict()
    console.rule(look.title, align="left")
    lines = [f"files: {', '.join(map(str, look.source.files)) or 'generated'}"]
    lines.append(
        f"{values['num_trees']:,} trees, {values['num_steps']:,} steps, {values['num_labels']:,} labelled; "
        f"mean label {_figure(values['mean_label'])}"
    )
    common = ", ".join(f"{value:g}: {count:,}" for value, count in values["common_labels"])
    lines.append(f"labels: {common}")
    lines.append(f"labels in {NUM_BINS} bins from 0 to 1: {' '.join(f'{count:,}' for count in values['label_bins'])}")
    lines.append(f"steps on a path: {_spread(values['steps_per_path'])}")
    lines.append(f"depth of labelled steps: {_spread(values['labelled_depth'])}")
    beyond = _figure(values["share_labels_beyond_depth_10"])
    lines.append(f"share of labels deeper than 10 steps: {beyond} (what max_steps_per_example 10 leaves out)")
    lines.append(f"longest step: {values['longest_step_characters']:,} characters")
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
