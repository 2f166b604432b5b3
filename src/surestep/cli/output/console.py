"""The one way to a terminal: text from data is shown, never obeyed.

Every command prints through `make_console` or `say`, and errors go through `surestep.terminal_text` too.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from surestep.terminal_text import print_to, visible, wrapped

_WIDTH_ELSEWHERE = 140
"""Columns where the output is a file or a pipe: tables stay whole."""


class VisibleConsole(Console):
    """A console that prints text from data as text: no control sequence, and no markup of rich's own.

    Colours and cursor movements are the program's: they reach the terminal beside the text, never within it.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich does; on a terminal, lines of text are broken between words and never within a path."""
        if self.is_terminal and len(objects) == 1 and isinstance(objects[0], str):
            objects = (wrapped(visible(objects[0]), self.width),)
            options.setdefault("soft_wrap", True)
        super().print(*objects, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Before anything is laid out, so that columns stay straight."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What came as finished `Text` is made visible piece by piece."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def make_console(**options: Any) -> Console:
    """A console as wide as the terminal, or wide enough for our tables where there is none."""
    console = VisibleConsole(**options)
    return console if console.is_terminal else VisibleConsole(soft_wrap=True, width=_WIDTH_ELSEWHERE, **options)


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """The flag of every command that prints a table."""
    parser.add_argument(
        "--json", action="store_true", help="print JSON instead of tables; what else is said goes to standard error"
    )


def result_console(args: argparse.Namespace) -> Console:
    """Where a command with `add_json_flag` says everything but its JSON."""
    return make_console(stderr=args.json)


def say_json(values: Any) -> None:
    """Print a result as JSON, alone on standard output."""
    say(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False))


def say(text: str, *, to_stderr: bool = False) -> None:
    """Print plain text or JSON, every control character in it visible."""
    stream = sys.stderr if to_stderr else sys.stdout
    if text.startswith(("{", "[")):  # JSON: a line end within it would be another one
        print(visible(text), file=stream)
    else:
        print_to(stream, text)


def next_command(command: str, place: object) -> str:
    """The line that says what to do now, with a place as a shell takes it.

    >>> next_command("surestep evaluate", "my runs/first")
    "next: surestep evaluate 'my runs/first'"
    """
    return f"next: {command} {shlex.quote(str(place))}"
