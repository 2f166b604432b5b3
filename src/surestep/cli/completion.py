"""Completion of the command line by the shell: a script that holds every command, action, flag and choice.

`eval "$(surestep --print_completion bash)"` loads it. It asks no Python when a key is pressed, so it answers at once;
it is printed anew after an update. Knows no flag by itself: it reads the parsers.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping, Sequence

from surestep.cli.main import COMMANDS, module_of

SHELLS = ("bash", "zsh")
"""The shells that a script is printed for."""

_BASH = """\
_surestep() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD - 1]}}" offered="" place=""
    if ((COMP_CWORD > 1)); then place="${{COMP_WORDS[1]}}"; fi
    if ((COMP_CWORD > 2)); then
        case "$place ${{COMP_WORDS[2]}}" in
        {actions}) place="$place ${{COMP_WORDS[2]}}" ;;
        esac
    fi
    case "$place $before" in
{values}
    *)
        if [[ $word == -* ]]; then
            case "$place" in
{flags}
            esac
        else
            case "$place" in
{words}
            esac
        fi
        ;;
    esac
    COMPREPLY=($(compgen -W "$offered" -- "$word"))
}}
complete -o default -F _surestep surestep
"""
_ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"


def completion_script(shell: str) -> str:
    """The script for one of `SHELLS`; zsh reads bash's through its `bashcompinit`. Imports every command."""
    words, flags = {"": list(COMMANDS)}, {"": ["--help", "--version", "--print_completion"]}
    values = {"--print_completion --print_completion": list(SHELLS)}
    for command in COMMANDS:
        parser = argparse.ArgumentParser()
        module_of(command).configure(parser)
        for place, action in _actions(parser, command):
            if not action.option_strings:
                words.setdefault(place, []).extend(map(str, action.choices or ()))
                continue
            known = _values(action)
            values |= {f"{place} {flag}": known for flag in action.option_strings if known}
            name = "--help" if action.dest == "help" else action.option_strings[0]
            flags.setdefault(place, []).append(name)
    actions = " | ".join(shlex.quote(place) for place in flags if " " in place)
    script = _BASH.format(actions=actions, values=_cases(values), flags=_cases(flags), words=_cases(words))
    return (_ZSH if shell == "zsh" else "") + script


def _cases(table: Mapping[str, Sequence[str]]) -> str:
    """The lines of a `case` that set what is offered at each place."""
    return "\n".join(f'    {shlex.quote(place)}) offered="{" ".join(known)}" ;;' for place, known in table.items())


def _actions(parser: argparse.ArgumentParser, place: str) -> Iterator[tuple[str, argparse.Action]]:
    """Every flag and argument of a command and of its own actions, with the words that lead there."""
    for action in parser._actions:
        yield place, action
        if isinstance(action, argparse._SubParsersAction):
            for name, part in action.choices.items():
                yield from _actions(part, f"{place} {name}")


def _values(action: argparse.Action) -> list[str]:
    """What a flag takes, where these are few: its choices, or those that its placeholder names."""
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    shown = action.metavar if isinstance(action.metavar, str) else ""
    return shown.split("|") if "|" in shown else []
