"""What every benchmark's result file says beside its figures: enough to run it again and to see that it is the same.

Knows files and JSON; no benchmark.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from surestep.data.records.lines import missing_file
from surestep.errors import DataError
from surestep.files import sha256_of, write_json
from surestep.scoring.checkpoint.versions import git_commit, library_versions
from surestep.scoring.predictions_file import write_rows

_DATA_ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet")


@dataclass(frozen=True)
class Resampling:
    """How intervals are made: how many resamples of the problems, from which seed."""

    resamples: int
    seed: int

    def about(self) -> dict[str, Any]:
        """As the result file says it."""
        return {"resamples": self.resamples, "seed": self.seed, "level": 0.95, "unit": "problem"}


@dataclass
class BenchmarkResult:
    """What a benchmark found.

    Attributes:
        report: the content of its result file.
        rows: what was scored, one by one, with its confidences.
        official: files in the layout of the benchmark's own program, by name without ending: the rows of each.
    """

    report: dict[str, Any]
    rows: list[dict[str, Any]]
    official: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def find_data(*paths: Path) -> list[Path]:
    """The files among `paths`, and the data files of the folders among them in order of name.

    Raises:
        DataError: there is none, or two have the same name but for their endings.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise missing_file([path])
        inside = (
            sorted(f for f in path.iterdir() if f.is_file() and f.name.endswith(_DATA_ENDINGS))
            if path.is_dir()
            else [path]
        )
        if not inside:
            raise DataError(f"{path} holds no data file; allowed endings: {', '.join(_DATA_ENDINGS)}")
        found += inside
    by_name: dict[str, Path] = {}
    for path in found:
        other = by_name.setdefault(path.name.split(".")[0], path)
        if other is not path:
            raise DataError(
                f"{other} and {path} are both called {path.name.split('.')[0]}; name one of them, or rename"
            )
    return found


def file_facts(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Path, size and sha256 of each file."""
    return [{"path": str(path), "bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in paths]


def write_official(folder: Path, result: BenchmarkResult) -> list[Path]:
    """Write what `result` has in the layout of the benchmark's own program, one object a line; the files.

    Raises:
        StorageError: the folder cannot be written.
    """
    paths = [folder / f"{name}.jsonl" for name in result.official]
    for path, rows in zip(paths, result.official.values(), strict=True):
        write_rows(path, rows)
    return paths


def write_result(
    folder: Path, name: str, report: Mapping[str, Any], *, argv: Sequence[str], rows: list[dict[str, Any]] | None
) -> Path:
    """Write `<name>.json` into `folder`, and `<name>_predictions.jsonl` where there are `rows`; the former's path.

    Raises:
        StorageError: the folder cannot be written.
    """
    path = folder / f"{name}.json"
    whole = {
        **report,
        "command": shlex.join(["surestep", *argv]),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": library_versions(),
        "git_commit": git_commit(),
    }
    if rows is not None:
        write_rows(folder / f"{name}_predictions.jsonl", rows)
    write_json(path, whole, ascii_only=False)
    return path
