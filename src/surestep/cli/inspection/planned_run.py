"""What a run would train on, for `surestep data inspect`: the same reading, holding out and limiting as `train`.

Knows the configuration and printing; the work is done in `surestep.training.training_sets`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from surestep.config import TINY_BACKBONE, Config
from surestep.counted import counted
from surestep.errors import BackboneError, SurestepError

if TYPE_CHECKING:
    from surestep.scoring.stored_split import ProgressFactory
    from surestep.training.training_sets import RunData

_NO_LIMIT = 2**31 - 1


def planned_run(config: Config, progress: ProgressFactory | None = None) -> dict[str, Any]:
    """What training would say and save of its data, JSON-ready.

    `not_shown` says why there is nothing where training would refuse to start; `max_length_not_known` why the cost of
    `max_length` is missing where the backbone's tokenizer is not here.
    """
    training = config.training
    values: dict[str, Any] = {
        "seed": training.seed,
        "max_steps": training.max_steps,
        "examples_per_step": training.per_device_train_batch_size * training.gradient_accumulation_steps,
        "remove_overlap": config.data.remove_overlap,
        "max_train_samples": config.data.max_train_samples,
        "max_steps_per_example": config.data.max_steps_per_example,
        "max_length": config.data.max_length,
        "warnings": config.warnings(),
    }
    try:
        config.check()
        found, unknown = _read(config, progress)
    except SurestepError as error:
        return values | {"not_shown": str(error)}
    return values | {"max_steps": training.max_steps} | found.report | {"max_length_not_known": unknown}


def _read(config: Config, progress: ProgressFactory | None) -> tuple[RunData, str | None]:
    """The data of the run, and why the tokens of its backbone could not be counted, if they could not."""
    from surestep.encoding.formatter import Formatter
    from surestep.encoding.load_tokenizer import load_tokenizer
    from surestep.encoding.text_frame import formatter_of
    from surestep.scoring.stored_split import silent
    from surestep.training.run_tokenizer import run_tokenizer
    from surestep.training.training_sets import load_run_data

    progress = progress or silent
    try:
        tokenizer, limit = run_tokenizer(config.model, config.training.init_from)
    except BackboneError as error:
        # Everything but lengths in tokens is the same with any tokenizer.
        with tempfile.TemporaryDirectory() as folder:
            unlimited = config.model_copy(deep=True)
            unlimited.data.cache_dir, unlimited.data.max_length = Path(folder), _NO_LIMIT
            found = load_run_data(
                unlimited, load_tokenizer(TINY_BACKBONE), Formatter(), max_positions=None, progress=progress
            )
        return found, str(error)
    formatter = formatter_of(config.model.text_frame)
    return load_run_data(config, tokenizer, formatter, max_positions=limit, progress=progress), None


def print_planned_run(run: dict[str, Any], console: Console) -> None:
    """The run for people."""
    console.rule("the run that would be trained", align="left")
    for line in _lines(run):
        console.print(line, markup=False)
    console.print()


def _lines(run: dict[str, Any]) -> Iterator[str]:
    if "not_shown" in run:
        yield f"not shown, because train would not start: {run['not_shown']}"
        return
    yield (
        f"seed {run['seed']}; {counted(run['max_steps'], 'step')} of {counted(run['examples_per_step'], 'tree')} "
        "(with one process)"
    )
    for name, dataset in run["datasets"].items():
        held_out = run["validation"].get(dataset.get("dataset", name), {"problems": 0, "trees": 0, "labels": 0})
        yield (
            f"{name}: {dataset['share_of_loss']:.1%} of the loss; {_problems(dataset, 'training ')} with "
            f"{counted(dataset['labels'], 'label')}, about {dataset['expected_passes']:.1f} passes; "
            f"{_problems(held_out, 'validation ')} with {counted(held_out['labels'], 'label')}"
        )
        yield from (f"    {cost}" for cost in _costs(run, dataset, run["selection"][name]))
    yield from (f"· {line}" for line in [*run["warnings"], *run["lines"]])


def _costs(run: dict[str, Any], dataset: dict[str, Any], selection: dict[str, Any]) -> Iterator[str]:
    """What each setting leaves out of the labels that were read, in the order in which they act."""
    read = {"problems": selection["problems_read"], "trees": selection["trees_read"]}
    yield f"read: {_problems(read, 'training ')} with {counted(selection['labels_read'], 'label')}"
    shared, labels = selection["trees_in_evaluated_splits"], selection["labels_in_evaluated_splits"]
    state = "takes out" if run["remove_overlap"] else "is off; it would take out"
    yield f"remove_overlap {state} {counted(shared, 'tree')} with {counted(labels, 'label')}"
    unused, labels = selection["trees_beyond_max_train_samples"], selection["labels_beyond_max_train_samples"]
    yield (
        f"max_train_samples {_set(run['max_train_samples'])} leaves out {counted(unused, 'tree')} with "
        f"{counted(labels, 'label')}"
    )
    before = dataset["labels_before_limits"]
    for name, beyond in (
        ("max_steps_per_example", dataset["labels_beyond_max_steps_per_example"]),
        ("max_length", dataset["labels_beyond_max_length"]),
    ):
        if name == "max_length" and run["max_length_not_known"]:
            yield f"max_length {run[name]:,}: what it drops is not known ({run['max_length_not_known']})"
        else:
            yield f"{name} {_set(run[name])} drops {beyond:,} of {counted(before, 'label')}{_share(beyond, before)}"
    if emptied := dataset["trees_left_without_label"]:
        yield f"trees left without a label, and so without use: {emptied:,}"


def _problems(counts: Mapping[str, int], of: str) -> str:
    """How many problems, and in how many trees where a problem has several.

    >>> _problems({"problems": 2, "trees": 4}, "training "), _problems({"problems": 2, "trees": 2}, "")
    ('2 training problems in 4 trees', '2 problems')
    """
    trees = "" if counts["trees"] == counts["problems"] else f" in {counted(counts['trees'], 'tree')}"
    return f"{counts['problems']:,} {of}problems{trees}"


def _set(value: int | None) -> str:
    return "(unset)" if value is None else f"{value:,}"


def _share(part: int, whole: int) -> str:
    return f" ({part / whole:.1%})" if whole else ""
