"""argparse whose refusals are one line, with what was probably meant."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterator
from typing import NoReturn

from surestep.terminal_text import in_one_line

_WRONG = re.compile(r"unrecognized arguments: (?P<flag>[^\s=]+)|invalid choice: '(?P<choice>[^']*)'")


class OneLineParser(argparse.ArgumentParser):
    """Subparsers that it adds are of its kind too."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2 and one line, without the usage of every flag there is."""
        found = _WRONG.search(message)
        word = (found["flag"] or found["choice"]) if found else ""
        near = difflib.get_close_matches(word, list(_words(self)), n=1) if word else []
        meant = f"; did you mean {near[0]}?" if near else ""
        # Only the chosen command's parser holds flags, and it is not the one that finds a flag unknown.
        self.exit(2, f"{self.prog}: error: {in_one_line(message)}{meant} (--help lists what there is)\n")


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
