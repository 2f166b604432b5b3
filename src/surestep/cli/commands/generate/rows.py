"""From the arguments of `surestep generate` to its rows, and what is said of them.

Knows arguments and printing; the work is done in `surestep.inference.generation`.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surestep.cli.commands.generate.flags import KEY, SCORER_KEY
from surestep.cli.flags import section_from_args
from surestep.cli.loaded_scorer import checkpoint_facts, load_scorer
from surestep.cli.output.console import make_console, say_json
from surestep.cli.table_command import (
    STREAM,
    output_of,
    store_of,
    write_file,
    write_stream,
)
from surestep.counted import counted
from surestep.errors import ConfigError
from surestep.inference.generation.settings import GenerationSettings
from surestep.untrusted import parse_json

if TYPE_CHECKING:
    from rich.console import Console

    from surestep.inference.generation.path_scores import StepScorer
    from surestep.inference.generation.requests import Generator
    from surestep.inference.tables.processes import Processes

_DOING = "generating"


def generate_rows(args: argparse.Namespace) -> int:
    """Generate; 0 when done, also where budgets ended searches early."""
    from surestep.data.benchmarks.answers import comparison
    from surestep.inference.generation.run import Search
    from surestep.inference.generation.table_task import GenerateTask, Notes
    from surestep.inference.tables.columns import find_columns
    from surestep.inference.tables.job import TableJob, with_first
    from surestep.inference.tables.processes import Processes
    from surestep.inference.tables.rows import format_of, read_rows

    settings = _settings(args)
    processes = Processes()
    layout = format_of(args.input, args.format)
    output, output_layout = output_of(args, "generated", layout, "jsonl")
    first, rows = with_first(read_rows(args.input, layout), args.input)
    given = {what: getattr(args, f"{what}_column") for what in ("problem", "answer")}
    columns = find_columns(first.values, given, ("answer",), where=str(args.input))
    console = make_console(stderr=output == STREAM or args.json)

    def say(line: str) -> None:
        console.print(f"· {line}")

    generator = _generator(args, say)
    scorer, facts = _scorer(args, console, processes)
    search = Search(generator, scorer, settings, say=say)
    say(columns.line())
    if columns.answer is not None:
        say(comparison())
    store = None if output == STREAM else store_of(args, output, processes)
    job = TableJob(
        rows=rows,
        source=args.input,
        first=first,
        task=GenerateTask(search, columns, Notes(None if store is None else store.folder), args.prefix),
        layout=output_layout,
        prefix=args.prefix,
        rows_per_part=args.rows_per_part,
        on_bad_row=args.bad_rows,
    )
    if store is None:
        return write_stream(args, _DOING, job, console)
    made_from = {
        "command": args.command,
        "columns": {name: value for name, value in given.items() if value is not None},
        "input_format": layout,
        "output_format": output_layout,
        "split": search.split_rule,
        "search": settings.model_dump(mode="json"),
        "generator": generator.about(),
        **{name: getattr(args, name) for name in ("prefix", "rows_per_part", "bad_rows", "dataset", "calibration")},
        **facts,
    }
    code = write_file(args, _DOING, job, store, console, layout, made_from)
    _tell(args, output, settings, console)
    return code


def _settings(args: argparse.Namespace) -> GenerationSettings:
    settings = section_from_args(args, GenerationSettings)
    stop = settings.stop.replace("\\n", "\n").replace("\\t", "\t")  # as a shell's user types them
    settings = settings.model_copy(update={"stop": stop})
    if settings.needs_scorer and args.scorer is None:
        raise ConfigError(f"--method {settings.method} needs a --scorer; --method majority needs none")
    return settings


def _generator(args: argparse.Namespace, say: Any) -> Generator:
    if args.local_model is not None:
        from surestep.inference.generation.local_model import TransformersGenerator

        device = vars(args).get("config:training.device") or "auto"
        return TransformersGenerator.load(args.local_model, device=device, batch_size=args.batch_size)
    from surestep.inference.generation.endpoint import OpenAIEndpoint

    if args.api_key_env is not None and args.api_key_env not in os.environ:
        raise ConfigError(f"the environment variable {args.api_key_env} (--api_key_env) is not set")
    try:
        extra = {} if args.extra is None else parse_json(args.extra, allow_nan=False)
    except ValueError as error:
        raise ConfigError(f"--extra is no JSON ({error})") from None
    if not isinstance(extra, dict):
        raise ConfigError('--extra is no JSON object; allowed: {"top_k": 20}, say')
    return OpenAIEndpoint(
        args.endpoint,
        args.model,
        args.api,
        os.environ.get(args.api_key_env or KEY) or None,
        concurrency=args.concurrency,
        per_request=args.per_request,
        timeout_s=args.timeout_s,
        retries=args.retries,
        extra=extra,
        say=say,
    )


def _scorer(
    args: argparse.Namespace, console: Console, processes: Processes
) -> tuple[StepScorer | None, dict[str, Any]]:
    """Who gives confidences, and what of it decides the numbers."""
    if args.scorer is None:
        return None, {"scorer": None}
    if args.scorer.startswith(("http://", "https://")):
        from surestep.client import Client

        client = Client(args.scorer, api_key=os.environ.get(SCORER_KEY) or None)
        about = client.about()
        return client, {"scorer": args.scorer, "scorer_model": about.get("model", about)}
    args.checkpoint, args.checkpoints = args.scorer, [args.scorer]
    scorer = load_scorer(args, console, processes)
    return scorer, checkpoint_facts(scorer)


def _tell(args: argparse.Namespace, output: Path, settings: GenerationSettings, console: Console) -> None:
    """What ended early, and how often answers are right where that is known."""
    from surestep.cli.output.benchmark_tables import all_candidates_table, best_of_n_table
    from surestep.files import write_json
    from surestep.inference.generation.accuracy import measure_accuracy

    stopped: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for row in _output_rows(output):
        counts["problems"] += 1
        counts["tokens"] += row[f"{args.prefix}tokens"]
        counts["candidates"] += len(row[f"{args.prefix}candidates"])
        counts["truncated"] += sum(candidate["truncated"] for candidate in row[f"{args.prefix}candidates"])
        if row[f"{args.prefix}stopped"] is not None:
            stopped[row[f"{args.prefix}stopped"]] += 1
    for reason, count in stopped.most_common(5):
        console.print(f"· {counted(count, 'problem')} ended early: {reason}")
    console.print(
        f"· {counted(counts['candidates'], 'solution')} ({counts['truncated']:,} of them break off) of "
        f"{counts['problems']:,} problems, {counted(counts['tokens'], 'token')}"
    )
    report = measure_accuracy(
        _output_rows(output), is_search=settings.is_search, prefix=args.prefix, resamples=args.bootstrap_resamples
    )
    if report is None:
        return
    if args.json:
        say_json(report)
    else:
        console.print(all_candidates_table(report["all_candidates"]))
        if "by_n" in report:
            console.print(best_of_n_table(report["by_n"]))
    place = output.with_name(f"{output.name}.accuracy.json")
    write_json(place, report, ascii_only=False, advice="free space or name another --output")
    console.print(f"wrote {place}")


def _output_rows(output: Path) -> Iterator[dict[str, Any]]:
    from surestep.inference.tables.rows import Row, read_rows

    return (row.values for row in read_rows(output, "jsonl") if isinstance(row, Row))
