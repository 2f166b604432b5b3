"""What a dataset is: everything Surestep knows of it, as one record in the dataset's own file.

Flags, documentation, mixture, locating, downloads, file layouts and model cards look it up in `DATASETS`
(`surestep.data.datasets`). Knows no particular dataset and opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from surestep.data.records.record import Record
from surestep.data.sources.hold_out import Division
from surestep.data.trees.problem_rows import ProblemRows
from surestep.settings import Section
from surestep.types import ReasoningTree

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

AUTO_LAYOUT = "auto"
"""In place of a layout's name: its rows tell by their keys."""

Reader = Callable[..., Iterator[ReasoningTree]]
"""What every reader is: `reader(paths, *, report, **its own options)`."""

Weight = Annotated[float, Field(ge=0.0)]
"""A dataset's share of the mixture, before the shares are divided by their sum."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One official file.

    Attributes:
        name: its name on disk.
        url: where it is, or None where it cannot be downloaded without a person's agreement.
        num_bytes: its exact size, or None where unknown.
        sha256: its checksum, or None where unknown: then nothing but its completeness can be checked.
    """

    name: str
    url: str | None
    num_bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class SplitRequest:
    """Which split is asked for.

    Attributes:
        split: train, validation or test.
        seed: decides which problems are held out, and what is generated.
        hold_out: the side of `split` where train and validation share a file.
        has: whether a file of this name is in the dataset's folder.
    """

    split: Split
    seed: int
    hold_out: Division
    has: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """Where the trees of a split come from.

    Attributes:
        names: what its file may be called in the dataset's folder, best first; none where it is named or generated.
        path: the file that the user named.
        named_by: the field that names `path`; where it is not set, there is no such split.
        layout: name of the dataset whose reader reads it; empty: the dataset's own; `AUTO_LAYOUT`: its rows tell.
        columns: what the columns of the user's file are called, name in the layout -> name in the file.
        shown_as: the name in reports; empty: the dataset's.
        options: options of the dataset's own reader for this split, beside those that its own fields give.
        divisions: which problems of the file are in the split, applied one after the other.
    """

    names: tuple[str, ...] = ()
    path: Path | None = None
    named_by: str = ""
    layout: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    shown_as: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    divisions: tuple[Division, ...] = ()


def _any_row(_row: Record) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class RowKeys:
    """The keys by which a row of a file tells which layout it has.

    Attributes:
        needs: names that it must have; `a|b` is either of two.
        fits: asks of a row that has them whether they hold what the layout has there.
    """

    needs: tuple[str, ...]
    fits: Callable[[Record], bool] = _any_row

    def has_all(self, row: Record) -> bool:
        """Whether the row has every name."""
        return all(not row.values.keys().isdisjoint(need.split("|")) for need in self.needs)


def layout_of(row: Record, layouts: Mapping[str, Dataset]) -> tuple[str, RowKeys] | None:
    """The layout whose keys a row has, and these; None where there is none.

    Of several it is the one that asks for the most keys; of equals, the first in the table.
    """
    fitting = [
        (name, keys)
        for name, dataset in layouts.items()
        for keys in dataset.rows
        if keys.has_all(row) and keys.fits(row)
    ]
    return max(fitting, key=lambda found: len(found[1].needs), default=None)


def _no_options(_fields: Any) -> dict[str, Any]:
    return {}


def _no_part(_tree_id: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that can be trained or tested on, or a layout of files that others write.

    Attributes:
        name: its name in flags and reports, its folder's under `data_dir`, and its layout's.
        title: what it is, in one line.
        spelling: its name as its authors write it; empty: `name`.
        licence: its licence and what that asks of the user; empty for a mere layout.
        page: where people read about it.
        use: what it may be used for, in a few words; shown where datasets are listed.
        read: makes trees of its files; None where its problems have no steps.
        problem_rows: makes of the reader's options how its rows become trees, where the rows of one problem share
            one, so that large files are read by several processes; `read` gives the same trees.
        read_solutions: makes solutions with the index of their first wrong step of its files, for benchmarks; None
            where that is read off the trees.
        version: changes whenever the trees made from the same input change.
        fields: its fields of the configuration, with `use_<name>` and `<name>_weight`, and `<name>_dir` where it has
            official files; None: it is not in the mixture (a layout, or a benchmark).
        options: the reader's options, from the configuration.
        splits: where each split comes from, from the configuration; needed with `fields`.
        test_fields: fields, beside `use_<name>`, that decide which problems the test split holds.
        files: its official files; none where there is nothing to fetch.
        inner_folders: where files may lie within its folder, the folder itself left out.
        by_hand: what to do where it cannot be downloaded; empty where it can.
        is_generated: it is made, not read, so no file has its layout.
        rows: how a row tells that it has this layout; none where that is never found out by itself.
        judges_every_step: whether its trees say of each step whether it is right; ProcessBench names one step only.
        split_rule: how its rows, raw solutions, are split into steps (`split_steps`); empty where steps are given.
        language: code of its texts' language, for model cards; empty where unknown.
        part_of_id: the part of the data that a tree is of, in words, by its id; "" for none. Reports give the regret to
            the known truth by part.
        for_training: whether it is public data that people train on, though no mixture holds it: no benchmark then.
        for_testing_only: why a model that was trained on it may not be free to use, for model cards.
    """

    name: str
    title: str
    spelling: str = ""
    licence: str = ""
    page: str = ""
    use: str = ""
    read: Reader | None = None
    problem_rows: Callable[..., ProblemRows] | None = None
    read_solutions: Callable[..., Iterator[Any]] | None = None
    version: str = ""
    fields: type[Section] | None = None
    options: Callable[[Any], dict[str, Any]] = _no_options
    splits: Callable[[Any, SplitRequest], SplitPlan] | None = None
    test_fields: tuple[str, ...] = ()
    files: tuple[RemoteFile, ...] = ()
    inner_folders: tuple[str, ...] = ()
    by_hand: str = ""
    is_generated: bool = False
    rows: tuple[RowKeys, ...] = ()
    judges_every_step: bool = True
    split_rule: str = ""
    language: str = ""
    for_training: bool = False
    for_testing_only: str = ""
    part_of_id: Callable[[str], str] = _no_part

    def __post_init__(self) -> None:
        object.__setattr__(self, "spelling", self.spelling or self.name)
        if (self.fields is None) != (self.splits is None) or (self.fields is not None and self.read is None):
            raise ValueError(f"dataset {self.name}: a mixture needs 'fields', 'splits' and 'read' together")
        if self.fields is not None:
            needed = [f"use_{self.name}", f"{self.name}_weight", *([f"{self.name}_dir"] if self.files else [])]
            if absent := [name for name in needed if name not in self.fields.model_fields]:
                raise ValueError(f"dataset {self.name}: its fields lack {', '.join(absent)}")

    @property
    def in_mixture(self) -> bool:
        """Whether a configuration can enable it."""
        return self.fields is not None

    @property
    def is_layout(self) -> bool:
        """Whether a user's own file may be laid out like it."""
        return self.read is not None and not self.is_generated

    @property
    def is_public(self) -> bool:
        """Whether it has official files, to fetch or to get by hand."""
        return bool(self.files)
