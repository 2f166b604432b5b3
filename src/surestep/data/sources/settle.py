"""What a run keeps of its own data that only the files tell: the hub's commit, and how raw solutions are split.

Knows the fields of own data; reads the first rows of a file.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from surestep.data.datasets import DATASETS
from surestep.data.datasets.dataset import AUTO_LAYOUT, SPLITS
from surestep.data.records.hub_files import fetch_split, hub_name
from surestep.data.sources.own_files import own_files
from surestep.data.sources.recognise import recognise
from surestep.errors import SurestepError


def settle_own_data(data: Any) -> None:
    """Write both into a configuration's `data` section, where it uses own data.

    What cannot be found is left as it is: whoever reads the data says why.
    """
    if not data.use_own:
        return
    for split in SPLITS:
        with suppress(SurestepError):
            _pin(data, f"own_{split}")
    if data.own_train is not None and data.own_format == AUTO_LAYOUT and data.own_split is None:
        with suppress(SurestepError):
            found = own_files(data.own_train, "train", named_by="own_train")
            if not isinstance(found, str):
                layout = recognise(found.files[0], data.own_columns or {}, where="own_train").layout
                data.own_split = DATASETS[layout].split_rule or None


def _pin(data: Any, field: str) -> None:
    """Name the commit of a data set of the hub, so that a later run reads the same one."""
    named = getattr(data, field)
    if named is None or named.exists() or (name := hub_name(str(named))) is None or name.revision:
        return
    setattr(data, field, Path(f"{named}@{fetch_split(name).revision}"))
