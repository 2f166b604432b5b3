"""The space of a sweep: which fields of the configuration are tried, and with what.

Made of flags, presets and files, and checked against the configuration that every trial starts from. Knows the
configuration; knows no search.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surestep.config import Config
from surestep.config.field_list import fields, kinds_of
from surestep.config.other_names import ALIASES, hint
from surestep.config.read import lay_over, read_config_file
from surestep.errors import ConfigError
from surestep.sweep.presets import PRESETS
from surestep.sweep.values import HOW, Choices, Edge, Multiple, Range, Values, read_values

NOT_TRIED = {
    "experiment_name": "it names the sweep",
    "output_dir": "it holds the sweep",
    "training.seed": "--seeds repeats each trial with several",
    "training.best_metric": "it is what the trials are compared by",
    "training.validation_samples": "trials are compared on the same problems",
    "data.validation_fraction": "trials are compared on the same problems",
    "data.validation_seed": "trials are compared on the same problems",
}
"""Fields that are the same in all trials, and why."""


@dataclass(frozen=True)
class Space:
    """Dotted path of each field that is tried to what it takes, in the order of the user."""

    values: Mapping[str, Values]

    @property
    def free(self) -> dict[str, Choices | Range]:
        """Those that are chosen: all but multiples of others."""
        return {path: found for path, found in self.values.items() if not isinstance(found, Multiple)}

    def complete(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The values of all fields, from those of the free ones.

        >>> Space({"a": Choices((8, 16)), "b": Multiple(2, "a")}).complete({"a": 16})
        {'a': 16, 'b': 32}
        """
        return {
            path: found.of(chosen[found.field]) if isinstance(found, Multiple) else chosen[path]
            for path, found in self.values.items()
        }

    @property
    def size(self) -> int | None:
        """How many combinations there are; None where a range has no steps."""
        counts = [_listed(found) for found in self.free.values()]
        return None if None in counts else math.prod(len(values) for values in counts if values is not None)

    def points(self) -> Iterator[dict[str, Any]]:
        """Every combination of the free fields, the last one changing fastest.

        Raises:
            ConfigError: a range has no steps.
        """
        listed = {path: _listed(found) for path, found in self.free.items()}
        if endless := [path for path, values in listed.items() if values is None]:
            raise ConfigError(
                f"--sampler grid: {', '.join(endless)} has a range without steps; list its values, give it a step "
                "(8..64/8), or choose --sampler tpe or random"
            )
        for point in itertools.product(*(values for values in listed.values() if values is not None)):
            yield dict(zip(listed, point, strict=True))

    def edges(self, base: Config, chosen: Mapping[str, Any]) -> dict[str, Edge]:
        """Fields whose value of `chosen` lies at an edge of what was tried, where the configuration allows more."""
        found = {path: values.edge_of(chosen[path]) for path, values in self.free.items()}
        return {
            path: edge
            for path, edge in found.items()
            if edge is not None and _problem(base, {path: self._beyond(path, edge)}) is None
        }

    def _beyond(self, path: str, edge: Edge) -> Any:
        values = self.free[path]
        outside = values.beyond(edge)
        is_whole = isinstance(values, Choices) and all(isinstance(value, int) for value in values.values)
        return int(outside) if is_whole else outside

    def warnings(self, base: Config) -> list[str]:
        """What is allowed but seldom meant, one sentence each."""
        if "lora.lora_r" not in self.values or "lora.lora_alpha" in self.values:
            return []
        return [
            f"lora.lora_alpha stays {base.lora.lora_alpha} while lora.lora_r varies, so the adapters' scale alpha / r "
            "does too; --space 'lora.lora_alpha=2*lora.lora_r' keeps it"
        ]

    def to_json(self) -> dict[str, str]:
        """Path to text, as `read_values` takes it."""
        return {path: str(found) for path, found in self.values.items()}


def configuration_of(base: Config, values: Mapping[str, Any]) -> Config:
    """`base` with the values of a trial.

    Raises:
        ConfigError: a value is outside what its field allows.
    """
    layer: dict[str, Any] = {}
    for path, value in values.items():
        section, _, name = path.rpartition(".")
        (layer.setdefault(section, {}) if section else layer)[name] = value
    return Config.from_dict(lay_over(base.to_dict(), layer))


def read_space(entries: Sequence[str], base: Config) -> Space:
    """The space of `--space`: each entry is FIELD=VALUES, the name of a preset, or a JSON or YAML file; later ones win.

    Raises:
        ConfigError: every unknown field and every value that the configuration does not allow, all at once.
    """
    if not entries:
        raise ConfigError(
            f"a sweep needs a space: --space FIELD=VALUES, a file, or a preset ({', '.join(PRESETS)}); {HOW}"
        )
    problems: list[str] = []
    found: dict[str, Values] = {}
    for entry in entries:
        for name, given in _of_entry(entry).items():
            try:
                path = _path_of(name)
                found[path] = _settled(path, given if not isinstance(given, str) else read_values(given))
            except ConfigError as error:
                problems += [f"--space {problem}" for problem in error.problems]
            except ValueError as error:
                problems.append(f"--space {name}: {error}")
    if problems:
        raise ConfigError(problems)
    space = Space(found)
    if problems := [*_broken_multiples(space), *_without_effect(space, base)]:
        raise ConfigError(problems)
    if problems := list(_refused(space, base)):
        raise ConfigError(list(dict.fromkeys(problems)))
    return space


def _of_entry(entry: str) -> Mapping[str, Any]:
    if entry in PRESETS:
        return PRESETS[entry]
    name, equals, text = entry.partition("=")
    if equals and not _is_file(entry):
        return {name.strip(): text}
    if not _is_file(entry) and Path(entry).suffix not in {".json", ".yaml", ".yml"}:
        near = difflib.get_close_matches(entry, PRESETS, n=1)
        meant = f"did you mean {near[0]}?" if near else f"presets: {', '.join(PRESETS)}"
        raise ConfigError(f"--space {entry} is no FIELD=VALUES, no preset and no file; {meant}")
    return dict(_of_file(read_config_file(entry, what="space"), entry))


def _is_file(entry: str) -> bool:
    try:
        return Path(entry).is_file()
    except (OSError, ValueError):  # a list of values is longer than the name of a file may be
        return False


def _of_file(values: Mapping[str, Any], file: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name and values of each field of a file, whose sections may be nested or dotted."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        try:
            if isinstance(value, dict) and {"low", "high"} <= set(value):
                yield name, _range_of(value)
            elif isinstance(value, dict):
                yield from _of_file(value, file, f"{name}.")
            elif isinstance(value, list):
                yield name, Choices(tuple(value))
            else:
                yield name, value if isinstance(value, str) else Choices((value,))
        except ValueError as error:
            raise ConfigError(f"{file}: {name}: {error}") from None


def _range_of(value: Mapping[str, Any]) -> Range:
    if unknown := set(value) - {"low", "high", "log", "step"}:
        raise ValueError(f"a range has no '{sorted(unknown)[0]}'; it has low, high, log and step")
    numbers = [value["low"], value["high"], *([value["step"]] if value.get("step") is not None else [])]
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        raise ValueError("low, high and step of a range are numbers")
    if not isinstance(value.get("log", False), bool):
        raise ValueError("log of a range is true or false")
    return Range(value["low"], value["high"], log=value.get("log", False), step=value.get("step"))


def _path_of(name: str) -> str:
    """The dotted path of a field by any of its names.

    >>> _path_of("learning_rate"), _path_of("lora.lora_r"), _path_of("batch_size")
    ('training.learning_rate', 'lora.lora_r', 'training.per_device_train_batch_size')
    """
    wanted = name.replace("-", "_")
    paths = [path for path, _ in fields()]
    named = [path for path in paths if wanted in {path, path.rpartition(".")[2], *ALIASES.get(path, ())}]
    if not named:
        near = difflib.get_close_matches(wanted, paths, n=1)
        said = hint(wanted.rpartition(".")[2], paths) or (f"; did you mean '{near[0]}'?" if near else "")
        raise ConfigError(f"{name}: no such field{said}")
    if named[0] in NOT_TRIED:
        raise ConfigError(f"{named[0]} is the same in all trials: {NOT_TRIED[named[0]]}")
    return named[0]


def _settled(path: str, values: Values) -> Values:
    """What a field takes, in its own kind of number, and by its own name where it is a multiple."""
    if isinstance(values, Multiple):
        return Multiple(values.factor, _path_of(values.field))
    kinds = set(kinds_of(dict(fields())[path]))
    if not isinstance(values, Range):
        return values
    if not kinds & {int, float}:
        raise ValueError("it takes no numbers, so no range; list its values")
    return values.in_whole_numbers() if float not in kinds else values


def _broken_multiples(space: Space) -> Iterator[str]:
    for path, values in space.values.items():
        if isinstance(values, Multiple) and values.field not in space.free:
            yield (
                f"--space {path}={values}: {values.field} is not tried itself; add --space {values.field}=VALUES, or "
                f"set --{path} for all trials"
            )
        elif isinstance(values, Multiple):
            of = space.free[values.field]
            numbers = of.values if isinstance(of, Choices) else ()
            if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
                yield f"--space {path}={values}: {values.field} takes other things than numbers"


def _without_effect(space: Space, base: Config) -> Iterator[str]:
    tried = space.values.get("lora.use_lora")
    if base.lora.use_lora or (isinstance(tried, Choices) and True in tried.values):
        return
    if found := [path for path in space.values if path.startswith("lora.")]:
        yield f"--space {found[0]} changes nothing without LoRA; add --preset lora"


def _refused(space: Space, base: Config) -> Iterator[str]:
    """What the configuration says against single values of the space, and ends of its ranges."""
    for path, values in space.free.items():
        ends = values.values if isinstance(values, Choices) else (values.low, values.high)
        for value in ends:
            tied = {p: v.of(value) for p, v in space.values.items() if isinstance(v, Multiple) and v.field == path}
            for one in ({path: value}, *({p: v} for p, v in tied.items())):
                if (problem := _problem(base, one)) is not None:
                    yield f"--space {problem}"


def _problem(base: Config, values: Mapping[str, Any]) -> str | None:
    try:
        configuration_of(base, values)
    except ConfigError as error:
        return str(error)
    return None


def _listed(values: Choices | Range) -> tuple[Any, ...] | None:
    return values.values if isinstance(values, Choices) else values.grid()
