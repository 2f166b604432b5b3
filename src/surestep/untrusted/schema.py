"""Values against a schema: types, ranges, names of fields; the first mistake in one sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from surestep.untrusted.bounds import shown

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")


def checked(values: object, schema: TypeAdapter[T]) -> T:
    """`values` as the schema says, or the first thing that is wrong in a sentence.

    Raises:
        ValueError: a field is missing, unknown, of another type, or out of its range.
    """
    from pydantic import ValidationError

    try:
        return schema.validate_python(values)
    except ValidationError as error:
        raise ValueError(first_mistake(error.errors(include_url=False))) from None


def checked_record(values: object, record: type[T]) -> T:
    """`values` as the dataclass `record`, whose annotations say types and ranges; fields with a default may be absent.

    Raises:
        ValueError: see `checked`.
    """
    return record(**checked(values, _fields_of(record)))  # type: ignore[arg-type]


@cache
def _fields_of(record: Any) -> TypeAdapter[dict[str, Any]]:
    from typing import NotRequired

    from pydantic import ConfigDict, TypeAdapter
    from typing_extensions import TypedDict

    hints = get_type_hints(record, include_extras=True)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(record):
        is_required = field.default is field.default_factory is dataclasses.MISSING
        fields[field.name] = hints[field.name] if is_required else NotRequired[hints[field.name]]
    # Strictly, pydantic takes no dict for a dataclass: a dictionary of the same fields stands for it.
    shape = TypedDict(record.__name__, fields)  # type: ignore[misc]
    shape.__pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # type: ignore[attr-defined]
    return TypeAdapter(shape)  # type: ignore[arg-type]


def first_mistake(details: Sequence[Mapping[str, Any]]) -> str:
    """The first of pydantic's `details` in a sentence: the field, its value, what is allowed."""
    # Of a union's branches each one complains; the first stands for all.
    first = details[0]
    where = ".".join(shown(str(part)).strip("'") for part in first["loc"]) or "it"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{where} is missing"
    if first["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"{where} is no field of it"
    if first["type"] == "value_error":
        return f"{where}: {message}"
    return f"{where} is {shown(first['input'])}; {message[:1].lower()}{message[1:]}"
