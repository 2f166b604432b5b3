"""Training problems that also stand in an evaluated set: its own tests, and every benchmark at hand.

Compared are normalised texts (`data.trees.identity`), whatever a problem's group, and near copies. Knows where
benchmarks usually lie; knows no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from surestep.config import DataConfig
from surestep.counted import counted
from surestep.data.datasets import BENCHMARKS
from surestep.data.datasets.dataset import Split
from surestep.data.inspect.near_copies import find_near_copies
from surestep.data.inspect.overlaps import find_overlap
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import Record, read_records
from surestep.data.sources.choose import enabled_sources
from surestep.data.sources.source import Source
from surestep.data.trees.identity import normalize_text
from surestep.errors import DataError
from surestep.evaluation.check.finding import Finding
from surestep.evaluation.check.targets import LeakBounds
from surestep.types import ReasoningTree

COMPARED_FOLDERS = (*BENCHMARKS, "math-500", "gsm8k")
"""Folders of `data_dir`, in any case, whose files are always compared."""

_SHOWN = 2
_SHOWN_CHARACTERS = 90


@dataclass(frozen=True)
class ProblemSet:
    """Problem texts under a name; `num_without` records of its file held none."""

    name: str
    problems: list[str]
    num_without: int = 0


def read_split(data: DataConfig, split: Split, *, seed: int) -> dict[str, list[ReasoningTree]]:
    """The trees of each enabled dataset, by name; `seed` is the run's.

    Raises:
        DataError: files are missing or malformed.
        ConfigError: no dataset has this split.
    """
    sources = enabled_sources(data, split, seed=seed)
    return {source.name: _trees(source) for source in sources}


def _trees(source: Source) -> list[ReasoningTree]:
    return list(source.read(ReadReport()))


def training_problems(data: DataConfig, evaluated: Iterable[ReasoningTree], *, seed: int) -> list[ProblemSet]:
    """The problems of each training dataset, less those that training itself removed (`remove_overlap`).

    `max_train_samples` is not followed: the whole split is compared, which can only find more.
    """
    splits = read_split(data, "train", seed=seed)
    found = {name: [tree.problem for tree in trees] for name, trees in splits.items()}
    if data.remove_overlap:
        removed = {normalize_text(tree.problem) for tree in evaluated}
        found = {
            name: [problem for problem in problems if normalize_text(problem) not in removed]
            for name, problems in found.items()
        }
    return [ProblemSet(name, problems) for name, problems in found.items()]


def read_problems(path: Path) -> ProblemSet:
    """The problems of any benchmark file: `problem`, else `question`, else `prompt`; records without are counted.

    `question` may be text or an object with `problem` or `stem`, as in PRM800K and eQASC.

    Raises:
        DataError: the file is missing or malformed, or none of its records has a problem.
    """
    records = list(read_records(path))
    problems = [problem for record in records if (problem := _problem(record))]
    if not problems:
        raise DataError("no record has a text 'problem', 'question' or 'prompt'; name another file", path=path)
    return ProblemSet(f"{path.parent.name}/{path.name}", problems, len(records) - len(problems))


def _problem(record: Record) -> str:
    for name in ("problem", "question", "prompt"):
        value = record.values.get(name)
        if isinstance(value, Mapping):
            value = value.get("problem") or value.get("stem")
        if isinstance(value, str) and value.strip():
            return value
    return ""


def benchmark_files(data_dir: Path) -> list[Path]:
    """Files of the known benchmarks below `data_dir`, training files left out."""
    if not data_dir.is_dir():
        return []
    folders = [path for path in sorted(data_dir.iterdir()) if path.is_dir() and path.name.lower() in COMPARED_FOLDERS]
    endings = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
    files = (file for folder in folders for file in sorted(folder.rglob("*")) if file.name.lower().endswith(endings))
    return [file for file in files if file.is_file() and "train" not in file.name.lower()]


def check_leaks(training: Sequence[ProblemSet], evaluated: Sequence[ProblemSet], bounds: LeakBounds) -> list[Finding]:
    """One finding for each training dataset and evaluated set."""
    return [_check(train, test, bounds) for test in evaluated for train in training]


def _check(train: ProblemSet, test: ProblemSet, bounds: LeakBounds) -> Finding:
    overlap = find_overlap(test.problems, train.problems)
    near = find_near_copies(train.problems, test.problems)
    too_many = overlap.num_shared > bounds.max_shared
    too_near = bounds.max_near is not None and len(near) > bounds.max_near
    shared = [_short(problem) for problem in overlap.examples[:_SHOWN]]
    pairs = [f"{_short(problem)} near {_short(other)}" for problem, other in near[:_SHOWN]]
    details = [
        f"of {overlap.num_left:,} evaluated and {counted(overlap.num_right, 'training problem')}",
        f"{counted(test.num_without, 'record')} without a problem" if test.num_without else "",
        f"shared: {', '.join(shared)}" if shared else "",
        f"near copies: {', '.join(pairs)}" if pairs else "",
    ]
    target = f"shared ≤ {bounds.max_shared}" + ("" if bounds.max_near is None else f", near ≤ {bounds.max_near}")
    return Finding(
        "leaks",
        f"{train.name} train in {test.name}",
        "fail" if too_many or too_near else "pass",
        value=f"{overlap.num_shared} shared, {counted(len(near), 'near copy', 'near copies')}",
        target=target,
        detail="; ".join(part for part in details if part),
        mend="train without them (--remove_overlap for your own tests), or do not report this set"
        if too_many or too_near
        else "",
        numbers={
            "train": train.name,
            "evaluated": test.name,
            "shared": overlap.num_shared,
            "near": len(near),
            "num_evaluated": overlap.num_left,
            "num_train": overlap.num_right,
            "records_without_problem": test.num_without,
            "examples": list(overlap.examples),
            "near_examples": [list(pair) for pair in near[:_SHOWN]],
        },
    )


def _short(problem: str) -> str:
    line = " ".join(problem.split())
    return repr(line if len(line) <= _SHOWN_CHARACTERS else line[: _SHOWN_CHARACTERS - 1] + "…")
