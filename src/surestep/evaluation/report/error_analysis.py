"""What a page shows of `error_analysis`: for each dataset the sentences and the tables, ready to be put into cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from surestep.metrics.error_analysis.wording import HEADER, cells_of, group_name, sentences, tables_of


@dataclass(frozen=True)
class ShownTable:
    """A table: what its rows are, and each row's name and cells, a cell being a value and its interval or ""."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, list[tuple[str, str]]], ...]


@dataclass(frozen=True)
class ShownErrors:
    """The error analysis of a dataset."""

    dataset: str
    sentences: tuple[str, ...]
    tables: tuple[ShownTable, ...]


def shown_errors(report: Mapping[str, Any]) -> list[ShownErrors]:
    """Of every dataset with a labelled step; none where the evaluation is from before there was an error analysis."""
    found = (report.get("error_analysis") or {}).get("per_dataset") or {}
    return [
        ShownErrors(
            name,
            tuple(sentences(name, section)),
            tuple(
                ShownTable(title, HEADER, tuple((group_name(row), cells_of(row)) for row in rows))
                for title, rows in tables_of(section)
            ),
        )
        for name, section in found.items()
        if section["num_steps"]
    ]
