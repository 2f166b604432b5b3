"""The `surestep` command: picks a subcommand, imports only that one, turns our errors into one line.

Exit codes: 0 done, 1 a check failed, 2 the user's mistake (one line on stderr), 128 + signal when stopped
(130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP); where several came, the first one counts.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from surestep import __version__
from surestep.cli.checkpoint_argument import settle_checkpoint
from surestep.cli.output_places import check_output_places
from surestep.cli.parser import OneLineParser
from surestep.disk import FULL, advice_after
from surestep.errors import ConfigError, StorageError, SurestepError, is_out_of_memory
from surestep.inference.tables.processes import find_processes, refuse_several_processes
from surestep.stop_signals import Interrupted, interrupted_by_signals
from surestep.terminal_text import in_one_line, print_to, visible

COMMANDS = {
    "train": "train a step-confidence model (full or LoRA)",
    "sweep": "train over a space of settings with a search, and find the best by validation",
    "evaluate": "score every step of the test splits and measure how far the scores can be trusted",
    "calibrate": "fit a checkpoint's confidence to labels on validation, and store the map in it",
    "certify": "promise of new problems what share keeps a wrong step, from labelled ones that nothing has seen",
    "watch": "after certifying: whether the scores of new problems have changed, and whether labels keep the promise",
    "check": "go through the production checklist: files, figures against targets, leaks, anti-hacking probes",
    "compare": "show evaluations side by side, and which differences are real",
    "benchmark": "first errors, wrong steps and best-of-N on their benchmarks' files",
    "score": "give every step of the solutions in a file its confidence",
    "rerank": "put the candidates of each problem in a file in order, best first",
    "generate": "solve problems with a language model and choose by confidence: best-of-N, votes, beam search, DVTS",
    "serve": "answer scoring requests over HTTP, from many clients at once",
    "report": "write the report page and the model card of an existing evaluation",
    "demo": "train and evaluate the embedded model on this machine, in about three minutes",
    "data": "list, fetch and inspect the data",
    "doctor": "say what this machine has, what will be used, what is missing and how to get it",
    "bench": "measure how fast this machine trains and scores",
    "average": "write the mean of the weights of several checkpoints, the last ones of a run say, as a checkpoint",
    "export": "write a checkpoint as one merged backbone with its head",
    "push": "upload a checkpoint to the Hugging Face hub, with its card",
}
"""Subcommand to help line; the module of the same name in `commands` runs it."""

_FOLDERS = {
    **dict.fromkeys(("average", "export", "push"), "interchange."),
    **dict.fromkeys(("bench", "doctor"), "machine."),
    **dict.fromkeys(("certify", "watch"), "promises."),
    "sweep": "tuning.",
}
"""Subcommand to the folder within `commands` that its module lies in, where it is in one."""

_ANY_NUMBER = frozenset({"train", "evaluate", "calibrate", "score", "rerank", "serve", "doctor"})
"""Commands that a launcher may start several times: they share their work out, or (the last two) write nothing."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with interrupted_by_signals():  # the modules of a command take a moment to import
            args = _parsed(arguments)
    except Interrupted as stopped:
        return _stopped(stopped)
    return run_command(args)


def _parsed(arguments: list[str]) -> argparse.Namespace:
    """The arguments, with the chosen command's `run`; only its module is imported."""
    parser = OneLineParser(
        prog="surestep",
        description="How likely is each step of a model's reasoning right? Train, measure, calibrate.",
        epilog="`surestep COMMAND --help` explains a command. Start with `surestep demo`.",
    )
    parser.add_argument("--version", action="version", version=f"surestep {__version__}")
    parser.add_argument(
        "--print_completion",
        "--print-completion",
        action=_PrintCompletion,
        choices=("bash", "zsh"),
        help='print a script for the shell: eval "$(surestep --print_completion bash)"',
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, help_line in COMMANDS.items():
        subparser = subparsers.add_parser(
            name,
            help=help_line,
            description=help_line[0].upper() + help_line[1:] + ".",
            epilog="A flag may be written with dashes, too (--output-dir).",
            allow_abbrev=False,  # a flag cut short would change its meaning with the next field that is added
        )
        if name == chosen:
            module = module_of(name)
            module.configure(subparser)
            subparser.set_defaults(run=module.run)
    args = parser.parse_args(arguments)
    args.argv = arguments
    return args


class _PrintCompletion(argparse.Action):
    """Prints the script and leaves; only then is every command imported."""

    def __call__(self, parser: argparse.ArgumentParser, _namespace: Any, shell: Any, _flag: str | None = None) -> None:
        from surestep.cli.completion import completion_script

        print(visible(completion_script(shell)), end="")
        parser.exit()


def module_of(command: str) -> Any:
    """The module that configures and runs a subcommand."""
    return importlib.import_module(f"surestep.cli.commands.{_FOLDERS.get(command, '')}{command}")


def _check_alone(args: argparse.Namespace) -> None:
    """Each of several processes would do the whole work, into the same files."""
    command = getattr(args, "command", None)
    if command is not None and command not in _ANY_NUMBER:
        instead = "train, evaluate, calibrate, score and rerank share theirs out"
        if command == "bench":
            instead = "several GPUs are measured by benchmarks/several_gpus.py"
        refuse_several_processes(command, instead=instead)


def run_command(args: argparse.Namespace) -> int:
    """Call the chosen command and translate what it raises."""
    # Read when torch loads its OpenMP: threads that wait for each other spin for microseconds, then sleep. Spinning
    # on, they take a busy machine's cores from each other; sleeping at once is slow on a quiet one
    # (docs/experiments/2026-11-23-waiting-threads-that-sleep.md).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "30000")
    # Packs differ in size from pass to pass: segments that grow hold one pack after another where fixed ones pile up.
    if "PYTORCH_CUDA_ALLOC_CONF" not in os.environ:
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    warnings.formatwarning = _visible_warning
    try:
        with interrupted_by_signals():
            _check_alone(args)
            check_output_places(args)
            line = settle_checkpoint(args)
            if line is not None and find_processes(on_several_machines=True).is_first:
                print_to(sys.stderr, f"· {line}")
            return int(args.run(args))
    except ConfigError as error:
        for problem in error.problems:
            print_to(sys.stderr, f"surestep: {in_one_line(problem)}")
        return 2
    except SurestepError as error:
        print_to(sys.stderr, f"surestep: {in_one_line(str(error))}")
        return 2
    except BrokenPipeError:  # whoever read our output has gone, `head` say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None and error.errno not in FULL:
            raise
        is_long = error.errno == errno.ENAMETOOLONG
        advice = "use a shorter path" if is_long else advice_after(error, "free space or choose another folder")
        mended = StorageError(f"{error.filename or 'the disk'}: {error.strerror}; {advice}")
        print_to(sys.stderr, f"surestep: {in_one_line(str(mended))}")
        return 2
    except ValueError as error:
        if "embedded null" not in str(error):  # what the system says of a name with a NUL in it, wherever it came from
            raise
        print("surestep: a path holds a NUL character, which no name of a file may have; name another", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(
            "surestep: out of memory outside of the passes that can be made smaller (loading a model, say); use a "
            "smaller --backbone, or a device with more free memory",
            file=sys.stderr,
        )
        return 2
    except Interrupted as stopped:
        return _stopped(stopped)
    except KeyboardInterrupt:
        print("surestep: interrupted", file=sys.stderr)
        return 130


def _stopped(stopped: Interrupted) -> int:
    """Say which signal it was; the exit code."""
    with suppress(OSError):  # SIGHUP: the terminal may be gone
        words = "interrupted" if stopped.number.name == "SIGINT" else f"stopped by {stopped.number.name}"
        print_to(sys.stderr, f"surestep: {in_one_line(words)}")
    return 128 + int(stopped.number)


_format_warning = warnings.formatwarning


def _visible_warning(*args: Any, **named: Any) -> str:
    """A library's warning may quote data, and goes to stderr by itself."""
    return visible(_format_warning(*args, **named))


if __name__ == "__main__":
    sys.exit(main())
