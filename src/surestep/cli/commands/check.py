"""`surestep check`: the production checklist; exit code 0 where it passes, 1 where it does not."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surestep.cli.checkpoint_argument import add_checkpoint, required
from surestep.cli.flags import add_scoring_flags, flag_values, override
from surestep.cli.output.console import add_json_flag, make_console, say_json
from surestep.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from surestep.config import Config
    from surestep.evaluation.check.checklist import CheckResult
    from surestep.evaluation.check.finding import Finding

_TITLES = {
    "intact": "checkpoint",
    "steps": "checkpoint",
    "config": "checkpoint",
    "evaluated": "evaluation",
    "calibration": "calibration",
    "figures": "figures against targets",
    "error_analysis": "documents",
    "backup": "documents",
    "documented": "documents",
    "leaks": "leaks: training problems in evaluated sets",
    "probes": "anti-hacking probes: how far a change without content moves a solution's score",
    "hackability": "hackability: how far a score can be raised without being more right",
}
_SHOWN = {"pass": "pass", "fail": "FAIL", "contradicts-data": "contradicts data", "skipped": "skipped", "info": "·"}
_STYLES = {"pass": "green", "fail": "bold red", "contradicts-data": "yellow", "skipped": "yellow", "info": "dim"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_checkpoint(parser)
    parser.add_argument(
        "--tier",
        choices=("quick", "full", "production"),
        default="production",
        help="whose targets (default: production)",
    )
    parser.add_argument("--targets", type=Path, metavar="FILE", help="JSON or YAML file; its fields replace the tier's")
    parser.add_argument(
        "--evaluation", type=Path, metavar="RUN", help="the result to judge (default: the checkpoint's own on test)"
    )
    parser.add_argument(
        "--leak_data",
        "--leak-data",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="further evaluated sets whose problems training must not hold (JSON, JSONL or CSV)",
    )
    parser.add_argument(
        "--probe_problems",
        "--probe-problems",
        type=int,
        default=50,
        metavar="N",
        help="test problems that are probed (default: 50; 0: none)",
    )
    parser.add_argument(
        "--probe_seed", "--probe-seed", type=int, default=0, metavar="N", help="draws them (default: 0)"
    )
    parser.add_argument(
        "--probes",
        choices=("standard", "robustness"),
        default="standard",
        help="robustness: also all published perturbations, how far a score can be raised by them, and best-of-N under "
        "attack; about 13 times the steps (default: standard)",
    )
    parser.add_argument(
        "--attack_data",
        "--attack-data",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="candidates for the attack, as `benchmark best-of-n` reads them, or in ProcessBench's layout (default: "
        "built-in arithmetic, where the run tests on it)",
    )
    parser.add_argument(
        "--backup",
        type=Path,
        metavar="FOLDER",
        help="a copy of the checkpoint, or of a folder that holds it: its files are compared by their hashes",
    )
    parser.add_argument(
        "--sign_off",
        "--sign-off",
        nargs="+",
        choices=("backup", "error_analysis"),
        default=[],
        metavar="POINT",
        help="sign for what a machine cannot see (backup, error_analysis); kept with the run; needs --by",
    )
    parser.add_argument("--by", default="", metavar="NAME", help="who signs off")
    parser.add_argument("--note", default="", metavar="TEXT", help="kept with the sign-off: where the copy is, say")
    add_json_flag(parser)
    add_scoring_flags(parser, data_flag="data.own_test")


def run(args: argparse.Namespace) -> int:
    """Check; 0 where it passes, 1 where it does not."""
    for name in ("probe_problems", "probe_seed"):
        if getattr(args, name) < 0:
            raise ConfigError(f"--{name} is {getattr(args, name)}; allowed: 0 or more")
    if args.attack_data and args.probes != "robustness":
        raise ConfigError("--attack_data is read by --probes robustness alone; add that flag")
    if bool(args.sign_off) != bool(args.by) or (args.note and not args.sign_off):
        raise ConfigError("--sign_off, --by and --note belong together: --sign_off backup --by 'Ada Lovelace'")

    from surestep.evaluation.check.checklist import run_check
    from surestep.evaluation.check.sign_off import sign_off
    from surestep.evaluation.check.targets import load_targets
    from surestep.scoring.checkpoint.load import read_config
    from surestep.scoring.checkpoint.manifest import check_is_checkpoint
    from surestep.scoring.hardware import for_scoring_here

    targets = load_targets(args.tier, args.targets)
    check_is_checkpoint(required(args))
    console = make_console()
    if args.sign_off:
        for signed in sign_off(args.checkpoint, args.sign_off, by=args.by, note=args.note):
            if not args.json:
                console.print(f"{signed.item}: {signed}", markup=False, highlight=False)
    config, config_error = None, ""
    try:
        config = for_scoring_here(read_config(args.checkpoint))
    except CheckpointError as error:
        config_error = str(error)
    if config is not None:
        config = _with_flags(config, args)
    result = run_check(
        args.checkpoint,
        config,
        targets,
        config_error=config_error,
        given=set(flag_values(args)),
        evaluation=args.evaluation,
        leak_files=args.leak_data,
        backup=args.backup,
        probe_problems=args.probe_problems,
        robustness=args.probes == "robustness",
        attack_files=args.attack_data,
        seed=args.probe_seed,
        progress=(lambda _title: None) if args.json else lambda title: console.print(f"{title} ...", highlight=False),
    )
    if args.json:
        say_json(result.to_dict())
    else:
        _print(result, console)
    return 0 if result.passed else 1


def _with_flags(config: Config, args: argparse.Namespace) -> Config:
    """The checkpoint's configuration under the flags; own data that they name comes beside what it was trained on."""
    # Leaks are looked for between its training data and the tests, so the mixture of its training stays.
    return override(config, args, kept=config.data.used())


def _print(result: CheckResult, console: Console) -> None:
    sections: dict[str, list[Finding]] = {}
    for finding in result.findings:
        sections.setdefault(_TITLES[finding.item], []).append(finding)
    for title, findings in sections.items():
        console.print(_table(title, findings))
        for finding in findings:
            if finding.detail and (finding.status != "pass" or finding.item in {"leaks", "probes"}):
                console.print(f"· {finding.what}: {finding.detail}", markup=False, highlight=False)
            if finding.mend and finding.status != "pass":
                console.print(f"  {finding.what}: to fix it, {finding.mend}", markup=False, highlight=False)
    for title, ticked in result.boxes():
        console.print(f"[{'x' if ticked else ' '}] {title}", markup=False, highlight=False)
    console.print(_summary(result), markup=False, highlight=False)


def _table(title: str, findings: list[Finding]) -> Any:
    from rich.text import Text

    from surestep.cli.output.fitted_table import FittedTable
    from surestep.metrics.report.wording import figure

    of_figures = findings[0].item == "figures"
    table = FittedTable(title)
    table.add_column("what")
    table.add_column("")
    for name in ("value", "target", *(("constant", "skill", "implies R²") if of_figures else ())):
        table.add_column(name, justify="right" if of_figures else "left")
    for finding in findings:
        beside = [figure(finding.numbers.get(name)) for name in ("constant", "skill", "implied_r2")]
        table.add_row(
            Text(finding.what),
            Text(_SHOWN[finding.status], style=_STYLES[finding.status]),
            Text(finding.value),
            Text(finding.target),
            *(beside if of_figures else ()),
        )
    if of_figures:
        table.remark = (
            "constant: what always answering the mean scores; skill: 1 - figure / constant's; implies R²: the lowest "
            "R² of a scorer that meets the target on these labels"
        )
    return table


def _summary(result: CheckResult) -> str:
    counts = [
        f"{result.count('pass')} pass",
        f"{result.count('fail')} fail",
        f"{result.count('contradicts-data')} contradict the data",
        f"{result.count('skipped')} skipped",
    ]
    word = "PASSED" if result.passed else "NOT PASSED"
    said = f"{word} ({result.targets.name}): {', '.join(counts)}"
    if result.count("contradicts-data"):
        allowed = result.targets.contradictions == "allow"
        said += "; a target that contradicts the data is no pass" + (
            ", and these targets let it be (contradictions: allow)" if allowed else " and fails the check"
        )
    return said
