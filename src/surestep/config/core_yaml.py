"""YAML as version 1.2 reads it (its core schema), and JSON, both without a key that is there twice.

PyYAML follows YAML 1.1, where `1:30:00` is 5400, `010` is 8, `1_000` is 1000, `no` is false and `1e-4` is text. In
YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema) these are a text, 10, a text, a text and a number, and there are
no dates. Merge keys (`<<`) are read, though they are no part of it. Knows text; knows no field.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import yaml

from surestep.untrusted import parse_json, parse_yaml

_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_BASES = {"0o": 8, "0x": 16}

_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:\n]|-?Infinity|NaN')


class StrictReadError(ValueError):
    """A key that is there twice, or a number that JSON does not have; `line` counts from 1."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.problem, self.line = problem, line


class CoreLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the core schema of YAML 1.2; a key twice in one mapping is an error."""

    # Not PyYAML's own table, which every loader shares.
    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping; merge keys fill up what it does not name itself."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == f"{_TAG}merge":
                key: Any = "<<"
            else:
                key = self.construct_object(key_node, deep=True)
            try:
                is_again = key in seen
            except TypeError:  # a list or mapping as a key, which PyYAML refuses
                continue
            if is_again:
                raise StrictReadError(f"the key {key!r} is there twice; keep one", key_node.start_mark.line + 1)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def read_int(self, node: yaml.ScalarNode) -> int:
        """A whole number: decimal, `0o17` or `0x1f`; zeros in front mean nothing."""
        text = self._checked(node, _INT, "a whole number")
        return int(text[2:], _BASES[text[:2]]) if text[:2] in _BASES else int(text)

    def read_float(self, node: yaml.ScalarNode) -> float:
        """A number with a point or an exponent, `.inf` or `.nan`."""
        text = self._checked(node, _FLOAT, "a number").lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan") if text[-1] in "fn" else text)

    def read_bool(self, node: yaml.ScalarNode) -> bool:
        """`true` or `false`."""
        return self._checked(node, _BOOL, "true or false").lower() == "true"

    def _checked(self, node: yaml.ScalarNode, pattern: re.Pattern[str], what: str) -> str:
        text = str(self.construct_scalar(node))
        if not pattern.fullmatch(text):  # an explicit tag (`!!int yes`) asks for it
            raise yaml.constructor.ConstructorError(None, None, f"{text!r} is not {what}", node.start_mark)
        return text


def _whole(pattern: re.Pattern[str]) -> re.Pattern[str]:
    return re.compile(f"(?:{pattern.pattern})$")


class CoreDumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which also quotes the texts that YAML 1.2 would read as numbers (`1e-4`, `0o17`)."""


for _name, _pattern, _first in (
    ("null", _NULL, ["~", "n", "N", ""]),
    ("bool", _BOOL, list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
    ("merge", re.compile("<<"), ["<"]),
):
    for _either in (CoreLoader, CoreDumper):
        _either.add_implicit_resolver(_TAG + _name, _whole(_pattern), _first)
CoreLoader.add_constructor(f"{_TAG}int", CoreLoader.read_int)
CoreLoader.add_constructor(f"{_TAG}float", CoreLoader.read_float)
CoreLoader.add_constructor(f"{_TAG}bool", CoreLoader.read_bool)


def load_yaml(text: str) -> Any:
    """The one document of a YAML text.

    Raises:
        StrictReadError: a key is there twice in one mapping.
        yaml.YAMLError, ValueError: it is not YAML, or beyond a bound (`surestep.untrusted`).

    >>> load_yaml("{a: 1:30:00, b: 010, c: 0o17, d: 1_000, e: 1e-4, f: yes, g: true, h: 2026-01-02, i: ~}")
    {'a': '1:30:00', 'b': 10, 'c': 15, 'd': '1_000', 'e': 0.0001, 'f': 'yes', 'g': True, 'h': '2026-01-02', 'i': None}
    """
    return parse_yaml(text, CoreLoader)


def dump_yaml(values: Any) -> str:
    """Plain values as YAML that this reader, and one of YAML 1.1, reads as the same values; keys keep their order."""
    return str(yaml.dump(values, Dumper=CoreDumper, sort_keys=False))


def load_json(text: str) -> Any:
    """The value of a JSON text, by RFC 8259: no `NaN`, no infinity, and no key twice in one object.

    Raises:
        StrictReadError: a key is there twice, or a number is none; with the line.
        json.JSONDecodeError, ValueError: it is not JSON, or beyond a bound (`surestep.untrusted`).
    """
    value = parse_json(text)
    _check_keys(text)
    _refuse_infinite(value)
    return value


def _refuse_infinite(value: Any) -> None:
    """Raise where a number was too large to be one, as 1e999 is."""
    if isinstance(value, float) and math.isinf(value):
        raise ValueError("it holds a number that is too large; allowed: up to 1.8e308")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _refuse_infinite(inner)


def _check_keys(text: str) -> None:
    """Walk through the tokens of valid JSON; `json` gives no line to a key."""
    line, keys, before = 1, list[set[str] | None](), ""
    for match in _JSON_TOKEN.finditer(text):
        token = match[0]
        if token == "\n":
            line += 1
            continue
        if token in ("NaN", "Infinity", "-Infinity"):
            raise StrictReadError(f"{token} is no number of JSON", line)
        if token in "{[":
            keys.append(set() if token == "{" else None)
        elif token in "}]":
            keys.pop()
        elif token == ":" and (seen := keys[-1]) is not None:
            if (key := json.loads(before)) in seen:
                raise StrictReadError(f"the key {key!r} is there twice; keep one", line)
            seen.add(key)
        before = token
