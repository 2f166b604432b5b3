"""`docs/configuration.md`, written from the configuration classes: every field, what it takes, its flags.

Knows the classes and pydantic's description of them; knows no value of a run. `python -m
surestep.config.reference FILE` writes the page.
"""

from __future__ import annotations

import argparse
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from surestep.config import Config, DataConfig, PhaseConfig, TrainingConfig, get_lora_config
from surestep.config.other_names import ALIASES
from surestep.config.phases import PHASE_PRESETS, PHASE_TRAINING_FIELDS, RUN_DATA_FIELDS
from surestep.files import write_text
from surestep.settings import OneOf
from surestep.untrusted import Matching

_INTRODUCTION = """\
# Configuration reference

This page is generated from the configuration classes by `make docs`; a test compares the two. Change the
descriptions in `src/surestep/config/`, or for a dataset's own fields in its file in `src/surestep/data/datasets/`,
not here.

Three ways to set a field, the later one wins:

1. a preset: `get_default_config()` (`train.py`, full fine-tuning) or `get_lora_config()` (`train_lora.py`);
2. a file: `--config run.json` (or `.yaml`), which need not name every field, and none twice. YAML is read as version
   1.2 says: `010` is 10, `1e-4` a number, and `1:30:00`, `1_000`, `yes` and `no` are texts; JSON has no `NaN`;
3. a flag: `--max_steps 2000`.

`warmup_steps` and `warmup_ratio` are one setting: whoever sets one unsets the other, in Python by a later assignment,
in a file what the preset said, with a flag what the file said. Both flags, or a file with both, are refused.

Each field is a flag under its own name (`--max_steps`), with dashes (`--max-steps`) and under its dotted path
(`--training.max_steps`). Values are read as JSON where they parse (`--mlp_hidden_dims "[512, 128]"`), names and paths
as text; `none` or `null` unsets a field, and a switch may stand alone (`--use_lora` is `--use_lora true`).

In Python, each assignment is checked at its line; a typo or a bad value raises `ConfigError` and says what is allowed:

```python
from surestep.config import Config, get_lora_config

config = get_lora_config()
config.training.max_steps = 2000
config.save("run.json")
config = Config.from_json("run.json")
```
"""

_SIMPLE = {bool: "`true` or `false`", str: "text", Path: "a path", type(None): "unset"}


def reference_markdown() -> str:
    """The whole page."""
    changed = _changes(Config(), get_lora_config())
    sections = [_section(name, about, model) for name, about, model in _sections(Config)]
    preset = ", ".join(f"`{path}` is `{value}`" for path, value in changed.items())
    return "\n".join(
        [_INTRODUCTION, f"The LoRA preset differs from the defaults below in: {preset}.\n", *sections, _phases()]
    )


def _sections(model: type[BaseModel]) -> Iterator[tuple[str, str, type[BaseModel]]]:
    """Name, docstring and class of the run's own fields and of each section."""
    yield "", "Where the run is written.", model
    for name, info in model.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield name, (annotation.__doc__ or "").strip().splitlines()[0], annotation


def _section(name: str, about: str, model: type[BaseModel]) -> str:
    lines = [
        f"## {f'`{name}`' if name else 'The run itself'}\n",
        f"{about}\n",
        "| field | takes | default | what it does | flags |",
        "|---|---|---|---|---|",
    ]
    for field, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            continue
        path = f"{name}.{field}" if name else field
        cells = (f"`{path}`", allowed_values(info), _default(info), info.description or "", _flags(path))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _flags(path: str) -> str:
    names = [path.rpartition(".")[2], *ALIASES.get(path, []), *([path] if "." in path else [])]
    return ", ".join(f"`--{name}`" for name in names)


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=False)
    assert value is not PydanticUndefined, "every field has a default"
    return "unset" if value is None else f"`{_plain(value)}`"


def _plain(value: object) -> str:
    """As it is written in a file or after a flag.

    >>> _plain(True), _plain(2e-05), _plain([1024, 256])
    ('true', '2e-5', '[1024, 256]')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace("e-0", "e-")


def allowed_values(info: FieldInfo) -> str:
    """What a field takes, in words.

    >>> allowed_values(Config.model_fields["training"].annotation.model_fields["warmup_ratio"])
    'a number from 0, below 1, or unset'
    """
    return _words(info.annotation, info.metadata)


def _words(annotation: Any, metadata: list[Any]) -> str:
    metadata = [part for item in metadata for part in (item.metadata if isinstance(item, FieldInfo) else [item])]
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return _words(inner, [*metadata, *more])
    if origin in (Union, types.UnionType):
        return ", or ".join(_words(part, []) for part in get_args(annotation))
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if origin is list:
        return f"a list, each {_words(get_args(annotation)[0], [])}"
    if origin is dict:
        is_pairs = get_args(annotation) == (str, str)
        return "`NAME=COLUMN` for each, in a file an object of them" if is_pairs else "an object of names and values"
    if annotation is int:
        return f"a whole number{_bounds(metadata, whole=True)}"
    if annotation is float:
        return f"a number{_bounds(metadata, whole=False)}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"an object of {', '.join(f'`{name}`' for name in annotation.model_fields)}"
    if choices := next((part for part in metadata if isinstance(part, OneOf)), None):
        return " or ".join(f"`{name}`" for name in choices.names())
    words = _SIMPLE[annotation]
    if form := next((part for part in metadata if isinstance(part, Matching)), None):
        return f"{words}: {form.words}"
    return f"{words}, not empty" if any(isinstance(part, MinLen) for part in metadata) else words


def _bounds(metadata: list[Any], *, whole: bool) -> str:
    """The limits of a number, in words.

    >>> _bounds([Ge(0.0), Lt(1.0)], whole=False), _bounds([Gt(0)], whole=True)
    (' from 0, below 1', ' from 1')
    """
    found = []
    for part in metadata:
        match part:
            case Ge(ge=limit):
                found.append(f" from {limit:g}")
            case Gt(gt=int(limit)) if whole:
                found.append(f" from {limit + 1}")
            case Gt(gt=limit):
                found.append(f" above {limit:g}")
            case Le(le=limit):
                found.append(f" up to {limit:g}")
            case Lt(lt=limit):
                found.append(f" below {limit:g}")
    return ",".join(found)


def _phases() -> str:
    """What a phase is and what it may set."""
    of_phase = PhaseConfig.model_fields
    of_training = ", ".join(f"`{name}`" for name in TrainingConfig.model_fields if name in PHASE_TRAINING_FIELDS)
    not_of_data = ", ".join(f"`{name}`" for name in DataConfig.model_fields if name in RUN_DATA_FIELDS)
    presets = "; ".join(
        f"`{name}` ({', '.join(str(phase['name']) for phase in phases)})" for name, phases in PHASE_PRESETS.items()
    )
    return "\n".join(
        [
            "## A phase of `phases`\n",
            f"{(PhaseConfig.__doc__ or '').splitlines()[0]} See [Train in phases](how-to/train-in-phases.md).\n",
            f"- `name`: {allowed_values(of_phase['name'])}. {of_phase['name'].description}",
            f"- `training`: {of_phase['training'].description} Allowed: {of_training}.",
            f"- `data`: {of_phase['data'].description} Allowed: all but {not_of_data}.",
            f"\nPresets: {presets}.\n",
        ]
    )


def _changes(default: Config, preset: Config) -> dict[str, str]:
    """Dotted path to value of each field that `preset` sets otherwise."""
    before, after = default.to_dict(), preset.to_dict()
    return {
        f"{section}.{name}": _plain(value)
        for section, values in after.items()
        if isinstance(values, dict)
        for name, value in values.items()
        if value != before[section][name]
    }


if __name__ == "__main__":
    # Parsed, so that a mistyped flag is refused and does not become a file of that name.
    parser = argparse.ArgumentParser(description="Write the configuration reference.")
    parser.add_argument("page", type=Path, help="the Markdown file to write")
    write_text(parser.parse_args().page, reference_markdown(), advice="name another file")
