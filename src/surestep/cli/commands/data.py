"""`surestep data`: what data is configured and present, official downloads, and a look inside.

Knows arguments and printing; the work is done in `surestep.data`.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from surestep.cli.commands import train
from surestep.cli.flags import add_config_flags, config_from_args, fields
from surestep.cli.inspection.inspect import inspect
from surestep.cli.output.console import add_json_flag, make_console, say
from surestep.config import DataConfig
from surestep.counted import counted
from surestep.data.datasets import DATASETS, PUBLIC_DATASETS
from surestep.data.datasets.dataset import Dataset
from surestep.data.fetch.download import fetch_file
from surestep.data.sources.locate import find_folders
from surestep.errors import DownloadError

ROWS_COUNTED_BELOW_BYTES = 64 * 2**20
"""`list` counts the rows of .jsonl files up to this size; larger ones would make it slow."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the actions and their flags."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="what is configured and present, licences, how to get the rest")
    fetch = actions.add_parser("fetch", help="official downloads: resumable, checked by sha256")
    look = actions.add_parser("inspect", help="counts, labels, lengths, overlaps and readable examples")
    fetch.add_argument("names", nargs="+", metavar="NAME", help=f"one of {', '.join(PUBLIC_DATASETS)}")
    fetch.add_argument("--only", metavar="PATTERN", help="only files whose name matches, e.g. 'phase1*'")
    fetch.add_argument("--from", dest="base", metavar="PLACE", help="a mirror's address, a folder, or the file itself")
    look.add_argument("names", nargs="*", metavar="NAME", help="datasets to look at (default: those enabled)")
    look.add_argument("--examples", type=int, default=2, metavar="N", help="trees shown for each split (default: 2)")
    add_json_flag(listing)
    other = frozenset(path for path, _ in fields() if not path.startswith("data."))
    for action in (listing, fetch):
        add_config_flags(action, exclude=other)
    train.configure(look)


def run(args: argparse.Namespace) -> int:
    """Runs the chosen action; returns the exit code."""
    console = make_console(highlight=False)
    if args.action == "inspect":
        inspect(train.run_config(args), console, names=args.names, num_examples=args.examples, as_json=args.json)
        return 0
    data = config_from_args(args).data
    if args.action == "list":
        _list(data, console, as_json=args.json)
    else:
        _fetch(data, console, names=args.names, only=args.only, base=args.base)
    return 0


def _list(data: DataConfig, console: Console, *, as_json: bool) -> None:
    shares = data.enabled()
    known = [dataset for dataset in DATASETS.values() if dataset.is_public or (dataset.in_mixture and dataset.licence)]
    rows = [_Row.of(dataset, data, shares) for dataset in known if not dataset.is_generated]
    generated = [dataset for dataset in known if dataset.is_generated]
    if as_json:
        made = {
            dataset.name: {"enabled": data.is_used(dataset.name), "share": shares.get(dataset.name, 0.0)}
            for dataset in generated
        }
        say(json.dumps({"datasets": [asdict(row) for row in rows], **made}, indent=2))
        return
    for row in rows:
        console.print(f"{row.name} ({row.use}): {row.title}", markup=False)
        console.print(f"    licence  {row.licence}  {row.page}", markup=False)
        if row.may_be_used_for:
            console.print(f"    for      {row.may_be_used_for}", markup=False)
        for file in row.files:
            console.print(f"    here     {file.line()}", markup=False)
        console.print(f"    get it   {row.how}", markup=False)
    for dataset in generated:
        console.print(f"{dataset.name} ({_use(dataset, data, shares)}): {dataset.title}; built in", markup=False)
    if data.use_own:
        console.print(
            f"{data.own_name} ({shares.get('own', 0.0):.0%} of the loss): {data.own_format} files",
            markup=False,
        )
        for split in ("train", "validation", "test"):
            console.print(f"    {split:<10} {getattr(data, f'own_{split}') or 'not set'}", markup=False)


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    num_bytes: int
    num_rows: int | None

    def line(self) -> str:
        rows = "" if self.num_rows is None else f", {counted(self.num_rows, 'row')}"
        return f"{self.path} ({counted(self.num_bytes, 'byte')}{rows})"


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    title: str
    use: str
    enabled: bool
    share: float
    licence: str
    page: str
    files: list[_File]
    how: str
    may_be_used_for: str

    @classmethod
    def of(cls, dataset: Dataset, data: DataConfig, shares: dict[str, float]) -> _Row:
        name = dataset.name
        enabled, share = dataset.in_mixture and data.is_used(name), shares.get(name, 0.0)
        folder = _folder(data, dataset)
        fetch = f"surestep data fetch {name}" if dataset.is_public else f"put its files into {folder}"
        how, files = dataset.by_hand or fetch, _present(folder)
        use = _use(dataset, data, shares)
        return cls(name, dataset.title, use, enabled, share, dataset.licence, dataset.page, files, how, dataset.use)


def _use(dataset: Dataset, data: DataConfig, shares: dict[str, float]) -> str:
    if not dataset.in_mixture:
        return f"a layout: --own_format {dataset.name}" if dataset.for_training else "not for training"
    return f"{shares.get(dataset.name, 0.0):.0%} of the loss" if data.is_used(dataset.name) else "off"


def _folder(data: DataConfig, dataset: Dataset) -> Path:
    """Where the dataset lies, or where it would be put."""
    named: Path | None = getattr(data, f"{dataset.name}_dir", None)
    found = find_folders(data.data_dir, dataset.name)
    return named or (found[0] if found else data.data_dir / dataset.name)


def _present(folder: Path) -> list[_File]:
    if not folder.is_dir():
        return []
    return [
        _File(str(path), path.stat().st_size, _num_rows(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in {".json", ".jsonl", ".csv", ".parquet", ".gz", ".part"}
    ]


def _num_rows(path: Path) -> int | None:
    if path.suffix != ".jsonl" or path.stat().st_size > ROWS_COUNTED_BELOW_BYTES:
        return None
    with path.open("rb") as file:
        return sum(not line.isspace() for line in file)


def _fetch(data: DataConfig, console: Console, *, names: list[str], only: str | None, base: str | None) -> None:
    unknown = [name for name in names if name not in PUBLIC_DATASETS]
    if unknown:
        raise DownloadError(f"unknown dataset {', '.join(unknown)}; allowed: {', '.join(PUBLIC_DATASETS)}")
    for name in names:
        dataset = PUBLIC_DATASETS[name]
        files = [file for file in dataset.files if only is None or fnmatch.fnmatch(file.name, only)]
        if not files:
            have = ", ".join(file.name for file in dataset.files)
            raise DownloadError(f"--only {only} matches no file of {name}; its files: {have}")
        folder = _folder(data, dataset)
        purpose = f" For {dataset.use}." if dataset.use else ""
        console.print(f"{name}: {dataset.title}. Licence: {dataset.licence}.{purpose} {dataset.page}", markup=False)
        if dataset.by_hand and base is None:
            raise DownloadError(
                f"{name} is not downloaded automatically: {dataset.by_hand} and put it into {folder}/, "
                f"or run `surestep data fetch {name} --only {files[0].name} --from FILE`"
            )
        with _progress(console) as bars:
            for file in files:
                bar = bars.add_task(file.name, total=file.num_bytes)

                def progress(done: int, total: int | None, bar: TaskID = bar) -> None:
                    bars.update(bar, completed=done, total=total)

                path = fetch_file(file, folder, base=base, progress=progress)
                size = path.stat().st_size
                bars.update(bar, completed=size, total=size)
                checked = (
                    "sha256 matches" if file.sha256 else "no official sha256 is known, so only its length was checked"
                )
                console.print(f"{path} ({counted(size, 'byte')}, {checked})", markup=False)


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)
