"""argparse whose refusals are one line, with what was probably meant, and whose help names each flag once."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from surestep.terminal_text import in_one_line

_WORDS = re.compile(r"[^\s,]+(?:,\s*|\s+|$)")
_WRONG = re.compile(r"unrecognized arguments: (?P<flag>[^\s=]+)|invalid choice: '(?P<choice>[^']*)'")


_FLAGS_IN_USAGE = 3
"""A command with more flags shows `[flags]` in its usage line: they stand below it, each with its meaning."""


class ShortHelp(argparse.HelpFormatter):
    """Help that leaves out what a flag is also called: the spelling with dashes, and its value behind each name."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        names = list(dict.fromkeys(_with_underscores(name) for name in action.option_strings))
        text = ", ".join(names)
        if action.nargs != 0:
            text = f"{text} {self._format_args(action, self._get_default_metavar_for_optional(action))}"
        return self._in_lines(text)

    def _in_lines(self, text: str) -> str:
        """Broken behind a comma or a blank where it is wider than the terminal."""
        room, indent = self._width - self._current_indent, " " * (self._current_indent + 2)
        lines = [""]
        for word in _WORDS.findall(text):
            if lines[-1] and len(lines[-1]) + len(word.rstrip()) > room:
                lines.append("  ")
            lines[-1] += word
        return f"\n{indent[2:]}".join(line.rstrip() for line in lines)

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None) -> str:
        shown = [action for action in actions if not action.option_strings or action.required]
        if usage is not None or len(actions) - len(shown) <= _FLAGS_IN_USAGE:
            return super()._format_usage(usage, actions, groups, prefix)
        line = super()._format_usage(None, shown, [], prefix)
        return line.replace(self._prog, f"{self._prog} [flags]", 1)


def _with_underscores(flag: str) -> str:
    """A flag as the documents write it.

    >>> _with_underscores("--max-steps"), _with_underscores("-h")
    ('--max_steps', '-h')
    """
    return "--" + flag[2:].replace("-", "_") if flag.startswith("--") else flag


class OneLineParser(argparse.ArgumentParser):
    """Subparsers that it adds are of its kind too."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **{"formatter_class": ShortHelp, **named})

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2 and one line, without the usage of every flag there is."""
        found = _WRONG.search(message)
        word = (found["flag"] or found["choice"]) if found else ""
        # The word itself may be what another flag takes.
        near = difflib.get_close_matches(word, [other for other in _words(self) if other != word], n=1) if word else []
        meant = _in_other_trainers(word) or (f"; did you mean {near[0]}?" if near else "")
        # Only the chosen command's parser holds flags, and it is not the one that finds a flag unknown.
        self.exit(2, f"{self.prog}: error: {in_one_line(message)}{meant} (--help lists what there is)\n")


def _in_other_trainers(flag: str) -> str:
    """What there is here in place of a flag of another trainer; "" where it is none."""
    from surestep.config.other_names import hint  # only where something is wrong: help must not wait for it

    return hint(flag.removeprefix("--"), []) if flag.startswith("--") else ""


def _words(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every flag and choice of a parser and its subparsers."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action.choices, dict):
            for name, sub in action.choices.items():
                yield name
                yield from _words(sub)
        elif action.choices is not None:
            yield from map(str, action.choices)
