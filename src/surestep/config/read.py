"""Reading a configuration file, and laying one set of values over another."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from surestep.config.core_yaml import StrictReadError, load_json, load_yaml
from surestep.config.own_data import switches
from surestep.config.training import unset_by
from surestep.errors import ConfigError
from surestep.untrusted import read_document
from surestep.untrusted.json_text import fault_of


def read_config_file(path: Path | str, *, what: str = "configuration") -> dict[str, Any]:
    """The nested values of a JSON or YAML (1.2) file; `what` it holds, for messages.

    Raises:
        ConfigError: the file is missing, cannot be read as what its name says, or names a key twice.
    """
    path = Path(path)
    try:
        text = read_document(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: the {what} cannot be read ({reason}); check the path") from None
    try:
        values = load_yaml(text) if path.suffix in {".yaml", ".yml"} else load_json(text)
    except StrictReadError as error:
        raise ConfigError(f"{path}, line {error.line}: {error.problem}") from None
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path}, line {error.lineno}: not valid JSON ({fault_of(error)}); correct the {what}"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not valid YAML ({getattr(error, 'problem', error)}); correct it") from None
    except ValueError as error:
        raise ConfigError(f"{path}: the {what} cannot be read ({error})") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds a {type(values).__name__}; allowed: an object of fields ({what})")
    return values


def lay_over(config: dict[str, Any], layer: dict[str, Any], *, kept: Collection[str] = ()) -> dict[str, Any]:
    """The values of a configuration with those of a file or of flags in place of its own.

    What the layer sets also unsets what it stands for (`unset_by`), and a file of the user's own that it names turns
    own data on (`own_data.switches`), unless the layer says so itself. `kept` datasets stay on.

    >>> base = {"training": {"max_steps": 10, "warmup_steps": 500, "warmup_ratio": 0.1}}
    >>> lay_over(base, {"training": {"warmup_steps": 0}})
    {'training': {'max_steps': 10, 'warmup_steps': 0, 'warmup_ratio': None}}
    """
    merged, training = merge(config, layer), layer.get("training")
    if isinstance(training, dict):
        for name, value in training.items():
            merged["training"] |= {k: v for k, v in unset_by(name, value).items() if k not in training}
    if isinstance(data := layer.get("data"), dict):
        merged["data"] |= switches(config.get("data", {}), data, kept=kept)
    return merged


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` in place of its own, section by section.

    >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
    {'a': {'x': 1, 'y': 3}}
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
