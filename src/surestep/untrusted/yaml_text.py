"""YAML within every bound: depth is known before anything is built, and aliases are counted as what they stand for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from surestep.untrusted.bounds import DEPTH, DIGITS, NODES, YAML_TEXT

if TYPE_CHECKING:
    import yaml


def parse_yaml(text: str, loader: type[yaml.SafeLoader] | None = None) -> Any:
    """The value of a YAML text: plain values only, and no more of them than it seems to hold.

    Args:
        text: the document.
        loader: how scalars and keys are read; unset: PyYAML's `SafeLoader`.

    Raises:
        yaml.YAMLError: it is no YAML, with the place.
        ValueError: a bound, naming it, or a value that its type does not allow (the date 2026-13-45).
    """
    import yaml

    chosen = loader or yaml.SafeLoader
    if len(text) > YAML_TEXT():
        raise ValueError(YAML_TEXT.exceeded("it holds"))
    # The parser's events come one by one, without recursion: depth is known before anything is built.
    depth = 0
    for event in yaml.parse(text, Loader=chosen):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH():
            raise ValueError(DEPTH.exceeded("it is nested"))
        if isinstance(event, yaml.ScalarEvent) and _is_long_number(event.value):
            raise ValueError(DIGITS.exceeded("a number has"))
    reader = chosen(text)
    try:
        node = reader.get_single_node()
        if node is None:
            return None
        _count_nodes(node, {}, ())
        return reader.construct_document(node)
    except (yaml.YAMLError, ValueError):
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError) as error:
        raise ValueError(" ".join(str(error).split()) or "a value that its type does not allow") from None
    finally:
        reader.dispose()


def _is_long_number(text: str) -> bool:
    return len(text) > DIGITS() and re.fullmatch(r"[-+]?[0-9a-fA-FxXoO_:.]+", text) is not None


def _count_nodes(node: yaml.Node, counts: dict[int, int], above: tuple[int, ...]) -> int:
    """How many values `node` stands for once aliases are written out."""
    if id(node) in above:
        raise ValueError("an alias stands within what it names; write the value out")
    if id(node) not in counts:
        children: list[Any] = []
        if isinstance(node.value, list):
            children = [inner for entry in node.value for inner in (entry if isinstance(entry, tuple) else (entry,))]
        within = (*above, id(node))
        counts[id(node)] = 1 + sum(_count_nodes(child, counts, within) for child in children)
        if counts[id(node)] > NODES():
            raise ValueError(NODES.exceeded("written out, it holds"))
    return counts[id(node)]
