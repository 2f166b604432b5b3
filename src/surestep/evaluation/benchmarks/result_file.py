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
from surestep.disk import real_path
from surestep.errors import ConfigError, DataError
from surestep.files import sha256_of, write_json
from surestep.scoring.checkpoint.versions import git_commit, library_versions
from surestep.scoring.predictions_file import write_rows
from surestep.untrusted import read_json
from surestep.untrusted.bounds import shown

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


def replaced_by(
    folder: Path, name: str, *, of: object, data: Sequence[Path], inputs: Sequence[Path | None], also: Sequence[str]
) -> list[str]:
    """A line where a result file would replace that of another scorer or other data.

    Args:
        folder: where results go.
        name: of the result file, without ending.
        of: the checkpoint, the file of predictions, or the scorer; None: confidences of the data itself.
        data: what is measured on.
        inputs: every file that is read, where there is one.
        also: names of what else is written, without endings.

    Raises:
        ConfigError: a file that is read would be replaced, or one that no benchmark wrote.
    """
    path = folder / f"{name}.json"
    for place in (path, *(folder / f"{other}.jsonl" for other in also)):
        if any(one is not None and real_path(one) == real_path(place) for one in (*data, *inputs)):
            raise ConfigError(f"{place} is read, and would be replaced by the result; name another --output_dir")
    if not path.exists():
        return []
    try:
        there = read_json(path, allow_nan=True)
    except (OSError, ValueError):
        return [f"replaces {path}, which cannot be read"]
    if not isinstance(there, dict) or not isinstance(there.get("benchmark"), str):
        raise ConfigError(
            f"{path} is no result of `surestep benchmark`, and would be replaced; move it away, or name another "
            "--output_dir"
        )
    if _measured(there) == ("" if of is None else str(of), _names(data)):
        return []
    return [f"replaces {path}, the result of {shown(_measured(there)[0] or 'its data')} (made {there.get('made')})"]


def _names(data: Sequence[Path]) -> list[str]:
    inside = (path.iterdir() if path.is_dir() else [path] for path in data)
    return sorted(one.name for files in inside for one in files if one in data or one.name.endswith(_DATA_ENDINGS))


def _measured(report: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Who was measured, and on which files."""
    scorer, data = report.get("scorer"), report.get("data")
    named = scorer.get("spec", "") if isinstance(scorer, dict) else ""
    files = [Path(str(one.get("path"))).name for one in data if isinstance(one, dict)] if isinstance(data, list) else []
    return str(report.get("checkpoint") or report.get("predictions") or named), sorted(files)


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
