"""`docs/reference/python.md`, written from the docstrings of the public names: signatures, arguments, errors, examples.

`python docs/python_reference.py FILE` writes the page.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from surestep.client import AsyncClient, Client, RemoteSession
from surestep.config.own_data import with_own_data
from surestep.data.templated import SolutionReader
from surestep.data.trees.split_steps import StepSplit, split_steps
from surestep.errors import InputError
from surestep.evaluation.publish.push_to_hub import push_to_hub
from surestep.files import write_text
from surestep.inference.dense_credit import step_credit, token_advantages, token_rewards
from surestep.inference.generation import (
    Candidate,
    GeneratedProblem,
    GenerationSettings,
    OpenAIEndpoint,
    TransformersGenerator,
    generate,
    generate_many,
)
from surestep.inference.rerank import RankedCandidate
from surestep.inference.result import SolutionScores
from surestep.inference.reward_functions.answer_rewards import AnswerRewards
from surestep.inference.scorer import Scorer
from surestep.scoring.checkpoint.to_hub import Uploaded
from surestep.scoring.sessions import Session

_INTRODUCTION = """\
# Python reference

This page is generated from docstrings by `make docs`; a test compares the two. Change the docstrings in
`src/surestep/`, not here. How they are used: [use my model](../how-to/use-my-model.md).

```python
from surestep import Scorer, split_steps, with_own_data
```

`import surestep` alone is instant; a name loads what it needs when it is first used. Every mistake of a caller raises a
class of `surestep.errors`; of wrong types and values it is `InputError`, which is a `ValueError` too.
"""

GROUPS: dict[str, tuple[Any, ...]] = {
    "Scoring: `from surestep import Scorer, split_steps`": (
        *(Scorer, SolutionScores, RankedCandidate, Session, split_steps, StepSplit, InputError),
    ),
    "Your own data: `from surestep.config.own_data import with_own_data`": (with_own_data,),
    "Sharing: `from surestep import push_to_hub`": (push_to_hub, Uploaded),
    "A server's client: `from surestep.client import Client, AsyncClient`": (Client, RemoteSession, AsyncClient),
    "Guided generation: `from surestep.inference.generation import ...`": (
        *(generate, generate_many, GenerationSettings, OpenAIEndpoint, TransformersGenerator),
        *(GeneratedProblem, Candidate),
    ),
    "Rewards: `from surestep.inference.reward_functions.answer_rewards import AnswerRewards`": (AnswerRewards,),
    "Chat templates: `from surestep.data.templated import SolutionReader`": (SolutionReader,),
    "Dense credit: `from surestep.inference.dense_credit import ...`": (step_credit, token_rewards, token_advantages),
}
"""What the page describes, in order: heading -> names."""
PUBLIC: tuple[Any, ...] = tuple(public for group in GROUPS.values() for public in group)
"""All names of the page."""

_LINE = 88
_SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields):$")
_ENTRY = re.compile(r"([\w, *]+?): (.*)")


def reference_markdown() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    for heading, names in GROUPS.items():
        title, _, imported = heading.partition(": ")
        parts += [f"## {title}\n\n{imported}\n", *(part for public in names for part in _described(public))]
    return "\n".join(parts)


def _described(public: Any) -> Iterator[str]:
    """A heading of the name alone, which lists and links of headings need short; below it the call and the words."""
    if not inspect.isclass(public):
        yield _function("###", public.__name__, public)
        return
    yield f"### `{public.__name__}`\n\n{_markdown(inspect.getdoc(public))}\n"
    if issubclass(public, BaseModel):
        fields = public.model_fields.items()
        yield "\n".join(f"- `{name}` (default {field.default!r}): {field.description}" for name, field in fields) + "\n"
    stored = {field.name for field in dataclasses.fields(public)} if dataclasses.is_dataclass(public) else set()
    for name, member in vars(public).items():
        if name.startswith("_") or name in stored or not inspect.getdoc(member):
            continue
        if isinstance(member, property | functools.cached_property):
            yield f"#### `{public.__name__}.{name}`\n\n{_markdown(inspect.getdoc(member))}\n"
        elif callable(member) or isinstance(member, classmethod | staticmethod):
            yield _function("####", f"{public.__name__}.{name}", getattr(public, name))


def _function(level: str, name: str, function: Any) -> str:
    call = _signature(name.rpartition(".")[2], function)
    return f"{level} `{name}`\n\n```python\n{call}\n```\n\n{_markdown(inspect.getdoc(function))}\n"


def _signature(name: str, function: Any) -> str:
    """As it is called: without `self`, each parameter with its type and default; a line each where one is too short."""
    signature = inspect.signature(function)
    shown: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        default = "" if parameter.default is parameter.empty else f" = {_default(parameter.default)}"
        shown.append(f"{parameter.name}: {parameter.annotation}{default}")
    call = f"{name}({', '.join(shown)}) -> {signature.return_annotation}"
    if len(call) <= _LINE:
        return call
    return "\n".join([f"{name}(", *(f"    {parameter}," for parameter in shown), f") -> {signature.return_annotation}"])


def _default(value: Any) -> str:
    """A default as it is written; a function by its name."""
    return str(value.__name__) if callable(value) else repr(value)


def _markdown(docstring: str | None) -> str:
    r"""A docstring as Markdown: sections as lists, examples as code.

    >>> print(_markdown("Adds.\n\nArgs:\n    a: one,\n        or two."))
    Adds.
    <BLANKLINE>
    **Args**
    <BLANKLINE>
    - `a`: one, or two.
    """
    parts: list[str] = []
    for block in re.split(r"\n\s*\n", docstring or ""):
        lines = block.split("\n")
        if section := _SECTION.match(lines[0]):
            inner = textwrap.dedent("\n".join(lines[1:])).split("\n")
            is_list = section[1] not in {"Returns", "Yields"}
            parts += [f"**{section[1]}**", "\n".join(_entries(inner) if is_list else inner)]
        elif lines[0].startswith(">>> "):
            code = "\n".join(re.sub(r"\s*# doctest: \+SKIP$", "", line) for line in lines)
            parts.append(f"```python\n{code}\n```")
        else:
            parts.append(block)
    return "\n\n".join(parts)


def _entries(lines: list[str]) -> Iterator[str]:
    """The entries of a section as items; a line that is indented goes on with the one before it."""
    entries: list[str] = []
    for line in lines:
        if line.startswith(" ") and entries:
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line)
    for entry in entries:
        named = _ENTRY.fullmatch(entry)
        yield f"- `{named[1]}`: {named[2]}" if named else f"- {entry}"


if __name__ == "__main__":
    # Parsed, so that a mistyped flag is refused and does not become a file of that name.
    parser = argparse.ArgumentParser(description="Write the Python reference.")
    parser.add_argument("page", type=Path, help="the Markdown file to write")
    write_text(parser.parse_args().page, reference_markdown(), advice="name another file")
