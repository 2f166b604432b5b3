"""The one way to a terminal: text from data is shown, never obeyed.

Every command prints through `make_console` or `say`, and errors go through `surestep.terminal_text` too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from surestep.terminal_text import visible

_WIDTH_ELSEWHERE = 140
"""Columns where the output is a file or a pipe: tables stay whole."""


class VisibleConsole(Console):
    """A console that prints text from data as text: no control sequence, and no markup of rich's own.

    Colours and cursor movements are the program's: they reach the terminal beside the text, never within it.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Before anything is laid out, so that columns stay straight."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What came as finished `Text` is made visible piece by piece."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def make_console(**options: Any) -> Console:
    """A console as wide as the terminal, or wide enough for our tables where there is none."""
    console = VisibleConsole(soft_wrap=True, **options)
    return console if console.is_terminal else VisibleConsole(soft_wrap=True, width=_WIDTH_ELSEWHERE, **options)


def say(text: str, *, to_stderr: bool = False) -> None:
    """Print plain text or JSON, every control character in it visible."""
    print(visible(text), file=sys.stderr if to_stderr else sys.stdout)
