"""Which sources a configuration asks for in a split, with every missing file named at once.

Where each dataset's splits come from stands in its record. Knows no tokenizer and no training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from surestep.data.datasets import DATASET_NAMES, DATASETS, name_is_taken
from surestep.data.datasets.dataset import AUTO_LAYOUT, SPLITS, Dataset, Split, SplitPlan, SplitRequest
from surestep.data.records.bad_rows import BadRows
from surestep.data.sources.hold_out import Division, Side
from surestep.data.sources.locate import NeededFile
from surestep.data.sources.own_files import OwnFiles, own_files
from surestep.data.sources.recognise import columns_for, recognise
from surestep.data.sources.source import Source
from surestep.errors import ConfigError, DataError

__all__ = ["SPLITS", "DataSettings", "Division", "Source", "Split", "enabled_sources"]


class DataSettings(Protocol):
    """What is read of the configuration; each dataset's own fields are attributes of it too."""

    data_dir: Path
    validation_fraction: float
    validation_seed: int | None
    bad_rows: BadRows

    def used(self) -> list[str]:
        """The datasets that are switched on."""

    def enabled(self) -> dict[str, float]:
        """Name to share of each dataset in the mixture."""


@dataclass(slots=True)
class _Choice:
    """What `enabled_sources` is putting together."""

    data: DataSettings
    split: Split
    seed: int
    sources: list[Source] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unset: list[str] = field(default_factory=list)

    def add(self, dataset: Dataset) -> None:
        """The source of `dataset`, or why there is none."""
        assert dataset.splits is not None
        side: Side = "held_out" if self.split == "validation" else "rest"
        seed = self.seed if self.data.validation_seed is None else self.data.validation_seed
        hold_out = Division(self.data.validation_fraction, seed, side)

        def has(name: str) -> bool:
            return needed_file(dataset, (name,), self.data).find() is not None

        plan = dataset.splits(self.data, SplitRequest(self.split, self.seed, hold_out, has))
        if (found := self._files(dataset, plan)) is None:
            return
        shown_as = plan.shown_as or dataset.name
        if taken := name_is_taken(shown_as, by=dataset.name):
            raise ConfigError(taken)
        layout, columns, said = _layout(dataset, plan, found.files)
        # A reader's own options for one split are those of the dataset that names them.
        options = layout.options(self.data) | (dict(plan.options) if layout.name == dataset.name else {})
        self.sources.append(
            Source(
                dataset.name,
                shown_as,
                self.split,
                layout.name,
                found.files,
                options,
                plan.divisions,
                bad_rows=self.data.bad_rows,
                columns=columns,
                about=tuple(sentence for sentence in (found.about, said) if sentence),
            )
        )

    def _files(self, dataset: Dataset, plan: SplitPlan) -> OwnFiles | None:
        if plan.names:
            needed = needed_file(dataset, plan.names, self.data)
            if (found := needed.find()) is None:
                self.missing.append(needed.complaint())
            return None if found is None else OwnFiles((found,))
        if plan.path is None:
            if plan.named_by:
                self.unset.append(f"{plan.named_by} is not set")
                return None
            return OwnFiles(())
        # Held-out problems are a part of the training data, of a folder with several splits too.
        part = next((split for split in SPLITS if plan.named_by.endswith(f"_{split}")), self.split)
        own = own_files(plan.path, part, named_by=plan.named_by)
        if isinstance(own, str):
            self.missing.append(own)
            return None
        return own


def _layout(dataset: Dataset, plan: SplitPlan, files: tuple[Path, ...]) -> tuple[Dataset, Mapping[str, str], str]:
    """Whose reader reads the files, what their columns are called, and how that was found out."""
    if plan.layout != AUTO_LAYOUT:
        columns = columns_for(files[0], plan.columns) if files and plan.columns else {}
        return DATASETS[plan.layout or dataset.name], columns, ""
    found = [recognise(path, plan.columns, where=plan.named_by) for path in files]
    for path, other in zip(files, found, strict=True):
        if (other.layout, other.columns) != (found[0].layout, found[0].columns):
            raise DataError(
                f"is {other.layout} by its keys, {files[0].name} {found[0].layout}; name files of one layout "
                f"({plan.named_by}), or the layout of all (--own_format)",
                path=path,
            )
    return DATASETS[found[0].layout], found[0].columns, found[0].line()


def needed_file(dataset: Dataset, names: tuple[str, ...], data: DataSettings) -> NeededFile:
    """A file of `dataset`, to be looked for where the configuration says."""
    folder: Path | None = getattr(data, f"{dataset.name}_dir", None)
    return NeededFile(dataset.name, names, folder, data.data_dir, dataset.inner_folders)


def enabled_sources(data: DataSettings, split: Split, *, seed: int = 0) -> list[Source]:
    """The sources of a split, in the order of `DATASET_NAMES`.

    Args:
        data: the configuration. In train, a dataset with weight 0 is left out.
        split: train, validation or test.
        seed: decides which problems are held out, and the arithmetic that is generated.

    Raises:
        DataError: files are missing; all of them are named, with the command that gets each.
        ConfigError: no dataset is enabled, none has this split, or the user's data has a built-in dataset's name.
    """
    choice = _Choice(data, split, seed)
    trained = data.enabled()
    for name in data.used():
        if split != "train" or name in trained:
            choice.add(DATASETS[name])
    if choice.missing:
        raise DataError("; ".join(dict.fromkeys(choice.missing)))
    if not choice.sources:
        what = " and ".join(choice.unset) if choice.unset else "every dataset is off or has weight 0"
        raise ConfigError(f"no {split} data: {what}; turn on one of {', '.join(f'use_{n}' for n in DATASET_NAMES)}")
    return choice.sources
