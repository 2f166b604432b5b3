"""Values against a schema: types, ranges, names of fields; the first mistake in one sentence."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from surestep.untrusted.bounds import shown

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, TypeAdapter
    from pydantic_core import CoreSchema

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Matching:
    """Annotates a text that `pattern` matches from end to end; errors say what is allowed in `words`."""

    pattern: str
    words: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: str) -> str:
        from pydantic_core import PydanticCustomError

        if re.fullmatch(self.pattern, value) is None:
            raise PydanticCustomError("no_match", "{words}", {"words": self.words})
        return value


NAME = Matching(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", "letters, digits and _ . + -, a letter or digit first")
"""A text that may name a folder."""
SHA256 = Matching(r"[0-9a-f]{64}", "64 digits from 0 to f")


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
    if first["type"] == "no_match":
        message = f"allowed: {message}"
    if first["type"] == "value_error":
        return f"{where}: {message}"
    return f"{where} is {shown(first['input'])}; {message[:1].lower()}{message[1:]}"
