"""`surestep doctor`: what this machine has, what will be used, what is missing and how to get it."""

from __future__ import annotations

import argparse
from pathlib import Path

from surestep.cli.output.console import add_json_flag, result_console, say_json
from surestep.terminal_text import wrapped

_MARKS = {
    "ok": ("ok", "green"),
    "missing": ("--", "yellow"),
    "note": ("note", "yellow"),
    "broken": ("FAIL", "bold red"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--output_dir",
        "--output-dir",
        type=Path,
        default=Path("outputs"),
        help="where runs would go (default: outputs)",
    )
    add_json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Look; 0 where Surestep works here, 1 where something is broken."""
    from surestep.bench.machine import look_at_machine

    findings = look_at_machine(args.output_dir)
    broken = sum(finding.status == "broken" for finding in findings)
    if args.json:
        say_json([finding.to_dict() for finding in findings])
        return int(broken > 0)
    console = result_console(args)
    names = max(len(finding.what) for finding in findings)
    for finding in findings:
        mark, style = _MARKS[finding.status]
        begin = f"{mark:<4}  {finding.what:<{names}}  "
        lines = [finding.value, *([f"to change it: {finding.mend}"] if finding.mend else [])]
        text = wrapped("\n".join(lines), max(console.width - len(begin), 30)).replace("\n", "\n" + " " * len(begin))
        console.print(begin + text, style=style, highlight=False)
    end = f"{broken} of these are broken: see FAIL" if broken else "Surestep works here. Start with `surestep demo`."
    console.print(end, highlight=False)
    return int(broken > 0)
