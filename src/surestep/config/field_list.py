"""Every field of the configuration by its dotted path, with the kinds of its values. Knows no flag and no file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from surestep import settings
from surestep.config import Config


def fields(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Dotted path and description of each field, depth first."""
    for name, info in section.model_fields.items():
        path = f"{prefix}{name}"
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from fields(info.annotation, f"{path}.")
        else:
            yield path, info


def is_required(info: FieldInfo) -> bool:
    """Whether a field always has a value: it does not allow None.

    >>> known = dict(fields())
    >>> is_required(known["experiment_name"]), is_required(known["model.revision"])
    (True, False)
    """
    return type(None) not in (info.annotation, *get_args(info.annotation))


def kinds_of(info: FieldInfo) -> list[Any]:
    """The types of a field's values, in order, None left out."""
    return settings.kinds_of(info.annotation)
