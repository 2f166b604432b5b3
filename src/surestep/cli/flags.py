"""Every field of the configuration as a command-line flag, by its own name and by its dotted path.

`--learning_rate`, `--learning-rate` and `--training.learning_rate` are one flag. Values are read as JSON
where they parse (`[512, 128]`, `null`, `1e-4`) and as text otherwise, names and paths always as text (an
experiment may be called `1e-4`, a commit may be all digits); the configuration checks them.
A flag overrides the file (`--config`), the file overrides the preset. Knows nothing of what a field means.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from surestep.cli.output.console import say
from surestep.config import Config, get_default_config, get_lora_config, own_data
from surestep.config.field_list import fields, is_required, kinds_of
from surestep.config.other_names import ALIASES
from surestep.config.read import lay_over, read_config_file
from surestep.errors import ConfigError
from surestep.settings import OneOf, Section, describe
from surestep.untrusted import parse_json

__all__ = [
    "PRESETS",
    "add_config_flags",
    "add_scoring_flags",
    "add_section_flags",
    "config_from_args",
    "fields",
    "flag_values",
    "override",
    "section_from_args",
]

PRESETS = {"full": get_default_config, "lora": get_lora_config}

_DEST_PREFIX = "config:"


def add_config_flags(
    parser: argparse.ArgumentParser,
    *,
    preset: str = "full",
    exclude: frozenset[str] = frozenset(),
    from_file: bool = True,
    data_flag: str = "",
) -> None:
    """Add a flag for each field but those in `exclude` (dotted paths), and `--config` and `--preset`.

    Without `from_file` the latter two are left out: the flags then lie over a configuration found elsewhere.
    `data_flag` is the field that `--data` stands for: the user's own data that the command works on.
    """
    if from_file:
        source = parser.add_argument_group("configuration")
        source.add_argument("--config", metavar="FILE", help="JSON or YAML file; flags override it")
        source.add_argument(
            "--preset",
            choices=sorted(PRESETS),
            default=preset,
            help=f"where the file and the flags start from (default: {preset})",
        )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for path, info in fields():
        if path in exclude:
            continue
        section, _, name = path.rpartition(".")
        group = groups.setdefault(section, parser.add_argument_group(section or "run"))
        names = [name, *ALIASES.get(path, ()), *(["data"] if path == data_flag else [])]
        flags = [f"--{name}" for name in names] + [f"--{name.replace('_', '-')}" for name in names]
        flags += [f"--{path}", f"--{path.replace('_', '-')}"]
        _add_flag(group, flags, _DEST_PREFIX + path, info)


def _add_flag(
    group: argparse._ActionsContainer, flags: list[str], dest: str, info: FieldInfo, *, default: str = ""
) -> None:
    is_switch = info.annotation is bool
    nargs = "+" if _takes_pairs(info) else "?" if is_switch else None
    group.add_argument(
        *dict.fromkeys(flags),
        dest=dest,
        default=argparse.SUPPRESS,
        metavar=_placeholder(info),
        help=(info.description or "").replace("%", "%%") + default,
        nargs=nargs,
        const="true" if is_switch else None,
    )


def _placeholder(info: FieldInfo) -> str:
    """What stands behind a flag in the help: the values that it takes where they are few, else their kind.

    >>> known = dict(fields())
    >>> [_placeholder(known[f"training.{name}"]) for name in ("device", "max_steps", "learning_rate", "best_metric")]
    ['auto|cpu|cuda', 'N', 'X', 'TEXT']
    >>> _placeholder(known["training.report_to"]), _placeholder(known["model.mlp_hidden_dims"])
    ('auto|all|tensorboard|wandb|mlflow|aim', 'JSON')
    """
    if _takes_pairs(info):
        return "NAME=COLUMN"
    shown: list[str] = []
    for part in info.metadata:
        shown += part.names() if isinstance(part, OneOf) else []
    for kind in [] if shown else kinds_of(info):
        named = get_args(kind)[0] if get_origin(kind) is list else kind
        shown += map(str, get_args(named)) if get_origin(named) is Literal else [_KINDS.get(kind, "JSON")]
    return text if len(text := "|".join(shown)) <= _LONGEST_PLACEHOLDER else "TEXT"


def _takes_pairs(info: FieldInfo) -> bool:
    """Whether a field is a table of texts, which a flag gives as `name=value`, one after the other."""
    return any(get_origin(kind) is dict and get_args(kind) == (str, str) for kind in kinds_of(info))


_KINDS = {bool: "true|false", int: "N", float: "X", Path: "PATH", str: "TEXT"}
_LONGEST_PLACEHOLDER = 72


S = TypeVar("S", bound=Section)


def add_section_flags(parser: argparse._ActionsContainer, section: type[Section]) -> None:
    """Add a flag for each field of a section that is a command's own, with its default in the help."""
    for name, info in section.model_fields.items():
        value = info.get_default()
        default = "" if value is None else f" (default: {str(value).lower() if isinstance(value, bool) else value})"
        flags = [f"--{name}", f"--{name.replace('_', '-')}"]
        _add_flag(parser, flags, f"{section.__name__}:{name}", info, default=default)


def section_from_args(args: argparse.Namespace, section: type[S]) -> S:
    """The section with the flags that `add_section_flags` added and the user gave.

    Raises:
        ConfigError: every bad value, all at once.
    """
    prefix = f"{section.__name__}:"
    given = {name.removeprefix(prefix): value for name, value in vars(args).items() if name.startswith(prefix)}
    values = {name: _parse(text, section.model_fields[name]) for name, text in given.items()}
    try:
        return section(**values)
    except ValidationError as error:
        raise ConfigError([f"--{problem}" for problem in describe(error, section)]) from None
    except ConfigError as error:  # of a section that is made in notebooks too
        raise ConfigError([f"--{problem}" for problem in error.problems]) from None


_SCORING_FLAGS_OF_TRAINING = {
    "training.device",
    "training.mixed_precision",
    "training.cuda_graphs",
    "training.seed",
}


def add_scoring_flags(parser: argparse.ArgumentParser, *, data_flag: str = "") -> None:
    """Add the flags that change how a trained checkpoint is scored: data, evaluation, place and arithmetic.

    `data_flag`: see `add_config_flags`.
    """
    paths = {path for path, _ in fields()}
    of_model = ("model.backbone", "model.attention", "model.fast_path")
    kept = {path for path in paths if path.startswith(("data.", "eval.", *of_model))}
    exclude = frozenset(paths - kept - _SCORING_FLAGS_OF_TRAINING)
    add_config_flags(parser, exclude=exclude, from_file=False, data_flag=data_flag)


def config_from_args(args: argparse.Namespace) -> Config:
    """The configuration that preset, file and flags give together.

    Raises:
        ConfigError: every unknown field and every bad value, all at once.
    """
    base = PRESETS[args.preset]()
    if not args.config:
        return override(base, args)
    config = Config.from_file(args.config, base=base)
    data = read_config_file(args.config).get("data")
    in_file = data if isinstance(data, dict) else {}
    _say(own_data.lines(base.data, config.data, in_file))
    return override(config, args, kept=own_data.turned_on(in_file))


def override(config: Config, args: argparse.Namespace, *, kept: Collection[str] = ()) -> Config:
    """`config` with the flags that were given in place of its own values; what they change beside is said.

    `kept` are datasets that a file turned on: they stay so where a flag names a file of the user's own.

    Raises:
        ConfigError: every bad value, all at once.
    """
    layer: dict[str, Any] = {}
    given = flag_values(args)
    if "training.warmup_steps" in given and given.get("training.warmup_ratio") is not None:
        raise ConfigError("--warmup_steps and --warmup_ratio: warmup is one or the other; drop one flag")
    if "training.max_steps" in given and given.get("training.num_train_epochs") is not None:
        raise ConfigError("--max_steps and --num_train_epochs: a run has one length or the other; drop one flag")
    for path, value in given.items():
        *sections, name = path.split(".")
        target = layer
        for section in sections:
            target = target.setdefault(section, {})
        target[name] = value
    changed = Config.from_dict(lay_over(config.to_dict(), layer, kept=kept))
    _say(own_data.lines(config.data, changed.data, layer.get("data", {})))
    return changed


def _say(lines: list[str]) -> None:
    for line in lines:
        say(f"· {line}", to_stderr=True)


def flag_values(args: argparse.Namespace) -> dict[str, Any]:
    """Dotted path to value of the flags that were given."""
    known = dict(fields())
    given = {
        name.removeprefix(_DEST_PREFIX): value for name, value in vars(args).items() if name.startswith(_DEST_PREFIX)
    }
    return {
        path: _parse_several(value, known[path]) if isinstance(value, list) else _parse(value, known[path])
        for path, value in given.items()
    }


def given_flags(args: argparse.Namespace) -> list[str]:
    """The configuration's flags that were given, as words of a command line: for a process that is to have the same."""
    words: list[str] = []
    for name, value in vars(args).items():
        if name.startswith(_DEST_PREFIX):
            words += [f"--{name.removeprefix(_DEST_PREFIX)}", *(value if isinstance(value, list) else [value])]
    return words


def _parse_several(texts: list[str], info: FieldInfo) -> Any:
    return texts if len(texts) > 1 or "=" in texts[0] else _parse(texts[0], info)


def _is_text(info: FieldInfo) -> bool:
    """Whether a field holds a name or a path, or nothing."""
    return set(kinds_of(info)) <= {str, Path}


def _parse(text: str, info: FieldInfo) -> Any:
    """The value of a flag; `none` is no value, and a name like any other where a field always has one."""
    lowered, is_text = text.strip().lower(), _is_text(info)
    if lowered in {"none", "null"} and not (is_text and is_required(info)):
        return None
    if is_text:
        return text
    if lowered in {"true", "false"}:
        return lowered == "true"
    try:
        return parse_json(text)
    except ValueError:
        return text
