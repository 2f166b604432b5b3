"""Every dataset and every layout of files: a file and an entry each.

All that is said of a dataset elsewhere (flags, documentation, mixture, places on disk, downloads, layouts of own files,
model cards) is looked up in `DATASETS`. To add one, write its file, which holds its record as `DATASET`, and name the
file below.
"""

from __future__ import annotations

from importlib import import_module

from surestep.data.datasets.dataset import Dataset

_FILES = (
    "prm800k",
    "reveal",
    "eqasc",
    "arithmetic",
    "own",
    "stepwise",
    "math_shepherd",
    "processbench",
    "own_layouts.chat_verdicts",
    "own_layouts.versaprm",
    "own_layouts.step_table",
    "own_layouts.step_pairs",
    "math500",
    "published.mr_ben",
    "published.big_bench_mistake",
    "published.reason_eval",
    "published.hard2verify",
    "published.delta_bench",
    "published.agent_process_bench",
    "published.tool_prm_bench",
    "published.mmlu_pro_cot",
    "published.prm_bench",
)
"""The file of each dataset in this folder; a new dataset is one more."""


def _record(file: str) -> Dataset:
    found = import_module(f"surestep.data.datasets.{file}").DATASET
    assert isinstance(found, Dataset), file
    return found


DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in map(_record, _FILES)}
"""Name to record. The order of those in the mixture is the order of their sources."""

DATASET_NAMES = tuple(name for name, dataset in DATASETS.items() if dataset.in_mixture)
"""The datasets that a mixture can hold; each has `use_<name>` and `<name>_weight`."""

LAYOUTS = tuple(name for name, dataset in DATASETS.items() if dataset.is_layout)
"""The layouts that a user's own file may have."""

TREE_LAYOUTS = tuple(name for name in LAYOUTS if DATASETS[name].judges_every_step)
"""The layouts whose trees say of each step whether it is right."""

SOLUTION_LAYOUTS = tuple(name for name in LAYOUTS if DATASETS[name].read_solutions is not None)
"""The layouts whose rows list a solution with its first wrong step."""

PUBLIC_DATASETS = {name: dataset for name, dataset in DATASETS.items() if dataset.is_public}
"""Those with official files, to fetch or to get by hand."""

BENCHMARKS = {
    name: dataset for name, dataset in PUBLIC_DATASETS.items() if not (dataset.in_mixture or dataset.for_training)
}
"""Public sets of problems that are for testing only."""


def name_is_taken(shown_as: str, *, by: str) -> str:
    """Why data of `by` cannot be shown under this name; empty where it can.

    Reports, mixtures and cards know a dataset by the name it is shown under: of two with one name, one would be lost.
    """
    if shown_as.lower() == by or shown_as.lower() not in DATASET_NAMES:
        return ""
    return (
        f"{by}_name is '{shown_as}', which is the name of a built-in dataset: of two datasets with one name one would "
        f"be lost; choose another (--{by}_name mine)"
    )
