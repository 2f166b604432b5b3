"""What `surestep score` and `surestep rerank` have in common: their flags, and the way from a file to a file.

Knows arguments and printing; the work is done in `surestep.inference.tables`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surestep.cli.checkpoint_argument import ENSEMBLE, add_checkpoint
from surestep.cli.flags import add_config_flags, fields
from surestep.cli.loaded_scorer import checkpoint_facts, load_scorer
from surestep.cli.output.console import make_console
from surestep.counted import counted
from surestep.disk import real_path
from surestep.errors import ConfigError, DataError
from surestep.untrusted.whole_numbers import whole_number

if TYPE_CHECKING:
    from rich.console import Console

    from surestep.inference.scorer import Scorer
    from surestep.inference.tables.columns import Columns
    from surestep.inference.tables.job import TableJob
    from surestep.inference.tables.parts import PartStore
    from surestep.inference.tables.processes import Processes
    from surestep.inference.tables.rows import Format
    from surestep.inference.tables.tasks import Task

_MODEL_FLAGS = frozenset(
    {
        *("training.device", "training.mixed_precision", "training.cuda_graphs", "model.backbone", "model.attention"),
        *("model.fast_path", "eval.eval_token_budget", "eval.scoring_weights"),
    }
)
"""What of the configuration scoring a file heeds."""
STREAM = Path("-")
"""Standard input, and output."""


@dataclass(frozen=True)
class TableCommand:
    """One of the two commands.

    Attributes:
        name: stands in the default name of an output: `rows.scored.jsonl`.
        doing: what the progress says.
        wanted: what a row is scored by, see `find_columns`.
        task: what is made of a row, from scorer, columns, rule for raw solutions, and arguments.
        example: a row that it takes, in the help.
    """

    name: str
    doing: str
    wanted: tuple[str, ...]
    task: Callable[[Scorer, Columns, str, argparse.Namespace], Task]
    example: str


def configure_table(parser: argparse.ArgumentParser, command: TableCommand) -> None:
    """Add the flags."""
    add_input(parser).nargs = "?"  # a --checkpoint of several values may have taken it: see settle_checkpoint
    add_checkpoint(parser, purpose=f", or a hub id (owner/name){ENSEMBLE}", kind=str, finds_itself=True, several=True)
    split = {
        "metavar": "RULE",
        "help": "how a raw solution is split into steps: auto, step, numbered, blank_lines, lines, sentences or "
        "tag:TEXT (default: as in the checkpoint's training, else auto)",
    }
    layouts = {
        "choices": FORMATS,
        "help": "how the output is laid out (default: by its name, else as the input)",
    }
    calibration_file = {
        "type": Path,
        "metavar": "FILE",
        "help": "of several checkpoints: apply the map that `surestep calibrate` fitted to their mean",
    }
    add_flags(parser, {"output_format": layouts, "split": split, "calibration_file": calibration_file})
    add_row_flags(parser, command.name, ("problem", *command.wanted), bad="scored", rows_per_part=1024)
    add_scorer_flags(parser)
    parser.epilog = f"A row of FILE, for example: {command.example}. {parser.epilog or ''}"


FORMATS = ("jsonl", "csv", "parquet")


def add_input(parser: argparse.ArgumentParser) -> argparse.Action:
    """Add the table that is read."""
    return parser.add_argument(
        "input", type=Path, metavar="FILE", help="JSONL, CSV or Parquet, plain or .gz; - is standard input"
    )


def add_row_flags(
    parser: argparse.ArgumentParser, name: str, columns: Sequence[str], *, bad: str, rows_per_part: int
) -> None:
    """Add the flags of every command that goes from rows to rows.

    Args:
        parser: of the command.
        name: stands in the default name of its output.
        columns: what stands in columns of the input.
        bad: what cannot be done with some rows.
        rows_per_part: the default.
    """
    options: dict[str, dict[str, Any]] = {
        "output": {
            "type": Path,
            "metavar": "FILE",
            "help": f"where rows go (default: FILE with .{name} in its name; of standard input: -, standard output)",
        },
        "format": {"choices": FORMATS, "help": "how the input is laid out (default: by its name; of -, jsonl)"},
        **{
            f"{what}_column": {
                "metavar": "NAME",
                "help": f"the column that holds {_HELD[what]} (default: found by its usual names)",
            }
            for what in columns
        },
        "prefix": {"default": "", "metavar": "TEXT", "help": "put in front of the names of new columns"},
        "bad_rows": {
            "choices": ("aside", "stop"),
            "default": "aside",
            "help": f"rows that cannot be {bad}: put in a file of their own with the reason, or stop (default: aside)",
        },
        "bad_rows_file": {"type": Path, "metavar": "FILE", "help": "where they go (default: OUTPUT.bad.jsonl)"},
        "rows_per_part": {
            "type": positive,
            "default": rows_per_part,
            "metavar": "N",
            "help": f"rows that are {bad} together and written at once (default: {rows_per_part})",
        },
        "overwrite": {"action": "store_true", "help": "start anew where an output, or a part of it, is there"},
    }
    add_flags(parser, options)


def add_scorer_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how a checkpoint is loaded and applied."""
    options: dict[str, dict[str, Any]] = {
        "dataset": {
            "metavar": "NAME",
            "help": "apply this dataset's own calibration map, where the checkpoint has one",
        },
        "calibration": {
            "choices": ("pooled", "none"),
            "default": "pooled",
            "help": "apply the checkpoint's calibration, if it has one (default: pooled)",
        },
        "revision": {"metavar": "NAME", "help": "a branch, tag or commit of the hub repository"},
    }
    add_flags(parser, options)
    add_config_flags(parser, exclude=frozenset(path for path, _ in fields()) - _MODEL_FLAGS, from_file=False)


_HELD = {
    "problem": "the problem",
    "steps": "the list of steps",
    "solution": "the raw solution",
    "candidates": "the list of candidates",
    "answer": "the right answer",
}


def add_flags(parser: argparse._ActionsContainer, options: Mapping[str, Mapping[str, Any]]) -> None:
    """Add flags that may be written with underscores or dashes."""
    for name, settings in options.items():
        parser.add_argument(*dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"]), dest=name, **settings)


def positive(text: str) -> int:
    """A whole number from 1, of a flag."""
    number = whole_number(text)
    if not number or number >= 2**31:
        raise argparse.ArgumentTypeError(f"{text[:40]}; allowed: a whole number from 1")
    return number


def run_table(args: argparse.Namespace, command: TableCommand) -> int:
    """From the input to the output; 0 when done, also with rows aside."""
    from surestep.data.trees.split_steps import AUTO, check_rule
    from surestep.inference.tables.columns import find_columns
    from surestep.inference.tables.job import TableJob, with_first
    from surestep.inference.tables.processes import find_processes
    from surestep.inference.tables.rows import format_of, read_rows

    processes = find_processes()
    layout = format_of(args.input, args.format)
    output, output_layout = _output(args, command, layout)
    if args.split is not None:
        check_rule(args.split)
    first, rows = with_first(read_rows(args.input, layout), args.input)
    given = {what: getattr(args, f"{what}_column") for what in ("problem", *command.wanted)}
    columns = find_columns(first.values, given, command.wanted, where=str(args.input))

    console = make_console(stderr=output == STREAM, quiet=not processes.is_first)
    scorer = load_scorer(args, console, processes)
    rule = args.split or scorer.split_rule or AUTO
    console.print(f"· {columns.line()}")
    if columns.solution is not None or columns.candidates is not None:
        trained = "as in the checkpoint's training" if scorer.split_rule else "choose with --split"
        why = "--split" if args.split else trained
        console.print(f"· raw solutions are split by the rule {rule} ({why})")
    job = TableJob(
        rows=rows,
        source=args.input,
        first=first,
        task=command.task(scorer, columns, rule, args),
        layout=output_layout,
        prefix=args.prefix,
        rows_per_part=args.rows_per_part,
        on_bad_row=args.bad_rows,
    )
    if output == STREAM:
        return write_stream(args, command.doing, job, console)
    made_from = {
        "command": args.command,
        "columns": {name: value for name, value in given.items() if value is not None},
        "input_format": layout,
        "output_format": output_layout,
        "split": rule,
        **{name: getattr(args, name) for name in ("prefix", "rows_per_part", "bad_rows", "dataset", "calibration")},
        **({"by": args.by} if hasattr(args, "by") else {}),
        **checkpoint_facts(scorer),
    }
    store = store_of(args, output, processes)
    return write_file(args, command.doing, job, store, console, layout, made_from)


def _output(args: argparse.Namespace, command: TableCommand, layout: Format) -> tuple[Path, Format]:
    return output_of(args, command.name, layout, args.output_format)


def output_of(args: argparse.Namespace, name: str, layout: Format, wanted: str | None) -> tuple[Path, Format]:
    """Where rows go, and how they are laid out.

    Args:
        args: the input, and the output where it is named.
        name: stands in the default name of the output.
        layout: of the input.
        wanted: the layout that the output is to have; None: by its name, else that of the input.
    """
    from surestep.inference.tables.rows import format_of

    output: Path = args.output or (STREAM if args.input == STREAM else _beside(args, name, wanted or layout, layout))
    _check_bad_rows_file(args, output)
    if output == STREAM:
        chosen: Format = format_of(output, wanted or layout, flag="--output_format")
        if chosen == "parquet":
            raise ConfigError(
                "Parquet cannot be written to standard output; name a file with --output, or choose jsonl"
            )
        return output, chosen
    if real_path(output) == real_path(args.input):
        raise ConfigError(f"{output} is the input itself; name another --output")
    given = wanted or (layout if args.output is None else None)
    chosen = format_of(output, given, flag="--output_format")
    if chosen == "parquet" and output.suffix.lower() == ".gz":
        raise ConfigError(f"{output}: Parquet is compressed already; name the --output without .gz")
    return output, chosen


def _check_bad_rows_file(args: argparse.Namespace, output: Path) -> None:
    """Refuse a file for bad rows that is the input or the output, which it would replace."""
    if (bad_rows := args.bad_rows_file) is None:
        return
    for other, what in ((args.input, "the input itself"), (output, "the output itself")):
        if other != STREAM and real_path(bad_rows) == real_path(other):
            raise ConfigError(f"{bad_rows} is {what}; name another --bad_rows_file")


def _beside(args: argparse.Namespace, added: str, wanted: str, layout: Format) -> Path:
    """`rows.scored.jsonl.gz` of `rows.jsonl.gz`."""
    from surestep.inference.tables.rows import SUFFIXES

    name: str = args.input.name
    packed = ".gz" if name.lower().endswith(".gz") and wanted != "parquet" else ""
    stem, suffix = Path(name[: -len(".gz")] if name.lower().endswith(".gz") else name), ""
    if stem.suffix.lower() in SUFFIXES:
        stem, suffix = Path(stem.stem), stem.suffix
    if wanted != layout or suffix.lower() in {"", ".json"}:
        suffix = f".{wanted}"
    place: Path = args.input.with_name(f"{stem}.{added}{suffix}{packed}")
    return place


def store_of(args: argparse.Namespace, output: Path, processes: Processes) -> PartStore:
    """Where the parts of an output lie."""
    from surestep.inference.tables.parts import PartStore, bad_rows_beside

    return PartStore(output, args.bad_rows_file or bad_rows_beside(output), processes)


def write_file(
    args: argparse.Namespace,
    doing: str,
    job: TableJob,
    store: PartStore,
    console: Console,
    layout: Format,
    made_from: dict[str, Any],
) -> int:
    """Rows to a file, part by part; what was done before is not done again; 0 when done."""
    from surestep.cli.output.progress import rows_done
    from surestep.files import sha256_of
    from surestep.inference.tables.job import run_in_parts
    from surestep.inference.tables.rows import count_rows

    job.table()  # refuses before anything is written
    if args.input != STREAM:
        made_from["input_sha256"] = sha256_of(args.input)
    begun = store.begin(made_from, overwrite=args.overwrite)
    if begun == "finished":
        console.print(f"{store.output} is finished already, from the same input and checkpoint: nothing is done again")
        counts = store.totals()
    else:
        if begun == "continued":
            console.print(f"· {store.output} was begun before: what is done is not done again")
        total = count_rows(args.input, layout) if store.processes.is_first else None
        with rows_done(console, doing, total) as advance:
            counts = run_in_parts(job, store, made_from, advance=advance)
    # What is said of the rows, and the exit code, are the same whether this run did the work or one before it.
    reasons = _held_by(store.bad_rows)
    if begun == "finished" and not store.bad_rows.is_file():
        reasons = f"{store.bad_rows} held them with the reasons and is not there any more; --overwrite makes it anew"
    _say_counts(console, counts, reasons)
    if begun != "finished":
        console.print(f"wrote {counted(counts['rows'], 'row')} to {store.output}")
    if store.processes.is_first:
        _check_any(counts, reasons)
    return 0


def write_stream(args: argparse.Namespace, doing: str, job: TableJob, console: Console) -> int:
    """Rows to standard output as they come; 0 when done."""
    from surestep.cli.output.progress import rows_done
    from surestep.inference.tables.job import run_streamed
    from surestep.inference.tables.rows import count_rows, format_of

    total = count_rows(args.input, format_of(args.input, args.format))
    with _bad_rows_file(args, console) as say_bad, rows_done(console, doing, total) as advance:
        counts = run_streamed(job, sys.stdout.buffer, say_bad, advance=advance)
    where = "standard error" if args.bad_rows_file is None else str(args.bad_rows_file)
    _say_counts(console, counts, _held_by(where))
    console.print(f"wrote {counted(counts['rows'], 'row')} to standard output")
    _check_any(counts, _held_by(where))
    return 0


@contextmanager
def _bad_rows_file(args: argparse.Namespace, console: Console) -> Iterator[Callable[[str], None]]:
    """Where the lines of rows that cannot be scored go: the file that was named, else the console."""
    from surestep.files import write_whole

    if args.bad_rows_file is None:
        yield console.print
        return
    if args.bad_rows_file.exists() and not args.overwrite:
        raise ConfigError(f"{args.bad_rows_file} is there already; name another --bad_rows_file, or use --overwrite")
    with write_whole(args.bad_rows_file, advice="free space or name another --bad_rows_file") as file:

        def write(line: str) -> None:
            file.write(f"{line}\n")

        yield write


def _held_by(bad_rows: object) -> str:
    return f"{bad_rows} holds them with the reasons"


def _check_any(counts: Mapping[str, int], reasons: str) -> None:
    """Raise where not one row could be scored: who runs this in a script looks at the exit code.

    Raises:
        DataError: naming where the reasons are.
    """
    if counts["bad"] and not counts["rows"]:
        raise DataError(f"none of the {counted(counts['bad'], 'row')} could be scored; {reasons}")


def _say_counts(console: Console, counts: Mapping[str, int], reasons: str) -> None:
    if unscored := counts["unscored"]:
        console.print(
            f"· {counted(unscored, 'row has', 'rows have')} steps beyond the longest path that the model takes: no "
            "confidence there"
        )
    if bad := counts["bad"]:
        what = "row" if bad == 1 else "rows"
        console.print(f"· {bad:,} {what} could not be scored: {reasons}")
