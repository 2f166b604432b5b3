"""The problems that a promise is made of or watched on: a file of the user's, or the datasets' test split."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from surestep.config import Config
from surestep.data.datasets.dataset import AUTO_LAYOUT

if TYPE_CHECKING:
    from surestep.data.sources.source import Source
    from surestep.types import ReasoningTree


def data_of(args: argparse.Namespace, config: Config) -> Config:
    """With the problems as its only test data, where a file is named (`--data`, `--format`)."""
    if args.data is None:
        return config
    config.data.use_only({"own"})
    config.data.own_test = args.data
    config.data.own_format = args.format or AUTO_LAYOUT
    return config


def trees_in_order(args: argparse.Namespace, config: Config) -> list[ReasoningTree]:
    """The trees of `--data` in the order of the file; those of the layout `own` also where nothing is labelled."""
    from surestep.cli.output.console import say
    from surestep.data.datasets import DATASETS
    from surestep.data.datasets.own import read_in_order
    from surestep.data.records.reading_report import ReadReport
    from surestep.data.sources.recognise import recognise
    from surestep.errors import DataError

    found = None if args.format else recognise(args.data, {}, where="--data")
    if found is not None:
        say(f"· {args.data}: {found.line()}")
    report, layout, options = ReadReport(), found.layout if found else args.format, {}
    if layout == "own":
        options = {"split": config.data.own_split}
    read = read_in_order if layout == "own" else DATASETS[layout].read
    assert read is not None, "layouts are read from files"
    trees = [
        replace(tree, dataset=config.data.own_name)
        for tree in read([args.data], report=report, bad_rows=config.data.bad_rows, **options)
    ]
    for line in report.lines():
        say(f"· {line}")
    if not trees:
        raise DataError("holds no problem", path=args.data)
    return trees


def sources_of(config: Config) -> list[Source]:
    """Where they come from."""
    from surestep.data.sources.choose import enabled_sources

    return enabled_sources(config.data, "test", seed=config.training.seed)


def trees_of(sources: Sequence[Source]) -> list[ReasoningTree]:
    """All of them."""
    from surestep.data.records.reading_report import ReadReport

    return [tree for source in sources for tree in source.read(ReadReport())]
