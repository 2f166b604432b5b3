"""Rows written into every container that own data may come in."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.feather
import pyarrow.parquet

Rows = list[dict[str, Any]]


def lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write_jsonl(folder: Path, rows: Rows) -> Path:
    return _bytes(folder / "rows.jsonl", lines(rows))


def write_json(folder: Path, rows: Rows) -> Path:
    return _bytes(folder / "rows.json", json.dumps(rows, indent=1).encode())


def write_gzip(folder: Path, rows: Rows) -> Path:
    return _bytes(folder / "rows.jsonl.gz", gzip.compress(lines(rows), mtime=0))


def write_zstd(folder: Path, rows: Rows) -> Path:
    path = folder / "rows.jsonl.zst"
    with pyarrow.CompressedOutputStream(str(path), "zstd") as file:
        file.write(lines(rows))
    return path


def write_csv(folder: Path, rows: Rows) -> Path:
    """Lists and objects as JSON, null as an empty cell."""
    path = folder / "rows.csv"
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([[_cell(row.get(name)) for name in names] for row in rows])
    return path


def write_parquet(folder: Path, rows: Rows) -> Path:
    path = folder / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def write_feather(folder: Path, rows: Rows) -> Path:
    path = folder / "rows.feather"
    pyarrow.feather.write_feather(pyarrow.Table.from_pylist(rows), str(path))
    return path


def write_stream(path: Path, rows: Rows) -> Path:
    table = pyarrow.Table.from_pylist(rows)
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return path


def write_saved(folder: Path, rows: Rows) -> Path:
    """What `datasets.Dataset.save_to_disk` makes, as far as it says where the rows are."""
    folder = folder / "saved"
    folder.mkdir()
    names = [f"data-{number:05}-of-00002.arrow" for number in range(2)]
    for name, part in zip(names, (rows[:1], rows[1:]), strict=True):
        write_stream(folder / name, part or rows[:1])
    state = {"_data_files": [{"filename": name} for name in names[: len(rows)]], "_format_type": None, "_split": None}
    _bytes(folder / "state.json", json.dumps(state).encode())
    _bytes(folder / "dataset_info.json", b"{}")
    return folder


def write_pattern(folder: Path, rows: Rows) -> Path:
    _bytes(folder / "part-0.jsonl", lines(rows[:1]))
    _bytes(folder / "part-1.jsonl", lines(rows[1:]) or lines(rows[:1]))
    return folder / ("part-*.jsonl" if len(rows) > 1 else "part-0*")


def _bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _cell(value: Any) -> Any:
    if isinstance(value, str) or value is None:
        return value
    return json.dumps(value)


CONTAINERS: dict[str, Callable[[Path, Rows], Path]] = {
    "jsonl": write_jsonl,
    "json": write_json,
    "jsonl.gz": write_gzip,
    "jsonl.zst": write_zstd,
    "csv": write_csv,
    "parquet": write_parquet,
    "feather": write_feather,
    "arrow stream": lambda folder, rows: write_stream(folder / "rows.arrow", rows),
    "datasets folder": write_saved,
    "pattern": write_pattern,
}
