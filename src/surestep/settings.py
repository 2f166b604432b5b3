"""A section of settings: checked assignment, and errors in plain words.

Knows pydantic; knows no file, no flag and no field. The sections of the configuration are made of it, and so are the
fields that a dataset brings (`surestep.data.datasets`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, ValidationInfo, field_validator
from pydantic_core import CoreSchema, core_schema

from surestep.errors import ConfigError


class Section(BaseModel):
    """Named, typed values; every assignment is validated at the line that makes it.

    Raises:
        ConfigError: an unknown name (with the nearest known one) or a value outside what is allowed.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _none_as_a_word(cls, value: Any, info: ValidationInfo) -> Any:
        """Flags and lists of values read `none` as no value; where it is one of a field's words, it is that word."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        is_word = get_origin(annotation) is Literal and "none" in get_args(annotation)
        return "none" if value is None and is_word else value

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_as_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic reads true as 1 and false as 0; a switch where a number belongs is a mistake."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        given = value if isinstance(value, list) else [value]
        kinds = kinds_of(annotation, within=True)
        if bool in kinds or not any(isinstance(one, bool) for one in given):
            return value
        numbers = [_KINDS_IN_WORDS[f"{kind.__name__}_type"] for kind in kinds if kind in (int, float)]
        words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
        if numbers or any(isinstance(word, int) for word in words):  # other kinds refuse it themselves
            allowed = [*(["a list"] if isinstance(value, list) else []), *numbers, *map(repr, words)]
            raise ValueError(", or ".join(allowed))
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in type(self).model_fields:
            raise ConfigError(f"{type(self).__name__} has no field '{name}'{_nearest(name, type(self).model_fields)}")
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            raise ConfigError(describe(error, type(self), prefix=name)) from None


def kinds_of(annotation: Any, *, within: bool = False) -> list[Any]:
    """The types that an annotation allows: of a union its branches, without None and what only narrows them.

    Args:
        annotation: of a field.
        within: give what a list or a table holds in its place.

    >>> kinds_of(list[int] | float | None), kinds_of(list[int] | float | None, within=True)
    ([list[int], <class 'float'>], [<class 'int'>, <class 'float'>])
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kinds_of(parts[0], within=within)
    if origin in (Union, UnionType) or (within and parts and origin is not Literal):
        return [kind for part in parts for kind in kinds_of(part, within=within)]
    return [] if annotation is type(None) else [annotation]


@dataclass(frozen=True, slots=True)
class OneOf:
    """Annotates a text that is one of `names()`, which a table elsewhere decides and which is asked at each check."""

    names: Callable[[], list[str]]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: str) -> str:
        names = [repr(name) for name in self.names()]
        if repr(value) not in names:
            raise ValueError(" or ".join([", ".join(names[:-1]), *names[-1:]]))
        return value


_KINDS_IN_WORDS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    "int_parsing_size": "a whole number of at most some thousand digits",
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    "string_type": "text",
    "path_type": "a path",
    "list_type": "a list",
    **dict.fromkeys(("model_type", "model_attributes_type"), "an object of fields ({class_name})"),
    "invalid_key": "a field's name as key, which is text",
}
"""What pydantic calls a value of the wrong kind -> what is allowed, without the words of its parser."""


def describe(
    error: ValidationError, section: type[BaseModel], *, prefix: str = "", hint: Callable[[str], str] | None = None
) -> list[str]:
    """One sentence for each value that `error` found wrong: field, value, what is allowed.

    Args:
        error: of pydantic.
        section: what was to be made.
        prefix: name of a value that has none.
        hint: says of an unknown field, from its name, what is meant; "" where it does not know.
    """
    sentences: list[str] = []
    allowed: dict[str, tuple[object, list[str]]] = {}  # a union reports each branch it tried; join them
    for detail in error.errors():
        location = [str(part) for part in detail["loc"] if not _is_union_branch(str(part))]
        path = ".".join(location) or prefix
        if detail["type"] == "extra_forbidden":
            owner = _owner(section, location[:-1])
            meant = hint(location[-1]) if hint is not None and location[-1] not in owner.model_fields else ""
            sentences.append(f"{path}: no such field{meant or _nearest(location[-1], owner.model_fields)}")
            continue
        if detail["type"] == "missing":
            sentences.append(f"{path} is missing")
            continue
        message = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if words := _KINDS_IN_WORDS.get(detail["type"]):
            message = words.format_map(detail.get("ctx", {}))
        allowed.setdefault(path, (detail["input"], []))[1].append(message)
    sentences += [f"{path} is {value!r}; allowed: {', or '.join(ways)}" for path, (value, ways) in allowed.items()]
    return sentences


def _owner(section: type[BaseModel], parents: list[str]) -> type[BaseModel]:
    for parent in parents:
        annotation = section.model_fields[parent].annotation if parent in section.model_fields else None
        if get_origin(annotation) is list:
            (annotation,) = get_args(annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            section = annotation
    return section


def _is_union_branch(part: str) -> bool:
    """pydantic names the branch of a union it tried ('int', 'literal[...]'); a user need not see it."""
    return part in {"int", "float", "str", "bool"} or part.startswith(("literal[", "list[", "constrained-"))


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; fields: {', '.join(names)}"
